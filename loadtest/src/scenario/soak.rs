//! `ferrite-loadtest soak`: steady events against receivers that misbehave, for long; nothing is
//! lost or grows.

use super::judge::{Tolerance, flatness};
use super::samples::Samples;
use super::{Outcome, ScenarioError, conclude, io, trial};
use crate::defaults::defaults;
use crate::result::Finding;
use crate::run;
use crate::sink::{Faults, Stats};
use std::path::PathBuf;
use std::time::Duration;

/// So many samples are taken, if the times below allow it.
const SAMPLES: u32 = 120;
const SAMPLE_EVERY_MIN: Duration = Duration::from_millis(100);
const SAMPLE_EVERY_MAX: Duration = Duration::from_secs(5);
/// Rows of the table of samples.
const ROWS: usize = 12;
/// A shorter soak is still warming up in its last third: that something grows means nothing.
const SECONDS_MIN: u64 = 60;
/// What memory may grow by, from the second third to the last, in MiB: the allocator's pieces.
const MEMORY_GROWTH: Tolerance = Tolerance { part: 0.05, amount: 4.0 };
/// The same for open files: connections come and go with the faults.
const DESCRIPTORS_GROWTH: Tolerance = Tolerance { part: 0.1, amount: 16.0 };
/// What may be pending more: this part of it, or the deliveries of this part of a second. A queue
/// that grows steadily is two thirds longer in the last third than in the one before.
const PENDING_GROWTH_PART: f64 = 0.25;
const PENDING_GROWTH_SECONDS: f64 = 0.25;
/// Different keys: so few that each has many events, whose order can break.
const KEYS: u64 = 1000;
/// Bytes of each value.
const VALUE_BYTES: usize = 200;
const RETRY_DELAY_MS: u64 = 20;
/// The deadline of an exchange: longer than a stall.
const TIMEOUT_MS: u64 = 1000;

/// Sends events at a steady rate to three receivers that misbehave: one resets, half-closes and
/// closes without saying so, one answers errors, one is slow, stalls and hangs. Judges what both
/// sides have seen, and whether memory, open files and pending deliveries stay flat.
/// Exit code 0: all held; 1: something broke; 3: nothing broke, but it was too short to tell
/// whether something grows.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Seconds of events.
    #[arg(long, default_value_t = 600)]
    pub seconds: u64,
    /// Events per second; each makes three deliveries, and a kilobyte of histories in a temporary
    /// folder.
    #[arg(long, default_value_t = 1000)]
    pub rate: u64,
    /// Requests that one connection may carry at once.
    #[arg(long, default_value_t = 4)]
    pub pipeline: u32,
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

/// What each receiver does to the engine.
fn faults() -> Vec<Faults> {
    let breaks = Faults {
        resets: "0.005".parse().ok(),
        half_closes: "0.002".parse().ok(),
        chunked: "0.2".parse().ok(),
        keep_alive: Some(500),
        stale: true,
        ..Faults::default()
    };
    let fails = ["500:0.02", "503:0.005", "429:0.005"];
    let fails = Faults {
        errors: fails.iter().filter_map(|text| text.parse().ok()).collect(),
        latency: "exponential:2ms".parse().ok(),
        ..Faults::default()
    };
    let slow = Faults {
        latency: "uniform:0ms..2ms".parse().ok(),
        stalls: "10s:300ms".parse().ok(),
        hangs: "0.001".parse().ok(),
        ..Faults::default()
    };
    vec![breaks, fails, slow]
}

/// Runs it.
///
/// # Errors
/// When there is no verdict.
pub fn soak(options: &Options) -> Result<Outcome, ScenarioError> {
    let folder = tempfile::tempdir().map_err(io("a folder for the histories"))?;
    let faults = faults();
    let run = run::Options {
        webhooks: faults.len() as u32,
        keys: KEYS,
        value_bytes: VALUE_BYTES,
        pipeline: Some(options.pipeline),
        retry_delay_ms: Some(RETRY_DELAY_MS),
        timeout_ms: Some(TIMEOUT_MS),
        label: "soak".to_owned(),
        ..trial::options(folder.path(), options.rate, options.seconds)
    };
    let every = Duration::from_secs(options.seconds) / SAMPLES;
    let every = every.clamp(SAMPLE_EVERY_MIN, SAMPLE_EVERY_MAX);
    let mut terminal = run::Terminal::default();
    let mut samples = Samples::new(&mut terminal, every);
    let trial = trial::run(run, folder.path(), faults, &mut samples)?;
    let mut findings = trial.findings();
    findings.push(misbehaviour(&trial.seen));
    findings.extend(growth(&samples, options));
    print!("{}", samples.table(ROWS));
    let series = vec![
        samples.series("memory, MiB", |sample| sample.memory_mib),
        samples.series("open files", |sample| sample.descriptors),
        samples.series("pending deliveries", |sample| sample.pending),
    ];
    conclude("soak", findings, series, options.json.as_deref())
}

