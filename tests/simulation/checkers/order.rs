//! ORD-1: one at a time, in trigger order. And nothing is sent that was not triggered.

use super::super::faults::Plan;
use super::super::history::{Ended, Entry, Happening, History, RequestName};
use super::at;
use ferrite::core::ledger::DeliveryOutcome;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What is pending, lane by lane, as the history tells it.
#[derive(Default)]
pub struct Lanes {
    /// By webhook and key: the shard, and the events in order.
    pub lanes: BTreeMap<(u32, u32), (usize, VecDeque<u32>)>,
}

impl Lanes {
    pub fn follow(&mut self, entry: &Entry) {
        match &entry.what {
            Happening::Accepted { shard, event, key, wanted } => {
                for wanted in wanted.iter().filter(|wanted| !wanted.dropped) {
                    let lane = self.lanes.entry((wanted.webhook, *key));
                    lane.or_insert_with(|| (*shard, VecDeque::new())).1.push_back(*event);
                }
            }
            Happening::Attempt(attempt) if attempt.outcome != DeliveryOutcome::Failed => {
                let lane = (attempt.name.webhook, attempt.key);
                if let Some((_, events)) = self.lanes.get_mut(&lane) {
                    events.pop_front();
                    if events.is_empty() {
                        self.lanes.remove(&lane);
                    }
                }
            }
            Happening::Replayed { shard, name, event, key } => {
                let lane = self.lanes.entry((name.webhook, *key));
                lane.or_insert_with(|| (*shard, VecDeque::new())).1.push_back(*event);
            }
            Happening::Deleted { shard, webhook } => {
                self.lanes.retain(|(lane, _), (of, _)| lane != webhook || of != shard);
            }
            _ => {}
        }
    }

    pub fn head(&self, webhook: u32, key: u32) -> Option<u32> {
        self.lanes.get(&(webhook, key))?.1.front().copied()
    }
}

/// For one webhook and one key, only the oldest event that is not finished is ever sent.
pub fn order(history: &History, _: &Plan) -> Result<(), String> {
    let mut lanes = Lanes::default();
    for entry in &history.entries {
        lanes.follow(entry);
        let Happening::Sent(sent) = &entry.what else { continue };
        let Some(event) = sent.event else { continue };
        let head = lanes.head(sent.name.webhook, sent.key);
        if head.is_some_and(|head| head != event) {
            let message = format!("event {event} was sent, but {head:?} is before it: {sent:?}");
            return Err(at(entry.at, &message));
        }
    }
    Ok(())
}

/// For one webhook and one key, no exchange begins before the one before has ended: answered, or
/// known to the shard to be dead.
pub fn overlap(history: &History, _: &Plan) -> Result<(), String> {
    let mut open: BTreeMap<(u32, u32), (u32, RequestName)> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Sent(sent) if sent.event.is_some() => {
                let lane = (sent.name.webhook, sent.key);
                if let Some((other, _)) = open.insert(lane, (sent.link, sent.name)) {
                    let message = format!("link {other} is still busy with the lane of {sent:?}");
                    return Err(at(entry.at, &message));
                }
            }
            Happening::Ended(Ended { link, request: Some(name), .. }) => {
                open.retain(|_, other| *other != (*link, *name));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Nothing is sent to a webhook that it did not want, or that is finished, or that was dropped.
pub fn invention(history: &History, _: &Plan) -> Result<(), String> {
    let mut pending: BTreeSet<(u32, u32, u32)> = BTreeSet::new();
    let mut events: BTreeMap<u64, u32> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Accepted { event, key, wanted, .. } => {
                let taken = wanted.iter().filter(|wanted| !wanted.dropped);
                pending.extend(taken.map(|wanted| (wanted.webhook, *key, *event)));
            }
            Happening::Replayed { name, event, key, .. } => {
                pending.insert((name.webhook, *key, *event));
            }
            Happening::Sent(sent) => {
                let Some(event) = sent.event else { continue };
                events.insert(sent.name.id, event);
                if !pending.contains(&(sent.name.webhook, sent.key, event)) {
                    return Err(at(entry.at, &format!("nobody asked for {sent:?}")));
                }
            }
            Happening::Attempt(attempt) if attempt.outcome != DeliveryOutcome::Failed => {
                if let Some(event) = events.get(&attempt.name.id) {
                    pending.remove(&(attempt.name.webhook, attempt.key, *event));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
