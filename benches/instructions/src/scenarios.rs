//! The hot parts, each as something that can be done any number of times.
//!
//! What is measured is the difference between a run and one twice as long. What a scenario does
//! before its loop falls out, and so does what its first rounds do once (buffers that grow,
//! states of an automaton that are computed), as long as the shorter run has done it too.

use crate::support::{OK, Rig, SECRET, Silent, UNAVAILABLE, UNIX_US, event, key_hash};
use ferrite::base::hash::{KeyHasher, worker_of};
use ferrite::base::id::EventId;
use ferrite::base::limits::RETRIES_MAX;
use ferrite::core::event::{EventMask, EventRef, WebhookEvent};
use ferrite::core::format::ContentType;
use ferrite::core::http::endpoint::Endpoint;
use ferrite::core::http::headers::{Authorization, CustomHeaders};
use ferrite::core::http::request::{Request, RequestHead};
use ferrite::core::http::response::ResponseReader;
use ferrite::core::matcher::{Matcher, MatcherEntry};
use ferrite::core::packed::{Stamp, pack, unpack};
use ferrite::core::payload::write_event;
use ferrite::core::signature::SigningKey;
use ferrite::core::snapshot::{Published, Snapshot};
use ferrite::inbox::Inbox;
use std::hint::black_box;

/// Rounds of the shorter run, unless a scenario says otherwise: enough that a few instructions
/// more or less in the rest of the process do not show.
const ROUNDS: u64 = 2000;
/// Size of the body that is sent and signed.
const BODY_BYTES: usize = 231;
const ID_TEXT: &[u8] = b"evt_0123456789abcdef0000000001";

/// Something that is counted.
pub struct Scenario {
    /// Its name in the baseline.
    pub name: &'static str,
    /// Rounds of the shorter run.
    pub rounds: u64,
    /// Does it so many times.
    pub run: fn(u64),
}

const fn scenario(name: &'static str, run: fn(u64)) -> Scenario {
    Scenario { name, rounds: ROUNDS, run }
}

/// All of them.
pub const SCENARIOS: &[Scenario] = &[
    scenario("offer_unmatched_1_webhook", |rounds| offer_unmatched(1, rounds)),
    scenario("offer_unmatched_1000_webhooks", |rounds| offer_unmatched(1000, rounds)),
    scenario("offer_matched_and_handed_over", offer_matched),
    scenario("match_1_of_1000_globs", match_globs),
    scenario("unpack", unpack_event),
    scenario("payload", payload),
    scenario("signature_ferrite", signature_ferrite),
    scenario("signature_standard", signature_standard),
    scenario("request_plain", |rounds| request(None, rounds)),
    scenario("request_signed", |rounds| request(Some(SECRET), rounds)),
    scenario("response", response),
    scenario("shard_step_plain", |rounds| shard_step(None, rounds)),
    scenario("shard_step_signed", |rounds| shard_step(Some(SECRET), rounds)),
    scenario("shard_retry", shard_retry),
    scenario("shard_batched_event", shard_batched_event),
];

/// Several stars, prefixes and exact keys, as people write them.
fn patterns(count: usize) -> Vec<String> {
    let pattern = |index: usize| match index % 10 {
        0..=5 => format!("tenant{index}:order:*"),
        6 => format!("config:app{index}"),
        7 => format!("*:audit{index}"),
        8 => format!("user:*:field{index}"),
        _ => format!("tenant{index}:*:item?"),
    };
    (0..count).map(pattern).collect()
}

fn matcher(patterns: &[String]) -> Matcher {
    let entries: Vec<_> = (0..)
        .zip(patterns)
        .map(|(slot, pattern)| MatcherEntry {
            slot,
            pattern: pattern.as_bytes(),
            events: EventMask::ALL,
        })
        .collect();
    Matcher::build(&entries).expect("the patterns are short")
}

/// What callers see of webhooks with these patterns.
fn published(patterns: &[String]) -> Published {
    Published::new(Snapshot {
        generation: 1,
        definitions: Vec::new(),
        matcher: matcher(patterns),
        events: EventMask::ALL,
    })
}

/// What `WebhookManager::offer` does with an event that nobody wants. The manager itself would
/// start its threads, whose instructions would be counted too.
fn offer_unmatched(webhooks: usize, rounds: u64) {
    let published = published(&patterns(webhooks));
    let event = event(b"session:123456");
    for _ in 0..rounds {
        let event = black_box(&event);
        assert!(!published.load().wants(event.event, event.key));
    }
}

/// What it does with a wanted one, and the worker's half of the hand-over.
fn offer_matched(rounds: u64) {
    const WORKERS: usize = 4;
    let published = published(&["order:*".to_owned()]);
    let hasher = KeyHasher::new(1);
    let inboxes: Vec<_> = (0..WORKERS).map(|_| Inbox::new(1024, Silent)).collect();
    let event = event(b"order:123456");
    for round in 0..rounds {
        let event = black_box(&event);
        let snapshot = published.load();
        assert!(snapshot.wants(event.event, event.key));
        let key_hash = hasher.hash(event.database, event.key);
        let inbox = &inboxes[worker_of(key_hash, WORKERS)];
        let mut buffer = inbox.buffer();
        pack(event, &stamp(round), &mut buffer);
        assert!(inbox.push(buffer).is_ok());
        let taken = inbox.pop().expect("it was just pushed");
        inbox.give_back(black_box(taken));
    }
}

