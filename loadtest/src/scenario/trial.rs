//! A run against receivers that write histories, judged by `verify`.

use super::{SECRET, ScenarioError, io};
use crate::result::{Finding, RunResult};
use crate::run::{self, Progress};
use crate::sink::{self, Faults, Sink, Stats};
use crate::verify::{self, Rules, Verdict};
use std::path::{Path, PathBuf};

/// Attempts after the first: so many that nothing is given up.
const RETRIES: u32 = 1000;
/// Pending deliveries are waited for so long.
const DRAIN_SECONDS: u64 = 60;
/// Lines of a verdict that are shown.
const VERDICT_LINES_MAX: usize = 12;

/// What a run and its receivers say.
#[derive(Debug)]
pub(super) struct Trial {
    pub result: RunResult,
    pub verdict: Verdict,
    /// What each receiver within this process has seen.
    pub seen: Vec<Stats>,
}

/// How every run of a scenario is made that must lose nothing. Its generator may be late: that is
/// not what is looked at.
pub(super) fn options(folder: &Path, rate: u64, seconds: u64) -> run::Options {
    run::Options {
        rate: Some(rate),
        seconds,
        warmup_seconds: 0,
        drain_seconds: DRAIN_SECONDS,
        lag_limit_us: u64::MAX,
        retries: Some(RETRIES),
        secret: Some(SECRET.to_owned()),
        history: Some(folder.join("sender")),
        ..run::Options::default()
    }
}

/// Makes the run against one receiver for each of `faults`, and judges the histories of both sides.
pub(super) fn run(
    mut options: run::Options,
    folder: &Path,
    faults: Vec<Faults>,
    progress: &mut dyn Progress,
) -> Result<Trial, ScenarioError> {
    let mut histories = Vec::new();
    let mut sinks = Vec::new();
    for (number, faults) in faults.into_iter().enumerate() {
        let history = folder.join(format!("receiver-{number}"));
        histories.push(history.clone());
        let sink = Sink::start(sink::Options {
            verify_secret: options.secret.clone(),
            history: Some(history),
            faults,
            seed: number as u64,
            ..sink::Options::default()
        });
        sinks.push(sink.map_err(io("a receiver"))?);
    }
    options.urls = sinks.iter().map(|sink| sink.url("/hook")).collect();
    let result = run::measure(&options, progress)?;
    let seen = sinks.into_iter().map(Sink::stop).collect::<Result<_, _>>();
    let seen = seen.map_err(io("a receiver"))?;
    judge(&options, result, histories, seen)
}

/// Judges the history of the run beside those of its receivers.
pub(super) fn judge(
    options: &run::Options,
    result: RunResult,
    mut histories: Vec<PathBuf>,
    seen: Vec<Stats>,
) -> Result<Trial, ScenarioError> {
    histories.extend(options.history.clone());
    let verdict = verify::check_files(&histories, Rules::default())?;
    Ok(Trial { result, verdict, seen })
}

impl Trial {
    /// What must hold of every such run.
    pub fn findings(&self) -> Vec<Finding> {
        let Trial { result, verdict, .. } = self;
        let text = verdict.to_string();
        let shown: Vec<&str> = text.lines().take(VERDICT_LINES_MAX).collect();
        let delivered = result.void.clone().unwrap_or_else(|| {
            format!(
                "{} events in {:.0} s, none refused, dropped or left; {} attempts failed and were \
                 made up for, {} given up, {} worker restarts",
                result.events,
                result.seconds,
                result.failed_attempts,
                verdict.sums.dead,
                result.worker_restarts
            )
        });
        let clean = verdict.sums.dead == 0 && result.worker_restarts == 0;
        vec![
            Finding::new("the engine delivers all", delivered, result.void.is_none() && clean),
            Finding::new(
                "every event delivered, in the order of its key, with one id, body and signature",
                shown.join("\n"),
                verdict.passed && verdict.accepted > 0,
            ),
            self.sums(),
        ]
    }

    /// DEL-1's sum, beside what the receivers saw.
    fn sums(&self) -> Finding {
        let (accepted, sums) = (self.verdict.accepted, self.verdict.sums);
        let found = format!(
            "{accepted} events x {} webhooks = {} triggered = {} delivered + {} dead + {} dropped \
             + {} cancelled + {} pending;\nthe receivers answered {} of them 2xx, {} more than \
             once",
            sums.webhooks,
            sums.triggered,
            sums.delivered,
            sums.dead,
            sums.dropped,
            sums.cancelled,
            sums.pending,
            sums.answered,
            self.verdict.duplicates
        );
        let holds = sums.add_up()
            && sums.webhooks > 0
            && sums.triggered == accepted * sums.webhooks
            && sums.answered >= sums.delivered
            && sums.answered <= sums.triggered;
        Finding::new("DEL-1: the sum adds up", found, holds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::Sums;

    /// Of each finding, whether it holds.
    fn holds(change: impl FnOnce(&mut Trial)) -> Vec<bool> {
        let sums =
            Sums { webhooks: 2, triggered: 20, delivered: 20, answered: 20, ..Sums::default() };
        let verdict = Verdict {
            passed: true,
            accepted: 10,
            requests: 20,
            paths: 2,
            duplicates: 0,
            sums,
            findings: Vec::new(),
            notes: Vec::new(),
        };
        let mut trial = Trial { result: RunResult::default(), verdict, seen: Vec::new() };
        change(&mut trial);
        trial.findings().iter().map(|finding| finding.holds).collect()
    }

    #[test]
    fn a_run_that_lost_or_broke_something_does_not_hold() {
        assert_eq!(holds(|_| ()), [true, true, true]);
        assert_eq!(holds(|trial| trial.result.void = Some(String::new())), [false, true, true]);
        assert_eq!(holds(|trial| trial.result.worker_restarts = 1), [false, true, true]);
        assert_eq!(holds(|trial| trial.verdict.passed = false), [true, false, true]);
        assert_eq!(holds(|trial| trial.verdict.accepted = 0), [true, false, false]);
        let given_up = |sums: &mut Sums| (sums.delivered, sums.dead) = (19, 1);
        assert_eq!(holds(|trial| given_up(&mut trial.verdict.sums)), [false, true, true]);
    }

    #[test]
    fn a_sum_that_does_not_add_up_does_not_hold() {
        for change in [
            (|sums| sums.delivered = 19) as fn(&mut Sums),
            |sums| sums.pending = 1,
            |sums| sums.triggered = 19,
            |sums| (sums.triggered, sums.delivered, sums.answered) = (19, 19, 19),
            // More claimed than was seen, and more seen than was triggered.
            |sums| sums.answered = 19,
            |sums| sums.answered = 21,
        ] {
            assert!(!holds(|trial| change(&mut trial.verdict.sums))[2]);
        }
    }
}
