//! What can be measured of the engine, as plain numbers and as Prometheus text.
//!
//! `families.rs` names every metric; `text.rs` writes them. `docs/METRICS.md` explains them, and a
//! test compares it with what is written.

mod families;
mod text;

pub use crate::core::latency::{LATENCY_BOUNDS_US, LatencyHistogram};
pub use text::CONTENT_TYPE;

use crate::core::failure::Failure;
use crate::core::ledger::BreakerState;

/// A reading of everything that is measured. Taken without stopping or waking any worker: the
/// numbers of one webhook may be of slightly different moments.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Version of the engine.
    pub version: &'static str,
    /// What the workers run on; empty before they have been started.
    pub driver: String,
    /// Time since the engine was made, in microseconds.
    pub uptime_us: u64,
    /// Most webhooks that may exist.
    pub webhooks_max: u64,
    /// The webhooks that exist.
    pub webhooks: Vec<WebhookMetrics>,
    /// The workers; none before they have been started.
    pub workers: Vec<WorkerMetrics>,
    /// The durable log; `None` without persistence, or before the workers have been started.
    pub log: Option<LogMetrics>,
}

/// What is measured of the durable log.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct LogMetrics {
    /// Whether it takes events without regard to its bound.
    pub takes_events: bool,
    /// Whether the disk has failed.
    pub failed: bool,
    /// Bytes of all segments.
    pub disk_bytes: u64,
    /// Most of them.
    pub disk_bytes_max: u64,
    /// Segments.
    pub segments: u64,
    /// Unfinished deliveries in it, dead letters included.
    pub unfinished: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Syncs.
    pub syncs: u64,
    /// Writes and syncs that failed.
    pub write_errors: u64,
    /// Groups of events that could not be written.
    pub groups_refused: u64,
}

impl Metrics {
    /// Appends all of it in the Prometheus text format, version 0.0.4 ([`CONTENT_TYPE`]).
    pub fn write_prometheus(&self, out: &mut String) {
        text::write(self, out);
    }
}

/// What is measured of one webhook. Counters begin when it is made, and outlive its updates.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct WebhookMetrics {
    /// Its name.
    pub name: String,
    /// Whether it gets deliveries: it is neither disabled nor gone.
    pub active: bool,
    /// State of its endpoint's breaker.
    pub breaker: BreakerState,
    /// Until when its endpoint asked to be left alone (`Retry-After`), in microseconds since 1970;
    /// `None`: it does not now.
    pub retry_after_until_us: Option<u64>,
    /// Requests that may be in flight now; with `ADAPTIVE` it moves.
    pub window: u32,
    /// Deliveries that came into being: events that matched and were accepted.
    pub triggered: u64,
    /// Deliveries that were answered 2xx.
    pub delivered: u64,
    /// Attempts that ended.
    pub attempts: u64,
    /// Attempts that failed, by cause; see [`WebhookMetrics::failures`].
    pub(crate) failures: [u64; Failure::CAUSES.len()],
    /// Attempts that ended and were not the first of their delivery.
    pub retries: u64,
    /// Requests that were cut by a stale connection and sent again at once, uncounted.
    pub resent: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Deliveries that were dropped because the queue was full.
    pub dropped: u64,
    /// Deliveries that were cancelled.
    pub cancelled: u64,
    /// Deliveries that gave way to a newer one of their key.
    pub coalesced: u64,
    /// Dead letters that were sent again.
    pub replayed: u64,
    /// Dead letters that are kept.
    pub dead_letters: u64,
    /// Dead letters that made room for newer ones.
    pub dead_letters_forgotten: u64,
    /// Deliveries that wait or are under way: the lag in events.
    pub pending: u64,
    /// Pending deliveries that are in the durable log only.
    pub pending_on_disk: u64,
    /// Pending deliveries at which the queue is full; with persistence, which memory has room for.
    pub pending_max: u64,
    /// Whether the queue is full.
    pub full: bool,
    /// Deliveries under way.
    pub in_flight: u64,
    /// Lanes (keys) whose first delivery waits for its retry, and holds up those behind it.
    pub lanes_blocked: u64,
    /// The oldest pending delivery is at least this old, in microseconds, counted from its event;
    /// 0 if none is pending. The true age is more by up to 0.1 s, or by up to half of this.
    pub lag_us: u64,
    /// When an attempt was last answered 2xx, in microseconds since 1970.
    pub last_delivery_us: Option<u64>,
    /// From the event to the beginning of its first attempt, of deliveries that had one.
    pub queue_latency: LatencyHistogram,
    /// From an attempt's beginning to its answer or failure, connecting included.
    pub attempt_latency: LatencyHistogram,
    /// From the event to its delivery, of those delivered.
    pub total_latency: LatencyHistogram,
}

impl WebhookMetrics {
    /// Attempts that failed, by cause: every cause there is, also those that never occurred.
    pub fn failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Failure::CAUSES.into_iter().zip(self.failures)
    }
}

/// What is measured of one worker. Counters over deliveries include those of deleted webhooks.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Events that it took out of its ring.
    pub events: u64,
    /// Events that wait in its ring.
    pub ring_events: u64,
    /// Events that its ring holds.
    pub ring_capacity: u64,
    /// Rounds of its loop: looks into its ring.
    pub loops: u64,
    /// Time that its thread has been running on a core, in microseconds; `None` if the system does
    /// not tell. Divided by `loops`: the time of one round.
    pub busy_us: Option<u64>,
    /// Times a caller's thread woke it: each cost that caller a system call.
    pub doorbells_by_callers: u64,
    /// Times the ringer thread woke it.
    pub doorbells_by_ringer: u64,
    /// Connections that were opened.
    pub connections_opened: u64,
    /// Requests that went over a connection that had been used before.
    pub connections_reused: u64,
    /// Connections that are open, those included that are being opened.
    pub connections_open: u64,
    /// Times it broke down and was started again.
    pub restarts: u64,
    /// Accepted events that broke it twice and were given up.
    pub events_abandoned: u64,
    /// Deliveries that were answered 2xx.
    pub delivered: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// Deliveries that wait or are under way.
    pub pending: u64,
    /// Deliveries under way.
    pub in_flight: u64,
}
