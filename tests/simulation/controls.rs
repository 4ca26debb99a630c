//! Negative controls: a rule that cannot fail proves nothing. Each rule is shown a run that breaks
//! it, by a driver that misbehaves or by a history that was tampered with, and must be the one to
//! notice.

use super::checkers::{RULES, violations};
use super::endpoints::{Script, Wish};
use super::faults::{Plan, no_isolation};
use super::history::{CarriedEvent, Entry, Happening, Sent};
use super::operations::Order;
use super::scenarios::{order, retry, world};
use super::world::{Mischief, World};
use ferrite::core::ledger::{DeliveryOutcome, WebhookStatus};
use ferrite::core::replay::Which;
use ferrite::core::shard::{BreakerPolicy, Isolation};
use ferrite::core::while_disabled::WhileDisabled;
use std::collections::BTreeSet;

/// The rules that must notice, and no others.
fn expect(world: &World, rules: &[&str]) {
    let found = violations(&world.history, &world.plan);
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, rules, "{found:?}\n{}", world.history.tail(60));
}

/// A run of one webhook by `script`, then of nothing but success, with `events` on one key.
fn run(order: Order, script: &[Script], events: u32, mischief: Mischief) -> World {
    let mut world = world(Plan::quiet());
    world.create("hook", order);
    world.run_for(1000);
    world.mischief = mischief;
    world.endpoints[0].script.extend(script);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    for _ in 0..events {
        world.trigger(3, false);
    }
    world.drain();
    world
}

/// A run that breaks no rule, to tamper with.
fn clean(script: &[Script], events: u32) -> World {
    let world = run(order(0), script, events, Mischief::None);
    expect(&world, &[]);
    world
}

/// The place of the `number`th request in the history, and the request.
fn sent(world: &World, number: usize) -> (usize, Sent) {
    let mut sents = world.history.entries.iter().enumerate().filter_map(|(at, entry)| {
        let Happening::Sent(sent) = &entry.what else { return None };
        Some((at, sent.clone()))
    });
    sents.nth(number).expect("so many requests")
}

fn change_sent(world: &mut World, number: usize, edit: impl FnOnce(&mut Sent)) {
    let (at, _) = sent(world, number);
    let Happening::Sent(sent) = &mut world.history.entries[at].what else { unreachable!() };
    edit(sent);
}

/// Puts another entry behind the one at `at`.
fn insert_after(world: &mut World, at: usize, what: Happening) {
    let Entry { at: time, call, .. } = world.history.entries[at];
    world.history.entries.insert(at + 1, Entry { at: time, call, what });
}

fn each(world: &mut World, mut edit: impl FnMut(&mut Happening)) {
    world.history.entries.iter_mut().for_each(|entry| edit(&mut entry.what));
}

#[test]
fn agreement_notices_a_spurious_call_that_did_something() {
    let mut world = clean(&[], 1);
    let (at, _) = sent(&world, 0);
    let changed = Some("something".to_owned());
    insert_after(&mut world, at, Happening::Spurious { shard: 0, changed });
    expect(&world, &["agreement"]);
}

#[test]
fn order_notices_events_that_change_places() {
    let mut world = clean(&[], 3);
    each(&mut world, |what| {
        if let Happening::Accepted { event, .. } = what {
            *event = [1, 0, 2][*event as usize];
        }
    });
    expect(&world, &["order"]);
}

#[test]
fn overlap_notices_a_lane_that_sends_twice_at_once() {
    let mut world = clean(&[], 2);
    let (at, first) = sent(&world, 0);
    insert_after(&mut world, at, Happening::Sent(Sent { link: 99, ..first }));
    // Nor was anything answered on that connection.
    expect(&world, &["overlap", "answers"]);
}

#[test]
fn invention_notices_an_event_that_nobody_triggered() {
    let mut world = clean(&[], 1);
    let (at, mut invented) = sent(&world, 0);
    (invented.link, invented.event, invented.key, invented.name.id) = (99, Some(77), 77, 77);
    invented.carried = vec![CarriedEvent { event: 77, key: 77, id: 77 }];
    insert_after(&mut world, at, Happening::Sent(invented));
    expect(&world, &["invention"]);
}

#[test]
fn accounting_notices_a_lost_event() {
    let mut world = world(Plan::quiet());
    world.create("hook", order(0));
    world.run_for(1000);
    world.mischief = Mischief::LoseEvents(4);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(3, false);
    world.trigger(4, false);
    world.drain();
    // What is lost is also never sent.
    expect(&world, &["accounting", "progress"]);
}