/// The faults must have happened: else nothing was shown.
fn misbehaviour(seen: &[Stats]) -> Finding {
    let sum = |of: &dyn Fn(&Stats) -> u64| seen.iter().map(of).sum::<u64>();
    let answered = |status| sum(&|stats| stats.answered.get(&status).copied().unwrap_or(0));
    let unanswered = sum(&|stats| stats.unanswered);
    let opened = sum(&|stats| stats.connections_opened);
    let (errors, malformed) = (answered(500), sum(&|stats| stats.malformed));
    Finding::new(
        "the receivers misbehaved, and the engine did not",
        format!(
            "{} requests on {opened} connections: {unanswered} not answered, {errors} answered \
             500, {} 503, {} 429; {malformed} malformed",
            sum(&|stats| stats.requests),
            answered(503),
            answered(429),
        ),
        unanswered > 0 && errors > 0 && malformed == 0,
    )
}

/// Whether it takes more and more of something.
fn growth(samples: &Samples<'_>, options: &Options) -> Vec<Finding> {
    let long = options.seconds >= SECONDS_MIN;
    let memory = samples.values(|sample| sample.memory_mib);
    let descriptors = samples.values(|sample| sample.descriptors);
    let pending = samples.values(|sample| sample.pending);
    let mut memory = flat("memory of this process, MiB", &memory, MEMORY_GROWTH, long);
    if let Some(reason) = late_peak(&pending, options.rate).filter(|_| !memory.holds) {
        memory = Finding::unknown(memory.what, memory.found + &reason);
    }
    vec![
        memory,
        flat("open files of this process", &descriptors, DESCRIPTORS_GROWTH, long),
        flat("pending deliveries", &pending, pending_growth(options.rate), long),
    ]
}

/// A queue that is much longer than ever before in the last third takes memory that the allocator
/// keeps for a while: that is no leak, and hides one.
fn late_peak(pending: &[f64], rate: u64) -> Option<String> {
    let (before, last) = pending.split_at(pending.len() - pending.len() / 3);
    let most = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let (before, last) = (most(before), most(last));
    (last - before > pending_growth(rate).amount).then(|| {
        format!(
            "; {last:.0} deliveries were pending at once in the last third, {before:.0} at most \
             before: the machine held them up, soak it again on a quieter one"
        )
    })
}

fn pending_growth(rate: u64) -> Tolerance {
    let deliveries_per_second = rate as f64 * faults().len() as f64;
    let amount = deliveries_per_second * PENDING_GROWTH_SECONDS;
    Tolerance { part: PENDING_GROWTH_PART, amount }
}

/// `long`: long enough that growth is no warming up.
fn flat(what: &str, values: &[f64], tolerance: Tolerance, long: bool) -> Finding {
    let what = format!("{what}: flat");
    let most = values.iter().copied().fold(0.0, f64::max);
    let Some(found) = flatness(values, tolerance) else {
        return Finding::unknown(what, "too few samples");
    };
    if most == 0.0 && !what.starts_with("pending") {
        return Finding::unknown(what, "the system does not tell");
    }
    let text = format!(
        "{:.1} in the second third, {:.1} in the last (lower quartiles), at most {most:.1}; it may \
         grow by {:.0} % or {:.0}",
        found.second,
        found.last,
        tolerance.part * 100.0,
        tolerance.amount
    );
    match (found.flat, long) {
        (false, false) => Finding::unknown(what, text + "; too short a time to tell"),
        (flat, _) => Finding::new(what, text, flat),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leak_is_found_and_silence_of_the_system_is_no_pass() {
        let leak: Vec<f64> = (0..120).map(|at| 80.0 + f64::from(at) / 4.0).collect();
        let judged = |values: &[f64], long| {
            let finding = flat("memory", values, MEMORY_GROWTH, long);
            (finding.holds, finding.inconclusive)
        };
        assert_eq!(judged(&leak, true), (false, false));
        assert_eq!(judged(&leak, false), (false, true));
        assert_eq!(judged(&[80.0; 120], true), (true, false));
        assert_eq!(judged(&[0.0; 120], true), (false, true));
        assert_eq!(judged(&[80.0], true), (false, true));
    }

    #[test]
    fn a_queue_that_only_grows_is_found_and_a_short_one_may_vary() {
        let holds = |values: Vec<f64>| flat("pending", &values, pending_growth(1000), true).holds;
        assert!(!holds((0..120).map(|at| f64::from(at) * 1000.0).collect()));
        assert!(holds((0..120).map(|at| f64::from(at % 50) * 10.0).collect()));
    }

    #[test]
    fn a_late_peak_of_the_queue_hides_a_leak_and_is_none() {
        let with = |at: usize, peak: f64| {
            let mut pending = vec![10.0; 120];
            pending[at] = peak;
            late_peak(&pending, 1000).is_some()
        };
        assert!(with(100, 2610.0));
        assert!(!with(100, 700.0) && !with(20, 2610.0));
        let mut often = vec![2600.0; 120];
        often[100] = 3000.0;
        assert!(late_peak(&often, 1000).is_none());
    }

    #[test]
    fn receivers_without_faults_show_nothing() {
        assert!(!misbehaviour(&[Stats::default()]).holds);
        let answered = [(500, 1)].into();
        assert!(misbehaviour(&[Stats { unanswered: 1, answered, ..Stats::default() }]).holds);
    }
}
