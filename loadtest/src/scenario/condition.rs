//! The good endpoints beside one kind of bad endpoint, or beside none.

use super::isolation::{Badness, MOVES_MAX, Options};
use super::judge::{Decision, Shift};
use super::{ScenarioError, io};
use crate::result::{Finding, RunResult, Series};
use crate::run::{self, Progress};
use crate::sink::{self, Sink};

/// Connections to each endpoint.
const CONNECTIONS: u32 = 8;
/// An exchange with a bad endpoint ends here.
const TIMEOUT_MS: u64 = 1000;
/// After the last event the good endpoints have so long for what is still on its way; a bad one
/// keeps the run waiting as long.
const DRAIN_SECONDS: u64 = 1;
/// A generator that is later than this at its 99th percentile says nothing about the engine.
const LAG_US_MAX: f64 = 2000.0;

/// All measurements with one kind of endpoint beside the good ones.
#[derive(Debug, Default)]
pub(super) struct Condition {
    pub bad: Option<Badness>,
    pub p50_us: Vec<f64>,
    pub p99_us: Vec<f64>,
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
    pub fn new(bad: Option<Badness>) -> Condition {
        Condition { bad, ..Condition::default() }
    }

    pub fn name(&self) -> String {
        self.bad.map_or_else(|| "none".to_owned(), Badness::name)
    }

    /// The endpoint beside the good ones is there in either case: so the same are measured.
    pub fn measure(
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
        let lag_us = result.generator_lag.as_ref().and_then(|lag| lag.at(0.99));
        if lag_us.is_none_or(|lag_us| lag_us > LAG_US_MAX) {
            self.late += 1;
            return;
        }
        self.wanted += result.events * endpoints as u64;
        self.arrived += latency.map_or(0, |latency| latency.count);
        self.p50_us.extend(latency.and_then(|latency| latency.at(0.5)));
        self.p99_us.extend(latency.and_then(|latency| latency.at(0.99)));
    }

    /// What does not arrive has no latency: it must not be missed.
    pub fn arrived(&self) -> Finding {
        let what =
            format!("bad endpoint: {}; all deliveries to the good ones arrived", self.name());
        if self.wanted == 0 {
            return Finding::unknown(what, "the generator was always late");
        }
        let found = format!("{} of {}", self.arrived, self.wanted);
        Finding::new(what, found, self.arrived == self.wanted)
    }

    /// The bad endpoint must have been bad: else nothing was shown.
    pub fn misbehaved(&self) -> Finding {
        let Condition { connections, answered, answered_2xx, .. } = self;
        Finding::new(
            format!("bad endpoint: {}; it was bad", self.name()),
            format!("{connections} connections, {answered} answers, {answered_2xx} of them 2xx"),
            *connections > 0 && *answered_2xx == 0,
        )
    }

    pub fn judged(&self, shift: Option<&Shift>) -> Finding {
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

    pub fn series(&self) -> Series {
        let points = self.p99_us.iter().enumerate().map(|(at, us)| (at as f64 + 1.0, *us));
        Series {
            name: format!("p99 of the good ones, us; bad: {}", self.name()),
            across: "measurement".to_owned(),
            points: points.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::result::Latency;

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
        assert!(kind.arrived().inconclusive);
        kind.add(&run(10.0), 5);
        assert_eq!((kind.wanted, kind.arrived), (5, 5));
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
        assert!(!kind(10, 9, 1, 0).arrived().holds && !kind(10, 9, 1, 0).arrived().inconclusive);
        assert!(kind(0, 0, 1, 0).arrived().inconclusive);
        assert!(!kind(1, 1, 0, 0).misbehaved().holds && !kind(1, 1, 1, 1).misbehaved().holds);
    }
}
