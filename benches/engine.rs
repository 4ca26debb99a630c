//! The engine's own parts: an event's cost to its caller, the hand-over, and a shard's step.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ferrite::base::time::{Now, Tick};
use ferrite::core::event::{EventMask, EventRef, EventValue};
use ferrite::core::packed::{Stamp, pack};
use ferrite::core::retry::{RetryBackoff, RetryPolicy};
use ferrite::core::shard::{Action, ConnectionId, Shard, ShardConfig, Shared, Step};
use ferrite::core::signature::Signatures;
use ferrite::inbox::{Doorbell, Inbox};
use ferrite::registry::{Auth, Registry, RegistryConfig, Settings};
use ferrite::webhooks::{Admission, WebhookConfig, WebhookManager, WebhookOptions, WhenFull};
use std::hint::black_box;
use std::sync::Arc;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

struct Silent;
impl Doorbell for Silent {
    fn ring(&self) {}
}

fn event(key: &[u8]) -> EventRef<'_> {
    EventRef {
        key,
        value: EventValue::Bytes(b"{\"total\": 42, \"currency\": \"EUR\", \"items\": [1, 2, 3]}"),
        client_id: Some("conn:456"),
        source_ip: Some("192.168.1.100"),
        ..EventRef::default()
    }
}

fn ready<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => unreachable!("these calls complete at once"),
    }
}

/// What an event costs its caller, with a worker that takes events in on the other core. Matched
/// events go to a disabled endpoint's queue bound and are dropped there, so that the number is
/// the caller's and not the network's.
fn trigger(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("trigger");
    for webhooks in [1, 1000] {
        let mut config = WebhookConfig::default();
        config.workers.workers = 1;
        config.queue.max_pending = 1;
        config.queue.ring_events = 1 << 16;
        let manager = WebhookManager::start(config).unwrap();
        for index in 0..webhooks {
            let options = WebhookOptions {
                pattern: Some(format!("order{index}:*")),
                retries: 0,
                ..WebhookOptions::default()
            };
            ready(manager.create(&format!("w{index}"), "http://127.0.0.1:9/", options)).unwrap();
        }
        let (wanted, unwanted) = (event(b"order0:123"), event(b"user:123456"));
        group.bench_function(format!("unmatched, {webhooks} webhooks"), |bencher| {
            bencher.iter(|| manager.offer(black_box(&unwanted), WhenFull::Drop).unwrap());
        });
        group.bench_function(format!("matched, {webhooks} webhooks"), |bencher| {
            bencher.iter(|| {
                while manager.offer(black_box(&wanted), WhenFull::Drop) == Ok(Admission::Full) {
                    std::thread::yield_now();
                }
            });
        });
    }
    group.finish();
}

fn hand_over(criterion: &mut Criterion) {
    let inbox = Inbox::new(1024, Silent);
    let stamp = Stamp { key_hash: 1, generation: 1, may_drop: false, timestamp_us: 1 };
    let event = event(b"order:123");
    let mut group = criterion.benchmark_group("hand-over");
    group.bench_function("buffer, pack, push, pop, give back", |bencher| {
        bencher.iter(|| {
            let mut buffer = inbox.buffer();
            pack(black_box(&event), &stamp, &mut buffer);
            inbox.push(buffer).unwrap();
            inbox.give_back(inbox.pop().unwrap());
        });
    });
    group.finish();
}

fn shard(secret: Option<&str>) -> Shard {
    let config = RegistryConfig {
        webhooks_max: 10,
        pending_max: 1_000_000,
        workers: 1,
        verify_tls: true,
        allowed_hosts: Vec::new(),
    };
    let registry = Registry::new(config).unwrap();
    let settings = Settings {
        url: "http://127.0.0.1:9/hook".to_owned(),
        pattern: "order:*".to_owned(),
        events: EventMask::ALL,
        auth: Auth::None,
        headers: Vec::new(),
        secret: secret.map(str::to_owned),
        signatures: Signatures::Both,
        retry: RetryPolicy {
            retries: 3,
            delay_ms: 1000,
            backoff: RetryBackoff::Exponential,
            multiplier: 2.0,
            delay_ms_max: 60_000,
            jitter: 0.1,
        },
        timeout_ms: 5000,
        concurrency: 64,
        pipeline: 1,
    };
    registry.create("w", settings, 0).unwrap();
    let config = ShardConfig {
        worker: 0,
        workers: 1,
        boot: 1,
        seed: 1,
        endpoint_connections_max: 256,
        connections_max: 1024,
        idle_timeout_ms: 30_000,
    };
    Shard::new(config, Arc::new(Shared::new(1)), registry.published().load_full())
}

/// A shard's whole work for one delivery: take in, match, write the body and the request, read
/// the answer, settle.
fn shard_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard step");
    group.throughput(Throughput::Elements(1));
    for (name, secret) in [("plain", None), ("signed twice", Some("mysecretkey"))] {
        let mut shard = shard(secret);
        let mut connection: Option<ConnectionId> = None;
        let (mut packed, mut request, mut tick) = (Vec::new(), Vec::new(), 0);
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                tick += 10;
                let now = Now { tick: Tick(tick), unix_us: 1_700_000_000_000_000 + tick };
                let key_hash = tick.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let stamp = Stamp { key_hash, generation: 1, may_drop: false, timestamp_us: 1 };
                pack(&event(b"order:123"), &stamp, &mut packed);
                shard.handle_event(now, &packed);
                while let Some(action) = shard.poll_action() {
                    if let Action::Open { connection: opened, .. } = action {
                        assert!(shard.handle_connected(opened));
                        connection = Some(opened);
                    }
                }
                request.clear();
                assert!(shard.write_requests(now, connection.unwrap(), &mut request));
                assert!(!shard.handle_written(connection.unwrap()));
                let step = shard.handle_read(now, connection.unwrap(), OK);
                assert_eq!(step, Step::Idle);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, trigger, hand_over, shard_step);
criterion_main!(benches);