#[test]
fn accounting_notices_a_drop_that_is_not_counted() {
    let mut world = world(Plan { pending_max: 1, ..Plan::quiet() });
    world.create("hook", order(0));
    world.run_for(1000);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(3, true);
    world.run_for(700);
    world.trigger(3, true);
    world.run_for(700);
    let counters = world.lives[0].ledger.counters(0);
    assert_eq!(counters.dropped.get(), 1, "the second found the queue full");
    counters.dropped.subtract(1);
    world.drain();
    expect(&world, &["accounting"]);
}

#[test]
fn settled_notices_what_is_left_over() {
    for left in 0..3 {
        let mut world = clean(&[], 1);
        each(&mut world, |what| {
            if let Happening::Settled { links_open, deliveries_pending, timers_left } = what {
                *[links_open, deliveries_pending, timers_left][left] += 1;
            }
        });
        expect(&world, &["settled"]);
    }
}

#[test]
fn outcomes_notices_an_attempt_that_is_logged_as_another() {
    let mut world = clean(&[], 1);
    each(&mut world, |what| {
        if let Happening::Attempt(attempt) = what {
            attempt.status = Some(204);
        }
    });
    expect(&world, &["outcomes", "answers"]);
}

#[test]
fn tests_notices_a_test_without_an_outcome() {
    let mut world = clean(&[], 1);
    let (at, _) = sent(&world, 0);
    insert_after(&mut world, at, Happening::TestAsked { token: 9 });
    expect(&world, &["tests"]);
}

#[test]
fn attempts_notices_one_too_many_and_one_too_few() {
    for retries in [2, 4] {
        let mut world = clean(&[Script::Status(500, 1000); 4], 1);
        each(&mut world, |what| {
            if let Happening::Learned { terms, .. } = what {
                terms.retry.retries = retries;
            }
        });
        expect(&world, &["attempts"]);
    }
}

#[test]
fn attempts_notices_a_redirect_taken_for_success() {
    let mut world = clean(&[Script::Status(302, 1000), Script::Status(302, 1000)], 1);
    let mut first = true;
    each(&mut world, |what| {
        if let Happening::Attempt(attempt) = what
            && std::mem::take(&mut first)
        {
            attempt.outcome = DeliveryOutcome::Ok;
        }
    });
    let rules = violations(&world.history, &world.plan);
    assert!(rules.iter().any(|(name, _)| *name == "attempts"), "{rules:?}");
}

#[test]
fn retry_times_notices_a_clock_that_is_ahead() {
    let patient = Order { retry: retry(3, 1000), ..order(0) };
    let world = run(patient, &[Script::Reset], 1, Mischief::ClockAhead(900_000));
    expect(&world, &["retry times"]);
}

#[test]
fn holds_notices_a_retry_after_that_is_not_obeyed() {
    let mut world = clean(&[Script::Busy(Wish::Seconds(2))], 1);
    each(&mut world, |what| {
        if let Happening::Ended(ended) = what
            && let super::history::End::Status { retry_at: Some(at), .. } = &mut ended.end
        {
            *at += 1_000_000;
        }
    });
    expect(&world, &["holds"]);
}

#[test]
fn holds_notices_a_request_to_a_disabled_webhook() {
    let mut world = clean(&[], 3);
    let (at, _) = sent(&world, 0);
    insert_after(&mut world, at, Happening::StatusSet { webhook: 0, active: false });
    expect(&world, &["holds"]);
}

#[test]
fn identity_notices_a_body_or_signature_that_changes() {
    for body in [true, false] {
        let mut world = clean(&[Script::Status(500, 1000)], 1);
        change_sent(&mut world, 1, |sent| match body {
            true => sent.body ^= 1,
            false => sent.signature = None,
        });
        expect(&world, &["identity"]);
    }
}

#[test]
fn duplicates_notices_a_driver_that_denies_answers() {
    let world = run(order(0), &[], 1, Mischief::DenyAnswers);
    expect(&world, &["duplicates"]);
}

