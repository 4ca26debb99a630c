//! An event in one flat buffer: the form in which it crosses from a caller's thread to a worker.
//!
//! Packing copies each byte of the event once, into a buffer that came from the worker's pool, so
//! the caller allocates nothing. Layout, in native byte order (the buffer never leaves the
//! process): a fixed header, then the parts, each a `u32` length and its bytes; a part that may
//! be missing has its flag in the header.

use super::event::{EventRef, EventValue, WebhookEvent};
use super::trace::Trace;

const HEADER_BYTES: usize = 48;

const HAS_OLD_VALUE: u8 = 1;
const HAS_TTL: u8 = 1 << 1;
const HAS_NEW_KEY: u8 = 1 << 2;
const HAS_CLIENT_ID: u8 = 1 << 3;
const HAS_SOURCE_IP: u8 = 1 << 4;
const HAS_TRACE: u8 = 1 << 5;
const HAS_TRACESTATE: u8 = 1 << 6;

const VALUE_NONE: u8 = 0;
const VALUE_BYTES: u8 = 1;
const VALUE_ITEMS: u8 = 2;
const VALUE_PAIRS: u8 = 3;
const VALUE_SCORED: u8 = 4;
const VALUE_ENTRY: u8 = 5;

/// What the caller's thread adds to an event when it packs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stamp {
    /// Hash of (database, key): the event's place.
    pub key_hash: u64,
    /// Generation of the snapshot under which the event was accepted: webhooks made later do not
    /// see it.
    pub generation: u64,
    /// Some webhook that wants the event had a full queue when it was accepted, and its delivery
    /// may be dropped.
    pub may_drop: bool,
    /// When it happened, in microseconds since 1970.
    pub timestamp_us: u64,
    /// Who waits until the durable log has kept its promise for the event; 0: nobody.
    pub waiter: u32,
}

/// Packs `event` into `out`, which is cleared first and keeps its capacity.
///
/// Each part must be shorter than 4 GiB, which `limits::EVENT_BYTES_MAX` ensures.
pub fn pack(event: &EventRef<'_>, stamp: &Stamp, out: &mut Vec<u8>) {
    out.clear();
    let mut flags = 0;
    for (present, flag) in [
        (event.old_value.is_some(), HAS_OLD_VALUE),
        (event.ttl.is_some(), HAS_TTL),
        (event.new_key.is_some(), HAS_NEW_KEY),
        (event.client_id.is_some(), HAS_CLIENT_ID),
        (event.source_ip.is_some(), HAS_SOURCE_IP),
    ] {
        flags |= if present { flag } else { 0 };
    }
    if event.traceparent.is_some() {
        flags |= HAS_TRACE | if event.tracestate.is_some() { HAS_TRACESTATE } else { 0 };
    }
    let (value_kind, count) = match event.value {
        EventValue::None => (VALUE_NONE, 0),
        EventValue::Bytes(_) => (VALUE_BYTES, 1),
        EventValue::Items(items) => (VALUE_ITEMS, items.len()),
        EventValue::Pairs(pairs) => (VALUE_PAIRS, pairs.len()),
        EventValue::Scored(members) => (VALUE_SCORED, members.len()),
        EventValue::Entry { fields, .. } => (VALUE_ENTRY, fields.len()),
    };
    let mut header = [0; HEADER_BYTES];
    header[0] = event.event as u8;
    header[1] = flags;
    header[2] = value_kind;
    header[3] = u8::from(stamp.may_drop);
    header[4..8].copy_from_slice(&event.database.to_ne_bytes());
    header[8..16].copy_from_slice(&stamp.key_hash.to_ne_bytes());
    header[16..24].copy_from_slice(&stamp.generation.to_ne_bytes());
    header[24..32].copy_from_slice(&stamp.timestamp_us.to_ne_bytes());
    header[32..40].copy_from_slice(&event.ttl.unwrap_or(0).to_ne_bytes());
    // Each part has at least the four bytes of its length, so their count is as short as the event.
    header[40..44].copy_from_slice(&(count as u32).to_ne_bytes());
    header[44..48].copy_from_slice(&stamp.waiter.to_ne_bytes());
    out.extend_from_slice(&header);
    put(out, event.key);
    match event.value {
        EventValue::None => {}
        EventValue::Bytes(bytes) => put(out, bytes),
        EventValue::Items(items) => items.iter().for_each(|item| put(out, item)),
        EventValue::Pairs(pairs) | EventValue::Scored(pairs) => put_pairs(out, pairs),
        EventValue::Entry { id, fields } => {
            put(out, id);
            put_pairs(out, fields);
        }
    }
    let rest = [event.old_value, event.new_key, event.client_id.map(str::as_bytes)];
    for part in rest.into_iter().chain([event.source_ip.map(str::as_bytes)]).flatten() {
        put(out, part);
    }
    if let Some(traceparent) = event.traceparent {
        put(out, traceparent.as_bytes());
        if let Some(tracestate) = event.tracestate {
            put(out, tracestate.as_bytes());
        }
    }
}

