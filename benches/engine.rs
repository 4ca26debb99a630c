//! The engine's own parts: an event's cost to its caller, the hand-over, and a shard's step.

#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ferrite::core::packed::{Stamp, pack};
use ferrite::inbox::Inbox;
use ferrite::webhooks::{Admission, WebhookConfig, WebhookManager, WebhookOptions, WhenFull};
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use support::{OK, Rig, SECRET, Silent, event};

/// Threads that offer events at once.
const PRODUCERS: [u64; 4] = [1, 2, 4, 8];

fn ready<F: Future>(future: F) -> F::Output {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => unreachable!("these calls complete at once"),
    }
}

/// An engine with so many webhooks, whose worker takes events in on another core. Matched events
/// go to a closed port's queue bound and are dropped there, so that the number is the caller's
/// and not the network's.
fn manager(webhooks: usize) -> WebhookManager {
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
    manager
}

fn offer_until_accepted(manager: &WebhookManager) {
    let wanted = event(b"order0:123");
    while manager.offer(black_box(&wanted), WhenFull::Drop) == Ok(Admission::Full) {
        std::thread::yield_now();
    }
}

/// What an event costs its caller.
fn trigger(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("trigger");
    for webhooks in [1, 1000] {
        let manager = manager(webhooks);
        let unwanted = event(b"user:123456");
        group.bench_function(format!("unmatched, {webhooks} webhooks"), |bencher| {
            bencher.iter(|| manager.offer(black_box(&unwanted), WhenFull::Drop).unwrap());
        });
        group.bench_function(format!("matched, {webhooks} webhooks"), |bencher| {
            bencher.iter(|| offer_until_accepted(&manager));
        });
    }
    group.finish();
}

/// The same from several threads at once, into one worker's ring. The time is of one event, from
/// the start of all threads to the end of the last; with more threads than cores, it tells whether
/// anything collapses, and no more.
fn trigger_contended(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("trigger, contended");
    group.throughput(Throughput::Elements(1));
    let manager = manager(1);
    let unmatched = |manager: &WebhookManager| {
        let offered = manager.offer(black_box(&event(b"user:123456")), WhenFull::Drop);
        assert_eq!(offered, Ok(Admission::Unmatched));
    };
    for producers in PRODUCERS {
        group.bench_function(format!("unmatched, {producers} producers"), |bencher| {
            bencher.iter_custom(|rounds| by_producers(producers, rounds, || unmatched(&manager)));
        });
        group.bench_function(format!("matched, {producers} producers"), |bencher| {
            bencher.iter_custom(|rounds| {
                by_producers(producers, rounds, || offer_until_accepted(&manager))
            });
        });
    }
    group.finish();
}

/// The time in which `producers` threads do `rounds` of the work between them.
fn by_producers(producers: u64, rounds: u64, work: impl Fn() + Sync) -> Duration {
    let (start, end) = (Barrier::new(producers as usize + 1), Barrier::new(producers as usize + 1));
    std::thread::scope(|scope| {
        for producer in 0..producers {
            let (start, end, work) = (&start, &end, &work);
            scope.spawn(move || {
                start.wait();
                let share = rounds / producers + u64::from(producer < rounds % producers);
                (0..share).for_each(|_| work());
                end.wait();
            });
        }
        start.wait();
        let since = Instant::now();
        end.wait();
        since.elapsed()
    })
}

fn hand_over(criterion: &mut Criterion) {
    let inbox = Inbox::new(1024, Silent);
    let stamp = Stamp { key_hash: 1, generation: 1, may_drop: false, timestamp_us: 1, waiter: 0 };
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

/// A shard's whole work for one delivery: take in, match, write the body and the request, read
/// the answer, settle.
fn shard_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("shard step");
    group.throughput(Throughput::Elements(1));
    for (name, secret) in [("plain", None), ("signed twice", Some(SECRET))] {
        let mut rig = Rig::new(secret, 3);
        group.bench_function(name, |bencher| bencher.iter(|| rig.deliver(OK)));
    }
    group.finish();
}

criterion_group!(benches, trigger, trigger_contended, hand_over, shard_step);
criterion_main!(benches);
