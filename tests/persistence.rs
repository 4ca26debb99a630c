//! The durable log as a part of the engine: what does not fit into memory, and what outlives the
//! process, against real sockets on loopback.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{
    ReplayOf, ReplayRequest, WebhookConfig, WebhookEvent, WebhookManager, WebhookOptions,
    WebhookStats, WebhookTrigger,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::audited::{Audited, audited};
use support::scratch::Scratch;
use support::{Answer, Receiver, assert_in_order, block_on, eventually};

fn config(directory: &Path, workers: usize, max_pending: usize) -> WebhookConfig {
    let mut config = WebhookConfig::default();
    config.workers.workers = workers;
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    config.queue.persistence = true;
    config.queue.data_dir = directory.to_owned();
    config.queue.max_pending = max_pending;
    config.queue.segment_bytes = 64 * 1024;
    config
}

fn engine(directory: &Path, workers: usize, max_pending: usize) -> Audited {
    audited(config(directory, workers, max_pending))
}

fn trigger(manager: &WebhookManager, key: &str, value: &str) {
    let trigger = WebhookTrigger {
        event: WebhookEvent::Set,
        key: key.to_owned(),
        value: Some(value.as_bytes().to_vec()),
        ..WebhookTrigger::default()
    };
    block_on(manager.trigger(trigger)).unwrap();
}

/// Versions of keys, in turn, as `assert_in_order` wants them.
fn trigger_all(manager: &WebhookManager, keys: usize, versions: std::ops::Range<usize>) {
    for version in versions {
        for key in 0..keys {
            trigger(manager, &format!("key:{key}"), &version.to_string());
        }
    }
}

/// A receiver that answers 503 until it is told that it is well.
fn sick_receiver() -> (Receiver, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let receiver = Receiver::scripted(move |_, _| match is_well.load(Ordering::Relaxed) {
        true => Answer::ok(),
        false => Answer::Status(503, Duration::ZERO),
    });
    (receiver, well)
}

fn patient() -> WebhookOptions {
    WebhookOptions { retries: 1000, retry_delay_ms: Some(20), ..WebhookOptions::default() }
}

fn stats(manager: &WebhookManager) -> WebhookStats {
    manager.stats("hook").unwrap()
}

/// The arrivals that were answered 200.
fn delivered(receiver: &Receiver) -> Vec<support::Arrival> {
    receiver.arrivals().into_iter().filter(|arrival| arrival.status == 200).collect()
}

#[test]
fn what_memory_has_no_room_for_goes_through_the_log_in_order() {
    for workers in [1, 3] {
        let scratch = Scratch::new("persistence");
        let (receiver, well) = sick_receiver();
        let manager = engine(scratch.path(), workers, 60);
        block_on(manager.create("hook", &receiver.url(), patient())).unwrap();
        trigger_all(&manager, 20, 0..50);
        eventually("all is taken in", || stats(&manager).triggered == 1000);
        let before = stats(&manager);
        assert_eq!((before.pending, before.dropped), (1000, 0));
        well.store(true, Ordering::Relaxed);
        trigger_all(&manager, 20, 50..60);
        eventually("all is delivered", || stats(&manager).delivered == 1200);
        assert_in_order(&delivered(&receiver), 20, 60);
        assert_eq!(stats(&manager).pending, 0);
        // It has caught up: nothing lags any more, and goes the short way.
        trigger_all(&manager, 20, 60..61);
        eventually("the last ones are delivered", || stats(&manager).delivered == 1220);
    }
}

/// Without the orderly stop of the threads, as after kill -9: the engine is leaked, and its
/// directory copied.
fn copied(scratch: &Scratch) -> Scratch {
    let copy = Scratch::new("persistence");
    std::fs::create_dir_all(copy.path().join("log")).unwrap();
    for folder in ["", "log"] {
        for entry in std::fs::read_dir(scratch.path().join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), copy.path().join(folder).join(entry.file_name()))
                    .unwrap();
            }
        }
    }
    copy
}

