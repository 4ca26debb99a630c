//! Single situations with `PIPELINE`, each with the outcome that the contract wants. The rules are
//! checked on each of them, too.

use super::endpoints::Script;
use super::faults::Plan;
use super::history::{End, Happening, Sent};
use super::operations::Order;
use super::scenarios::{connections_opened, count, finish, order, sents, tally, world};
use super::world::World;
use ferrite::core::failure::Failure;
use std::collections::BTreeSet;

/// The key of the request that makes a connection known.
const FIRST_KEY: u32 = 999;

/// An order with `pipeline` requests at once, and a window for one connection full of them.
fn piped(pipeline: u32) -> Order {
    Order { pipeline, concurrency: pipeline, ..order(0) }
}

/// A world with a webhook, and a connection that has answered one request.
fn warm(plan: Plan, order: Order) -> World {
    let mut world = world(Plan { wake_us: Some(0), endpoints: 2, ..plan });
    world.create("hook", order);
    world.run_for(10_000);
    world.endpoints[0].script.push_back(Script::Status(200, 1000));
    for endpoint in 0..2 {
        world.endpoints[endpoint].forever = Some(Script::Status(200, 1000));
    }
    world.trigger(FIRST_KEY, false);
    world.run_for(100_000);
    assert_eq!(tally(&world, 0).delivered, 1);
    world
}

/// Events of these keys are triggered and taken in at one moment.
fn trigger(world: &mut World, keys: std::ops::Range<u32>) {
    keys.for_each(|key| {
        world.trigger(key, false);
    });
    world.take_in(0);
}

fn keys(sents: &[(u64, Sent)]) -> Vec<u32> {
    sents.iter().map(|(_, sent)| sent.key).collect()
}

/// How many are written before the next answer arrives.
fn alone(world: &World, link: u32) -> usize {
    let entries = world.history.entries.iter();
    entries
        .take_while(
            |entry| !matches!(entry.what, Happening::Answered { link: of, .. } if of == link),
        )
        .filter(|entry| matches!(&entry.what, Happening::Sent(sent) if sent.link == link))
        .count()
}

/// Requests stand behind each other on the connection that was idle; no other is opened.
#[test]
fn a_burst_fills_the_connection_that_was_idle() {
    let mut world = warm(Plan::quiet(), piped(16));
    trigger(&mut world, 0..16);
    world.run_for(500);
    assert_eq!(world.history.sents().count(), 17, "all are written before one is answered");
    finish(&mut world);
    assert_eq!((tally(&world, 0).delivered, connections_opened(&world)), (17, 1));
}

/// When the connections are full, as many more are opened as the window needs.
#[test]
fn full_connections_are_not_enough_for_a_wide_window() {
    let mut world = warm(Plan::quiet(), Order { concurrency: 64, ..piped(16) });
    world.endpoints[0].forever = Some(Script::Status(200, 10_000));
    trigger(&mut world, 0..64);
    finish(&mut world);
    assert_eq!((tally(&world, 0).delivered, connections_opened(&world)), (65, 4));
}

/// The requests whose answers the connection took with it go out again, uncounted and in their
/// order, the first of them alone.
#[test]
fn a_reset_in_the_middle_of_sixteen() {
    let mut world = warm(Plan::quiet(), piped(16));
    world.endpoints[0].script.extend([Script::Status(200, 1000); 7]);
    world.endpoints[0].script.push_back(Script::StatusThenReset(200, 1000));
    trigger(&mut world, 0..16);
    finish(&mut world);
    let sents = sents(&world);
    assert_eq!(keys(&sents[17..]), (8..16).collect::<Vec<_>>());
    assert!(sents.iter().all(|(_, sent)| sent.attempt == 1));
    assert_eq!(alone(&world, sents[17].1.link), 1);
    let tally = tally(&world, 0);
    assert_eq!((tally.delivered, tally.attempts, tally.resent), (17, 17, 8));
    assert_eq!(connections_opened(&world), 2);
}

#[test]
fn a_close_header_in_the_middle_of_sixteen() {
    let mut world = warm(Plan::quiet(), piped(16));
    world.endpoints[0].script.extend([Script::Status(200, 1000); 4]);
    world.endpoints[0].script.push_back(Script::LastStatus(200, 1000));
    trigger(&mut world, 0..16);
    finish(&mut world);
    let sents = sents(&world);
    assert_eq!(keys(&sents[17..]), (5..16).collect::<Vec<_>>());
    assert_eq!(alone(&world, sents[17].1.link), 1);
    let tally = tally(&world, 0);
    assert_eq!((tally.delivered, tally.attempts, tally.resent), (17, 17, 11));
}

