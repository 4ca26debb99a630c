//! `durability`: what the durable log costs (P7), in turns with an engine without one, and how long
//! a promise takes, beside what the device takes for one sync.

use crate::compare::engine::{durable, start_with};
use crate::compare::table::{median, ratio};
use crate::compare::{self, Error};
use crate::defaults::defaults;
use crate::result::{ComparisonResult, PeerResult, ResultFile};
use crate::sink::{self, Sink};
use ferrite::webhooks::block_on::block_on;
use ferrite::webhooks::{EventRef, EventValue, Fsync, WebhookManager, WebhookOptions, WhenFull};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// With everysec, deliveries are at least this part of those without a log.
const P7: f64 = 0.85;
/// Syncs of the device that are timed.
const SYNCS: usize = 100;
/// What is written before each of them: a block.
const SYNC_BYTES: usize = 4096;
/// The names of the modes, as `compare` has them, behind the one without a log.
const MODES: [Fsync; 3] = [Fsync::EverySecond, Fsync::No, Fsync::Always];
/// Callers that wait at the same time, in the second measurement of a promise.
const CALLERS: usize = 16;

/// Deliveries without the durable log and with it, in turns; and how long `trigger().await` takes.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How often each mode has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds of each measurement, after a short warm-up.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// The core of the engine: its caller, its worker and its log.
    #[arg(long, default_value_t = 0)]
    pub sender_core: usize,
    /// The core of the sink.
    #[arg(long, default_value_t = 1)]
    pub sink_core: usize,
    /// Pin nothing to cores.
    #[arg(long)]
    pub unpinned: bool,
    /// Requests that one connection may carry at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=128))]
    pub pipeline: u32,
    /// Bytes of the value in each event.
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// Promises that each caller waits for, one after the other.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    pub promises: u32,
    /// Where the logs are made: on the device that is to be measured.
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    pub data_dir: PathBuf,
    /// Write the comparison to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Default for Options {
    /// The defaults of the command line.
    fn default() -> Self {
        defaults()
    }
}

/// Median and 99th percentile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// Half took no longer.
    pub p50: Duration,
    /// One in a hundred took longer.
    pub p99: Duration,
}

impl Times {
    /// Of at least one time.
    fn of(mut times: Vec<Duration>) -> Times {
        times.sort_unstable();
        let at = |part: usize| times.get((times.len().max(1) - 1) * part / 100);
        let at = |part| at(part).copied().unwrap_or_default();
        Times { p50: at(50), p99: at(99) }
    }
}

/// Measures, prints, and writes the result.
///
/// # Errors
/// As [`compare::compare`]; and when the directory cannot be written.
pub fn run(options: &Options) -> Result<(), Error> {
    let failed = |error| Error::File { file: options.data_dir.clone(), error };
    let before = probe(&options.data_dir).map_err(failed)?;
    let result = compare::compare(&comparison(options))?;
    let after = probe(&options.data_dir).map_err(failed)?;
    print!("{}", table(&result));
    println!("\nfdatasync of {SYNC_BYTES} bytes on this device, {SYNCS} times: {}", text(before));
    println!("the same afterwards: {}", text(after));
    println!("\ntrigger().await, one caller; then {CALLERS} callers at once:");
    for fsync in [None].into_iter().chain(MODES.map(Some)) {
        let (alone, together, per_second) = promises(options, fsync).map_err(Error::Usage)?;
        println!(
            "{:9}  {}; {}, {per_second:.0} promises/s",
            name(fsync),
            text(alone),
            text(together)
        );
    }
    match &options.json {
        Some(file) => compare::write(file, &ResultFile::Comparison(result)),
        None => Ok(()),
    }
}

fn name(fsync: Option<Fsync>) -> &'static str {
    fsync.map_or("off", Fsync::name)
}

fn text(times: Times) -> String {
    format!("p50 {:.1?}, p99 {:.1?}", times.p50, times.p99)
}

fn comparison(options: &Options) -> compare::Options {
    let base = if options.pipeline > 1 { "engine-pipelined" } else { "engine" };
    let modes = MODES.map(|fsync| format!("{base}-{}", fsync.name()));
    compare::Options {
        rounds: options.rounds,
        seconds: options.seconds,
        sender_core: options.sender_core,
        sink_core: options.sink_core,
        unpinned: options.unpinned,
        pipeline: options.pipeline,
        value_bytes: options.value_bytes,
        data_dir: options.data_dir.clone(),
        peers: [base.to_owned()].into_iter().chain(modes).collect(),
        label: "durability".to_owned(),
        ..compare::Options::default()
    }
}

/// Times the syncs of a file that grows, as the log does it.
fn probe(folder: &Path) -> io::Result<Times> {
    let folder = tempfile::tempdir_in(folder)?;
    let path = folder.path().join("probe");
    let mut file = OpenOptions::new().create_new(true).append(true).open(path)?;
    let block = [7; SYNC_BYTES];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&block)?;
        let began = Instant::now();
        file.sync_data()?;
        times.push(began.elapsed());
    }
    Ok(Times::of(times))
}

