//! Which deliveries are looked at, and which are sent again.

use super::{DeadReason, DeliveryOutcome, Failure, WebhookEvent};

/// Which attempts [`WebhookManager::deliveries_matching`](super::WebhookManager::deliveries_matching)
/// shows. The default shows all that are remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeliveryFilter {
    /// At most so many, the newest.
    pub count: usize,
    /// Those that ended so; `None` for all.
    pub outcome: Option<DeliveryOutcome>,
    /// Those that ended at this time or later, in microseconds since 1970; `None` for all.
    pub since_us: Option<u64>,
}

impl Default for DeliveryFilter {
    fn default() -> Self {
        DeliveryFilter { count: usize::MAX, outcome: None, since_us: None }
    }
}

/// A delivery that was given up. Its body is kept, and not shown.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct DeadLetterRecord {
    /// The event's id.
    pub id: String,
    /// What happened.
    pub event: WebhookEvent,
    /// The key it happened to (the first bytes of a long one).
    pub key: Vec<u8>,
    /// Attempts that were made.
    pub attempts: u32,
    /// Why it was given up.
    pub reason: DeadReason,
    /// The HTTP status of the last attempt, if a response came.
    pub status: Option<u16>,
    /// Why the last attempt failed.
    pub failure: Option<Failure>,
    /// Bytes of the body that would be sent again.
    pub body_bytes: usize,
    /// When it was given up, in microseconds since 1970.
    pub at_us: u64,
    /// It waits for its turn in a replay.
    pub replaying: bool,
}

/// What is to be sent again: dead letters. Without the durable log nothing else is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReplayOf {
    /// The event with this id.
    Id(String),
    /// All.
    Dead,
    /// Those that were given up in this time, both ends included.
    Between {
        /// The first moment, in microseconds since 1970.
        since_us: u64,
        /// The last moment, in microseconds since 1970.
        until_us: u64,
    },
}

/// A replay.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReplayRequest {
    /// What.
    pub what: ReplayOf,
    /// Only events of keys that match this Redis glob; `None` for every key. Of a key, the first
    /// 256 bytes are compared.
    pub pattern: Option<String>,
    /// Events per second, 1 to 100 000; `None` for 100.
    pub per_second: Option<u32>,
}

impl ReplayRequest {
    /// Of every key, at the usual rate.
    pub fn new(what: ReplayOf) -> Self {
        ReplayRequest { what, pattern: None, per_second: None }
    }
}
