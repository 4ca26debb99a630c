//! Distributions of times.

use crate::result::Latency;
use hdrhistogram::Histogram;

/// The longest time that is told apart from longer ones: an hour, in nanoseconds.
const TIME_NS_MAX: u64 = 3_600_000_000_000;
/// Times are right to so many digits.
const DIGITS: u8 = 3;
/// The quantiles that results have between the minimum and the maximum.
const QUANTILES: [f64; 21] = [
    0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.975, 0.99, 0.995,
    0.999, 0.9995, 0.9999, 0.99999, 0.999_999,
];

/// A distribution of times that grows by one at a time. Its room does not depend on their number.
#[derive(Clone, Debug)]
pub(super) struct Times(Histogram<u64>);

impl Times {
    pub fn new() -> Times {
        Times(Histogram::new_with_bounds(1, TIME_NS_MAX, DIGITS).expect("the bounds are good"))
    }

    #[inline]
    pub fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    pub fn add(&mut self, other: &Times) {
        self.0 += &other.0;
    }

    /// The value at a quantile, in microseconds; 0 if there is none.
    pub fn at_us(&self, quantile: f64) -> f64 {
        self.0.value_at_quantile(quantile) as f64 / 1000.0
    }

    /// As results have it; `None` if there is no value.
    pub fn result(&self) -> Option<Latency> {
        if self.0.is_empty() {
            return None;
        }
        let us = |ns: u64| ns as f64 / 1000.0;
        let mut quantiles = vec![(0.0, us(self.0.min()))];
        quantiles.extend(QUANTILES.iter().map(|at| (*at, self.at_us(*at).min(us(self.0.max())))));
        quantiles.push((1.0, us(self.0.max())));
        Some(Latency { count: self.0.len(), mean_us: self.0.mean() / 1000.0, quantiles })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_have_quantiles_in_order_and_as_they_are() {
        let mut times = Times::new();
        assert!(times.result().is_none());
        (1..=1000).for_each(|us| times.record_ns(us * 1000));
        let result = times.result().unwrap();
        assert_eq!(result.count, 1000);
        assert!(result.quantiles.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{result:?}");
        for (quantile, us) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = result.at(quantile).unwrap();
            assert!((found / us - 1.0).abs() < 0.002, "{found} at {quantile}");
        }
        let mut twice = times.clone();
        twice.add(&times);
        assert_eq!(twice.result().unwrap().count, 2000);
    }
}
