//! What must hold of every history. Each rule is a function that reads the history and says what
//! is wrong; none of them knows how the world or the shard works.

mod accounting;
mod attempts;
mod batches;
mod breaker;
mod connections;
mod durable;
mod heads;
mod letters;
mod measures;
mod order;
mod pipeline;
mod progress;
mod rate;

use super::faults::Plan;
use super::history::{End, Ended, Happening, History};
use std::collections::BTreeSet;

/// A rule of the contract.
type Rule = fn(&History, &Plan) -> Result<(), String>;

/// Every rule, by name.
pub const RULES: [(&str, Rule); 26] = [
    ("agreement", agreement),
    ("order", order::order),
    ("overlap", order::overlap),
    ("invention", order::invention),
    ("accounting", accounting::accounting),
    ("settled", accounting::settled),
    ("outcomes", accounting::outcomes),
    ("tests", accounting::tests),
    ("attempts", attempts::attempts),
    ("retry times", attempts::retry_times),
    ("holds", attempts::holds),
    ("identity", attempts::identity),
    ("duplicates", attempts::duplicates),
    ("stale", connections::stale),
    ("deadlines", connections::deadlines),
    ("windows", connections::windows),
    ("pipeline", pipeline::pipeline),
    ("answers", pipeline::answers),
    ("batches", batches::batches),
    ("progress", progress::progress),
    ("measures", measures::measures),
    ("secrets", heads::secrets),
    ("numbers", heads::numbers),
    ("breaker", breaker::breaker),
    ("rate", rate::rate),
    ("dead letters", letters::letters),
];

/// What holds of each life of an engine that keeps a journal, beside the rules above that are not
/// among [`NOT_WITH_JOURNAL`].
const LIFE_RULES: [(&str, Rule); 1] = [("memory", durable::memory)];

/// What holds over all lives.
const JOURNAL_RULES: [(&str, Rule); 6] = [
    ("identity", durable::identity),
    ("kept", durable::kept),
    ("order over lives", durable::order),
    ("notes", durable::notes),
    ("finished", durable::finished),
    ("left", durable::left),
];

/// These take it that what is pending is in memory, in the order in which it came.
const NOT_WITH_JOURNAL: [&str; 4] = ["order", "invention", "progress", "identity"];

/// The rules that only an engine with a journal can break.
pub fn journal_rules() -> Vec<&'static str> {
    LIFE_RULES.iter().chain(&JOURNAL_RULES[1..]).map(|(name, _)| *name).collect()
}

/// The rules that a history breaks, each with what is wrong.
pub fn violations(history: &History, plan: &Plan) -> Vec<(&'static str, String)> {
    let broken = |history: &History, plan: &Plan, (name, rule): &(&'static str, Rule)| {
        rule(history, plan).err().map(|message| (*name, message))
    };
    if plan.journal.is_none() {
        return RULES.iter().filter_map(|rule| broken(history, plan, rule)).collect();
    }
    let mut found: Vec<_> =
        JOURNAL_RULES.iter().filter_map(|rule| broken(history, plan, rule)).collect();
    for (shards, life) in history.lives(plan.shards) {
        let plan = Plan { shards, ..plan.clone() };
        let rules = RULES.iter().chain(&LIFE_RULES);
        let rules = rules.filter(|(name, _)| !NOT_WITH_JOURNAL.contains(name));
        found.extend(rules.filter_map(|rule| broken(&life, &plan, rule)));
    }
    found
}

/// The driver and the shard agree about every connection at every call, requests are well formed,
/// a call of `handle_timeout` that is not due does nothing, and a request that was written is given
/// up without an outcome only when its webhook is deleted.
fn agreement(history: &History, _: &Plan) -> Result<(), String> {
    let mut deleted = BTreeSet::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Broken { message } => return Err(at(entry.at, message)),
            Happening::Spurious { shard, changed: Some(changed) } => {
                return Err(at(entry.at, &format!("a spurious timeout of {shard}: {changed}")));
            }
            Happening::Deleted { shard, webhook } => {
                deleted.insert((*shard, *webhook));
            }
            Happening::Ended(Ended { end: End::Withdrawn, request: Some(name), shard, .. })
                if !deleted.contains(&(*shard, name.webhook)) =>
            {
                return Err(at(entry.at, &format!("{name:?} was given up for no reason")));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A message with its time.
fn at(time: u64, message: &str) -> String {
    format!("at {time} us: {message}")
}
