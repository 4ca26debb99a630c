//! What a manager was told, another one knows.

use super::{Place, config, create, now, numbers, open, set, told};
use crate::support::audited::audited;
use crate::support::{Answer, Arrival, Receiver, eventually};
use ferrite::webhooks::{
    Format, OnFull, RetryBackoff, Signatures, WebhookAuth, WebhookError, WebhookEvent,
    WebhookManager, WebhookOptions, WebhookStatus, WebhookUpdate, WhileDisabled,
};
use ring::hmac;
use std::time::Duration;

/// One of everything.
fn many_options() -> WebhookOptions {
    WebhookOptions {
        pattern: Some("order:[0-9]*".to_owned()),
        events: vec![WebhookEvent::Set, WebhookEvent::XAdd],
        auth: Some(WebhookAuth::Basic { user: "u".to_owned(), password: "p".to_owned() }),
        headers: vec![("X-Team".to_owned(), "blue".to_owned())],
        secret: Some("whsec_c2VjcmV0".to_owned()),
        signatures: Signatures::BOTH.and(Signatures::RFC9421),
        retries: 7,
        retry_delay_ms: Some(11),
        retry_backoff: RetryBackoff::Linear,
        timeout_ms: Some(1234),
        concurrency: Some(5),
        pipeline: Some(2),
        batch: true,
        batch_size: Some(9),
        batch_interval_ms: Some(77),
        on_full: OnFull::DropOldest,
        coalesce: true,
        format: Format::CloudEventsStructured,
        final_statuses: vec![422],
        rate: 1000,
        adaptive: true,
        while_disabled: WhileDisabled::Keep,
        ..WebhookOptions::default()
    }
}

#[test]
fn everything_a_webhook_was_told_is_there_after_a_restart() {
    let place = Place::new("all");
    let manager = open(&place.data());
    create(&manager, "all", many_options());
    create(&manager, "plain", WebhookOptions::default());
    create(&manager, "changed", WebhookOptions::default());
    create(&manager, "deleted", WebhookOptions::default());
    create(&manager, "off", WebhookOptions::default());
    let secret = |text: &str| WebhookUpdate {
        secret: Some(Some(text.to_owned())),
        secret_grace_seconds: Some(1000),
        rate: Some(3),
        ..WebhookUpdate::default()
    };
    now(manager.update("changed", secret("one"))).unwrap();
    now(manager.update("changed", secret("two"))).unwrap();
    now(manager.disable("off")).unwrap();
    now(manager.delete("deleted")).unwrap();
    let before = told(&manager);
    assert_eq!(before.len(), 4);
    // Dropped, not shut down.
    drop(manager);
    let manager = open(&place.data());
    assert_eq!(told(&manager), before);
    let changed = manager.info("changed").unwrap();
    assert_eq!((changed.old_secrets, changed.rate), (1, 3));
    let off = manager.info("off").unwrap();
    assert_eq!((off.status, off.status_reason()), (WebhookStatus::Disabled, Some("command")));
    now(manager.enable("off")).unwrap();
    let before = told(&manager);
    drop(manager);
    assert_eq!(told(&open(&place.data())), before);
}

#[test]
fn a_number_is_never_given_again() {
    let place = Place::new("numbers");
    let manager = open(&place.data());
    for name in ["a", "b", "c"] {
        create(&manager, name, WebhookOptions::default());
    }
    now(manager.delete("c")).unwrap();
    drop(manager);
    assert_eq!(numbers(&place.data()), (vec![1, 2], 3));
    let manager = open(&place.data());
    now(manager.delete("b")).unwrap();
    create(&manager, "b", WebhookOptions::default());
    create(&manager, "d", WebhookOptions::default());
    drop(manager);
    assert_eq!(numbers(&place.data()), (vec![1, 4, 5], 5));
    let manager = open(&place.data());
    for name in ["a", "b", "d"] {
        now(manager.delete(name)).unwrap();
    }
    drop(manager);
    assert_eq!(numbers(&place.data()), (vec![], 5));
    let manager = open(&place.data());
    create(&manager, "e", WebhookOptions::default());
    drop(manager);
    assert_eq!(numbers(&place.data()), (vec![6], 6));
}

fn is_signed_with(arrival: &Arrival, secret: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let tag = hmac::sign(&key, &arrival.body);
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    arrival.header("X-Ferrite-Signature").is_some_and(|value| value.contains(&hex))
}

