//! The engine against real sockets on loopback.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{
    Admission, BreakerState, EventRef, EventValue, Failure, OnFull, RetryBackoff, WebhookConfig,
    WebhookError, WebhookEvent, WebhookOptions, WebhookStatus, WebhookTrigger, WebhookUpdate,
    WhenFull,
};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::audited::{Audited, assert_adds_up, audited};
use support::pipelined::{Habit, Pipelined};
use support::{Answer, Receiver, block_on, eventually};

fn config(workers: usize) -> WebhookConfig {
    let mut config = WebhookConfig::default();
    config.workers.workers = workers;
    // So that scripts/test can run all of these tests on the other driver too.
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    config
}

fn quick_retries() -> WebhookOptions {
    WebhookOptions { retries: 20, retry_delay_ms: Some(2), ..WebhookOptions::default() }
}

fn set(key: &str, value: &str) -> WebhookTrigger {
    WebhookTrigger {
        event: WebhookEvent::Set,
        key: key.to_owned(),
        value: Some(value.as_bytes().to_vec()),
        ..WebhookTrigger::default()
    }
}

#[test]
fn an_event_arrives_as_the_specification_shows_it() {
    let receiver = Receiver::start();
    let manager = audited(config(1));
    block_on(async {
        let options = WebhookOptions {
            pattern: Some("order:*".to_owned()),
            events: vec![WebhookEvent::Set],
            secret: Some("mysecretkey".to_owned()),
            ..WebhookOptions::default()
        };
        manager.create("orders", &receiver.url(), options).await.unwrap();
        manager.trigger(set("order:1", "Alice")).await.unwrap();
        manager.trigger(set("user:1", "not wanted")).await.unwrap();
    });
    let arrival = receiver.wait_for(1).remove(0);
    let json = arrival.json();
    assert_eq!(arrival.head[0], "POST /hook HTTP/1.1");
    assert_eq!((&json["event"], &json["key"]), (&"SET".into(), &"order:1".into()));
    assert_eq!(json["data"]["value"], "Alice");
    assert!(arrival.header("X-Ferrite-Signature").unwrap().starts_with("sha256="));
    eventually("the answer is counted", || manager.stats("orders").unwrap().deliveries == 1);
    assert_eq!(receiver.arrivals().len(), 1);
    let record = &manager.deliveries("orders", 10).unwrap()[0];
    assert_eq!((record.status, record.key.as_slice()), (Some(200), b"order:1".as_slice()));
    assert_eq!(record.id, json["id"]);
    assert_adds_up(&manager);
}

