//! Plays `tests/data/hostile-responses.toml`: to the reader of responses, cut in every way, and to
//! the whole engine over sockets. The verdicts and their reasons are in that file.

#![allow(clippy::unwrap_used)]

#[path = "hostile_responses/corpus.rs"]
mod corpus;
#[path = "hostile_responses/server.rs"]
mod server;
mod support;

use corpus::{End, Expect, Script, Verdict};
use ferrite::base::limits;
use ferrite::core::http::response::{
    HeadMemo, Response, ResponseError, ResponseReader, RetryAfter,
};
use ferrite::webhooks::{
    DeliveryRecord, WebhookConfig, WebhookEvent, WebhookManager, WebhookOptions, WebhookTrigger,
};
use server::Server;
use std::collections::HashSet;
use std::time::Duration;
use support::{block_on, eventually};

/// Scripts up to this length are cut at every place.
const SHORT_BYTES: usize = 2000;
/// Scripts that are played to the engine at the same time; each has a few threads and sockets.
const AT_ONCE: usize = 48;
/// The deadline of those scripts that only the deadline decides.
const SHORT_TIMEOUT_MS: u64 = 400;
/// That of all others: one that comes to it has hung.
const LONG_TIMEOUT_MS: u64 = 30_000;
/// How much later than its deadline an exchange may end on a machine that is busy.
const LATE_MS: u64 = 10_000;

#[test]
fn the_corpus_is_large_and_every_verdict_has_a_reason() {
    let scripts = corpus::load();
    assert!(scripts.len() >= 150, "{}", scripts.len());
    let bounds = include_str!("../src/base/limits.rs");
    let names: HashSet<&str> = scripts.iter().map(|script| script.name.as_str()).collect();
    assert_eq!(names.len(), scripts.len());
    for script in &scripts {
        assert!(script.why.len() >= 5, "{}", script.name);
        assert!(script.why.is_ascii() && script.name.is_ascii(), "{}", script.name);
        let is_known = |limit: &str| bounds.contains(&format!("pub const {limit}: "));
        assert!(script.limit.as_deref().is_none_or(is_known), "{}", script.name);
    }
}

/// What the reader makes of pieces, an end, and a deadline.
fn read<'a>(script: &Script, pieces: impl Iterator<Item = &'a [u8]>, memo: bool) -> Verdict {
    let (mut reader, mut memory) = (ResponseReader::new(), HeadMemo::default());
    let mut response: Option<Response> = None;
    let verdict = |response: Response, decided_by_deadline: bool| Verdict {
        expect: Expect::Status(response.status),
        // A connection that its server closes is not used again, whatever the response says.
        reuse: response.keep_alive && !script.connection_ends(),
        decided_by_deadline,
        retry_after: response.retry_after,
    };
    for piece in pieces {
        let outcome = match memo {
            // Bytes beyond the response are left; `read` makes of them what the engine does.
            true => reader.read_next(piece, Some(&mut memory)).map(|(used, response)| {
                response.map(|mut response| {
                    response.keep_alive &= used == piece.len();
                    response
                })
            }),
            false => reader.read(piece),
        };
        match (outcome, &mut response) {
            (Err(error), _) => return Verdict::failed(error.failure().name(), false),
            (Ok(Some(new)), Some(before)) => before.keep_alive &= new.keep_alive,
            (Ok(new), before) => *before = new.or(*before),
        }
    }
    if let Some(response) = response {
        return verdict(response, false);
    }
    let by_deadline = script.end == End::Open;
    match reader.finish() {
        Ok(response) => verdict(response, by_deadline),
        Err(ResponseError::Closed) => match script.end {
            End::Open => Verdict::failed("timeout", true),
            End::Close => Verdict::failed("connection-closed", false),
            End::Reset => Verdict::failed("connection-reset", false),
        },
        Err(error) => Verdict::failed(error.failure().name(), by_deadline),
    }
}

