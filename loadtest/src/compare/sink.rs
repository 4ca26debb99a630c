//! The sink of a comparison: a process of its own on its own core, which is asked how many requests
//! it has got.

use super::message::Message;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(5);
const GREETING: &str = "sink listens on ";

/// A running sink. One of our own ends when it is dropped.
pub(crate) struct Sink {
    child: Option<Child>,
    pub address: SocketAddr,
}

impl Sink {
    /// The sink that was named, or one of our own.
    pub(crate) fn start_unless(
        named: Option<SocketAddr>,
        core: Option<usize>,
        counts_events: bool,
    ) -> io::Result<Sink> {
        match named {
            Some(address) => Ok(Sink { child: None, address }),
            None => Sink::start(core, counts_events),
        }
    }

    /// The process, if it is ours.
    pub(crate) fn process(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Starts a sink on a free port, from the program that runs now.
    fn start(core: Option<usize>, counts_events: bool) -> io::Result<Sink> {
        let core = core.map(|core| core.to_string());
        let mut arguments = vec!["--address", "127.0.0.1:0"];
        if let Some(core) = &core {
            arguments.extend(["--core", core]);
        }
        if counts_events {
            arguments.push("--count-events");
        }
        Sink::spawn(&std::env::current_exe()?, &arguments)
    }

    /// Starts `program sink` with these arguments.
    pub(crate) fn spawn(program: &Path, arguments: &[&str]) -> io::Result<Sink> {
        let mut command = Command::new(program);
        command.arg("sink").args(arguments).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        match line.trim().strip_prefix(GREETING).and_then(|address| address.parse().ok()) {
            Some(address) => Ok(Sink { child: Some(child), address }),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                Err(io::Error::other(format!("the sink did not start: {line:?}")))
            }
        }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What the scheduler accounts for a process: its time on a core, and its waiting for one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Scheduled {
    pub ran: Duration,
    pub waited: Duration,
}

impl Scheduled {
    /// The sum over the threads of a process; `None` where the kernel does not tell.
    pub(super) fn of(process: u32) -> Option<Scheduled> {
        let mut sum = Scheduled::default();
        for task in fs::read_dir(format!("/proc/{process}/task")).ok()? {
            let task =
                Scheduled::parse(&fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?)?;
            sum.ran += task.ran;
            sum.waited += task.waited;
        }
        Some(sum)
    }

    /// `<nanoseconds on a core> <nanoseconds of waiting> <times>`
    fn parse(text: &str) -> Option<Scheduled> {
        let mut numbers = text.split_whitespace().map_while(|number| number.parse().ok());
        let mut next = || numbers.next().map(Duration::from_nanos);
        Some(Scheduled { ran: next()?, waited: next()? })
    }
}

/// How many events a sink has got, and when it said so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub events: u64,
    pub at: Instant,
}

impl Sample {
    /// Asks the sink.
    pub(super) fn take(address: SocketAddr) -> io::Result<Sample> {
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream
            .write_all(format!("GET /sink/stats HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes())?;
        let message = Message::read(&mut stream)?;
        let at = Instant::now();
        let stats: serde_json::Value = serde_json::from_slice(message.body())?;
        // As many as requests, unless the sink counts the events in batches.
        let events = stats["events"].as_u64().or_else(|| stats["requests"].as_u64());
        let events = events.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, "GET /sink/stats tells no \"requests\"")
        })?;
        Ok(Sample { events, at })
    }

    /// Events per second since an earlier sample.
    pub(super) fn rate_since(&self, earlier: &Sample) -> f64 {
        let seconds = (self.at - earlier.at).as_secs_f64();
        self.events.saturating_sub(earlier.events) as f64 / seconds.max(f64::EPSILON)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_tells_of_this_process() {
        let parsed = Scheduled::parse("1000 2000 3\n").unwrap();
        assert_eq!((parsed.ran.as_nanos(), parsed.waited.as_nanos()), (1000, 2000));
        assert_eq!(Scheduled::parse("1000"), None);
        assert!(Scheduled::of(std::process::id()).is_none_or(|own| !own.ran.is_zero()));
    }
}
