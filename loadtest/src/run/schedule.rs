//! When events are meant to be offered: an open loop's schedule, which waits for nobody.
//!
//! Pure: time is a number of nanoseconds that the caller gives. The time of an event depends on
//! the ones before it only, never on when they were taken. So a generator that was held up finds
//! all that became due meanwhile, takes it at once, and how late each was is known.

/// What a look at the schedule finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// An event is due since this time: offer it. The next look finds the next one.
    Due(u64),
    /// Nothing is due before this time.
    NotBefore(u64),
}

/// A schedule.
#[derive(Clone, Debug)]
pub struct Schedule {
    next_ns: u64,
    gaps: Gaps,
}

#[derive(Clone, Debug)]
enum Gaps {
    /// The n-th event is at `start_ns + n * numerator / rate`, without rounding that adds up.
    Even { start_ns: u64, number: u64, numerator: u64, rate: u64 },
    /// Exponential gaps: a Poisson process. The fraction of a nanosecond is carried along.
    Exponential { mean_ns: f64, at_ns: f64, start_ns: u64, dice: fastrand::Rng },
}

const SECOND_NS: u64 = 1_000_000_000;

impl Schedule {
    /// One of `generators` even schedules that together make `rate` events per second: they
    /// interleave evenly, this one is `generator` gaps behind the first.
    pub fn even(start_ns: u64, rate: u64, generator: u64, generators: u64) -> Schedule {
        let rate = rate.max(1);
        let start_ns = start_ns + generator * SECOND_NS / rate;
        let numerator = SECOND_NS * generators.max(1);
        Schedule { next_ns: start_ns, gaps: Gaps::Even { start_ns, number: 0, numerator, rate } }
    }

    /// One of `generators` independent Poisson processes that together make `rate` events per
    /// second.
    pub fn poisson(start_ns: u64, rate: u64, generators: u64, seed: u64) -> Schedule {
        let mean_ns = SECOND_NS as f64 * generators.max(1) as f64 / rate.max(1) as f64;
        let gaps = Gaps::Exponential {
            mean_ns,
            at_ns: 0.0,
            start_ns,
            dice: fastrand::Rng::with_seed(seed),
        };
        let mut schedule = Schedule { next_ns: start_ns, gaps };
        schedule.advance();
        schedule
    }

    /// Looks at `now_ns`.
    #[inline]
    pub fn look(&mut self, now_ns: u64) -> Look {
        let next_ns = self.next_ns;
        if next_ns > now_ns {
            return Look::NotBefore(next_ns);
        }
        self.advance();
        Look::Due(next_ns)
    }

    #[inline]
    fn advance(&mut self) {
        self.next_ns = match &mut self.gaps {
            Gaps::Even { start_ns, number, numerator, rate } => {
                *number += 1;
                let since = u128::from(*number) * u128::from(*numerator) / u128::from(*rate);
                *start_ns + since as u64
            }
            Gaps::Exponential { mean_ns, at_ns, start_ns, dice } => {
                // Inversion: 1 - u is in (0, 1], so that its logarithm is finite.
                *at_ns -= *mean_ns * (1.0 - dice.f64()).ln();
                *start_ns + *at_ns as u64
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// All that is due at `now_ns`.
    fn due(schedule: &mut Schedule, now_ns: u64) -> Vec<u64> {
        std::iter::from_fn(|| match schedule.look(now_ns) {
            Look::Due(at) => Some(at),
            Look::NotBefore(_) => None,
        })
        .collect()
    }

    #[test]
    fn even_events_keep_their_interval_and_do_not_drift() {
        let mut schedule = Schedule::even(5, 1000, 0, 1);
        assert!(due(&mut schedule, 4).is_empty());
        assert_eq!(schedule.look(4), Look::NotBefore(5));
        assert_eq!(due(&mut schedule, 2 * MS + 5), [5, MS + 5, 2 * MS + 5]);
        assert_eq!(schedule.look(2 * MS + 5), Look::NotBefore(3 * MS + 5));
        // A rate whose interval is no whole number: after an hour exactly as many as it must be.
        let mut schedule = Schedule::even(0, 7, 0, 1);
        let times = due(&mut schedule, 3600 * SECOND_NS - 1);
        assert_eq!(times.len(), 7 * 3600);
        assert_eq!(times[7 * 1800], 1800 * SECOND_NS);
    }

    #[test]
    fn after_a_stall_everything_comes_at_once_with_the_times_it_was_meant_for() {
        let mut schedule = Schedule::even(0, 1000, 0, 1);
        assert_eq!(due(&mut schedule, 0), [0]);
        let now = 5 * MS + 1;
        let lags: Vec<u64> = due(&mut schedule, now).iter().map(|at| now - at).collect();
        assert_eq!(lags, [4 * MS + 1, 3 * MS + 1, 2 * MS + 1, MS + 1, 1]);
        // And then it is on time again.
        assert_eq!(schedule.look(now), Look::NotBefore(6 * MS));
    }

    #[test]
    fn generators_interleave() {
        let mut times: Vec<u64> = (0..4)
            .flat_map(|number| due(&mut Schedule::even(0, 1000, number, 4), 12 * MS - 1))
            .collect();
        times.sort_unstable();
        assert_eq!(times, (0..12).map(|number| number * MS).collect::<Vec<_>>());
    }

    #[test]
    fn exponential_gaps_have_their_mean_and_their_spread() {
        let mut schedule = Schedule::poisson(0, 2000, 2, 7);
        let times = due(&mut schedule, 100 * SECOND_NS);
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // 100 000 gaps of 1 ms: three standard errors are one percent.
        assert!((mean / MS as f64 - 1.0).abs() < 0.01, "mean {mean}");
        // Of an exponential distribution the standard deviation is the mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03, "deviation {}", variance.sqrt());
        let above_mean = gaps.iter().filter(|gap| **gap > mean).count() as f64 / gaps.len() as f64;
        assert!((above_mean - (-1.0_f64).exp()).abs() < 0.01, "{above_mean} above the mean");
    }
}
