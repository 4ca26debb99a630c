//! What a batch may be.

use super::super::faults::Plan;
use super::super::history::{Happening, History, Note, RequestName};
use super::at;
use super::attempts::disables;
use std::collections::{BTreeMap, BTreeSet};

/// The sizes that a webhook has allowed on a shard, and whether it has wanted events alone.
#[derive(Default)]
struct Wishes {
    sizes: BTreeSet<u32>,
    alone: bool,
}

/// A request is a batch only if its webhook makes batches, or made them when this one was made; it
/// has no more events than were allowed, and each of them once. What came into a batch is only
/// ever sent in it, and what was tried alone goes on alone, unless it dies and is replayed.
pub fn batches(history: &History, _: &Plan) -> Result<(), String> {
    let said = history.wishes();
    let mut wishes: BTreeMap<(usize, u32), Wishes> = BTreeMap::new();
    // Names of batches are among them, too, which are no event's.
    let mut tried_alone: BTreeSet<(u32, u64)> = BTreeSet::new();
    let mut batch_of: BTreeMap<(u32, u32), RequestName> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Learned { shard, webhook, terms } => {
                let wishes = wishes.entry((*shard, *webhook)).or_default();
                match terms.batch {
                    Some((size, _)) => drop(wishes.sizes.insert(size)),
                    None => wishes.alone = true,
                }
            }
            Happening::Sent(sent) if sent.event.is_some() => {
                let Some(wishes) = wishes.get(&(sent.shard, sent.name.webhook)) else { continue };
                let most = wishes.sizes.last().copied().unwrap_or_default() as usize;
                let wanted = match sent.is_batch {
                    true => sent.carried.len() <= most,
                    false => {
                        wishes.alone || tried_alone.contains(&(sent.name.webhook, sent.name.id))
                    }
                };
                let alone_before = sent.carried.iter().find(|carried| {
                    sent.is_batch && tried_alone.contains(&(sent.name.webhook, carried.id))
                });
                if let Some(carried) = alone_before {
                    return Err(at(entry.at, &format!("{carried:?} was tried alone: {sent:?}")));
                }
                if !wanted {
                    return Err(at(entry.at, &format!("nobody wanted it like this: {sent:?}")));
                }
                for carried in &sent.carried {
                    if !sent.is_batch && !batch_of.contains_key(&(sent.name.webhook, carried.event))
                    {
                        continue;
                    }
                    let first = batch_of.entry((sent.name.webhook, carried.event));
                    if *first.or_insert(sent.name) != sent.name {
                        let message = format!("{carried:?} was sent otherwise before: {sent:?}");
                        return Err(at(entry.at, &message));
                    }
                }
                let events: BTreeSet<u32> =
                    sent.carried.iter().map(|carried| carried.event).collect();
                if events.len() != sent.carried.len() {
                    return Err(at(entry.at, &format!("an event comes twice in {sent:?}")));
                }
            }
            // It goes as its webhook wants it now.
            Happening::Replayed { name, event, .. } => {
                tried_alone.remove(&(name.webhook, name.id));
                batch_of.remove(&(name.webhook, *event));
            }
            // In an earlier life.
            Happening::Journal { note: Note::Fetched { webhook, deliveries, .. }, .. } => {
                let tried = deliveries.iter().filter(|one| one.attempts > 0);
                tried_alone.extend(tried.map(|one| (*webhook, one.id)));
            }
            Happening::Attempt(attempt) => {
                let wish = said.get(&(entry.call, attempt.name)).copied();
                if !disables(attempt, wish) {
                    tried_alone.insert((attempt.name.webhook, attempt.name.id));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
