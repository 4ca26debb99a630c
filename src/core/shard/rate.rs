//! The rate limit of a webhook (`RATE`): a token bucket, in the form of the generic cell rate
//! algorithm (ITU-T I.371): instead of tokens it keeps the time at which the bucket will be full
//! again, so that nothing has to be refilled.
//!
//! Each worker has its part of the rate; the parts add up exactly. A bucket holds a tenth of a
//! second's worth, at least one: so much may be begun at once after a pause, and in any time `t`
//! a worker begins no more than its part of `rate * t` and that. An attempt takes a token when it
//! is given to a connection, and so does one that goes out again. When there is none, the webhook
//! waits for one timer.

use super::Shard;
use crate::base::time::Tick;

/// A bucket holds the tokens of this part of a second.
const BURST_PARTS: u32 = 10;
const NANOSECONDS: u64 = 1_000_000_000;

/// One worker's part of a webhook's rate.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    rate: u32,
    /// Time that a token takes to come.
    interval_ns: u64,
    /// Time that all tokens but one take to come.
    depth_ns: u64,
    /// When the bucket will be full.
    full_at_ns: u64,
    /// A timer is set for the next token.
    waits_until: Option<Tick>,
}

impl Bucket {
    /// A full bucket; `None` for a rate of 0, which is no limit.
    pub(super) fn new(rate: u32, workers: usize) -> Option<Bucket> {
        let workers = workers.max(1);
        let burst = (rate / BURST_PARTS / workers as u32).max(1);
        // Rounded up: the rate is never exceeded.
        let interval_ns = (NANOSECONDS * workers as u64).div_ceil(u64::from(rate.max(1)));
        (rate > 0).then(|| Bucket {
            rate,
            interval_ns,
            depth_ns: interval_ns * u64::from(burst - 1),
            full_at_ns: 0,
            waits_until: None,
        })
    }

    /// Whether there is a token.
    pub(super) fn allows(&self, now: Tick) -> bool {
        now.0.saturating_mul(1000).saturating_add(self.depth_ns) >= self.full_at_ns
    }

    /// Takes a token.
    pub(super) fn take(&mut self, now: Tick) {
        let now_ns = now.0.saturating_mul(1000);
        self.full_at_ns = self.full_at_ns.max(now_ns).saturating_add(self.interval_ns);
    }

    /// From when on there is a token.
    fn next(&self) -> Tick {
        Tick(self.full_at_ns.saturating_sub(self.depth_ns).div_ceil(1000))
    }
}

impl Shard {
    /// A webhook is passed over: if it lacks a token, it comes back when there is one.
    pub(super) fn await_token(&mut self, now: Tick, slot: u32) {
        let webhook = self.webhooks[slot as usize].as_mut();
        let Some(bucket) = webhook.and_then(|webhook| webhook.rate.as_mut()) else { return };
        if bucket.waits_until.is_none() && !bucket.allows(now) {
            let next = bucket.next();
            bucket.waits_until = Some(next);
            self.timers.webhook_due(next, slot);
        }
    }

    /// A webhook's time has come: it may have a token, or room in a window that has grown.
    pub(super) fn look_at_webhook(&mut self, now: Tick, slot: u32) {
        let webhook = self.webhooks.get_mut(slot as usize).and_then(Option::as_mut);
        if let Some(bucket) = webhook.and_then(|webhook| webhook.rate.as_mut()) {
            // Another timer than its own leaves it alone: each would set one more.
            bucket.waits_until = bucket.waits_until.filter(|&until| until > now);
        }
        if (slot as usize) < self.webhooks.len() {
            self.list_webhook(slot);
        }
    }

    /// The webhook has another rate; with the same one its bucket stays as it is.
    pub(super) fn change_rate(&mut self, slot: u32) {
        let workers = self.config.workers;
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        let rate = webhook.definition.rate;
        if webhook.rate.as_ref().map_or(0, |bucket| bucket.rate) != rate {
            webhook.rate = Bucket::new(rate, workers);
        }
    }

    /// Buckets are no fuller after a breakdown.
    pub(super) fn keep_buckets(&mut self, old: &Shard) {
        for (webhook, old) in self.webhooks.iter_mut().zip(&old.webhooks) {
            if let (Some(webhook), Some(old)) = (webhook, old)
                && webhook.definition.id == old.definition.id
                && let (Some(bucket), Some(old)) = (&mut webhook.rate, &old.rate)
                && bucket.rate == old.rate
            {
                bucket.full_at_ns = old.full_at_ns;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Takes whenever it may, by a clock that goes on in steps; gives the times.
    fn takes(bucket: &mut Bucket, steps_us: &[u64]) -> Vec<u64> {
        let mut now = 0;
        let mut taken = Vec::new();
        for step in steps_us {
            now += step;
            while bucket.allows(Tick(now)) {
                bucket.take(Tick(now));
                taken.push(now);
            }
        }
        taken
    }

    #[test]
    fn zero_is_no_limit() {
        assert!(Bucket::new(0, 4).is_none());
    }

    #[test]
    fn a_full_bucket_holds_a_tenth_of_a_second_and_refills_at_the_rate() {
        let mut bucket = Bucket::new(100, 1).unwrap();
        assert_eq!(takes(&mut bucket, &[0]).len(), 10);
        assert_eq!(bucket.next(), Tick(10_000));
        assert!(!bucket.allows(Tick(9_999)) && bucket.allows(Tick(10_000)));
        let mut bucket = Bucket::new(3, 1).unwrap();
        assert_eq!(takes(&mut bucket, &[0]).len(), 1);
        assert_eq!(bucket.next(), Tick(333_334));
    }

    #[test]
    fn the_parts_of_the_workers_add_up() {
        for (rate, workers) in [(1000, 4), (10, 3), (1, 5)] {
            let seconds = 60;
            let steps = vec![1000; seconds * 1000];
            let sum: usize = (0..workers)
                .map(|_| takes(&mut Bucket::new(rate, workers).unwrap(), &steps).len())
                .sum();
            let most = rate as usize * seconds + (rate as usize / 10).max(workers);
            assert!(sum <= most && sum + workers + most / 100 >= most, "{sum} of {most}");
        }
    }

    proptest! {
        #[test]
        fn no_window_sees_more_than_the_rate_and_the_burst(
            rate in 1_u32..300,
            workers in 1_usize..5,
            steps in proptest::collection::vec(0_u64..200_000, 1..30),
        ) {
            let taken = takes(&mut Bucket::new(rate, workers).unwrap(), &steps);
            let burst = (rate / 10 / workers as u32).max(1) as usize;
            for begin in 0..taken.len() {
                for end in begin..taken.len() {
                    let span_us = (taken[end] - taken[begin]) as usize;
                    let most = span_us * rate as usize / (1_000_000 * workers) + burst;
                    prop_assert!(end - begin < most, "{} in {span_us} us", end - begin + 1);
                }
            }
        }

        #[test]
        fn the_next_token_is_there_when_it_says(rate in 1_u32..1_000_000, workers in 1_usize..9) {
            let mut bucket = Bucket::new(rate, workers).unwrap();
            takes(&mut bucket, &[1_000_000]);
            let next = bucket.next();
            prop_assert!(bucket.allows(next) && !bucket.allows(Tick(next.0 - 1)));
        }
    }
}
