//! DUR-1, DUR-3, ORD-3 and DEL-3 over the lives of an engine that keeps a journal.
//!
//! What the shards tell their journal is checked against what happened, and what happened against
//! what a life finds in the journal that the one before has left.

use super::super::faults::Plan;
use super::super::history::{
    Attempt, CarriedEvent, Entry, Happening, History, LeftOver, Note, Numbers, RequestName, Wanted,
};
use super::at;
use super::attempts::{self, Known, disables};
use ferrite::core::journal::Finish;
use ferrite::core::ledger::DeliveryOutcome;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// A delivery: its webhook, and its event's id.
type Name = (u32, u64);

fn is(finish: u16, wanted: Finish) -> bool {
    finish == wanted as u16
}

/// In the lanes of a shard there is never more of a webhook than its part of the queue (DUR-3).
pub fn memory(history: &History, plan: &Plan) -> Result<(), String> {
    let most = (plan.pending_max / plan.shards).max(1) as u64;
    for entry in &history.entries {
        let Happening::Checkpoint(checkpoint) = &entry.what else { continue };
        for row in &checkpoint.rows {
            let there = row.tally.pending.wrapping_sub(row.tally.spilled);
            if there > most {
                let message = format!("{there} in memory, {most} allowed: {row:?}");
                return Err(at(entry.at, &message));
            }
        }
    }
    Ok(())
}

/// DEL-3: the id, the bytes and the numbers of an event are the same in every life.
pub fn identity(history: &History, plan: &Plan) -> Result<(), String> {
    attempts::identity(history, plan)?;
    let mut numbers: BTreeMap<RequestName, Option<Numbers>> = BTreeMap::new();
    for (time, sent) in history.sents() {
        if *numbers.entry(sent.name).or_insert_with(|| sent.numbers.clone()) != sent.numbers {
            return Err(at(time, &format!("the numbers of an id changed: {sent:?}")));
        }
    }
    Ok(())
}

/// What is known of every delivery that was ever written down.
#[derive(Default)]
struct Deliveries {
    /// The event and key of each id.
    events: BTreeMap<u64, (u32, u32)>,
    unfinished: BTreeSet<Name>,
    /// Attempts that were noted.
    attempts: BTreeMap<Name, u16>,
    dead: BTreeSet<Name>,
    /// Events that the journal does not have.
    refused: BTreeSet<u64>,
    /// Which shard wrote each event down, in this life.
    writers: BTreeMap<u64, usize>,
    /// Dead letters that another worker than their own has forgotten: its ack may have been
    /// written before the event, and then they are dead letters again in the next life.
    forgotten: BTreeSet<Name>,
}

impl Deliveries {
    fn follow(&mut self, what: &Happening) {
        match what {
            Happening::Journal { shard, note } => self.follow_note(*shard, note),
            // What was said last may be forgotten.
            Happening::Crashed { left, .. } => {
                self.writers.clear();
                self.forgotten.clear();
                self.unfinished = left.iter().map(|one| (one.webhook, one.id)).collect();
                let dead = left.iter().filter(|one| one.dead);
                self.dead = dead.map(|one| (one.webhook, one.id)).collect();
                let attempts = left.iter().filter(|one| one.attempts > 0);
                self.attempts = attempts.map(|one| ((one.webhook, one.id), one.attempts)).collect();
            }
            _ => {}
        }
    }

    fn follow_note(&mut self, shard: usize, note: &Note) {
        match note {
            Note::Event { event, key, id, webhooks, .. } => {
                self.events.insert(*id, (*event, *key));
                self.writers.insert(*id, shard);
                self.unfinished.extend(webhooks.iter().map(|webhook| (*webhook, *id)));
            }
            Note::Finished { webhook, id, finish } => {
                let is_of_another = self.writers.get(id).is_some_and(|writer| *writer != shard);
                if is_of_another && is(*finish, Finish::Dead) {
                    self.forgotten.insert((*webhook, *id));
                }
                self.unfinished.remove(&(*webhook, *id));
                self.attempts.remove(&(*webhook, *id));
                self.dead.remove(&(*webhook, *id));
            }
            Note::Attempts { webhook, id, attempts } => {
                self.attempts.insert((*webhook, *id), *attempts);
            }
            Note::Dead { webhook, id } => {
                self.dead.insert((*webhook, *id));
            }
            Note::Lost { webhook, ids } => {
                self.unfinished.retain(|(of, id)| of != webhook || !ids.contains(id));
            }
            Note::Refused { ids } => self.refused.extend(ids),
            _ => {}
        }
    }
}