/// The oldest times out, counted; those behind it, whose time is not over, are not.
#[test]
fn a_head_that_hangs() {
    let mut world = warm(Plan::quiet(), piped(16));
    world.endpoints[0].script.push_back(Script::Hang);
    trigger(&mut world, 0..1);
    world.run_for(100_000);
    trigger(&mut world, 1..16);
    world.run_for(100_000);
    assert_eq!(world.history.sents().count(), 17, "they stand behind it");
    finish(&mut world);
    let timeouts = count(
        &world,
        |what| matches!(what, Happening::Ended(ended) if ended.end == End::Failed(Failure::Timeout)),
    );
    let sents = sents(&world);
    assert_eq!((timeouts, keys(&sents[17..32])), (1, (1..16).collect()));
    assert_eq!(alone(&world, sents[17].1.link), 1);
    let tally = tally(&world, 0);
    assert_eq!((tally.delivered, tally.attempts, tally.resent), (17, 18, 15));
}

/// Those whose own time is over with the oldest's time out with it.
#[test]
fn deadlines_are_each_request_s_own() {
    let mut world = warm(Plan::quiet(), piped(16));
    world.endpoints[0].script.push_back(Script::Hang);
    trigger(&mut world, 0..3);
    world.run_for(100_000);
    trigger(&mut world, 3..5);
    finish(&mut world);
    let tally = tally(&world, 0);
    assert_eq!((tally.delivered, tally.failed_attempts, tally.resent), (6, 3, 2));
}

/// Nothing is put on a connection that is about to go because its time is over, too.
#[test]
fn connections_that_are_due_at_once_get_nothing_of_each_other() {
    for behind in 1..=6 {
        let mut world = warm(Plan::quiet(), Order { concurrency: 8, ..piped(4) });
        // Two connections that are known.
        trigger(&mut world, 0..8);
        world.run_for(200_000);
        assert_eq!(connections_opened(&world), 2);
        world.endpoints[0].script.extend([Script::Hang; 2]);
        trigger(&mut world, 0..2);
        world.run_for(100_000);
        trigger(&mut world, 2..2 + behind);
        world.run_for(100_000);
        finish(&mut world);
        let tally = tally(&world, 0);
        let wanted = (11 + u64::from(behind), 2, u64::from(behind));
        assert_eq!((tally.delivered, tally.failed_attempts, tally.resent), wanted);
    }
}

/// What the old endpoint has got is left to it, and what it has not goes to the new one.
#[test]
fn a_change_of_the_url_with_some_written() {
    let mut world = warm(Plan::quiet(), piped(16));
    world.plan.write_us = Some(10_000);
    world.endpoints[0].forever = Some(Script::Status(200, 20_000));
    trigger(&mut world, 0..4);
    while world.history.sents().count() < 5 {
        world.step(u64::MAX);
    }
    // The write of the first four is under way.
    trigger(&mut world, 4..8);
    world.move_to(0, 1);
    world.take_in(0);
    finish(&mut world);
    let to = |endpoint| {
        let there = |sent: &&(u64, Sent)| sent.1.endpoint == endpoint;
        keys(&sents(&world).iter().filter(there).cloned().collect::<Vec<_>>())
    };
    assert_eq!((to(0), to(1)), (vec![FIRST_KEY, 0, 1, 2, 3], vec![4, 5, 6, 7]));
    let withdrawn = count(
        &world,
        |what| matches!(what, Happening::Ended(ended) if ended.end == End::Withdrawn),
    );
    let tally = tally(&world, 0);
    assert_eq!((withdrawn, tally.delivered, tally.attempts, tally.resent), (4, 9, 9, 0));
}

/// An answer to what is not written whole ends the connection; what waits behind is not written.
#[test]
fn an_early_answer_with_requests_waiting() {
    let mut world = warm(Plan::quiet(), piped(16));
    world.plan.write_us = Some(10_000);
    trigger(&mut world, 0..1);
    while world.history.sents().count() < 2 {
        world.step(u64::MAX);
    }
    trigger(&mut world, 1..4);
    finish(&mut world);
    let sents = sents(&world);
    assert!(sents[1].1.reused);
    assert!(sents[2..].iter().all(|(_, sent)| sent.link != sents[1].1.link));
    let tally = tally(&world, 0);
    assert_eq!((tally.delivered, tally.attempts), (5, 5));
    assert!(tally.resent >= 3);
}

