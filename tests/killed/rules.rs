//! The rules, for one webhook and the events of one key in their trigger order:
//!
//! * *Lost* (DEL-1, DUR-1): each write that was answered was answered 2xx by the receiver, or is a
//!   dead letter. A write without a reply may have become an event, or not.
//! * *Order* (ORD-1), within one life of the server: an event is sent for the first time after the
//!   one before it was answered 2xx or was given up; one request at a time; never back; none is
//!   left out. And none comes again that was answered 2xx in the same life.
//! * *Order over a restart* (ORD-3): a life begins no later than with the first event that was not
//!   settled in the lives before. So an event whose answer was not noted when the server was killed
//!   comes again, also if later ones were answered 2xx meanwhile: then these come again behind it,
//!   in their order, as all that follows does.
//! * *Again*: what comes again was unfinished in the log when the life before ended. Nothing else
//!   is ever sent twice.
//! * *Ids* (DEL-3): one id, one event, one body; one event, one id; boots count up.
//! * *Unknown*: what arrives was written.
//!
//! Which events there are is known from all webhooks together: each wants all. An event whose write
//! was not answered may have been delivered and then be forgotten: deliveries do not wait for the
//! log. It is so if the log did not have it when its life ended.

use crate::books::{LogContents, Seen, Story, Webhook};
use ferrite::base::id::EventId;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

/// A way to break the contract.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Broken {
    Lost,
    Order,
    Overlap,
    Again,
    Id,
    Body,
    Boot,
    Unknown,
}

/// What the rules find, and what they count.
#[derive(Default, Debug)]
pub struct Verdict {
    /// How often each was broken, with the first examples.
    pub broken: BTreeMap<Broken, (usize, Vec<String>)>,
    pub answered_writes: usize,
    pub unanswered_writes: usize,
    /// Different (webhook, event) answered 2xx.
    pub delivered: usize,
    pub dead: usize,
    pub requests: usize,
    /// Deliveries answered 2xx that came once more.
    pub duplicates: usize,
}

const EXAMPLES_MAX: usize = 5;

impl Verdict {
    fn add(&mut self, kind: Broken, what: impl FnOnce() -> String) {
        let (count, examples) = self.broken.entry(kind).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(what());
        }
    }

    pub fn count(&self, kind: Broken) -> usize {
        self.broken.get(&kind).map_or(0, |(count, _)| *count)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{} writes answered, {} not; {} requests, {} deliveries, {} dead letters; {} came again \
             ({:.3} %)",
            self.answered_writes,
            self.unanswered_writes,
            self.requests,
            self.delivered,
            self.dead,
            self.duplicates,
            100.0 * self.duplicates as f64 / self.delivered.max(1) as f64
        )?;
        for (kind, (count, examples)) in &self.broken {
            writeln!(formatter, "{kind:?}: {count}")?;
            examples.iter().try_for_each(|example| writeln!(formatter, "    {example}"))?;
        }
        Ok(())
    }
}

/// Judges a story.
pub fn judge(story: &Story) -> Verdict {
    let mut verdict = Verdict::default();
    ids(story, &mut verdict);
    let existing = existing(story);
    for writes in story.writes.values() {
        let answered = writes.answered.iter().filter(|answered| **answered).count();
        verdict.answered_writes += answered;
        verdict.unanswered_writes += writes.answered.len() - answered;
    }
    for (at, webhook) in story.webhooks.iter().enumerate() {
        let mut lanes: HashMap<u32, Vec<&Seen>> = HashMap::new();
        for seen in &webhook.seen {
            lanes.entry(seen.key).or_default().push(seen);
        }
        verdict.requests += webhook.seen.len();
        for (key, existing) in &existing {
            let mut lane = lanes.remove(key).unwrap_or_default();
            lane.sort_by_key(|seen| (seen.life, seen.began));
            judge_lane(webhook, &lane, existing, &mut verdict);
            lost(story, webhook, *key, &lane, &mut verdict);
        }
        again(story, at, webhook, &mut verdict);
    }
    verdict
}

