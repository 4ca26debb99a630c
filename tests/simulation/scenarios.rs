//! Single situations, each with the outcome that the contract wants, to the microsecond where it
//! can be said. The rules are checked on each of them, too.

use super::checkers;
use super::dice::Dice;
use super::endpoints::{Script, Wish};
use super::faults::{Plan, no_isolation};
use super::history::{End, Happening, Sent};
use super::operations::Order;
use super::world::World;
use ferrite::core::failure::Failure;
use ferrite::core::format::Format;
use ferrite::core::http::response::DeliveryWish;
use ferrite::core::ledger::{BreakerState, Tally, WebhookStatus};
use ferrite::core::on_full::OnFull;
use ferrite::core::retry::{RetryBackoff, RetryPolicy};
use ferrite::core::shard::{BreakerPolicy, Isolation};
use ferrite::core::while_disabled::WhileDisabled;

pub fn retry(retries: u32, delay_ms: u64) -> RetryPolicy {
    RetryPolicy {
        retries,
        delay_ms,
        backoff: RetryBackoff::Exponential,
        multiplier: 2.0,
        delay_ms_max: 60_000,
        jitter: 0.0,
    }
}

pub fn order(endpoint: usize) -> Order {
    Order {
        endpoint,
        pattern: "*".to_owned(),
        retry: retry(3, 100),
        timeout_ms: 300,
        concurrency: 64,
        pipeline: 1,
        batch: None,
        on_full: OnFull::Reject,
        coalesce: false,
        ordered: true,
        signed: true,
        format: Format::Ferrite,
        sequence: false,
        final_status: None,
        rate: 0,
        adaptive: false,
        while_disabled: WhileDisabled::Drop,
    }
}

pub fn world(plan: Plan) -> World {
    World::new(plan, Dice::new(1))
}

/// A world of `endpoints` endpoints with one webhook each.
fn quiet(endpoints: usize) -> World {
    let mut world = world(Plan { endpoints, ..Plan::quiet() });
    for endpoint in 0..endpoints {
        world.create(&format!("hook-{endpoint}"), order(endpoint));
    }
    world.run_for(10_000);
    world
}

/// What holds of every history holds of this one.
pub fn keeps_the_rules(world: &World) {
    let violations = checkers::violations(&world.history, &world.plan);
    assert!(violations.is_empty(), "{violations:?}\n{}", world.history.tail(60));
}

pub fn finish(world: &mut World) {
    world.drain();
    keeps_the_rules(world);
}

pub fn sents(world: &World) -> Vec<(u64, Sent)> {
    world.history.sents().map(|(at, sent)| (at, sent.clone())).collect()
}

pub fn tally(world: &World, webhook: u32) -> Tally {
    world.lives[webhook as usize].ledger.tally()
}

pub fn count(world: &World, wanted: impl Fn(&Happening) -> bool) -> usize {
    world.history.entries.iter().filter(|entry| wanted(&entry.what)).count()
}

pub fn connections_opened(world: &World) -> usize {
    count(world, |what| matches!(what, Happening::Opening { .. }))
}

/// ORD-2: a key that hangs with a long backlog costs the other keys nothing.
#[test]
fn a_hanging_key_delays_no_other() {
    let run = |backlog: u32| {
        let mut world = quiet(1);
        world.update(0, |settings| settings.timeout_ms = 60_000);
        world.endpoints[0].hanging_key = Some(0);
        world.endpoints[0].forever = Some(Script::Status(200, 1000));
        world.run_for(10_000);
        for _ in 0..backlog {
            world.trigger(0, false);
        }
        world.run_for(10_000);
        for key in 1..50 {
            world.trigger(key, false);
        }
        world.run_for(20_000);
        let healthy = world.history.sents().filter(|(_, sent)| sent.key != 0).count();
        assert_eq!(healthy, 49, "all were sent within 20 ms");
        assert_eq!(tally(&world, 0).delivered, 49);
        world.endpoints[0].hanging_key = None;
        finish(&mut world);
        assert_eq!(tally(&world, 0).delivered, u64::from(backlog) + 49);
    };
    run(0);
    run(2000);
}

