//! DEL-6: circuit breakers. The checker has a breaker of its own for each endpoint and shard,
//! which follows the history.

use super::super::faults::Plan;
use super::super::history::{End, Ended, Entry, Happening, History, RequestName};
use super::at;
use super::attempts::Known;
use ferrite::core::failure::Failure;
use ferrite::core::shard::BreakerPolicy;
use std::collections::BTreeMap;

/// The part of its time that a breaker may stay open for longer.
const JITTER_PARTS: u64 = 5;

/// Later than any run lasts.
const NOBODY_KNOWS: u64 = u64::MAX / 2;

/// A shard, and an endpoint of it.
pub type Place = (usize, usize);

#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    openings: u32,
    open: Option<Open>,
    /// There was a time without a webhook at the endpoint: the shard may have forgotten it or not,
    /// until something that was begun since is answered.
    unsure_since: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    at: u64,
    until_min: u64,
    until_max: u64,
    /// The delivery that finds out, once it is written.
    probe: Option<(u32, RequestName)>,
}

/// The breakers of all endpoints and shards.
#[derive(Default)]
pub struct Breakers {
    policy: BreakerPolicy,
    known: Known,
    places: BTreeMap<u32, Place>,
    breakers: BTreeMap<Place, Breaker>,
}

impl Breakers {
    pub fn new(plan: &Plan) -> Breakers {
        Breakers { policy: plan.isolation.breaker, ..Breakers::default() }
    }

    /// Until when, at the latest, nothing at all may be sent, unless the breaker is closed.
    pub fn is_shut_until(&self, place: Place) -> Option<u64> {
        let breaker = self.breakers.get(&place)?;
        match breaker.unsure_since {
            Some(_) => Some(NOBODY_KNOWS),
            None => Some(breaker.open?.until_max),
        }
    }

    /// Says what is sent although the breaker does not let it through.
    pub fn follow(&mut self, entry: &Entry) -> Result<(), String> {
        self.known.follow(entry);
        match &entry.what {
            Happening::Opening { link, shard, endpoint, .. } => {
                self.places.insert(*link, (*shard, *endpoint));
            }
            Happening::Learned { .. } | Happening::Deleted { .. } => {
                for (place, breaker) in &mut self.breakers {
                    if !self.known.points_at(place.0, place.1) {
                        let unsure_since = Some(entry.at);
                        *breaker = Breaker { unsure_since, ..Breaker::default() };
                    }
                }
            }
            Happening::Sent(sent) if sent.event.is_some() => {
                let breaker = self.breakers.entry((sent.shard, sent.endpoint)).or_default();
                let Some(open) = &mut breaker.open else { return Ok(()) };
                // What was on its way when it opened goes on.
                if sent.assigned_at <= open.at {
                    return Ok(());
                }
                if sent.assigned_at < open.until_min {
                    return Err(format!("the breaker is open: {open:?}: {sent:?}"));
                }
                let probe = *open.probe.get_or_insert((sent.link, sent.name));
                if probe != (sent.link, sent.name) {
                    return Err(format!("a second probe: {open:?}: {sent:?}"));
                }
            }
            Happening::Ended(ended) if !ended.test => self.end(entry.at, ended),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, now: u64, ended: &Ended) {
        let Some(&place) = self.places.get(&ended.link) else { return };
        let breaker = self.breakers.entry(place).or_default();
        let failed = match ended.end {
            End::Status { status, .. } => status >= 500,
            End::Failed(failure) => failure != Failure::Internal,
            End::Stale | End::TakenBack | End::Withdrawn | End::Lost => {
                if let Some(open) = &mut breaker.open
                    && open.probe.is_some_and(|(link, _)| link == ended.link)
                {
                    open.probe = None;
                }
                return;
            }
        };
        if let Some(since) = breaker.unsure_since {
            // A failure may have opened it, and then what was under way decides nothing.
            match failed {
                true => breaker.unsure_since = Some(now),
                false if ended.assigned_at > since => *breaker = Breaker::default(),
                false => {}
            }
            return;
        }
        let is_probe = match breaker.open {
            Some(open) if ended.assigned_at <= open.at => return,
            open => open.is_some(),
        };
        if !is_probe && !self.known.points_at(place.0, place.1) {
            return;
        }
        if !failed {
            *breaker = Breaker::default();
            return;
        }
        breaker.failures += 1;
        if self.policy.failures == 0 || (!is_probe && breaker.failures < self.policy.failures) {
            return;
        }
        breaker.failures = 0;
        breaker.openings += 1;
        let doubled = self.policy.open_ms.saturating_mul(1 << (breaker.openings - 1).min(40));
        let open_us = doubled.min(self.policy.open_ms_max) * 1000;
        let until_max = now + open_us + open_us / JITTER_PARTS;
        breaker.open = Some(Open { at: now, until_min: now + open_us, until_max, probe: None });
    }
}

/// So many failures in a row to reach an endpoint, and a shard sends nothing there for a while,
/// longer each time; then one delivery, and only when that is answered more.
pub fn breaker(history: &History, plan: &Plan) -> Result<(), String> {
    let mut breakers = Breakers::new(plan);
    for entry in &history.entries {
        breakers.follow(entry).map_err(|message| at(entry.at, &message))?;
    }
    Ok(())
}
