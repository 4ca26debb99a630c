//! Programs as senders: wrk, oha, and any command.

use super::message::Message;
use super::output;
use super::peer::{Sender, Sent, Stage};
use rustix::process::{Pid, Signal, kill_process_group};
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the program and the stop flag are looked at.
const LOOK: Duration = Duration::from_millis(5);
/// A program that was interrupted is killed after this long.
const ENDING_MS: u64 = 2000;
/// How much of a failed program's output is shown.
const SHOWN_BYTES: usize = 400;

type Build = Box<dyn Fn(&Stage) -> io::Result<Command> + Send>;

/// A program that sends until it is interrupted.
pub(super) struct CommandPeer {
    build: Build,
    /// What its output says about its own count and about failures.
    read: fn(&str) -> Result<Sent, String>,
}

/// wrk, which posts the very bytes of the captured request.
pub(super) fn wrk(pipeline: usize) -> Result<CommandPeer, String> {
    find("wrk", "Debian: apt-get install wrk")?;
    let build = move |stage: &Stage| {
        let script = stage.folder.join(format!("wrk-{pipeline}.lua"));
        fs::write(&script, wrk_script(&stage.plain, pipeline))?;
        let mut command = Command::new("wrk");
        command.args(["--threads", "1", "--connections", &stage.connections.to_string()]);
        command.args(["--duration", &whole_seconds(stage), "--script"]).arg(script);
        command.arg(stage.url());
        Ok(command)
    };
    Ok(CommandPeer { build: Box::new(build), read: output::wrk })
}

/// `wrk.format` is asked once, so Lua costs nothing per request.
fn wrk_script(message: &Message, pipeline: usize) -> String {
    let bytes: String = message.bytes.iter().map(|byte| format!("\\{byte:03}")).collect();
    format!("wrk.format = function() return string.rep(\"{bytes}\", {pipeline}) end\n")
}

/// oha, with the headers and the body of the captured request.
pub(super) fn oha() -> Result<CommandPeer, String> {
    find("oha", "cargo install oha")?;
    let build = |stage: &Stage| {
        let mut command = Command::new("oha");
        command.args(["--no-tui", "-m", "POST", "-c", &stage.connections.to_string()]);
        command.args(["-z", &format!("{}s", whole_seconds(stage)), "-D"]).arg(body_file(stage)?);
        for (name, value) in sent_headers(&stage.plain) {
            command.args(["-H", &format!("{name}: {value}")]);
        }
        command.arg(stage.url());
        Ok(command)
    };
    Ok(CommandPeer { build: Box::new(build), read: output::oha })
}

/// The headers that a client does not write by itself.
pub(super) fn sent_headers(message: &Message) -> impl Iterator<Item = (&str, &str)> {
    let own = ["host", "content-length"];
    message.headers().filter(move |(name, _)| !own.contains(&name.to_ascii_lowercase().as_str()))
}

fn find(program: &str, install: &str) -> Result<PathBuf, String> {
    on_path(program).ok_or_else(|| format!("not installed ({install})"))
}

/// Where a program is.
pub(super) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn whole_seconds(stage: &Stage) -> String {
    format!("{:.0}", stage.seconds_max.ceil().max(1.0))
}

fn body_file(stage: &Stage) -> io::Result<PathBuf> {
    let file = stage.folder.join("body.json");
    fs::write(&file, stage.plain.body())?;
    Ok(file)
}

impl CommandPeer {
    /// Any command line, for the shell, with what stands in braces put in.
    pub(super) fn custom(line: &str) -> CommandPeer {
        let line = line.trim().to_owned();
        let build = move |stage: &Stage| {
            let body = body_file(stage)?;
            let mut command = Command::new("sh");
            command.arg("-c").arg(fill(&line, stage, &body.to_string_lossy()));
            Ok(command)
        };
        CommandPeer { build: Box::new(build), read: |_| Ok(Sent::default()) }
    }

    fn start(&self, stage: &Stage) -> io::Result<(Child, PathBuf)> {
        let output = stage.folder.join("output.txt");
        let file = File::create(&output)?;
        let mut command = (self.build)(stage)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        // A group of its own: what a shell has started ends with it.
        Ok((command.process_group(0).spawn()?, output))
    }
}

