//! What the engine tells about itself.

use super::{
    BreakerState, DeliveryOutcome, Failure, Format, OnFull, RetryBackoff, Signatures, TestStages,
    WebhookEvent, WebhookStatus, WhileDisabled,
};

/// Counters of one webhook. At rest, `triggered + replayed = delivered + failures + dropped +
/// cancelled + coalesced + pending`, and of one webhook
/// `failures = replayed + dead_letters + dead_forgotten + dead_cleared`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct WebhookStats {
    /// Events that matched and were accepted.
    pub triggered: u64,
    /// Deliveries that are finished: answered 2xx, or given up.
    pub deliveries: u64,
    /// Deliveries that were answered 2xx.
    pub delivered: u64,
    /// Deliveries that were given up after their retries (dead letters).
    pub failures: u64,
    /// Deliveries that gave way to a newer one of their key (`COALESCE`).
    pub coalesced: u64,
    /// Deliveries that were rejected or dropped because a bound was reached.
    pub dropped: u64,
    /// Deliveries that were cancelled because the webhook was deleted.
    pub cancelled: u64,
    /// Deliveries that wait or are under way.
    pub pending: u64,
    /// Deliveries under way.
    pub in_flight: u64,
    /// Attempts made, the first ones included.
    pub attempts: u64,
    /// Attempts that failed.
    pub failed_attempts: u64,
    /// When an attempt was last answered 2xx, in microseconds since 1970.
    pub last_delivery_us: Option<u64>,
    /// Mean time of a successful attempt, in microseconds.
    pub latency_us_avg: u64,
    /// Dead letters that were taken up again by a replay. Each is pending anew.
    pub replayed: u64,
    /// Dead letters that are kept. Of all webhooks: of those that exist.
    pub dead_letters: u64,
    /// Dead letters that were forgotten because of `max_dead` or `max_dead_bytes`.
    pub dead_forgotten: u64,
    /// Dead letters that were cleared by command.
    pub dead_cleared: u64,
    /// Pending deliveries that are in the durable log only, for want of room in memory. After a
    /// start, also what earlier ones have left, dead letters included, until it was read.
    pub pending_on_disk: u64,
}

/// One webhook, as it is shown: no secrets (SEC-3).
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct WebhookInfo {
    /// Its name.
    pub name: String,
    /// Its endpoint, without the values of the query.
    pub url: String,
    /// Which keys.
    pub pattern: String,
    /// Which events.
    pub events: Vec<WebhookEvent>,
    /// Whether it gets deliveries.
    pub status: WebhookStatus,
    /// When it was made, in microseconds since 1970.
    pub created_at_us: u64,
    /// How it proves itself: `none`, `bearer` or `basic`.
    pub auth: &'static str,
    /// Names of its further request headers.
    pub header_names: Vec<String>,
    /// Whether its bodies are signed.
    pub signed: bool,
    /// Which signatures are sent then.
    pub signatures: Signatures,
    /// Attempts after the first.
    pub retries: u32,
    /// Delay before the first retry, in milliseconds.
    pub retry_delay_ms: u64,
    /// How the delay grows.
    pub retry_backoff: RetryBackoff,
    /// One deadline for the whole exchange, in milliseconds.
    pub timeout_ms: u64,
    /// Deliveries in flight at once.
    pub concurrency: u32,
    /// Requests that one connection may carry at once.
    pub pipeline: u32,
    /// Whether many deliveries go in one request.
    pub batch: bool,
    /// Most deliveries in a batch.
    pub batch_size: u32,
    /// Longest time that a delivery waits for its batch to fill, in milliseconds.
    pub batch_interval_ms: u64,
    /// What is done with an event when its queue is full.
    pub on_full: OnFull,
    /// Whether only the newest pending event of each key is kept.
    pub coalesce: bool,
    /// Whether the events of a key wait for each other.
    pub ordered: bool,
    /// The form of its bodies.
    pub format: Format,
    /// Whether its events are numbered in headers.
    pub sequence: bool,
    /// Names its secret in signatures of RFC 9421 (`keyid`), and tells nothing of it.
    pub key_id: Option<String>,
    /// The public key (`whpk_...`) that receivers verify with, when its secret is a private key.
    pub public_key: Option<String>,
    /// Old secrets that still sign, because their grace lasts.
    pub old_secrets: usize,
    /// When the last of them stops, in microseconds since 1970.
    pub old_secrets_until_us: Option<u64>,
    /// What becomes of events while it is disabled.
    pub while_disabled: WhileDisabled,
    /// Its counters.
    pub stats: WebhookStats,
    /// Since when it has its status, in microseconds since 1970.
    pub status_since_us: u64,
    /// Until when its endpoint asked to be left alone (`Retry-After`), in microseconds since 1970.
    pub retry_after_until_us: Option<u64>,
    /// Where the circuit breaker of its endpoint stands: the worst of the workers'.
    pub breaker: BreakerState,
    /// Statuses after which a delivery is given up at once.
    pub final_statuses: Vec<u16>,
    /// Most attempts per second; 0 for no limit.
    pub rate: u32,
    /// Whether the number of deliveries in flight adapts to the endpoint.
    pub adaptive: bool,
    /// How many deliveries may be in flight now; 0 before the workers know of the webhook.
    pub window: u32,
    /// Its TLS profile; `None` for the configuration's own settings.
    pub tls_profile: Option<String>,
    /// Why the configuration does not accept it any more ([`WebhookStatus::Held`]).
    pub held: Option<String>,
}

