//! Judgements over numbers.

/// By how much memory may grow from the second third of a soak to the last, beside a fixed part.
const GROWTH_MAX: f64 = 1.10;

/// The median; 0 of nothing.
pub(super) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count => (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0,
    }
}

/// Whether what was sampled does not grow: the median of the last third is at most a tenth, and
/// `slack`, above that of the second. Gives both medians. The first third warms up.
pub(super) fn is_flat(samples: &[f64], slack: f64) -> (bool, f64, f64) {
    let third = samples.len() / 3;
    let (second, last) = (&samples[third..2 * third], &samples[samples.len() - third..]);
    let (before, after) = (median(second), median(last));
    (third > 0 && after <= before * GROWTH_MAX + slack, before, after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_grows_is_not_flat() {
        let flat: Vec<f64> = (0..30).map(|n| 100.0 + f64::from(n % 3)).collect();
        assert!(is_flat(&flat, 1.0).0);
        let leak: Vec<f64> = (0..30).map(|n| 100.0 + 10.0 * f64::from(n)).collect();
        assert!(!is_flat(&leak, 10.0).0, "{:?}", is_flat(&leak, 10.0));
        assert!(!is_flat(&[1.0, 1.0], 1.0).0, "too few samples say nothing");
        let warms_up: Vec<f64> = (0..30).map(|n| if n < 10 { 1.0 } else { 50.0 }).collect();
        assert!(is_flat(&warms_up, 1.0).0);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!((median(&[]), median(&[3.0]), median(&[4.0, 1.0, 3.0])), (0.0, 3.0, 3.0));
        assert_eq!(median(&[1.0, 2.0, 3.0, 10.0]), 2.5);
    }
}