/// DEL-6: an endpoint that hangs, with a backlog, moves no request to another one by a
/// microsecond.
#[test]
fn a_hanging_endpoint_delays_no_other() {
    let times_with = |backlog: u32| {
        let mut world = quiet(2);
        world.endpoints[0].forever = Some(Script::Hang);
        world.endpoints[1].forever = Some(Script::Status(200, 1000));
        world.update(0, |settings| settings.pattern = "key:9*".to_owned());
        world.update(1, |settings| settings.pattern = "key:1*".to_owned());
        world.run_for(10_000);
        for number in 0..backlog {
            world.trigger(900 + number % 90, false);
        }
        world.run_for(10_000);
        // Connections are made at once from here on, so that no chance is left.
        world.healed = true;
        let start = world.now;
        for key in 100..150 {
            world.trigger(key, false);
            world.take_in(0);
        }
        world.run_for(5_000_000);
        let to_other = |sent: &&(u64, Sent)| sent.1.endpoint == 1;
        sents(&world).iter().filter(to_other).map(|(at, _)| at - start).collect::<Vec<_>>()
    };
    let (alone, beside) = (times_with(0), times_with(3000));
    assert_eq!(alone.len(), 50);
    assert_eq!(alone, beside);
}

/// DEL-2: 1 + retries attempts at exactly the policy's times, then dead.
#[test]
fn retries_come_when_due_and_end() {
    let mut world = quiet(1);
    world.endpoints[0].forever = Some(Script::Status(500, 1000));
    world.trigger(7, false);
    finish(&mut world);
    let sents = sents(&world);
    let gaps: Vec<u64> = sents.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    assert_eq!(sents.iter().map(|(_, sent)| sent.attempt).collect::<Vec<_>>(), [1, 2, 3, 4]);
    for (gap, delay_ms) in gaps.into_iter().zip([100, 200, 400]) {
        let waited = gap - 1000;
        assert!((delay_ms * 1000..delay_ms * 1000 + 50).contains(&waited), "{waited}");
    }
    assert_eq!((tally(&world, 0).dead, tally(&world, 0).attempts), (1, 4));
}

/// DEL-2: `Retry-After` is a lower bound for the endpoint, and no more than that.
#[test]
fn retry_after_is_obeyed_in_both_forms() {
    for wish in [Wish::Seconds(3), Wish::Date(4)] {
        let mut world = quiet(1);
        world.endpoints[0].script.push_back(Script::Busy(wish));
        world.endpoints[0].forever = Some(Script::Status(200, 1000));
        world.trigger(1, false);
        world.run_for(50_000);
        world.trigger(2, false);
        finish(&mut world);
        let sents = sents(&world);
        assert_eq!(sents.len(), 3);
        let waited = sents[1].0 - sents[0].0 - 1000;
        assert!((3_000_000..=4_000_100).contains(&waited), "{wish:?}: {waited}");
        assert_eq!(tally(&world, 0).delivered, 2);
    }
}

/// DEL-2: `Retry-After` is for all webhooks of the endpoint, also for one that is made anew, and
/// for no other endpoint.
#[test]
fn retry_after_holds_the_endpoint_and_no_other() {
    let mut world = quiet(2);
    let pattern = |number: u32| format!("key:{number}");
    world.create("beside", Order { pattern: pattern(1), pipeline: 4, ..order(0) });
    world.run_for(10_000);
    world.endpoints[0].script.push_back(Script::Busy(Wish::Seconds(3)));
    for endpoint in 0..2 {
        world.endpoints[endpoint].forever = Some(Script::Status(200, 1000));
    }
    world.update(0, |settings| settings.pattern = pattern(0));
    world.update(1, |settings| settings.pattern = pattern(1));
    world.run_for(10_000);
    world.trigger(0, false);
    world.run_for(50_000);
    world.trigger(1, false);
    world.run_for(50_000);
    world.delete(2);
    world.create("anew", Order { pattern: pattern(1), ..order(0) });
    world.run_for(10_000);
    world.trigger(1, false);
    world.run_for(1_000_000);
    let delivered: Vec<u64> = (0..4).map(|webhook| tally(&world, webhook).delivered).collect();
    assert_eq!(delivered, [0, 2, 0, 0], "only the other endpoint was sent to");
    finish(&mut world);
    assert_eq!((tally(&world, 0).delivered, tally(&world, 3).delivered), (1, 1));
}

