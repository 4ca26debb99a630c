//! What a request's head says of its event and of who signed it.

use super::super::faults::Plan;
use super::super::history::{Happening, History};
use super::super::world::WALL_START_US;
use super::at;
use super::attempts::Known;
use std::collections::BTreeMap;

/// A request is signed with the secrets that are in force when it is written: the Standard
/// Webhooks signatures from the newest to the oldest, the Ferrite signature with the oldest.
pub fn secrets(history: &History, _: &Plan) -> Result<(), String> {
    let mut known = Known::default();
    for entry in &history.entries {
        known.follow(entry);
        let Happening::Sent(sent) = &entry.what else { continue };
        // A test delivery follows the definition of its command, not the shard's.
        if sent.event.is_none() {
            continue;
        }
        let Some(terms) = known.of(sent.shard, sent.name.webhook) else { continue };
        let second = (WALL_START_US + entry.at) / 1_000_000;
        let in_force: Vec<u32> = terms
            .secrets
            .iter()
            .flatten()
            .filter(|(_, until)| second < *until)
            .map(|(number, _)| *number)
            .collect();
        if sent.signers.standard != in_force || sent.signers.ferrite != in_force.last().copied() {
            return Err(at(entry.at, &format!("the secrets in force are {in_force:?}: {sent:?}")));
        }
    }
    Ok(())
}

/// The events of a webhook that one shard accepts are numbered without gaps, those that are
/// dropped included, and so are the events of each key; a number is the same on every attempt.
pub fn numbers(history: &History, _: &Plan) -> Result<(), String> {
    let mut known = Known::default();
    let mut last: BTreeMap<(usize, u32, Option<u32>), u64> = BTreeMap::new();
    let mut expected: BTreeMap<(u32, u32), (u64, u64)> = BTreeMap::new();
    // Which webhook on which shard a stream is of.
    let mut streams: BTreeMap<String, (usize, u32)> = BTreeMap::new();
    let mut life = 0;
    for entry in &history.entries {
        known.follow(entry);
        match &entry.what {
            Happening::Accepted { shard, event, key, wanted } => {
                for webhook in wanted.iter().map(|wanted| wanted.webhook) {
                    if known.of(*shard, webhook).is_some_and(|terms| terms.sequence) {
                        let mut next = |key| {
                            let last = last.entry((*shard, webhook, key)).or_default();
                            *last += 1;
                            *last
                        };
                        expected.insert((webhook, *event), (next(None), next(Some(*key))));
                    }
                }
            }
            Happening::Restarted { life: number, .. } => life = *number,
            // Numbered in an earlier life.
            Happening::Sent(sent) if sent.name.id >> 48 != life => {}
            Happening::Sent(sent) => {
                let numbers =
                    sent.event.and_then(|event| expected.get(&(sent.name.webhook, event)));
                // An event that was numbered before its webhook made batches may go in one.
                let numbers = numbers.filter(|_| !sent.is_batch);
                let told = sent.numbers.as_ref().map(|told| (told.of_webhook, told.of_key));
                if told != numbers.copied() {
                    return Err(at(entry.at, &format!("not numbered {numbers:?}: {sent:?}")));
                }
                let Some(told) = &sent.numbers else { continue };
                let place = (sent.shard, sent.name.webhook);
                if *streams.entry(told.stream.clone()).or_insert(place) != place
                    || told.key_stream != format!("{}.0", told.stream)
                {
                    return Err(at(entry.at, &format!("another's stream: {sent:?}")));
                }
            }
            _ => {}
        }
    }
    let places = streams.values().collect::<std::collections::BTreeSet<_>>();
    if places.len() != streams.len() {
        return Err(format!("a webhook has two streams on one shard: {streams:?}"));
    }
    Ok(())
}
