//! What is given up is kept, within its bound, until it is replayed or cleared.

use super::super::faults::Plan;
use super::super::history::{Happening, History, Note, RequestName};
use super::at;
use ferrite::core::dead_letters::DeadTally;
use ferrite::core::ledger::DeliveryOutcome;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One webhook's dead letters, as the history has them.
#[derive(Default)]
struct Letters {
    kept: VecDeque<u64>,
    forgotten: u64,
    cleared: u64,
}

impl Letters {
    fn keep(&mut self, ids: &[u64], letters_max: usize) {
        self.kept.extend(ids);
        while self.kept.len() > letters_max {
            self.kept.pop_front();
            self.forgotten += 1;
        }
    }

    fn tally(&self) -> DeadTally {
        let (forgotten, cleared) = (self.forgotten, self.cleared);
        DeadTally { kept: self.kept.len() as u64, forgotten, cleared }
    }
}

/// Dead letters are exactly the deliveries that were given up, less those that were replayed,
/// cleared, or forgotten because of the bound; only what is kept is replayed.
pub fn letters(history: &History, plan: &Plan) -> Result<(), String> {
    let mut webhooks: BTreeMap<u32, Letters> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Attempt(attempt) if attempt.outcome == DeliveryOutcome::Dead => {
                let letters = webhooks.entry(attempt.name.webhook).or_default();
                letters.keep(&attempt.ids, plan.dead.letters_max);
            }
            Happening::Deleted { shard, webhook } => {
                known.remove(&(*shard, *webhook));
            }
            Happening::Learned { shard, webhook, .. } => {
                known.insert((*shard, *webhook));
            }
            // Those of an earlier life are there again.
            Happening::Journal { shard, note: Note::Fetched { webhook, deliveries, .. } }
                if known.contains(&(*shard, *webhook)) =>
            {
                let dead = deliveries.iter().filter(|one| one.dead).map(|one| one.id);
                let dead: Vec<u64> = dead.collect();
                webhooks.entry(*webhook).or_default().keep(&dead, plan.dead.letters_max);
            }
            Happening::Replayed { name: RequestName { webhook, id }, .. } => {
                let letters = webhooks.entry(*webhook).or_default();
                match letters.kept.iter().position(|kept| kept == id) {
                    Some(place) => drop(letters.kept.remove(place)),
                    None => return Err(at(entry.at, &format!("{id} was no dead letter"))),
                }
            }
            Happening::Cleared { webhook } => {
                let letters = webhooks.entry(*webhook).or_default();
                letters.cleared += letters.kept.len() as u64;
                letters.kept.clear();
            }
            Happening::Checkpoint(checkpoint) => {
                for (webhook, tally) in checkpoint.letters.iter().enumerate() {
                    let expected = webhooks.entry(webhook as u32).or_default().tally();
                    if *tally != expected {
                        let message = format!("webhook {webhook}: {tally:?}, not {expected:?}");
                        return Err(at(entry.at, &message));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}