#[test]
fn stale_notices_a_used_connection_after_a_stale_one() {
    let mut world = world(Plan { wake_us: Some(0), ..Plan::quiet() });
    world.create("hook", order(0));
    world.endpoints[0].script.push_back(Script::Status(200, 1000));
    // A reused connection on which the endpoint only breaks.
    world.endpoints[0].script.push_back(Script::Reset);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(3, false);
    world.trigger(3, false);
    world.drain();
    expect(&world, &[]);
    change_sent(&mut world, 2, |sent| sent.reused = true);
    expect(&world, &["stale"]);
}

#[test]
fn deadlines_notices_a_timer_that_sleeps() {
    let once = Order { retry: retry(0, 0), ..order(0) };
    let world = run(once, &[Script::Hang], 1, Mischief::SleepyTimeouts(1_000_000));
    expect(&world, &["deadlines"]);
}

#[test]
fn deadlines_notices_a_connection_used_after_a_timeout() {
    let mut world = clean(&[Script::Hang], 1);
    let (_, timed_out) = sent(&world, 0);
    change_sent(&mut world, 1, |sent| sent.link = timed_out.link);
    expect(&world, &["deadlines", "pipeline", "answers"]);
}

#[test]
fn windows_notices_too_much_at_once() {
    let at_once = || {
        let mut world = world(Plan::quiet());
        world.create("hook", order(0));
        world.run_for(1000);
        world.endpoints[0].forever = Some(Script::Status(200, 50_000));
        (0..5).for_each(|key| {
            world.trigger(key, false);
        });
        world.drain();
        expect(&world, &[]);
        world
    };
    let mut deliveries = at_once();
    each(&mut deliveries, |what| {
        if let Happening::Learned { terms, .. } = what {
            terms.window = 4;
        }
    });
    expect(&deliveries, &["windows"]);
    let mut connections = at_once();
    connections.plan.endpoint_connections_max = 4;
    expect(&connections, &["windows"]);
}

#[test]
fn progress_notices_a_retry_that_is_overslept() {
    let mut world = world(Plan::quiet());
    world.create("hook", order(0));
    world.run_for(1000);
    world.mischief = Mischief::SleepyTimeouts(1_000_000);
    world.endpoints[0].script.push_back(Script::Reset);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(3, false);
    world.run_for(500_000);
    world.want_checkpoint();
    world.drain();
    expect(&world, &["progress"]);
}

/// A run in which a breaker opens once and its first probe fails.
fn broken_down() -> World {
    let breaker = BreakerPolicy { failures: 2, open_ms: 1000, open_ms_max: 1000 };
    let isolation = Isolation { breaker, ..no_isolation() };
    let mut world = world(Plan { isolation, ..Plan::quiet() });
    world.create("hook", order(0));
    world.run_for(1000);
    world.endpoints[0].script.extend([Script::Reset; 3]);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(3, false);
    world.drain();
    expect(&world, &[]);
    world
}

#[test]
fn breaker_notices_an_attempt_while_it_is_open() {
    let mut world = broken_down();
    change_sent(&mut world, 2, |sent| sent.assigned_at -= 500_000);
    expect(&world, &["breaker"]);
}

#[test]
fn breaker_notices_a_second_probe() {
    let mut world = broken_down();
    let (at, mut second) = sent(&world, 2);
    second.name.id += 100;
    (second.link, second.key, second.event) = (99, 99, Some(99));
    insert_after(&mut world, at, Happening::Sent(second));
    let rules = violations(&world.history, &world.plan);
    assert!(rules.iter().any(|(name, _)| *name == "breaker"), "{rules:?}");
}

#[test]
fn breaker_notices_one_that_opens_too_late() {
    let mut world = broken_down();
    world.plan.isolation.breaker.failures = 1;
    expect(&world, &["breaker"]);
}

#[test]
fn rate_notices_attempts_that_come_too_fast() {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { rate: 20, ..order(0) });
    world.run_for(1000);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    (0..5).for_each(|key| {
        world.trigger(key, false);
    });
    world.drain();
    expect(&world, &[]);
    each(&mut world, |what| {
        if let Happening::Learned { terms, .. } = what {
            terms.rate = 19;
        }
    });
    expect(&world, &["rate"]);
}

#[test]
fn holds_notices_a_webhook_that_fails_for_too_long() {
    let slow = Order { retry: retry(3, 1000), ..order(0) };
    let mut world = run(slow, &[Script::Reset; 3], 1, Mischief::None);
    expect(&world, &[]);
    world.plan.isolation.auto_disable_after_ms = 2000;
    expect(&world, &["holds"]);
}

