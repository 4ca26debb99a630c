//! `ferrite-loadtest isolation`: what one bad endpoint costs the others (P8).

use super::judge::{Decision, Shift, median, shift};
use super::{Outcome, ScenarioError, conclude, io};
use crate::defaults::defaults;
use crate::result::{Finding, RunResult, Series};
use crate::run::{self, Progress};
use crate::sink::{self, Faults, Sink};
use clap::ValueEnum;
use std::path::PathBuf;

/// By how much the good endpoints' p99 may move (P8).
const MOVES_MAX: f64 = 0.05;
/// Connections to each endpoint.
const CONNECTIONS: u32 = 8;
/// An exchange with a bad endpoint ends here.
const TIMEOUT_MS: u64 = 1000;
/// After the last event the good endpoints have so long for what is still on its way; a bad one
/// keeps the run waiting as long.
const DRAIN_SECONDS: u64 = 1;
/// What a dripping endpoint reads of each connection.
const DRIP_BYTES_PER_SECOND: u64 = 50;
/// A generator that is later than this at its 99th percentile says nothing about the engine.
const LAG_US_MAX: f64 = 2000.0;
/// What `--quick` measures.
const QUICK: (usize, u32, u64) = (10, 1, 1);

/// What the bad endpoint does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Badness {
    /// Takes requests and never answers.
    Hung,
    /// Reads a few bytes a second.
    Drip,
    /// Resets every connection.
    Reset,
    /// Answers 500.
    #[value(name = "500")]
    Error,
}

/// Measures the latency of good endpoints, with one more that is good and with one that is bad, in
/// turns, and judges each kind of bad endpoint: the good ones' p99 moves by less than 5 %, or by
/// more, or the measurements without a bad endpoint differ too much among themselves to tell.
/// Exit code 0: it moves by less beside every kind; 1: by more beside one; 3: nobody knows.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Good endpoints; each event goes to all of them.
    #[arg(long, default_value_t = 99)]
    pub endpoints: usize,
    /// What the bad one does; each kind is measured and judged by itself.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Badness::value_variants().to_vec())]
    pub bad: Vec<Badness>,
    /// Events per second.
    #[arg(long, default_value_t = 100)]
    pub rate: u64,
    /// Rounds; each has every kind once, and two measurements without a bad endpoint.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds of each measurement, after one that warms up.
    #[arg(long, default_value_t = 5)]
    pub seconds: u64,
    /// One short round of few endpoints: shows that it works, and is always inconclusive.
    #[arg(long, conflicts_with_all = ["endpoints", "rounds", "seconds"])]
    pub quick: bool,
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

impl Badness {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn faults(self) -> Faults {
        let all = "1".parse().ok();
        match self {
            Badness::Hung => Faults { hangs: all, ..Faults::default() },
            Badness::Drip => {
                Faults { slow_reads: Some(DRIP_BYTES_PER_SECOND), ..Faults::default() }
            }
            Badness::Reset => Faults { resets: all, ..Faults::default() },
            Badness::Error => {
                Faults { errors: "500:1".parse().into_iter().collect(), ..Faults::default() }
            }
        }
    }
}

/// Runs it.
///
/// # Errors
/// When there is no verdict.
pub fn isolation(options: &Options) -> Result<Outcome, ScenarioError> {
    let mut options = options.clone();
    if options.quick {
        (options.endpoints, options.rounds, options.seconds) = QUICK;
    }
    let mut conditions: Vec<Condition> = vec![Condition::new(None)];
    conditions.extend(options.bad.iter().map(|kind| Condition::new(Some(*kind))));
    let mut progress = run::Terminal::default();
    for round in 0..options.rounds as usize {
        for index in turns(round, options.bad.len()) {
            conditions[index].measure(&options, &mut progress)?;
        }
    }
    let Some((alone, beside)) = conditions.split_first() else { return Ok(Outcome::Inconclusive) };
    let shifts: Vec<Option<Shift>> =
        beside.iter().map(|kind| shift(&alone.p99_us, &kind.p99_us, MOVES_MAX)).collect();
    print!("{}", table(alone, beside, &shifts));
    let mut findings: Vec<Finding> = conditions.iter().map(Condition::arrived).collect();
    findings.extend(beside.iter().map(Condition::misbehaved));
    findings.extend(beside.iter().zip(&shifts).map(|(kind, shift)| kind.judged(shift.as_ref())));
    let series = conditions.iter().map(Condition::series).collect();
    conclude("isolation", findings, series, options.json.as_deref())
}

/// The order of one round: 0 is without a bad endpoint, the others are the kinds. Kinds take
/// turns in who comes first; before each two of them comes one without. Every other round goes
/// backwards: so what drifts meets all alike.
fn turns(round: usize, kinds: usize) -> Vec<usize> {
    let mut turns = Vec::new();
    for place in 0..kinds {
        if place % 2 == 0 {
            turns.push(0);
        }
        turns.push(1 + (place + round) % kinds);
    }
    if round % 2 == 1 {
        turns.reverse();
    }
    turns
}

