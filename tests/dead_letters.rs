//! What an operator sees and does, against real sockets on loopback: the delivery log, dead
//! letters and their replay, events that wait while a webhook is disabled, the stages of a test.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{
    DeliveryFilter, DeliveryOutcome, Failure, ReplayOf, ReplayRequest, TestStages, TryTriggerError,
    WebhookConfig, WebhookError, WebhookEvent, WebhookManager, WebhookOptions, WebhookStats,
    WebhookTrigger, WhileDisabled,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::audited::{Audited, audited};
use support::{Answer, Receiver, block_on, eventually};

fn manager(workers: usize) -> Audited {
    let mut config = WebhookConfig::default();
    config.workers.workers = workers;
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    audited(config)
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

/// Nothing that was given up is unaccounted for.
fn assert_dead_add_up(manager: &WebhookManager) {
    let all = manager.list().into_iter().map(|info| info.stats);
    for stats in all.chain([manager.engine_stats().totals]) {
        let dead = stats.dead_letters + stats.dead_forgotten + stats.dead_cleared;
        assert_eq!(stats.failures, stats.replayed + dead, "{stats:?}");
    }
}

/// A receiver that answers 500 with a body until it is told that it is well.
fn sick_receiver() -> (Receiver, Arc<AtomicBool>) {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = well.clone();
    let receiver = Receiver::scripted(move |_, _| match is_well.load(Ordering::Relaxed) {
        true => Answer::ok(),
        false => Answer::Raw(b"HTTP/1.1 500 X\r\nContent-Length: 5\r\n\r\nsick!".to_vec()),
    });
    (receiver, well)
}

fn once() -> WebhookOptions {
    WebhookOptions { retries: 0, ..WebhookOptions::default() }
}

fn stats(manager: &WebhookManager) -> WebhookStats {
    manager.stats("w").unwrap()
}

/// A webhook with `count` dead letters, `key:0` first.
fn with_dead(workers: usize, count: u64) -> (Audited, Receiver) {
    let (receiver, well) = sick_receiver();
    let manager = manager(workers);
    block_on(manager.create("w", &receiver.url(), once())).unwrap();
    for index in 0..count {
        trigger(&manager, &format!("key:{index}"), "v");
        eventually("it dies", || stats(&manager).failures == index + 1);
    }
    well.store(true, Ordering::Relaxed);
    (manager, receiver)
}

#[test]
fn dead_letters_are_listed_and_sent_again_with_their_bytes() {
    let (manager, receiver) = with_dead(2, 3);
    let dead = manager.dead_letters("w", 10).unwrap();
    let keys: Vec<_> = dead.iter().map(|letter| letter.key.as_slice()).collect();
    assert_eq!(keys, [b"key:2", b"key:1", b"key:0"], "newest first");
    let newest = &dead[0];
    assert_eq!((newest.attempts, newest.status), (1, Some(500)));
    assert_eq!(
        (newest.failure, newest.reason.name()),
        (Some(Failure::Status(500)), "retries used up")
    );
    assert_eq!(manager.dead_letters("w", 1).unwrap().len(), 1);

    let first = receiver.wait_for(3);
    assert_eq!(newest.body_bytes, first[2].body.len());
    assert_eq!(manager.dead_letter_body("w", &newest.id), Ok(first[2].body.clone()));
    let by_id = ReplayRequest::new(ReplayOf::Id(newest.id.clone()));
    assert_eq!(manager.replay("w", &by_id), Ok(1));
    let again = receiver.wait_for(4).remove(3);
    assert_eq!(again.body, first[2].body);
    assert_eq!(again.header("x-ferrite-id"), first[2].header("x-ferrite-id"));
    assert_eq!(again.header("x-ferrite-attempt"), Some("1"));

    let rest = ReplayRequest { per_second: Some(1000), ..ReplayRequest::new(ReplayOf::Dead) };
    assert_eq!(manager.replay("w", &rest), Ok(2));
    eventually("all is delivered", || stats(&manager).delivered == 3);
    assert_eq!((stats(&manager).replayed, stats(&manager).dead_letters), (3, 0));
    assert_eq!(manager.replay("w", &rest), Ok(0), "nothing is left");
    assert_dead_add_up(&manager);
}

#[test]
fn a_replay_chooses_by_time_and_pattern() {
    let (manager, receiver) = with_dead(1, 12);
    let dead = manager.dead_letters("w", 12).unwrap();
    // From the third to the last but one, of those that begin with key:1: key:10 alone.
    let (since_us, until_us) = (dead[9].at_us, dead[1].at_us);
    let request = ReplayRequest {
        pattern: Some("key:1*".to_owned()),
        ..ReplayRequest::new(ReplayOf::Between { since_us, until_us })
    };
    assert_eq!(manager.replay("w", &request), Ok(1));
    assert_eq!(receiver.wait_for(13)[12].json()["key"], "key:10");
    eventually("it is delivered", || stats(&manager).delivered == 1);
    assert_eq!(manager.clear_dead_letters("w"), Ok(11));
    assert_eq!(
        (stats(&manager).dead_cleared, manager.dead_letters("w", 9).unwrap().len()),
        (11, 0)
    );
    assert_dead_add_up(&manager);
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let (manager, _receiver) = with_dead(1, 1);
    let id = manager.dead_letters("w", 1).unwrap()[0].id.clone();
    trigger(&manager, "well", "v");
    eventually("it is delivered", || stats(&manager).delivered == 1);
    let delivered = manager.deliveries("w", 1).unwrap()[0].id.clone();
    let ask = |what: ReplayOf| manager.replay("w", &ReplayRequest::new(what)).unwrap_err();
    assert_eq!(
        ask(ReplayOf::Id(delivered.clone())).to_string(),
        format!(
            "event {delivered} is not kept: without the durable log only dead letters can be sent \
             again, delivered events are not kept"
        )
    );
    let never = ReplayOf::Between { since_us: 0, until_us: 1 };
    assert!(matches!(ask(never), WebhookError::NotKept(_)));
    assert!(matches!(ask(ReplayOf::Id("evt_1".to_owned())), WebhookError::Invalid(_)));
    let backwards = ReplayOf::Between { since_us: 2, until_us: 1 };
    assert!(matches!(ask(backwards), WebhookError::Invalid(_)));
    for per_second in [0, 100_001] {
        let request =
            ReplayRequest { per_second: Some(per_second), ..ReplayRequest::new(ReplayOf::Dead) };
        assert!(matches!(manager.replay("w", &request), Err(WebhookError::Invalid(_))));
    }
    block_on(manager.disable("w")).unwrap();
    assert_eq!(ask(ReplayOf::Id(id.clone())), WebhookError::Disabled("w".to_owned()));
    assert_eq!(manager.dead_letters("w", 9).unwrap().len(), 1, "it is still there");
    block_on(manager.enable("w")).unwrap();
    assert_eq!(manager.replay("w", &ReplayRequest::new(ReplayOf::Id(id))), Ok(1));
    eventually("it is delivered", || stats(&manager).delivered == 2);
    assert_dead_add_up(&manager);
}

#[test]
fn dead_letters_have_a_bound() {
    let (receiver, _) = sick_receiver();
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.queue.max_dead = 3;
    let manager = audited(config);
    block_on(manager.create("w", &receiver.url(), once())).unwrap();
    (0..5).for_each(|index| trigger(&manager, &format!("key:{index}"), "v"));
    eventually("all die", || stats(&manager).failures == 5);
    let stats = stats(&manager);
    assert_eq!((stats.dead_letters, stats.dead_forgotten), (3, 2));
    assert_dead_add_up(&manager);
}

#[test]
fn the_delivery_log_is_filtered() {
    let (manager, _receiver) = with_dead(2, 3);
    (0..4).for_each(|index| trigger(&manager, &format!("well:{index}"), "v"));
    eventually("they are delivered", || stats(&manager).delivered == 4);
    let show = |filter: DeliveryFilter| manager.deliveries_matching("w", &filter).unwrap();
    let all = show(DeliveryFilter::default());
    assert_eq!(all.len(), 7);
    let dead =
        show(DeliveryFilter { outcome: Some(DeliveryOutcome::Dead), ..DeliveryFilter::default() });
    assert_eq!(dead.len(), 3);
    assert!(dead.iter().all(|record| record.status == Some(500) && record.response == "sick!"));
    let newest_ok = DeliveryFilter {
        count: 2,
        outcome: Some(DeliveryOutcome::Ok),
        ..DeliveryFilter::default()
    };
    assert_eq!(show(newest_ok), all[..2]);
    let since_us = Some(dead[0].at_us);
    let since = show(DeliveryFilter { since_us, ..DeliveryFilter::default() });
    assert_eq!(since, all[..5], "the last dead one and all that came later");
}

#[test]
fn a_disabled_webhook_keeps_its_events_if_it_is_told_to() {
    let receiver = Receiver::start();
    let manager = manager(2);
    let options =
        WebhookOptions { while_disabled: WhileDisabled::Keep, ..WebhookOptions::default() };
    block_on(manager.create("w", &receiver.url(), options)).unwrap();
    block_on(manager.disable("w")).unwrap();
    (0..10).for_each(|index| trigger(&manager, &format!("k{}", index % 2), &index.to_string()));
    eventually("they wait", || stats(&manager).pending == 10);
    assert_eq!((stats(&manager).triggered, receiver.arrivals().len()), (10, 0));
    block_on(manager.enable("w")).unwrap();
    let arrivals = receiver.wait_for(10);
    for key in ["k0", "k1"] {
        let values = arrivals.iter().map(support::Arrival::json).filter(|json| json["key"] == key);
        let values: Vec<String> = values.map(|json| json["data"]["value"].to_string()).collect();
        assert!(values.is_sorted() && values.len() == 5, "in order: {values:?}");
    }
    eventually("they are counted", || stats(&manager).delivered == 10);
    assert_dead_add_up(&manager);
}

/// `max_pending` bounds what a disabled webhook keeps, and callers learn of it as always.
#[test]
fn what_a_disabled_webhook_keeps_is_bounded() {
    let receiver = Receiver::start();
    let mut config = WebhookConfig::default();
    (config.workers.workers, config.queue.max_pending) = (1, 2);
    let manager = audited(config);
    let options =
        WebhookOptions { while_disabled: WhileDisabled::Keep, ..WebhookOptions::default() };
    block_on(manager.create("w", &receiver.url(), options)).unwrap();
    block_on(manager.disable("w")).unwrap();
    (0..2).for_each(|index| trigger(&manager, "k", &index.to_string()));
    eventually("it is full", || stats(&manager).pending == 2);
    let third = WebhookTrigger { key: "k".to_owned(), ..WebhookTrigger::default() };
    assert!(matches!(manager.try_trigger(third.clone()), Err(TryTriggerError::QueueFull(_))));
    block_on(manager.enable("w")).unwrap();
    eventually("they go out", || stats(&manager).delivered == 2);
    eventually("there is room again", || manager.try_trigger(third.clone()).is_ok());
    eventually("it goes out", || stats(&manager).delivered == 3);
    assert_dead_add_up(&manager);
}

#[test]
fn a_test_tells_how_long_its_stages_took() {
    let slow = Receiver::scripted(|number, _| match number {
        0 => Answer::Status(200, Duration::from_millis(30)),
        _ => Answer::Hang(Duration::from_secs(5)),
    });
    let manager = manager(1);
    let patience = WebhookOptions { timeout_ms: Some(300), ..WebhookOptions::default() };
    block_on(manager.create("w", &slow.url(), patience.clone())).unwrap();
    let report = block_on(manager.test("w")).unwrap();
    assert_eq!(report.failure, None);
    let TestStages { resolve_us, connect_us, tls_us, first_byte_us } = report.stages;
    assert_eq!(tls_us, None, "there is no TLS");
    assert!(first_byte_us.unwrap() >= 30_000, "{report:?}");
    let sum = resolve_us.unwrap() + connect_us.unwrap() + first_byte_us.unwrap();
    assert!(sum <= report.latency_us, "{report:?}");

    let hung = block_on(manager.test("w")).unwrap();
    assert_eq!((hung.failure, hung.stages.first_byte_us), (Some(Failure::Timeout), None));
    assert!(hung.stages.connect_us.is_some(), "it was connected: {hung:?}");

    block_on(manager.create("nobody", "http://127.0.0.1:1/", patience.clone())).unwrap();
    let refused = block_on(manager.test("nobody")).unwrap();
    assert_eq!(refused.failure, Some(Failure::ConnectRefused));
    assert!(refused.stages.resolve_us.is_some() && refused.stages.connect_us.is_none());

    block_on(manager.create("nowhere", "http://no-such-host.invalid/", patience)).unwrap();
    let unresolved = block_on(manager.test("nowhere")).unwrap();
    assert_eq!(unresolved.stages.connect_us, None, "{unresolved:?}");
}