/// DUR-1: what somebody was told is kept, survives every end of the engine until it is finished.
/// An end in good order forgets nothing: neither attempts nor that something is dead or finished.
pub fn kept(history: &History, _: &Plan) -> Result<(), String> {
    let mut deliveries = Deliveries::default();
    let mut accepted: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut promised: BTreeSet<u32> = BTreeSet::new();
    // Of those that were accepted, which were finished.
    let mut ids: BTreeMap<u32, u64> = BTreeMap::new();
    let mut finished: BTreeSet<Name> = BTreeSet::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Accepted { event, wanted, .. } => {
                let taken = wanted.iter().filter(|wanted| !wanted.dropped);
                accepted.insert(*event, taken.map(|wanted| wanted.webhook).collect());
            }
            Happening::Journal { note: Note::Event { event, id, .. }, .. } => {
                ids.insert(*event, *id);
            }
            Happening::Journal { note: Note::Answered { event, kept: true }, .. } => {
                promised.insert(*event);
            }
            Happening::Journal { note: Note::Finished { webhook, id, .. }, .. } => {
                finished.insert((*webhook, *id));
            }
            Happening::Crashed { left, orderly } => {
                look_for_promised(left, &accepted, &promised, &ids, &finished)
                    .map_err(|message| at(entry.at, &message))?;
                if *orderly {
                    nothing_is_forgotten(left, &deliveries)
                        .map_err(|message| at(entry.at, &message))?;
                }
            }
            Happening::JournalEnd { left, .. } => {
                look_for_promised(left, &accepted, &promised, &ids, &finished)
                    .map_err(|message| at(entry.at, &message))?;
            }
            _ => {}
        }
        deliveries.follow(&entry.what);
    }
    Ok(())
}

fn look_for_promised(
    left: &[LeftOver],
    accepted: &BTreeMap<u32, Vec<u32>>,
    promised: &BTreeSet<u32>,
    ids: &BTreeMap<u32, u64>,
    finished: &BTreeSet<Name>,
) -> Result<(), String> {
    let left: BTreeSet<Name> = left.iter().map(|one| (one.webhook, one.id)).collect();
    for event in promised {
        for webhook in accepted.get(event).into_iter().flatten() {
            let Some(id) = ids.get(event) else {
                return Err(format!("event {event} was never written down"));
            };
            let name = (*webhook, *id);
            if !finished.contains(&name) && !left.contains(&name) {
                return Err(format!("event {event} of webhook {webhook} is lost: {id:#x}"));
            }
        }
    }
    Ok(())
}

fn nothing_is_forgotten(left: &[LeftOver], deliveries: &Deliveries) -> Result<(), String> {
    for one in left {
        let name = (one.webhook, one.id);
        if deliveries.forgotten.contains(&name) {
            continue;
        }
        let attempts = deliveries.attempts.get(&name).copied().unwrap_or_default();
        let dead = deliveries.dead.contains(&name);
        if !deliveries.unfinished.contains(&name) {
            return Err(format!("that it is finished is forgotten: {one:?}"));
        }
        // One that is replayed has all its attempts again, and stays a dead letter meanwhile.
        if one.dead != dead || (!dead && one.attempts != attempts) {
            return Err(format!("{attempts} attempts, dead: {dead}, not {one:?}"));
        }
    }
    Ok(())
}

