//! `ferrite-loadtest chaos`: receivers that break in the middle, stall, or are killed; servers that
//! are killed.

use super::process::ReceiverProcess;
use super::trial::{self, Trial};
use super::{Outcome, ScenarioError, conclude, io};
use super::{full_disk, killed_server};
use crate::defaults::defaults;
use crate::result::Finding;
use crate::run;
use crate::sink::Faults;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a receiver breaks.
pub(super) const BREAK_EVERY: Duration = Duration::from_secs(1);
/// How long a receiver or a server is gone after a kill.
pub(super) const GONE: Duration = Duration::from_millis(300);
/// The deadline of an exchange.
const TIMEOUT_MS: u64 = 500;
/// The same with a receiver that stalls, which does so for twice as long.
const STALL_TIMEOUT_MS: u64 = 200;
pub(super) const RETRY_DELAY_MS: u64 = 20;
/// Different keys: so few that each has many events, whose order can break.
pub(super) const KEYS: u64 = 200;

/// What happens to the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Disaster {
    /// Resets and half-closes in the middle of pipelined answers.
    Reset,
    /// Its process is held still, over and over: it reads and answers nothing, and reads later
    /// what was given up meanwhile.
    Stall,
    /// Its process is killed with SIGKILL and started again, over and over. It writes its history
    /// before it answers, so nothing that it answered may be missing there.
    Kill,
    /// The server is killed with SIGKILL and started again on its directory, over and over. What
    /// it has answered to its clients must arrive, in order.
    Server,
    /// The log of the server may take little, and an endpoint is gone until it is full. What no longer
    /// fits is counted, the others go on, and all goes on when the endpoint returns.
    DiskFull,
}

/// Sends events to a receiver that meets with a disaster, and judges what both sides have seen.
/// Exit code 0: all held; 1: something broke.
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
    /// The `ferrite` program, for disasters of the server [default: the one beside this program].
    #[arg(long, value_name = "PROGRAM")]
    pub server: Option<PathBuf>,
    /// Without the durable log: the scenario must fail, which shows that it can.
    #[arg(long, hide = true)]
    pub in_memory: bool,
    /// Write the result to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Default for Options {
    /// The defaults of the command line.
    fn default() -> Self {
        defaults()
    }
}

/// Runs it.
///
/// # Errors
/// When there is no verdict.
pub fn chaos(options: &Options) -> Result<Outcome, ScenarioError> {
    let folder = tempfile::tempdir().map_err(io("a folder for the histories"))?;
    let findings = match options.disaster {
        Disaster::Reset => resets(options, folder.path())?,
        Disaster::Stall => broken(options, folder.path(), STALL_TIMEOUT_MS, |receiver| {
            receiver.stall()?;
            std::thread::sleep(Duration::from_millis(2 * STALL_TIMEOUT_MS));
            receiver.go_on()
        })?,
        Disaster::Kill => broken(options, folder.path(), TIMEOUT_MS, |receiver| {
            receiver.kill()?;
            std::thread::sleep(GONE);
            receiver.live()
        })?,
        Disaster::Server => killed_server::findings(options, folder.path())?,
        Disaster::DiskFull => full_disk::findings(options, folder.path())?,
    };
    let label = format!("chaos: {:?}", options.disaster).to_lowercase();
    conclude(&label, findings, Vec::new(), options.json.as_deref())
}

fn run_options(options: &Options, folder: &Path, timeout_ms: u64) -> run::Options {
    run::Options {
        keys: KEYS,
        pipeline: Some(options.pipeline),
        retry_delay_ms: Some(RETRY_DELAY_MS),
        timeout_ms: Some(timeout_ms),
        label: "chaos".to_owned(),
        ..trial::options(folder, options.rate, options.seconds)
    }
}

fn resets(options: &Options, folder: &Path) -> Result<Vec<Finding>, ScenarioError> {
    let faults = Faults {
        resets: "0.03".parse().ok(),
        half_closes: "0.01".parse().ok(),
        keep_alive: Some(40),
        chunked: "0.3".parse().ok(),
        // Answers take their time: so others wait behind them when the connection breaks.
        latency: "uniform:0ms..3ms".parse().ok(),
        ..Faults::default()
    };
    let run = run_options(options, folder, TIMEOUT_MS);
    let trial = trial::run(run, folder, vec![faults], &mut run::Terminal::default())?;
    let unanswered: u64 = trial.seen.iter().map(|seen| seen.unanswered).sum();
    let mut findings = trial.findings();
    findings.push(Finding::new(
        "connections broke",
        format!("{unanswered} requests met a reset or half a close"),
        unanswered > 0,
    ));
    Ok(findings)
}

/// The receiver is a process of its own, broken again and again while the run goes on.
fn broken(
    options: &Options,
    folder: &Path,
    timeout_ms: u64,
    break_once: impl Fn(&mut ReceiverProcess) -> std::io::Result<()> + Sync,
) -> Result<Vec<Finding>, ScenarioError> {
    let program = match &options.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(io("this program"))?,
    };
    let mut receiver = ReceiverProcess::start(&program, folder).map_err(io("a receiver"))?;
    let urls = vec![receiver.url()];
    let run = run::Options { urls, ..run_options(options, folder, timeout_ms) };
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let (broken, break_once) = (&mut receiver, &break_once);
    let (result, breaks) = std::thread::scope(|scope| {
        let breaking = scope.spawn(move || {
            let mut breaks = 0_u64;
            while stopped.recv_timeout(BREAK_EVERY).is_err() {
                break_once(broken)?;
                breaks += 1;
            }
            Ok(breaks)
        });
        let result = run::measure(&run, &mut run::Terminal::default());
        let _ = stop.send(());
        (result, breaking.join())
    });
    let result = result?;
    let broke_down = |_| Err(std::io::Error::other("the thread that breaks it broke down"));
    let breaks = breaks.unwrap_or_else(broke_down).map_err(io("a receiver"))?;
    receiver.kill().map_err(io("a receiver"))?;
    let histories = receiver.histories.clone();
    let is_used = |history: &&PathBuf| history.metadata().is_ok_and(|file| file.len() > 0);
    let (lives, used) = (histories.len(), histories.iter().filter(is_used).count());
    let trial: Trial = trial::judge(&run, result, histories, Vec::new())?;
    let mut findings = trial.findings();
    findings.push(Finding::new(
        "the receiver broke",
        format!(
            "{breaks} times, with {} failed attempts; requests came in {used} of its {lives} lives",
            trial.result.failed_attempts
        ),
        // Of one that was killed, more than the first life must have seen requests.
        breaks > 0 && trial.result.failed_attempts > 0 && used > usize::from(lives > 1),
    ));
    Ok(findings)
}