#[test]
fn secrets_sign_after_a_restart_old_ones_too() {
    let place = Place::new("secrets");
    let receiver = Receiver::start();
    let manager = open(&place.data());
    let options = WebhookOptions { secret: Some("old".to_owned()), ..WebhookOptions::default() };
    now(manager.create("w", &receiver.url(), options)).unwrap();
    let update = WebhookUpdate {
        secret: Some(Some("new".to_owned())),
        secret_grace_seconds: Some(1000),
        auth: Some(Some(WebhookAuth::Bearer("token".to_owned()))),
        ..WebhookUpdate::default()
    };
    now(manager.update("w", update)).unwrap();
    drop(manager);
    let manager = open(&place.data());
    // Matching works from the first call.
    set(&manager, "k").unwrap();
    let arrivals = receiver.wait_until(|arrivals| arrivals.len() == 1);
    assert_eq!(arrivals[0].header("Authorization"), Some("Bearer token"));
    // One header has one secret: the oldest whose grace lasts.
    assert!(is_signed_with(&arrivals[0], "old"), "{:?}", arrivals[0].head);
    let standard = arrivals[0].header("webhook-signature").unwrap();
    assert_eq!(standard.split(' ').count(), 2, "both secrets: {standard}");
}

fn deliver(manager: &WebhookManager, receiver: &Receiver, keys: std::ops::Range<usize>) {
    let before = receiver.arrivals().len();
    for key in keys.clone() {
        set(manager, &format!("k{key}")).unwrap();
    }
    receiver.wait_until(|arrivals| arrivals.len() >= before + keys.len());
    eventually("all is settled", || manager.engine_stats().totals.pending == 0);
}

#[test]
fn counters_go_on_and_add_up() {
    let place = Place::new("counters");
    let receiver = Receiver::scripted(|_, arrival| {
        let is_bad = arrival.json()["key"] == "k0";
        Answer::Status(if is_bad { 422 } else { 200 }, Duration::ZERO)
    });
    let options = || WebhookOptions { final_statuses: vec![422], ..WebhookOptions::default() };
    let manager = open(&place.data());
    now(manager.create("w", &receiver.url(), options())).unwrap();
    deliver(&manager, &receiver, 0..10);
    let before = manager.stats("w").unwrap();
    assert_eq!((before.triggered, before.delivered, before.failures), (10, 9, 1));
    // One stops in order, the next is dropped.
    now(manager.shutdown(Duration::from_secs(10)));
    drop(manager);
    for start in 1..3 {
        let manager = open(&place.data());
        let stats = manager.stats("w").unwrap();
        let done = 9 + 5 * (start - 1);
        assert_eq!((stats.delivered, stats.failures, stats.pending), (done, 1, 0));
        assert_eq!(stats.triggered, done + 1);
        assert!(stats.last_delivery_us.is_some() && stats.latency_us_avg > 0);
        let totals = manager.engine_stats().totals;
        assert_eq!((totals.triggered, totals.delivered), (stats.triggered, done));
        deliver(&manager, &receiver, 1..6);
        assert_eq!(manager.stats("w").unwrap().delivered, done + 5);
        assert_eq!(manager.engine_stats().totals.delivered, done + 5);
        // What was counted stays in the totals when the webhook is deleted.
        if start == 2 {
            now(manager.delete("w")).unwrap();
            assert_eq!(manager.engine_stats().totals.delivered, done + 5);
        }
    }
}

#[test]
fn what_an_endpoint_decided_is_there_after_a_restart() {
    let place = Place::new("gone");
    let receiver = Receiver::scripted(|_, _| Answer::Status(410, Duration::ZERO));
    let manager = open(&place.data());
    let options = WebhookOptions { retries: 0, ..WebhookOptions::default() };
    now(manager.create("w", &receiver.url(), options)).unwrap();
    set(&manager, "k").unwrap();
    eventually("it is gone", || manager.info("w").unwrap().status == WebhookStatus::Gone);
    let since = manager.info("w").unwrap().status_since_us;
    drop(manager);
    let manager = open(&place.data());
    let info = manager.info("w").unwrap();
    assert_eq!((info.status, info.status_since_us), (WebhookStatus::Gone, since));
    // And it is saved while the engine runs: a copy of the file, as a crash would leave it.
    now(manager.enable("w")).unwrap();
    eventually("it is gone again", || {
        set(&manager, "k").unwrap();
        manager.info("w").unwrap().status == WebhookStatus::Gone
    });
    let copy = Place::new("gone-copy");
    eventually("that is saved", || {
        let _ = std::fs::create_dir_all(copy.data());
        std::fs::copy(place.file(), copy.file()).unwrap();
        let opened = ferrite::definitions::Store::open(&copy.data(), None);
        let Ok((_store, restored)) = opened else { return false };
        restored.webhooks[0].ledger.status == WebhookStatus::Gone
    });
}

#[test]
fn without_persistence_nothing_is_kept() {
    let place = Place::new("none");
    let mut config = config(&place.data());
    config.queue.persistence = false;
    let manager = audited(config);
    create(&manager, "w", WebhookOptions::default());
    drop(manager);
    assert!(!place.data().exists());
    assert_eq!(now(open(&place.data()).delete("w")), Err(WebhookError::NotFound("w".to_owned())));
}
