//! ORD-1: one at a time, in trigger order. And nothing is sent that was not triggered.

use super::super::faults::Plan;
use super::super::history::{Ended, Entry, Happening, History, RequestName, Sent};
use super::at;
use super::attempts::Known;
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
            Happening::Coalesced { webhook, key, .. } => {
                let gone = self.gives_way(*webhook, *key);
                if let Some((_, events)) = self.lanes.get_mut(&(*webhook, *key)) {
                    events.retain(|event| Some(*event) != gone);
                }
            }
            Happening::Attempt(attempt) if attempt.outcome != DeliveryOutcome::Failed => {
                for key in &attempt.keys {
                    let lane = (attempt.name.webhook, *key);
                    if let Some((_, events)) = self.lanes.get_mut(&lane) {
                        events.pop_front();
                        if events.is_empty() {
                            self.lanes.remove(&lane);
                        }
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

    /// The older one of the last two events of a lane.
    fn gives_way(&self, webhook: u32, key: u32) -> Option<u32> {
        let (_, events) = self.lanes.get(&(webhook, key))?;
        events.iter().rev().take(2).copied().min()
    }

    /// The first unfinished events of a lane, in order.
    pub fn first(&self, webhook: u32, key: u32) -> impl Iterator<Item = u32> + '_ {
        self.lanes.get(&(webhook, key)).into_iter().flat_map(|(_, events)| events.iter().copied())
    }
}

/// For one webhook and one key, only the oldest event that is not finished is ever sent; in a
/// batch, the oldest ones, in their order.
pub fn order(history: &History, _: &Plan) -> Result<(), String> {
    let mut lanes = Lanes::default();
    let mut known = Known::default();
    for entry in &history.entries {
        lanes.follow(entry);
        known.follow(entry);
        let Happening::Sent(sent) = &entry.what else { continue };
        if known.of(sent.shard, sent.name.webhook).is_some_and(|terms| !terms.ordered) {
            continue;
        }
        for (webhook, key) in sent.lanes() {
            let of_lane = sent.carried.iter().filter(|carried| carried.key == key);
            let events: Vec<u32> = of_lane.map(|carried| carried.event).collect();
            let first: Vec<u32> = lanes.first(webhook, key).take(events.len()).collect();
            if !first.is_empty() && first != events {
                let message = format!("{events:?} were sent, but {first:?} were first: {sent:?}");
                return Err(at(entry.at, &message));
            }
        }
    }
    Ok(())
}

/// For one webhook and one key, no exchange begins before the one before has ended: answered, or
/// known to the shard to be dead.
pub fn overlap(history: &History, _: &Plan) -> Result<(), String> {
    let mut open: BTreeMap<(u32, u32), (u32, RequestName)> = BTreeMap::new();
    let mut known = Known::default();
    for entry in &history.entries {
        known.follow(entry);
        match &entry.what {
            Happening::Sent(sent) if sent.event.is_some() => {
                let terms = known.of(sent.shard, sent.name.webhook);
                if terms.is_some_and(|terms| !terms.ordered) {
                    continue;
                }
                for lane in sent.lanes() {
                    if let Some((other, _)) = open.insert(lane, (sent.link, sent.name)) {
                        let message = format!("link {other} is still busy with a lane of {sent:?}");
                        return Err(at(entry.at, &message));
                    }
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
    let mut carried_by: BTreeMap<RequestName, Sent> = BTreeMap::new();
    let mut lanes = Lanes::default();
    for entry in &history.entries {
        if let Happening::Coalesced { webhook, key, .. } = &entry.what {
            // It is nobody's any more.
            if let Some(gone) = lanes.gives_way(*webhook, *key) {
                pending.remove(&(*webhook, *key, gone));
            }
        }
        lanes.follow(entry);
        match &entry.what {
            Happening::Accepted { event, key, wanted, .. } => {
                let taken = wanted.iter().filter(|wanted| !wanted.dropped);
                pending.extend(taken.map(|wanted| (wanted.webhook, *key, *event)));
            }
            Happening::Replayed { name, event, key, .. } => {
                pending.insert((name.webhook, *key, *event));
            }
            Happening::Sent(sent) => {
                for carried in &sent.carried {
                    if !pending.contains(&(sent.name.webhook, carried.key, carried.event)) {
                        let message = format!("nobody asked for {carried:?} of {sent:?}");
                        return Err(at(entry.at, &message));
                    }
                }
                carried_by.insert(sent.name, sent.clone());
            }
            Happening::Attempt(attempt) if attempt.outcome != DeliveryOutcome::Failed => {
                for carried in
                    carried_by.remove(&attempt.name).iter().flat_map(|sent| &sent.carried)
                {
                    pending.remove(&(attempt.name.webhook, carried.key, carried.event));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
