//! Single situations with `COALESCE`, `ON_FULL` and `ORDER none`, each with the outcome that the
//! contract wants. The rules are checked on each of them, too.

use super::endpoints::Script;
use super::faults::Plan;
use super::history::Happening;
use super::operations::Order;
use super::scenarios::{count, finish, keeps_the_rules, order, retry, sents, tally, world};
use super::world::World;
use ferrite::core::on_full::OnFull;

/// A world with one webhook, whose endpoint answers after 1 ms, and room for `pending` deliveries.
fn with(pending_max: usize, order: Order) -> World {
    let mut world = world(Plan { wake_us: Some(0), pending_max, ..Plan::quiet() });
    world.create("hook", order);
    world.run_for(10_000);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    world
}

fn trigger(world: &mut World, keys: impl IntoIterator<Item = u32>) {
    for key in keys {
        world.trigger(key, true);
    }
    world.take_in(0);
}

/// The events that were answered 2xx, in the order in which they were sent.
fn delivered(world: &World) -> Vec<u32> {
    let answered = |id: u64| {
        count(
            world,
            |what| matches!(what, Happening::Answered { name, status: 200, .. } if name.id == id),
        ) > 0
    };
    let sents = sents(world).into_iter().filter(|(_, sent)| answered(sent.name.id));
    let mut events: Vec<u32> = sents.flat_map(|(_, sent)| sent.carried).map(|c| c.event).collect();
    events.dedup();
    events
}

/// While one event of a key is under way, those behind it shrink to the newest; each that gave way
/// is counted, and the sum of DEL-1 holds.
#[test]
fn only_the_latest_event_of_a_key_is_kept() {
    let mut world = with(1000, Order { coalesce: true, ..order(0) });
    trigger(&mut world, [1]);
    world.run_for(500);
    trigger(&mut world, [1, 1, 1, 1, 2]);
    finish(&mut world);
    assert_eq!(delivered(&world), [0, 5, 4]);
    let tally = tally(&world, 0);
    assert_eq!((tally.triggered, tally.delivered, tally.coalesced), (6, 3, 3));
}

/// A newer event that takes the place of one that has failed has its own attempts, and does not
/// wait for less time than the failed one would have.
#[test]
fn the_latest_event_has_its_own_attempts() {
    let mut world = with(1000, Order { coalesce: true, retry: retry(1, 100), ..order(0) });
    world.endpoints[0].script.extend([Script::Status(500, 1000), Script::Status(500, 1000)]);
    trigger(&mut world, [1]);
    world.run_for(50_000);
    let failed_at = sents(&world)[0].0;
    trigger(&mut world, [1]);
    finish(&mut world);
    let sents = sents(&world);
    assert!(sents[1].1.assigned_at >= failed_at + 100_000);
    let attempts: Vec<_> = sents.iter().map(|(_, s)| (s.carried[0].event, s.attempt)).collect();
    assert_eq!(attempts, [(0, 1), (1, 1), (1, 2)]);
    assert_eq!(tally(&world, 0).coalesced, 1);
}

/// What is in a batch is never replaced.
#[test]
fn an_event_in_a_batch_keeps_its_place() {
    let batch = Some((2, 20));
    let mut world = with(1000, Order { coalesce: true, batch, retry: retry(3, 50), ..order(0) });
    world.endpoints[0].script.push_back(Script::Status(500, 1000));
    trigger(&mut world, [1, 2]);
    world.run_for(10_000);
    trigger(&mut world, [1, 1]);
    finish(&mut world);
    let events: Vec<Vec<u32>> = sents(&world)
        .iter()
        .map(|(_, sent)| sent.carried.iter().map(|carried| carried.event).collect())
        .collect();
    assert_eq!(events, [vec![0, 1], vec![0, 1], vec![3]]);
}

/// Full, a webhook with `drop-oldest` drops what has waited longest, but nothing that is under
/// way, and never turns a caller away.
#[test]
fn the_oldest_makes_room() {
    let mut world = with(5, Order { concurrency: 2, on_full: OnFull::DropOldest, ..order(0) });
    world.endpoints[0].forever = Some(Script::Status(200, 200_000));
    for key in 0..10 {
        assert!(world.trigger(key, false), "nobody is refused");
        world.take_in(0);
    }
    world.run_for(1000);
    let tally_now = tally(&world, 0);
    assert_eq!((tally_now.pending, tally_now.dropped, tally_now.in_flight), (5, 5, 2));
    world.drain();
    assert_eq!(delivered(&world), [0, 1, 7, 8, 9]);
    let tally = tally(&world, 0);
    assert_eq!((tally.triggered, tally.delivered, tally.dropped, tally.pending), (10, 5, 5, 0));
}

/// The oldest may stand behind one of its own key that is under way, or wait for its retry.
#[test]
fn the_oldest_is_found_wherever_it_waits() {
    let mut world =
        with(4, Order { on_full: OnFull::DropOldest, retry: retry(5, 10_000), ..order(0) });
    world.endpoints[0].script.push_back(Script::Status(500, 100));
    world.endpoints[0].forever = Some(Script::Status(200, 200_000));
    trigger(&mut world, [1]);
    world.run_for(5_000);
    trigger(&mut world, [2, 2, 2]);
    world.run_for(1_000);
    // Key 1 waits for its retry, the first of key 2 is under way, two stand behind it.
    trigger(&mut world, [3, 3, 3]);
    world.drain();
    assert_eq!(delivered(&world), [1, 4, 5, 6]);
    assert_eq!(tally(&world, 0).dropped, 3);
}

/// A webhook that begins to drop its oldest knows those that it had before.
#[test]
fn the_policy_can_change() {
    let mut world = with(3, Order { concurrency: 1, ..order(0) });
    world.endpoints[0].forever = Some(Script::Status(200, 200_000));
    trigger(&mut world, 0..3);
    trigger(&mut world, [3]);
    assert_eq!(tally(&world, 0).dropped, 1, "the new one");
    world.update(0, |settings| settings.on_full = OnFull::DropOldest);
    trigger(&mut world, [4]);
    assert_eq!(tally(&world, 0).dropped, 2, "the oldest that is not under way");
    world.drain();
    assert_eq!(delivered(&world), [0, 2, 4]);
}

/// `ORDER none`: the events of a key do not wait for each other.
#[test]
fn without_order_nothing_waits() {
    let mut world = with(1000, Order { ordered: false, retry: retry(3, 50), ..order(0) });
    world.endpoints[0].script.push_back(Script::Status(500, 1000));
    trigger(&mut world, [1, 1, 1]);
    world.run_for(20_000);
    assert_eq!(tally(&world, 0).delivered, 2);
    world.drain();
    keeps_the_rules(&world);
    assert_eq!(tally(&world, 0).delivered, 3);
}

/// Events that take each other's places fill no queue: nothing is dropped, however many there are.
#[test]
fn what_coalesces_drops_nothing() {
    let mut world =
        with(5, Order { coalesce: true, on_full: OnFull::DropOldest, concurrency: 1, ..order(0) });
    world.endpoints[0].forever = Some(Script::Status(200, 200_000));
    for _ in 0..200 {
        trigger(&mut world, [1, 2, 3]);
    }
    world.drain();
    let tally = tally(&world, 0);
    assert_eq!((tally.triggered, tally.pending), (600, 0));
    assert_eq!((tally.delivered, tally.coalesced, tally.dropped), (4, 596, 0));
    let mut last = delivered(&world).split_off(1);
    last.sort_unstable();
    assert_eq!(last, [597, 598, 599]);
}