fn match_globs(rounds: u64) {
    let matcher = matcher(&patterns(1000));
    let keys: [&[u8]; 4] =
        [b"tenant12:order:77", b"log:123:audit27", b"user:123:field38", b"tenant49:123:item7"];
    let mut found = Vec::new();
    for _ in 0..rounds / keys.len() as u64 {
        for key in keys {
            found.clear();
            matcher.find(WebhookEvent::Set, black_box(key), &mut found);
            assert_eq!(found.len(), 1);
        }
    }
}

fn stamp(number: u64) -> Stamp {
    Stamp {
        key_hash: key_hash(number),
        generation: 1,
        may_drop: false,
        timestamp_us: UNIX_US + number,
        waiter: 0,
    }
}

fn full_event() -> EventRef<'static> {
    EventRef { old_value: Some(b"{\"total\": 41}"), ttl: Some(3600), ..event(b"order:123456") }
}

fn unpack_event(rounds: u64) {
    let mut packed = Vec::new();
    pack(&full_event(), &stamp(1), &mut packed);
    for _ in 0..rounds {
        black_box(unpack(black_box(&packed)));
    }
}

fn payload(rounds: u64) {
    let mut packed = Vec::new();
    pack(&full_event(), &stamp(1), &mut packed);
    let event = unpack(&packed).expect("it was just packed");
    let mut out = Vec::new();
    for sequence in 0..rounds {
        out.clear();
        let id = EventId { boot: 0x0123_4567_89ab_cdef, sequence };
        write_event(&mut out, id, "SET", black_box(&event));
        black_box(&out);
    }
}

fn signing_key() -> SigningKey {
    SigningKey::new(SECRET).expect("the secret is acceptable")
}

fn signature_ferrite(rounds: u64) {
    let (key, mut out) = (signing_key(), Vec::new());
    for _ in 0..rounds {
        out.clear();
        key.write_ferrite(black_box(&[b'x'; BODY_BYTES]), &mut out);
        black_box(&out);
    }
}

fn signature_standard(rounds: u64) {
    let (key, mut out) = (signing_key(), Vec::new());
    for _ in 0..rounds {
        out.clear();
        key.write_standard(ID_TEXT, 1_705_314_600, black_box(&[b'x'; BODY_BYTES]), &mut out);
        black_box(&out);
    }
}

fn request(secret: Option<&str>, rounds: u64) {
    let endpoint = Endpoint::parse("https://api.example.com/webhook").expect("the URL is valid");
    let token = Authorization::bearer("mytoken123").expect("the token is valid");
    let headers = CustomHeaders::new(&[("X-API-Key", "key")]).expect("the header is valid");
    let head = RequestHead::new(&endpoint, Some(&token), &headers).expect("the head is valid");
    let key = secret.map(|_| signing_key());
    let mut out = Vec::new();
    for _ in 0..rounds {
        out.clear();
        let request = Request {
            id_text: ID_TEXT,
            attempt: 1,
            lines: b"",
            body: &[b'x'; BODY_BYTES],
            content_type: ContentType::Json,
            signature: key.as_ref(),
            unix_seconds: 1_705_314_600,
        };
        head.write_request(&mut out, black_box(&request));
        black_box(&out);
    }
}

fn response(rounds: u64) {
    const NGINX: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.26.2\r\n\
        Date: Mon, 15 Jan 2024 10:30:00 GMT\r\nContent-Type: text/plain; charset=utf-8\r\n\
        Content-Length: 2\r\nConnection: keep-alive\r\n\
        X-Request-Id: 9f86d081884c7d659a2feaa0c55ad015\r\n\r\nok";
    let mut reader = ResponseReader::new();
    for _ in 0..rounds {
        reader.reset();
        let response = reader.read(black_box(NGINX));
        assert!(response.is_ok_and(|response| response.is_some()));
    }
}

/// A delivery from the packed event to the 200.
fn shard_step(secret: Option<&str>, rounds: u64) {
    let mut rig = Rig::new(secret, 3);
    for _ in 0..rounds {
        rig.deliver(OK);
    }
}

/// An event of a batch of 100, from the packed event to the batch's 200.
fn shard_batched_event(rounds: u64) {
    const EVENTS: u32 = 100;
    let mut rig = Rig::with_batches(None, 3, Some(EVENTS));
    for _ in 0..rounds / u64::from(EVENTS) {
        rig.deliver_batch(EVENTS, OK);
    }
}

/// A failed delivery among a thousand fires, is sent, and fails again.
fn shard_retry(rounds: u64) {
    let mut rig = Rig::new(None, RETRIES_MAX);
    for _ in 0..1000 {
        rig.deliver(UNAVAILABLE);
    }
    for _ in 0..rounds {
        rig.retry(UNAVAILABLE);
    }
}
