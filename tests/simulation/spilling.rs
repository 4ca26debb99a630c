//! Single situations of an engine that keeps a journal, each with the outcome that the contract
//! wants. The rules are checked on each of them, too.

use super::endpoints::Script;
use super::faults::{JournalPlan, Plan};
use super::history::{Form, Happening, Note};
use super::lives::Mood;
use super::operations::Order;
use super::scenarios::{finish, order, retry, sents, tally, world};
use super::world::World;
use ferrite::core::format::Format;
use ferrite::core::ledger::WebhookStatus;
use ferrite::core::on_full::OnFull;
use ferrite::core::replay::Which;
use ferrite::core::while_disabled::WhileDisabled;

const WORKS: Script = Script::Status(200, 1000);
const FAILS: Script = Script::Status(500, 1000);
/// Answers too late to matter.
const SLEEPS: Script = Script::Status(200, 3_000_000);

/// A world whose shards keep a journal, with room for `pending_max` deliveries of a webhook.
pub fn durable(pending_max: usize) -> World {
    durable_with(pending_max, JournalPlan::default())
}

fn durable_with(pending_max: usize, journal: JournalPlan) -> World {
    let plan = Plan {
        pending_max,
        wake_us: Some(0),
        endpoints: 2,
        journal: Some(journal),
        ..Plan::quiet()
    };
    let mut world = world(plan);
    world.keep_journal();
    world
}

/// One that sends one event at a time, and waits long for answers.
pub fn one_by_one(endpoint: usize) -> Order {
    Order { concurrency: 1, timeout_ms: 10_000, ..order(endpoint) }
}

pub fn trigger(world: &mut World, keys: impl IntoIterator<Item = u32>) {
    for key in keys {
        assert!(world.trigger(key, false), "nobody is refused");
    }
    (0..world.seats.len()).for_each(|shard| world.take_in(shard));
}

fn notes(world: &World) -> impl Iterator<Item = &Note> {
    world.history.entries.iter().filter_map(|entry| match &entry.what {
        Happening::Journal { note, .. } => Some(note),
        _ => None,
    })
}

/// The webhooks for which each event was spilled.
fn spilled(world: &World) -> Vec<Vec<u32>> {
    let spilled = notes(world).filter_map(|note| match note {
        Note::Event { spilled, .. } => Some(spilled.clone()),
        _ => None,
    });
    spilled.collect()
}

/// The events that a webhook was sent, in order.
fn events_of(world: &World, webhook: u32) -> Vec<u32> {
    let own = sents(world).into_iter().filter(|(_, sent)| sent.name.webhook == webhook);
    own.flat_map(|(_, sent)| sent.carried).map(|carried| carried.event).collect()
}

/// DUR-3, ORD-1: what has no room in memory waits in the journal, again and again.
#[test]
fn a_webhook_lags_and_catches_up_as_often_as_need_be() {
    let mut world = durable(4);
    world.create("hook", one_by_one(0));
    world.run_for(10_000);
    world.endpoints[0].forever = Some(WORKS);
    for round in 1..=3 {
        trigger(&mut world, (0..20).map(|number| number % 3));
        let now = tally(&world, 0);
        assert_eq!((now.pending, now.spilled), (20, 16));
        world.run_for(100_000);
        let now = tally(&world, 0);
        assert_eq!((now.pending, now.spilled, now.delivered), (0, 0, 20 * round));
        // One that finds room again does not go through the journal.
        assert_eq!(spilled(&world).iter().filter(|of| !of.is_empty()).count() as u64, 16 * round);
    }
    finish(&mut world);
    assert_eq!(events_of(&world, 0), (0..60).collect::<Vec<_>>());
}

