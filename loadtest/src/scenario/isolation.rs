//! `ferrite-loadtest isolation`: what one bad endpoint costs the others (P8).

use super::condition::Condition;
use super::judge::{Decision, Shift, median, shift};
use super::{Outcome, ScenarioError, conclude};
use crate::defaults::defaults;
use crate::result::Finding;
use crate::run;
use crate::sink::Faults;
use clap::ValueEnum;
use std::path::PathBuf;

/// By how much the good endpoints' p99 may move (P8).
pub(super) const MOVES_MAX: f64 = 0.05;
/// What a dripping endpoint reads of each connection.
const DRIP_BYTES_PER_SECOND: u64 = 50;
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
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(super) fn faults(self) -> Faults {
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

    fn condition(bad: Option<Badness>, p99_us: &[f64]) -> Condition {
        let p50_us = p99_us.iter().map(|us| us / 10.0).collect();
        let mut condition = Condition::new(bad);
        (condition.p50_us, condition.p99_us) = (p50_us, p99_us.to_vec());
        condition
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
}
