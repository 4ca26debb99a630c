//! PAY-1 and PAY-3 with a real receiver: node reads the bodies, writes them again and verifies
//! the signatures with the code of the user documentation.
//!
//! Fails, and does not skip, where node is missing: without it the promise is untested.

#![allow(clippy::unwrap_used, reason = "a test that can't go on should panic")]

use ferrite::base::id::EventId;
use ferrite::core::event::{EventRef, EventValue, WebhookEvent};
use ferrite::core::packed::{Stamp, pack, unpack};
use ferrite::core::payload::write_event;
use ferrite::core::signature::SigningKey;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::io::Write;
use std::process::{Command, Output, Stdio};

const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const WEBHOOK_ID: &str = "evt_0";
const UNIX_SECONDS: u64 = 1_705_314_600;
const BODIES: usize = 4000;

#[derive(Clone, Debug)]
struct Event {
    kind: u8,
    key: Vec<u8>,
    database: u32,
    form: u8,
    parts: Vec<(Vec<u8>, Vec<u8>)>,
    old_value: Option<Vec<u8>>,
    ttl: Option<u64>,
    new_key: Option<Vec<u8>>,
    client_id: Option<String>,
    source_ip: Option<String>,
    id: (u64, u64),
    timestamp_us: u64,
}

/// Strings that JSON writers get wrong.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-z0-9:]{0,20}".prop_map(String::into_bytes),
        "[\"\\\\/\u{0}-\u{20}\u{7e}-\u{a0}\u{2027}-\u{202a}\u{feff}\u{fffd}-\u{ffff}😀👩‍👩‍👧é<>&']{0,30}"
            .prop_map(String::into_bytes),
        "(?s:.{0,40})".prop_map(String::into_bytes),
        // Integer-like strings: as names of members they would move to the front.
        "-?[0-9]{1,20}(\\.[0-9]{1,3})?(e[0-9])?".prop_map(String::into_bytes),
        "\\{\"(__proto__|id|toJSON|1)\":\"?[0-9]{0,4}\"?\\}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    let edge = 1_u64 << 53;
    prop_oneof![0..100_u64, edge - 3..edge + 3, Just(u64::MAX), any::<u64>()]
}

fn event() -> impl Strategy<Value = Event> {
    let text = || proptest::option::of(bytes().prop_map(|b| String::from_utf8_lossy(&b).into()));
    let parts = proptest::collection::vec((bytes(), bytes()), 0..5);
    let optional = || proptest::option::of(bytes());
    (
        (0..10_u8, bytes(), any::<u32>(), 0..6_u8, parts, optional()),
        (proptest::option::of(number()), optional(), text(), text(), any::<(u64, u64)>(), number()),
    )
        .prop_map(|((kind, key, database, form, parts, old_value), rest)| {
            let (ttl, new_key, client_id, source_ip, id, timestamp_us) = rest;
            Event {
                kind,
                key,
                database,
                form,
                parts,
                old_value,
                ttl,
                new_key,
                client_id,
                source_ip,
                id,
                timestamp_us,
            }
        })
}

fn body(event: &Event) -> Vec<u8> {
    let pairs: Vec<(&[u8], &[u8])> =
        event.parts.iter().map(|(first, second)| (first.as_slice(), second.as_slice())).collect();
    let items: Vec<&[u8]> = pairs.iter().map(|(first, _)| *first).collect();
    let value = match event.form {
        0 => EventValue::None,
        1 => EventValue::Bytes(&event.key),
        2 => EventValue::Items(&items),
        3 => EventValue::Pairs(&pairs),
        4 => EventValue::Scored(&pairs),
        _ => EventValue::Entry { id: b"1-0", fields: &pairs },
    };
    let kind = WebhookEvent::from_number(event.kind).unwrap();
    let event_ref = EventRef {
        event: kind,
        key: &event.key,
        database: event.database,
        value,
        old_value: event.old_value.as_deref(),
        ttl: event.ttl,
        new_key: event.new_key.as_deref(),
        client_id: event.client_id.as_deref(),
        source_ip: event.source_ip.as_deref(),
        timestamp_us: None,
        traceparent: None,
        tracestate: None,
    };
    let stamp = Stamp {
        key_hash: 0,
        generation: 0,
        may_drop: false,
        timestamp_us: event.timestamp_us,
        waiter: 0,
    };
    let (mut buffer, mut out) = (Vec::new(), Vec::new());
    pack(&event_ref, &stamp, &mut buffer);
    let id = EventId { boot: event.id.0, sequence: event.id.1 };
    write_event(&mut out, id, kind.name(), &unpack(&buffer).unwrap());
    out
}

