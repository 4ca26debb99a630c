//! Single situations with `BATCH`, each with the outcome that the contract wants. The rules are
//! checked on each of them, too.

use super::endpoints::Script;
use super::faults::{Plan, no_isolation};
use super::history::{Happening, Sent};
use super::operations::{Order, set_batch};
use super::scenarios::{count, finish, order, retry, sents, tally, world};
use super::world::World;
use ferrite::core::http::response::DeliveryWish;
use ferrite::core::ledger::WebhookStatus;
use ferrite::core::shard::{BreakerPolicy, Isolation};

const INTERVAL_MS: u64 = 20;

/// A world with a webhook that makes batches of up to `size`.
fn batched(size: u32, order: Order) -> World {
    let mut world = world(Plan { wake_us: Some(0), endpoints: 2, ..Plan::quiet() });
    world.create("hook", Order { batch: Some((size, INTERVAL_MS)), ..order });
    world.run_for(10_000);
    for endpoint in 0..2 {
        world.endpoints[endpoint].forever = Some(Script::Status(200, 1000));
    }
    world
}

fn trigger(world: &mut World, keys: impl IntoIterator<Item = u32>) {
    for key in keys {
        world.trigger(key, false);
    }
    world.take_in(0);
}

fn keys(sent: &Sent) -> Vec<u32> {
    sent.carried.iter().map(|carried| carried.key).collect()
}

fn sizes(world: &World) -> Vec<usize> {
    sents(world).iter().map(|(_, sent)| sent.carried.len()).collect()
}

/// A full batch goes at once; the rest waits for its interval and no longer.
#[test]
fn a_batch_goes_when_it_is_full_or_when_its_time_has_come() {
    let mut world = batched(4, order(0));
    let began = world.now;
    trigger(&mut world, 0..6);
    world.run_for(INTERVAL_MS * 1000 - 1);
    assert_eq!(sizes(&world), [4]);
    world.run_for(100_000);
    assert_eq!(sizes(&world), [4, 2]);
    assert_eq!(sents(&world)[1].1.assigned_at, began + INTERVAL_MS * 1000);
    assert!(sents(&world).iter().all(|(_, sent)| sent.is_batch));
    assert_eq!(tally(&world, 0).delivered, 6);
    finish(&mut world);
}

/// ORD-1: a key's events stand in one batch in their order, and while that batch is under way or
/// waits, no other carries this key; other keys go on.
#[test]
fn the_order_of_a_key_holds_inside_and_across_batches() {
    let mut world = batched(3, Order { retry: retry(3, 100), ..order(0) });
    world.endpoints[0].script.push_back(Script::Status(500, 1000));
    trigger(&mut world, [7, 7, 7, 7, 7]);
    world.run_for(50_000);
    trigger(&mut world, [1, 2, 3]);
    world.run_for(30_000);
    let known = sents(&world);
    assert_eq!(
        known.iter().map(|(_, sent)| keys(sent)).collect::<Vec<_>>(),
        [vec![7, 7, 7], vec![1, 2, 3]]
    );
    finish(&mut world);
    let events: Vec<u32> = sents(&world)
        .iter()
        .flat_map(|(_, sent)| sent.carried.clone())
        .filter(|carried| carried.key == 7)
        .map(|carried| carried.event)
        .collect();
    assert_eq!(events, [0, 1, 2, 0, 1, 2, 3, 4], "tried again as it was, then the rest");
    assert_eq!(tally(&world, 0).delivered, 8);
}