/// The batch of the specification, from the first byte to the last, on a real connection.
#[test]
fn a_batch_arrives_as_the_specification_shows_it() {
    let receiver = Receiver::start();
    let manager = audited(config(1));
    block_on(async {
        let options = WebhookOptions {
            secret: Some("mysecretkey".to_owned()),
            batch: true,
            batch_size: Some(3),
            batch_interval_ms: Some(50),
            ..WebhookOptions::default()
        };
        manager.create("audit", &receiver.url(), options).await.unwrap();
        for (key, value) in [("user:1", "a"), ("user:2", "b"), ("user:1", "c"), ("user:3", "d")] {
            manager.trigger(set(key, value)).await.unwrap();
        }
    });
    let arrivals = receiver.wait_for(2);
    let (first, second) = (arrivals[0].json(), arrivals[1].json());
    let members: Vec<&String> = first.as_object().unwrap().keys().collect();
    assert_eq!(members, ["batch_id", "count", "events", "timestamp"], "sorted here");
    let beginning = format!("{{\"batch_id\":{},\"timestamp\":\"20", first["batch_id"]);
    assert!(arrivals[0].body.starts_with(beginning.as_bytes()));
    assert!(arrivals[0].body.ends_with(b"],\"count\":3}"));
    assert!(first["batch_id"].as_str().unwrap().starts_with("batch_"));
    assert_eq!(arrivals[0].header("X-Ferrite-Id"), first["batch_id"].as_str());
    assert_eq!(arrivals[0].header("webhook-id"), first["batch_id"].as_str());
    assert!(arrivals[0].header("X-Ferrite-Signature").unwrap().starts_with("sha256="));
    let values = |batch: &serde_json::Value| -> Vec<String> {
        let events = batch["events"].as_array().unwrap().iter();
        events.map(|event| event["data"]["value"].as_str().unwrap().to_owned()).collect()
    };
    // The events of a key stand together, in their order.
    assert_eq!(
        (values(&first), values(&second)),
        (vec!["a".into(), "c".into(), "b".into()], vec!["d".into()])
    );
    let ids: std::collections::HashSet<&str> =
        first["events"].as_array().unwrap().iter().map(|e| e["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3, "each element is a full event with an id of its own");
    eventually("the answers are counted", || manager.stats("audit").unwrap().deliveries == 4);
    let record = &manager.deliveries("audit", 10).unwrap()[1];
    assert_eq!(record.batch_id.as_deref(), first["batch_id"].as_str());
    assert_eq!(
        (record.batch_events, record.id.as_str()),
        (3, first["events"][0]["id"].as_str().unwrap())
    );
    assert_adds_up(&manager);
}

/// A drain sends what waits for its batch to fill.
#[test]
fn a_shutdown_does_not_wait_for_batches_to_fill() {
    let receiver = Receiver::start();
    let manager = audited(config(2));
    block_on(async {
        let options = WebhookOptions {
            batch: true,
            batch_interval_ms: Some(3_600_000),
            ..WebhookOptions::default()
        };
        manager.create("audit", &receiver.url(), options).await.unwrap();
        for key in 0..10 {
            manager.trigger(set(&format!("key:{key}"), "v")).await.unwrap();
        }
        let report = manager.shutdown(Duration::from_secs(20)).await;
        assert_eq!(report.pending, 0, "{report:?}");
    });
    let events: usize = receiver
        .arrivals()
        .iter()
        .map(|arrival| arrival.json()["events"].as_array().unwrap().len())
        .sum();
    assert_eq!(events, 10);
}

/// ORD-1, DEL-1, DEL-3: 100 keys, 30 versions each, against a receiver that fails one time in
/// five, resets now and then, and stalls at times.
#[test]
fn order_holds_per_key_against_a_bad_receiver() {
    const KEYS: usize = 100;
    const VERSIONS: usize = 30;
    let receiver = Receiver::scripted(|number, _| match number {
        n if n % 5 == 3 => Answer::Status(500, Duration::ZERO),
        n if n % 97 == 50 => Answer::Close,
        n if n % 61 == 30 => Answer::Status(200, Duration::from_millis(20)),
        _ => Answer::ok(),
    });
    let manager = audited(config(2));
    block_on(async {
        manager.create("all", &receiver.url(), quick_retries()).await.unwrap();
        for version in 0..VERSIONS {
            for key in 0..KEYS {
                manager.trigger(set(&format!("k:{key}"), &version.to_string())).await.unwrap();
            }
        }
    });
    let wanted = (KEYS * VERSIONS) as u64;
    eventually("all is delivered", || manager.stats("all").unwrap().delivered == wanted);
    assert_adds_up(&manager);
    support::assert_in_order(&receiver.arrivals(), KEYS, VERSIONS);
}

#[test]
fn retries_are_used_up_and_the_next_event_of_the_key_goes_on() {
    let receiver =
        Receiver::scripted(|_, arrival| match arrival.json()["data"]["value"].as_str() {
            Some("bad") => Answer::Status(503, Duration::ZERO),
            _ => Answer::ok(),
        });
    let manager = audited(config(1));
    block_on(async {
        let options =
            WebhookOptions { retries: 2, retry_delay_ms: Some(1), ..WebhookOptions::default() };
        manager.create("w", &receiver.url(), options).await.unwrap();
        manager.trigger(set("k", "bad")).await.unwrap();
        manager.trigger(set("k", "good")).await.unwrap();
    });
    eventually("both are finished", || manager.stats("w").unwrap().deliveries == 2);
    let stats = manager.stats("w").unwrap();
    assert_eq!((stats.delivered, stats.failures, stats.attempts), (1, 1, 4));
    let attempts: Vec<_> = receiver.arrivals();
    assert_eq!(attempts.len(), 4);
    assert_eq!(attempts[2].header("X-Ferrite-Attempt"), Some("3"));
    assert_adds_up(&manager);
}

/// DEL-4: a pooled connection that the peer closed is not an attempt.
#[test]
fn a_stale_connection_costs_no_attempt() {
    let receiver = Receiver::scripted(|number, _| match number {
        // The request is read, then the connection is closed without an answer.
        1 => Answer::Close,
        _ => Answer::ok(),
    });
    let manager = audited(config(1));
    block_on(async {
        let options = WebhookOptions { retries: 0, ..WebhookOptions::default() };
        manager.create("w", &receiver.url(), options).await.unwrap();
        manager.trigger(set("k", "1")).await.unwrap();
    });
    eventually("the first is delivered", || manager.stats("w").unwrap().delivered == 1);
    block_on(manager.trigger(set("k", "2"))).unwrap();
    eventually("the second too", || manager.stats("w").unwrap().delivered == 2);
    let stats = manager.stats("w").unwrap();
    assert_eq!((stats.failures, stats.attempts), (0, 2));
    assert_eq!(receiver.connections(), 2);
}

#[test]
fn a_hung_endpoint_times_out_and_moves_nobody_else() {
    let hung = Receiver::scripted(|_, _| Answer::Hang(Duration::from_secs(5)));
    let good = Receiver::start();
    let manager = audited(config(1));
    block_on(async {
        let options =
            WebhookOptions { retries: 0, timeout_ms: Some(100), ..WebhookOptions::default() };
        manager.create("hung", &hung.url(), options.clone()).await.unwrap();
        manager.create("good", &good.url(), options).await.unwrap();
        for index in 0..50 {
            manager.trigger(set(&format!("k{index}"), "v")).await.unwrap();
        }
    });
    eventually("the good one has all", || manager.stats("good").unwrap().delivered == 50);
    eventually("the hung one gives up", || manager.stats("hung").unwrap().failures == 50);
    let record = &manager.deliveries("hung", 1).unwrap()[0];
    assert_eq!((record.failure, record.status), (Some(Failure::Timeout), None));
    assert_adds_up(&manager);
}

#[test]
fn gone_disables_the_webhook_and_keeps_its_queue() {
    let receiver = Receiver::scripted(|number, _| match number {
        0 => Answer::Status(410, Duration::ZERO),
        _ => Answer::ok(),
    });
    let manager = audited(config(1));
    block_on(async {
        manager.create("w", &receiver.url(), quick_retries()).await.unwrap();
        manager.trigger(set("k", "1")).await.unwrap();
    });
    eventually("it is gone", || manager.info("w").unwrap().status == WebhookStatus::Gone);
    block_on(manager.trigger(set("k", "while gone"))).unwrap();
    // The worker has taken in the event before it answers a test.
    block_on(manager.test("w")).unwrap();
    assert_eq!(manager.stats("w").unwrap().pending, 1);
    block_on(manager.enable("w")).unwrap();
    eventually("the kept one is delivered", || manager.stats("w").unwrap().delivered == 1);
    let arrivals = receiver.wait_for(3);
    assert_eq!(arrivals[2].header("X-Ferrite-Attempt"), Some("1"), "410 burns no attempt");
    assert_eq!(arrivals[2].json()["data"]["value"], "1");
    assert_eq!(arrivals.len(), 3, "what came while it was gone passed by");
    assert_adds_up(&manager);
}

/// A webhook that is gone is passed by, also by callers who waited for its full queue.
#[test]
fn gone_lets_those_go_who_wait_for_its_full_queue() {
    let receiver = Receiver::scripted(|_, _| Answer::Status(410, Duration::from_millis(50)));
    let mut config = config(1);
    config.queue.max_pending = 2;
    let manager = audited(config);
    let options = WebhookOptions { concurrency: Some(1), ..WebhookOptions::default() };
    block_on(manager.create("w", &receiver.url(), options)).unwrap();
    for _ in 0..100 {
        block_on(manager.trigger(set("k", "v"))).unwrap();
    }
    eventually("it is gone", || manager.info("w").unwrap().status == WebhookStatus::Gone);
    assert!(manager.stats("w").unwrap().pending >= 2);
    assert_adds_up(&manager);
}

#[test]
fn retry_after_holds_the_endpoint() {
    let receiver = Receiver::scripted(|number, _| match number {
        0 => Answer::Raw(b"HTTP/1.1 429 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n".to_vec()),
        _ => Answer::ok(),
    });
    let manager = audited(config(1));
    block_on(async {
        manager.create("w", &receiver.url(), quick_retries()).await.unwrap();
        manager.trigger(set("a", "1")).await.unwrap();
    });
    receiver.wait_for(1);
    eventually("it is counted", || manager.stats("w").unwrap().failed_attempts == 1);
    block_on(manager.trigger(set("b", "1"))).unwrap();
    let arrivals = receiver.wait_for(3);
    for later in &arrivals[1..] {
        assert!(later.began - arrivals[0].ended >= Duration::from_millis(990), "held for a second");
    }
}

/// `webhook-delivery: disable` stops the webhook as 410 does, `abort-message` and a final status
/// end one delivery, and INFO says what happened and since when.
#[test]
fn an_endpoint_can_abort_and_disable() {
    let raw = |head: &str| Answer::Raw(format!("HTTP/1.1 {head}Content-Length: 0\r\n\r\n").into());
    let receiver = Receiver::scripted(move |number, _| match number {
        0 => raw("500 X\r\nwebhook-delivery: abort-message\r\n"),
        1 => raw("422 X\r\n"),
        2 => raw("500 X\r\nWebhook-Delivery: disable\r\n"),
        _ => Answer::ok(),
    });
    let manager = audited(config(1));
    let options = WebhookOptions { final_statuses: vec![422], ..quick_retries() };
    block_on(async {
        manager.create("w", &receiver.url(), options).await.unwrap();
        for value in ["1", "2", "3"] {
            manager.trigger(set("k", value)).await.unwrap();
        }
    });
    eventually("it is off", || manager.info("w").unwrap().status == WebhookStatus::Refused);
    let info = manager.info("w").unwrap();
    assert!(info.status_since_us >= info.created_at_us && info.status.reason().is_some());
    assert_eq!((info.stats.failures, info.stats.pending), (2, 1));
    assert_eq!(info.final_statuses, [422]);
    block_on(manager.enable("w")).unwrap();
    eventually("the kept one is delivered", || manager.stats("w").unwrap().delivered == 1);
    let attempts: Vec<_> = receiver.wait_for(4);
    assert!(attempts.iter().all(|arrival| arrival.header("X-Ferrite-Attempt") == Some("1")));
    assert_eq!(manager.info("w").unwrap().status.reason(), None);
    assert_adds_up(&manager);
}

/// A pause that an endpoint asks for is for all its webhooks, is capped, and is visible.
#[test]
fn retry_after_is_for_the_endpoint_and_capped() {
    let receiver = Receiver::scripted(|number, _| match number {
        0 => Answer::Raw(
            b"HTTP/1.1 503 X\r\nRetry-After: 86400\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
        _ => Answer::ok(),
    });
    let mut config = config(1);
    config.delivery.max_retry_after_ms = 500;
    let manager = audited(config);
    let only = |key: &str| WebhookOptions { pattern: Some(key.to_owned()), ..quick_retries() };
    block_on(async {
        manager.create("a", &receiver.url(), only("a")).await.unwrap();
        manager.create("b", &receiver.url(), only("b")).await.unwrap();
        manager.trigger(set("a", "1")).await.unwrap();
    });
    eventually("it is held", || manager.info("b").unwrap().retry_after_until_us.is_some());
    block_on(manager.trigger(set("b", "1"))).unwrap();
    let arrivals = receiver.wait_for(3);
    for later in &arrivals[1..] {
        assert!(later.began - arrivals[0].ended >= Duration::from_millis(490), "held, both");
    }
}

/// An endpoint that is down costs no attempts while its breaker is open, and all is delivered when
/// it is back.
#[test]
fn a_breaker_opens_and_closes() {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    let receiver = Receiver::scripted(move |_, _| match is_up.load(Ordering::Relaxed) {
        true => Answer::ok(),
        false => Answer::Status(503, Duration::ZERO),
    });
    let mut config = config(1);
    config.delivery.breaker_failures = 3;
    config.delivery.breaker_open_ms = 50;
    config.delivery.breaker_open_max_ms = 50;
    let manager = audited(config);
    let options = WebhookOptions { retries: 1000, concurrency: Some(1), ..quick_retries() };
    block_on(async {
        manager.create("w", &receiver.url(), options).await.unwrap();
        for key in ["a", "b", "c", "d"] {
            manager.trigger(set(key, "1")).await.unwrap();
        }
    });
    eventually("it opens", || manager.info("w").unwrap().breaker == BreakerState::Open);
    up.store(true, Ordering::Relaxed);
    eventually("all is delivered", || manager.stats("w").unwrap().delivered == 4);
    eventually("it closes", || manager.info("w").unwrap().breaker == BreakerState::Closed);
    assert_adds_up(&manager);
}

/// A rate holds attempts back and loses none.
#[test]
fn a_rate_is_kept() {
    let receiver = Receiver::start();
    let manager = audited(config(1));
    let begin = Instant::now();
    block_on(async {
        let options = WebhookOptions { rate: 20, ..quick_retries() };
        manager.create("w", &receiver.url(), options).await.unwrap();
        for key in ["a", "b", "c", "d", "e"] {
            manager.trigger(set(key, "1")).await.unwrap();
        }
    });
    let arrivals = receiver.wait_for(5);
    // Two at once, and then one every 50 ms.
    let last = arrivals.iter().map(|arrival| arrival.began).max().unwrap();
    assert!(last - begin >= Duration::from_millis(150));
    assert_eq!(manager.info("w").unwrap().rate, 20);
    let update = WebhookUpdate { rate: Some(0), ..WebhookUpdate::default() };
    block_on(manager.update("w", update)).unwrap();
    block_on(manager.trigger(set("f", "1"))).unwrap();
    receiver.wait_for(6);
    let refused = WebhookUpdate { rate: Some(1_000_001), ..WebhookUpdate::default() };
    assert!(block_on(manager.update("w", refused)).is_err());
}

/// `auto_disable_after_ms` stops a webhook that only fails, and keeps its queue.
#[test]
fn a_webhook_that_only_fails_is_disabled() {
    let receiver = Receiver::scripted(|_, _| Answer::Status(400, Duration::ZERO));
    let mut config = config(1);
    config.delivery.auto_disable_after_ms = 30;
    let manager = audited(config);
    block_on(async {
        let options = WebhookOptions { retries: 1000, ..quick_retries() };
        let options = WebhookOptions { retry_backoff: RetryBackoff::Fixed, ..options };
        manager.create("w", &receiver.url(), options).await.unwrap();
        manager.trigger(set("k", "1")).await.unwrap();
    });
    eventually("it is off", || manager.info("w").unwrap().status == WebhookStatus::Failing);
    assert_eq!(manager.stats("w").unwrap().pending, 1);
    assert_adds_up(&manager);
}

#[test]
fn updates_and_deletions_take_effect() {
    let (old, new) =
        (Receiver::scripted(|_, _| Answer::Status(500, Duration::ZERO)), Receiver::start());
    let manager = audited(config(1));
    block_on(async {
        let options = WebhookOptions { retries: 1000, retry_delay_ms: Some(5), ..quick_retries() };
        manager.create("w", &old.url(), options).await.unwrap();
        manager.trigger(set("k", "1")).await.unwrap();
        old.wait_for(2);
        let update = WebhookUpdate { url: Some(new.url()), ..WebhookUpdate::default() };
        manager.update("w", update).await.unwrap();
    });
    new.wait_for(1);
    eventually("delivered", || manager.stats("w").unwrap().delivered == 1);
    block_on(async {
        let update = WebhookUpdate { url: Some(old.url()), ..WebhookUpdate::default() };
        manager.update("w", update).await.unwrap();
        for index in 0..10 {
            manager.trigger(set(&format!("k{index}"), "1")).await.unwrap();
        }
        old.wait_for(10);
        manager.delete("w").await.unwrap();
    });
    assert_eq!(manager.stats("w"), Err(WebhookError::NotFound("w".to_owned())));
    eventually("its deliveries are cancelled", || manager.engine_stats().totals.cancelled == 10);
    assert_eq!(manager.engine_stats().totals.pending, 0);
    assert_adds_up(&manager);
}

#[test]
fn a_full_queue_refuses_and_makes_waiters_wait() {
    let receiver = Receiver::scripted(|_, _| Answer::Status(200, Duration::from_millis(5)));
    let mut config = config(1);
    config.queue.max_pending = 4;
    let manager = audited(config);
    let options = WebhookOptions { concurrency: Some(1), ..WebhookOptions::default() };
    block_on(manager.create("w", &receiver.url(), options)).unwrap();
    let event = EventRef { key: b"k", value: EventValue::Bytes(b"v"), ..EventRef::default() };
    let mut accepted = 0;
    eventually("the queue fills", || {
        manager.offer(&event, WhenFull::Refuse) == Ok(Admission::Full)
    });
    let refused = manager.try_trigger(set("k", "given back")).unwrap_err();
    let ferrite::webhooks::TryTriggerError::QueueFull(full) = refused else { panic!("{refused}") };
    assert_eq!(full.0.value, Some(b"given back".to_vec()));
    // A host that may not wait has the delivery dropped, and counted.
    assert_eq!(manager.offer(&event, WhenFull::Drop), Ok(Admission::Accepted));
    for _ in 0..50 {
        block_on(manager.trigger(set("k", "waits"))).unwrap();
        accepted += 1;
    }
    eventually("all is finished", || manager.stats("w").unwrap().pending == 0);
    let stats = manager.stats("w").unwrap();
    assert!(stats.delivered >= accepted && stats.dropped <= 1, "{stats:?}");
    assert_adds_up(&manager);
}

/// OVR-2: what each `ON_FULL` does while an endpoint hangs, and when it has healed.
#[test]
fn a_full_queue_does_what_its_webhook_says() {
    let healthy = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let heals = healthy.clone();
    let receiver =
        Receiver::scripted(move |_, _| match heals.load(std::sync::atomic::Ordering::Relaxed) {
            true => Answer::ok(),
            false => Answer::Close,
        });
    let mut config = config(1);
    config.queue.max_pending = 4;
    let manager = audited(config);
    let options = |on_full| WebhookOptions {
        pattern: Some(format!("{on_full:?}:*")),
        on_full,
        concurrency: Some(1),
        retries: 1000,
        retry_delay_ms: Some(5),
        retry_backoff: ferrite::webhooks::RetryBackoff::Fixed,
        ..WebhookOptions::default()
    };
    block_on(manager.create("drops", &receiver.url(), options(OnFull::DropOldest))).unwrap();
    block_on(manager.create("waits", &receiver.url(), options(OnFull::Wait))).unwrap();
    for index in 0..20 {
        block_on(manager.trigger(set(&format!("DropOldest:{index}"), "v"))).unwrap();
    }
    eventually("the oldest are dropped", || manager.stats("drops").unwrap().dropped >= 10);
    let event = EventRef { key: b"Wait:0", ..EventRef::default() };
    eventually("the other fills", || manager.offer(&event, WhenFull::Drop) == Ok(Admission::Full));
    // A host that has waited long enough gets rid of it all the same.
    assert_eq!(manager.offer(&event, WhenFull::DropNow), Ok(Admission::Accepted));
    let waiter = manager.clone();
    let waiting = std::thread::spawn(move || block_on(waiter.trigger(set("Wait:last", "v"))));
    healthy.store(true, std::sync::atomic::Ordering::Relaxed);
    waiting.join().unwrap().unwrap();
    eventually("all is over", || manager.engine_stats().totals.pending == 0);
    let (drops, waits) = (manager.stats("drops").unwrap(), manager.stats("waits").unwrap());
    assert_eq!((drops.triggered, drops.delivered + drops.dropped), (20, 20), "{drops:?}");
    assert_eq!((waits.dropped, waits.failures), (1, 0), "{waits:?}");
    let last = receiver.arrivals().iter().any(|arrival| arrival.json()["key"] == "DropOldest:19");
    assert!(last, "the newest is delivered");
    assert_adds_up(&manager);
}

/// `COALESCE latest` and a receiver that is slow: it sees the last value of each key.
#[test]
fn the_last_value_of_each_key_arrives() {
    let receiver = Receiver::scripted(|_, _| Answer::Status(200, Duration::from_millis(20)));
    let manager = audited(config(2));
    let options = WebhookOptions { coalesce: true, ..WebhookOptions::default() };
    block_on(manager.create("cache", &receiver.url(), options)).unwrap();
    for version in 0..300 {
        block_on(manager.trigger(set(&format!("k{}", version % 3), &version.to_string()))).unwrap();
    }
    eventually("all is over", || {
        let stats = manager.stats("cache").unwrap();
        stats.delivered + stats.coalesced == 300
    });
    let stats = manager.stats("cache").unwrap();
    assert!(stats.coalesced > 200, "{stats:?}");
    let mut last: HashMap<String, String> = HashMap::new();
    for json in receiver.arrivals().iter().map(|arrival| arrival.json()) {
        last.insert(json["key"].to_string(), json["data"]["value"].as_str().unwrap().to_owned());
    }
    let mut values: Vec<&String> = last.values().collect();
    values.sort();
    assert_eq!(values, ["297", "298", "299"]);
    assert_adds_up(&manager);
}

/// A worker breaks down; what was accepted is delivered all the same.
#[test]
fn a_breakdown_loses_nothing() {
    let receiver = Receiver::scripted(|_, _| Answer::Status(200, Duration::from_millis(3)));
    let manager = audited(config(2));
    let options = WebhookOptions { concurrency: Some(8), ..quick_retries() };
    block_on(manager.create("w", &receiver.url(), options)).unwrap();
    for index in 0..400 {
        block_on(manager.trigger(set(&format!("k{}", index % 20), &index.to_string()))).unwrap();
        if index % 100 == 50 {
            manager.break_worker(index / 100 % 2).unwrap();
        }
    }
    eventually("all is delivered", || manager.stats("w").unwrap().delivered == 400);
    assert_eq!(manager.engine_stats().worker_restarts, 4);
    assert_adds_up(&manager);
    let mut values: HashMap<String, Vec<u32>> = HashMap::new();
    for json in receiver.arrivals().iter().map(|arrival| arrival.json()) {
        let value = json["data"]["value"].as_str().unwrap().parse().unwrap();
        values.entry(json["key"].to_string()).or_default().push(value);
    }
    for (key, mut values) in values {
        // What was under way at a breakdown may have arrived twice.
        values.dedup();
        assert!(values.is_sorted() && values.len() == 20, "{key}: {values:?}");
    }
}

/// A breakdown while a shutdown drains: the drain goes on in the next life.
#[test]
fn a_breakdown_does_not_stop_a_shutdown() {
    let receiver = Receiver::scripted(|_, _| Answer::Status(200, Duration::from_millis(5)));
    let manager = audited(config(1));
    let options = WebhookOptions { concurrency: Some(4), ..quick_retries() };
    block_on(manager.create("w", &receiver.url(), options)).unwrap();
    for index in 0..100 {
        block_on(manager.trigger(set(&format!("k{index}"), "v"))).unwrap();
    }
    let breaker = manager.clone();
    let broken = std::thread::spawn(move || {
        receiver.wait_for(10);
        // Refused once the shutdown has begun, which is when it is needed: so before.
        (breaker.break_worker(0), receiver)
    });
    let test = manager.test("w");
    let (result, receiver) = broken.join().unwrap();
    result.unwrap();
    let report = block_on(manager.shutdown(Duration::from_secs(20)));
    assert_eq!(report.pending, 0);
    assert_eq!(manager.stats("w").unwrap().delivered, 100);
    assert!(receiver.arrivals().len() >= 100);
    // Whatever became of the test delivery, whoever waits for it is told.
    assert!(block_on(test).is_ok());
}

/// An endpoint that answers before it has read the request, and never reads on.
#[test]
fn an_early_answer_is_read_although_the_request_is_not() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().flatten() {
            let mut first = [0; 1];
            std::io::Read::read_exact(&mut stream, &mut first).unwrap();
            let answer = b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large";
            std::io::Write::write_all(&mut stream, answer).unwrap();
            kept.push(stream);
        }
    });
    let manager = audited(config(1));
    let options = WebhookOptions { retries: 0, ..WebhookOptions::default() };
    block_on(manager.create("w", &url, options)).unwrap();
    block_on(manager.trigger(set("k", &"x".repeat(8 << 20)))).unwrap();
    eventually("it is given up", || manager.stats("w").unwrap().failures == 1);
    let record = &manager.deliveries("w", 1).unwrap()[0];
    assert_eq!((record.status, record.response.as_str()), (Some(413), "too large"));
}