fn table(result: &ComparisonResult) -> String {
    let mut text = String::new();
    let rounds = result.peers.iter().map(|peer| peer.rates.len()).max().unwrap_or_default();
    let _ = writeln!(
        text,
        "{}; {rounds} rounds of {} s each, in turns\ndeliveries per second as the sink counts them; \
         x off: median of each round's ratio\n",
        result.cores, result.seconds
    );
    let Some(base) = result.peers.first() else { return text };
    let _ = writeln!(text, "{:9}  {:>9}  {:>15}  {:>6}", "fsync", "median", "min..max", "x off");
    for peer in &result.peers {
        let _ = writeln!(text, "{}", row(peer, base));
    }
    for (name, reason) in &result.absent {
        let _ = writeln!(text, "absent: {name}: {reason}");
    }
    let everysec = result.peers.iter().find(|peer| peer.name.ends_with("-everysec"));
    if let Some(ratio) = everysec.and_then(|everysec| ratio(everysec, base)) {
        let _ = writeln!(text, "P7: everysec {ratio:.2} x off (target {P7})");
    }
    text
}

fn row(peer: &PeerResult, base: &PeerResult) -> String {
    let fsync = peer.name.rsplit('-').next().and_then(Fsync::from_name);
    let least = peer.rates.iter().copied().fold(f64::INFINITY, f64::min);
    let most = peer.rates.iter().copied().fold(0.0, f64::max);
    let times = ratio(peer, base).map_or("-".to_owned(), |times| format!("{times:.2}"));
    let spread = format!("{least:.0}..{most:.0}");
    format!("{:9}  {:>9.0}  {spread:>15}  {times:>6}", name(fsync), median(&peer.rates))
}

/// How long promises take: one caller, several at once, and how many of the latter per second.
fn promises(options: &Options, fsync: Option<Fsync>) -> Result<(Times, Times, f64), String> {
    let folder = tempfile::tempdir_in(&options.data_dir).map_err(|error| error.to_string())?;
    let sink = Sink::start(sink::Options::default()).map_err(|error| error.to_string())?;
    let config = durable(fsync, folder.path());
    let webhook = WebhookOptions::default();
    let manager = start_with(config, sink.address(), Vec::new(), webhook, 64)?;
    let one = |caller: usize| -> Result<Vec<Duration>, String> {
        let value = vec![b'v'; options.value_bytes];
        (0..options.promises).map(|number| promise(&manager, caller, number, &value)).collect()
    };
    one(0)?;
    let alone = Times::of(one(0)?);
    let began = Instant::now();
    let together: Result<Vec<Vec<Duration>>, String> = std::thread::scope(|scope| {
        let one = &one;
        let callers: Vec<_> = (0..CALLERS).map(|caller| scope.spawn(move || one(caller))).collect();
        let end = |caller: std::thread::ScopedJoinHandle<'_, _>| {
            caller.join().unwrap_or_else(|_| Err("a caller panicked".to_owned()))
        };
        callers.into_iter().map(end).collect()
    });
    let together = together?.concat();
    let per_second = together.len() as f64 / began.elapsed().as_secs_f64();
    block_on(manager.shutdown(Duration::from_secs(5)));
    Ok((alone, Times::of(together), per_second))
}

fn promise(
    manager: &WebhookManager,
    caller: usize,
    number: u32,
    value: &[u8],
) -> Result<Duration, String> {
    let key = format!("order:{caller}:{number}");
    let value = EventValue::Bytes(value);
    let event = EventRef { key: key.as_bytes(), value, ..EventRef::default() };
    let began = Instant::now();
    block_on(manager.trigger_event(event, WhenFull::Refuse)).map_err(|error| error.to_string())?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_at_their_place() {
        let times = Times::of((1..=100).rev().map(Duration::from_millis).collect());
        assert_eq!(times.p50, Duration::from_millis(50));
        assert_eq!(times.p99, Duration::from_millis(99));
    }

    #[test]
    fn the_device_is_asked() {
        let folder = tempfile::tempdir().unwrap();
        let times = probe(folder.path()).unwrap();
        assert!(times.p50 > Duration::ZERO && times.p50 <= times.p99);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_table_says_what_the_log_costs() {
        let peer = |name: &str, rates: &[f64]| PeerResult {
            name: name.to_owned(),
            rates: rates.to_vec(),
            ..PeerResult::default()
        };
        let result = ComparisonResult {
            peers: vec![peer("engine", &[100.0, 50.0]), peer("engine-everysec", &[90.0, 45.0])],
            ..ComparisonResult::default()
        };
        let text = table(&result);
        assert!(text.ends_with("P7: everysec 0.90 x off (target 0.85)\n"), "{text}");
        let row = text.lines().find(|line| line.starts_with("everysec")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells, ["everysec", "68", "45..90", "0.90"]);
    }
}