/// DEL-3: a batch has its id and its bytes for good, also when its webhook stops making batches
/// or makes smaller ones, and when the worker breaks down.
#[test]
fn a_batch_stays_what_it_is() {
    for breaks_down in [false, true] {
        let mut world = batched(5, Order { retry: retry(5, 50), ..order(0) });
        world.endpoints[0].script.extend([Script::Status(503, 1000), Script::Status(500, 1000)]);
        trigger(&mut world, 0..5);
        world.run_for(20_000);
        world.update(0, |settings| set_batch(settings, None));
        world.take_in(0);
        if breaks_down {
            world.break_down(0);
        }
        finish(&mut world);
        let sents = sents(&world);
        assert_eq!(sents.len(), 3, "breaks down: {breaks_down}");
        let first = &sents[0].1;
        let same = |sent: &Sent| (sent.name, sent.body) == (first.name, first.body);
        assert!(sents.iter().all(|(_, sent)| same(sent)));
        assert_eq!(sents.iter().map(|(_, sent)| sent.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    }
}

/// A batch that is given up is dead with all that is in it, each in the log; what is behind it
/// goes on.
#[test]
fn a_batch_is_given_up_as_a_whole() {
    let mut world = batched(3, Order { retry: retry(1, 10), ..order(0) });
    world.endpoints[0].script.extend([Script::Status(500, 1000), Script::Status(500, 1000)]);
    trigger(&mut world, [1, 2, 1, 1]);
    finish(&mut world);
    let tally = tally(&world, 0);
    assert_eq!((tally.dead, tally.delivered, tally.triggered), (3, 1, 4));
    assert_eq!((tally.attempts, tally.failed_attempts), (7, 6));
    let ledger = &world.lives[0].ledger;
    assert_eq!(ledger.log(0).entries().count(), 1 + 3 + 1);
}

/// 410 stops the webhook; its batch waits, uncounted, and is the first to go when it is enabled.
#[test]
fn a_batch_survives_gone() {
    let mut world = batched(2, order(0));
    world.endpoints[0].script.push_back(Script::Status(410, 1000));
    trigger(&mut world, [1, 2]);
    world.run_for(500_000);
    assert_eq!(world.lives[0].ledger.status(), WebhookStatus::Gone);
    assert_eq!(sizes(&world), [2]);
    world.set_status(0, WebhookStatus::Active);
    finish(&mut world);
    assert_eq!(sizes(&world), [2, 2]);
    assert_eq!(tally(&world, 0).delivered, 2);
}

/// The window of `CONCURRENCY` counts requests, not deliveries.
#[test]
fn the_window_counts_batches() {
    let mut world = batched(10, Order { concurrency: 2, ..order(0) });
    world.endpoints[0].forever = Some(Script::Status(200, 200_000));
    trigger(&mut world, 0..40);
    world.run_for(100_000);
    assert_eq!(sizes(&world), [10, 10]);
    assert_eq!(tally(&world, 0).in_flight, 20);
    finish(&mut world);
}

/// Deleting a webhook cancels what is in its batches, wherever they are.
#[test]
fn a_deleted_webhook_takes_its_batches_along() {
    let mut world = batched(2, order(0));
    world.endpoints[0].script.push_back(Script::Status(500, 1000));
    world.endpoints[0].forever = Some(Script::Status(200, 250_000));
    trigger(&mut world, [1, 2]);
    world.run_for(5_000);
    trigger(&mut world, [3, 4, 5]);
    world.run_for(5_000);
    assert_eq!(tally(&world, 0).in_flight, 2);
    world.delete(0);
    finish(&mut world);
    let tally = tally(&world, 0);
    assert_eq!((tally.cancelled, tally.pending, tally.in_flight), (5, 0, 0));
}

/// A worker that is told to stop does not wait for batches to fill.
#[test]
fn a_drain_fills_nothing() {
    let mut world = batched(100, order(0));
    trigger(&mut world, 0..3);
    world.run_for(1000);
    assert_eq!(count(&world, |what| matches!(what, Happening::Sent(_))), 0);
    let now = world.now;
    world.with_shard(0, super::world::Why::Other, |shard, now| shard.handle_drain(now.tick));
    world.run_for(5_000);
    assert_eq!(sizes(&world), [3]);
    assert_eq!(sents(&world)[0].1.assigned_at, now);
    finish(&mut world);
}

/// `abort-message` and a final status give up a batch as a whole, without a retry.
#[test]
fn a_batch_is_aborted_as_a_whole() {
    for script in [Script::Wish(500, DeliveryWish::AbortMessage), Script::Status(422, 1000)] {
        let mut world = batched(3, Order { final_status: Some(422), ..order(0) });
        world.endpoints[0].script.push_back(script);
        trigger(&mut world, 0..4);
        finish(&mut world);
        assert_eq!(sizes(&world), [3, 1]);
        let tally = tally(&world, 0);
        assert_eq!((tally.dead, tally.delivered, tally.attempts), (3, 1, 4));
    }
}

/// `RATE` counts requests: a batch takes one token, whatever it holds.
#[test]
fn a_batch_takes_one_token() {
    let mut world = batched(10, Order { rate: 10, ..order(0) });
    let start = world.now;
    trigger(&mut world, 0..40);
    finish(&mut world);
    assert_eq!(sizes(&world), [10; 4]);
    let begun: Vec<u64> = sents(&world).iter().map(|(_, sent)| sent.assigned_at - start).collect();
    assert_eq!(begun, [0, 100_000, 200_000, 300_000]);
}

/// DEL-6: one batch finds out whether the endpoint is back. If its webhook is deleted meanwhile,
/// somebody else does.
#[test]
fn a_batch_is_a_probe() {
    for delete in [false, true] {
        let breaker = BreakerPolicy { failures: 1, open_ms: 1000, open_ms_max: 1000 };
        let isolation = Isolation { breaker, ..no_isolation() };
        let mut world = world(Plan { wake_us: Some(0), isolation, ..Plan::quiet() });
        let batch = Some((2, INTERVAL_MS));
        for name in ["hook", "other"] {
            world.create(name, Order { batch, concurrency: 1, retry: retry(9, 1), ..order(0) });
        }
        world.run_for(10_000);
        world.endpoints[0].script.extend([Script::Reset, Script::Reset, Script::Hang]);
        world.endpoints[0].forever = Some(Script::Status(200, 1000));
        trigger(&mut world, 0..4);
        world.run_for(900_000);
        assert_eq!(sizes(&world), [2, 2], "open, and nothing follows");
        world.run_for(350_000);
        assert_eq!(sizes(&world), [2, 2, 2], "one batch finds out");
        let probe = sents(&world)[2].1.name.webhook;
        if delete {
            world.delete(probe);
            world.run_for(10_000);
            assert_eq!(world.lives[1 - probe as usize].ledger.tally().delivered, 4);
        }
        finish(&mut world);
        assert_eq!(tally(&world, 1 - probe).delivered, 4);
        assert_eq!(tally(&world, probe).delivered, if delete { 0 } else { 4 });
    }
}

/// What waits for an endpoint, and not for its batch to fill, needs no timer.
#[test]
fn a_disabled_webhook_s_batches_sleep() {
    let mut world = batched(100, order(0));
    world.set_status(0, WebhookStatus::Disabled);
    trigger(&mut world, []);
    world.set_status(0, WebhookStatus::Active);
    trigger(&mut world, 0..3);
    world.set_status(0, WebhookStatus::Disabled);
    world.run_for(1_000_000);
    assert_eq!(world.shard(0).poll_timeout(), None);
    world.set_status(0, WebhookStatus::Active);
    finish(&mut world);
    assert_eq!(tally(&world, 0).delivered, 3);
    assert_eq!(sizes(&world), [3]);
}
