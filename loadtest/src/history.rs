//! What each side of a run saw, one JSON object per line: recorded by `run --history` and
//! `sink --history`, judged by `verify`.
//!
//! Events say what they are in their value, `#<sequence of the key>#`, followed by whatever
//! fills it up: so the receiver's side can be matched with the sender's without an id.

use serde::{Deserialize, Serialize};
use std::fmt;

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
    Accounts(Accounts),
    /// The receiver's side: a request arrived and was answered (or not).
    Request(Request),
    /// The sender's side: it was not answered whether the engine accepted an event, as the server
    /// ended meanwhile. It may be delivered or not.
    Unanswered {
        /// The key.
        key: String,
        /// Counts the key's events from 0.
        sequence: u64,
    },
    /// The sender's side: the engine starts again after its process has ended. What it had not
    /// noted yet is sent again, and what follows it, in this order.
    Restarted {
        /// When, in microseconds since 1970; all that the process before had sent has arrived.
        at_us: u64,
    },
}

/// How the engine accounts for a webhook's deliveries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Accounts {
    /// The webhook.
    pub webhook: String,
    /// Events that matched it.
    pub triggered: u64,
    /// Answered 2xx.
    pub delivered: u64,
    /// Given up after all attempts.
    pub dead: u64,
    /// Turned away because its queue was full.
    pub dropped: u64,
    /// Cancelled by its deletion.
    pub cancelled: u64,
    /// Still waiting or under way.
    pub pending: u64,
    /// Whether its requests are signed.
    pub signed: bool,
    /// Dead ones that were taken up again by a replay.
    #[serde(default)]
    pub replayed: u64,
    /// Given way to a newer event of their key.
    #[serde(default)]
    pub coalesced: u64,
}

/// A request as the receiver saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Path of the request: tells webhooks apart.
    pub path: String,
    /// `X-Ferrite-Id`; of a batch without one, its `batch_id`.
    pub id: String,
    /// `X-Ferrite-Attempt`.
    pub attempt: u32,
    /// The key in the body; empty for a batch.
    pub key: String,
    /// The sequence in the body's value, if it has one.
    pub sequence: Option<u64>,
    /// A hash of the body's bytes.
    pub body_hash: u64,
    /// Whether the request's signatures are right; `None`: not checked or not signed.
    pub signature: Option<bool>,
    /// When its last byte had arrived, in microseconds since 1970.
    pub arrived_us: u64,
    /// When its answer was written, or the connection ended; in microseconds since 1970.
    pub answered_us: u64,
    /// The status that was answered; `None`: none (reset, hang, half-close).
    pub status: Option<u16>,
    /// The events of a batch, in their order in the body; empty: no batch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<BatchEvent>,
}

/// An event within a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchEvent {
    /// Its `id`; empty if it has none.
    pub id: String,
    /// The key.
    pub key: String,
    /// The sequence in its value, if it has one.
    pub sequence: Option<u64>,
}

impl Request {
    /// Whether it was answered with success.
    pub fn is_2xx(&self) -> bool {
        matches!(self.status, Some(200..300))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.map_or("no answer".to_owned(), |status| status.to_string());
        let event = match self.events.len() {
            0 => Event { key: &self.key, sequence: self.sequence }.to_string(),
            count => format!("batch of {count}"),
        };
        write!(
            formatter,
            "{} {event} (id {}, attempt {}, arrived {}, answered {}: {status})",
            self.path, self.id, self.attempt, self.arrived_us, self.answered_us
        )
    }
}

/// Which event it is, as people read it.
pub(crate) struct Event<'a> {
    pub key: &'a str,
    pub sequence: Option<u64>,
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sequence {
            Some(sequence) => write!(formatter, "{}#{sequence}", self.key),
            None => write!(formatter, "{}#?", self.key),
        }
    }
}