/// One event, spilled for the webhook whose endpoint sleeps, in memory for the other.
#[test]
fn an_event_is_spilled_for_one_webhook_only() {
    let mut world = durable(2);
    world.create("sleeps", one_by_one(0));
    world.create("works", one_by_one(1));
    world.run_for(10_000);
    world.endpoints[0].forever = Some(SLEEPS);
    world.endpoints[1].forever = Some(WORKS);
    for key in 0..10 {
        trigger(&mut world, [key]);
        world.run_for(5000);
    }
    assert_eq!(events_of(&world, 1), (0..10).collect::<Vec<_>>());
    assert_eq!((tally(&world, 0).pending, tally(&world, 0).spilled), (10, 8));
    assert!(spilled(&world)[2..].iter().all(|webhooks| *webhooks == [0]));
    world.endpoints[0].forever = Some(WORKS);
    finish(&mut world);
    assert_eq!(events_of(&world, 0), (0..10).collect::<Vec<_>>());
}

/// DEL-3: each webhook gets its form of an event, spilled or not, after a restart too.
#[test]
fn an_event_is_kept_in_all_its_forms() {
    let mut world = durable(2);
    world.create("plain", one_by_one(0));
    let binary = Format::CloudEventsBinary;
    world.create("binary", Order { format: binary, sequence: true, ..one_by_one(0) });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(SLEEPS);
    trigger(&mut world, 0..6);
    world.run_for(20_000);
    world.restart_with(2, false);
    world.endpoints[0].forever = Some(WORKS);
    finish(&mut world);
    for (_, sent) in sents(&world) {
        let form = if sent.name.webhook == 0 { Form::Ferrite } else { Form::Binary };
        assert_eq!((sent.form, sent.numbers.is_some()), (form, sent.name.webhook == 1));
    }
    assert_eq!((tally(&world, 0).delivered, tally(&world, 1).delivered), (6, 6));
}

/// What a deleted webhook had in the journal is cancelled there, also what is on its way.
#[test]
fn a_webhook_is_deleted_while_it_lags() {
    for wait_us in [2000, 20_000, 60_000] {
        let slow = JournalPlan { fetch_us: 50_000, ..JournalPlan::default() };
        let mut world = durable_with(2, slow);
        world.create("hook", one_by_one(0));
        world.run_for(10_000);
        world.endpoints[0].forever = Some(WORKS);
        trigger(&mut world, 0..10);
        world.run_for(wait_us);
        assert!(world.store().asked(0, 1) > 0 || wait_us != 20_000);
        world.delete(0);
        finish(&mut world);
        let tally = tally(&world, 0);
        assert_eq!((tally.delivered + tally.cancelled, tally.spilled), (10, 0));
        assert!(tally.cancelled > 0);
    }
}

/// Disabled with `keep` it lags for as long as it is, also over a restart.
#[test]
fn a_disabled_webhook_keeps_its_events_in_the_journal() {
    let mut world = durable(2);
    world.create("hook", Order { while_disabled: WhileDisabled::Keep, ..one_by_one(0) });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(WORKS);
    world.set_status(0, WebhookStatus::Disabled);
    world.run_for(1000);
    trigger(&mut world, [1, 2, 3, 1, 2, 3]);
    world.run_for(100_000);
    world.restart_with(1, false);
    world.run_for(100_000);
    trigger(&mut world, [1, 2, 3, 1, 2, 3]);
    world.run_for(100_000);
    let now = tally(&world, 0);
    assert_eq!((now.pending, now.spilled), (12, 10));
    assert!(sents(&world).is_empty());
    world.set_status(0, WebhookStatus::Active);
    finish(&mut world);
    assert_eq!(events_of(&world, 0), (0..12).collect::<Vec<_>>());
}

/// OVR-2: when the disk is full too, the oldest in memory makes room.
#[test]
fn the_oldest_makes_room_when_the_journal_is_full() {
    let mut world = durable(4);
    world.create("hook", Order { on_full: OnFull::DropOldest, ..one_by_one(0) });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(SLEEPS);
    world.change_mood(Mood::Full, true);
    world.run_for(1000);
    trigger(&mut world, 0..10);
    let now = tally(&world, 0);
    // The first is under way; the three behind it are dropped, and then there is none.
    assert_eq!((now.triggered, now.dropped, now.pending, now.spilled), (10, 3, 7, 6));
    world.change_mood(Mood::Full, false);
    world.endpoints[0].forever = Some(WORKS);
    finish(&mut world);
    assert_eq!(events_of(&world, 0), [0, 4, 5, 6, 7, 8, 9]);
}