/// ORD-3: for one webhook and one key, only the oldest event that is not finished is ever sent, in
/// all lives. What was finished and not noted in the journal before a crash is not: it is sent
/// again, and all behind it after it. What gives way does so to a newer one of its key.
pub fn order(history: &History, _: &Plan) -> Result<(), String> {
    let mut lanes: BTreeMap<(u32, u32), VecDeque<(u32, u64)>> = BTreeMap::new();
    let mut deliveries = Deliveries::default();
    let mut known = Known::default();
    // What gave way in a call, which may be noted before that for which it did.
    let (mut gave_way, mut call) = (Vec::new(), 0);
    for entry in &history.entries {
        if entry.call != call {
            call = entry.call;
            for (lane, event) in gave_way.drain(..) {
                let newer = lanes.get(&lane).into_iter().flatten().any(|(other, _)| *other > event);
                if !newer {
                    let message = format!("nothing newer takes the place of event {event}");
                    return Err(at(entry.at, &message));
                }
            }
        }
        known.follow(entry);
        deliveries.follow(&entry.what);
        let mut take_out = |webhook: u32, id: u64| {
            let (event, key) = *deliveries.events.get(&id)?;
            let lane = lanes.get_mut(&(webhook, key))?;
            lane.retain(|(_, other)| *other != id);
            Some(((webhook, key), event))
        };
        match &entry.what {
            Happening::Journal { note, .. } => match note {
                Note::Finished { webhook, id, finish } => {
                    let found = take_out(*webhook, *id);
                    gave_way.extend(found.filter(|_| is(*finish, Finish::Coalesced)));
                }
                Note::Dead { webhook, id } => {
                    take_out(*webhook, *id);
                }
                Note::Lost { webhook, ids } => {
                    for id in ids {
                        take_out(*webhook, *id);
                    }
                }
                Note::Event { event, key, id, webhooks, .. } => {
                    for webhook in webhooks {
                        lanes.entry((*webhook, *key)).or_default().push_back((*event, *id));
                    }
                }
                _ => {}
            },
            Happening::Replayed { name, event, key, .. } => {
                lanes.entry((name.webhook, *key)).or_default().push_back((*event, name.id));
            }
            Happening::Crashed { left, .. } => {
                lanes.clear();
                for one in left.iter().filter(|one| !one.dead) {
                    let Some((event, key)) = deliveries.events.get(&one.id) else { continue };
                    lanes.entry((one.webhook, *key)).or_default().push_back((*event, one.id));
                }
            }
            Happening::Sent(sent) if sent.event.is_some() => {
                if known.of(sent.shard, sent.name.webhook).is_some_and(|terms| !terms.ordered) {
                    continue;
                }
                for lane in sent.lanes() {
                    let of_lane = sent.carried.iter().filter(|carried| carried.key == lane.1);
                    let events: Vec<u32> = of_lane.map(|carried| carried.event).collect();
                    let first = lanes.get(&lane).into_iter().flatten().take(events.len());
                    let first: Vec<u32> = first.map(|(event, _)| *event).collect();
                    if first != events {
                        let message = format!("{events:?} were sent, not {first:?}: {sent:?}");
                        return Err(at(entry.at, &message));
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What was finished is never sent again, but for what a crash forgot. Only what was triggered is
/// sent.
pub fn finished(history: &History, _: &Plan) -> Result<(), String> {
    let mut deliveries = Deliveries::default();
    for entry in &history.entries {
        deliveries.follow(&entry.what);
        let Happening::Sent(sent) = &entry.what else { continue };
        for carried in &sent.carried {
            if !deliveries.unfinished.contains(&(sent.name.webhook, carried.id)) {
                let message = format!("{carried:?} was finished before: {sent:?}");
                return Err(at(entry.at, &message));
            }
            if deliveries.events.get(&carried.id) != Some(&(carried.event, carried.key)) {
                return Err(at(entry.at, &format!("{carried:?} is another: {sent:?}")));
            }
        }
    }
    Ok(())
}

/// In the end nothing is unfinished in the journal but the dead letters that are there, and those
/// are all that died and were not replayed, cleared or forgotten, in whatever life.
pub fn left(history: &History, _: &Plan) -> Result<(), String> {
    let mut deliveries = Deliveries::default();
    for entry in &history.entries {
        deliveries.follow(&entry.what);
        let Happening::JournalEnd { left, letters, unread } = &entry.what else { continue };
        let letters: BTreeSet<Name> = letters.iter().copied().collect();
        if let Some(one) = left.iter().find(|one| !one.dead) {
            return Err(at(entry.at, &format!("it is never finished: {one:?}")));
        }
        let kept = left.iter().map(|one| (one.webhook, one.id));
        let kept: BTreeSet<Name> =
            kept.filter(|name| !deliveries.forgotten.contains(name)).collect();
        let written = |name: &Name| !deliveries.refused.contains(&name.1);
        let should: BTreeSet<Name> = letters.iter().copied().filter(written).collect();
        if should != kept || letters != deliveries.dead {
            let message = format!(
                "dead letters {letters:?}, in the journal {kept:?}, by what happened {:?}",
                deliveries.dead
            );
            return Err(at(entry.at, &message));
        }
        if *unread != 0 {
            return Err(at(entry.at, &format!("{unread} are said to be unread")));
        }
    }
    Ok(())
}

/// The journal is told what happens, all of it and nothing else, in the call that brings it about:
/// events for exactly the webhooks that want them, 2xx as delivered, failures as attempts, what is
/// given up as dead; cancelled is only what a deleted webhook had, dropped only what a policy
/// drops, and dead for ever only a dead letter.
pub fn notes(history: &History, _: &Plan) -> Result<(), String> {
    let mut notes = Notes::default();
    let wishes = history.wishes();
    let mut call = 0;
    for entry in &history.entries {
        if entry.call != call {
            notes.compare().map_err(|message| at(entry.at, &message))?;
            call = entry.call;
        }
        notes.known.follow(entry);
        let verdict = match &entry.what {
            Happening::Attempt(attempt) => {
                let wish = wishes.get(&(entry.call, attempt.name)).copied();
                notes.expect(attempt, !disables(attempt, wish));
                Ok(())
            }
            Happening::Journal { shard, note } => notes.follow(*shard, note),
            _ => notes.follow_entry(entry),
        };
        verdict.map_err(|message| at(entry.at, &message))?;
    }
    notes.compare()
}

#[derive(Default)]
struct Notes {
    known: Known,
    /// The webhooks that a shard has.
    webhooks: BTreeSet<(usize, u32)>,
    carried_by: BTreeMap<RequestName, Vec<CarriedEvent>>,
    accepted: Option<(u32, BTreeSet<u32>)>,
    letters: BTreeSet<Name>,
    expected: BTreeSet<(Name, Said)>,
    said: BTreeSet<(Name, Said)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Said {
    Delivered,
    Dead,
    Attempts(u32),
}

impl Notes {
    fn expect(&mut self, attempt: &Attempt, counted: bool) {
        let webhook = attempt.name.webhook;
        let alone = vec![attempt.name.id];
        let (ids, said) = match attempt.outcome {
            DeliveryOutcome::Ok => {
                let carried = self.carried_by.get(&attempt.name).into_iter().flatten();
                (carried.map(|carried| carried.id).collect(), Said::Delivered)
            }
            DeliveryOutcome::Dead => (attempt.ids.clone(), Said::Dead),
            DeliveryOutcome::Failed if counted && attempt.ids == alone => {
                (alone, Said::Attempts(attempt.attempt))
            }
            // Of batches it is not remembered.
            DeliveryOutcome::Failed => return,
        };
        self.expected.extend(ids.into_iter().map(|id| ((webhook, id), said)));
    }

    fn follow(&mut self, shard: usize, note: &Note) -> Result<(), String> {
        match note {
            Note::Event { event, webhooks, .. } => {
                let told: BTreeSet<u32> = webhooks.iter().copied().collect();
                let wanted = self.accepted.take();
                if wanted != Some((*event, told)) {
                    return Err(format!("{wanted:?} was accepted: {note:?}"));
                }
            }
            Note::Attempts { webhook, id, attempts } => {
                self.said.insert(((*webhook, *id), Said::Attempts(u32::from(*attempts))));
            }
            Note::Dead { webhook, id } => {
                self.letters.insert((*webhook, *id));
                self.said.insert(((*webhook, *id), Said::Dead));
            }
            Note::Finished { webhook, id, finish } => {
                let name = (*webhook, *id);
                let terms = self.known.of(shard, *webhook);
                let was_letter = self.letters.remove(&name);
                let allowed = match *finish {
                    finish if is(finish, Finish::Delivered) => {
                        self.said.insert((name, Said::Delivered));
                        true
                    }
                    finish if is(finish, Finish::Cancelled) => {
                        !self.webhooks.contains(&(shard, *webhook))
                    }
                    finish if is(finish, Finish::Dead) => was_letter,
                    finish if is(finish, Finish::Coalesced) => {
                        terms.is_some_and(|terms| terms.coalesce)
                    }
                    _ => terms.is_some_and(|terms| terms.drops_oldest),
                };
                if !allowed {
                    return Err(format!("there is no reason for {note:?} of {shard}"));
                }
            }
            Note::Fetched { webhook, deliveries, .. } => {
                let dead = deliveries.iter().filter(|one| one.dead);
                self.letters.extend(dead.map(|one| (*webhook, one.id)));
            }
            Note::Lost { .. }
            | Note::Answered { .. }
            | Note::Refused { .. }
            | Note::Unread { .. } => {}
        }
        Ok(())
    }

    fn follow_entry(&mut self, entry: &Entry) -> Result<(), String> {
        match &entry.what {
            Happening::Accepted { event, wanted, .. } => {
                let taken = |wanted: &&Wanted| !wanted.dropped;
                let wanted: BTreeSet<u32> =
                    wanted.iter().filter(taken).map(|wanted| wanted.webhook).collect();
                if let Some(before) = &self.accepted {
                    return Err(format!("{before:?} was not written down"));
                }
                self.accepted = (!wanted.is_empty()).then_some((*event, wanted));
            }
            Happening::Learned { shard, webhook, .. } => {
                self.webhooks.insert((*shard, *webhook));
            }
            Happening::Deleted { shard, webhook } => {
                self.webhooks.remove(&(*shard, *webhook));
            }
            Happening::Restarted { .. } => {
                self.webhooks.clear();
                self.letters.clear();
            }
            Happening::Sent(sent) => {
                self.carried_by.insert(sent.name, sent.carried.clone());
            }
            Happening::Checkpoint(_) | Happening::Crashed { .. } => {
                if let Some(before) = &self.accepted {
                    return Err(format!("{before:?} was not written down"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<(), String> {
        let (expected, said) = (std::mem::take(&mut self.expected), std::mem::take(&mut self.said));
        if expected != said {
            return Err(format!("the journal was told {said:?}, but it was {expected:?}"));
        }
        Ok(())
    }
}
