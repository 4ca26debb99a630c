//! The body of a delivery: one event as JSON (PAY-1, PAY-2).
//!
//! What is absent is `null`. Bytes that are not UTF-8 travel as base64, and a further member says
//! so: `key_encoding` after `key`; `value_encoding`, `old_value_encoding` and `new_key_encoding`
//! at the end of `data`. Of the strings in one value either all or none are base64. Every name of
//! a member is a fixed word and every number an integer up to 2^53 - 1, so that a receiver in
//! JavaScript that parses and writes the body again has the bytes that were signed.

use super::json;
use super::packed::{PackedEvent, PackedValue, Parts};
use super::timestamp::TimeWriter;
use crate::base::id::EventId;

/// Room for everything in a body but the strings of its event.
const FRAME_BYTES: usize = 320;

/// How a body begins; the id follows.
const BEGINNING: &[u8] = b"{\"id\":\"";
const ID_AT: usize = BEGINNING.len();

/// Appends `event` as JSON. `event_name` is the event's own name, or what a test event is called.
pub fn write_event(out: &mut Vec<u8>, id: EventId, event_name: &str, event: &PackedEvent<'_>) {
    write_event_with(&mut TimeWriter::new(), out, id, event_name, event);
}

/// As [`write_event`], for whoever writes many, with a writer of times to use again and again.
pub fn write_event_with(
    times: &mut TimeWriter,
    out: &mut Vec<u8>,
    id: EventId,
    event_name: &str,
    event: &PackedEvent<'_>,
) {
    out.reserve(FRAME_BYTES + event.key.len() + event.old_value.map_or(0, <[u8]>::len));
    out.extend_from_slice(BEGINNING);
    id.write_to(out);
    out.extend_from_slice(b"\",\"timestamp\":\"");
    times.write_us(out, event.stamp.timestamp_us);
    out.extend_from_slice(b"\",\"event\":");
    json::write_plain_string(out, event_name.as_bytes());
    out.extend_from_slice(b",\"key\":");
    let key_encoding = Encoding::of(event.key);
    key_encoding.write(out, event.key);
    key_encoding.write_marker(out, b",\"key_encoding\":\"base64\"");
    out.extend_from_slice(b",\"database\":");
    json::write_u64(out, u64::from(event.database));
    out.extend_from_slice(b",\"data\":{");
    write_data(out, event);
    out.extend_from_slice(b"},\"metadata\":{\"client_id\":");
    write_optional_text(out, event.client_id);
    out.extend_from_slice(b",\"source_ip\":");
    write_optional_text(out, event.source_ip);
    out.extend_from_slice(b"}}");
}

/// How the body of a batch begins; the id follows.
const BATCH_BEGINNING: &[u8] = b"{\"batch_id\":\"";
const BATCH_ID_AT: usize = BATCH_BEGINNING.len();

/// Appends the beginning of a batch's body; the events' bodies follow, with commas between them,
/// then [`end_batch`].
pub fn begin_batch(times: &mut TimeWriter, out: &mut Vec<u8>, id: EventId, timestamp_us: u64) {
    out.extend_from_slice(BATCH_BEGINNING);
    id.write_as_batch(out);
    out.extend_from_slice(b"\",\"timestamp\":\"");
    times.write_us(out, timestamp_us);
    out.extend_from_slice(b"\",\"events\":[");
}

/// Appends the end of the body of a batch of `count` events.
pub fn end_batch(out: &mut Vec<u8>, count: u32) {
    out.extend_from_slice(b"],\"count\":");
    json::write_u64(out, u64::from(count));
    out.push(b'}');
}

/// The id in the body of a batch.
pub fn batch_id_text(body: &[u8], id: EventId) -> &[u8] {
    &body[BATCH_ID_AT..BATCH_ID_AT + id.batch_text_bytes()]
}

/// The id of the event in the body that [`write_event`] wrote for it.
pub fn id_text(body: &[u8], id: EventId) -> &[u8] {
    &body[ID_AT..ID_AT + id.text_bytes()]
}

