//! What the harness measured, as JSON: written by `run`, `compare` and the scenarios, read by
//! `report`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Any result file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "there are few of it at a time")]
pub enum ResultFile {
    /// One run of the engine.
    Run(RunResult),
    /// The same run over and over with one setting varied.
    Sweep(SweepResult),
    /// The engine beside other senders.
    Comparison(ComparisonResult),
    /// A scenario with a verdict.
    Scenario(ScenarioResult),
}

/// The machine that a result was measured on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor.
    pub processor: String,
    /// Its cores.
    pub cores: usize,
    /// Memory, in bytes.
    pub memory_bytes: u64,
    /// The kernel's name and version.
    pub kernel: String,
    /// When it was measured, RFC 3339.
    pub measured_at: String,
    /// Version of the harness.
    pub version: String,
}

/// One run of the engine.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct RunResult {
    /// A name for tables and plots.
    pub label: String,
    /// Where it was measured.
    pub machine: Machine,
    /// The options that the run was given, by their names on the command line.
    pub settings: BTreeMap<String, String>,
    /// Which core runs what, in words.
    pub cores: String,
    /// What the measured part lasted.
    pub seconds: f64,
    /// Events offered and accepted in that time.
    pub events: u64,
    /// Deliveries answered 2xx in that time.
    pub deliveries: u64,
    /// Deliveries per second.
    pub deliveries_per_second: f64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Times the engine had no room for an event.
    pub full: u64,
    /// From the intended time of an event (open loop) or its offer (closed loop) until its request
    /// has arrived at the run's own receiver, one value per delivery: the answer's way back is not
    /// in it. Of a run with `--latency`: from trigger until the answer, by the engine's clock.
    /// `None` where the receiver is another program, which keeps its times to itself.
    pub latency: Option<Latency>,
    /// By how much the generator was behind its schedule (open loop).
    pub generator_lag: Option<Latency>,
    /// Deliveries in each tenth of a second, from the start of the measured part.
    pub per_tenth: Vec<u64>,
    /// Deliveries that were dropped because a queue was full, in the whole run.
    #[serde(default)]
    pub dropped: u64,
    /// Connections that were opened in the whole run.
    #[serde(default)]
    pub connections_opened: u64,
    /// System calls that offers made to wake a worker, in the measured part.
    #[serde(default)]
    pub rings_by_callers: u64,
    /// Times that a worker broke down and was started again, in the whole run; the embedded engine
    /// tells.
    #[serde(default)]
    pub worker_restarts: u64,
    /// What the workers run on: `io_uring`, or `epoll` and why; empty if it is not known.
    #[serde(default)]
    pub driver: String,
    /// Why the run counts for nothing, if so.
    pub void: Option<String>,
}

/// A distribution of times.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Latency {
    /// How many values.
    pub count: u64,
    /// The mean, in microseconds.
    pub mean_us: f64,
    /// Quantile (0.5, 0.9, 0.99, ...) and value in microseconds, in ascending order, from the
    /// minimum (0) to the maximum (1).
    pub quantiles: Vec<(f64, f64)>,
}

impl Latency {
    /// The value at the smallest recorded quantile that is not below `quantile`.
    pub fn at(&self, quantile: f64) -> Option<f64> {
        let found = self.quantiles.iter().find(|(at, _)| *at >= quantile);
        found.or(self.quantiles.last()).map(|(_, value)| *value)
    }
}

/// One setting varied.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SweepResult {
    /// A name for tables and plots.
    pub label: String,
    /// The setting that was varied: `connections`, `workers`, `pipeline`, ...
    pub setting: String,
    /// Each value with its run.
    pub points: Vec<(u64, RunResult)>,
}

/// Several senders, in turns, against the same sink.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ComparisonResult {
    /// A name for tables and plots.
    pub label: String,
    /// Where it was measured.
    pub machine: Machine,
    /// Which core runs what, in words.
    pub cores: String,
    /// Seconds of each measurement.
    pub seconds: f64,
    /// The senders, in the order of their turns.
    pub peers: Vec<PeerResult>,
    /// Peers that were asked for and are not there, and why.
    pub absent: Vec<(String, String)>,
}

/// One sender of a comparison.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PeerResult {
    /// What it is.
    pub name: String,
    /// Requests per second, one per round.
    pub rates: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// What it does beyond posting bytes: `signs`, `pipelines 16`, ...
    pub notes: String,
    /// The part of the time that the sink ran, in the median: near 1, the sink was the limit.
    #[serde(default)]
    pub sink_busy: Option<f64>,
    /// The part of the time that the sink wanted to run and could not, because something else had
    /// its core; in the median.
    #[serde(default)]
    pub sink_held_up: Option<f64>,
}

/// A scenario and its verdict.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ScenarioResult {
    /// `soak`, `isolation`, `chaos`.
    pub label: String,
    /// Where it was measured.
    pub machine: Machine,
    /// Whether everything held.
    pub passed: bool,
    /// Whether nothing is broken as far as could be told, but something could not.
    #[serde(default)]
    pub inconclusive: bool,
    /// What was looked at: the question, the answer, whether it is as it must be.
    pub findings: Vec<Finding>,
    /// Numbers that were taken.
    #[serde(default)]
    pub series: Vec<Series>,
}

/// Numbers that were taken one after the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// What they are, with the unit.
    pub name: String,
    /// What the first number of each point is: `seconds`, `measurement`.
    pub across: String,
    /// The points.
    pub points: Vec<(f64, f64)>,
}

/// One thing that a scenario looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Finding {
    /// What was looked at.
    pub what: String,
    /// What was found.
    pub found: String,
    /// Whether it is as it must be.
    pub holds: bool,
    /// Whether it could not be told; then `holds` is `false`.
    #[serde(default)]
    pub inconclusive: bool,
}

impl Finding {
    /// Something that was looked at.
    pub fn new(what: impl Into<String>, found: impl Into<String>, holds: bool) -> Finding {
        Finding { what: what.into(), found: found.into(), holds, inconclusive: false }
    }

    /// Something that was looked at, and could not be told.
    pub fn unknown(what: impl Into<String>, found: impl Into<String>) -> Finding {
        Finding { inconclusive: true, ..Finding::new(what, found, false) }
    }
}
