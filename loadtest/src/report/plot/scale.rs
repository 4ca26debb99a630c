//! Where values go on an axis, and which of them are written beside it.

/// Steps of a linear axis are one of these times a power of ten.
const NICE_STEPS: [f64; 4] = [1.0, 2.0, 5.0, 10.0];

/// A linear axis has at most this many steps.
const LINEAR_STEPS_MAX: f64 = 6.0;

/// A logarithmic axis that spans fewer decades also shows 2 and 5 of each.
const DECADES_WITH_HALVES_MAX: f64 = 2.5;

/// An axis of powers of two has at most this many ticks: every other one is left out beyond.
const POWER_TICKS_MAX: usize = 11;

/// The largest value that an axis goes to: keeps odd input from becoming infinite.
const VALUE_MAX: f64 = 1e18;

/// Percentiles are drawn up to this many nines.
const NINES_MAX: f64 = 9.0;

/// How values become places.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scale {
    /// Equal differences are equally far apart.
    Linear {
        /// The value at the beginning.
        from: f64,
        /// The value at the end.
        to: f64,
    },
    /// Equal ratios are equally far apart.
    Log {
        /// The value at the beginning; positive.
        from: f64,
        /// The value at the end.
        to: f64,
    },
}

impl Scale {
    /// Where a value goes: from 0 (beginning) to 1 (end), and never outside.
    pub fn place(self, value: f64) -> f64 {
        let place = match self {
            Scale::Linear { from, to } => (value - from) / (to - from),
            Scale::Log { from, to } => (value.max(from) / from).ln() / (to / from).ln(),
        };
        if place.is_finite() { place.clamp(0.0, 1.0) } else { 0.0 }
    }
}

/// A scale from zero to the first round number that is not below `max`, and its ticks.
pub fn linear_from_zero(max: f64) -> (Scale, Vec<f64>) {
    let max = if max.is_finite() && max > 0.0 { max.min(VALUE_MAX) } else { 1.0 };
    let least_step = max / LINEAR_STEPS_MAX;
    let decade = 10f64.powf(least_step.log10().floor());
    // Rounding can make the largest candidate a hair too small: then it still is the step.
    let step = NICE_STEPS.iter().map(|nice| nice * decade).find(|step| *step >= least_step);
    let step = step.unwrap_or(10.0 * decade);
    let steps = (max / step - 1e-9).ceil().max(1.0);
    let ticks = (0..=steps as u32).map(|index| step * f64::from(index)).collect();
    (Scale::Linear { from: 0.0, to: step * steps }, ticks)
}

