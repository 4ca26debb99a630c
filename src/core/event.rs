//! Events: what happened to a key.

use std::fmt;

/// The kinds of event that webhooks can filter by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
#[repr(u8)]
pub enum WebhookEvent {
    /// A key was set or updated.
    #[default]
    Set = 0,
    /// A key was deleted.
    Del = 1,
    /// A key expired.
    Expire = 2,
    /// A key was renamed.
    Rename = 3,
    /// Items were pushed to the head of a list.
    LPush = 4,
    /// Items were pushed to the tail of a list.
    RPush = 5,
    /// Fields of a hash were set.
    HSet = 6,
    /// Members were added to a set.
    SAdd = 7,
    /// Members were added to a sorted set.
    ZAdd = 8,
    /// An entry was added to a stream.
    XAdd = 9,
}

impl WebhookEvent {
    /// Every kind, in the order of the specification.
    pub const ALL: [WebhookEvent; 10] = [
        WebhookEvent::Set,
        WebhookEvent::Del,
        WebhookEvent::Expire,
        WebhookEvent::Rename,
        WebhookEvent::LPush,
        WebhookEvent::RPush,
        WebhookEvent::HSet,
        WebhookEvent::SAdd,
        WebhookEvent::ZAdd,
        WebhookEvent::XAdd,
    ];

    /// The name in commands and payloads.
    pub const fn name(self) -> &'static str {
        match self {
            WebhookEvent::Set => "SET",
            WebhookEvent::Del => "DEL",
            WebhookEvent::Expire => "EXPIRE",
            WebhookEvent::Rename => "RENAME",
            WebhookEvent::LPush => "LPUSH",
            WebhookEvent::RPush => "RPUSH",
            WebhookEvent::HSet => "HSET",
            WebhookEvent::SAdd => "SADD",
            WebhookEvent::ZAdd => "ZADD",
            WebhookEvent::XAdd => "XADD",
        }
    }

    /// The kind called `name`, in any case. `EXPIRED` is taken for `EXPIRE`.
    pub fn from_name(name: &[u8]) -> Option<WebhookEvent> {
        if name.eq_ignore_ascii_case(b"EXPIRED") {
            return Some(WebhookEvent::Expire);
        }
        WebhookEvent::ALL
            .into_iter()
            .find(|event| name.eq_ignore_ascii_case(event.name().as_bytes()))
    }

    /// The kind whose number is `number`.
    pub fn from_number(number: u8) -> Option<WebhookEvent> {
        WebhookEvent::ALL.get(usize::from(number)).copied()
    }
}

impl fmt::Display for WebhookEvent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A set of kinds of event.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct EventMask(u16);

impl EventMask {
    /// No kind.
    pub const NONE: EventMask = EventMask(0);
    /// Every kind.
    pub const ALL: EventMask = EventMask((1 << WebhookEvent::ALL.len()) - 1);

    /// The set with `event` added.
    #[must_use]
    pub const fn with(self, event: WebhookEvent) -> EventMask {
        EventMask(self.0 | 1 << event as u8)
    }

    /// The kinds in either set.
    #[must_use]
    pub const fn union(self, other: EventMask) -> EventMask {
        EventMask(self.0 | other.0)
    }

    /// Whether `event` is in the set.
    #[inline]
    pub const fn contains(self, event: WebhookEvent) -> bool {
        self.0 >> event as u8 & 1 == 1
    }

    /// Whether the set is empty.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The kinds in the set, in the order of the specification.
    pub fn iter(self) -> impl Iterator<Item = WebhookEvent> {
        WebhookEvent::ALL.into_iter().filter(move |event| self.contains(*event))
    }
}

impl FromIterator<WebhookEvent> for EventMask {
    fn from_iter<I: IntoIterator<Item = WebhookEvent>>(events: I) -> EventMask {
        events.into_iter().fold(EventMask::NONE, EventMask::with)
    }
}

/// The new value that an event carries, borrowed.
///
/// The JSON form (PAY-2): bytes become a string; items an array of strings; pairs an array of
/// two-element arrays; scored members an array of `{"member","score"}`; an entry
/// `{"id","fields"}`. When any of the strings is not UTF-8, all strings of the value are base64
/// and `value_encoding` says so.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum EventValue<'a> {
    /// No value (`null`): deletions, expiries, renames.
    #[default]
    None,
    /// The bytes of a string.
    Bytes(&'a [u8]),
    /// The items that were pushed or added.
    Items(&'a [&'a [u8]]),
    /// The fields that were set, each with its value.
    Pairs(&'a [(&'a [u8], &'a [u8])]),
    /// The members that were added, each with its score as text.
    Scored(&'a [(&'a [u8], &'a [u8])]),
    /// The stream entry that was added.
    Entry {
        /// The entry's id.
        id: &'a [u8],
        /// Its fields, each with its value, in order; a field may occur twice.
        fields: &'a [(&'a [u8], &'a [u8])],
    },
}

/// An event, borrowed from its caller: the form for hot paths, which owns nothing.
///
/// ```
/// use ferrite::webhooks::{EventRef, EventValue, WebhookEvent};
///
/// let event = EventRef {
///     event: WebhookEvent::Set,
///     key: b"order:123",
///     value: EventValue::Bytes(b"order data"),
///     ..EventRef::default()
/// };
/// assert_eq!(event.event.name(), "SET");
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct EventRef<'a> {
    /// What happened.
    pub event: WebhookEvent,
    /// The key it happened to; of a rename, the old name.
    pub key: &'a [u8],
    /// The number of the database that holds the key.
    pub database: u32,
    /// The new value.
    pub value: EventValue<'a>,
    /// The value before, where it was a string.
    pub old_value: Option<&'a [u8]>,
    /// Seconds that the key has left to live, rounded up; `None` for ever.
    pub ttl: Option<u64>,
    /// The new name, of a rename.
    pub new_key: Option<&'a [u8]>,
    /// Who changed the key, as the host names its clients.
    pub client_id: Option<&'a str>,
    /// Where that client's connection comes from.
    pub source_ip: Option<&'a str>,
    /// When it happened, in microseconds since 1970; `None` for the moment of the trigger call.
    pub timestamp_us: Option<u64>,
    /// The trace that it belongs to (W3C Trace Context), sent as a header of that name. What is not
    /// a valid `traceparent` is left out.
    pub traceparent: Option<&'a str>,
    /// What tracing systems add, at most 512 bytes; only sent beside a `traceparent`.
    pub tracestate: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_in_any_case() {
        for event in WebhookEvent::ALL {
            assert_eq!(
                WebhookEvent::from_name(event.name().to_lowercase().as_bytes()),
                Some(event)
            );
            assert_eq!(WebhookEvent::from_number(event as u8), Some(event));
        }
        assert_eq!(WebhookEvent::from_name(b"expired"), Some(WebhookEvent::Expire));
        assert_eq!(WebhookEvent::from_name(b"GET"), None);
        assert_eq!(WebhookEvent::from_number(10), None);
    }

    #[test]
    fn masks_hold_what_was_put_in() {
        let mask: EventMask = [WebhookEvent::Set, WebhookEvent::XAdd].into_iter().collect();
        assert!(mask.contains(WebhookEvent::Set) && mask.contains(WebhookEvent::XAdd));
        assert!(!mask.contains(WebhookEvent::Del));
        assert_eq!(mask.iter().count(), 2);
        assert_eq!(EventMask::ALL.iter().count(), 10);
    }
}
