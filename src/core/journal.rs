//! What a shard tells of its events so that they outlive the process, and how they come back.
//!
//! The shard knows a [`Journal`], not a disk: the durable log stands behind it in an engine, and a
//! list in the simulator. It writes down each event once, then what becomes of each of its
//! deliveries. Deliveries for which a webhook has no room in memory are in the journal only, and
//! are fetched when there is room; after a restart, all that is unfinished comes in this way.

mod forms;

pub use super::dead_letters::Death;
pub use forms::{Form, read_form, write_forms};

use super::event::WebhookEvent;
use crate::base::id::EventId;
use std::collections::VecDeque;
use std::fmt::Debug;

/// Why a delivery is finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Finish {
    /// It was answered 2xx.
    Delivered = 1,
    /// It was given up, and is not kept as a dead letter (any more).
    Dead = 2,
    /// Its webhook was deleted.
    Cancelled = 3,
    /// Its webhook's policy dropped it.
    Dropped = 4,
    /// It gave way to a newer one of its key.
    Coalesced = 5,
}

impl Finish {
    /// The name in dumps.
    pub fn name(value: u16) -> &'static str {
        match value {
            1 => "delivered",
            2 => "dead",
            3 => "cancelled",
            4 => "dropped",
            5 => "coalesced",
            _ => "finished",
        }
    }
}

/// Says something about one delivery of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The event.
    pub id: EventId,
    /// The webhook's lasting number.
    pub webhook: u64,
    /// The webhook's place in the event's list of targets.
    pub target: u16,
    /// In acks, a [`Finish`]; in attempts, how many were made.
    pub value: u16,
}

/// An event, as it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogEvent<'a> {
    /// Its id.
    pub id: EventId,
    /// What happened.
    pub kind: WebhookEvent,
    /// The number of the database.
    pub database: u32,
    /// When it happened, in microseconds since 1970.
    pub timestamp_us: u64,
    /// The whole key: after a restart it is hashed anew, with another seed and for other workers.
    pub key: &'a [u8],
    /// The bytes that are sent, in the forms that its webhooks want: see [`write_forms`].
    pub body: &'a [u8],
    /// The lasting numbers of the webhooks that it is for.
    pub targets: &'a [u64],
}

/// A delivery that is unfinished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PendingTarget {
    /// The webhook's place in the event's list: what an ack names.
    pub target: u16,
    /// The webhook's lasting number.
    pub webhook: u64,
    /// Attempts that were recorded.
    pub attempts: u16,
    /// It is kept as a dead letter.
    pub death: Option<Death>,
}

/// An event that was read back. One is used for many: its buffers stay.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoredEvent {
    /// Its id.
    pub id: EventId,
    /// What happened.
    pub kind: WebhookEvent,
    /// The number of the database.
    pub database: u32,
    /// When it happened, in microseconds since 1970.
    pub timestamp_us: u64,
    /// The key.
    pub key: Vec<u8>,
    /// The bytes that are sent, as they were written.
    pub body: Vec<u8>,
    /// How many webhooks it was for, the finished ones included.
    pub targets_written: u16,
    /// Its unfinished deliveries: at least one.
    pub targets: Vec<PendingTarget>,
}

/// An unfinished delivery that was read back for a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredDelivery {
    /// The event's id.
    pub id: EventId,
    /// What happened.
    pub kind: WebhookEvent,
    /// When it happened, in microseconds since 1970.
    pub timestamp_us: u64,
    /// The hash of the key, in this start of the engine.
    pub key_hash: u64,
    /// The key.
    pub key: Vec<u8>,
    /// The bytes that are sent, as they were written.
    pub body: Vec<u8>,
    /// How many webhooks the event was for.
    pub targets_written: u16,
    /// Which delivery.
    pub target: PendingTarget,
}

/// Asks for unfinished deliveries of one webhook, in the order they were written: those behind
/// what was fetched last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fetch {
    /// The webhook's lasting number.
    pub webhook: u64,
    /// Most deliveries.
    pub deliveries_max: usize,
}

/// What was fetched.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Fetched {
    /// The webhook's lasting number.
    pub webhook: u64,
    /// The deliveries, in order.
    pub deliveries: VecDeque<StoredDelivery>,
    /// All was read that had been written: nothing of earlier starts is left.
    pub end: bool,
}

/// Deliveries that were to be in the journal only, and could not be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    /// The webhook's lasting number.
    pub webhook: u64,
    /// How many.
    pub deliveries: u64,
}

/// How urgent it is to hand over what was written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Urgency {
    /// There is nothing.
    Nothing,
    /// Nobody waits for it.
    Later,
    /// Somebody waits for it, or there is much of it.
    Now,
}

/// Where a shard writes down what must outlive the process. Nothing here blocks.
pub trait Journal: Debug + Send {
    /// Writes down an event. `waiter` is told when it is kept (0: nobody); the deliveries to
    /// `spilled`, some of its targets, are nowhere else.
    fn event(&mut self, event: &LogEvent<'_>, waiter: u32, spilled: &[u64]);

    /// A delivery is finished: `mark.value` is a [`Finish`].
    fn ack(&mut self, mark: &Mark);

    /// `mark.value` attempts at a delivery were made.
    fn attempts(&mut self, mark: &Mark);

    /// A delivery is kept as a dead letter.
    fn dead(&mut self, mark: &Mark, death: &Death);

    /// An event that somebody waits for is for no webhook.
    fn not_wanted(&mut self, waiter: u32);

    /// An event that somebody waits for was given up: it broke the shard twice.
    fn abandoned(&mut self, waiter: u32);

    /// How urgent [`Journal::flush`] is.
    fn urgency(&self) -> Urgency;

    /// Hands over what was written down. `false`: it is kept, there is no room; take in no more
    /// events.
    fn flush(&mut self) -> bool;

    /// Whether the bound of the disk is near, or the disk has failed: webhooks that lag are full.
    fn is_full(&self) -> bool;

    /// Deliveries that could not be written.
    fn poll_lost(&mut self) -> Option<Lost>;

    /// A webhook begins to lag: what will be fetched begins with the event `first`, which is
    /// written down next. Without this, it begins with what earlier starts have left.
    fn begin(&mut self, webhook: u64, first: EventId);

    /// Asks for deliveries; one question per webhook at a time. The driver brings the answer.
    fn fetch(&mut self, fetch: Fetch);

    /// No more will be fetched for a webhook, until it begins to lag again.
    fn forget(&mut self, webhook: u64);

    /// The webhooks of which earlier starts have left something.
    fn left(&self) -> Vec<u64>;
}
