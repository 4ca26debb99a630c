//! The owned form of an event.

use super::{EventRef, EventValue, WebhookEvent};

/// An event, owned: the convenient form. Hot paths borrow with [`EventRef`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WebhookTrigger {
    /// What happened.
    pub event: WebhookEvent,
    /// The key it happened to; of a rename, the old name.
    pub key: String,
    /// The number of the database that holds the key.
    pub database: u32,
    /// The new value.
    pub value: Option<Vec<u8>>,
    /// The value before.
    pub old_value: Option<Vec<u8>>,
    /// Seconds that the key has left to live; `None` for ever.
    pub ttl: Option<u64>,
    /// The new name, of a rename.
    pub new_key: Option<String>,
    /// Who changed the key, as the host names its clients.
    pub client_id: Option<String>,
    /// Where that client's connection comes from.
    pub source_ip: Option<String>,
    /// The trace that it belongs to (W3C Trace Context), sent as a header of that name. What is not
    /// a valid `traceparent` is left out.
    pub traceparent: Option<String>,
    /// What tracing systems add, at most 512 bytes; only sent beside a `traceparent`.
    pub tracestate: Option<String>,
}

impl WebhookTrigger {
    /// The same event, borrowed.
    pub fn as_event(&self) -> EventRef<'_> {
        EventRef {
            event: self.event,
            key: self.key.as_bytes(),
            database: self.database,
            value: self.value.as_deref().map_or(EventValue::None, EventValue::Bytes),
            old_value: self.old_value.as_deref(),
            ttl: self.ttl,
            new_key: self.new_key.as_deref().map(str::as_bytes),
            client_id: self.client_id.as_deref(),
            source_ip: self.source_ip.as_deref(),
            timestamp_us: None,
            traceparent: self.traceparent.as_deref(),
            tracestate: self.tracestate.as_deref(),
        }
    }
}
