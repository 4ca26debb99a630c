//! `ferrite-loadtest isolation`: what one bad endpoint costs the others (P8).

use super::{ScenarioError, conclude, io, judge};
use crate::result::{Finding, RunResult};
use crate::run;
use crate::sink::{self, Faults, Sink};
use std::path::PathBuf;

/// By how much the good endpoints' p99 may move (P8).
const MOVES_MAX: f64 = 0.05;

/// What the bad endpoint does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Badness {
    /// Never answers.
    Hang,
    /// Reads a few bytes a second.
    Drip,
    /// Resets every connection.
    Reset,
    /// Answers 500.
    Error,
}

/// Measures the latency of good endpoints, without and with a bad one beside them, in turns.
/// Exit code 0: their p99 moves by less than 5 %; 1: by more, or a run counts for nothing.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Good endpoints; each event goes to all of them.
    #[arg(long, default_value_t = 99)]
    pub endpoints: usize,
    /// What the bad one does.
    #[arg(long, value_enum, default_value_t = Badness::Hang)]
    pub bad: Badness,
    /// Events per second.
    #[arg(long, default_value_t = 100)]
    pub rate: u64,
    /// Rounds, each without and with the bad one.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// Write the result to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs it; `true`: all held.
///
/// # Errors
/// When there is no verdict.
pub fn isolation(options: &Options) -> Result<bool, ScenarioError> {
    let mut faults = Faults::default();
    match options.bad {
        Badness::Hang => faults.hangs = "1".parse().ok(),
        Badness::Drip => faults.slow_reads = Some(10),
        Badness::Reset => faults.resets = "1".parse().ok(),
        Badness::Error => faults.errors = "500:1".parse().into_iter().collect(),
    }
    let sink = Sink::start(sink::Options { faults, ..sink::Options::default() })
        .map_err(io("the bad receiver"))?;
    let bad_url = sink.url("/hook");
    let (mut alone, mut beside) = (Rounds::default(), Rounds::default());
    for _ in 0..options.rounds {
        alone.add(&measured(options, None)?);
        beside.add(&measured(options, Some(bad_url.clone()))?);
    }
    sink.stop().map_err(io("the bad receiver"))?;
    let moved = judge::median(&beside.p99_us) / judge::median(&alone.p99_us) - 1.0;
    let both = |what: &str, alone: &[f64], beside: &[f64]| {
        format!("{what} {:.0} and {:.0} us", judge::median(alone), judge::median(beside))
    };
    let findings = vec![
        Finding {
            what: "the generator kept its schedule".to_owned(),
            found: format!("{} of {} runs late", alone.late + beside.late, 2 * options.rounds),
            holds: alone.late + beside.late == 0,
        },
        Finding {
            what: format!(
                "P8: p99 of {} endpoints moves by less than 5 % beside one that is bad ({:?})",
                options.endpoints, options.bad
            ),
            found: format!(
                "alone and beside: {}, {}; p99 moved by {:.1} %",
                both("p50", &alone.p50_us, &beside.p50_us),
                both("p99", &alone.p99_us, &beside.p99_us),
                moved * 100.0
            ),
            holds: moved < MOVES_MAX,
        },
    ];
    conclude("isolation", findings, options.json.as_ref())
}

/// What the rounds gave.
#[derive(Debug, Default)]
struct Rounds {
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
    late: u32,
}

impl Rounds {
    fn add(&mut self, result: &RunResult) {
        let at = |quantile| result.latency.as_ref().and_then(|latency| latency.at(quantile));
        self.p50_us.extend(at(0.5));
        self.p99_us.extend(at(0.99));
        let lag_us = result.generator_lag.as_ref().and_then(|lag| lag.at(0.99));
        self.late += u32::from(lag_us.is_none_or(|lag_us| lag_us > LAG_US_MAX));
    }
}

/// A generator that is later than this says nothing about the engine.
const LAG_US_MAX: f64 = 2000.0;

fn measured(options: &Options, bad: Option<String>) -> Result<RunResult, ScenarioError> {
    let run = run::Options {
        endpoints: options.endpoints,
        webhooks: options.endpoints as u32,
        bystanders: bad.into_iter().collect(),
        seconds: options.seconds,
        drain_seconds: 0,
        rate: Some(options.rate),
        connections: Some(8),
        timeout_ms: Some(1000),
        ..run::Options::default()
    };
    Ok(run::measure(&run, &mut run::Silent)?)
}