/// A connection that cannot be written to is not written to again, and what it still carries holds
/// up nothing else.
#[test]
fn a_write_that_fails_in_the_middle() {
    let mut world = warm(Plan::quiet(), Order { concurrency: 8, ..piped(4) });
    world.fail_write_after = Some(2);
    trigger(&mut world, 0..4);
    trigger(&mut world, 0..1);
    world.run_for(50_000);
    let sents = sents(&world);
    assert_eq!(keys(&sents), [FIRST_KEY, 0, 1, 2, 3, 0]);
    assert_ne!(sents[5].1.link, sents[4].1.link);
    assert_eq!(tally(&world, 0).delivered, 4, "the two that were whole, and the next of a key");
    finish(&mut world);
    let tally = tally(&world, 0);
    assert_eq!((tally.delivered, tally.failed_attempts), (6, 2));
}

/// Requests that come back from an endpoint that was left make room in the window at the new one.
#[test]
fn what_comes_back_from_an_endpoint_that_was_left_gets_a_connection() {
    let mut world = warm(Plan::quiet(), Order { concurrency: 8, ..piped(4) });
    world.endpoints[0].script.push_back(Script::Reset);
    world.endpoints[1].forever = Some(Script::Hang);
    trigger(&mut world, 0..4);
    world.run_for(500);
    world.move_to(0, 1);
    world.take_in(0);
    trigger(&mut world, 4..8);
    let to_new =
        |world: &World| count(world, |what| matches!(what, Happening::Opening { endpoint: 1, .. }));
    assert_eq!(to_new(&world), 1, "its room is enough for the rest of the window");
    world.run_for(5000);
    assert_eq!((to_new(&world), tally(&world, 0).resent), (2, 4));
    world.endpoints[1].forever = Some(Script::Status(200, 1000));
    finish(&mut world);
    assert_eq!(tally(&world, 0).delivered, 9);
}

/// A receiver that allows one webhook to pipeline has not said so to the other.
#[test]
fn webhooks_with_different_pipelines_share_no_connection() {
    let mut world = warm(Plan::quiet(), Order { concurrency: 8, ..piped(4) });
    world.create("other", Order { concurrency: 8, ..piped(1) });
    world.run_for(10_000);
    trigger(&mut world, 0..40);
    finish(&mut world);
    let links = |webhook: u32| -> BTreeSet<u32> {
        let of = |sent: &(u64, Sent)| sent.1.name.webhook == webhook;
        sents(&world).into_iter().filter(of).map(|(_, sent)| sent.link).collect()
    };
    assert!(links(0).is_disjoint(&links(1)));
    assert_eq!((links(0).len(), links(1).len()), (2, 8));
    assert_eq!((tally(&world, 0).delivered, tally(&world, 1).delivered), (41, 40));
}

/// The other one's requests go out again, uncounted.
#[test]
fn a_webhook_is_deleted_that_shares_a_connection() {
    let half = Order { concurrency: 8, pattern: "key:1*".to_owned(), ..piped(16) };
    let mut world = world(Plan { wake_us: Some(0), ..Plan::quiet() });
    world.create("deleted", half.clone());
    world.create("kept", Order { pattern: "key:2*".to_owned(), ..half });
    world.run_for(10_000);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    trigger(&mut world, 10..11);
    world.run_for(100_000);
    world.endpoints[0].forever = Some(Script::Status(200, 50_000));
    for key in 0..4 {
        trigger(&mut world, 100 + key..101 + key);
        trigger(&mut world, 200 + key..201 + key);
    }
    world.run_for(10_000);
    assert_eq!((world.history.sents().count(), connections_opened(&world)), (9, 1));
    world.delete(0);
    world.take_in(0);
    finish(&mut world);
    let (deleted, kept) = (tally(&world, 0), tally(&world, 1));
    assert_eq!((deleted.delivered, deleted.cancelled), (1, 4));
    assert_eq!((kept.delivered, kept.attempts, kept.resent), (4, 4, 4));
    assert_eq!(keys(&sents(&world)[9..]), [200, 201, 202, 203]);
}
