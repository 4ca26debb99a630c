//! What is counted and remembered of a webhook: read by anybody, written by the workers.

use super::dead_letters::{DeadLetters, DeadLimits};
use super::event::WebhookEvent;
use super::failure::Failure;
use super::kept::KeptLedger;
use super::latency::Measures;
use super::replay::{EventKeeper, KeptEvent, Place, Selection};
use crate::base::id::EventId;
use crate::base::limits;
use crate::base::time::Tick;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A counter with one writer: adding is a load and a store, not an atomic operation.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`.
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes `amount` away.
    pub fn subtract(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_sub(amount), Ordering::Relaxed);
    }

    /// Replaces the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters that one worker keeps of one webhook, or of all.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)* }

        /// A reading of [`Counters`], or a sum of readings.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Tally { $($(#[$doc])* pub $name: u64,)* }

        impl Tally {
            /// Adds deliveries of earlier starts that no worker has taken up yet.
            pub fn add_unread(&mut self, deliveries: u64) {
                self.triggered += deliveries;
                self.pending += deliveries;
                self.spilled += deliveries;
            }

            /// Adds a reading of `counters`.
            pub fn add(&mut self, counters: &Counters) {
                $(self.$name = self.$name.wrapping_add(counters.$name.get());)*
            }

            /// Adds another reading.
            pub fn add_tally(&mut self, tally: &Tally) {
                $(self.$name = self.$name.wrapping_add(tally.$name);)*
            }
        }
    };
}

counters! {
    /// Deliveries that came into being: events that matched and were accepted.
    triggered,
    /// Deliveries that were answered 2xx.
    delivered,
    /// Deliveries that were given up.
    dead,
    /// Deliveries that were dropped because the webhook's queue was full.
    dropped,
    /// Deliveries that were cancelled because the webhook was deleted.
    cancelled,
    /// Deliveries that wait or are under way.
    pending,
    /// Deliveries under way.
    in_flight,
    /// Attempts that ended.
    attempts,
    /// Attempts that failed.
    failed_attempts,
    /// Time of the successful attempts, in microseconds.
    latency_us_sum,
    /// Deliveries that gave way to a newer one of their key (`COALESCE`).
    coalesced,
    /// Exchanges that were cut by a stale connection and sent again at once (DEL-4).
    resent,
    /// Attempts that ended and were not the first of their delivery.
    retries,
    /// Lanes whose first delivery waits for its retry.
    lanes_blocked,
    /// Dead deliveries that were taken up again by a replay.
    replayed,
    /// Pending deliveries that are in the durable log only, for want of room in memory.
    spilled,
}

/// Whether a webhook gets deliveries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum WebhookStatus {
    /// It does.
    Active = 0,
    /// It was disabled by command. Pending deliveries wait; new events pass it by, or wait as
    /// well (`WhileDisabled`).
    Disabled = 1,
    /// Its endpoint answered 410 Gone. As if it had been disabled by command.
    Gone = 2,
    /// Its endpoint answered with `webhook-delivery: disable`. Otherwise as after a 410.
    Refused = 3,
    /// Nothing but failures for as long as `auto_disable_after_ms` says. Otherwise as after a 410.
    Failing = 4,
    /// It survived a restart, and the configuration does not accept it any more. Otherwise as after
    /// a 410.
    Held = 5,
}

impl WebhookStatus {
    /// The name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            WebhookStatus::Active => "active",
            WebhookStatus::Disabled => "disabled",
            WebhookStatus::Gone => "disabled (410 gone)",
            WebhookStatus::Refused => "disabled (webhook-delivery header)",
            WebhookStatus::Failing => "disabled (nothing but failures)",
            WebhookStatus::Held => "disabled (configuration)",
        }
    }

    /// Why the webhook gets no deliveries, for replies; `None` while it does.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            WebhookStatus::Active => None,
            WebhookStatus::Disabled => Some("command"),
            WebhookStatus::Gone => Some("endpoint answered 410 Gone"),
            WebhookStatus::Refused => Some("endpoint answered webhook-delivery: disable"),
            WebhookStatus::Failing => Some("nothing but failures for auto_disable_after_ms"),
            WebhookStatus::Held => Some("not accepted by the configuration"),
        }
    }

    fn from_number(number: u8) -> WebhookStatus {
        match number {
            0 => WebhookStatus::Active,
            1 => WebhookStatus::Disabled,
            2 => WebhookStatus::Gone,
            3 => WebhookStatus::Refused,
            4 => WebhookStatus::Failing,
            _ => WebhookStatus::Held,
        }
    }
}

/// How an attempt ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DeliveryOutcome {
    /// Answered 2xx.
    Ok,
    /// Failed; it will be tried again.
    Failed,
    /// Failed, and given up.
    Dead,
}

impl DeliveryOutcome {
    /// The name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            DeliveryOutcome::Ok => "ok",
            DeliveryOutcome::Failed => "failed",
            DeliveryOutcome::Dead => "dead",
        }
    }

    /// Reads a name, in any case.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let all = [DeliveryOutcome::Ok, DeliveryOutcome::Failed, DeliveryOutcome::Dead];
        all.into_iter().find(|outcome| name.eq_ignore_ascii_case(outcome.name().as_bytes()))
    }
}

/// A batch that was tried.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BatchRef {
    /// The counting part of its id; the boot is that of its events.
    pub sequence: u64,
    /// Events in it.
    pub events: u32,
}

impl BatchRef {
    /// Its id, to be written as a batch's.
    pub fn id(&self, boot: u64) -> EventId {
        EventId { boot, sequence: self.sequence }
    }
}

/// One attempt, as the delivery log keeps it.
#[derive(Clone, PartialEq, Debug)]
pub struct AttemptRecord {
    /// The event's id.
    pub id: EventId,
    /// The batch that the event was in. One record stands for all events of a batch, with the id,
    /// kind and key of the first; but of those that are given up, each has its own.
    pub batch: Option<BatchRef>,
    /// What happened.
    pub event: WebhookEvent,
    /// The first bytes of the key.
    pub key: Vec<u8>,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// How it ended.
    pub outcome: DeliveryOutcome,
    /// The HTTP status, if a response came.
    pub status: Option<u16>,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// How long it took, in microseconds.
    pub latency_us: u64,
    /// When it ended, in microseconds since 1970.
    pub at_us: u64,
    /// The first bytes of the body of a failed response.
    pub response: Vec<u8>,
}

/// The last attempts of one webhook on one worker. Full, it forgets the oldest.
#[derive(Debug, Default)]
pub struct DeliveryLog {
    entries: Vec<AttemptRecord>,
    /// Where the oldest is, once the log is full.
    oldest: usize,
}

impl DeliveryLog {
    /// Remembers an attempt. The buffers of a forgotten one are used again, so that a full log
    /// allocates nothing.
    pub fn record(&mut self, attempt: &AttemptRecord, key: &[u8], response: &[u8]) {
        let place = self.entries.len();
        let place = if place < limits::DELIVERY_LOG_ENTRIES_MAX {
            self.entries.push(attempt.clone());
            place
        } else {
            let next = (self.oldest + 1) % limits::DELIVERY_LOG_ENTRIES_MAX;
            std::mem::replace(&mut self.oldest, next)
        };
        let entry = &mut self.entries[place];
        let (mut kept_key, mut kept_response) =
            (std::mem::take(&mut entry.key), std::mem::take(&mut entry.response));
        kept_key.clear();
        kept_key.extend_from_slice(&key[..key.len().min(limits::DELIVERY_LOG_KEY_BYTES_MAX)]);
        kept_response.clear();
        kept_response.extend_from_slice(response);
        *entry = AttemptRecord { key: kept_key, response: kept_response, ..*attempt };
    }

    /// Changes what is kept of the answers.
    pub fn each_response(&mut self, change: impl Fn(&mut Vec<u8>)) {
        self.entries.iter_mut().for_each(|entry| change(&mut entry.response));
    }

    /// The attempts, oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &AttemptRecord> {
        let (newer, older) = self.entries.split_at(self.oldest);
        older.iter().chain(newer)
    }
}

/// Where the circuit breaker of an endpoint stands; the worst is the greatest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum BreakerState {
    /// The endpoint is sent to.
    #[default]
    Closed = 0,
    /// One delivery finds out whether the endpoint is back.
    HalfOpen = 1,
    /// The endpoint has broken down: nothing is sent to it for a while.
    Open = 2,
}

impl BreakerState {
    /// The name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::HalfOpen => "half-open",
            BreakerState::Open => "open",
        }
    }
}

/// What one worker says of a webhook's endpoint, for whoever asks.
#[derive(Debug, Default)]
pub struct GateReading {
    breaker: AtomicU8,
    hold_until_us: AtomicU64,
    window: AtomicU32,
}

impl GateReading {
    /// Says where the breaker stands and until when the endpoint asked to be left alone, in
    /// microseconds since 1970 (0: it did not).
    pub fn set(&self, breaker: BreakerState, hold_until_us: u64) {
        self.breaker.store(breaker as u8, Ordering::Relaxed);
        self.hold_until_us.store(hold_until_us, Ordering::Relaxed);
    }

    /// Says how many deliveries may be in flight on this worker.
    pub fn set_window(&self, window: u32) {
        self.window.store(window, Ordering::Relaxed);
    }

    fn read(&self) -> (BreakerState, u64) {
        let breaker = match self.breaker.load(Ordering::Relaxed) {
            0 => BreakerState::Closed,
            1 => BreakerState::HalfOpen,
            _ => BreakerState::Open,
        };
        (breaker, self.hold_until_us.load(Ordering::Relaxed))
    }
}

/// One worker's part of a webhook's ledger.
#[derive(Debug, Default)]
struct WorkerPart {
    counters: CachePadded<Counters>,
    log: Mutex<DeliveryLog>,
    gate: GateReading,
    measures: OnceLock<Box<Measures>>,
}

/// What is counted and remembered of one webhook. Outlives its updates; ends with its deletion.
#[derive(Debug)]
pub struct Ledger {
    status: AtomicU8,
    /// Pending deliveries have reached `pending_max`: read by callers before they push.
    full: AtomicBool,
    pending_max: u64,
    last_delivery_us: AtomicU64,
    workers: Box<[WorkerPart]>,
    /// When the status was changed last, in microseconds since 1970; 0: it never was.
    status_since_us: AtomicU64,
    /// Since when there are nothing but failures, as a tick plus 1; 0: the last one succeeded.
    failing_since: AtomicU64,
    /// Of all workers: only touched when a delivery is given up, looked at or replayed.
    dead: Mutex<DeadLetters>,
    /// What was counted before the restart.
    restored: Tally,
    /// Unfinished deliveries of earlier starts that no worker has taken up yet.
    unread: AtomicU64,
}

impl Ledger {
    /// A ledger for `workers` workers, a queue of `pending_max` deliveries, and dead letters
    /// within `dead`.
    pub fn new(workers: usize, pending_max: u64, dead: DeadLimits) -> Self {
        Ledger {
            status: AtomicU8::new(WebhookStatus::Active as u8),
            full: AtomicBool::new(false),
            pending_max,
            last_delivery_us: AtomicU64::new(0),
            workers: (0..workers).map(|_| WorkerPart::default()).collect(),
            status_since_us: AtomicU64::new(0),
            failing_since: AtomicU64::new(0),
            dead: Mutex::new(DeadLetters::new(dead)),
            restored: Tally::default(),
            unread: AtomicU64::new(0),
        }
    }

    /// This ledger, going on from what was kept before a restart.
    #[must_use]
    pub fn restored(mut self, kept: &KeptLedger) -> Self {
        self.status = AtomicU8::new(kept.status as u8);
        self.status_since_us = AtomicU64::new(kept.status_since_us.unwrap_or(0));
        self.last_delivery_us = AtomicU64::new(kept.counters.last_delivery_us.unwrap_or(0));
        self.restored = kept.counters.tally.finished();
        self.dead().restore(kept.counters.dead);
        self
    }

    /// Whether the webhook gets deliveries.
    pub fn status(&self) -> WebhookStatus {
        WebhookStatus::from_number(self.status.load(Ordering::Acquire))
    }

    /// Changes whether the webhook gets deliveries. Setting what is set leaves the time of the
    /// change as it is.
    pub fn set_status(&self, status: WebhookStatus, unix_us: u64) {
        if status == WebhookStatus::Active {
            self.failing_since.store(0, Ordering::Relaxed);
        }
        if self.status() != status {
            self.status_since_us.store(unix_us, Ordering::Relaxed);
            self.status.store(status as u8, Ordering::Release);
        }
    }

    /// Disables an active webhook; `false`: it is not active, and stays what it is.
    pub fn disable(&self, reason: WebhookStatus, unix_us: u64) -> bool {
        let active = WebhookStatus::Active as u8;
        let (success, failure) = (Ordering::AcqRel, Ordering::Relaxed);
        let disabled = self.status.compare_exchange(active, reason as u8, success, failure).is_ok();
        if disabled {
            self.status_since_us.store(unix_us, Ordering::Relaxed);
        }
        disabled
    }

    /// When the status was changed last, in microseconds since 1970.
    pub fn status_since_us(&self) -> Option<u64> {
        Some(self.status_since_us.load(Ordering::Relaxed)).filter(|&at| at != 0)
    }

    /// Notes an attempt that succeeded.
    pub fn note_success(&self) {
        // Nearly always there is nothing to take back: no store to what the workers share.
        if self.failing_since.load(Ordering::Relaxed) != 0 {
            self.failing_since.store(0, Ordering::Relaxed);
        }
    }

    /// Notes an attempt that failed; gives for how long nothing but that has happened, in
    /// microseconds.
    pub fn note_failure(&self, now: Tick) -> u64 {
        let relaxed = Ordering::Relaxed;
        match self.failing_since.compare_exchange(0, now.0 + 1, relaxed, relaxed) {
            Ok(_) => 0,
            Err(since) => (now.0 + 1).saturating_sub(since),
        }
    }

    /// What `worker` says of the webhook's endpoint.
    pub fn gate(&self, worker: usize) -> &GateReading {
        &self.workers[worker].gate
    }

    /// How many deliveries may be in flight: the sum of the workers' windows; 0 before they know
    /// of the webhook.
    pub fn window(&self) -> u32 {
        self.workers.iter().map(|part| part.gate.window.load(Ordering::Relaxed)).sum()
    }

    /// What all workers say of the webhook's endpoint: the worst breaker, and the latest hold, in
    /// microseconds since 1970.
    pub fn gates(&self) -> (BreakerState, u64) {
        let readings = self.workers.iter().map(|part| part.gate.read());
        readings.fold((BreakerState::Closed, 0), |(worst, latest), (breaker, hold)| {
            (worst.max(breaker), latest.max(hold))
        })
    }

    /// Whether the queue is full.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// The counters of `worker`, the only one who writes them.
    pub fn counters(&self, worker: usize) -> &Counters {
        &self.workers[worker].counters
    }

    /// The log of `worker`.
    pub fn log(&self, worker: usize) -> MutexGuard<'_, DeliveryLog> {
        self.workers[worker].log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dead letters.
    pub fn dead(&self) -> MutexGuard<'_, DeadLetters> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `worker` measures, the only one who writes it. Made with the first delivery.
    pub fn measures(&self, worker: usize) -> &Measures {
        self.workers[worker].measures.get_or_init(Box::default)
    }

    /// What the workers have measured, each with its pending deliveries; those that had none are
    /// left out.
    pub fn measured(&self) -> impl Iterator<Item = (u64, &Measures)> {
        self.workers.iter().filter_map(|part| {
            let measures = part.measures.get()?;
            Some((part.counters.pending.get(), &**measures))
        })
    }

    /// Pending deliveries at which the queue is full.
    pub fn pending_max(&self) -> u64 {
        self.pending_max
    }

    /// The sum of the workers' counters, and of what was restored.
    pub fn tally(&self) -> Tally {
        let mut tally = self.restored;
        self.workers.iter().for_each(|part| tally.add(&part.counters));
        tally.add_unread(self.unread.load(Ordering::Relaxed));
        tally
    }

    /// When an attempt was last answered 2xx.
    pub fn last_delivery_us(&self) -> Option<u64> {
        Some(self.last_delivery_us.load(Ordering::Relaxed)).filter(|&at| at != 0)
    }

    /// Notes that an attempt was answered 2xx.
    pub fn delivered_at(&self, unix_us: u64) {
        self.last_delivery_us.store(unix_us, Ordering::Relaxed);
    }

    /// Brings `full` up to date with the pending deliveries; counts full webhooks in `full_count`.
    /// `true`: the queue has room again.
    pub fn update_full(&self, full_count: &AtomicU32) -> bool {
        self.set_full(full_count, || self.has_no_room())
    }

    /// As [`Ledger::update_full`], for a webhook whose queue goes on in the durable log: it is full
    /// while the log is and holds some of it.
    pub fn update_full_log(&self, full_count: &AtomicU32, log_is_full: bool) -> bool {
        self.set_full(full_count, || log_is_full && self.spilled() > 0)
    }

    fn set_full(&self, full_count: &AtomicU32, full: impl Fn() -> bool) -> bool {
        // Of two workers that each take their last delivery off the queue at the same time, one
        // must see the other's count, or the queue would stay full for ever.
        if self.workers.len() > 1 {
            fence(Ordering::SeqCst);
        }
        let full = full();
        if full == self.full.load(Ordering::Relaxed)
            || self.full.swap(full, Ordering::AcqRel) == full
        {
            return false;
        }
        if full {
            full_count.fetch_add(1, Ordering::AcqRel);
        } else {
            full_count.fetch_sub(1, Ordering::AcqRel);
        }
        !full
    }

    /// Whether more deliveries are pending than may be.
    pub fn is_over_full(&self) -> bool {
        self.pending() > self.pending_max
    }

    /// Whether so many deliveries are pending as may be, also if the webhook drops its oldest then.
    pub fn has_no_room(&self) -> bool {
        self.pending() >= self.pending_max
    }

    /// Deliveries of this start that are in the durable log only.
    fn spilled(&self) -> u64 {
        self.workers.iter().map(|part| part.counters.spilled.get()).sum()
    }

    /// Says how many unfinished deliveries earlier starts have left in the durable log.
    pub fn set_unread(&self, deliveries: u64) {
        self.unread.store(deliveries, Ordering::Relaxed);
    }

    /// One of them was taken up, or is a dead letter. `false`: it is not counted here any more.
    pub fn note_read(&self) -> bool {
        let one_less = |unread: u64| unread.checked_sub(1);
        self.unread.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }

    /// How many are left; from now on none is counted here.
    pub fn take_unread(&self) -> u64 {
        self.unread.swap(0, Ordering::Relaxed)
    }

    /// Pending deliveries, on all workers.
    fn pending(&self) -> u64 {
        self.workers.iter().map(|part| part.counters.pending.get()).sum()
    }

    /// The webhook is deleted, or turns nobody away any more: it is not full, whatever its counters
    /// say.
    pub fn retire(&self, full_count: &AtomicU32) {
        if self.full.swap(false, Ordering::AcqRel) {
            full_count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl EventKeeper for Ledger {
    fn select(&self, selection: &Selection) -> Vec<Place> {
        self.dead().select(selection)
    }

    fn take(&self, number: u64) -> Option<KeptEvent> {
        self.dead().take(number)
    }

    fn release(&self, number: u64) {
        self.dead().release(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_follows_the_sum_of_the_workers() {
        let (ledger, full_count) = (Ledger::new(2, 3, DeadLimits::default()), AtomicU32::new(0));
        ledger.counters(0).pending.add(2);
        assert!(!ledger.update_full(&full_count) && !ledger.is_full());
        ledger.counters(1).pending.add(1);
        assert!(!ledger.update_full(&full_count) && ledger.is_full());
        assert_eq!(full_count.load(Ordering::Relaxed), 1);
        ledger.counters(0).pending.subtract(1);
        assert!(ledger.update_full(&full_count) && !ledger.is_full());
        assert_eq!(full_count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_log_forgets_the_oldest_and_cuts_long_keys() {
        let mut log = DeliveryLog::default();
        for sequence in 0..limits::DELIVERY_LOG_ENTRIES_MAX as u64 + 5 {
            let attempt = AttemptRecord {
                id: EventId { boot: 1, sequence },
                batch: None,
                event: WebhookEvent::Set,
                key: Vec::new(),
                attempt: 1,
                outcome: DeliveryOutcome::Ok,
                status: Some(200),
                failure: None,
                latency_us: 1,
                at_us: 1,
                response: Vec::new(),
            };
            log.record(&attempt, &vec![b'k'; 10_000], b"");
        }
        assert_eq!(log.entries().count(), limits::DELIVERY_LOG_ENTRIES_MAX);
        let oldest = log.entries().next().unwrap();
        assert_eq!(oldest.id.sequence, 5);
        assert_eq!(oldest.key.len(), limits::DELIVERY_LOG_KEY_BYTES_MAX);
    }
}
