//! `ferrite-loadtest soak`: steady events against a receiver that misbehaves, for long; nothing
//! is lost or grows.

use super::{SECRET, ScenarioError, conclude, io, judge, judge_histories};
use crate::result::Finding;
use crate::run;
use crate::sink::{self, Faults, Sink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Samples of memory and descriptors over the whole soak.
const SAMPLES: u32 = 60;
/// Memory that may come on top of the tolerated growth, in bytes: the allocator's whole pieces.
const MEMORY_SLACK_BYTES: f64 = 16.0 * 1024.0 * 1024.0;
/// The same for file descriptors: connections come and go.
const DESCRIPTORS_SLACK: f64 = 32.0;

/// Sends events at a steady rate to a receiver that answers errors, resets, hangs and closes, and
/// judges what both sides have seen. Exit code 0: all held; 1: something broke.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Seconds of events.
    #[arg(long, default_value_t = 600)]
    pub seconds: u64,
    /// Events per second.
    #[arg(long, default_value_t = 1000)]
    pub rate: u64,
    /// Requests that one connection may carry at once.
    #[arg(long, default_value_t = 4)]
    pub pipeline: u32,
    /// Write the result to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What the receiver does to the engine.
fn faults() -> Faults {
    let mut faults = Faults {
        latency: "exponential:2ms".parse().ok(),
        errors: ["500:0.02", "429:0.005"].iter().filter_map(|text| text.parse().ok()).collect(),
        keep_alive: Some(500),
        stale: true,
        ..Faults::default()
    };
    faults.resets = "0.005".parse().ok();
    faults.half_closes = "0.002".parse().ok();
    faults.hangs = "0.001".parse().ok();
    faults.chunked = "0.2".parse().ok();
    faults
}

/// Runs it; `true`: all held.
///
/// # Errors
/// When there is no verdict.
pub fn soak(options: &Options) -> Result<bool, ScenarioError> {
    let folder = tempfile::tempdir().map_err(io("a folder for the histories"))?;
    let (sent, received) = (folder.path().join("sender"), folder.path().join("receiver"));
    let sink = Sink::start(sink::Options {
        verify_secret: Some(SECRET.to_owned()),
        history: Some(received.clone()),
        faults: faults(),
        ..sink::Options::default()
    })
    .map_err(io("the receiver"))?;
    let run = run::Options {
        urls: vec![sink.url("/hook")],
        seconds: options.seconds,
        warmup_seconds: 0,
        drain_seconds: 60,
        rate: Some(options.rate),
        lag_limit_us: 1_000_000,
        pipeline: Some(options.pipeline),
        retries: Some(100),
        retry_delay_ms: Some(10),
        timeout_ms: Some(1000),
        secret: Some(SECRET.to_owned()),
        history: Some(sent.clone()),
        label: "soak".to_owned(),
        ..run::Options::default()
    };
    let (result, samples) = sampled(options, || run::measure(&run, &mut run::Terminal::default()));
    let result = result?;
    sink.stop().map_err(io("the receiver"))?;
    let (_, histories) = judge_histories(&[&sent, &received])?;
    let column = |pick: fn(&Sample) -> f64| samples.iter().map(pick).collect::<Vec<f64>>();
    let memory = judge::is_flat(&column(|sample| sample.memory_bytes), MEMORY_SLACK_BYTES);
    let descriptors = judge::is_flat(&column(|sample| sample.descriptors), DESCRIPTORS_SLACK);
    let findings = vec![
        Finding {
            what: "the run counts".to_owned(),
            found: result.void.clone().unwrap_or_else(|| {
                format!(
                    "{} events in {:.0} s, {} attempts failed and were made up for",
                    result.events, result.seconds, result.failed_attempts
                )
            }),
            holds: result.void.is_none(),
        },
        histories,
        Finding {
            what: "memory of this process does not grow (medians of the second and last third)"
                .to_owned(),
            found: format!("{:.1} and {:.1} MiB", memory.1 / 1048576.0, memory.2 / 1048576.0),
            holds: memory.0,
        },
        Finding {
            what: "open files of this process do not grow".to_owned(),
            found: format!("{:.0} and {:.0}", descriptors.1, descriptors.2),
            holds: descriptors.0,
        },
    ];
    conclude("soak", findings, options.json.as_ref())
}

/// What the process holds at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    memory_bytes: f64,
    descriptors: f64,
}

impl Sample {
    fn now() -> Sample {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Sample {
            memory_bytes: kibibytes.unwrap_or(0.0_f64) * 1024.0,
            descriptors: descriptors as f64,
        }
    }
}

/// Does `work`, and samples the process meanwhile.
fn sampled<T>(options: &Options, work: impl FnOnce() -> T) -> (T, Vec<Sample>) {
    let done = AtomicBool::new(false);
    let interval = Duration::from_secs(options.seconds) / SAMPLES;
    std::thread::scope(|scope| {
        let sampler = scope.spawn(|| {
            let (mut samples, began) = (Vec::new(), Instant::now());
            while !done.load(Ordering::Relaxed)
                && began.elapsed() < Duration::from_secs(options.seconds)
            {
                samples.push(Sample::now());
                std::thread::sleep(interval);
            }
            samples
        });
        let result = work();
        done.store(true, Ordering::Relaxed);
        (result, sampler.join().unwrap_or_default())
    })
}