/// A `Retry-After` beyond `max_retry_after_ms` counts as that.
#[test]
fn retry_after_is_capped() {
    let isolation = Isolation { retry_after_ms_max: 2000, ..no_isolation() };
    let mut world = world(Plan { isolation, ..Plan::quiet() });
    world.create("hook", order(0));
    world.endpoints[0].script.push_back(Script::Busy(Wish::Seconds(1_000_000_000)));
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(1, false);
    finish(&mut world);
    let waited = sents(&world)[1].0 - sents(&world)[0].0 - 1000;
    assert!((2_000_000..2_000_100).contains(&waited), "{waited}");
}

/// A final status is tried once and no more; other failures are retried as ever.
#[test]
fn a_final_status_is_the_end() {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { final_status: Some(422), ..order(0) });
    world.endpoints[0].script.extend([Script::Status(422, 1000), Script::Status(400, 1000)]);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(1, false);
    world.run_for(1000);
    world.trigger(1, false);
    finish(&mut world);
    assert_eq!(sents(&world).iter().map(|(_, sent)| sent.attempt).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!((tally(&world, 0).dead, tally(&world, 0).delivered), (1, 1));
}

/// `webhook-delivery: abort-message` ends this delivery, `disable` stops the webhook and keeps
/// what waits; what was answered 2xx is delivered all the same.
#[test]
fn an_endpoint_can_say_what_becomes_of_deliveries() {
    let mut world = quiet(1);
    let (abort, disable) = (DeliveryWish::AbortMessage, DeliveryWish::Disable);
    world.endpoints[0].script.extend([
        Script::Wish(500, abort),
        Script::Wish(200, abort),
        Script::Wish(500, disable),
        Script::Wish(204, disable),
    ]);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    (0..5).for_each(|_| {
        world.trigger(1, false);
    });
    world.run_for(10_000_000);
    let counts = |world: &World| {
        let tally = tally(world, 0);
        (tally.dead, tally.delivered, tally.pending, world.lives[0].ledger.status())
    };
    assert_eq!(counts(&world), (1, 1, 3, WebhookStatus::Refused));
    world.set_status(0, WebhookStatus::Active);
    world.run_for(10_000_000);
    assert_eq!(counts(&world), (1, 2, 2, WebhookStatus::Refused));
    world.set_status(0, WebhookStatus::Active);
    finish(&mut world);
    assert_eq!(counts(&world), (1, 4, 0, WebhookStatus::Active));
    let attempts: Vec<u32> = sents(&world).iter().map(|(_, sent)| sent.attempt).collect();
    assert_eq!(attempts, [1; 6], "`disable` burns no attempt");
}

/// DEL-6: while a breaker is open nothing is sent and no attempt is burnt; one delivery finds out
/// whether the endpoint is back, and the others follow it.
#[test]
fn a_breaker_saves_attempts_and_probes_with_one() {
    let breaker = BreakerPolicy { failures: 4, open_ms: 1000, open_ms_max: 4000 };
    let mut world =
        world(Plan { isolation: Isolation { breaker, ..no_isolation() }, ..Plan::quiet() });
    world.create("hook", Order { retry: retry(3, 1), concurrency: 4, ..order(0) });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(Script::Reset);
    (0..100).for_each(|key| {
        world.trigger(key, false);
    });
    // Open after 4 failures, with up to 3 more under way; probes after 1, 3, 7, 11 and 15 seconds,
    // and up to a fifth later.
    world.run_for(18_100_000);
    let burnt = tally(&world, 0);
    assert!((8..=12).contains(&burnt.attempts), "{burnt:?}");
    assert!(burnt.dead <= 1, "{burnt:?}");
    assert_eq!(world.lives[0].ledger.gates().0, BreakerState::Open);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    finish(&mut world);
    assert_eq!(tally(&world, 0).delivered + burnt.dead, 100);
    assert_eq!(world.lives[0].ledger.gates().0, BreakerState::Closed);
}

