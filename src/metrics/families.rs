//! The names of the metrics. Each row also stands in `docs/METRICS.md`.

use super::{LogMetrics, Metrics, WebhookMetrics, WorkerMetrics};

/// What a family of samples is.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

/// The value of a sample.
pub(super) enum Value {
    Count(u64),
    /// Written in seconds.
    Microseconds(u64),
    /// There is none.
    Absent,
}

use Kind::{Counter, Gauge};
use Value::{Count, Microseconds};

impl From<Option<u64>> for Value {
    fn from(microseconds: Option<u64>) -> Self {
        microseconds.map_or(Value::Absent, Microseconds)
    }
}

/// A metric with one sample for each webhook, worker or engine.
pub(super) struct Family<T> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) help: &'static str,
    pub(super) read: fn(&T) -> Value,
}

const fn family<T>(
    name: &'static str,
    kind: Kind,
    help: &'static str,
    read: fn(&T) -> Value,
) -> Family<T> {
    Family { name, kind, help, read }
}

/// Of the engine; without labels.
pub(super) const ENGINE: &[Family<Metrics>] = &[
    family("ferrite_uptime_seconds", Gauge, "Time since the engine was made.", |all| {
        Microseconds(all.uptime_us)
    }),
    family("ferrite_webhooks", Gauge, "Webhooks that exist.", |all| {
        Count(all.webhooks.len() as u64)
    }),
    family("ferrite_webhooks_limit", Gauge, "Webhooks that may exist.", |all| {
        Count(all.webhooks_max)
    }),
];

/// Of each webhook; label `webhook`.
pub(super) const WEBHOOK: &[Family<WebhookMetrics>] = &[
    family(
        "ferrite_webhook_triggered_total",
        Counter,
        "Deliveries that came into being: events that matched and were accepted.",
        |webhook| Count(webhook.triggered),
    ),
    family(
        "ferrite_webhook_deliveries_total",
        Counter,
        "Deliveries that were answered 2xx.",
        |webhook| Count(webhook.delivered),
    ),
    family("ferrite_webhook_attempts_total", Counter, "Attempts that ended.", |webhook| {
        Count(webhook.attempts)
    }),
    family(
        "ferrite_webhook_retries_total",
        Counter,
        "Attempts that ended and were not the first of their delivery.",
        |webhook| Count(webhook.retries),
    ),
    family(
        "ferrite_webhook_resent_total",
        Counter,
        "Requests that were cut by a stale connection and sent again at once, uncounted.",
        |webhook| Count(webhook.resent),
    ),
    family(
        "ferrite_webhook_dead_total",
        Counter,
        "Deliveries that were given up (dead letters).",
        |webhook| Count(webhook.dead),
    ),
    family(
        "ferrite_webhook_dropped_total",
        Counter,
        "Deliveries that were dropped because the queue was full.",
        |webhook| Count(webhook.dropped),
    ),
    family(
        "ferrite_webhook_cancelled_total",
        Counter,
        "Deliveries that were cancelled.",
        |webhook| Count(webhook.cancelled),
    ),
    family(
        "ferrite_webhook_coalesced_total",
        Counter,
        "Deliveries that gave way to a newer one of their key.",
        |webhook| Count(webhook.coalesced),
    ),
    family(
        "ferrite_webhook_replayed_total",
        Counter,
        "Dead letters that were sent again.",
        |webhook| Count(webhook.replayed),
    ),
    family("ferrite_webhook_dead_letters", Gauge, "Dead letters that are kept.", |webhook| {
        Count(webhook.dead_letters)
    }),
    family(
        "ferrite_webhook_dead_letters_forgotten_total",
        Counter,
        "Dead letters that made room for newer ones.",
        |webhook| Count(webhook.dead_letters_forgotten),
    ),
    family(
        "ferrite_webhook_pending",
        Gauge,
        "Deliveries that wait or are under way: the lag in events.",
        |webhook| Count(webhook.pending),
    ),
    family(
        "ferrite_webhook_pending_on_disk",
        Gauge,
        "Pending deliveries that are in the durable log only.",
        |webhook| Count(webhook.pending_on_disk),
    ),
    family(
        "ferrite_webhook_pending_limit",
        Gauge,
        "Pending deliveries at which the queue is full, or goes on on the disk.",
        |webhook| Count(webhook.pending_max),
    ),
    family("ferrite_webhook_queue_full", Gauge, "1 while the queue is full.", |webhook| {
        Count(webhook.full.into())
    }),
    family("ferrite_webhook_in_flight", Gauge, "Deliveries under way.", |webhook| {
        Count(webhook.in_flight)
    }),
    family(
        "ferrite_webhook_lanes_blocked",
        Gauge,
        "Lanes (keys) whose first delivery waits for its retry.",
        |webhook| Count(webhook.lanes_blocked),
    ),
    family(
        "ferrite_webhook_lag_seconds",
        Gauge,
        "The oldest pending delivery is at least this old; 0 if none is pending.",
        |webhook| Microseconds(webhook.lag_us),
    ),
    family(
        "ferrite_webhook_active",
        Gauge,
        "1 if it gets deliveries; 0 if it is disabled or gone.",
        |webhook| Count(webhook.active.into()),
    ),
    family(
        "ferrite_webhook_breaker_state",
        Gauge,
        "Its endpoint's circuit breaker: 0 closed, 1 half-open, 2 open.",
        |webhook| Count(webhook.breaker as u64),
    ),
    family(
        "ferrite_webhook_retry_after_timestamp_seconds",
        Gauge,
        "Until when its endpoint asked to be left alone; 0 while it does not.",
        |webhook| Microseconds(webhook.retry_after_until_us.unwrap_or_default()),
    ),
    family("ferrite_webhook_window", Gauge, "Requests that may be in flight.", |webhook| {
        Count(webhook.window.into())
    }),
    family(
        "ferrite_webhook_last_delivery_timestamp_seconds",
        Gauge,
        "When an attempt was last answered 2xx; absent before the first time.",
        |webhook| webhook.last_delivery_us.into(),
    ),
];