#[test]
fn shutdown_drains_and_then_refuses() {
    let receiver = Receiver::scripted(|_, _| Answer::Status(200, Duration::from_millis(2)));
    let manager = audited(config(2));
    block_on(manager.create("w", &receiver.url(), quick_retries())).unwrap();
    for index in 0..200 {
        block_on(manager.trigger(set(&format!("k{index}"), "v"))).unwrap();
    }
    let report = block_on(manager.shutdown(Duration::from_secs(20)));
    assert_eq!(report.pending, 0);
    assert_eq!(receiver.arrivals().len(), 200);
    assert_eq!(block_on(manager.trigger(set("k", "v"))), Err(WebhookError::ShutDown));
}

#[test]
fn shutdown_says_what_is_left_at_its_deadline() {
    let receiver = Receiver::scripted(|_, _| Answer::Hang(Duration::from_secs(3)));
    let manager = audited(config(1));
    block_on(manager.create("w", &receiver.url(), quick_retries())).unwrap();
    for index in 0..5 {
        block_on(manager.trigger(set(&format!("k{index}"), "v"))).unwrap();
    }
    let report = block_on(manager.shutdown(Duration::from_millis(50)));
    assert_eq!(report.pending, 5);
}

#[test]
fn tests_report_what_they_meet() {
    let receiver = Receiver::scripted(|number, _| match number {
        0 => Answer::ok(),
        _ => Answer::Raw(b"HTTP/1.1 404 X\r\nContent-Length: 7\r\n\r\nno hook".to_vec()),
    });
    let manager = audited(config(1));
    block_on(async {
        manager.create("w", &receiver.url(), WebhookOptions::default()).await.unwrap();
        let good = manager.test("w").await.unwrap();
        assert_eq!((good.status, good.failure), (Some(200), None));
        let bad = manager.test("w").await.unwrap();
        assert_eq!((bad.failure, bad.response.as_str()), (Some(Failure::Status(404)), "no hook"));
        manager.create("nobody", "http://127.0.0.1:1/", WebhookOptions::default()).await.unwrap();
        let refused = manager.test("nobody").await.unwrap();
        assert_eq!(refused.failure, Some(Failure::ConnectRefused));
        manager
            .create("x", "http://no-such-host.invalid/", WebhookOptions::default())
            .await
            .unwrap();
        assert_eq!(manager.test("x").await.unwrap().failure, Some(Failure::Resolve));
        assert!(manager.test("y").await.is_err());
    });
    assert_eq!(receiver.arrivals()[0].json()["event"], "TEST");
}

