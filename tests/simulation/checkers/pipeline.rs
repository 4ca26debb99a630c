//! Requests one behind the other on a connection, and whose answer is whose.

use super::super::faults::Plan;
use super::super::history::{Attempt, End, Ended, Happening, History, RequestName, Sent};
use super::at;
use super::attempts::Known;
use std::collections::{BTreeMap, BTreeSet};

/// What a connection carries, as the history tells it.
#[derive(Default)]
struct Line {
    pipeline: u32,
    answered: bool,
    sents: Vec<Sent>,
    last: (u64, u64),
}

impl Line {
    fn take(&mut self, sent: &Sent, pipeline: u32, ordered: bool) -> Result<(), String> {
        if self.pipeline != 0 && self.pipeline != pipeline {
            return Err(format!("made for {} at once, not {pipeline}: {sent:?}", self.pipeline));
        }
        self.pipeline = pipeline;
        // Without order, each event has a lane of its own.
        let lanes = if ordered { sent.lanes() } else { BTreeSet::new() };
        let is_test = |sent: &Sent| (sent.name.webhook, sent.event.is_none());
        let clashes = |other: &&Sent| {
            !lanes.is_disjoint(&other.lanes())
                || sent.event.is_none() && is_test(other) == is_test(sent)
        };
        if let Some(other) = self.sents.iter().find(clashes) {
            return Err(format!("behind one of its own lane, {other:?}: {sent:?}"));
        }
        self.sents.push(sent.clone());
        let bound = if self.answered { pipeline } else { 1 };
        if self.sents.len() > bound as usize {
            return Err(format!("{} at once, {bound} allowed: {sent:?}", self.sents.len()));
        }
        let assigned = (sent.assigned_at, sent.assigned_call);
        if assigned < self.last {
            return Err(format!("before one that was assigned earlier: {sent:?}"));
        }
        self.last = assigned;
        Ok(())
    }
}

/// A connection carries one request until it has answered one, then at most `PIPELINE` of them,
/// never two of one lane; they are written in the order in which they were assigned, answered in
/// the order in which they were written, and what is taken back from a connection goes out again
/// in its order.
pub fn pipeline(history: &History, _: &Plan) -> Result<(), String> {
    let mut known = Known::default();
    let mut lines: BTreeMap<u32, Line> = BTreeMap::new();
    let mut taken_back = TakenBack::default();
    for entry in &history.entries {
        known.follow(entry);
        let verdict = taken_back.follow(&entry.what, entry.call).and_then(|()| match &entry.what {
            Happening::Sent(sent) => {
                // The shard need not have learned of a webhook to test it; that goes alone.
                let terms = known.of(sent.shard, sent.name.webhook);
                let pipeline = terms.map_or(1, |terms| terms.pipeline);
                let ordered = terms.is_none_or(|terms| terms.ordered);
                lines.entry(sent.link).or_default().take(sent, pipeline, ordered)
            }
            Happening::Answered { link, name, .. } => {
                let line = lines.entry(*link).or_default();
                line.answered = true;
                // Several may be answered at once: each ends within the same call.
                let first = line.sents.iter().position(|sent| sent.name == *name);
                match first {
                    Some(_) => Ok(()),
                    None => Err(format!("{name:?} is answered on {link}, which does not carry it")),
                }
            }
            Happening::Ended(Ended { link, request: Some(name), end, .. }) => {
                let line = lines.entry(*link).or_default();
                let place = line.sents.iter().position(|sent| sent.name == *name);
                if let Some(place) = place {
                    line.sents.remove(place);
                }
                match (place, end) {
                    (Some(1..), End::Status { .. } | End::Stale) => {
                        Err(format!("{name:?} has {end:?} before those before it on {link}"))
                    }
                    (None, _) => Err(format!("{name:?} ends on {link}, which does not carry it")),
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        });
        verdict.map_err(|message| at(entry.at, &message))?;
    }
    Ok(())
}

/// Requests that a connection gave back, in their order, until they have gone out again.
#[derive(Default)]
struct TakenBack {
    /// By the call and the connection that gave them back.
    groups: BTreeMap<(u64, u32), Vec<Again>>,
}

struct Again {
    shard: usize,
    name: RequestName,
    assigned_call: Option<u64>,
}

impl TakenBack {
    fn follow(&mut self, what: &Happening, call: u64) -> Result<(), String> {
        match what {
            Happening::Ended(Ended {
                end: End::TakenBack,
                request: Some(name),
                shard,
                link,
                ..
            }) => {
                let again = Again { shard: *shard, name: *name, assigned_call: None };
                self.groups.entry((call, *link)).or_default().push(again);
            }
            // Which one it was is not known, and it goes out before all others now.
            Happening::Ended(Ended { request: None, shard, .. }) => {
                self.forget(|of| of.shard == *shard)
            }
            Happening::Salvaged { shard } => self.forget(|of| of.shard == *shard),
            Happening::Learned { shard, .. } | Happening::Deleted { shard, .. } => {
                self.forget(|of| of.shard == *shard);
            }
            Happening::Attempt(attempt) => {
                self.forget(|of| of.name == attempt.name && of.assigned_call.is_none())
            }
            Happening::Ended(Ended { end: End::Stale, request: Some(name), .. }) => {
                self.forget(|of| of.name == *name && of.assigned_call.is_none());
            }
            Happening::Sent(sent) => {
                for group in self.groups.values_mut() {
                    let place = group.iter().position(|again| again.name == sent.name);
                    let Some(place) = place.filter(|&at| group[at].assigned_call.is_none()) else {
                        continue;
                    };
                    group[place].assigned_call = Some(sent.assigned_call);
                    let same = |again: &&Again| again.name.webhook == sent.name.webhook;
                    let calls = group.iter().filter(same).filter_map(|again| again.assigned_call);
                    if !calls.is_sorted() {
                        return Err(format!("not in the order of those taken back: {sent:?}"));
                    }
                }
                self.groups.retain(|_, group| group.iter().any(|of| of.assigned_call.is_none()));
            }
            _ => {}
        }
        Ok(())
    }

    fn forget(&mut self, which: impl Fn(&Again) -> bool) {
        self.groups.values_mut().for_each(|group| group.retain(|again| !which(again)));
        self.groups.retain(|_, group| !group.is_empty());
    }
}

/// Each logged status is the one that the endpoint gave to that very request, on the connection
/// that carried it last, or what it said there without being asked.
pub fn answers(history: &History, _: &Plan) -> Result<(), String> {
    let mut carried_by: BTreeMap<RequestName, u32> = BTreeMap::new();
    let mut replies: BTreeMap<(u32, RequestName), u16> = BTreeMap::new();
    let mut unasked: BTreeSet<(u32, u16)> = BTreeSet::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Sent(sent) => {
                carried_by.insert(sent.name, sent.link);
            }
            Happening::Replied { link, name, status } => {
                replies.insert((*link, *name), *status);
            }
            Happening::Unasked { link, status } => {
                unasked.insert((*link, *status));
            }
            Happening::Attempt(Attempt { name, status: Some(status), .. }) => {
                let Some(link) = carried_by.get(name) else {
                    return Err(at(entry.at, &format!("{name:?} was never sent")));
                };
                let replied = replies.get(&(*link, *name));
                // Words out of turn are taken once.
                if replied != Some(status) && !unasked.remove(&(*link, *status)) {
                    let message = format!("{name:?} has {status}, the endpoint said {replied:?}");
                    return Err(at(entry.at, &message));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
