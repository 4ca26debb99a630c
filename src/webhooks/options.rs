//! What a webhook can be told.

use super::{Format, OnFull, RetryBackoff, Signatures, WebhookEvent};
use crate::core::http::shown_url::shown_url;
use std::fmt;

/// How a webhook proves itself to its endpoint. `Debug` shows no secret (SEC-3).
#[derive(Clone, PartialEq, Eq)]
pub enum WebhookAuth {
    /// `Authorization: Bearer <token>`.
    Bearer(String),
    /// `Authorization: Basic <base64 of user:password>`.
    Basic {
        /// The user; must not contain a colon.
        user: String,
        /// The password.
        password: String,
    },
}

impl fmt::Debug for WebhookAuth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            WebhookAuth::Bearer(_) => "Bearer(********)",
            WebhookAuth::Basic { .. } => "Basic(********)",
        })
    }
}

/// What a new webhook is told. Everything has a default. `Debug` shows no secret (SEC-3).
#[derive(Clone, PartialEq)]
pub struct WebhookOptions {
    /// Which keys, as a Redis glob; `None` for every key.
    pub pattern: Option<String>,
    /// Which events; empty for all.
    pub events: Vec<WebhookEvent>,
    /// How the webhook proves itself.
    pub auth: Option<WebhookAuth>,
    /// Further request headers, name and value.
    pub headers: Vec<(String, String)>,
    /// Signs every body, if set.
    pub secret: Option<String>,
    /// Which signatures are sent then.
    pub signatures: Signatures,
    /// Attempts after the first; [`WebhookOptions::RETRIES_FROM_CONFIG`] for `max_retries` of the
    /// configuration.
    pub retries: u32,
    /// Delay before the first retry, in milliseconds; `None` for the configuration's.
    pub retry_delay_ms: Option<u64>,
    /// How the delay grows.
    pub retry_backoff: RetryBackoff,
    /// One deadline for the whole exchange, in milliseconds; `None` for the configuration's.
    pub timeout_ms: Option<u64>,
    /// Deliveries in flight at once; `None` for the configuration's.
    pub concurrency: Option<u32>,
    /// Requests that one connection may carry at once, for receivers that answer pipelined
    /// requests (RFC 9112, section 9.3.2); 1 to 128. `None` for 1: none stands behind another.
    /// Only deliveries of different keys share a connection so. They wait for each other's
    /// answers, and when the connection breaks, all that were not answered are sent again.
    pub pipeline: Option<u32>,
    /// Whether many deliveries go in one request, as a batch.
    pub batch: bool,
    /// Most deliveries in a batch, 1 to `max_batch_size`; `None` for `max_batch_size`. Only used
    /// with `batch`.
    pub batch_size: Option<u32>,
    /// Longest time that a delivery waits for its batch to fill, in milliseconds; `None` for the
    /// configuration's.
    pub batch_interval_ms: Option<u64>,
    /// What is done with an event when the webhook's queue is full.
    pub on_full: OnFull,
    /// Whether only the newest pending event of each key is kept (`COALESCE latest`): an event
    /// takes the place of the one before it that is not under way, with attempts of its own.
    pub coalesce: bool,
    /// Whether the events of a key are delivered one after the other, in order. `false` gives
    /// that up for this webhook: all its events may be under way at once.
    pub ordered: bool,
    /// The form of the bodies.
    pub format: Format,
    /// Numbers the events in `X-Ferrite-Sequence` and `X-Ferrite-Key-Sequence`, so that a receiver
    /// can prove that nothing is missing. The webhook then keeps its own copy of each pending body.
    pub sequence: bool,
    /// Statuses of 300 to 599 after which a delivery is given up at once, without retries, beside
    /// those that never are retried. 410 cannot be one: it disables the webhook.
    pub final_statuses: Vec<u16>,
    /// Most attempts per second, retries included; up to 1 000 000. 0 for no limit. Divided among
    /// the workers, each of which may begin a tenth of a second's worth at once after a pause, and
    /// at least one.
    pub rate: u32,
    /// Whether the number of deliveries in flight adapts to the endpoint: from 16 on it grows up
    /// to `concurrency` while answers take as long as they used to, and shrinks when they take
    /// longer or when the endpoint cannot cope (429, 5xx, timeouts, broken connections).
    pub adaptive: bool,
    /// The TLS profile for an `https://` endpoint, one of
    /// [`SecurityConfig::tls_profiles`](super::SecurityConfig::tls_profiles); `None` for the
    /// configuration's own settings.
    pub tls_profile: Option<String>,
}

impl WebhookOptions {
    /// As `retries`: use `max_retries` of the configuration.
    pub const RETRIES_FROM_CONFIG: u32 = u32::MAX;
}

