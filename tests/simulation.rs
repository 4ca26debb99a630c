//! The proof that the core keeps its contract: whole runs in virtual time, from one seed each.
//!
//! Shards are driven through the very calls that the workers make, against endpoints that do
//! whatever endpoints do. Everything that happens goes into a history, and rules are checked
//! against it. `SIMULATION_SEEDS` says how many seeds are run; a seed that failed is run again by
//!
//! ```text
//! SIMULATION_SEED=123 cargo test --test simulation one_seed -- --nocapture
//! ```

#![allow(clippy::collapsible_match, reason = "a guard that changes something is hard to see")]

mod simulation {
    pub mod audit;
    pub mod batching;
    pub mod checkers;
    pub mod controls;
    pub mod dice;
    pub mod durable;
    pub mod durable_controls;
    pub mod endpoints;
    pub mod faults;
    pub mod history;
    pub mod journal;
    pub mod links;
    pub mod lives;
    pub mod measuring;
    pub mod operations;
    pub mod overload;
    pub mod peer;
    pub mod pipelining;
    pub mod reading;
    pub mod replays;
    pub mod request;
    pub mod run;
    pub mod scenarios;
    pub mod secrets;
    pub mod signing;
    pub mod spilling;
    pub mod world;
    pub mod writing;
}

use simulation::run;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Seeds of a run that is told nothing else.
const SEEDS_DEFAULT: u64 = 3000;
/// Of engines that keep a journal.
const DURABLE_SEEDS_DEFAULT: u64 = 400;
const THREADS: usize = 2;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Many seeds, none of which may break a rule.
#[test]
fn many_seeds() {
    let seeds = from_environment("SIMULATION_SEEDS").unwrap_or(SEEDS_DEFAULT);
    let first = from_environment("SIMULATION_FIRST_SEED").unwrap_or(0);
    for_each_seed(first..first + seeds, run::check_seed);
}

fn for_each_seed(seeds: std::ops::Range<u64>, check: fn(u64) -> u64) {
    let (next, started) = (AtomicU64::new(seeds.start), Instant::now());
    let exchanges = AtomicU64::new(0);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let sent = check(seed);
            exchanges.fetch_add(sent, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
    let seconds = started.elapsed().as_secs_f64();
    let count = seeds.end - seeds.start;
    println!(
        "{count} seeds, {} requests, {:.0} seeds/s",
        exchanges.load(Ordering::Relaxed),
        count as f64 / seconds
    );
}

/// Many seeds of engines that keep a journal and end now and then.
#[test]
fn many_durable_seeds() {
    let seeds = from_environment("SIMULATION_SEEDS").unwrap_or(DURABLE_SEEDS_DEFAULT);
    let first = from_environment("SIMULATION_FIRST_SEED").unwrap_or(0);
    for_each_seed(first..first + seeds, run::check_durable_seed);
}

/// As `one_seed`, of an engine that keeps a journal.
#[test]
fn one_durable_seed() {
    let seed = from_environment("SIMULATION_SEED").unwrap_or(0);
    let sent = run::check_durable_seed(seed);
    println!("seed {seed} breaks no rule: {sent} requests");
    if std::env::var_os("SIMULATION_VERBOSE").is_some() {
        println!("{}", run::durable_history_of(seed).tail(usize::MAX));
    }
}

/// The seed in `SIMULATION_SEED`, with a word about what it did.
#[test]
fn one_seed() {
    let seed = from_environment("SIMULATION_SEED").unwrap_or(0);
    let sent = run::check_seed(seed);
    println!("seed {seed} breaks no rule: {sent} requests");
    if std::env::var_os("SIMULATION_VERBOSE").is_some() {
        println!("{}", run::history_of(seed).tail(usize::MAX));
    }
}

/// A seed says everything: the same seed has the same history, word for word.
#[test]
fn a_seed_repeats_itself() {
    for seed in 0..20 {
        let (first, second) = (run::history_of(seed), run::history_of(seed));
        assert!(first.tail(usize::MAX) == second.tail(usize::MAX), "seed {seed} is not repeatable");
        let (first, second) = (run::durable_history_of(seed), run::durable_history_of(seed));
        assert!(first.tail(usize::MAX) == second.tail(usize::MAX), "seed {seed} is not repeatable");
    }
}
