//! Judgements over numbers. Pure.

/// Fewer measurements than this of either kind are not compared.
const MEASUREMENTS_MIN: usize = 3;

/// The median; `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    Some((sorted.get(count.checked_sub(1)? / 2)? + sorted.get(count / 2)?) / 2.0)
}

/// A quarter of the values are at most this; `None` of nothing.
fn lower_quartile(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 4).copied()
}

/// How much a value may grow and still counts as flat: a part of it, or so much, whichever is more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tolerance {
    pub part: f64,
    pub amount: f64,
}

/// How a value went in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Flatness {
    /// The lower quartile of the second third. The first third warms up.
    pub second: f64,
    /// The lower quartile of the last third.
    pub last: f64,
    pub flat: bool,
}

/// Compares the last third of `values` with the one before. `None` if there are too few.
///
/// By their lower quartiles: what leaks is never given back, and so lifts them as well as
/// anything; what a peak took and an allocator keeps for a while does not.
pub(super) fn flatness(values: &[f64], tolerance: Tolerance) -> Option<Flatness> {
    let third = values.len() / 3;
    let second = lower_quartile(&values[third..2 * third])?;
    let last = lower_quartile(&values[values.len() - third..])?;
    let allowed = tolerance.amount.max(second * tolerance.part);
    Some(Flatness { second, last, flat: last - second <= allowed })
}

/// What two kinds of measurements say about a bound on their difference.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// The value grew by less than it may, whatever the noise.
    Holds,
    /// It grew by more, whatever the noise.
    Broken,
    /// The noise is too large, or there are too few measurements.
    Inconclusive,
}

/// A value without and with something.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Shift {
    /// The medians.
    pub without: f64,
    pub with: f64,
    /// By which part of it the median grew.
    pub effect: f64,
    /// By which part of their median the measurements without it differ from it, in the median.
    pub noise: f64,
    pub decision: Decision,
}

/// Compares. `growth_max` is a part of the value without. `None` if there is nothing to compare.
///
/// The difference is known to within what measurements of the same differ by. So it is below the
/// bound if it is so by more than that, and above in the same way; between the two nobody knows.
pub(super) fn shift(without: &[f64], with: &[f64], growth_max: f64) -> Option<Shift> {
    let (middle, after) = (median(without)?, median(with)?);
    if middle <= 0.0 {
        return None;
    }
    let deviations: Vec<f64> = without.iter().map(|value| (value - middle).abs()).collect();
    let noise = median(&deviations)? / middle;
    let effect = after / middle - 1.0;
    let decision = match () {
        () if without.len().min(with.len()) < MEASUREMENTS_MIN => Decision::Inconclusive,
        () if effect + noise < growth_max => Decision::Holds,
        () if effect - noise >= growth_max => Decision::Broken,
        () => Decision::Inconclusive,
    };
    Some(Shift { without: middle, with: after, effect, noise, decision })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Tolerance = Tolerance { part: 0.05, amount: 4.0 };

    fn is_flat(values: impl IntoIterator<Item = f64>) -> bool {
        flatness(&values.into_iter().collect::<Vec<_>>(), TOLERANCE).unwrap().flat
    }

    #[test]
    fn what_grows_on_and_on_is_not_flat() {
        assert!(!is_flat((0..90).map(f64::from)));
        assert!(!is_flat((0..90).map(|at| 1000.0 + 2.0 * f64::from(at))));
        // A step that stays, after two thirds.
        assert!(!is_flat((0..90).map(|at| if at < 60 { 1000.0 } else { 1051.0 })));
    }

    #[test]
    fn warming_up_single_peaks_and_shrinking_are_flat() {
        assert!(is_flat((0..90).map(|at| f64::from(at.min(29)))));
        assert!(is_flat((0..90).map(|at| if at % 7 == 0 { 9000.0 } else { 1000.0 })));
        assert!(is_flat((0..90).map(|at| f64::from(900 - at))));
        // A peak that is kept for most of the last third, and given back.
        assert!(is_flat((0..90).map(|at| if (60..80).contains(&at) { 1200.0 } else { 1000.0 })));
        // Within the amount, and within the part.
        assert!(is_flat((0..90).map(|at| if at < 60 { 10.0 } else { 14.0 })));
        assert!(is_flat((0..90).map(|at| if at < 60 { 1000.0 } else { 1049.0 })));
    }

    #[test]
    fn of_too_few_values_nothing_is_said() {
        assert_eq!(flatness(&[1.0, 2.0], TOLERANCE), None);
        assert_eq!(shift(&[], &[1.0], 0.05), None);
        assert_eq!(shift(&[0.0], &[1.0], 0.05), None);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[4.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(&[1.0, 2.0, 3.0, 10.0]), Some(2.5));
    }

    fn decided(without: &[f64], with: &[f64]) -> Decision {
        shift(without, with, 0.05).unwrap().decision
    }

    #[test]
    fn a_shift_is_judged_by_the_medians_and_only_upwards() {
        assert_eq!(decided(&[100.0; 3], &[106.0; 3]), Decision::Broken);
        assert_eq!(decided(&[100.0; 3], &[104.9; 3]), Decision::Holds);
        assert_eq!(decided(&[100.0; 3], &[50.0; 3]), Decision::Holds);
        // One round that was disturbed, on either side, decides nothing.
        assert_eq!(decided(&[100.0; 3], &[900.0, 101.0, 102.0]), Decision::Holds);
        assert_eq!(decided(&[900.0, 100.0, 100.0], &[110.0, 111.0, 112.0]), Decision::Broken);
    }

    #[test]
    fn what_is_within_the_noise_is_neither() {
        // They differ by 10 % among themselves.
        let noisy = [80.0, 90.0, 100.0, 110.0, 120.0];
        assert_eq!(shift(&noisy, &noisy, 0.05).unwrap().noise, 0.1);
        for with in [100.0, 104.0, 106.0, 114.0] {
            assert_eq!(decided(&noisy, &[with; 5]), Decision::Inconclusive, "{with}");
        }
        // Far beyond the noise, in both directions.
        assert_eq!(decided(&noisy, &[200.0; 5]), Decision::Broken);
        assert_eq!(decided(&noisy, &[80.0; 5]), Decision::Holds);
        // Two rounds do not tell how much rounds differ.
        assert_eq!(decided(&[100.0; 2], &[100.0; 9]), Decision::Inconclusive);
        assert_eq!(decided(&[100.0; 9], &[500.0; 2]), Decision::Inconclusive);
    }
}