#[test]
fn attempts_notices_a_retry_after_a_final_status() {
    let mut world = clean(&[Script::Status(422, 1000)], 1);
    each(&mut world, |what| {
        if let Happening::Learned { terms, .. } = what {
            terms.final_status = Some(422);
        }
    });
    expect(&world, &["attempts"]);
}

/// A run of four requests behind each other on one connection that has answered one before.
fn pipelined(mischief: Mischief, script: &[Script]) -> World {
    let mut world = world(Plan { wake_us: Some(0), ..Plan::quiet() });
    world.create("hook", Order { pipeline: 4, concurrency: 4, ..order(0) });
    world.run_for(1000);
    world.mischief = mischief;
    world.endpoints[0].script.push_back(Script::Status(200, 1000));
    world.endpoints[0].script.extend(script);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(9, false);
    world.run_for(50_000);
    (0..4).for_each(|key| {
        world.trigger(key, false);
    });
    world.take_in(0);
    world.drain();
    assert!(world.history.sents().filter(|(_, sent)| sent.reused).count() >= 4);
    world
}

#[test]
fn invention_notices_an_event_that_had_given_way() {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { coalesce: true, ..order(0) });
    world.run_for(1000);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(3, false);
    world.run_for(800);
    (0..2).for_each(|_| {
        world.trigger(3, false);
    });
    world.drain();
    expect(&world, &[]);
    let (at, last) = sent(&world, 1);
    assert_eq!(last.carried[0].event, 2, "the one before it has given way");
    let mut gone = last.clone();
    gone.carried[0].event = 1;
    world.history.entries[at].what = Happening::Sent(gone);
    let rules = violations(&world.history, &world.plan);
    assert!(rules.iter().any(|(name, _)| *name == "invention"), "{rules:?}");
}

/// A run of one batch of three.
fn batched() -> World {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { batch: Some((3, 10)), ..order(0) });
    world.run_for(1000);
    (0..3).for_each(|key| {
        world.trigger(key, false);
    });
    world.drain();
    expect(&world, &[]);
    world
}

#[test]
fn batches_notices_what_is_too_large() {
    let mut world = batched();
    each(&mut world, |what| {
        if let Happening::Learned { terms, .. } = what {
            terms.batch = Some((2, 10));
        }
    });
    expect(&world, &["batches"]);
}

#[test]
fn batches_notices_a_batch_that_is_taken_apart() {
    let mut world = batched();
    let (at, first) = sent(&world, 0);
    let name = super::history::RequestName { id: 77, ..first.name };
    let again = Sent { link: 99, carried: first.carried[..1].to_vec(), name, ..first.clone() };
    insert_after(&mut world, at, Happening::Sent(again));
    expect(&world, &["overlap", "batches"]);
}

#[test]
fn progress_notices_a_batch_that_waits_for_too_long() {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { batch: Some((3, 10)), ..order(0) });
    world.run_for(1000);
    world.mischief = Mischief::SleepyTimeouts(1_000_000);
    world.trigger(1, false);
    world.run_for(500_000);
    world.checkpoint();
    world.drain();
    let rules = violations(&world.history, &world.plan);
    assert!(rules.iter().any(|(name, _)| *name == "progress"), "{rules:?}");
}

#[test]
fn pipeline_notices_too_many_on_a_connection() {
    let mut world = pipelined(Mischief::None, &[]);
    expect(&world, &[]);
    each(&mut world, |what| {
        if let Happening::Learned { terms, .. } = what {
            terms.pipeline = 3;
        }
    });
    expect(&world, &["pipeline"]);
}

#[test]
fn pipeline_notices_requests_behind_the_first_one() {
    let mut world = pipelined(Mischief::None, &[]);
    let first = |entry: &Entry| matches!(entry.what, Happening::Answered { .. });
    let place = world.history.entries.iter().position(first).expect("one is answered");
    world.history.entries.remove(place);
    expect(&world, &["pipeline"]);
}

#[test]
fn pipeline_notices_connections_shared_against_the_terms() {
    let mut world = pipelined(Mischief::None, &[]);
    let (at, second) = sent(&world, 1);
    let Some(Happening::Learned { terms, shard, .. }) = world
        .history
        .entries
        .iter()
        .map(|entry| entry.what.clone())
        .find(|what| matches!(what, Happening::Learned { .. }))
    else {
        unreachable!("the webhook was learned of")
    };
    let terms = super::history::Terms { pipeline: 8, ..terms };
    let webhook = second.name.webhook;
    insert_after(&mut world, at, Happening::Learned { shard, webhook, terms });
    expect(&world, &["pipeline"]);
}

