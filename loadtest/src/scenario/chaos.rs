//! `ferrite-loadtest chaos`: receivers that break in the middle, stall, or are killed.

use super::{SECRET, ScenarioError, conclude, io, judge_histories};
use crate::result::Finding;
use crate::run;
use crate::sink::{self, Faults, Sink};
use crate::verify::Kind;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a killed receiver may not have written to its history, in seconds of events: it writes
/// once a second.
const UNWRITTEN_SECONDS: u64 = 2;
/// How long the receiver is gone after a kill.
const GONE: Duration = Duration::from_millis(300);

/// What happens to the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Disaster {
    /// Resets and half-closes in the middle of pipelined answers.
    Reset,
    /// It reads slowly and leaves requests unanswered.
    Stall,
    /// Its process is killed with SIGKILL and started again, over and over.
    Kill,
    /// The server is killed: needs the durable log.
    Server,
    /// The server's disk is full: needs the durable log.
    DiskFull,
}

/// Sends events to a receiver that meets with a disaster, and judges what both sides have seen.
/// Exit code 0: all held; 1: something broke, or there is no such scenario in this build.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What happens.
    #[arg(long, value_enum, default_value_t = Disaster::Reset)]
    pub disaster: Disaster,
    /// Seconds of events.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// Events per second.
    #[arg(long, default_value_t = 500)]
    pub rate: u64,
    /// Requests that one connection may carry at once.
    #[arg(long, default_value_t = 16)]
    pub pipeline: u32,
    /// The program to start as receiver [default: this one].
    #[arg(long, hide = true)]
    pub program: Option<PathBuf>,
    /// Write the result to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs it; `true`: all held.
///
/// # Errors
/// When there is no verdict.
pub fn chaos(options: &Options) -> Result<bool, ScenarioError> {
    let folder = tempfile::tempdir().map_err(io("a folder for the histories"))?;
    let (sent, received) = (folder.path().join("sender"), folder.path().join("receiver"));
    let findings = match options.disaster {
        Disaster::Kill => killed(options, &sent, folder.path())?,
        Disaster::Server | Disaster::DiskFull => {
            return Err(ScenarioError::NotApplicable(
                "this build has no durable log: what a server holds ends with its process",
            ));
        }
        disaster => {
            let mut faults = Faults::default();
            if disaster == Disaster::Reset {
                faults.resets = "0.03".parse().ok();
                faults.half_closes = "0.01".parse().ok();
                faults.keep_alive = Some(40);
                faults.chunked = "0.3".parse().ok();
            } else {
                faults.slow_reads = Some(50_000);
                faults.hangs = "0.001".parse().ok();
            }
            let sink = Sink::start(sink::Options {
                verify_secret: Some(SECRET.to_owned()),
                history: Some(received.clone()),
                faults,
                ..sink::Options::default()
            })
            .map_err(io("the receiver"))?;
            let ran = sending(options, sink.url("/hook"), &sent)?;
            sink.stop().map_err(io("the receiver"))?;
            vec![ran, judge_histories(&[&sent, &received])?.1]
        }
    };
    let label = format!("chaos: {:?}", options.disaster).to_lowercase();
    conclude(&label, findings, options.json.as_ref())
}

/// Sends the events, and says whether all were delivered in the end.
fn sending(options: &Options, url: String, history: &Path) -> Result<Finding, ScenarioError> {
    let run = run::Options {
        urls: vec![url],
        seconds: options.seconds,
        warmup_seconds: 0,
        drain_seconds: 60,
        rate: Some(options.rate),
        lag_limit_us: 1_000_000,
        pipeline: Some(options.pipeline),
        retries: Some(1000),
        retry_delay_ms: Some(20),
        // A stalled receiver is waited for: a request that was given up could still arrive, after
        // its next attempt, and no history can tell that from a breach.
        timeout_ms: Some(if options.disaster == Disaster::Stall { 5000 } else { 500 }),
        secret: Some(SECRET.to_owned()),
        history: Some(history.to_owned()),
        label: "chaos".to_owned(),
        ..run::Options::default()
    };
    let result = run::measure(&run, &mut run::Terminal::default())?;
    Ok(Finding {
        what: "the engine accounts for every event as delivered".to_owned(),
        found: result.void.clone().unwrap_or_else(|| {
            format!(
                "{} events, {} attempts failed and were made up for, {} given up",
                result.events, result.failed_attempts, result.dead
            )
        }),
        holds: result.void.is_none() && result.dead == 0,
    })
}

