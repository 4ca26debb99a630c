//! What must hold of every history. Each rule is a function that reads the history and says what
//! is wrong; none of them knows how the world or the shard works.

mod accounting;
mod attempts;
mod batches;
mod breaker;
mod connections;
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

/// The rules that a history breaks, each with what is wrong.
pub fn violations(history: &History, plan: &Plan) -> Vec<(&'static str, String)> {
    RULES
        .iter()
        .filter_map(|(name, rule)| rule(history, plan).err().map(|message| (*name, message)))
        .collect()
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