#[test]
fn what_was_accepted_is_delivered_after_a_restart_with_other_workers() {
    let scratch = Scratch::new("persistence");
    let (receiver, well) = sick_receiver();
    let (mut from, lives) = (0, [1, 3, 2]);
    for workers in lives {
        let manager = engine(scratch.path(), workers, 90);
        if from == 0 {
            block_on(manager.create("hook", &receiver.url(), patient())).unwrap();
        }
        block_on(async { manager.driver() }).unwrap();
        trigger_all(&manager, 20, from..from + 20);
        from += 20;
        eventually("all is counted", || stats(&manager).triggered == 20 * from as u64);
        assert_eq!(stats(&manager).pending, 20 * from as u64);
        if workers != lives[2] {
            block_on(manager.shutdown(Duration::ZERO));
            continue;
        }
        well.store(true, Ordering::Relaxed);
        eventually("all is delivered", || stats(&manager).delivered == 20 * from as u64);
        assert_in_order(&delivered(&receiver), 20, from);
        assert_eq!((stats(&manager).pending, stats(&manager).pending_on_disk), (0, 0));
    }
}

#[test]
fn an_event_that_was_accepted_survives_the_sudden_end_of_its_engine() {
    let scratch = Scratch::new("persistence");
    let (receiver, well) = sick_receiver();
    let first = WebhookManager::new(config(scratch.path(), 2, 1000));
    block_on(first.create("hook", &receiver.url(), patient())).unwrap();
    trigger_all(&first, 5, 0..10);
    let copy = copied(&scratch);
    block_on(first.shutdown(Duration::ZERO));
    let before = receiver.arrivals();
    well.store(true, Ordering::Relaxed);
    let second = engine(copy.path(), 1, 1000);
    block_on(async { second.driver() }).unwrap();
    eventually("all is delivered", || stats(&second).delivered == 50);
    let arrivals = delivered(&receiver);
    assert_in_order(&arrivals, 5, 10);
    for arrival in before {
        let twin = arrivals.iter().find(|later| later.json()["id"] == arrival.json()["id"]);
        assert_eq!(twin.unwrap().body, arrival.body, "DEL-3: the same bytes in every life");
    }
    // What comes now has ids of its own.
    trigger(&second, "key:0", "new");
    eventually("it is delivered", || stats(&second).delivered == 51);
    let ids: std::collections::HashSet<_> =
        receiver.arrivals().iter().map(|arrival| arrival.json()["id"].to_string()).collect();
    assert_eq!(ids.len(), 51);
}

#[test]
fn dead_letters_survive_and_can_be_sent_again() {
    let scratch = Scratch::new("persistence");
    let (receiver, well) = sick_receiver();
    let once = WebhookOptions { retries: 0, ..WebhookOptions::default() };
    let first = engine(scratch.path(), 2, 1000);
    block_on(first.create("hook", &receiver.url(), once)).unwrap();
    trigger_all(&first, 3, 0..4);
    eventually("all are dead", || stats(&first).dead_letters == 12);
    let mut letters = first.dead_letters("hook", 100).unwrap();
    block_on(first.shutdown(Duration::ZERO));
    drop(first);
    let second = engine(scratch.path(), 1, 1000);
    block_on(async { second.driver() }).unwrap();
    eventually("all are there again", || stats(&second).dead_letters == 12);
    let mut again = second.dead_letters("hook", 100).unwrap();
    for letters in [&mut letters, &mut again] {
        letters.sort_by(|one, other| one.id.cmp(&other.id));
    }
    assert_eq!(format!("{letters:?}"), format!("{again:?}"));
    assert_eq!((stats(&second).pending, stats(&second).failures), (0, 12));
    well.store(true, Ordering::Relaxed);
    let all = ReplayRequest { per_second: Some(10_000), ..ReplayRequest::new(ReplayOf::Dead) };
    second.replay("hook", &all).unwrap();
    eventually("all are delivered", || stats(&second).delivered == 12);
    block_on(second.shutdown(Duration::ZERO));
    drop(second);
    // What was replayed is over: nothing of it is left.
    let third = engine(scratch.path(), 1, 1000);
    block_on(async { third.driver() }).unwrap();
    assert_eq!(third.engine_stats().log.unwrap().unfinished, 0);
    assert_eq!((stats(&third).dead_letters, stats(&third).pending), (0, 0));
}