/// Every control character and other single characters, beside the random events.
fn fixed_bodies() -> Vec<Vec<u8>> {
    let characters = (0..0x300).chain(0x2020..0x2030).chain(0xfff0..0x10010);
    let strings = characters.filter_map(char::from_u32).map(|c| format!("a{c}b").into_bytes());
    let raw = (0..=u8::MAX).map(|byte| vec![b'a', byte]);
    strings
        .chain(raw)
        .map(|key| {
            body(&Event {
                kind: 0,
                key,
                database: 0,
                form: 1,
                parts: Vec::new(),
                old_value: None,
                ttl: None,
                new_key: None,
                client_id: None,
                source_ip: None,
                id: (0, 0),
                timestamp_us: UNIX_SECONDS * 1_000_000,
            })
        })
        .collect()
}

fn line(body: &[u8]) -> Vec<u8> {
    let key = SigningKey::new(SECRET).unwrap();
    let mut line = Vec::new();
    key.write_ferrite(body, &mut line);
    line.push(b' ');
    key.write_standard(WEBHOOK_ID.as_bytes(), UNIX_SECONDS, body, &mut line);
    line.push(b' ');
    line.extend_from_slice(body);
    assert!(!line.contains(&b'\n'), "a body is one line");
    line.push(b'\n');
    line
}

fn receive(lines: &[u8]) -> Output {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/node/roundtrip.js");
    let mut node = Command::new("node")
        .args([script, SECRET, WEBHOOK_ID, &UNIX_SECONDS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("this test needs node");
    // The script reads all of its input before it writes, so neither side can block the other.
    node.stdin.take().unwrap().write_all(lines).unwrap();
    node.wait_with_output().unwrap()
}

#[test]
fn node_accepts_every_body() {
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), random);
    let mut bodies = fixed_bodies();
    let fixed = bodies.len();
    for _ in 0..BODIES {
        bodies.push(body(&event().new_tree(&mut runner).unwrap().current()));
    }
    let lines: Vec<u8> = bodies.iter().flat_map(|body| line(body)).collect();
    let output = receive(&lines);
    let (accepted, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{complaint}");
    assert_eq!(accepted.trim(), format!("{} accepted", fixed + BODIES));
}

/// The receiver must be able to say no, or its yes is worth nothing.
#[test]
fn node_refuses_what_breaks_the_rules() {
    let good = r#"{"id":"evt_1","ttl":3600,"value":"é\u001f"}"#;
    let output = receive(&line(good.as_bytes()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for body in [
        r#"{"id": "evt_1"}"#,
        r#"{"id":"evt_1","ttl":9007199254740993}"#,
        r#"{"id":"evt_1","ttl":1.0}"#,
        r#"{"id":"\u001F"}"#,
        r#"{"id":"\u000a"}"#,
        r#"{"id":"\/"}"#,
        r#"{"b":1,"10":3,"2":4}"#,
        r#"{"a":1,"a":2}"#,
    ] {
        assert!(!receive(&line(body.as_bytes())).status.success(), "{body}");
    }
    let mut forged = line(good.as_bytes());
    let digit = &mut forged[10];
    *digit = if *digit == b'0' { b'1' } else { b'0' };
    assert!(!receive(&forged).status.success(), "a forged signature");
}
