//! One seed, from the plan to the verdict.

use super::checkers;
use super::dice::Dice;
use super::durable;
use super::faults::Plan;
use super::history::{Happening, History};
use super::world::{Todo, World};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Lines of the history that a failure shows.
const TAIL_LINES: usize = 60;
/// Longer than any timeout of a webhook.
const LAST_BAD_ANSWER_US: u64 = 3_000_000;

/// Runs a seed and checks every rule; gives the number of requests that were sent.
pub fn check_seed(seed: u64) -> u64 {
    check(world_of(seed), "one_seed")
}

/// As [`check_seed`], of an engine that keeps a journal.
pub fn check_durable_seed(seed: u64) -> u64 {
    check(durable::world_of(seed), "one_durable_seed")
}

fn check(mut world: World, test: &str) -> u64 {
    let ended = catch_unwind(AssertUnwindSafe(|| run(&mut world)));
    let violations = match &ended {
        Ok(()) => checkers::violations(&world.history, &world.plan),
        Err(_) => Vec::new(),
    };
    if ended.is_err() || !violations.is_empty() {
        fail(&world, ended.is_err(), &violations, test);
    }
    let sent = |happening: &Happening| matches!(happening, Happening::Sent(_));
    world.history.entries.iter().filter(|entry| sent(&entry.what)).count() as u64
}

/// The whole history of a seed.
pub fn history_of(seed: u64) -> History {
    let mut world = world_of(seed);
    run(&mut world);
    world.history
}

/// As [`history_of`], of an engine that keeps a journal.
pub fn durable_history_of(seed: u64) -> History {
    let mut world = durable::world_of(seed);
    run(&mut world);
    world.history
}

fn fail(world: &World, panicked: bool, violations: &[(&str, String)], test: &str) -> ! {
    let mut text = format!(
        "\nseed {} fails\nfaults: {}\nplan: {:?}\n",
        world.plan.seed,
        world.plan.faults.names().join(", "),
        world.plan
    );
    if panicked {
        text += "it panicked, see above\n";
    }
    for (rule, message) in violations {
        text += &format!("rule \"{rule}\": {message}\n");
    }
    // The rules' messages begin with the time of what they found.
    let times = violations.iter().filter_map(|(_, message)| {
        message.strip_prefix("at ")?.split(' ').next()?.parse::<u64>().ok()
    });
    let mut history = world.history.clone();
    if let Some(time) = times.min() {
        history.entries.retain(|entry| entry.at <= time);
    }
    let lines = std::env::var("SIMULATION_TAIL").ok().and_then(|lines| lines.parse().ok());
    text += &history.tail(lines.unwrap_or(TAIL_LINES));
    let seed = world.plan.seed;
    panic!("{text}run it again: SIMULATION_SEED={seed} cargo test --test simulation {test}\n");
}

fn world_of(seed: u64) -> World {
    let mut dice = Dice::new(seed);
    let plan = Plan::draw(seed, &mut dice);
    World::new(plan, dice)
}

fn run(world: &mut World) {
    for number in 0..world.plan.webhooks {
        let order = world.draw_order();
        world.create(&format!("hook-{number}"), order);
    }
    schedule(world);
    if world.store.is_some() {
        durable::schedule(world);
    }
    world.run_for(world.plan.duration_us);
    world.heal();
    // What was under way may still be answered 410; it has timed out by then.
    world.later(LAST_BAD_ANSWER_US, Todo::Heal);
    world.run_for(LAST_BAD_ANSWER_US);
    world.drain();
}

/// Lays out when callers do something, over the time before everything heals.
fn schedule(world: &mut World) {
    let duration_us = world.plan.duration_us;
    // With idle periods, callers are busy in a few short stretches only.
    let stretches = if world.plan.faults.idle_periods { 4 } else { 1 };
    let busy_us = if stretches == 1 { duration_us } else { duration_us / 20 };
    let when = |world: &mut World| {
        let stretch = world.dice.below(stretches) as u64 * (duration_us / stretches as u64);
        stretch + world.dice.between(0, busy_us - 1)
    };
    for _ in 0..world.plan.events {
        let at = when(world);
        world.later(at, Todo::Trigger);
    }
    for _ in 0..world.plan.events / 5 {
        let at = when(world);
        world.later(at, Todo::Operation);
    }
    if world.plan.faults.spurious {
        for _ in 0..30 {
            let at = world.dice.between(0, duration_us);
            world.later(at, Todo::Spurious);
        }
    }
    if world.plan.faults.breakdowns {
        for _ in 0..2 {
            let at = world.dice.between(0, duration_us);
            let shard = world.dice.below(world.plan.shards);
            world.later(at, Todo::Breakdown { shard });
        }
    }
}