/// Appends the members of `data`.
fn write_data(out: &mut Vec<u8>, event: &PackedEvent<'_>) {
    out.extend_from_slice(b"\"value\":");
    let value_encoding = write_value(out, &event.value);
    out.extend_from_slice(b",\"old_value\":");
    let old_value_encoding = event.old_value.map_or(Encoding::Plain, Encoding::of);
    match event.old_value {
        Some(old_value) => old_value_encoding.write(out, old_value),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"ttl\":");
    match event.ttl {
        Some(ttl) => json::write_u64(out, ttl.min(json::INTEGER_MAX)),
        None => out.extend_from_slice(b"null"),
    }
    let new_key_encoding = event.new_key.map_or(Encoding::Plain, Encoding::of);
    if let Some(new_key) = event.new_key {
        out.extend_from_slice(b",\"new_key\":");
        new_key_encoding.write(out, new_key);
    }
    value_encoding.write_marker(out, b",\"value_encoding\":\"base64\"");
    old_value_encoding.write_marker(out, b",\"old_value_encoding\":\"base64\"");
    new_key_encoding.write_marker(out, b",\"new_key_encoding\":\"base64\"");
}

/// Appends the value, and says how its strings were written.
fn write_value(out: &mut Vec<u8>, value: &PackedValue<'_>) -> Encoding {
    match *value {
        PackedValue::None => {
            out.extend_from_slice(b"null");
            Encoding::Plain
        }
        PackedValue::Bytes(bytes) => {
            let encoding = Encoding::of(bytes);
            encoding.write(out, bytes);
            encoding
        }
        PackedValue::Items(items) => {
            let encoding = Encoding::of_all(items);
            write_array(out, items, |out, item| encoding.write(out, item));
            encoding
        }
        PackedValue::Pairs(pairs) => {
            let encoding = Encoding::of_all(pairs);
            write_pairs(out, pairs, encoding);
            encoding
        }
        PackedValue::Scored(members) => {
            let encoding = Encoding::of_all(members);
            write_array(out, pairs_of(members), |out, (member, score)| {
                out.extend_from_slice(b"{\"member\":");
                encoding.write(out, member);
                out.extend_from_slice(b",\"score\":");
                encoding.write(out, score);
                out.push(b'}');
            });
            encoding
        }
        PackedValue::Entry { id, fields } => {
            let encoding = Encoding::of(id).max(Encoding::of_all(fields));
            out.extend_from_slice(b"{\"id\":");
            encoding.write(out, id);
            out.extend_from_slice(b",\"fields\":");
            write_pairs(out, fields, encoding);
            out.push(b'}');
            encoding
        }
    }
}

fn write_pairs(out: &mut Vec<u8>, pairs: Parts<'_>, encoding: Encoding) {
    write_array(out, pairs_of(pairs), |out, (first, second)| {
        out.push(b'[');
        encoding.write(out, first);
        out.push(b',');
        encoding.write(out, second);
        out.push(b']');
    });
}

fn pairs_of<'a>(mut parts: Parts<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
    std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
}

