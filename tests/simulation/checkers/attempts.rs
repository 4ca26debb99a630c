//! DEL-2 and DEL-3: how often, when, and with what a delivery is tried.

use super::super::faults::Plan;
use super::super::history::{
    Attempt, CarriedEvent, End, Entry, Form, Happening, History, Note, RequestName, Sent, Terms,
};
use super::at;
use ferrite::core::http::response::DeliveryWish;
use ferrite::core::ledger::{DeliveryOutcome, WebhookStatus};
use ferrite::core::retry::{RetryBackoff, RetryPolicy};
use std::collections::BTreeMap;

const GONE: u16 = 410;

/// The terms of each webhook as each shard knows them.
#[derive(Default)]
pub struct Known {
    terms: BTreeMap<(usize, u32), Terms>,
}

impl Known {
    pub fn follow(&mut self, entry: &Entry) {
        match &entry.what {
            Happening::Learned { shard, webhook, terms } => {
                self.terms.insert((*shard, *webhook), *terms);
            }
            Happening::Deleted { shard, webhook } => drop(self.terms.remove(&(*shard, *webhook))),
            _ => {}
        }
    }

    /// Whether a webhook of the shard points at the endpoint.
    pub fn points_at(&self, shard: usize, endpoint: usize) -> bool {
        let mut terms = self.terms.iter();
        terms.any(|((of, _), terms)| *of == shard && terms.endpoint == endpoint)
    }

    pub fn of(&self, shard: usize, webhook: u32) -> Option<&Terms> {
        self.terms.get(&(shard, webhook))
    }
}

/// Attempts count from 1, one by one; a delivery is dead after 1 + retries of them and not
/// before, but at once after a final status or `abort-message`; 410 and `disable` count nothing;
/// only 2xx is success.
pub fn attempts(history: &History, _: &Plan) -> Result<(), String> {
    let mut known = Known::default();
    let mut counts: BTreeMap<RequestName, u32> = BTreeMap::new();
    let wishes = history.wishes();
    for entry in &history.entries {
        known.follow(entry);
        let verdict = match &entry.what {
            Happening::Sent(sent) if sent.event.is_some() => {
                let counted = counts.get(&sent.name).copied().unwrap_or_default();
                (sent.attempt == counted + 1)
                    .then_some(())
                    .ok_or_else(|| format!("{counted} attempts were counted before {sent:?}"))
            }
            Happening::Attempt(attempt) => {
                let counted = counts.entry(attempt.name).or_default();
                let terms = known.of(attempt.shard, attempt.name.webhook);
                let wish = wishes.get(&(entry.call, attempt.name)).copied();
                check_attempt(attempt, counted, terms, wish)
            }
            // It has all its attempts again.
            Happening::Replayed { name, .. } => {
                counts.remove(name);
                Ok(())
            }
            Happening::Journal { note: Note::Fetched { webhook, deliveries, .. }, .. } => {
                for one in deliveries {
                    let name = RequestName { webhook: *webhook, id: one.id };
                    counts.insert(name, u32::from(one.attempts));
                }
                Ok(())
            }
            _ => Ok(()),
        };
        verdict.map_err(|message| at(entry.at, &message))?;
    }
    Ok(())
}

/// Whether an attempt disables its webhook, and is not counted.
pub fn disables(attempt: &Attempt, wish: Option<DeliveryWish>) -> bool {
    let failed = attempt.outcome != DeliveryOutcome::Ok;
    attempt.status == Some(GONE) || (wish == Some(DeliveryWish::Disable) && failed)
}

fn check_attempt(
    attempt: &Attempt,
    counted: &mut u32,
    terms: Option<&Terms>,
    wish: Option<DeliveryWish>,
) -> Result<(), String> {
    let retries = terms.map_or(0, |terms| terms.retry.retries);
    let is_final = wish == Some(DeliveryWish::AbortMessage)
        || (attempt.status.is_some()
            && attempt.status == terms.and_then(|terms| terms.final_status));
    let success = attempt.status.is_some_and(|status| (200..300).contains(&status));
    let expected = if disables(attempt, wish) {
        (DeliveryOutcome::Failed, (*counted).max(1))
    } else {
        let before = *counted;
        *counted += 1;
        let outcome = match success {
            true => DeliveryOutcome::Ok,
            false if before >= retries || is_final => DeliveryOutcome::Dead,
            false => DeliveryOutcome::Failed,
        };
        (outcome, *counted)
    };
    if (attempt.outcome, attempt.attempt) != expected {
        return Err(format!("with {retries} retries, {expected:?} expected: {attempt:?}"));
    }
    Ok(())
}