/// OVR-2: a webhook that lags turns callers away while the journal is full, and no others.
#[test]
fn a_full_journal_turns_away_only_for_webhooks_that_lag() {
    let mut world = durable(2);
    world.create("hook", one_by_one(0));
    world.run_for(10_000);
    world.endpoints[0].forever = Some(SLEEPS);
    world.change_mood(Mood::Full, true);
    world.run_for(1000);
    trigger(&mut world, [0, 1]);
    world.run_for(1000);
    trigger(&mut world, [2]);
    world.run_for(1000);
    assert!(!world.trigger(3, false), "it lags");
    world.endpoints[0].forever = Some(WORKS);
    world.run_for(4_000_000);
    assert_eq!(tally(&world, 0).spilled, 0);
    trigger(&mut world, [4]);
    world.change_mood(Mood::Full, false);
    finish(&mut world);
    assert_eq!(tally(&world, 0).delivered, 4);
}

/// What could not be written and has no room in memory is lost, counted, and told.
#[test]
fn what_is_spilled_is_lost_with_the_disk() {
    let mut world = durable(2);
    world.create("hook", one_by_one(0));
    world.run_for(10_000);
    world.endpoints[0].forever = Some(SLEEPS);
    world.change_mood(Mood::Fails, true);
    trigger(&mut world, 0..10);
    world.run_for(100_000);
    let now = tally(&world, 0);
    assert_eq!((now.dropped, now.pending, now.spilled), (8, 2, 0));
    let refused = notes(&world).filter(|note| matches!(note, Note::Answered { kept: false, .. }));
    assert_eq!(refused.count(), 10);
    world.change_mood(Mood::Fails, false);
    world.endpoints[0].forever = Some(WORKS);
    world.run_for(4_000_000);
    trigger(&mut world, 20..22);
    finish(&mut world);
    assert_eq!(tally(&world, 0).delivered, 4);
}

/// A worker breaks down while what it has asked for is on its way.
#[test]
fn a_breakdown_loses_nothing_that_is_being_fetched() {
    for on_full in [OnFull::Reject, OnFull::DropOldest] {
        let slow = JournalPlan { fetch_us: 20_000, ..JournalPlan::default() };
        let mut world = durable_with(2, slow);
        world.create("hook", Order { on_full, ..one_by_one(0) });
        world.run_for(10_000);
        world.endpoints[0].forever = Some(WORKS);
        trigger(&mut world, [1, 2, 1, 2, 1, 2, 1, 2]);
        for _ in 0..10 {
            world.run_for(7000);
            world.break_down(0);
        }
        finish(&mut world);
        assert_eq!(tally(&world, 0).delivered, 8);
    }
}

/// A worker breaks down while it waits to ask again for what is not written yet.
#[test]
fn a_breakdown_does_not_forget_to_ask_again() {
    for (on_full, deletes) in
        [(OnFull::Reject, false), (OnFull::DropOldest, false), (OnFull::Reject, true)]
    {
        let slow = JournalPlan { write_us: 100_000, fetch_us: 1, ..JournalPlan::default() };
        let mut world = durable_with(1, slow);
        world.create("hook", Order { on_full, ..one_by_one(0) });
        world.run_for(10_000);
        world.endpoints[0].forever = Some(Script::Status(200, 100));
        for key in 0..20 {
            trigger(&mut world, [key, key, key]);
            world.run_for(3000);
            if deletes && key == 10 {
                world.delete(0);
            }
            world.run_for(1000);
            world.break_down(0);
        }
        finish(&mut world);
        let tally = tally(&world, 0);
        assert_eq!((tally.pending, tally.spilled), (0, 0));
        assert!(deletes || tally.delivered == 60);
    }
}