/// The numbers of the writes of a key that are events, and the last life that knew of each.
type Existing = BTreeMap<usize, usize>;

fn existing(story: &Story) -> BTreeMap<u32, Existing> {
    let mut existing: BTreeMap<u32, Existing> = BTreeMap::new();
    for seen in story.webhooks.iter().flat_map(|webhook| &webhook.seen) {
        let last = forgotten_after(story, seen.id).unwrap_or(usize::MAX);
        existing.entry(seen.key).or_default().insert(seen.number, last);
    }
    for (key, writes) in &story.writes {
        let answered = writes.answered.iter().enumerate().filter(|(_, answered)| **answered);
        existing.entry(*key).or_default().extend(answered.map(|(number, _)| (number, usize::MAX)));
    }
    existing
}

/// The life in which an event was made, if the log did not have it in the end.
fn forgotten_after(story: &Story, id: EventId) -> Option<usize> {
    let has_boot =
        |log: &Option<LogContents>| log.as_ref().is_some_and(|log| log.boots.contains(&id.boot));
    let life = story.logs.iter().position(has_boot)?;
    let log = story.logs[life].as_ref()?;
    (!log.events.contains(&id)).then_some(life)
}

fn ids(story: &Story, verdict: &mut Verdict) {
    let mut events: HashMap<EventId, &Seen> = HashMap::new();
    let mut names: HashMap<(u32, usize), EventId> = HashMap::new();
    let mut boots: Vec<BTreeSet<u64>> = vec![BTreeSet::new(); story.logs.len()];
    let mut first_seen: HashMap<u64, usize> = HashMap::new();
    for seen in story.webhooks.iter().flat_map(|webhook| &webhook.seen) {
        let first = *events.entry(seen.id).or_insert(seen);
        if (first.key, first.number) != (seen.key, seen.number) {
            verdict.add(Broken::Id, || format!("{} names {first:?} and {seen:?}", seen.id));
        } else if first.body_hash != seen.body_hash {
            verdict.add(Broken::Body, || format!("{first:?}, then {seen:?}"));
        }
        let id = *names.entry((seen.key, seen.number)).or_insert(seen.id);
        if id != seen.id {
            verdict.add(Broken::Id, || format!("{seen:?} had the id {id} before"));
        }
        let writes = story.writes.get(&seen.key);
        if writes.is_none_or(|writes| writes.answered.len() <= seen.number) {
            verdict.add(Broken::Unknown, || format!("{seen:?}"));
        }
        let life = first_seen.entry(seen.id.boot).or_insert(seen.life);
        *life = (*life).min(seen.life);
    }
    for (boot, life) in first_seen {
        if let Some(boots) = boots.get_mut(life) {
            boots.insert(boot);
        }
    }
    // A life makes ids of one boot. An event of an earlier boot may be seen first in a later life;
    // so the boots that are first seen in a life may be several, and the last one is its own.
    for (life, log) in story.logs.iter().enumerate() {
        let Some(log) = log else { continue };
        let Some(own) = log.boots.last() else { continue };
        if boots[life].last().is_some_and(|seen| seen > own) {
            verdict.add(Broken::Boot, || format!("life {life}: ids of a boot after {own:x}"));
        }
        let before = story.logs[..life].iter().flatten().filter_map(|log| log.boots.last()).max();
        if before.is_some_and(|before| before > own) {
            verdict.add(Broken::Boot, || format!("life {life}: boot {own:x} after {before:x?}"));
        }
    }
}

