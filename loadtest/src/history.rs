//! What each side of a run saw, one JSON object per line: recorded by `run --history` and
//! `sink --history`, judged by `verify`.
//!
//! Events say what they are in their value, `#<sequence of the key>#`, followed by whatever
//! fills it up: so the receiver's side can be matched with the sender's without an id.

use serde::{Deserialize, Serialize};

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum HistoryLine {
    /// The sender's side: the engine accepted an event.
    Accepted {
        /// The key.
        key: String,
        /// Counts the key's events from 0.
        sequence: u64,
        /// When, in microseconds since 1970.
        at_us: u64,
    },
    /// The sender's side, at the end: how the engine accounts for a webhook's deliveries.
    Accounts {
        /// The webhook.
        webhook: String,
        /// Events that matched it.
        triggered: u64,
        /// Answered 2xx.
        delivered: u64,
        /// Given up after all attempts.
        dead: u64,
        /// Turned away because its queue was full.
        dropped: u64,
        /// Cancelled by its deletion.
        cancelled: u64,
        /// Still waiting or under way.
        pending: u64,
        /// Whether its requests are signed.
        signed: bool,
        /// Dead ones that were taken up again by a replay.
        #[serde(default)]
        replayed: u64,
    },
    /// The receiver's side: a request arrived and was answered (or not).
    Request {
        /// Path of the request: tells webhooks apart.
        path: String,
        /// `X-Ferrite-Id`.
        id: String,
        /// `X-Ferrite-Attempt`.
        attempt: u32,
        /// The key in the body.
        key: String,
        /// The sequence in the body's value, if it has one.
        sequence: Option<u64>,
        /// A hash of the body's bytes.
        body_hash: u64,
        /// Whether the request's signatures are right; `None`: not checked or not signed.
        signature: Option<bool>,
        /// When its last byte had arrived, in microseconds since 1970.
        arrived_us: u64,
        /// When its answer was written, or the connection ended; in microseconds since 1970.
        answered_us: u64,
        /// The status that was answered; `None`: none (reset, hang, half-close).
        status: Option<u16>,
    },
}