/// DUR-4: a dead letter is one in the next life, and can be sent again.
#[test]
fn a_dead_letter_outlives_the_engine() {
    for orderly in [false, true] {
        let mut world = durable(100);
        world.create("hook", Order { retry: retry(0, 0), ..order(0) });
        world.run_for(10_000);
        world.endpoints[0].forever = Some(FAILS);
        trigger(&mut world, [1, 2]);
        world.run_for(100_000);
        for shards in [3, 2] {
            world.restart_with(shards, orderly);
            world.run_for(100_000);
            assert_eq!(world.lives[0].ledger.dead().tally().kept, 2);
            assert_eq!((tally(&world, 0).triggered, tally(&world, 0).spilled), (0, 0));
        }
        assert_eq!(sents(&world).len(), 2, "it is not sent by itself");
        world.endpoints[0].forever = Some(WORKS);
        assert_eq!(world.replay(0, Which::Dead, 1000), 2);
        finish(&mut world);
        assert_eq!((tally(&world, 0).delivered, world.store().left().len()), (2, 0));
    }
}

/// A dead letter that was being replayed when the engine ended is a dead letter again.
#[test]
fn a_replay_that_a_crash_cuts_off_can_be_repeated() {
    let mut world = durable(100);
    world.create("hook", Order { retry: retry(0, 0), timeout_ms: 10_000, ..order(0) });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(FAILS);
    trigger(&mut world, [1]);
    world.run_for(100_000);
    world.endpoints[0].forever = Some(SLEEPS);
    assert_eq!(world.replay(0, Which::Dead, 1000), 1);
    world.run_for(100_000);
    assert_eq!(world.lives[0].ledger.dead().tally().kept, 0);
    world.restart_with(1, false);
    world.run_for(100_000);
    assert_eq!(world.lives[0].ledger.dead().tally().kept, 1);
    world.endpoints[0].forever = Some(WORKS);
    assert_eq!(world.replay(0, Which::Dead, 1000), 1);
    finish(&mut world);
    assert_eq!(tally(&world, 0).delivered, 1);
}

/// A crash loop does not retry for ever: attempts are remembered.
#[test]
fn attempts_outlive_the_engine() {
    let mut world = durable(100);
    world.create("hook", Order { retry: retry(4, 100), ..order(0) });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(FAILS);
    trigger(&mut world, [1]);
    for _ in 0..5 {
        world.run_for(80_000);
        world.restart_with(2, false);
    }
    world.run_for(10_000_000);
    let attempts: Vec<u32> = sents(&world).iter().map(|(_, sent)| sent.attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5]);
    assert_eq!(world.lives[0].ledger.dead().tally().kept, 1);
    world.drain();
}

/// What the journal has of a webhook whose definition is gone is cancelled.
#[test]
fn a_definition_may_be_gone() {
    let mut world = durable(3);
    world.create("hook", Order { retry: retry(0, 0), ..one_by_one(0) });
    world.create("other", one_by_one(1));
    world.run_for(10_000);
    world.endpoints[0].forever = Some(FAILS);
    world.endpoints[1].forever = Some(SLEEPS);
    trigger(&mut world, [1]);
    world.run_for(100_000);
    world.endpoints[0].forever = Some(SLEEPS);
    trigger(&mut world, 2..20);
    world.run_for(100_000);
    assert_eq!(world.lives[0].ledger.dead().tally().kept, 1);
    world.delete(0);
    // Before the worker hears of it.
    world.restart_with(2, false);
    world.endpoints[1].forever = Some(WORKS);
    finish(&mut world);
    assert!(world.store().left().is_empty());
    assert_eq!(tally(&world, 1).delivered, 19);
}

/// A webhook is deleted before its worker has taken up what an earlier life has left of it.
#[test]
fn what_is_unread_goes_with_its_webhook() {
    let mut world = durable(2);
    world.create("hook", one_by_one(0));
    world.run_for(10_000);
    world.endpoints[0].forever = Some(SLEEPS);
    trigger(&mut world, 0..20);
    world.run_for(100_000);
    world.restart_with(2, false);
    world.run_for(10_000);
    assert!(tally(&world, 0).pending > 0);
    world.delete(0);
    finish(&mut world);
}