/// All measurements with one kind of endpoint beside the good ones.
#[derive(Debug, Default)]
struct Condition {
    bad: Option<Badness>,
    p50_us: Vec<f64>,
    p99_us: Vec<f64>,
    /// Measurements whose generator was late: they are left out.
    late: u32,
    /// Deliveries to good endpoints that should have arrived, and that did.
    wanted: u64,
    arrived: u64,
    /// What the endpoint beside them has seen.
    connections: u64,
    answered: u64,
    answered_2xx: u64,
}

impl Condition {
    fn new(bad: Option<Badness>) -> Condition {
        Condition { bad, ..Condition::default() }
    }

    fn name(&self) -> String {
        self.bad.map_or_else(|| "none".to_owned(), Badness::name)
    }

    /// The endpoint beside the good ones is there in either case: so the same are measured.
    fn measure(
        &mut self,
        options: &Options,
        progress: &mut dyn Progress,
    ) -> Result<(), ScenarioError> {
        let faults = self.bad.map(Badness::faults).unwrap_or_default();
        let sink = Sink::start(sink::Options { faults, ..sink::Options::default() })
            .map_err(io("the endpoint beside the others"))?;
        let run = run::Options {
            endpoints: options.endpoints,
            webhooks: u32::try_from(options.endpoints).unwrap_or(u32::MAX),
            bystanders: vec![sink.url("/hook")],
            seconds: options.seconds,
            drain_seconds: DRAIN_SECONDS,
            rate: Some(options.rate),
            connections: Some(CONNECTIONS),
            timeout_ms: Some(TIMEOUT_MS),
            ..run::Options::default()
        };
        let result = run::measure(&run, progress)?;
        let seen = sink.stop().map_err(io("the endpoint beside the others"))?;
        self.connections += seen.connections_opened;
        self.answered += seen.answered.values().sum::<u64>();
        self.answered_2xx += seen.answered.range(200..300).map(|(_, count)| count).sum::<u64>();
        self.add(&result, options.endpoints);
        Ok(())
    }

    fn add(&mut self, result: &RunResult, endpoints: usize) {
        let latency = result.latency.as_ref();
        self.wanted += result.events * endpoints as u64;
        self.arrived += latency.map_or(0, |latency| latency.count);
        let lag_us = result.generator_lag.as_ref().and_then(|lag| lag.at(0.99));
        if lag_us.is_none_or(|lag_us| lag_us > LAG_US_MAX) {
            self.late += 1;
            return;
        }
        self.p50_us.extend(latency.and_then(|latency| latency.at(0.5)));
        self.p99_us.extend(latency.and_then(|latency| latency.at(0.99)));
    }

    /// What does not arrive has no latency: it must not be missed.
    fn arrived(&self) -> Finding {
        Finding::new(
            format!("bad endpoint: {}; all deliveries to the good ones arrived", self.name()),
            format!("{} of {}", self.arrived, self.wanted),
            self.arrived == self.wanted && self.wanted > 0,
        )
    }

    /// The bad endpoint must have been bad: else nothing was shown.
    fn misbehaved(&self) -> Finding {
        let Condition { connections, answered, answered_2xx, .. } = self;
        Finding::new(
            format!("bad endpoint: {}; it was bad", self.name()),
            format!("{connections} connections, {answered} answers, {answered_2xx} of them 2xx"),
            *connections > 0 && *answered_2xx == 0,
        )
    }

    fn judged(&self, shift: Option<&Shift>) -> Finding {
        let what = format!(
            "P8, bad endpoint: {}; p99 of the good ones moves by less than {:.0} %",
            self.name(),
            MOVES_MAX * 100.0
        );
        let Some(shift) = shift else {
            return Finding::unknown(what, "nothing was measured: the generator was always late");
        };
        let found = format!(
            "p99 {:.0} us without, {:.0} us with it: {:+.1} %; those without differ by {:.1} % \
             among themselves; {} of {} measurements left out, as the generator was late",
            shift.without,
            shift.with,
            shift.effect * 100.0,
            shift.noise * 100.0,
            self.late,
            self.late as usize + self.p99_us.len()
        );
        match shift.decision {
            Decision::Holds => Finding::new(what, found, true),
            Decision::Broken => Finding::new(what, found, false),
            Decision::Inconclusive => Finding::unknown(
                what,
                found
                    + "; inconclusive: take a quieter machine, more --seconds, or more rounds if \
                       there were fewer than three",
            ),
        }
    }

    fn series(&self) -> Series {
        let points = self.p99_us.iter().enumerate().map(|(at, us)| (at as f64 + 1.0, *us));
        Series {
            name: format!("p99 of the good ones, us; bad: {}", self.name()),
            across: "measurement".to_owned(),
            points: points.collect(),
        }
    }
}

