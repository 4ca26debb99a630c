//! What an event costs its caller's thread: no allocation, and no system call in steady traffic.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{
    Admission, EventRef, EventValue, WebhookConfig, WebhookManager, WebhookOptions, WhenFull,
};
use std::time::{Duration, Instant};
use support::{Receiver, block_on, eventually};

const EVENTS: usize = 2000;
/// The ringer leaves after 20 ms without traffic. This machine may stop the test for longer than
/// that between two events; after such a gap a caller may have to ring.
const GAP: Duration = Duration::from_millis(10);

fn manager(receiver: &Receiver) -> WebhookManager {
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.queue.max_pending = 1_000_000;
    let manager = WebhookManager::start(config).unwrap();
    let options = WebhookOptions {
        pattern: Some("order:*".to_owned()),
        secret: Some("mysecretkey".to_owned()),
        ..WebhookOptions::default()
    };
    block_on(manager.create("w", &receiver.url(), options)).unwrap();
    manager
}

fn event(key: &[u8]) -> EventRef<'_> {
    EventRef {
        key,
        value: EventValue::Bytes(b"{\"total\": 42, \"currency\": \"EUR\"}"),
        old_value: Some(b"old"),
        client_id: Some("conn:1"),
        source_ip: Some("127.0.0.1"),
        ..EventRef::default()
    }
}

/// Offers events one after another, with a pause, and gives the number of long gaps.
fn offer_steadily(manager: &WebhookManager, pause: Duration) -> u64 {
    let (mut gaps, mut last) = (0, Instant::now());
    for _ in 0..EVENTS {
        while manager.offer(&event(b"order:1"), WhenFull::Refuse) != Ok(Admission::Accepted) {
            std::hint::spin_loop();
        }
        gaps += u64::from(last.elapsed() >= GAP);
        last = Instant::now();
        while last.elapsed() < pause {
            std::hint::spin_loop();
        }
    }
    gaps
}

#[test]
fn accepted_events_allocate_nothing_on_the_callers_thread() {
    let receiver = Receiver::start();
    let manager = manager(&receiver);
    // Fewer than the inbox has buffers from the start, so that a worker which this machine lets
    // wait does not make it need more.
    const BURST: usize = 32;
    let mut taken = 0;
    for round in 0..EVENTS / BURST {
        let measured = allocation_counter::measure(|| {
            for _ in 0..BURST {
                let admission = manager.offer(&event(b"order:1"), WhenFull::Refuse);
                assert_eq!(admission, Ok(Admission::Accepted));
            }
        });
        // In the first rounds, the buffers grow to the size of these events, and this thread's
        // part of the snapshot's and the matcher's bookkeeping is made.
        assert!(measured.count_total == 0 || round < 4, "round {round}: {measured:?}");
        taken += BURST as u64;
        eventually("they are taken in", || manager.stats("w").unwrap().triggered == taken);
    }
    eventually("all is delivered", || manager.stats("w").unwrap().delivered == taken);
}

#[test]
fn unwanted_events_allocate_nothing_and_are_never_handed_over() {
    let receiver = Receiver::start();
    let manager = manager(&receiver);
    let unwanted = event(b"user:1");
    assert_eq!(manager.offer(&unwanted, WhenFull::Refuse), Ok(Admission::Unmatched));
    assert!(
        !manager.wants(unwanted.event, unwanted.key) && manager.wants(unwanted.event, b"order:1")
    );
    let rung = manager.engine_stats().doorbells_by_callers;
    let measured = allocation_counter::measure(|| {
        for _ in 0..EVENTS {
            assert_eq!(manager.offer(&unwanted, WhenFull::Refuse), Ok(Admission::Unmatched));
        }
    });
    assert_eq!(measured.count_total, 0, "{measured:?}");
    let stats = manager.engine_stats();
    assert_eq!((stats.doorbells_by_callers, stats.totals.triggered), (rung, 0));
}

#[test]
fn steady_traffic_makes_no_caller_ring() {
    let receiver = Receiver::start();
    let manager = manager(&receiver);
    for pause_us in [1000, 100, 10] {
        // After idleness the ringer has gone to sleep, and a caller has to ring.
        let before = manager.engine_stats().doorbells_by_callers;
        eventually("a caller rings after idleness", || {
            std::thread::sleep(Duration::from_millis(50));
            assert_eq!(
                manager.offer(&event(b"order:1"), WhenFull::Refuse),
                Ok(Admission::Accepted)
            );
            manager.engine_stats().doorbells_by_callers > before
        });
        let before = manager.engine_stats().doorbells_by_callers;
        let gaps = offer_steadily(&manager, Duration::from_micros(pause_us));
        let rung = manager.engine_stats().doorbells_by_callers - before;
        assert!(rung <= 1 + gaps, "{rung} rings in {EVENTS} events, one every {pause_us} us");
    }
}