fn put_pairs(out: &mut Vec<u8>, pairs: &[(&[u8], &[u8])]) {
    for (first, second) in pairs {
        put(out, first);
        put(out, second);
    }
}

fn put(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u32).to_ne_bytes());
    out.extend_from_slice(part);
}

/// A packed event, read in place.
#[derive(Clone, Copy, Debug)]
pub struct PackedEvent<'a> {
    /// What happened.
    pub event: WebhookEvent,
    /// The key it happened to.
    pub key: &'a [u8],
    /// The number of its database.
    pub database: u32,
    /// The new value.
    pub value: PackedValue<'a>,
    /// The value before.
    pub old_value: Option<&'a [u8]>,
    /// Seconds left to live.
    pub ttl: Option<u64>,
    /// The new name, of a rename.
    pub new_key: Option<&'a [u8]>,
    /// Who changed the key.
    pub client_id: Option<&'a str>,
    /// Where that client's connection comes from.
    pub source_ip: Option<&'a str>,
    /// The trace that it belongs to, as far as it is valid.
    pub trace: Option<Trace<'a>>,
    /// What the caller's thread added.
    pub stamp: Stamp,
}

/// The value of a packed event, read in place.
#[derive(Clone, Copy, Debug)]
pub enum PackedValue<'a> {
    /// No value.
    None,
    /// The bytes of a string.
    Bytes(&'a [u8]),
    /// Items that were pushed or added.
    Items(Parts<'a>),
    /// Fields, each with its value: an even number of parts.
    Pairs(Parts<'a>),
    /// Members, each with its score: an even number of parts.
    Scored(Parts<'a>),
    /// A stream entry: its id, and its fields, each with its value.
    Entry {
        /// The entry's id.
        id: &'a [u8],
        /// An even number of parts.
        fields: Parts<'a>,
    },
}

/// A run of parts in a packed event.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    bytes: &'a [u8],
    count: usize,
}

impl<'a> Iterator for Parts<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.count == 0 {
            return None;
        }
        self.count -= 1;
        take(&mut self.bytes)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Parts<'_> {}

/// The generation under which a packed event was accepted; 0 for any other bytes.
pub fn generation(buffer: &[u8]) -> u64 {
    let word = buffer.get(16..24).and_then(|bytes| bytes.try_into().ok());
    word.map_or(0, u64::from_ne_bytes)
}

/// Who waits for a packed event; 0 for any other bytes.
pub fn waiter(buffer: &[u8]) -> u32 {
    let word = buffer.get(44..48).and_then(|bytes| bytes.try_into().ok());
    word.map_or(0, u32::from_ne_bytes)
}

/// Reads a buffer that [`pack`] filled; `None` for any other bytes.
pub fn unpack(buffer: &[u8]) -> Option<PackedEvent<'_>> {
    let (header, mut rest) = buffer.split_at_checked(HEADER_BYTES)?;
    let word = |at: usize| Some(u64::from_ne_bytes(header[at..at + 8].try_into().ok()?));
    let half = |at: usize| Some(u32::from_ne_bytes(header[at..at + 4].try_into().ok()?));
    let (flags, count) = (header[1], half(40)? as usize);
    let key = take(&mut rest)?;
    let value = match header[2] {
        VALUE_NONE => PackedValue::None,
        VALUE_BYTES => PackedValue::Bytes(take(&mut rest)?),
        VALUE_ITEMS => PackedValue::Items(take_parts(&mut rest, count)?),
        VALUE_PAIRS => PackedValue::Pairs(take_parts(&mut rest, count.checked_mul(2)?)?),
        VALUE_SCORED => PackedValue::Scored(take_parts(&mut rest, count.checked_mul(2)?)?),
        VALUE_ENTRY => PackedValue::Entry {
            id: take(&mut rest)?,
            fields: take_parts(&mut rest, count.checked_mul(2)?)?,
        },
        _ => return None,
    };
    let mut optional = |flag: u8| match flags & flag {
        0 => Some(None),
        _ => take(&mut rest).map(Some),
    };
    Some(PackedEvent {
        event: WebhookEvent::from_number(header[0])?,
        key,
        database: half(4)?,
        value,
        old_value: optional(HAS_OLD_VALUE)?,
        ttl: (flags & HAS_TTL != 0).then_some(word(32)?),
        new_key: optional(HAS_NEW_KEY)?,
        client_id: text(optional(HAS_CLIENT_ID)?)?,
        source_ip: text(optional(HAS_SOURCE_IP)?)?,
        trace: match text(optional(HAS_TRACE)?)? {
            None => None,
            Some(traceparent) => Trace::checked(traceparent, text(optional(HAS_TRACESTATE)?)?),
        },
        stamp: Stamp {
            key_hash: word(8)?,
            generation: word(16)?,
            may_drop: header[3] != 0,
            timestamp_us: word(24)?,
            waiter: half(44)?,
        },
    })
}