#[test]
fn pipeline_notices_requests_that_change_places() {
    let mut world = pipelined(Mischief::None, &[]);
    change_sent(&mut world, 1, |sent| sent.assigned_call += 100);
    expect(&world, &["pipeline"]);
}

#[test]
fn pipeline_notices_answers_that_change_places() {
    let mut world = pipelined(Mischief::None, &[]);
    let ends: Vec<usize> = (0..world.history.entries.len())
        .filter(|&at| matches!(world.history.entries[at].what, Happening::Ended(_)))
        .collect();
    // The first one is the request before.
    world.history.entries.swap(ends[1], ends[2]);
    let (first, second) = (ends[1], ends[2]);
    let call = world.history.entries[first].call;
    world.history.entries[first].call = world.history.entries[second].call;
    world.history.entries[second].call = call;
    let rules = violations(&world.history, &world.plan);
    assert!(rules.iter().any(|(name, _)| *name == "pipeline"), "{rules:?}");
}

#[test]
fn pipeline_notices_that_what_was_taken_back_changes_places() {
    let mut world = pipelined(Mischief::None, &[Script::LastStatus(200, 1000)]);
    expect(&world, &[]);
    let count = world.history.sents().count();
    // The last three went out again; the first of them alone.
    change_sent(&mut world, count - 3, |sent| sent.assigned_call += 1000);
    let rules = violations(&world.history, &world.plan);
    assert!(rules.iter().any(|(name, _)| *name == "pipeline"), "{rules:?}");
}

#[test]
fn answers_notices_answers_that_are_mixed_up() {
    let script = [Script::Status(200, 1000), Script::Status(500, 1000)];
    let world = pipelined(Mischief::SwapRequests, &script);
    expect(&world, &["answers"]);
}

#[test]
fn windows_notices_connections_that_nobody_needs() {
    let mut world = pipelined(Mischief::None, &[]);
    let opening = Happening::Opening { link: 99, shard: 0, endpoint: 0, test: false };
    let (at, first) = sent(&world, 0);
    insert_after(&mut world, at, opening);
    let alone = Sent { link: 99, event: None, name: first.name, ..first };
    insert_after(&mut world, at + 1, Happening::Sent(alone));
    let rules = violations(&world.history, &world.plan);
    assert!(rules.iter().any(|(name, _)| *name == "windows"), "{rules:?}");
}

/// A run whose first event dies and is replayed while the second of its key waits for its retry.
fn replayed(mischief: Mischief) -> World {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { retry: retry(0, 0), ..order(0) });
    world.run_for(1000);
    world.mischief = mischief;
    world.endpoints[0].script.extend([Script::Status(500, 1000); 2]);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.trigger(3, false);
    world.run_for(50_000);
    world.update(0, |settings| settings.retry = retry(3, 100));
    world.run_for(50_000);
    world.trigger(3, false);
    world.run_for(50_000);
    assert_eq!(world.replay(0, Which::Dead, 100), 1);
    world.run_for(50_000);
    world
}

#[test]
fn dead_letters_notices_one_that_vanished_and_one_from_nowhere() {
    let mut world = replayed(Mischief::None);
    world.drain();
    expect(&world, &[]);
    let is_replay = |entry: &Entry| matches!(entry.what, Happening::Replayed { .. });
    let place = world.history.entries.iter().position(is_replay).expect("it was replayed");
    let Happening::Replayed { name, .. } = &mut world.history.entries[place].what else {
        unreachable!("it is one")
    };
    name.id += 50;
    expect(&world, &["attempts", "measures", "dead letters"]);
    let world = run(
        Order { retry: retry(0, 0), ..order(0) },
        &[Script::Status(500, 1000)],
        1,
        Mischief::None,
    );
    world.lives[0].ledger.dead().clear();
    let mut world = world;
    world.checkpoint();
    expect(&world, &["dead letters"]);
}

#[test]
fn accounting_notices_a_replay_that_is_not_counted() {
    let mut world = replayed(Mischief::None);
    world.lives[0].ledger.counters(0).replayed.subtract(1);
    world.drain();
    expect(&world, &["accounting"]);
}

#[test]
fn identity_notices_a_replay_with_other_bytes() {
    let mut world = replayed(Mischief::OtherBytes);
    world.drain();
    expect(&world, &["identity"]);
}