#[test]
fn it_works_on_epoll_too() {
    let receiver = Receiver::start();
    let mut config = config(1);
    config.workers.force_epoll = true;
    let manager = audited(config);
    assert!(manager.driver().unwrap().starts_with("epoll"));
    block_on(manager.create("w", &receiver.url(), quick_retries())).unwrap();
    for index in 0..100 {
        block_on(manager.trigger(set(&format!("k{index}"), "v"))).unwrap();
    }
    eventually("all is delivered", || manager.stats("w").unwrap().delivered == 100);
}

/// A receiver that answers so many requests together, and a webhook with one connection to it that
/// has delivered its first event: it may carry as many from now on.
fn pipelined(at_once: usize) -> (Pipelined, Audited) {
    let habit = Habit { together: at_once, per_connection: usize::MAX };
    let receiver = Pipelined::start(habit, |stream| stream);
    let manager = audited(config(1));
    let url = format!("http://127.0.0.1:{}/hook", receiver.port);
    let options = WebhookOptions {
        pipeline: Some(at_once as u32),
        concurrency: Some(at_once as u32),
        ..WebhookOptions::default()
    };
    block_on(manager.create("w", &url, options)).unwrap();
    block_on(manager.trigger(set("first", "0"))).unwrap();
    eventually("the first is delivered", || manager.stats("w").unwrap().delivered == 1);
    (receiver, manager)
}