/// Label `cause` beside `webhook`.
pub(super) const FAILURES: &str = "ferrite_webhook_failures_total";
pub(super) const FAILURES_HELP: &str = "Attempts that failed, by cause.";
/// Labels `stage` and `le` beside `webhook`.
pub(super) const LATENCY: &str = "ferrite_webhook_latency_seconds";
pub(super) const LATENCY_HELP: &str = "Time by stage: from the event to its first attempt (queue), of an attempt \
     (attempt), from the event to its delivery (total).";

/// Of each worker; label `worker`.
pub(super) const WORKER: &[Family<WorkerMetrics>] = &[
    family(
        "ferrite_worker_events_total",
        Counter,
        "Events that the worker took out of its ring.",
        |worker| Count(worker.events),
    ),
    family("ferrite_worker_ring_events", Gauge, "Events that wait in its ring.", |worker| {
        Count(worker.ring_events)
    }),
    family("ferrite_worker_ring_limit", Gauge, "Events that its ring holds.", |worker| {
        Count(worker.ring_capacity)
    }),
    family("ferrite_worker_loops_total", Counter, "Rounds of its loop.", |worker| {
        Count(worker.loops)
    }),
    family(
        "ferrite_worker_busy_seconds_total",
        Counter,
        "Time that its thread has been running on a core.",
        |worker| worker.busy_us.into(),
    ),
    family(
        "ferrite_worker_connections_opened_total",
        Counter,
        "Connections that were opened.",
        |worker| Count(worker.connections_opened),
    ),
    family(
        "ferrite_worker_connections_reused_total",
        Counter,
        "Requests that went over a connection that had been used before.",
        |worker| Count(worker.connections_reused),
    ),
    family(
        "ferrite_worker_connections_open",
        Gauge,
        "Connections that are open or being opened.",
        |worker| Count(worker.connections_open),
    ),
    family(
        "ferrite_worker_restarts_total",
        Counter,
        "Times the worker broke down and was started again.",
        |worker| Count(worker.restarts),
    ),
    family(
        "ferrite_worker_events_abandoned_total",
        Counter,
        "Accepted events that broke the worker twice and were given up.",
        |worker| Count(worker.events_abandoned),
    ),
    family(
        "ferrite_worker_deliveries_total",
        Counter,
        "Deliveries that were answered 2xx, those of deleted webhooks included.",
        |worker| Count(worker.delivered),
    ),
    family(
        "ferrite_worker_dead_total",
        Counter,
        "Deliveries that were given up, those of deleted webhooks included.",
        |worker| Count(worker.dead),
    ),
    family(
        "ferrite_worker_failures_total",
        Counter,
        "Attempts that failed, those of deleted webhooks included.",
        |worker| Count(worker.failed_attempts),
    ),
    family("ferrite_worker_pending", Gauge, "Deliveries that wait or are under way.", |worker| {
        Count(worker.pending)
    }),
    family("ferrite_worker_in_flight", Gauge, "Deliveries under way.", |worker| {
        Count(worker.in_flight)
    }),
];

/// Of the durable log, if there is one; no label.
pub(super) const LOG: &[Family<LogMetrics>] = &[
    family(
        "ferrite_log_full",
        Gauge,
        "1 while the durable log takes no further backlog: its bound is near, or the disk has failed.",
        |log| Count((!log.takes_events).into()),
    ),
    family("ferrite_log_failed", Gauge, "1 while nothing can be made durable.", |log| {
        Count(log.failed.into())
    }),
    family("ferrite_log_disk_bytes", Gauge, "Bytes of all segments.", |log| Count(log.disk_bytes)),
    family("ferrite_log_disk_limit_bytes", Gauge, "Bytes that they may have.", |log| {
        Count(log.disk_bytes_max)
    }),
    family("ferrite_log_segments", Gauge, "Segments.", |log| Count(log.segments)),
    family(
        "ferrite_log_unfinished",
        Gauge,
        "Unfinished deliveries in the log, dead letters included.",
        |log| Count(log.unfinished),
    ),
    family("ferrite_log_written_bytes_total", Counter, "Bytes that were written.", |log| {
        Count(log.bytes_written)
    }),
    family("ferrite_log_syncs_total", Counter, "Syncs.", |log| Count(log.syncs)),
    family("ferrite_log_write_errors_total", Counter, "Writes and syncs that failed.", |log| {
        Count(log.write_errors)
    }),
    family(
        "ferrite_log_groups_refused_total",
        Counter,
        "Groups of events that could not be written.",
        |log| Count(log.groups_refused),
    ),
];

/// Label `by` beside `worker`.
pub(super) const DOORBELLS: &str = "ferrite_worker_doorbells_total";
pub(super) const DOORBELLS_HELP: &str =
    "Times the sleeping worker was woken, by a caller's thread or by the ringer.";
pub(super) const BUILD_INFO: &str = "ferrite_build_info";
pub(super) const BUILD_INFO_HELP: &str = "Always 1: the version, and what the workers run on.";
