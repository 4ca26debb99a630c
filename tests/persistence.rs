//! The durable log as a part of the engine: what does not fit into memory, and what outlives the
//! process, against real sockets on loopback.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{
    WebhookConfig, WebhookEvent, WebhookManager, WebhookOptions, WebhookStats, WebhookTrigger,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use support::audited::{Audited, audited};
use support::{Answer, Receiver, assert_in_order, block_on, eventually};

/// A directory of its own, removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ferrite-persistence-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

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
        let scratch = Scratch::new();
        let (receiver, well) = sick_receiver();
        let manager = engine(&scratch.0, workers, 60);
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