/// `PIPELINE`: a connection carries so many requests at once. The receiver answers none before it
/// has read them all, so they cannot have gone out one after the other.
#[test]
fn a_connection_carries_many_requests_at_once() {
    const AT_ONCE: usize = 16;
    const VERSIONS: usize = 20;
    let (receiver, manager) = pipelined(AT_ONCE);
    for version in 0..VERSIONS {
        for key in 0..AT_ONCE {
            block_on(manager.trigger(set(&format!("k{key}"), &version.to_string()))).unwrap();
        }
    }
    let wanted = (AT_ONCE * VERSIONS + 1) as u64;
    eventually("all is delivered", || manager.stats("w").unwrap().delivered == wanted);
    assert_eq!(manager.stats("w").unwrap().attempts, wanted);
    assert_eq!(receiver.connections(), 1);
    support::assert_in_order(&receiver.arrivals()[1..], AT_ONCE, VERSIONS);
    assert_adds_up(&manager);
}

/// Requests larger than one write, behind each other.
#[test]
fn large_requests_stand_behind_each_other() {
    const AT_ONCE: usize = 32;
    let (receiver, manager) = pipelined(AT_ONCE);
    let large = "x".repeat(50_000);
    for key in 0..AT_ONCE {
        block_on(manager.trigger(set(&format!("k{key}"), &large))).unwrap();
    }
    let wanted = AT_ONCE as u64 + 1;
    eventually("all is delivered", || manager.stats("w").unwrap().delivered == wanted);
    let arrivals = receiver.arrivals();
    assert!(arrivals[1..].iter().all(|arrival| arrival.json()["data"]["value"] == large.as_str()));
    assert_eq!(receiver.connections(), 1);
}