fn fill(line: &str, stage: &Stage, body_file: &str) -> String {
    let core = stage.core.map_or_else(String::new, |core| core.to_string());
    line.replace("{url}", &stage.url())
        .replace("{seconds}", &whole_seconds(stage))
        .replace("{core}", &core)
        .replace("{connections}", &stage.connections.to_string())
        .replace("{body-file}", body_file)
}

impl Sender for CommandPeer {
    fn send(&mut self, stage: &Stage, stop: &AtomicBool) -> Result<Sent, String> {
        let (child, output) = self.start(stage).map_err(|error| error.to_string())?;
        let mut child = Group(child);
        let stopped = child.run_until(stop).map_err(|error| error.to_string())?;
        child.end();
        let text = fs::read_to_string(output).unwrap_or_default();
        if stopped {
            return (self.read)(&text);
        }
        let start = text.len().saturating_sub(SHOWN_BYTES);
        let end = text.get(start..).unwrap_or_default().trim();
        Err(format!("ended before it was told to: {end}"))
    }
}

/// A process and everything that it has started in its group; ends when it is dropped.
pub(super) struct Group(pub Child);

impl Group {
    /// Waits until `stop` is set (`true`) or the process has ended (`false`).
    fn run_until(&mut self, stop: &AtomicBool) -> io::Result<bool> {
        while !stop.load(Ordering::Relaxed) {
            if self.0.try_wait()?.is_some() {
                return Ok(false);
            }
            std::thread::sleep(LOOK);
        }
        Ok(true)
    }

    /// Interrupts the group, and kills it if that is not enough.
    pub(super) fn end(&mut self) {
        self.signal(Signal::INT);
        let deadline = Instant::now() + Duration::from_millis(ENDING_MS);
        while matches!(self.0.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
        self.signal(Signal::KILL);
        let _ = self.0.wait();
    }

    fn signal(&self, signal: Signal) {
        let _ = kill_process_group(Pid::from_child(&self.0), signal);
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            self.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::stage;
    use std::path::Path;

    #[test]
    fn braces_are_filled() {
        let stage = stage(Path::new("/"));
        let line = fill("ab -c {connections} -t {seconds} -p {body-file} {url}", &stage, "/b");
        assert_eq!(line, "ab -c 4 -t 2 -p /b http://127.0.0.1:9/hook");
        assert_eq!(
            fill("taskset -c {core}", &Stage { core: Some(1), ..stage }, ""),
            "taskset -c 1"
        );
    }

    #[test]
    fn wrk_is_given_the_very_bytes() {
        let message = Message { bytes: b"P \"\r\n\r\nb".to_vec(), body_at: 7 };
        let bytes = r"\080\032\034\013\010\013\010\098";
        let script = format!("wrk.format = function() return string.rep(\"{bytes}\", 16) end\n");
        assert_eq!(wrk_script(&message, 16), script);
    }

    #[test]
    fn a_command_that_ends_early_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let mut peer = CommandPeer::custom("echo no such host; exit 3");
        let error = peer.send(&stage(folder.path()), &AtomicBool::new(false)).unwrap_err();
        assert_eq!(error, "ended before it was told to: no such host");
    }

    #[test]
    fn a_command_is_ended_with_all_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let (stage, stop) = (stage(folder.path()), AtomicBool::new(false));
        let child_file = folder.path().join("body.json.child");
        let child = || fs::read_to_string(&child_file).unwrap_or_default().trim().to_owned();
        let mut peer = CommandPeer::custom("sleep 600 & echo $! > {body-file}.child; wait");
        std::thread::scope(|scope| {
            let running = scope.spawn(|| peer.send(&stage, &stop));
            while child().is_empty() {
                std::thread::sleep(LOOK);
            }
            stop.store(true, Ordering::Relaxed);
            running.join().unwrap().unwrap();
        });
        let state = || fs::read_to_string(format!("/proc/{}/stat", child())).unwrap_or_default();
        // Whoever takes over orphans may need a moment to bury it.
        let deadline = Instant::now() + Duration::from_secs(10);
        while !state().is_empty() && !state().contains(") Z ") {
            assert!(Instant::now() < deadline, "{} still runs", child());
            std::thread::sleep(LOOK);
        }
    }
}
