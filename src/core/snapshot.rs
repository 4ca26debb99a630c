//! What the shards and the callers know of the webhooks: an immutable snapshot.

use super::event::{EventMask, WebhookEvent};
use super::format::Format;
use super::http::request::RequestHead;
use super::ledger::{Ledger, WebhookStatus};
use super::matcher::Matcher;
use super::on_full::OnFull;
use super::retry::RetryPolicy;
use super::shard::Target;
use super::signature::SigningKey;
use super::while_disabled::WhileDisabled;
use crate::base::id::WebhookId;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How deliveries are put together in one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchPolicy {
    /// Most deliveries in a batch; a batch with so many is sent at once.
    pub events_max: u32,
    /// Longest time that a delivery waits for its batch to fill, in milliseconds.
    pub interval_ms: u64,
    /// Bodies of a batch are together no longer than this, in bytes. One alone may be.
    pub bytes_max: usize,
}

/// One webhook, compiled: everything about it that does not change from event to event.
#[derive(Debug)]
pub struct Definition {
    /// Which webhook it is, for as long as the process lives.
    pub id: WebhookId,
    /// Which webhook it is for good: from 1, given when it is made, and never to another one, also
    /// after its deletion and after restarts. The log names it so.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// Where it connects to.
    pub target: Target,
    /// The request, up to what changes from delivery to delivery.
    pub head: RequestHead,
    /// Signs the bodies.
    pub signing: Option<SigningKey>,
    /// When and how often a failed delivery is tried again.
    pub retry: RetryPolicy,
    /// One deadline for the whole exchange, in milliseconds.
    pub timeout_ms: u64,
    /// Deliveries in flight at once, over all workers.
    pub concurrency: u32,
    /// Requests that one connection may carry at once.
    pub pipeline: u32,
    /// Many deliveries in one request, if the webhook wants that.
    pub batch: Option<BatchPolicy>,
    /// What is done when its queue is full.
    pub on_full: OnFull,
    /// Only the newest pending event of a key is kept.
    pub coalesce: bool,
    /// Whether the events of a key wait for each other.
    pub ordered: bool,
    /// The form of its bodies.
    pub format: Format,
    /// Whether its events are numbered in headers.
    pub sequence: bool,
    /// Generation of the first snapshot it was in: earlier events are not for it.
    pub since_generation: u64,
    /// What is counted and remembered of it.
    pub ledger: Arc<Ledger>,
    /// Statuses that are not tried again, beside the ones that never are.
    pub final_statuses: Box<[u16]>,
    /// Attempts per second, over all workers; 0: no limit.
    pub rate: u32,
    /// Whether the windows of its workers adapt to the endpoint's latency.
    pub adaptive: bool,
    /// What becomes of events while it is disabled.
    pub while_disabled: WhileDisabled,
}

impl Definition {
    /// Whether a failure with this status is not tried again.
    pub fn is_final(&self, status: u16) -> bool {
        self.final_statuses.contains(&status)
    }

    /// Whether events are taken in for it now: it is enabled, or keeps them for then.
    pub fn takes_events(&self) -> bool {
        self.takes_events_when(self.ledger.status())
    }

    /// Whether events are taken in for it while it has this status.
    pub fn takes_events_when(&self, status: WebhookStatus) -> bool {
        status == WebhookStatus::Active || self.while_disabled == WhileDisabled::Keep
    }
}

/// All webhooks at one moment, and the automata over the patterns of those that take events: the
/// enabled ones, and those that keep events while they are disabled.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts the snapshots.
    pub generation: u64,
    /// The webhooks, disabled ones included, by slot.
    pub definitions: Vec<Option<Arc<Definition>>>,
    /// Finds the webhooks that take events and want one.
    pub matcher: Matcher,
    /// The kinds of event that any of them wants.
    pub events: EventMask,
}

impl Snapshot {
    /// Whether any webhook that takes events wants this one.
    #[inline]
    pub fn wants(&self, event: WebhookEvent, key: &[u8]) -> bool {
        self.events.contains(event) && self.matcher.matches_any(event, key)
    }

    /// The webhook in `slot`.
    pub fn definition(&self, slot: u32) -> Option<&Arc<Definition>> {
        self.definitions.get(slot as usize)?.as_ref()
    }
}

/// The snapshot that is in force. Readers take no lock.
#[derive(Debug)]
pub struct Published {
    current: ArcSwap<Snapshot>,
    generation: AtomicU64,
}

impl Published {
    /// Puts the first snapshot in force.
    pub fn new(first: Snapshot) -> Self {
        let generation = AtomicU64::new(first.generation);
        Published { current: ArcSwap::from_pointee(first), generation }
    }

    /// Puts a snapshot in force. Whoever sees its generation also finds it.
    pub fn publish(&self, snapshot: Snapshot) {
        let generation = snapshot.generation;
        self.current.store(Arc::new(snapshot));
        self.generation.store(generation, Ordering::Release);
    }

    /// The generation in force: one load, to find out whether anything changed.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The snapshot in force, for a short look.
    #[inline]
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// The snapshot in force, to keep.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }
}
