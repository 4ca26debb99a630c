//! What a shard is told about keeping endpoints apart, for all webhooks alike.

use super::breaker::BreakerPolicy;
use crate::base::limits;

/// How far endpoints that misbehave are borne with (DEL-6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Isolation {
    /// A longer `Retry-After` counts as this, in milliseconds.
    pub retry_after_ms_max: u64,
    /// When an endpoint counts as broken down.
    pub breaker: BreakerPolicy,
    /// A webhook is disabled after nothing but failures for this long, in milliseconds; 0: never.
    pub auto_disable_after_ms: u64,
}

impl Default for Isolation {
    fn default() -> Self {
        Isolation {
            retry_after_ms_max: limits::RETRY_AFTER_MS_DEFAULT,
            breaker: BreakerPolicy::default(),
            auto_disable_after_ms: 0,
        }
    }
}
