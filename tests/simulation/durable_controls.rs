//! Negative controls of the rules over the lives of an engine: a journal that cheats, or a history
//! that was tampered with, must be noticed.

use super::checkers::{journal_rules, violations};
use super::endpoints::Script;
use super::history::{Entry, Happening, Note};
use super::journal::Trick;
use super::operations::Order;
use super::scenarios::{keeps_the_rules, order, retry};
use super::spilling::{durable, one_by_one, trigger};
use super::world::World;
use ferrite::core::journal::Finish;

const WORKS: Script = Script::Status(200, 1000);
const FAILS: Script = Script::Status(500, 1000);
const SLEEPS: Script = Script::Status(200, 3_000_000);

/// This rule notices, maybe with others.
fn noticed_by(world: &World, rule: &str) {
    let found = violations(&world.history, &world.plan);
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    assert!(names.contains(&rule), "{names:?}\n{}", world.history.tail(60));
}

/// A run over two lives: some events are delivered, some are spilled, and the engine crashes.
fn two_lives(trick: Trick, orderly: bool) -> World {
    let mut world = durable(3);
    world.create("hook", Order { retry: retry(3, 20), ..one_by_one(0) });
    world.run_for(10_000);
    world.trick(trick);
    world.endpoints[0].forever = Some(WORKS);
    trigger(&mut world, [1, 2]);
    world.run_for(50_000);
    world.endpoints[0].forever = Some(FAILS);
    trigger(&mut world, [1, 1, 1, 2, 2, 2, 1, 1]);
    world.run_for(30_000);
    world.restart_with(1, orderly);
    world.run_for(1000);
    world.endpoints[0].forever = Some(WORKS);
    trigger(&mut world, [1, 2]);
    world.run_for(100_000);
    trigger(&mut world, [1, 2]);
    world.drain();
    world
}

#[test]
fn an_honest_journal_breaks_no_rule() {
    keeps_the_rules(&two_lives(Trick::None, false));
    keeps_the_rules(&two_lives(Trick::None, true));
}

#[test]
fn kept_notices_an_event_that_is_forgotten_after_the_answer() {
    noticed_by(&two_lives(Trick::ForgetEvents(4), false), "kept");
}

#[test]
fn kept_notices_attempts_that_are_forgotten() {
    noticed_by(&two_lives(Trick::LoseAttempts, true), "kept");
}

#[test]
fn kept_notices_acks_that_are_forgotten() {
    noticed_by(&two_lives(Trick::LoseAcks, true), "kept");
}

#[test]
fn kept_notices_a_dead_letter_that_is_forgotten() {
    let mut world = durable(3);
    world.create("hook", Order { retry: retry(0, 0), ..order(0) });
    world.run_for(10_000);
    world.trick(Trick::LoseDeaths);
    world.endpoints[0].forever = Some(FAILS);
    trigger(&mut world, [1]);
    world.run_for(50_000);
    world.restart_with(1, true);
    world.drain();
    noticed_by(&world, "kept");
}

#[test]
fn order_over_lives_notices_a_fetch_that_skips() {
    noticed_by(&two_lives(Trick::SkipFetched, false), "order over lives");
}

#[test]
fn order_over_lives_notices_a_fetch_that_swaps() {
    noticed_by(&two_lives(Trick::SwapFetched, false), "order over lives");
}

/// The webhook does not lag any more, and has not caught up.
#[test]
fn order_over_lives_notices_a_lag_that_is_left_too_early() {
    noticed_by(&two_lives(Trick::EndTooEarly, false), "order over lives");
}

#[test]
fn order_over_lives_notices_what_gives_way_to_nothing() {
    let mut world = two_lives(Trick::None, false);
    let last = last_finished(&world);
    let Happening::Journal { note: Note::Finished { finish, .. }, .. } =
        &mut world.history.entries[last].what
    else {
        unreachable!("it is one")
    };
    *finish = Finish::Coalesced as u16;
    noticed_by(&world, "order over lives");
}

