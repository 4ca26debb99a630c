//! A server that is killed with SIGKILL and started again, over and over, under load (DUR-1).

use super::chaos::{BREAK_EVERY, GONE, KEYS, Options, RETRY_DELAY_MS};
use super::server_process::ServerProcess;
use super::writers::{Whereabouts, Writer, Written};
use super::{SECRET, ScenarioError, io};
use crate::history::HistoryLine;
use crate::result::Finding;
use crate::run::RunError;
use crate::run::client::Client;
use crate::sink::{self, Faults, Sink};
use crate::verify::{self, Rules, Verdict};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Clients that write at once.
const WRITERS: u64 = 2;
/// Webhooks and receivers: one that is slow, and one that fails.
const WEBHOOKS: [&str; 2] = ["slow", "failing"];
/// Pending deliveries are waited for so long, at the end.
const DRAIN: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);
/// The part of the deliveries that may come again: with a kill every second, about what is under
/// way at any time.
const AGAIN_MAX: f64 = 0.1;
/// Lines of a verdict that are shown.
pub(super) const VERDICT_LINES_MAX: usize = 12;

/// Kills the server for as long as the options say, and judges.
pub(super) fn findings(options: &Options, folder: &Path) -> Result<Vec<Finding>, ScenarioError> {
    let (sinks, histories) = receivers(folder)?;
    let config = format!(
        "[webhooks.delivery]\nbreaker_open_ms = 20\nbreaker_open_max_ms = 100\n[webhooks.queue]\n\
         persistence = {}\n",
        !options.in_memory
    );
    let program = options.server.as_deref();
    let mut server = ServerProcess::start(program, folder, &config).map_err(io("the server"))?;
    make_webhooks(&mut server.client()?, &sinks)?;
    let whereabouts = Whereabouts::new(server.target());
    let (killed, written) = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|number| {
                let keys = (KEYS / WRITERS) as usize;
                let writer = Writer::new(format!("k{number}:"), keys, options.rate / WRITERS);
                let whereabouts = &whereabouts;
                scope.spawn(move || writer.run(whereabouts))
            })
            .collect();
        let seconds = Duration::from_secs(options.seconds);
        let killed = kill_again_and_again(&mut server, &whereabouts, &sinks, seconds);
        whereabouts.stop();
        let written: Result<Vec<Written>, ScenarioError> = writers
            .into_iter()
            .map(|writer| writer.join().unwrap_or(Err(RunError::Broken.into())))
            .collect();
        (killed, written)
    });
    let (restarts, written) = (killed?, written?);
    let left = drain(&mut server.client()?)?;
    server.stop().map_err(io("the server"))?;
    for sink in sinks {
        sink.stop().map_err(io("a receiver"))?;
    }
    let sender = folder.join("sender");
    let lines: Vec<HistoryLine> =
        restarts.iter().map(|at_us| HistoryLine::Restarted { at_us: *at_us }).collect();
    write_history(&sender, &lines, &written).map_err(io("the sender's history"))?;
    let verdict = verify::check_files(&[histories, vec![sender]].concat(), Rules::default())?;
    Ok(judge(&restarts, &written, left, &verdict))
}

fn receivers(folder: &Path) -> Result<(Vec<Sink>, Vec<PathBuf>), ScenarioError> {
    let slow = Faults { latency: "uniform:0ms..5ms".parse().ok(), ..Faults::default() };
    let failing = Faults {
        errors: "500:0.05".parse().ok().into_iter().collect(),
        resets: "0.02".parse().ok(),
        ..Faults::default()
    };
    let (mut sinks, mut histories) = (Vec::new(), Vec::new());
    for (name, faults) in WEBHOOKS.into_iter().zip([slow, failing]) {
        let history = folder.join(format!("receiver-{name}"));
        let options = sink::Options {
            verify_secret: Some(SECRET.to_owned()),
            history: Some(history.clone()),
            faults,
            ..sink::Options::default()
        };
        sinks.push(Sink::start(options).map_err(io("a receiver"))?);
        histories.push(history);
    }
    Ok((sinks, histories))
}

