//! What is looked at in each request, when checks or a history are asked for.

use super::order::{Arrival, EventOfKey};
use super::server::{Shared, Thread};
use super::signatures::SignatureHeaders;
use crate::history::{BatchEvent, HistoryLine, Request};
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use std::borrow::Cow;

/// Headers of a request; those beyond are not looked at.
const HEADERS_MAX: usize = 64;

/// What is remembered of a request until it is answered.
#[derive(Debug, Default)]
pub(super) struct Seen {
    events: Vec<EventOfKey>,
    line: Option<Box<Request>>,
}

/// The members of a body that say which event it carries.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow, default)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(default)]
    data: Data,
}

#[derive(Default, Deserialize)]
struct Data {
    #[serde(default)]
    value: serde_json::Value,
}

/// The members of a batch's body that matter.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow, default)]
    batch_id: Cow<'a, str>,
    #[serde(borrow)]
    events: Vec<Body<'a>>,
}

/// What a request carries.
#[derive(Debug, PartialEq)]
enum Content<'a> {
    /// One event, or none that we know: then the key is empty.
    One { key: Cow<'a, str>, sequence: Option<u64> },
    /// Several.
    Batch { id: Cow<'a, str>, events: Vec<BatchEvent> },
}

/// The headers that matter.
#[derive(Default)]
struct Headers<'a> {
    path: &'a str,
    id: &'a [u8],
    attempt: &'a [u8],
    signatures: SignatureHeaders<'a>,
}

impl Thread {
    /// Checks a request that has arrived.
    pub(super) fn look_at(&self, head: &[u8], body: &[u8], arrived_us: u64) -> Seen {
        let shared = &self.shared;
        if !shared.looks() {
            return Seen::default();
        }
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let _ = request.parse(head);
        let headers = headers_of(&request);
        let signature = shared
            .signatures
            .as_ref()
            .map(|check| check.is_right(&headers.signatures, body, arrived_us / 1_000_000));
        if signature == Some(false) {
            self.counters.bad_signatures.add(1);
        }
        if shared.order.is_none() && shared.recorder().is_none() {
            return Seen::default();
        }
        let content = content_of(body);
        let events = self.check_order(headers.path, &content);
        let line = shared.recorder().map(|_| {
            let mut id = String::from_utf8_lossy(headers.id);
            let (key, sequence, events) = match content {
                Content::One { key, sequence } => (key.into_owned(), sequence, Vec::new()),
                Content::Batch { id: batch_id, events } => {
                    if id.is_empty() {
                        id = batch_id;
                    }
                    (String::new(), None, events)
                }
            };
            Box::new(Request {
                path: headers.path.to_owned(),
                id: id.into_owned(),
                attempt: number(headers.attempt).unwrap_or(0),
                key,
                sequence,
                body_hash: hash(body),
                signature,
                arrived_us,
                answered_us: 0,
                status: None,
                events,
            })
        });
        Seen { events, line }
    }

    fn check_order(&self, path: &str, content: &Content<'_>) -> Vec<EventOfKey> {
        let mut known = Vec::new();
        let Some(check) = &self.shared.order else { return known };
        let mut look = |key: &str, sequence: Option<u64>| {
            let Some(sequence) = sequence else { return self.counters.unordered.add(1) };
            let event = check.event(path, key, sequence);
            match check.arrived(event) {
                Arrival::InOrder => {}
                Arrival::Duplicate => self.counters.duplicates.add(1),
                // In a batch it comes together with the one before.
                Arrival::TooEarly if known.iter().rev().any(|other| event.follows(other)) => {}
                Arrival::TooEarly => self.counters.bad_order.add(1),
            }
            known.push(event);
        };
        match content {
            Content::One { key, sequence } => look(key, *sequence),
            Content::Batch { events, .. } => {
                events.iter().for_each(|event| look(&event.key, event.sequence));
            }
        }
        known
    }
}

impl Shared {
    /// Waits until what was noted is in the history's file, if that must be before the answers.
    /// `false` if it cannot be written.
    pub(super) fn write_history_first(&self) -> bool {
        let recorder = self.recorder().filter(|_| self.options.history_first);
        recorder.is_none_or(|recorder| recorder.flush())
    }

