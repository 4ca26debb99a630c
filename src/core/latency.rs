//! How long things take: histograms with fixed buckets and one writer.

use super::failure::Failure;
use super::ledger::Counter;

/// Upper bounds of the buckets, in microseconds, each included in its bucket: from 100 us to an
/// hour. What took longer is in one more bucket.
pub const LATENCY_BOUNDS_US: [u64; 20] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
    3_600_000_000,
];
const BUCKETS: usize = LATENCY_BOUNDS_US.len() + 1;

/// By the number of significant bits of a value: how many bounds are below every such value. No
/// two bounds have the same number of bits, so one comparison tells the rest.
const BOUNDS_BELOW: [u8; 65] = {
    let mut table = [0; 65];
    let mut bits = 1;
    while bits <= 64 {
        let least = 1_u64 << (bits - 1);
        let mut below = 0;
        while below < LATENCY_BOUNDS_US.len() && LATENCY_BOUNDS_US[below] < least {
            below += 1;
        }
        table[bits] = below as u8;
        bits += 1;
    }
    table
};

fn bucket_of(us: u64) -> usize {
    let below = usize::from(BOUNDS_BELOW[(u64::BITS - us.leading_zeros()) as usize]);
    below + usize::from(LATENCY_BOUNDS_US.get(below).is_some_and(|&bound| us > bound))
}

/// Latencies, counted by buckets. One writer.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Counter; BUCKETS],
    sum_us: Counter,
}

impl Histogram {
    /// Counts `times` that took so many microseconds each.
    pub fn note(&self, us: u64, times: u64) {
        self.buckets[bucket_of(us)].add(times);
        self.sum_us.add(us.wrapping_mul(times));
    }
}

/// A reading of histograms, or a sum of readings.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LatencyHistogram {
    /// How many are in each bucket, not counting those of the buckets before it: by
    /// [`LATENCY_BOUNDS_US`], then those beyond the last bound.
    pub counts: [u64; BUCKETS],
    /// Their sum, in microseconds.
    pub sum_us: u64,
}

impl LatencyHistogram {
    /// Adds a reading of `histogram`.
    pub fn add(&mut self, histogram: &Histogram) {
        for (count, bucket) in self.counts.iter_mut().zip(&histogram.buckets) {
            *count = count.wrapping_add(bucket.get());
        }
        self.sum_us = self.sum_us.wrapping_add(histogram.sum_us.get());
    }

    /// How many there are in all.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// What one worker measures of one webhook, beside its counters: 720 bytes, made with the first
/// delivery.
#[derive(Debug, Default)]
pub struct Measures {
    /// From the event to its first attempt.
    pub queue: Histogram,
    /// From the attempt's beginning to its answer, or to its failure.
    pub attempt: Histogram,
    /// From the event to its delivery.
    pub total: Histogram,
    /// Failed attempts, by [`Failure::cause`].
    pub failures: [Counter; Failure::CAUSES.len()],
    /// When the oldest pending delivery came in, or a little later: see `core::shard`'s ages. A
    /// tick; without meaning while nothing is pending.
    pub oldest_us: Counter,
}

impl Measures {
    /// An attempt at so many deliveries has ended, `latency_us` after it began.
    pub fn attempt_ended(&self, latency_us: u64, deliveries: u64, failure: Option<Failure>) {
        self.attempt.note(latency_us, deliveries);
        if let Some(failure) = failure {
            self.failures[failure.cause()].add(deliveries);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_whose_bound_is_not_below_it() {
        let near = LATENCY_BOUNDS_US.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]);
        let powers = (0..64).flat_map(|bits| [(1_u64 << bits) - 1, 1 << bits, (1 << bits) + 1]);
        for us in near.chain(powers).chain([u64::MAX]) {
            let bucket = LATENCY_BOUNDS_US.iter().take_while(|bound| us > **bound).count();
            assert_eq!(bucket_of(us), bucket, "{us}");
        }
    }

    #[test]
    fn a_reading_adds_up() {
        let (one, other) = (Histogram::default(), Histogram::default());
        [100, 101, 5_000_000_000].into_iter().for_each(|us| one.note(us, 1));
        other.note(99, 1);
        let mut reading = LatencyHistogram::default();
        reading.add(&one);
        reading.add(&other);
        assert_eq!((reading.count(), reading.sum_us), (4, 5_000_000_300));
        assert_eq!((reading.counts[0], reading.counts[1], reading.counts[20]), (2, 1, 1));
    }

    #[test]
    fn the_measures_are_small() {
        assert!(size_of::<Measures>() <= 720, "{}", size_of::<Measures>());
    }
}