/// The receiver is a process of its own, killed each second.
fn killed(options: &Options, sent: &Path, folder: &Path) -> Result<Vec<Finding>, ScenarioError> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(io("this program"))?,
    };
    let start = |address: SocketAddr, life: usize| -> Result<(Receiver, PathBuf), ScenarioError> {
        let history = folder.join(format!("receiver-{life}"));
        let receiver = Receiver::start(&program, address, &history).map_err(io("a receiver"))?;
        Ok((receiver, history))
    };
    let (first, history) = start(SocketAddr::from(([127, 0, 0, 1], 0)), 0)?;
    let address = first.address;
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (ran, lives) = std::thread::scope(|scope| {
        let killer = scope.spawn(move || -> Result<Vec<PathBuf>, ScenarioError> {
            let (mut receiver, mut histories) = (first, vec![history]);
            while stopped.recv_timeout(Duration::from_secs(1)).is_err() {
                drop(receiver);
                std::thread::sleep(GONE);
                let (next, history) = start(address, histories.len())?;
                histories.push(history);
                receiver = next;
            }
            // What the last one has seen is written before it goes.
            std::thread::sleep(Duration::from_secs(UNWRITTEN_SECONDS));
            Ok(histories)
        });
        let ran = sending(options, format!("http://{address}/hook"), sent);
        let _ = stop.send(());
        let lives = killer.join().unwrap_or_else(|_| Ok(Vec::new()));
        (ran, lives)
    });
    let (ran, lives) = (ran?, lives?);
    lives.iter().try_for_each(|path| cut_unfinished_line(path)).map_err(io("a history"))?;
    let mut files = vec![sent];
    files.extend(lives.iter().map(PathBuf::as_path));
    let (verdict, _) = judge_histories(&files)?;
    let missing = verdict.count(Kind::Lost);
    let kills = lives.len() as u64 - 1;
    let most = kills * UNWRITTEN_SECONDS * options.rate;
    let others: Vec<String> = verdict
        .findings
        .iter()
        .filter(|found| !matches!(found.kind, Kind::Lost | Kind::Overclaimed))
        .map(|found| format!("{} x {:?} {:?}", found.count, found.kind, found.examples))
        .collect();
    Ok(vec![
        ran,
        Finding {
            what: "no event came out of order, twice at once, changed or forged".to_owned(),
            found: match others.is_empty() {
                true => format!("{kills} kills, {} requests in the histories", verdict.requests),
                false => others.join("\n"),
            },
            holds: others.is_empty() && kills > 0,
        },
        Finding {
            what: "missing in the receivers' histories: only what they had not written when they \
                   were killed"
                .to_owned(),
            found: format!("{missing}, of at most {most}"),
            holds: missing <= most,
        },
    ])
}

/// A receiver in a process of its own; killed when dropped.
#[derive(Debug)]
struct Receiver {
    child: Child,
    address: SocketAddr,
}

impl Receiver {
    fn start(program: &Path, address: SocketAddr, history: &Path) -> std::io::Result<Receiver> {
        let mut child = Command::new(program)
            .args(["sink", "--verify-secret", SECRET, "--address", &address.to_string()])
            .arg("--history")
            .arg(history)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line)?;
        }
        let text = line.trim().rsplit(' ').next().unwrap_or_default().to_owned();
        let mut receiver = Receiver { child, address };
        receiver.address = text
            .parse()
            .map_err(|_| std::io::Error::other(format!("it says {line:?}, and no address")))?;
        Ok(receiver)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // SIGKILL: it may not even finish the line that it writes.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Takes off the line that a killed receiver has not written to its end.
fn cut_unfinished_line(path: &Path) -> std::io::Result<()> {
    let bytes = std::fs::read(path)?;
    let end = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    std::fs::write(path, &bytes[..end])
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