/// A receiver that ends each connection after a few answers: what it has not answered is sent
/// again, uncounted and in order, and nothing that it has.
#[test]
fn what_a_broken_connection_leaves_unanswered_is_sent_again() {
    const KEYS: usize = 40;
    const VERSIONS: usize = 20;
    let receiver = Pipelined::start(Habit { together: 1, per_connection: 5 }, |stream| stream);
    let manager = audited(config(2));
    let url = format!("http://127.0.0.1:{}/hook", receiver.port);
    // No retry: one counted failure would lose an event.
    let options = WebhookOptions {
        pipeline: Some(16),
        concurrency: Some(64),
        retries: 0,
        ..WebhookOptions::default()
    };
    block_on(manager.create("w", &url, options)).unwrap();
    for version in 0..VERSIONS {
        for key in 0..KEYS {
            block_on(manager.trigger(set(&format!("k{key}"), &version.to_string()))).unwrap();
        }
    }
    let wanted = (KEYS * VERSIONS) as u64;
    eventually("all is finished", || manager.stats("w").unwrap().deliveries == wanted);
    let stats = manager.stats("w").unwrap();
    assert_eq!((stats.delivered, stats.attempts, stats.failures), (wanted, wanted, 0));
    let arrivals = receiver.arrivals();
    assert!(receiver.connections() >= KEYS * VERSIONS / 5);
    assert!(arrivals.len() > KEYS * VERSIONS, "some were read and not answered");
    receiver.assert_in_order(KEYS, VERSIONS);
    assert_adds_up(&manager);
}