#[test]
fn order_notices_a_replay_that_passes_what_waits() {
    let mut world = replayed(Mischief::None);
    world.drain();
    let place = |world: &World, is: fn(&Happening) -> bool| {
        world.history.entries.iter().position(|entry| is(&entry.what)).expect("it happened")
    };
    let replayed = place(&world, |what| matches!(what, Happening::Replayed { .. }));
    let replayed = world.history.entries.remove(replayed);
    // As if it had come before the second event.
    let second = place(&world, |what| matches!(what, Happening::Accepted { event: 1, .. }));
    world
        .history
        .entries
        .insert(second, Entry { at: world.history.entries[second].at, ..replayed });
    let rules = violations(&world.history, &world.plan);
    assert!(rules.iter().any(|(name, _)| *name == "order"), "{rules:?}");
}

#[test]
fn accounting_notices_an_event_that_a_disabled_webhook_did_not_keep() {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { while_disabled: WhileDisabled::Keep, ..order(0) });
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.set_status(0, WebhookStatus::Disabled);
    world.run_for(1000);
    world.mischief = Mischief::LoseEvents(4);
    world.trigger(3, false);
    world.trigger(4, false);
    world.run_for(10_000);
    world.set_status(0, WebhookStatus::Active);
    world.drain();
    expect(&world, &["accounting", "progress"]);
}

#[test]
fn measures_notices_an_attempt_that_is_not_measured() {
    let mut world = clean(&[Script::Status(500, 1000)], 2);
    each(&mut world, |what| {
        if let Happening::Checkpoint(checkpoint) = what {
            checkpoint.rows.iter_mut().for_each(|row| row.measured.attempt /= 2);
        }
    });
    expect(&world, &["measures"]);
}

#[test]
fn measures_notices_a_lane_that_is_said_to_wait_for_ever() {
    let mut world = clean(&[], 2);
    each(&mut world, |what| {
        if let Happening::Checkpoint(checkpoint) = what {
            checkpoint.rows.iter_mut().for_each(|row| row.tally.lanes_blocked += 1);
            checkpoint.shards.iter_mut().for_each(|row| row.totals.lanes_blocked += 1);
        }
    });
    expect(&world, &["measures"]);
}

#[test]
fn secrets_notices_a_secret_that_signs_after_its_grace() {
    let mut world = world(Plan::quiet());
    world.create("hook", order(0));
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world.run_for(1000);
    world.rotate(0, 60);
    world.run_for(1_000_000);
    world.trigger(3, false);
    world.drain();
    expect(&world, &[]);
    each(&mut world, |what| {
        if let Happening::Learned { terms, .. } = what
            && let Some((_, until)) = &mut terms.secrets[1]
        {
            *until -= 60;
        }
    });
    expect(&world, &["secrets"]);
}

#[test]
fn secrets_notices_an_order_that_is_wrong() {
    let mut world = clean(&[], 1);
    change_sent(&mut world, 0, |sent| sent.signers.standard.push(0));
    expect(&world, &["secrets"]);
}

#[test]
fn numbers_notices_an_event_lost_on_its_way() {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { sequence: true, ..order(0) });
    world.run_for(1000);
    world.mischief = Mischief::LoseEvents(4);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    for key in [3, 4, 3] {
        world.trigger(key, false);
    }
    world.drain();
    let rules = violations(&world.history, &world.plan);
    assert!(rules.iter().any(|(name, _)| *name == "numbers"), "{rules:?}");
}

#[test]
fn numbers_notices_one_that_changes() {
    for kind in 0..3 {
        let numbered = Order { sequence: true, ..order(0) };
        let mut world = run(numbered, &[Script::Status(500, 1000)], 1, Mischief::None);
        expect(&world, &[]);
        change_sent(&mut world, 1, |sent| {
            let numbers = sent.numbers.as_mut().expect("it is numbered");
            match kind {
                0 => numbers.of_webhook += 1,
                1 => numbers.of_key += 1,
                _ => numbers.stream = "another".to_owned(),
            }
        });
        expect(&world, &["numbers"]);
    }
}

/// Every rule has a control above.
#[test]
fn no_rule_is_without_a_control() {
    let here = include_str!("controls.rs");
    let shown: BTreeSet<&str> =
        here.split("&[\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    for (name, _) in RULES {
        assert!(shown.contains(name), "rule \"{name}\" has no control");
    }
}