fn text(part: Option<&[u8]>) -> Option<Option<&str>> {
    part.map(std::str::from_utf8).transpose().ok()
}

fn take<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(u32::from_ne_bytes(*length) as usize)?;
    *bytes = rest;
    Some(part)
}

fn take_parts<'a>(bytes: &mut &'a [u8], count: usize) -> Option<Parts<'a>> {
    let parts = Parts { bytes, count };
    for _ in 0..count {
        take(bytes)?;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp =
        Stamp { key_hash: 1, generation: 2, may_drop: true, timestamp_us: 3, waiter: 4 };

    fn parts<'a>(parts: Parts<'a>) -> Vec<&'a [u8]> {
        parts.collect()
    }

    #[test]
    fn every_part_comes_back() {
        let event = EventRef {
            event: WebhookEvent::XAdd,
            key: b"k",
            database: 9,
            value: EventValue::Entry { id: b"1-1", fields: &[(b"f", b"v"), (b"", b"\xff")] },
            old_value: Some(b""),
            ttl: Some(7),
            new_key: Some(b"n"),
            client_id: Some("conn:1"),
            source_ip: Some("127.0.0.1"),
            timestamp_us: None,
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            tracestate: Some("a=1"),
        };
        let mut buffer = vec![1, 2, 3];
        pack(&event, &STAMP, &mut buffer);
        let packed = unpack(&buffer).unwrap();
        assert_eq!((packed.event, packed.key, packed.database), (event.event, event.key, 9));
        assert_eq!((packed.old_value, packed.ttl), (event.old_value, event.ttl));
        assert_eq!((packed.new_key, packed.client_id), (event.new_key, event.client_id));
        assert_eq!((packed.source_ip, packed.stamp), (event.source_ip, STAMP));
        assert_eq!((generation(&buffer), waiter(&buffer)), (2, 4));
        let trace = packed.trace.unwrap();
        assert_eq!((Some(trace.traceparent), trace.tracestate), (event.traceparent, Some("a=1")));
        let PackedValue::Entry { id, fields } = packed.value else { panic!("{packed:?}") };
        assert_eq!(id, b"1-1");
        assert_eq!(parts(fields), [b"f".as_slice(), b"v", b"", b"\xff"]);
    }

    #[test]
    fn cut_buffers_are_refused_and_never_panic() {
        let event = EventRef {
            key: b"key",
            value: EventValue::Items(&[b"a", b"b"]),
            client_id: Some("c"),
            ..EventRef::default()
        };
        let mut buffer = Vec::new();
        pack(&event, &STAMP, &mut buffer);
        assert!(unpack(&buffer).is_some());
        for end in 0..buffer.len() {
            assert!(unpack(&buffer[..end]).is_none(), "cut at {end}");
        }
    }
}