/// `COALESCE latest` in the journal: what comes back gives way to what comes back behind it.
#[test]
fn events_coalesce_when_they_come_back() {
    let mut world = durable(2);
    world.create("hook", Order { coalesce: true, ..one_by_one(0) });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(SLEEPS);
    trigger(&mut world, [1, 2]);
    trigger(&mut world, [1, 2, 1, 2, 1, 2]);
    world.run_for(100_000);
    assert_eq!((tally(&world, 0).pending, tally(&world, 0).coalesced), (8, 0));
    // There is room for all of them now.
    world.plan.pending_max = 8;
    world.restart_with(1, false);
    world.endpoints[0].forever = Some(Script::Status(200, 50_000));
    finish(&mut world);
    assert_eq!(events_of(&world, 0), [0, 6, 7]);
    let tally = tally(&world, 0);
    assert_eq!((tally.delivered, tally.coalesced), (2, 6));
}

/// A dead letter of an early life is older than what a later one has left, and gives way to it.
#[test]
fn a_replay_knows_the_order_of_the_lives() {
    let mut world = durable(100);
    world.create("hook", Order { coalesce: true, retry: retry(0, 0), ..one_by_one(0) });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(FAILS);
    trigger(&mut world, [1]);
    world.run_for(100_000);
    world.update(0, |settings| settings.retry = retry(9, 20_000));
    world.restart_with(1, false);
    world.run_for(100_000);
    trigger(&mut world, [1]);
    world.run_for(100_000);
    world.restart_with(1, false);
    world.run_for(100_000);
    // The newer one waits for its retry.
    assert_eq!((tally(&world, 0).pending, tally(&world, 0).lanes_blocked), (1, 1));
    assert_eq!(world.replay(0, Which::Dead, 1000), 1);
    world.run_for(100_000);
    assert_eq!((tally(&world, 0).pending, tally(&world, 0).coalesced), (1, 1));
    world.endpoints[0].forever = Some(WORKS);
    finish(&mut world);
    assert_eq!(events_of(&world, 0).last(), Some(&1));
}

/// What gives way to a replayed event is written in time, though no event comes.
#[test]
fn a_replay_writes_down_what_gives_way_to_it() {
    let mut world = durable(100);
    world.create("hook", Order { coalesce: true, retry: retry(0, 0), ..one_by_one(0) });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(FAILS);
    for _ in 0..2 {
        trigger(&mut world, [1]);
        world.run_for(50_000);
    }
    world.endpoints[0].forever = Some(SLEEPS);
    trigger(&mut world, [2]);
    world.run_for(50_000);
    assert_eq!(world.replay(0, Which::Dead, 100_000), 2);
    world.run_for(8_000);
    assert_eq!(tally(&world, 0).coalesced, 1);
    world.checkpoint();
    world.endpoints[0].forever = Some(WORKS);
    finish(&mut world);
}

/// ORD-3: a backlog survives changes of the worker count, in order.
#[test]
fn a_backlog_survives_other_worker_counts() {
    let mut world = durable(6);
    world.create("hook", Order { concurrency: 3, ..one_by_one(0) });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(SLEEPS);
    for shards in [3, 2, 1] {
        trigger(&mut world, (0..60).map(|number| number % 7));
        world.run_for(50_000);
        world.endpoints[0].forever = Some(WORKS);
        world.run_for(10_000);
        world.endpoints[0].forever = Some(SLEEPS);
        world.run_for(10_000);
        world.restart_with(shards, shards == 2);
        world.run_for(10_000);
    }
    world.endpoints[0].forever = Some(WORKS);
    finish(&mut world);
    let mut events = events_of(&world, 0);
    events.sort_unstable();
    events.dedup();
    assert_eq!(events, (0..180).collect::<Vec<_>>());
}

/// While the journal takes nothing, no events are taken in; then all are.
#[test]
fn a_journal_without_room_holds_up_the_intake() {
    let mut world = durable(100);
    world.create("hook", one_by_one(0));
    world.run_for(10_000);
    world.endpoints[0].forever = Some(WORKS);
    world.change_mood(Mood::Refuses, true);
    trigger(&mut world, [1]);
    trigger(&mut world, [2, 3, 4]);
    world.run_for(100_000);
    assert_eq!(tally(&world, 0).triggered, 1);
    world.change_mood(Mood::Refuses, false);
    finish(&mut world);
    assert_eq!(tally(&world, 0).delivered, 4);
}