/// `lane`: the requests of a webhook and key, in their order.
fn judge_lane(webhook: &Webhook, lane: &[&Seen], existing: &Existing, verdict: &mut Verdict) {
    let name = &webhook.name;
    // What was answered 2xx or given up.
    let mut settled: HashSet<usize> = HashSet::new();
    let mut delivered: HashSet<usize> = HashSet::new();
    for life in lane.chunk_by(|a, b| a.life == b.life) {
        let first = life[0].number;
        let mut before = existing.range(..first).filter(|(_, last)| **last >= life[0].life);
        if let Some((before, _)) = before.find(|(number, _)| !settled.contains(*number)) {
            verdict.add(Broken::Order, || {
                format!("{name}: {:?} begins its life, but {before} was not settled", life[0])
            });
        }
        let mut answered_now: HashSet<usize> = HashSet::new();
        for (at, seen) in life.iter().enumerate() {
            if let Some(before) = at.checked_sub(1).map(|before| life[before]) {
                follow(webhook, before, seen, existing, &answered_now, verdict);
            }
            if answered_now.contains(&seen.number) {
                verdict.add(Broken::Again, || format!("{name}: {seen:?} in the same life"));
            }
            if seen.is_2xx() {
                answered_now.insert(seen.number);
                settled.insert(seen.number);
                if !delivered.insert(seen.number) {
                    verdict.duplicates += 1;
                }
            } else if webhook.dead.contains(&seen.id) {
                settled.insert(seen.number);
            }
        }
    }
    verdict.delivered += delivered.len();
}

/// One request behind another of the same life and lane.
fn follow(
    webhook: &Webhook,
    before: &Seen,
    seen: &Seen,
    existing: &Existing,
    answered: &HashSet<usize>,
    verdict: &mut Verdict,
) {
    let name = &webhook.name;
    if seen.began < before.ended {
        verdict.add(Broken::Overlap, || format!("{name}: {before:?} and {seen:?}"));
    }
    if seen.number == before.number {
        return;
    }
    let mut next = existing.range(before.number + 1..).filter(|(_, last)| **last >= seen.life);
    if next.next().map(|(number, _)| *number) != Some(seen.number) {
        verdict.add(Broken::Order, || format!("{name}: {before:?}, then {seen:?}"));
    } else if !answered.contains(&before.number) && !is_given_up(webhook, before) {
        verdict.add(Broken::Order, || format!("{name}: {before:?} was not settled, {seen:?}"));
    }
}

/// Whether the event of a failed attempt was given up then. It is no dead letter if the log had
/// forgotten it, as nobody was told that it is safe.
fn is_given_up(webhook: &Webhook, seen: &Seen) -> bool {
    let was_last = webhook.attempts_max.is_some_and(|most| seen.attempt >= most);
    webhook.dead.contains(&seen.id) || was_last
}

fn lost(story: &Story, webhook: &Webhook, key: u32, lane: &[&Seen], verdict: &mut Verdict) {
    let mut settled = HashSet::new();
    for seen in lane {
        let dead = webhook.dead.contains(&seen.id);
        let settles = seen.is_2xx() || dead;
        if settles && settled.insert(seen.number) {
            verdict.dead += usize::from(dead);
        }
    }
    let Some(writes) = story.writes.get(&key) else { return };
    for (number, answered) in writes.answered.iter().enumerate() {
        if *answered && !settled.contains(&number) {
            verdict.add(Broken::Lost, || format!("{}: k:{key} {number}", webhook.name));
        }
    }
}

/// `at`: the webhook's place among those of the story, in the order of their making, which is that
/// of their numbers in the log.
fn again(story: &Story, at: usize, webhook: &Webhook, verdict: &mut Verdict) {
    let numbers: BTreeSet<u64> =
        story.logs.iter().flatten().flat_map(|log| &log.webhooks).copied().collect();
    let Some(number) = numbers.into_iter().nth(at) else { return };
    for seen in &webhook.seen {
        let Some(Some(log)) = seen.life.checked_sub(1).and_then(|life| story.logs.get(life)) else {
            continue;
        };
        // An event of this life.
        if log.boots.iter().all(|boot| *boot < seen.id.boot) {
            continue;
        }
        if log.pending.get(&number).is_none_or(|pending| !pending.contains(&seen.id)) {
            verdict.add(Broken::Again, || {
                format!("{}: {seen:?} was finished in the log", webhook.name)
            });
        }
    }
}