fn write_array<T>(
    out: &mut Vec<u8>,
    items: impl Iterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T),
) {
    out.push(b'[');
    for (index, item) in items.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn write_optional_text(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => json::write_string(out, text.as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
}

/// How bytes become a JSON string.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Encoding {
    /// Text without anything to escape.
    Plain,
    Utf8,
    Base64,
}

impl Encoding {
    fn of(bytes: &[u8]) -> Encoding {
        if json::is_plain(bytes) {
            return Encoding::Plain;
        }
        match std::str::from_utf8(bytes) {
            Ok(_) => Encoding::Utf8,
            Err(_) => Encoding::Base64,
        }
    }

    fn of_all(parts: Parts<'_>) -> Encoding {
        parts.map(Encoding::of).max().unwrap_or(Encoding::Plain)
    }

    fn write(self, out: &mut Vec<u8>, bytes: &[u8]) {
        match self {
            Encoding::Plain => json::write_plain_string(out, bytes),
            Encoding::Utf8 => json::write_string(out, bytes),
            Encoding::Base64 => json::write_base64_string(out, bytes),
        }
    }

    fn write_marker(self, out: &mut Vec<u8>, marker: &[u8]) {
        if self == Encoding::Base64 {
            out.extend_from_slice(marker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{EventRef, EventValue, WebhookEvent};
    use crate::core::packed::{Stamp, pack, unpack};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const ID: EventId = EventId { boot: 0x1234, sequence: 0x56 };
    const ID_TEXT: &str = "evt_00000000000012340000000056";
    const STAMP: Stamp = Stamp {
        key_hash: 0,
        generation: 0,
        may_drop: false,
        timestamp_us: 1_705_314_600_123_456,
        waiter: 0,
    };

    fn body(event: &EventRef<'_>) -> String {
        let mut buffer = Vec::new();
        pack(event, &STAMP, &mut buffer);
        let mut out = Vec::new();
        write_event(&mut out, ID, event.event.name(), &unpack(&buffer).unwrap());
        String::from_utf8(out).unwrap()
    }

    fn data(event: &EventRef<'_>) -> String {
        let body = body(event);
        let start = body.find("\"data\":").unwrap() + 7;
        body[start..body.find(",\"metadata\"").unwrap()].to_owned()
    }

    #[test]
    fn the_event_of_the_specification() {
        let event = EventRef {
            event: WebhookEvent::Set,
            key: b"user:123",
            value: EventValue::Bytes(b"Alice"),
            old_value: Some(b"Bob"),
            ttl: Some(3600),
            client_id: Some("conn:456"),
            source_ip: Some("192.168.1.100"),
            ..EventRef::default()
        };
        assert_eq!(
            body(&event),
            format!(
                r#"{{"id":"{ID_TEXT}","timestamp":"2024-01-15T10:30:00.123456Z","event":"SET","key":"user:123","database":0,"data":{{"value":"Alice","old_value":"Bob","ttl":3600}},"metadata":{{"client_id":"conn:456","source_ip":"192.168.1.100"}}}}"#
            )
        );
    }

    #[test]
    fn what_is_absent_is_null() {
        let event = EventRef { event: WebhookEvent::Del, database: 15, ..EventRef::default() };
        assert_eq!(
            body(&event),
            format!(
                r#"{{"id":"{ID_TEXT}","timestamp":"2024-01-15T10:30:00.123456Z","event":"DEL","key":"","database":15,"data":{{"value":null,"old_value":null,"ttl":null}},"metadata":{{"client_id":null,"source_ip":null}}}}"#
            )
        );
    }

    #[test]
    fn values_have_their_forms() {
        let table = [
            (EventValue::Bytes(b"a\"b"), r#""a\"b""#, ""),
            (EventValue::Bytes(b"\xff"), r#""/w==""#, "v"),
            (EventValue::Items(&[]), "[]", ""),
            (EventValue::Items(&[b"a", b""]), r#"["a",""]"#, ""),
            (EventValue::Items(&[b"a", b"\xff"]), r#"["YQ==","/w=="]"#, "v"),
            (EventValue::Pairs(&[(b"f", b"v"), (b"1", b"")]), r#"[["f","v"],["1",""]]"#, ""),
            (EventValue::Pairs(&[(b"\xff", b"v")]), r#"[["/w==","dg=="]]"#, "v"),
            (EventValue::Scored(&[(b"a", b"1.5")]), r#"[{"member":"a","score":"1.5"}]"#, ""),
            (
                EventValue::Scored(&[(b"a", b"1"), (b"\xff", b"2")]),
                r#"[{"member":"YQ==","score":"MQ=="},{"member":"/w==","score":"Mg=="}]"#,
                "v",
            ),
            (
                EventValue::Entry { id: b"1-0", fields: &[(b"f", b"v"), (b"f", b"w")] },
                r#"{"id":"1-0","fields":[["f","v"],["f","w"]]}"#,
                "",
            ),
            (
                EventValue::Entry { id: b"1-0", fields: &[(b"f", b"\xff")] },
                r#"{"id":"MS0w","fields":[["Zg==","/w=="]]}"#,
                "v",
            ),
            (EventValue::Entry { id: b"\xff", fields: &[] }, r#"{"id":"/w==","fields":[]}"#, "v"),
        ];
        for (value, expected, marked) in table {
            let marker = if marked.is_empty() { "" } else { r#","value_encoding":"base64""# };
            let expected = format!(r#"{{"value":{expected},"old_value":null,"ttl":null{marker}}}"#);
            assert_eq!(data(&EventRef { value, ..EventRef::default() }), expected);
        }
    }

    #[test]
    fn extras_come_in_order() {
        let event = EventRef {
            event: WebhookEvent::Rename,
            key: b"\xfe",
            value: EventValue::Bytes(b"\xff"),
            old_value: Some(b"\xff"),
            ttl: Some(u64::MAX),
            new_key: Some(b"\xff"),
            ..EventRef::default()
        };
        assert_eq!(
            data(&event),
            r#"{"value":"/w==","old_value":"/w==","ttl":9007199254740991,"new_key":"/w==","value_encoding":"base64","old_value_encoding":"base64","new_key_encoding":"base64"}"#
        );
        assert!(body(&event).contains(r#""key":"/g==","key_encoding":"base64","database":0,"#));
        let event = EventRef { key: b"k", new_key: Some(b"n"), ..event };
        assert!(data(&event).contains(r#""ttl":9007199254740991,"new_key":"n","value_enc"#));
        assert!(!body(&event).contains("key_encoding"));
    }

    #[test]
    fn a_used_buffer_is_appended_to_and_not_grown_again() {
        let mut buffer = Vec::new();
        pack(&EventRef { key: b"k", ..EventRef::default() }, &STAMP, &mut buffer);
        let event = unpack(&buffer).unwrap();
        let mut out = b"before".to_vec();
        write_event(&mut out, ID, "TEST", &event);
        assert!(out.starts_with(b"before{\"id\"") && out.ends_with(b"}}"));
        let capacity = out.capacity();
        for _ in 0..100 {
            out.clear();
            write_event(&mut out, ID, "TEST", &event);
        }
        assert_eq!(out.capacity(), capacity);
    }

    /// The strings of a value as they must come back: all as text, or all in base64.
    fn expected_strings(parts: &[&[u8]]) -> (Vec<String>, bool) {
        use base64::Engine;
        let texts: Option<Vec<String>> =
            parts.iter().map(|part| String::from_utf8(part.to_vec()).ok()).collect();
        let encode = |part: &&[u8]| base64::engine::general_purpose::STANDARD.encode(part);
        texts.map_or_else(|| (parts.iter().map(encode).collect(), true), |texts| (texts, false))
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            3 => "(?s:.{0,20})".prop_map(String::into_bytes),
            1 => proptest::collection::vec(any::<u8>(), 0..20),
        ]
    }

    fn pairs() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
        proptest::collection::vec((bytes(), bytes()), 0..4)
    }

    #[derive(Clone, Debug)]
    enum Owned {
        None,
        Bytes(Vec<u8>),
        Items(Vec<Vec<u8>>),
        Pairs(Vec<(Vec<u8>, Vec<u8>)>),
        Scored(Vec<(Vec<u8>, Vec<u8>)>),
        Entry(Vec<u8>, Vec<(Vec<u8>, Vec<u8>)>),
    }

    fn value() -> impl Strategy<Value = Owned> {
        prop_oneof![
            Just(Owned::None),
            bytes().prop_map(Owned::Bytes),
            proptest::collection::vec(bytes(), 0..4).prop_map(Owned::Items),
            pairs().prop_map(Owned::Pairs),
            pairs().prop_map(Owned::Scored),
            (bytes(), pairs()).prop_map(|(id, fields)| Owned::Entry(id, fields)),
        ]
    }

    type Borrowed<'a> = Vec<(&'a [u8], &'a [u8])>;

    fn borrow(pairs: &[(Vec<u8>, Vec<u8>)]) -> Borrowed<'_> {
        pairs.iter().map(|(first, second)| (first.as_slice(), second.as_slice())).collect()
    }

    /// The data that serde_json must read, built without the code under test.
    fn expected_value(value: &Owned) -> (Value, bool) {
        let flat = |pairs: &Borrowed<'_>| -> (Vec<(String, String)>, bool) {
            let parts: Vec<&[u8]> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
            let (strings, encoded) = expected_strings(&parts);
            let pairs = strings.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone()));
            (pairs.collect(), encoded)
        };
        match value {
            Owned::None => (Value::Null, false),
            Owned::Bytes(bytes) => {
                let (strings, encoded) = expected_strings(&[bytes]);
                (json!(strings[0]), encoded)
            }
            Owned::Items(items) => {
                let parts: Vec<&[u8]> = items.iter().map(Vec::as_slice).collect();
                let (strings, encoded) = expected_strings(&parts);
                (json!(strings), encoded)
            }
            Owned::Pairs(pairs) => {
                let (pairs, encoded) = flat(&borrow(pairs));
                (json!(pairs), encoded)
            }
            Owned::Scored(pairs) => {
                let (pairs, encoded) = flat(&borrow(pairs));
                let member =
                    |(member, score): &(String, String)| json!({"member": member, "score": score});
                (Value::Array(pairs.iter().map(member).collect()), encoded)
            }
            Owned::Entry(id, fields) => {
                let mut all = vec![(id.as_slice(), [].as_slice())];
                all.extend(borrow(fields));
                let (pairs, encoded) = flat(&all);
                (json!({"id": pairs[0].0, "fields": pairs[1..]}), encoded)
            }
        }
    }

    proptest! {
        #[test]
        fn parsing_gives_what_went_in(
            key in bytes(),
            value in value(),
            old_value in proptest::option::of(bytes()),
            new_key in proptest::option::of(bytes()),
            ttl: Option<u64>,
            database: u32,
            client_id in proptest::option::of("(?s:.{0,10})"),
            kind in 0_u8..10,
        ) {
            let items: Vec<&[u8]>;
            let pairs: Borrowed<'_>;
            let borrowed = match &value {
                Owned::None => EventValue::None,
                Owned::Bytes(bytes) => EventValue::Bytes(bytes),
                Owned::Items(owned) => {
                    items = owned.iter().map(Vec::as_slice).collect();
                    EventValue::Items(&items)
                }
                Owned::Pairs(owned) => {
                    pairs = borrow(owned);
                    EventValue::Pairs(&pairs)
                }
                Owned::Scored(owned) => {
                    pairs = borrow(owned);
                    EventValue::Scored(&pairs)
                }
                Owned::Entry(id, owned) => {
                    pairs = borrow(owned);
                    EventValue::Entry { id, fields: &pairs }
                }
            };
            let event = EventRef {
                event: WebhookEvent::from_number(kind).unwrap(),
                key: &key,
                database,
                value: borrowed,
                old_value: old_value.as_deref(),
                ttl,
                new_key: new_key.as_deref(),
                client_id: client_id.as_deref(),
                source_ip: None,
                timestamp_us: None,
                traceparent: None,
                tracestate: None,
            };
            let (value, value_encoded) = expected_value(&value);
            let mut data = json!({"value": value, "old_value": null});
            data["ttl"] = ttl.map_or(Value::Null, |ttl| json!(ttl.min((1 << 53) - 1)));
            if value_encoded {
                data["value_encoding"] = json!("base64");
            }
            for (name, part) in [("old_value", &old_value), ("new_key", &new_key)] {
                let Some(part) = part else { continue };
                let (strings, encoded) = expected_strings(&[part]);
                data[name] = json!(strings[0]);
                if encoded {
                    data[format!("{name}_encoding")] = json!("base64");
                }
            }
            let (key_strings, key_encoded) = expected_strings(&[&key]);
            let mut expected = json!({
                "id": ID_TEXT,
                "timestamp": "2024-01-15T10:30:00.123456Z",
                "event": event.event.name(),
                "key": key_strings[0],
                "database": database,
                "data": data,
                "metadata": {"client_id": client_id, "source_ip": null},
            });
            if key_encoded {
                expected["key_encoding"] = json!("base64");
            }
            let body = body(&event);
            prop_assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
            prop_assert!(!body.contains(['\n', '\r', '\t']));
        }
    }
}