    /// Notes what became of a request. To be called before its answer is written.
    pub(super) fn settle(&self, seen: Seen, given: Option<u16>, at_us: u64) {
        if let (Some(check), Some(200..300)) = (&self.order, given) {
            seen.events.iter().for_each(|event| check.answered_2xx(*event));
        }
        if let (Some(recorder), Some(mut request)) = (self.recorder(), seen.line) {
            (request.answered_us, request.status) = (at_us, given);
            recorder.record(HistoryLine::Request(*request));
        }
    }
}

fn headers_of<'a>(request: &httparse::Request<'_, 'a>) -> Headers<'a> {
    let mut headers = Headers { path: request.path.unwrap_or_default(), ..Headers::default() };
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("x-ferrite-id") {
            headers.id = field.value;
        } else if is("x-ferrite-attempt") {
            headers.attempt = field.value;
        } else if is("x-ferrite-signature") {
            headers.signatures.ferrite = Some(field.value);
        } else if is("webhook-id") {
            headers.signatures.id = Some(field.value);
        } else if is("webhook-timestamp") {
            headers.signatures.timestamp = Some(field.value);
        } else if is("webhook-signature") {
            headers.signatures.standard = Some(field.value);
        }
    }
    headers
}

fn number(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// What a body carries.
fn content_of(body: &[u8]) -> Content<'_> {
    if let Ok(event) = serde_json::from_slice::<Body<'_>>(body) {
        return Content::One { sequence: event.sequence(), key: event.key };
    }
    match serde_json::from_slice::<Batch<'_>>(body) {
        Ok(batch) if !batch.events.is_empty() => {
            let events = batch.events.into_iter().map(|event| BatchEvent {
                sequence: event.sequence(),
                id: event.id.into_owned(),
                key: event.key.into_owned(),
            });
            Content::Batch { id: batch.batch_id, events: events.collect() }
        }
        _ => Content::One { key: "".into(), sequence: None },
    }
}

impl Body<'_> {
    fn sequence(&self) -> Option<u64> {
        let (sequence, _) = self.data.value.as_str()?.strip_prefix('#')?.split_once('#')?;
        sequence.parse().ok()
    }
}

/// The first eight bytes of the SHA-256: anyone can compute it again.
fn hash(body: &[u8]) -> u64 {
    let digest = digest(&SHA256, body);
    digest.as_ref().iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_is_read_from_the_body() {
        let is = |body: &'static str, key: &'static str, sequence| {
            let wanted = Content::One { key: key.into(), sequence };
            assert_eq!(content_of(body.as_bytes()), wanted, "{body}");
        };
        is(r##"{"id":"e","key":"k:1","data":{"value":"#12#xx"}}"##, "k:1", Some(12));
        is(r##"{"key":"k\n","data":{"value":["#1#"]}}"##, "k\n", None);
        is(r##"{"key":"k","data":{"value":"#x#"}}"##, "k", None);
        is(r#"{"key":"k"}"#, "k", None);
        is("no json", "", None);
        is(r#"{"batch_id":"b","events":[],"count":0}"#, "", None);
        is(r#"{"batch_id":"b","events":[{"id":"no key"}],"count":1}"#, "", None);
    }

    #[test]
    fn the_events_of_a_batch_are_read_from_the_body() {
        let body = br##"{"batch_id":"b","timestamp":"t","events":[{"event":"SET","id":"e1",
            "key":"k","data":{"value":"#1#xx"}},{"event":"DEL","id":"e2","key":"l"}],"count":2}"##;
        let event = |id: &str, key: &str, sequence| BatchEvent {
            id: id.to_owned(),
            key: key.to_owned(),
            sequence,
        };
        let events = vec![event("e1", "k", Some(1)), event("e2", "l", None)];
        assert_eq!(content_of(body), Content::Batch { id: "b".into(), events });
    }

    #[test]
    fn the_hash_is_the_beginning_of_the_sha_256() {
        assert_eq!(hash(b""), 0xe3b0_c442_98fc_1c14);
    }
}