fn table(alone: &Condition, beside: &[Condition], shifts: &[Option<Shift>]) -> String {
    let us = |values: &[f64]| median(values).map_or("-".to_owned(), |us| format!("{us:.0}"));
    let mut text = format!(
        "{:<6}  {:>8}  {:>8}  {:>8}  {:>8}  {:>10}  verdict\n",
        "bad", "p50, us", "p99, us", "p99 min", "p99 max", "p99 moved"
    );
    let mut row = |kind: &Condition, moved: &str, verdict: &str| {
        let least = kind.p99_us.iter().copied().reduce(f64::min).into_iter().collect::<Vec<_>>();
        let most = kind.p99_us.iter().copied().reduce(f64::max).into_iter().collect::<Vec<_>>();
        text.push_str(&format!(
            "{:<6}  {:>8}  {:>8}  {:>8}  {:>8}  {moved:>10}  {verdict}\n",
            kind.name(),
            us(&kind.p50_us),
            us(&kind.p99_us),
            us(&least),
            us(&most)
        ));
    };
    let noise = shifts.iter().flatten().next().map_or(0.0, |shift| shift.noise * 100.0);
    row(alone, &format!("+-{noise:.1} %"), "");
    for (kind, shift) in beside.iter().zip(shifts) {
        let moved = shift.map_or("-".to_owned(), |shift| format!("{:+.1} %", shift.effect * 100.0));
        let verdict = match shift.map(|shift| shift.decision) {
            Some(Decision::Holds) => "holds",
            Some(Decision::Broken) => "MOVED",
            Some(Decision::Inconclusive) | None => "inconclusive",
        };
        row(kind, &moved, verdict);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Latency;

    fn condition(bad: Option<Badness>, p99_us: &[f64]) -> Condition {
        let p50_us = p99_us.iter().map(|us| us / 10.0).collect();
        Condition { p50_us, p99_us: p99_us.to_vec(), ..Condition::new(bad) }
    }

    #[test]
    fn kinds_take_turns_and_each_stands_near_one_without() {
        assert_eq!(turns(0, 4), [0, 1, 2, 0, 3, 4]);
        assert_eq!(turns(1, 4), [1, 4, 0, 3, 2, 0]);
        assert_eq!(turns(2, 4), [0, 3, 4, 0, 1, 2]);
        assert_eq!((turns(0, 1), turns(1, 1)), (vec![0, 1], vec![1, 0]));
    }

    #[test]
    fn each_kind_has_a_verdict_of_its_own() {
        let alone = condition(None, &[1000.0, 1010.0, 990.0]);
        let verdict = |p99_us: &[f64]| {
            let kind = condition(Some(Badness::Error), p99_us);
            let shift = shift(&alone.p99_us, &kind.p99_us, MOVES_MAX);
            let finding = kind.judged(shift.as_ref());
            let table = table(&alone, std::slice::from_ref(&kind), &[shift]);
            let last = table.lines().last().unwrap().split_whitespace().last().unwrap().to_owned();
            assert!(table.contains("\n500 "), "{table}");
            ((finding.holds, finding.inconclusive), last)
        };
        assert_eq!(verdict(&[1020.0; 3]), ((true, false), "holds".to_owned()));
        assert_eq!(verdict(&[1100.0; 3]), ((false, false), "MOVED".to_owned()));
        let unknown = ((false, true), "inconclusive".to_owned());
        assert_eq!(verdict(&[1050.0; 3]), unknown);
        assert_eq!(verdict(&[1000.0; 2]), unknown, "too few");
        assert_eq!(verdict(&[]), unknown);
    }

    #[test]
    fn a_late_generator_tells_nothing_about_the_engine() {
        let latency = |us| Some(Latency { count: 5, mean_us: us, quantiles: vec![(1.0, us)] });
        let run = |lag_us| RunResult {
            events: 1,
            latency: latency(700.0),
            generator_lag: latency(lag_us),
            ..RunResult::default()
        };
        let mut kind = Condition::new(None);
        kind.add(&run(LAG_US_MAX + 1.0), 5);
        assert_eq!((kind.late, kind.p99_us.len()), (1, 0));
        assert!(kind.arrived().holds);
        kind.add(&run(10.0), 5);
        assert_eq!((kind.late, kind.p99_us.as_slice()), (1, [700.0].as_slice()));
    }

    #[test]
    fn what_does_not_arrive_and_an_endpoint_that_is_good_after_all_are_found() {
        let kind = |wanted, arrived, connections, answered_2xx| Condition {
            wanted,
            arrived,
            connections,
            answered_2xx,
            ..Condition::new(Some(Badness::Hung))
        };
        assert!(kind(10, 10, 1, 0).arrived().holds && kind(10, 10, 1, 0).misbehaved().holds);
        assert!(!kind(10, 9, 1, 0).arrived().holds && !kind(0, 0, 1, 0).arrived().holds);
        assert!(!kind(1, 1, 0, 0).misbehaved().holds && !kind(1, 1, 1, 1).misbehaved().holds);
    }
}