/// The probe's webhook is deleted or moved while it is under way: another delivery finds out.
#[test]
fn a_probe_that_is_lost_is_followed_by_another() {
    for delete in [true, false] {
        let breaker = BreakerPolicy { failures: 1, open_ms: 1000, open_ms_max: 1000 };
        let isolation = Isolation { breaker, ..no_isolation() };
        let mut world = world(Plan { endpoints: 2, isolation, ..Plan::quiet() });
        world.create("hook", order(0));
        world.create("other", Order { timeout_ms: 60_000, pipeline: 2, ..order(0) });
        world.endpoints[0].script.push_back(Script::Reset);
        world.endpoints[0].script.push_back(Script::Reset);
        world.endpoints[0].script.push_back(Script::Hang);
        world.endpoints[0].forever = Some(Script::Status(200, 1000));
        world.trigger(1, false);
        while world.history.sents().count() < 3 {
            world.step(u64::MAX);
        }
        let probe = sents(&world)[2].1.name.webhook;
        match delete {
            true => world.delete(probe),
            false => world.move_to(probe, 1),
        }
        world.run_for(500_000);
        let other = 1 - probe;
        assert_eq!(tally(&world, other).delivered, u64::from(delete), "when it is free to");
        finish(&mut world);
        assert_eq!(tally(&world, other).delivered, 1);
    }
}

/// `RATE` spreads attempts evenly after a burst of a tenth of a second's worth, and retries count.
#[test]
fn a_rate_is_kept_by_attempts_and_retries() {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { rate: 100, retry: retry(3, 1), ..order(0) });
    world.run_for(10_000);
    world.endpoints[0].script.extend([Script::Status(400, 1000); 50]);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    (0..100).for_each(|key| {
        world.trigger(key, false);
    });
    world.take_in(0);
    let start = world.now;
    finish(&mut world);
    let begun: Vec<u64> = sents(&world).iter().map(|(_, sent)| sent.assigned_at - start).collect();
    assert_eq!(begun.len(), 150, "100 first attempts and 50 retries");
    assert!(begun[..10].iter().all(|time| *time == 0), "{begun:?}");
    for (number, time) in begun.iter().enumerate().skip(10) {
        assert_eq!(*time, (number as u64 - 9) * 10_000, "one every 10 ms");
    }
}

/// A window that adapts grows to the concurrency against an endpoint that keeps up, and shrinks
/// against one that cannot cope, but never to nothing.
#[test]
fn an_adaptive_window_follows_the_endpoint() {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { adaptive: true, concurrency: 32, ..order(0) });
    world.run_for(10_000);
    let window = |world: &World| world.lives[0].ledger.window();
    assert_eq!(window(&world), 16);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    (0..2000).for_each(|key| {
        world.trigger(key, false);
    });
    world.run_for(1_000_000);
    assert_eq!((window(&world), tally(&world, 0).delivered), (32, 2000));
    world.endpoints[0].script.extend([Script::Status(429, 1000); 1500]);
    (0..500).for_each(|key| {
        world.trigger(key, false);
    });
    let mut narrowest = u32::MAX;
    for _ in 0..100 {
        world.run_for(10_000);
        narrowest = narrowest.min(window(&world));
    }
    assert_eq!(narrowest, 1);
    finish(&mut world);
}

/// A webhook that has had nothing but failures for too long is disabled by the next one, and keeps
/// its queue; one success on the way, or being enabled, begins the time anew.
#[test]
fn a_webhook_that_only_fails_is_disabled() {
    let isolation = Isolation { auto_disable_after_ms: 1000, ..no_isolation() };
    let mut world = world(Plan { isolation, ..Plan::quiet() });
    let every_400_ms = RetryPolicy { multiplier: 1.0, ..retry(1000, 400) };
    world.create("hook", Order { retry: every_400_ms, ..order(0) });
    let bad = Script::Status(500, 0);
    world.endpoints[0].script.extend([bad, bad, Script::Status(200, 0)]);
    world.endpoints[0].forever = Some(bad);
    world.trigger(1, false);
    world.trigger(1, false);
    world.run_for(10_000_000);
    // 2 failures, success, then failures at 0, 400, 800 and 1200 ms.
    assert_eq!(world.lives[0].ledger.status(), WebhookStatus::Failing);
    assert_eq!((tally(&world, 0).attempts, tally(&world, 0).pending), (7, 1));
    world.set_status(0, WebhookStatus::Active);
    world.run_for(10_000_000);
    // The first retry is due at once.
    assert_eq!((tally(&world, 0).attempts, tally(&world, 0).pending), (11, 1));
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.set_status(0, WebhookStatus::Active);
    finish(&mut world);
    assert_eq!(tally(&world, 0).delivered, 2);
}