#[test]
fn the_reader_comes_to_the_verdict_however_the_bytes_are_cut() {
    let mut wrong = Vec::new();
    for script in corpus::load() {
        let bytes = script.bytes();
        let expected = script.verdict();
        let mut is_wrong = false;
        let mut check = |how: &str, verdict: Verdict| {
            // One line for a script says enough.
            if verdict != expected && !std::mem::replace(&mut is_wrong, true) {
                wrong.push(format!("{} ({how}): {verdict:?}, not {expected:?}", script.name));
            }
        };
        let whole = || std::iter::once(bytes.as_slice());
        check("whole", read(&script, whole(), false));
        check("whole, with memory", read(&script, whole(), true));
        check("byte by byte", read(&script, bytes.chunks(1), false));
        check("in reads of 4 KiB", read(&script, bytes.chunks(limits::READ_BUFFER_BYTES), false));
        // At every place of the short ones, and at some of the long ones.
        let step = if bytes.len() <= SHORT_BYTES { 1 } else { bytes.len() / 20 };
        for at in (0..=bytes.len()).step_by(step) {
            let (first, second) = bytes.split_at(at);
            check(&format!("cut at {at}"), read(&script, [first, second].into_iter(), false));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_reader_s_memory_is_bounded_whatever_comes() {
    // A head in pieces is kept once, in a buffer that doubles; beside it there is a snippet.
    let most = 3 * limits::RESPONSE_HEAD_BYTES_MAX as u64 + 4096;
    for script in corpus::load() {
        let bytes = script.bytes();
        for piece in [1, 100, limits::READ_BUFFER_BYTES] {
            let measured = allocation_counter::measure(|| {
                read(&script, bytes.chunks(piece), false);
            });
            assert!(measured.bytes_max <= most, "{}: {measured:?}", script.name);
            assert_eq!(measured.bytes_current, 0, "{}: {measured:?}", script.name);
        }
    }
}

fn event(webhook: usize, round: usize) -> WebhookTrigger {
    WebhookTrigger {
        event: WebhookEvent::Set,
        key: format!("{webhook}:{round}"),
        value: Some(b"v".to_vec()),
        ..WebhookTrigger::default()
    }
}

/// A script, its server, and the webhook that sends to it.
struct Play {
    script: Script,
    server: Server,
    webhook: String,
}

impl Play {
    fn start(manager: &WebhookManager, number: usize, script: Script) -> Play {
        let server = Server::start(&script);
        let webhook = format!("script-{number}");
        let timeout_ms =
            if script.decided_by_deadline() { SHORT_TIMEOUT_MS } else { LONG_TIMEOUT_MS };
        let options = WebhookOptions {
            pattern: Some(format!("{number}:*")),
            retries: 0,
            timeout_ms: Some(timeout_ms),
            ..WebhookOptions::default()
        };
        block_on(manager.create(&webhook, &server.url(), options)).unwrap();
        block_on(manager.trigger(event(number, 1))).unwrap();
        Play { script, server, webhook }
    }

    fn record(&self, manager: &WebhookManager) -> Option<DeliveryRecord> {
        manager.deliveries(&self.webhook, 10).unwrap().pop()
    }

    /// What is wrong with the outcome of the first exchange.
    fn judge(&self, record: &DeliveryRecord) -> Option<String> {
        let found = match record.status {
            Some(status) => Expect::Status(status),
            None => Expect::Failure(record.failure.map_or("success", |f| f.name()).to_owned()),
        };
        // The kernel may throw away what came before a reset.
        let lost = self.script.end == End::Reset && found == Expect::failure("connection-reset");
        if found != self.script.expect && !lost {
            return Some(format!("{found:?}, not {:?}", self.script.expect));
        }
        let success = matches!(record.status, Some(200..300));
        if success == record.failure.is_some() {
            return Some(format!("failure {:?} with {found:?}", record.failure));
        }
        let latency_ms = record.latency_us / 1000;
        let by_deadline = self.script.decided_by_deadline();
        let in_time = !by_deadline
            || (SHORT_TIMEOUT_MS - 50..SHORT_TIMEOUT_MS + LATE_MS).contains(&latency_ms);
        (!in_time).then(|| format!("decided after {latency_ms} ms"))
    }

    /// Whether a second delivery would wait for what `Retry-After` asks.
    fn is_held(&self) -> bool {
        let asks = !matches!(
            self.script.verdict().retry_after,
            None | Some(RetryAfter::Seconds(0) | RetryAfter::UnixSeconds(..1_700_000_000))
        );
        asks && matches!(self.script.expect, Expect::Status(429 | 503))
    }
}

/// Plays some scripts at once, and says which verdicts are wrong.
fn play(manager: &WebhookManager, first_number: usize, scripts: &[Script]) -> Vec<String> {
    let plays: Vec<Play> = scripts
        .iter()
        .enumerate()
        .map(|(at, script)| Play::start(manager, first_number + at, script.clone()))
        .collect();
    let mut wrong = Vec::new();
    for play in &plays {
        eventually(&play.script.name, || play.record(manager).is_some());
        if let Some(problem) = play.judge(&play.record(manager).unwrap()) {
            wrong.push(format!("{}: {problem}", play.script.name));
        }
        play.server.settled();
    }
    for (at, play) in plays.iter().enumerate() {
        let name = &play.script.name;
        if !play.script.reuse && !play.server.wait_until_first_is_closed() {
            wrong.push(format!("{name}: the client does not close"));
        }
        if play.is_held() {
            continue;
        }
        if play.script.expect == Expect::Status(410) {
            // The webhook is disabled, and the delivery stands at the head of its queue.
            block_on(manager.enable(&play.webhook)).unwrap();
        } else {
            block_on(manager.trigger(event(first_number + at, 2))).unwrap();
        }
        eventually(&format!("{name}: a second request"), || play.server.requests().len() == 2);
        let requests = play.server.requests();
        if (requests[1] == requests[0]) != play.script.reuse {
            wrong.push(format!("{name}: the second request came on connection {}", requests[1]));
        }
        eventually(&format!("{name}: the second one is delivered"), || {
            manager.stats(&play.webhook).unwrap().delivered >= 1
        });
    }
    for play in &plays {
        let stats = manager.stats(&play.webhook).unwrap();
        if stats.triggered != stats.delivered + stats.failures + stats.pending + stats.dropped {
            wrong.push(format!("{}: {stats:?}", play.script.name));
        }
        block_on(manager.delete(&play.webhook)).unwrap();
    }
    wrong
}

/// DEL-5 and DEL-1 against every script: the verdict of the file, no exchange outlives its
/// deadline, a connection that must not be used again is closed, and the sum adds up.
#[test]
fn the_engine_comes_to_the_verdict_over_sockets() {
    let mut config = WebhookConfig::default();
    // One, so that the second delivery finds the first one's connection.
    config.workers.workers = 1;
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    let manager = WebhookManager::new(config);
    // Those that come to their deadline together, so that they wait together.
    let (slow, quick): (Vec<Script>, Vec<Script>) =
        corpus::load().into_iter().partition(Script::decided_by_deadline);
    let mut wrong = Vec::new();
    let mut number = 0;
    for scripts in slow.chunks(AT_ONCE).chain(quick.chunks(AT_ONCE)) {
        wrong.extend(play(&manager, number, scripts));
        number += scripts.len();
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(manager.engine_stats().worker_restarts, 0);
    let report = block_on(manager.shutdown(Duration::from_secs(5)));
    assert_eq!(report.pending, 0);
}
