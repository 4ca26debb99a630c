//! An event as a CloudEvent 1.0: its attributes, in a body (structured mode) or in header lines
//! (binary mode). `data` is the Ferrite payload in both, byte for byte, so that what a receiver
//! does with it, and what the signatures cover, does not depend on the mode.
//!
//! | attribute | value |
//! |---|---|
//! | `id` | the event's id |
//! | `specversion` | `1.0` |
//! | `source` | `/ferrite/<database>`; ids are unique across sources, too |
//! | `type` | `io.ferrite.key.` and the event's name in lower case |
//! | `time` | when it happened |
//! | `datacontenttype` | `application/json` |
//! | `subject`, `partitionkey` | the key, if it is text without control characters, not empty, and not longer than `CLOUDEVENT_SUBJECT_BYTES_MAX` |
//! | `traceparent`, `tracestate` | what the event carries |

use super::json;
use super::packed::PackedEvent;
use super::payload;
use super::timestamp::TimeWriter;
use super::trace::Trace;
use crate::base::id::EventId;
use crate::base::limits::CLOUDEVENT_SUBJECT_BYTES_MAX;

const TYPE_PREFIX: &str = "io.ferrite.key.";
const SOURCE_PREFIX: &str = "/ferrite/";

/// Appends the event in structured mode.
pub fn write_structured(
    times: &mut TimeWriter,
    out: &mut Vec<u8>,
    id: EventId,
    event_name: &str,
    event: &PackedEvent<'_>,
) {
    // The id first, as in the Ferrite payload: `payload::id_text` finds it.
    out.extend_from_slice(b"{");
    attributes(times, id, event_name, event, |name, value| {
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        json::write_plain_string(out, name.as_bytes());
        out.push(b':');
        json::write_string(out, value);
    });
    out.extend_from_slice(b",\"datacontenttype\":\"application/json\",\"data\":");
    payload::write_event_with(times, out, id, event_name, event);
    out.push(b'}');
}

/// Appends the header lines of binary mode, each with CRLF before it. `datacontenttype` is the
/// request's `Content-Type`.
pub fn write_binary_lines(
    times: &mut TimeWriter,
    out: &mut Vec<u8>,
    id: EventId,
    event_name: &str,
    event: &PackedEvent<'_>,
) {
    attributes(times, id, event_name, event, |name, value| {
        out.extend_from_slice(b"\r\nce-");
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        write_encoded(out, value);
    });
}

/// Tells the attributes, the id first. Values are UTF-8 without control characters.
fn attributes(
    times: &mut TimeWriter,
    id: EventId,
    event_name: &str,
    event: &PackedEvent<'_>,
    mut tell: impl FnMut(&str, &[u8]),
) {
    let mut text = Vec::with_capacity(64);
    id.write_to(&mut text);
    tell("id", &text);
    tell("specversion", b"1.0");
    text.clear();
    text.extend_from_slice(SOURCE_PREFIX.as_bytes());
    json::write_u64(&mut text, u64::from(event.database));
    tell("source", &text);
    text.clear();
    text.extend_from_slice(TYPE_PREFIX.as_bytes());
    text.extend(event_name.bytes().map(|byte| byte.to_ascii_lowercase()));
    tell("type", &text);
    text.clear();
    times.write_us(&mut text, event.stamp.timestamp_us);
    tell("time", &text);
    if may_be_attribute(event.key) {
        tell("subject", event.key);
        tell("partitionkey", event.key);
    }
    if let Some(Trace { traceparent, tracestate }) = event.trace {
        tell("traceparent", traceparent.as_bytes());
        if let Some(tracestate) = tracestate {
            tell("tracestate", tracestate.as_bytes());
        }
    }
}

/// Whether a key can be the value of an attribute: neither control characters nor noncharacters
/// may be in one, and it must not be empty.
fn may_be_attribute(key: &[u8]) -> bool {
    let is_noncharacter =
        |c: char| matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    (1..=CLOUDEVENT_SUBJECT_BYTES_MAX).contains(&key.len())
        && std::str::from_utf8(key)
            .is_ok_and(|text| !text.chars().any(|c| c.is_control() || is_noncharacter(c)))
}