/// DEL-5: an exchange ends at its deadline to the microsecond, and its connection with it.
#[test]
fn a_timeout_is_punctual() {
    let mut world = quiet(1);
    world.endpoints[0].script.push_back(Script::Hang);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(1, false);
    finish(&mut world);
    let timed_out = world.history.entries.iter().find_map(|entry| match entry.what {
        Happening::Ended(ended) if ended.end == End::Failed(Failure::Timeout) => {
            Some(entry.at - ended.assigned_at)
        }
        _ => None,
    });
    assert_eq!(timed_out, Some(300_000));
    let sents = sents(&world);
    assert_ne!(sents[0].1.link, sents[1].1.link);
}

/// Connections are kept and used again.
#[test]
fn one_connection_carries_many_exchanges() {
    let mut world = quiet(1);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    for key in 0..10 {
        world.trigger(key, false);
        world.run_for(20_000);
    }
    finish(&mut world);
    assert_eq!((tally(&world, 0).delivered, connections_opened(&world)), (10, 1));
}

/// DEL-4: a stale connection costs neither an attempt nor time.
#[test]
fn a_stale_connection_costs_nothing() {
    let mut world = world(Plan { wake_us: Some(10_000), ..Plan::quiet() });
    world.create("hook", order(0));
    world.endpoints[0].script.push_back(Script::StatusThenClose(200, 1000));
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(1, false);
    // The second finds the connection idle, and it is closed before its request is written.
    while tally(&world, 0).delivered == 0 {
        world.step(u64::MAX);
    }
    world.trigger(1, false);
    finish(&mut world);
    let sents = sents(&world);
    assert_eq!(sents.len(), 2);
    assert_eq!((sents[1].1.attempt, sents[1].1.reused), (1, false));
    assert_eq!((tally(&world, 0).resent, tally(&world, 0).attempts), (1, 2));
}

/// What is said before a request was written is no answer to it: an event must not count as
/// delivered because a receiver spoke out of turn.
#[test]
fn unasked_words_are_no_answer() {
    let mut world = world(Plan { wake_us: Some(10_000), ..Plan::quiet() });
    world.create("hook", order(0));
    world.endpoints[0].script.push_back(Script::StatusThenSpeak(200, 1000));
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(1, false);
    while tally(&world, 0).delivered == 0 {
        world.step(u64::MAX);
    }
    world.trigger(1, false);
    finish(&mut world);
    let sents = sents(&world);
    assert_eq!(sents.len(), 2, "both events were really sent");
    assert_eq!((sents[1].1.attempt, tally(&world, 0).resent), (1, 1));
}

/// A webhook that moves while its connection is being made is not written to the old endpoint.
#[test]
fn a_request_never_goes_to_an_endpoint_that_was_left() {
    let mut withdrawn = 0;
    for seed in 0..40 {
        let mut world = World::new(Plan { endpoints: 2, ..Plan::quiet() }, Dice::new(seed));
        world.create("hook", order(0));
        for endpoint in 0..2 {
            world.endpoints[endpoint].forever = Some(Script::Status(200, 1000));
        }
        world.trigger(1, false);
        while connections_opened(&world) == 0 {
            world.step(u64::MAX);
        }
        world.move_to(0, 1);
        finish(&mut world);
        withdrawn += count(
            &world,
            |what| matches!(what, Happening::Ended(ended) if ended.end == End::Withdrawn),
        );
        assert_eq!(tally(&world, 0).delivered, 1);
    }
    assert!(withdrawn > 0, "the change never came in time to matter");
}

/// Nor after its connection turned out to be stale.
#[test]
fn a_stale_request_follows_its_webhook() {
    let mut world = quiet(1);
    world.endpoints.push(Default::default());
    // The second request finds the connection in use, and it breaks without a word.
    world.endpoints[0].script.extend([Script::Status(200, 1000), Script::Reset]);
    world.endpoints[1].forever = Some(Script::Status(200, 1000));
    world.trigger(1, false);
    world.trigger(1, false);
    while world.history.sents().count() < 2 {
        world.step(u64::MAX);
    }
    world.move_to(0, 1);
    world.take_in(0);
    finish(&mut world);
    let places: Vec<_> =
        world.history.sents().map(|(_, sent)| (sent.endpoint, sent.attempt)).collect();
    assert_eq!(places, [(0, 1), (0, 1), (1, 1)]);
    assert_eq!(tally(&world, 0).resent, 1);
}