/// Makes the webhooks that are not there.
fn make_webhooks(client: &mut Client, sinks: &[Sink]) -> Result<(), ScenarioError> {
    for (name, sink) in WEBHOOKS.into_iter().zip(sinks) {
        if client.call("WEBHOOK.INFO", &[name.as_bytes()], |_| ()).is_ok() {
            continue;
        }
        let (url, delay) = (sink.url(&format!("/{name}")), RETRY_DELAY_MS.to_string());
        let words = [
            name,
            &url,
            "RETRIES",
            "1000",
            "RETRY_DELAY",
            &delay,
            "RETRY_BACKOFF",
            "fixed",
            "SECRET",
            SECRET,
        ];
        let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
        client.call("WEBHOOK.CREATE", &words, |_| ())?;
    }
    Ok(())
}

/// Returns when the server was started again, in microseconds since 1970.
fn kill_again_and_again(
    server: &mut ServerProcess,
    whereabouts: &Whereabouts,
    sinks: &[Sink],
    seconds: Duration,
) -> Result<Vec<u64>, ScenarioError> {
    let began = Instant::now();
    let mut restarts = Vec::new();
    // Not always at the same distance from the start.
    let mut random = fastrand::Rng::new();
    while began.elapsed() < seconds {
        std::thread::sleep(BREAK_EVERY.mul_f64(0.2 + 0.8 * random.f64()));
        whereabouts.set(None);
        server.kill().map_err(io("the server"))?;
        // What it had sent is read before the next one is there.
        std::thread::sleep(GONE);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        restarts.push(since_1970.as_micros() as u64);
        server.live().map_err(io("the server"))?;
        make_webhooks(&mut server.client()?, sinks)?;
        whereabouts.set(Some(server.target()));
    }
    Ok(restarts)
}

/// Waits until nothing is pending; returns what is left.
pub(super) fn drain(client: &mut Client) -> Result<u64, ScenarioError> {
    let began = Instant::now();
    loop {
        let numbers = client.numbers("WEBHOOK.STATS", &[])?;
        let pending = numbers.get("pending_deliveries").copied().unwrap_or_default();
        if pending == 0 || began.elapsed() > DRAIN {
            return Ok(pending);
        }
        std::thread::sleep(LOOK);
    }
}

/// The sender's history: `first`, and what was written.
pub(super) fn write_history(
    path: &Path,
    first: &[HistoryLine],
    written: &[Written],
) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let writes = written.iter().flat_map(|written| &written.lines);
    for line in first.iter().chain(writes) {
        serde_json::to_writer(&mut file, line)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

fn judge(restarts: &[u64], written: &[Written], left: u64, verdict: &Verdict) -> Vec<Finding> {
    let sum = |of: fn(&Written) -> u64| written.iter().map(of).sum::<u64>();
    let text = verdict.to_string();
    let shown: Vec<&str> = text.lines().take(VERDICT_LINES_MAX).collect();
    let deliveries = verdict.accepted * WEBHOOKS.len() as u64;
    vec![
        Finding::new(
            "the server was killed at work",
            format!(
                "{} times; {} connections of clients were cut off, with {} writes under way",
                restarts.len(),
                sum(|written| written.cut_off),
                sum(|written| written.unanswered)
            ),
            !restarts.is_empty() && sum(|written| written.cut_off) > 0,
        ),
        Finding::new(
            "DUR-1: every write that was answered was delivered, in the order of its key, with one \
             id, body and signature",
            shown.join("\n"),
            verdict.passed && verdict.accepted > 0,
        ),
        Finding::new("nothing is left over", format!("{left} pending"), left == 0),
        Finding::new(
            "only what was under way came again",
            format!(
                "{} of {deliveries} deliveries ({:.2} %), {:.1} for each kill",
                verdict.duplicates,
                100.0 * verdict.duplicates as f64 / deliveries.max(1) as f64,
                verdict.duplicates as f64 / restarts.len().max(1) as f64
            ),
            verdict.duplicates as f64 <= AGAIN_MAX * deliveries as f64,
        ),
    ]
}
