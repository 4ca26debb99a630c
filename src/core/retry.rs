//! When to try again (DEL-2).

use crate::base::random::Random;

/// How the delay grows from retry to retry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RetryBackoff {
    /// Always the first delay.
    Fixed,
    /// One more first delay each time.
    Linear,
    /// `backoff_multiplier` times the delay before.
    #[default]
    Exponential,
}

impl RetryBackoff {
    /// The name in commands.
    pub const fn name(self) -> &'static str {
        match self {
            RetryBackoff::Fixed => "fixed",
            RetryBackoff::Linear => "linear",
            RetryBackoff::Exponential => "exponential",
        }
    }

    /// The backoff called `name`, in any case.
    pub fn from_name(name: &[u8]) -> Option<RetryBackoff> {
        [RetryBackoff::Fixed, RetryBackoff::Linear, RetryBackoff::Exponential]
            .into_iter()
            .find(|backoff| name.eq_ignore_ascii_case(backoff.name().as_bytes()))
    }
}

/// When and how often a failed delivery is tried again.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct RetryPolicy {
    /// Attempts after the first.
    pub retries: u32,
    /// Delay before the first retry, in milliseconds.
    pub delay_ms: u64,
    /// How the delay grows.
    pub backoff: RetryBackoff,
    /// Each exponential delay is this many times the one before.
    pub multiplier: f64,
    /// No delay is longer than this, before jitter.
    pub delay_ms_max: u64,
    /// Each delay is lengthened by a random part of up to this fraction of it.
    pub jitter: f64,
}

impl RetryPolicy {
    /// The delay after `attempt` failed attempts, in microseconds.
    ///
    /// Jitter only lengthens, and is added after the cap: otherwise all deliveries whose delay
    /// has grown to the cap would be tried again at the same moment.
    pub fn delay_us(&self, attempt: u32, random: &mut Random) -> u64 {
        let first = self.delay_ms as f64;
        let steps = attempt.max(1) - 1;
        let grown = match self.backoff {
            RetryBackoff::Fixed => first,
            RetryBackoff::Linear => first * f64::from(steps + 1),
            RetryBackoff::Exponential => first * self.multiplier.powi(steps.min(1024) as i32),
        };
        // `min` also turns an overflow to infinity, or not-a-number, into the cap.
        let capped_us = (grown.min(self.delay_ms_max as f64) * 1000.0) as u64;
        let jitter_us = (capped_us as f64 * self.jitter) as u64;
        capped_us + random.below(jitter_us + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(backoff: RetryBackoff) -> RetryPolicy {
        RetryPolicy {
            retries: 5,
            delay_ms: 1000,
            backoff,
            multiplier: 2.0,
            delay_ms_max: 60_000,
            jitter: 0.0,
        }
    }

    fn delays_ms(policy: &RetryPolicy, attempts: &[u32]) -> Vec<u64> {
        let mut random = Random::new(1);
        attempts.iter().map(|&attempt| policy.delay_us(attempt, &mut random) / 1000).collect()
    }

    #[test]
    fn delays_grow_as_configured_up_to_the_cap() {
        let attempts = [1, 2, 3, 4, 5, 7, 100, u32::MAX];
        assert_eq!(
            delays_ms(&policy(RetryBackoff::Exponential), &attempts),
            [1000, 2000, 4000, 8000, 16_000, 60_000, 60_000, 60_000]
        );
        assert_eq!(
            delays_ms(&policy(RetryBackoff::Linear), &attempts),
            [1000, 2000, 3000, 4000, 5000, 7000, 60_000, 60_000]
        );
        assert_eq!(delays_ms(&policy(RetryBackoff::Fixed), &attempts), [1000; 8]);
    }

    #[test]
    fn jitter_only_lengthens_and_stays_within_its_fraction() {
        let policy = RetryPolicy { jitter: 0.1, ..policy(RetryBackoff::Fixed) };
        let mut random = Random::new(7);
        let delays: Vec<u64> = (0..1000).map(|_| policy.delay_us(1, &mut random)).collect();
        assert!(delays.iter().all(|delay| (1_000_000..=1_100_000).contains(delay)));
        assert!(delays.iter().any(|delay| *delay > 1_050_000));
    }
}