#[test]
fn identity_notices_other_bytes_in_another_life() {
    noticed_by(&two_lives(Trick::OtherBytes, false), "identity");
}

#[test]
fn memory_notices_more_than_was_asked_for() {
    noticed_by(&two_lives(Trick::FetchMore, false), "memory");
}

#[test]
fn left_notices_acks_that_are_lost_without_a_crash() {
    let mut world = durable(3);
    world.create("hook", one_by_one(0));
    world.run_for(10_000);
    world.trick(Trick::LoseAcks);
    world.endpoints[0].forever = Some(WORKS);
    trigger(&mut world, [1]);
    world.drain();
    noticed_by(&world, "left");
}

fn last_finished(world: &World) -> usize {
    let is_it = |entry: &Entry| {
        matches!(entry.what, Happening::Journal { note: Note::Finished { .. }, .. })
    };
    world.history.entries.iter().rposition(is_it).expect("something is finished")
}

#[test]
fn notes_notices_a_delivery_that_is_not_acked() {
    let mut world = two_lives(Trick::None, false);
    let last = last_finished(&world);
    world.history.entries.remove(last);
    noticed_by(&world, "notes");
}

#[test]
fn notes_notices_acks_without_a_reason() {
    for finish in [Finish::Dead, Finish::Cancelled, Finish::Dropped, Finish::Coalesced] {
        let mut world = two_lives(Trick::None, false);
        let last = last_finished(&world);
        let Happening::Journal { note: Note::Finished { finish: told, .. }, .. } =
            &mut world.history.entries[last].what
        else {
            unreachable!("it is one")
        };
        *told = finish as u16;
        noticed_by(&world, "notes");
    }
}

#[test]
fn notes_notices_an_event_that_is_not_written_down_for_all() {
    let mut world = two_lives(Trick::None, false);
    let mut first = true;
    for entry in &mut world.history.entries {
        if let Happening::Journal { note: Note::Event { webhooks, .. }, .. } = &mut entry.what
            && std::mem::take(&mut first)
        {
            webhooks.clear();
        }
    }
    noticed_by(&world, "notes");
}

#[test]
fn finished_notices_what_is_sent_after_its_end() {
    let mut world = two_lives(Trick::None, false);
    let sent = |entry: &Entry| matches!(entry.what, Happening::Sent(_));
    let first = world.history.entries.iter().find(|entry| sent(entry)).expect("one was sent");
    let again = Entry { what: first.what.clone(), ..world.history.entries[last_finished(&world)] };
    world.history.entries.push(again);
    noticed_by(&world, "finished");
}

#[test]
fn accounting_notices_what_is_spilled_and_not_counted() {
    let mut world = durable(1);
    world.create("hook", one_by_one(0));
    world.run_for(10_000);
    world.endpoints[0].forever = Some(SLEEPS);
    trigger(&mut world, [1, 2, 3]);
    world.lives[0].ledger.counters(0).spilled.subtract(1);
    world.checkpoint();
    world.lives[0].ledger.counters(0).spilled.add(1);
    noticed_by(&world, "accounting");
}

#[test]
fn agreement_notices_what_is_not_handed_over() {
    let mut world = durable(1);
    world.create("hook", one_by_one(0));
    world.run_for(10_000);
    world.endpoints[0].forever = Some(WORKS);
    trigger(&mut world, [1]);
    world.mischief = super::world::Mischief::SleepyTimeouts(1_000_000);
    world.run_for(500_000);
    world.checkpoint();
    noticed_by(&world, "agreement");
}

/// Every rule that only an engine with a journal can break has a control above.
#[test]
fn no_journal_rule_is_without_a_control() {
    let here = include_str!("durable_controls.rs");
    for name in journal_rules() {
        let shown = format!("\"{name}\");");
        assert!(here.contains(&shown), "rule \"{name}\" has no control");
    }
}
