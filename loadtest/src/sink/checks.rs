//! What is looked at in each request, when checks or a history are asked for.

use super::order::{Arrival, EventOfKey};
use super::server::{Shared, Thread};
use super::signatures::SignatureHeaders;
use crate::history::HistoryLine;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use std::borrow::Cow;

/// Headers of a request; those beyond are not looked at.
const HEADERS_MAX: usize = 64;

/// What is remembered of a request until it is answered.
#[derive(Debug, Default)]
pub(super) struct Seen {
    event: Option<EventOfKey>,
    line: Option<HistoryLine>,
}

/// The members of a body that say which event it carries.
#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    key: Cow<'a, str>,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    value: serde_json::Value,
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
        let (key, sequence) = event_of(body);
        let event = self.check_order(headers.path, &key, sequence);
        let line = shared.recorder().map(|_| HistoryLine::Request {
            path: headers.path.to_owned(),
            id: String::from_utf8_lossy(headers.id).into_owned(),
            attempt: number(headers.attempt).unwrap_or(0),
            key: key.into_owned(),
            sequence,
            body_hash: hash(body),
            signature,
            arrived_us,
            answered_us: 0,
            status: None,
        });
        Seen { event, line }
    }

    fn check_order(&self, path: &str, key: &str, sequence: Option<u64>) -> Option<EventOfKey> {
        let check = self.shared.order.as_ref()?;
        let Some(sequence) = sequence else {
            self.counters.unordered.add(1);
            return None;
        };
        let event = check.event(path, key, sequence);
        match check.arrived(event) {
            Arrival::InOrder => {}
            Arrival::Duplicate => self.counters.duplicates.add(1),
            Arrival::TooEarly => self.counters.bad_order.add(1),
        }
        Some(event)
    }
}

impl Shared {
    /// Notes what became of a request. To be called before its answer is written.
    pub(super) fn settle(&self, seen: Seen, given: Option<u16>, at_us: u64) {
        if let (Some(check), Some(event), Some(200..300)) = (&self.order, seen.event, given) {
            check.answered_2xx(event);
        }
        if let (Some(recorder), Some(mut line)) = (self.recorder(), seen.line) {
            if let HistoryLine::Request { answered_us, status, .. } = &mut line {
                (*answered_us, *status) = (at_us, given);
            }
            recorder.record(line);
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

/// The key and the sequence in a body; an empty key if it is no event's.
fn event_of(body: &[u8]) -> (Cow<'_, str>, Option<u64>) {
    let Ok(body) = serde_json::from_slice::<Body<'_>>(body) else { return ("".into(), None) };
    let sequence = body.data.value.as_str().and_then(|value| {
        let (sequence, _) = value.strip_prefix('#')?.split_once('#')?;
        sequence.parse().ok()
    });
    (body.key, sequence)
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
        let event = |body: &'static str| event_of(body.as_bytes());
        let body = r##"{"id":"e","key":"k:1","data":{"value":"#12#xx"}}"##;
        assert_eq!(event(body), ("k:1".into(), Some(12)));
        assert_eq!(event(r##"{"key":"k\n","data":{"value":["#1#"]}}"##), ("k\n".into(), None));
        assert_eq!(event(r##"{"key":"k","data":{"value":"#x#"}}"##), ("k".into(), None));
        assert_eq!(event("no json"), ("".into(), None));
    }

    #[test]
    fn the_hash_is_the_beginning_of_the_sha_256() {
        assert_eq!(hash(b""), 0xe3b0_c442_98fc_1c14);
    }
}