/// The last word for a webhook that has been moved does not disable it.
#[test]
fn an_endpoint_that_was_left_has_no_say() {
    for script in [Script::Status(410, 5000), Script::Wish(500, DeliveryWish::Disable)] {
        let mut world = quiet(1);
        world.update(0, |settings| settings.retry = retry(3, 1));
        world.endpoints[0].script.push_back(script);
        world.endpoints[0].forever = Some(Script::Status(200, 1000));
        world.plan.wake_us = Some(0);
        world.trigger(1, false);
        while world.history.sents().count() == 0 {
            world.step(u64::MAX);
        }
        world.move_to(0, 0);
        world.take_in(0);
        world.run_for(100_000);
        assert_eq!(world.lives[0].ledger.status(), WebhookStatus::Active);
        assert_eq!(tally(&world, 0).delivered, 1, "{script:?}");
        finish(&mut world);
    }
}

/// 410 stops the webhook; the delivery waits, uncounted, until somebody enables it.
#[test]
fn gone_keeps_the_delivery() {
    let mut world = quiet(1);
    world.endpoints[0].script.push_back(Script::Status(410, 1000));
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(1, false);
    world.run_for(10_000_000);
    assert_eq!(world.lives[0].ledger.status(), WebhookStatus::Gone);
    assert_eq!((tally(&world, 0).pending, world.history.sents().count()), (1, 1));
    world.set_status(0, WebhookStatus::Active);
    finish(&mut world);
    assert_eq!(sents(&world)[1].1.attempt, 1);
}

/// Deleting or moving a webhook whose endpoint has nothing but idle connections.
#[test]
fn an_endpoint_can_go_with_its_idle_connections() {
    for delete in [true, false] {
        let mut world = quiet(1);
        world.endpoints.push(Default::default());
        world.endpoints[0].forever = Some(Script::Status(200, 1000));
        for key in 0..3 {
            world.trigger(key, false);
        }
        world.run_for(100_000);
        if delete {
            world.delete(0)
        } else {
            world.move_to(0, 1)
        }
        world.run_for(100_000);
        finish(&mut world);
        assert_eq!(tally(&world, 0).delivered, 3);
    }
}

/// With no connection left, an idle one elsewhere is given up at once, and a busy endpoint gives
/// way in time.
#[test]
fn an_endpoint_does_not_starve_for_connections() {
    let plan = Plan { endpoints: 2, connections_max: 1, ..Plan::quiet() };
    let mut world = world(plan);
    for endpoint in 0..2 {
        let pattern = format!("key:{}*", endpoint + 1);
        let order = Order { timeout_ms: 60_000, pattern, ..order(endpoint) };
        world.create(&format!("hook-{endpoint}"), order);
        world.endpoints[endpoint].forever = Some(Script::Status(200, 1000));
    }
    for number in 0..1000 {
        world.trigger(100 + number % 50, false);
    }
    world.run_for(5000);
    world.trigger(2, false);
    world.run_for(100_000);
    assert_eq!(tally(&world, 1).delivered, 1, "within a tenth of the others' time");
    assert!(tally(&world, 0).pending > 800);
    finish(&mut world);
}

/// A breakdown neither loses nor hurries anything.
#[test]
fn a_breakdown_keeps_waiting_times() {
    let mut world = quiet(2);
    world.endpoints[0].script.push_back(Script::Busy(Wish::Seconds(5)));
    world.endpoints[1].script.push_back(Script::Reset);
    for endpoint in 0..2 {
        world.endpoints[endpoint].forever = Some(Script::Status(200, 1000));
    }
    world.trigger(1, false);
    world.run_for(50_000);
    world.break_down(0);
    world.run_for(10_000);
    assert_eq!(world.history.sents().count(), 2, "both wait");
    finish(&mut world);
    assert_eq!(tally(&world, 0).delivered + tally(&world, 1).delivered, 2);
}