impl WebhookInfo {
    /// Why it gets no deliveries; `None` while it does.
    pub fn status_reason(&self) -> Option<&str> {
        self.held.as_deref().or(self.status.reason())
    }
}

/// Counters of the engine, over all webhooks, deleted ones included.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct EngineStats {
    /// Webhooks that exist.
    pub total_webhooks: u64,
    /// Webhooks that get deliveries.
    pub active_webhooks: u64,
    /// Sums over the webhooks that exist or have existed.
    pub totals: WebhookStats,
    /// Times a caller's thread or the ringer woke a sleeping worker.
    pub doorbells: u64,
    /// Of these, the times that cost a caller of `try_trigger` or `trigger` a system call.
    pub doorbells_by_callers: u64,
    /// Times a worker broke down and was started again.
    pub worker_restarts: u64,
    /// Accepted events that broke a worker twice and were given up: a bug of the engine.
    pub events_abandoned: u64,
    /// Connections that were opened.
    pub connections_opened: u64,
    /// Requests that went over a connection that had been used before.
    pub connections_reused: u64,
    /// The durable log; `None` without persistence, or before the engine runs.
    pub log: Option<LogReport>,
}

/// Whether the durable log takes events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum LogState {
    /// It does.
    Ok,
    /// `max_disk_bytes` is near: webhooks that lag are full, and do what `ON_FULL` says.
    Full,
    /// The disk has failed: nothing can be made durable until it recovers. What there is, is
    /// delivered.
    Failed,
}

impl LogState {
    /// The name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            LogState::Ok => "ok",
            LogState::Full => "full",
            LogState::Failed => "failed",
        }
    }
}

/// How the durable log is.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct LogReport {
    /// Whether it takes events.
    pub state: LogState,
    /// Why nothing can be made durable, if it cannot, and what to do.
    pub trouble: Option<String>,
    /// Bytes of all segments.
    pub disk_bytes: u64,
    /// Most of them (`max_disk_bytes`).
    pub disk_bytes_max: u64,
    /// Segments.
    pub segments: u64,
    /// Unfinished deliveries in the log, dead letters included.
    pub unfinished: u64,
    /// Bytes that were written.
    pub bytes_written: u64,
    /// Syncs.
    pub syncs: u64,
    /// Writes and syncs that failed.
    pub write_errors: u64,
    /// Groups of events that could not be written: the bound was reached, or the disk had failed.
    pub groups_refused: u64,
}

/// One attempt, from the delivery log.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct DeliveryRecord {
    /// The event's id.
    pub id: String,
    /// The id of the batch that the event was in. One record stands for a batch, with the id,
    /// kind and key of its first event; but of the events that are given up, each has its own.
    pub batch_id: Option<String>,
    /// Events in that batch; 0 for an event alone.
    pub batch_events: u32,
    /// What happened.
    pub event: WebhookEvent,
    /// The key it happened to (the first bytes of a long one).
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
    /// The first bytes of the body of a failed response, as text.
    pub response: String,
}

/// What a test delivery met.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct TestReport {
    /// The id that the test payload carried.
    pub id: String,
    /// The HTTP status, if a response came.
    pub status: Option<u16>,
    /// Why it failed; `None` for success.
    pub failure: Option<Failure>,
    /// How long it took, in microseconds.
    pub latency_us: u64,
    /// The first bytes of the body of a failed response, as text.
    pub response: String,
    /// How long its stages took. The rest of `latency_us` is the rest of the response.
    pub stages: TestStages,
}

/// What `shutdown` left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct DrainReport {
    /// Deliveries that were still pending at the deadline.
    pub pending: u64,
}

/// How far the engine's threads are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EngineState {
    /// No call has needed them yet.
    NotStarted,
    /// They run.
    Running,
    /// They could not be started.
    Failed,
    /// A shutdown has begun, and may be over.
    Stopping,
}