impl Default for WebhookOptions {
    fn default() -> Self {
        WebhookOptions {
            pattern: None,
            events: Vec::new(),
            auth: None,
            headers: Vec::new(),
            secret: None,
            signatures: Signatures::BOTH,
            retries: WebhookOptions::RETRIES_FROM_CONFIG,
            retry_delay_ms: None,
            retry_backoff: RetryBackoff::default(),
            timeout_ms: None,
            concurrency: None,
            pipeline: None,
            batch: false,
            batch_size: None,
            batch_interval_ms: None,
            on_full: OnFull::Reject,
            coalesce: false,
            ordered: true,
            format: Format::Ferrite,
            sequence: false,
            final_statuses: Vec::new(),
            rate: 0,
            adaptive: false,
            tls_profile: None,
        }
    }
}

impl fmt::Debug for WebhookOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header_names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        formatter
            .debug_struct("WebhookOptions")
            .field("pattern", &self.pattern)
            .field("events", &self.events)
            .field("auth", &self.auth)
            .field("header_names", &header_names)
            .field("secret", &self.secret.as_ref().map(|_| "********"))
            .field("signatures", &self.signatures)
            .field("retries", &self.retries)
            .field("retry_delay_ms", &self.retry_delay_ms)
            .field("retry_backoff", &self.retry_backoff)
            .field("timeout_ms", &self.timeout_ms)
            .field("concurrency", &self.concurrency)
            .field("pipeline", &self.pipeline)
            .field("batch", &self.batch)
            .field("batch_size", &self.batch_size)
            .field("batch_interval_ms", &self.batch_interval_ms)
            .field("on_full", &self.on_full)
            .field("coalesce", &self.coalesce)
            .field("ordered", &self.ordered)
            .field("format", &self.format)
            .field("sequence", &self.sequence)
            .field("final_statuses", &self.final_statuses)
            .field("rate", &self.rate)
            .field("adaptive", &self.adaptive)
            .field("tls_profile", &self.tls_profile)
            .finish()
    }
}

/// What to change on a webhook; `None` leaves as it is. `Debug` shows no secret (SEC-3).
#[derive(Clone, PartialEq, Default)]
pub struct WebhookUpdate {
    /// A new endpoint; pending deliveries go there too.
    pub url: Option<String>,
    /// Which keys.
    pub pattern: Option<String>,
    /// Which events; empty for all.
    pub events: Option<Vec<WebhookEvent>>,
    /// How the webhook proves itself; `Some(None)` for not at all.
    pub auth: Option<Option<WebhookAuth>>,
    /// Replaces all further request headers.
    pub headers: Option<Vec<(String, String)>>,
    /// Signs every body; `Some(None)` stops signing.
    pub secret: Option<Option<String>>,
    /// Which signatures are sent when there is a secret.
    pub signatures: Option<Signatures>,
    /// Attempts after the first.
    pub retries: Option<u32>,
    /// Delay before the first retry, in milliseconds.
    pub retry_delay_ms: Option<u64>,
    /// How the delay grows.
    pub retry_backoff: Option<RetryBackoff>,
    /// One deadline for the whole exchange, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Deliveries in flight at once.
    pub concurrency: Option<u32>,
    /// Requests that one connection may carry at once, 1 to 128.
    pub pipeline: Option<u32>,
    /// Whether many deliveries go in one request. Batches that are made already stay batches.
    pub batch: Option<bool>,
    /// Most deliveries in a batch, 1 to `max_batch_size`.
    pub batch_size: Option<u32>,
    /// Longest time that a delivery waits for its batch to fill, in milliseconds.
    pub batch_interval_ms: Option<u64>,
    /// What is done with an event when the webhook's queue is full.
    pub on_full: Option<OnFull>,
    /// Whether only the newest pending event of each key is kept.
    pub coalesce: Option<bool>,
    /// Whether the events of a key are delivered one after the other. Holds for events that are
    /// taken in from now on.
    pub ordered: Option<bool>,
    /// With a new secret: the old one goes on signing beside it for this long, in seconds, at most
    /// 90 days; `None` for not at all. `webhook-signature` and `Signature` then list both;
    /// `X-Ferrite-Signature`, which has room for one, stays that of the oldest secret.
    pub secret_grace_seconds: Option<u64>,
    /// The form of the bodies. Events that are pending keep the one they were written in.
    pub format: Option<Format>,
    /// Whether events are numbered in headers; those that are pending stay as they are.
    pub sequence: Option<bool>,
    /// Replaces the statuses after which a delivery is given up at once.
    pub final_statuses: Option<Vec<u16>>,
    /// Most attempts per second; 0 for no limit.
    pub rate: Option<u32>,
    /// Whether the number of deliveries in flight adapts to the endpoint.
    pub adaptive: Option<bool>,
    /// The TLS profile; `Some(None)` for the configuration's own settings.
    pub tls_profile: Option<Option<String>>,
}

impl fmt::Debug for WebhookUpdate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebhookUpdate")
            .field("url", &self.url.as_deref().map(shown_url))
            .field("pattern", &self.pattern)
            .field("events", &self.events)
            .field("auth", &self.auth)
            .field("secret", &self.secret.as_ref().map(|_| "********"))
            .finish_non_exhaustive()
    }
}