/// The shortest time between an attempt that failed as number `counted` and the next.
fn delay_us_min(policy: &RetryPolicy, counted: u32) -> u64 {
    let first = policy.delay_ms as f64;
    let grown = match policy.backoff {
        RetryBackoff::Fixed => first,
        RetryBackoff::Linear => first * f64::from(counted),
        RetryBackoff::Exponential => first * policy.multiplier.powi(counted as i32 - 1),
    };
    (grown.min(policy.delay_ms_max as f64) * 1000.0).floor() as u64
}

/// The longest such time: the shortest and its jitter.
pub fn delay_us_max(policy: &RetryPolicy, counted: u32) -> u64 {
    (delay_us_min(policy, counted) as f64 * (1.0 + policy.jitter)) as u64 + 1
}

/// No retry comes before the policy's delay has passed.
pub fn retry_times(history: &History, _: &Plan) -> Result<(), String> {
    let mut known = Known::default();
    let mut earliest: BTreeMap<RequestName, u64> = BTreeMap::new();
    let wishes = history.wishes();
    for entry in &history.entries {
        known.follow(entry);
        match &entry.what {
            Happening::Attempt(attempt) if attempt.status != Some(GONE) => {
                let wish = wishes.get(&(entry.call, attempt.name));
                if wish == Some(&DeliveryWish::Disable) {
                    continue;
                }
                let Some(terms) = known.of(attempt.shard, attempt.name.webhook) else { continue };
                let due = entry.at + delay_us_min(&terms.retry, attempt.attempt);
                earliest.insert(attempt.name, due);
            }
            Happening::Replayed { name, .. } => drop(earliest.remove(name)),
            Happening::Sent(sent) => {
                if let Some(due) = earliest.get(&sent.name)
                    && sent.assigned_at < *due
                {
                    return Err(at(entry.at, &format!("not before {due} us: {sent:?}")));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// From which call on a webhook or an endpoint must not be sent to.
#[derive(Clone, Copy)]
enum Hold {
    Until { at: u64, from_call: u64 },
    Stopped { from_call: u64 },
}

/// `Retry-After` on 429 and 503 is obeyed by all webhooks of the endpoint on that shard; 410,
/// `webhook-delivery: disable`, a command, and nothing but failures for too long stop a webhook
/// until it is enabled.
pub fn holds(history: &History, plan: &Plan) -> Result<(), String> {
    let mut known = Known::default();
    let mut sents: BTreeMap<RequestName, Sent> = BTreeMap::new();
    let mut pauses: BTreeMap<(usize, usize), Hold> = BTreeMap::new();
    let mut stops: BTreeMap<u32, Hold> = BTreeMap::new();
    let mut failing = Failing::new(plan);
    for entry in &history.entries {
        if let Some(webhook) = failing.follow(entry, &known) {
            // Others may have been given to connections in the same call, just before.
            stops.insert(webhook, Hold::Stopped { from_call: entry.call + 1 });
        }
        match &entry.what {
            Happening::Sent(sent) if sent.event.is_some() => {
                sents.insert(sent.name, sent.clone());
                let pause = pauses.get(&(sent.shard, sent.endpoint));
                let stop = stops.get(&sent.name.webhook);
                if pause.into_iter().chain(stop).any(|hold| !hold.allows(sent)) {
                    return Err(at(entry.at, &format!("on hold: {sent:?}")));
                }
            }
            Happening::Ended(ended) if !ended.test => {
                let Some(name) = ended.request else { continue };
                let Some(sent) = sents.remove(&name) else { continue };
                let End::Status { status, retry_at, wish } = ended.end else { continue };
                let from_call = entry.call;
                let place = (ended.shard, sent.endpoint);
                // Nobody is held back where nobody is.
                if let Some(at) = retry_at
                    && known.points_at(ended.shard, sent.endpoint)
                    && !matches!(pauses.get(&place), Some(Hold::Until { at: known, .. }) if *known > at)
                {
                    pauses.insert(place, Hold::Until { at, from_call });
                }
                let terms = known.of(ended.shard, sent.name.webhook);
                if terms.is_some_and(|terms| terms.revision != sent.revision) {
                    continue;
                }
                if status == GONE || wish == Some(DeliveryWish::Disable) {
                    stops.insert(sent.name.webhook, Hold::Stopped { from_call });
                }
            }
            Happening::StatusSet { webhook, active: true } => drop(stops.remove(webhook)),
            Happening::StatusSet { webhook, active: false } => {
                stops.insert(*webhook, Hold::Stopped { from_call: entry.call + 1 });
            }
            Happening::Checkpoint(checkpoint) => {
                use WebhookStatus::{Failing, Gone, Refused};
                let wrong = checkpoint.rows.iter().find(|row| {
                    matches!(row.status, Gone | Refused | Failing)
                        && !stops.contains_key(&row.webhook)
                });
                if let Some(row) = wrong {
                    let message = format!("there is no reason for that: {row:?}");
                    return Err(at(entry.at, &message));
                }
            }
            _ => {}
        }
        known.follow(entry);
    }
    Ok(())
}

/// Since when each webhook has had nothing but failures.
pub struct Failing {
    allowed_us: u64,
    since: BTreeMap<u32, u64>,
}

impl Failing {
    pub fn new(plan: &Plan) -> Failing {
        let allowed_us = plan.isolation.auto_disable_after_ms * 1000;
        Failing { allowed_us, since: BTreeMap::new() }
    }

    /// The webhook that has had them for too long now.
    pub fn follow(&mut self, entry: &Entry, known: &Known) -> Option<u32> {
        match &entry.what {
            Happening::StatusSet { webhook, active: true } => drop(self.since.remove(webhook)),
            // What failed before it was moved is forgotten.
            Happening::Learned { shard, webhook, terms } => {
                let before = known.of(*shard, *webhook).map(|terms| terms.revision);
                if before.is_some_and(|before| before != terms.revision) {
                    self.since.remove(webhook);
                }
            }
            Happening::Attempt(Attempt { name, failure: None, .. }) => {
                self.since.remove(&name.webhook);
            }
            Happening::Attempt(Attempt { name, .. }) => {
                let since = *self.since.entry(name.webhook).or_insert(entry.at);
                let too_long = self.allowed_us > 0 && entry.at - since >= self.allowed_us;
                return too_long.then_some(name.webhook);
            }
            _ => {}
        }
        None
    }
}

impl Hold {
    fn allows(self, sent: &Sent) -> bool {
        match self {
            // What was given to a connection before is on its way.
            Hold::Until { at, from_call } => {
                sent.assigned_call < from_call || sent.assigned_at >= at
            }
            Hold::Stopped { from_call } => sent.assigned_call < from_call,
        }
    }
}

/// An event has one id, and an id one event; every attempt has the same body and signature, and
/// goes where its webhook points.
pub fn identity(history: &History, _: &Plan) -> Result<(), String> {
    let mut known = Known::default();
    let mut bodies: BTreeMap<(u64, Form), (Vec<CarriedEvent>, u64)> = BTreeMap::new();
    let mut forms: BTreeMap<RequestName, Form> = BTreeMap::new();
    let mut signatures: BTreeMap<(RequestName, Option<u32>), Option<String>> = BTreeMap::new();
    let mut ids: BTreeMap<u32, u64> = BTreeMap::new();
    for entry in &history.entries {
        known.follow(entry);
        let Happening::Sent(sent) = &entry.what else { continue };
        let fresh = (sent.carried.clone(), sent.body);
        if *bodies.entry((sent.name.id, sent.form)).or_insert_with(|| fresh.clone()) != fresh
            || *forms.entry(sent.name).or_insert(sent.form) != sent.form
        {
            return Err(at(entry.at, &format!("the body or event of an id changed: {sent:?}")));
        }
        // Another secret makes another signature; which one it must be says the rule "secrets".
        let signature = signatures.entry((sent.name, sent.signers.ferrite));
        let signature = signature.or_insert_with(|| sent.signature.clone());
        if *signature != sent.signature {
            return Err(at(entry.at, &format!("the signature changed: {sent:?}")));
        }
        if sent.event.is_none() {
            continue;
        }
        for carried in &sent.carried {
            if *ids.entry(carried.event).or_insert(carried.id) != carried.id {
                return Err(at(entry.at, &format!("{carried:?} has a second id: {sent:?}")));
            }
        }
        let Some(terms) = known.of(sent.shard, sent.name.webhook) else { continue };
        if (terms.endpoint, terms.revision) != (sent.endpoint, sent.revision) {
            return Err(at(entry.at, &format!("{terms:?} says otherwise: {sent:?}")));
        }
    }
    Ok(())
}

/// What was wholly answered 2xx is not sent again.
pub fn duplicates(history: &History, _: &Plan) -> Result<(), String> {
    let mut sents: BTreeMap<RequestName, Vec<CarriedEvent>> = BTreeMap::new();
    let mut answered: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Sent(sent) => {
                for carried in &sent.carried {
                    if let Some(time) = answered.get(&(sent.name.webhook, carried.id)) {
                        let message =
                            format!("{carried:?} was answered 2xx at {time} us: {sent:?}");
                        return Err(at(entry.at, &message));
                    }
                }
                sents.insert(sent.name, sent.carried.clone());
            }
            Happening::Answered { name, status: 200..=299, .. } => {
                for carried in sents.get(name).into_iter().flatten() {
                    answered.insert((name.webhook, carried.id), entry.at);
                }
            }
            _ => {}
        }
    }
    Ok(())
}
