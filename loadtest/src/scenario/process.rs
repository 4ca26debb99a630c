//! A receiver in a process of its own, so that it can be stopped and killed.

use super::SECRET;
use crate::compare::sink::Sink;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Answers take their time: so some requests are under way whenever the receiver breaks.
const LATENCY: &str = "uniform:0ms..3ms";
/// A restart is tried for so long.
const PATIENCE: Duration = Duration::from_secs(5);
/// A restart is tried again after this: a connection may have its port for a moment.
const RESTART_AGAIN: Duration = Duration::from_millis(5);

/// A receiver that keeps its address over its lives. It ends when it is dropped.
pub(super) struct ReceiverProcess {
    program: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    life: Option<Sink>,
    /// One for each life.
    pub histories: Vec<PathBuf>,
}

impl ReceiverProcess {
    /// Starts `program sink` on a free port.
    pub fn start(program: &Path, folder: &Path) -> io::Result<Self> {
        let mut receiver = ReceiverProcess {
            program: program.to_owned(),
            folder: folder.to_owned(),
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            life: None,
            histories: Vec::new(),
        };
        receiver.live()?;
        Ok(receiver)
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// Begins the next life, with a history of its own: what was answered is in it, whenever the
    /// life ends.
    pub fn live(&mut self) -> io::Result<()> {
        let history = self.folder.join(format!("receiver-{}", self.histories.len()));
        let address = self.address.to_string();
        let file = history.to_string_lossy();
        let arguments = [
            ["--address", &address],
            ["--verify-secret", SECRET],
            ["--history", &file],
            ["--latency", LATENCY],
        ];
        let arguments = arguments.as_flattened().iter().chain(&["--history-first"]);
        let arguments: Vec<&str> = arguments.copied().collect();
        let began = Instant::now();
        let life = loop {
            match Sink::spawn(&self.program, &arguments) {
                Err(_) if began.elapsed() < PATIENCE => std::thread::sleep(RESTART_AGAIN),
                end => break end?,
            }
        };
        self.address = life.address;
        self.life = Some(life);
        self.histories.push(history);
        Ok(())
    }

    /// Kills it with SIGKILL: it may not even finish the line that it writes.
    pub fn kill(&mut self) -> io::Result<()> {
        // Kills and waits.
        drop(self.life.take());
        self.histories.last().map_or(Ok(()), |history| cut_unfinished_line(history))
    }

    /// Holds it still: it reads and answers nothing, and its connections stay.
    pub fn stall(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn go_on(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let process = self.life.as_ref().and_then(Sink::process);
        let process = process.and_then(|id| Pid::from_raw(id as i32));
        let process = process.ok_or_else(|| io::Error::other("the receiver is not running"))?;
        kill_process(process, signal).map_err(io::Error::from)
    }
}

/// Takes off the line that a killed receiver has not written to its end.
fn cut_unfinished_line(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let whole = memchr::memrchr(b'\n', &text).map_or(0, |end| end + 1);
    file.set_len(whole as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_lines_are_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history");
        for (written, left) in [("a\nb\nc", "a\nb\n"), ("a\n", "a\n"), ("a", ""), ("", "")] {
            std::fs::write(&path, written).unwrap();
            cut_unfinished_line(&path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), left);
        }
    }
}