/// A logarithmic scale around `min..=max`, and its ticks: decades, and their 2 and 5 if there
/// are few.
pub fn log_around(min: f64, max: f64) -> (Scale, Vec<f64>) {
    let max = if max.is_finite() { max.clamp(1.0, VALUE_MAX) } else { VALUE_MAX };
    let min = if min.is_finite() { min.clamp(1.0, max) } else { 1.0 };
    let halves = (max / min).log10() < DECADES_WITH_HALVES_MAX;
    let factors: &[f64] = if halves { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let mut ticks = Vec::new();
    let mut decade = 10f64.powf(min.log10().floor());
    while ticks.last().is_none_or(|last| *last < max) {
        ticks.extend(factors.iter().map(|factor| factor * decade));
        decade *= 10.0;
    }
    // Only one tick at or below the smallest value, only one at or above the largest.
    let below = ticks.iter().rposition(|tick| *tick <= min).unwrap_or(0);
    let above = ticks.iter().position(|tick| *tick >= max).unwrap_or(ticks.len() - 1);
    let mut ticks = ticks[below..=above.max(below)].to_vec();
    if let [only] = ticks[..] {
        ticks.push(only * 10.0);
    }
    (Scale::Log { from: ticks[0], to: ticks[ticks.len() - 1] }, ticks)
}

/// A logarithmic scale over powers of two, and its ticks. `min` must not be zero.
pub fn powers_of_two(min: u64, max: u64) -> (Scale, Vec<f64>) {
    let first = min.max(1).ilog2();
    let last = max.max(1).checked_next_power_of_two().map_or(u64::BITS, u64::ilog2);
    let last = last.max(first + 1);
    let every = ((last - first) as usize).div_ceil(POWER_TICKS_MAX - 1);
    let ticks = (first..=last).step_by(every).map(|power| 2f64.powf(power.into())).collect();
    (Scale::Log { from: 2f64.powf(first.into()), to: 2f64.powf(last.into()) }, ticks)
}

/// Where a quantile goes on the scale of percentiles: each nine takes the same room, so 0.9 is
/// at 1, 0.99 at 2, 0.999 at 3. The maximum (1) would be infinitely far: `None`.
pub fn nines(quantile: f64) -> Option<f64> {
    let place = -(1.0 - quantile.max(0.0)).log10();
    (quantile < 1.0).then_some(place.clamp(0.0, NINES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_ticks_are_round_and_reach_the_largest_value() {
        assert_eq!(linear_from_zero(182_431.0).1, [0.0, 50_000.0, 100_000.0, 150_000.0, 200_000.0]);
        assert_eq!(linear_from_zero(6.0).1, [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(linear_from_zero(0.0).1.last(), Some(&1.0));
        for max in [1e-9, 0.3, 0.7, 1.0, 7.0, 10.0, 999.0, 1e6 + 1.0, 3e17, 1e300] {
            let (scale, ticks) = linear_from_zero(max);
            assert!((2..=7).contains(&ticks.len()), "{max}: {ticks:?}");
            assert!(ticks[ticks.len() - 1] >= max.min(VALUE_MAX) * (1.0 - 1e-6), "{max}");
            assert!((scale.place(ticks[ticks.len() - 1]) - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn log_ticks_enclose_the_values_with_few_ticks() {
        assert_eq!(log_around(80.0, 90_000.0).1, [10.0, 100.0, 1e3, 1e4, 1e5]);
        assert_eq!(log_around(130.0, 900.0).1, [100.0, 200.0, 500.0, 1000.0]);
        assert_eq!(log_around(100.0, 100.0).1, [100.0, 1000.0]);
        assert_eq!(log_around(0.0, 1.0).1, [1.0, 10.0]);
        for (min, max) in [(0.0, f64::INFINITY), (f64::NAN, f64::NAN), (9.0, 3.0), (-1.0, 1e300)] {
            let (_, ticks) = log_around(min, max);
            assert!((2..30).contains(&ticks.len()), "{min} {max}: {ticks:?}");
        }
    }

    #[test]
    fn equal_ratios_are_equally_far_apart_on_a_log_scale() {
        let (scale, _) = log_around(10.0, 100_000.0);
        assert!((scale.place(1000.0) - 0.5).abs() < 1e-9);
        assert_eq!((scale.place(0.0), scale.place(1e9)), (0.0, 1.0));
    }

    #[test]
    fn connections_from_1_to_1024_have_every_power_of_two() {
        let (scale, ticks) = powers_of_two(1, 1024);
        assert_eq!(ticks.len(), 11);
        assert!((scale.place(32.0) - 0.5).abs() < 1e-9);
        assert_eq!(powers_of_two(3, 100).1, [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]);
        assert_eq!(powers_of_two(8, 8).1, [8.0, 16.0]);
        assert!(powers_of_two(0, u64::MAX).1.len() <= POWER_TICKS_MAX);
    }

    #[test]
    fn each_nine_takes_the_same_room() {
        for (quantile, place) in [(0.0, 0.0), (0.9, 1.0), (0.99, 2.0), (0.9999, 4.0)] {
            assert!((nines(quantile).unwrap() - place).abs() < 1e-9);
        }
        assert_eq!(nines(1.0), None);
        assert_eq!(nines(f64::NAN), None);
        assert_eq!(nines(1.0 - 1e-15), Some(NINES_MAX));
    }
}