/// Appends a header's value: what is not printable ASCII, and space, quote and percent sign, as
/// percent and two upper-case hex digits.
fn write_encoded(out: &mut Vec<u8>, value: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in value {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            out.push(byte);
        } else {
            let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'%', high, low]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::{EventRef, EventValue, WebhookEvent};
    use crate::core::packed::{Stamp, pack, unpack};

    const ID: EventId = EventId { boot: 0x1234, sequence: 0x56 };
    const STAMP: Stamp = Stamp {
        key_hash: 0,
        generation: 0,
        may_drop: false,
        timestamp_us: 1_705_314_600_123_456,
        waiter: 0,
    };

    fn written(event: &EventRef<'_>) -> (String, String, String) {
        let mut buffer = Vec::new();
        pack(event, &STAMP, &mut buffer);
        let event = unpack(&buffer).unwrap();
        let mut times = TimeWriter::new();
        let (mut structured, mut lines, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        write_structured(&mut times, &mut structured, ID, "SET", &event);
        write_binary_lines(&mut times, &mut lines, ID, "SET", &event);
        payload::write_event(&mut plain, ID, "SET", &event);
        assert_eq!(payload::id_text(&structured, ID), b"evt_00000000000012340000000056");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (text(structured), text(lines), text(plain))
    }

    #[test]
    fn both_modes_say_the_same() {
        let event = EventRef {
            event: WebhookEvent::Set,
            key: b"user:123",
            database: 7,
            value: EventValue::Bytes(b"Alice"),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            tracestate: Some("a=b, c=d"),
            ..EventRef::default()
        };
        let (structured, lines, plain) = written(&event);
        assert_eq!(
            structured,
            format!(
                r#"{{"id":"evt_00000000000012340000000056","specversion":"1.0","source":"/ferrite/7","type":"io.ferrite.key.set","time":"2024-01-15T10:30:00.123456Z","subject":"user:123","partitionkey":"user:123","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","tracestate":"a=b, c=d","datacontenttype":"application/json","data":{plain}}}"#
            )
        );
        assert_eq!(
            lines.split("\r\n").collect::<Vec<_>>(),
            [
                "",
                "ce-id: evt_00000000000012340000000056",
                "ce-specversion: 1.0",
                "ce-source: /ferrite/7",
                "ce-type: io.ferrite.key.set",
                "ce-time: 2024-01-15T10:30:00.123456Z",
                "ce-subject: user:123",
                "ce-partitionkey: user:123",
                "ce-traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                "ce-tracestate: a=b,%20c=d",
            ]
        );
    }

    #[test]
    fn keys_are_encoded_as_the_binding_says() {
        let (structured, lines, _) =
            written(&EventRef { key: "Euro € 😀 \"%".as_bytes(), ..EventRef::default() });
        assert!(structured.contains(r#""subject":"Euro € 😀 \"%","#), "{structured}");
        let encoded = "\r\nce-subject: Euro%20%E2%82%AC%20%F0%9F%98%80%20%22%25\r\n";
        assert!(lines.contains(encoded), "{lines}");
    }

    #[test]
    fn keys_that_no_attribute_can_hold_are_left_out() {
        let long = "k".repeat(CLOUDEVENT_SUBJECT_BYTES_MAX + 1);
        let keys: [&[u8]; 6] = [
            b"",
            b"a\r\nce-id: x",
            b"\xff",
            "\u{85}".as_bytes(),
            "\u{fffe}".as_bytes(),
            long.as_bytes(),
        ];
        for key in keys {
            let (structured, lines, _) = written(&EventRef { key, ..EventRef::default() });
            for text in [&structured, &lines] {
                assert!(!text.contains("subject") && !text.contains("partitionkey"), "{text}");
            }
            assert_eq!(lines.matches("\r\n").count(), 5);
            assert_eq!(lines.matches('\n').count(), 5);
        }
    }

    #[test]
    fn javascript_writes_it_back_unchanged() {
        // PAY-1 for what is around the payload: no white space, strings only.
        let (structured, ..) = written(&EventRef { key: b"a/\"b", ..EventRef::default() });
        let value: serde_json::Value = serde_json::from_str(&structured).unwrap();
        assert_eq!(value["subject"], "a/\"b");
        assert!(
            value
                .as_object()
                .unwrap()
                .iter()
                .all(|(name, value)| name == "data" || value.is_string())
        );
    }
}
