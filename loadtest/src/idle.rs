//! `idle`: from the trigger to the 2xx after idleness, beside a bare round trip over one open
//! connection after the same idleness, in alternation.

use crate::compare::sink::Sink;
use crate::compare::{self, engine, request};
use crate::defaults::defaults;
use crate::result::{Finding, Machine, ResultFile, ScenarioResult};
use ferrite::webhooks::{Admission, WebhookManager, WebhookOptions};
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longer than the ringer of the engine stays awake without traffic.
const IDLENESS: Duration = Duration::from_millis(40);
/// The engine's median beside the bare one.
const P5_RATIO: f64 = 1.3;
/// How long one delivery may take.
const DELIVERY: Duration = Duration::from_secs(5);
/// The first turns open connections and are left out.
const FIRST_TURNS: usize = 3;

/// What to measure, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Turns of each side.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub turns: u32,
    /// The core of the caller, of the engine's worker, and of the bare round trip.
    #[arg(long, default_value_t = 0)]
    pub sender_core: usize,
    /// The core of the sink.
    #[arg(long, default_value_t = 1)]
    pub sink_core: usize,
    /// Pin nothing to cores.
    #[arg(long)]
    pub unpinned: bool,
    /// Bytes of the value in each event.
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// A sink that runs already, instead of one of our own.
    #[arg(long, value_name = "ADDRESS")]
    pub sink: Option<SocketAddr>,
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

/// The times of both sides, sorted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Times {
    /// From the offer to the answer, as the engine accounts for it.
    pub engine: Vec<Duration>,
    /// From the write to the answer.
    pub bare: Vec<Duration>,
}

/// Measures, prints, and writes the result.
pub fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let pinned = |core: usize| (!options.unpinned).then_some(core);
    let sink = Sink::start_unless(options.sink, pinned(options.sink_core), false)?;
    if let Some(core) = pinned(options.sender_core) {
        monoio::utils::bind_to_cpu_set([core])?;
    }
    let times = measure(options, sink.address)?;
    let result = judge(&times);
    for finding in &result.findings {
        println!("{}: {}", finding.what, finding.found);
    }
    match &options.json {
        Some(file) => Ok(compare::write(file, &ResultFile::Scenario(result))?),
        None => Ok(()),
    }
}

/// Both sides in alternation, each after the same idleness of everything.
pub fn measure(
    options: &Options,
    address: SocketAddr,
) -> Result<Times, Box<dyn std::error::Error>> {
    let bytes = request::capture(options.value_bytes, false, address)?.bytes;
    let cores = if options.unpinned { Vec::new() } else { vec![options.sender_core] };
    let webhook = WebhookOptions::default();
    let manager = engine::start(address, cores, webhook, 1)?;
    let value = vec![b'v'; options.value_bytes];
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(DELIVERY))?;
    let mut times = Times::default();
    for turn in 0..FIRST_TURNS + options.turns as usize {
        std::thread::sleep(IDLENESS);
        let bare = round_trip(&mut stream, &bytes)?;
        std::thread::sleep(IDLENESS);
        let engine = delivery(&manager, &value)?;
        if turn >= FIRST_TURNS {
            times.bare.push(bare);
            times.engine.push(engine);
        }
    }
    times.bare.sort_unstable();
    times.engine.sort_unstable();
    Ok(times)
}

/// One request and its answer.
fn round_trip(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<Duration> {
    let began = Instant::now();
    stream.write_all(bytes)?;
    compare::Message::read(stream)?;
    Ok(began.elapsed())
}

/// One event and its 2xx. Its caller sleeps meanwhile, as callers do that have nothing to do.
fn delivery(
    manager: &WebhookManager,
    value: &[u8],
) -> Result<Duration, Box<dyn std::error::Error>> {
    let before = manager.engine_stats().totals;
    let offered_us = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
    if engine::offer(manager, &engine::key(1234), value)? != Admission::Accepted {
        return Err("the engine did not accept the event".into());
    }
    let deadline = Instant::now() + DELIVERY;
    while manager.engine_stats().totals.delivered == before.delivered {
        if manager.engine_stats().totals.failed_attempts > before.failed_attempts {
            return Err("the delivery failed".into());
        }
        if Instant::now() > deadline {
            return Err("the event was not delivered in time".into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let answered_us = manager.stats("load")?.last_delivery_us.unwrap_or(offered_us);
    Ok(Duration::from_micros(answered_us.saturating_sub(offered_us)))
}

fn judge(times: &Times) -> ScenarioResult {
    let us = |times: &[Duration], fraction: f64| {
        let index = (times.len() as f64 * fraction) as usize;
        times.get(index).or(times.last()).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    let both =
        |times: &[Duration]| format!("p50 {:.0} us, p99 {:.0} us", us(times, 0.5), us(times, 0.99));
    let ratio = us(&times.engine, 0.5) / us(&times.bare, 0.5).max(f64::EPSILON);
    let finding = |what: &str, found: String, holds| Finding::new(what, found, holds);
    ScenarioResult {
        label: "idle".to_owned(),
        machine: Machine::here(),
        passed: ratio <= P5_RATIO,
        inconclusive: false,
        series: Vec::new(),
        findings: vec![
            finding("trigger to 2xx after 40 ms of idleness", both(&times.engine), true),
            finding("bare round trip after 40 ms of idleness", both(&times.bare), true),
            finding(
                "P5, ratio of the medians",
                format!("{ratio:.2} (target {P5_RATIO} at most)"),
                ratio <= P5_RATIO,
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_about_the_medians() {
        let times = |us: [u64; 3]| us.map(Duration::from_micros).to_vec();
        let good = judge(&Times { engine: times([90, 130, 999]), bare: times([50, 100, 101]) });
        assert!(good.passed);
        assert_eq!(good.findings[0].found, "p50 130 us, p99 999 us");
        assert_eq!(good.findings[2].found, "1.30 (target 1.3 at most)");
        let bad = judge(&Times { engine: times([90, 140, 150]), bare: times([50, 100, 999]) });
        assert!(!bad.passed && !bad.findings[2].holds);
    }
}
