//! What is measured and told of single situations, to the microsecond.

use super::endpoints::Script;
use super::faults::Plan;
use super::operations::Order;
use super::scenarios::{finish, order, retry, tally, world};
use super::world::World;
use ferrite::base::limits::{NOTICE_INTERVAL_MS, NOTICES_PER_INTERVAL_MAX};
use ferrite::core::latency::LatencyHistogram;

fn one_webhook(retries: u32, delay_ms: u64) -> World {
    let mut world = world(Plan::quiet());
    world.create("hook", Order { retry: retry(retries, delay_ms), ..order(0) });
    world.run_for(10_000);
    world
}

/// How long the oldest pending delivery has waited, as the metrics tell it.
fn lag_us(world: &World) -> u64 {
    let measured = world.lives[0].ledger.measured();
    let pending = measured.filter(|(pending, _)| *pending > 0);
    pending.map(|(_, measures)| world.now - measures.oldest_us.get()).max().unwrap_or(0)
}

#[test]
fn the_lag_is_the_age_of_the_oldest_and_ends_with_it() {
    let mut world = one_webhook(5, 3000);
    world.endpoints[0].script.extend([Script::Status(500, 1000)]);
    world.endpoints[0].forever = Some(Script::Status(200, 1000));
    assert_eq!(lag_us(&world), 0);
    let began = world.now;
    world.trigger(3, false);
    // It fails, and is tried again after three seconds. Others come and go meanwhile.
    for key in 4..24 {
        world.run_for(100_000);
        let (told, truly) = (lag_us(&world), world.now - began);
        assert!(told <= truly && truly <= told + 100_000, "told {told}, truly {truly}");
        assert_eq!(tally(&world, 0).lanes_blocked, 1);
        world.trigger(key, false);
    }
    world.run_for(2_000_000);
    assert_eq!((lag_us(&world), tally(&world, 0).lanes_blocked), (0, 0));
    assert_eq!((tally(&world, 0).retries, tally(&world, 0).delivered), (1, 21));
    finish(&mut world);
}

#[test]
fn the_stages_are_told_apart() {
    let mut world = one_webhook(5, 1000);
    world.endpoints[0].script.extend([Script::Status(500, 20_000)]);
    world.endpoints[0].forever = Some(Script::Status(200, 20_000));
    world.trigger(3, false);
    world.run_for(10_000_000);
    let shard = world.lives[0].ledger.measured().next().unwrap().1;
    let sum_us = |histogram| {
        let mut reading = LatencyHistogram::default();
        reading.add(histogram);
        reading.sum_us
    };
    let (queue, attempt, total) =
        (sum_us(&shard.queue), sum_us(&shard.attempt), sum_us(&shard.total));
    // Two attempts of 20 ms, and connecting; a second between them.
    assert!((40_000..60_000).contains(&attempt), "{attempt}");
    assert_eq!(total, queue + attempt + 1_000_000);
    finish(&mut world);
}

#[test]
fn a_flood_of_dead_letters_is_told_a_few_times() {
    let mut world = one_webhook(0, 100);
    world.endpoints[0].forever = Some(Script::Status(500, 1000));
    for key in 0..200 {
        world.trigger(key, false);
    }
    world.run_for(1_000_000);
    assert_eq!(tally(&world, 0).dead, 200);
    let most = NOTICES_PER_INTERVAL_MAX as usize;
    assert_eq!(world.notices.len(), most, "{:?}", world.notices);
    let told = &world.notices[0];
    let (begin, end) = ("webhook hook: evt_", " given up after 1 attempt: http-status 500");
    assert!(told.starts_with(begin) && told.ends_with(end), "{told}");
    // The next one says how many were not told.
    world.run_for(NOTICE_INTERVAL_MS * 1000);
    world.trigger(1, false);
    world.run_for(1_000_000);
    let told = world.notices.last().unwrap();
    let untold = format!("(and {} more like this since the last line)", 200 - most);
    assert!(told.ends_with(&untold), "{told}");
    finish(&mut world);
}

#[test]
fn a_webhook_that_its_endpoint_disables_is_told() {
    let mut world = one_webhook(0, 100);
    world.endpoints[0].script.extend([Script::Status(410, 1000)]);
    world.trigger(1, false);
    world.run_for(1_000_000);
    assert_eq!(world.notices, ["webhook hook: disabled, endpoint answered 410 Gone"]);
}
