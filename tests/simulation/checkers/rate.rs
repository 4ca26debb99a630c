//! `RATE`: how many attempts are begun in a time.

use super::super::faults::Plan;
use super::super::history::{Ended, Happening, History, Terms};
use super::at;
use std::collections::BTreeMap;

const NANOSECONDS: u64 = 1_000_000_000;

/// How long a shard's token takes to come at least, and how many come together.
fn bucket_of(terms: &Terms, plan: &Plan) -> (u64, u64) {
    let workers = plan.shards as u64;
    let rate = u64::from(terms.rate);
    (NANOSECONDS * workers / rate, (rate / 10 / workers).max(1))
}

/// In no time does a shard begin more attempts for a webhook than its part of the rate allows in
/// it, and a tenth of a second's worth.
pub fn rate(history: &History, plan: &Plan) -> Result<(), String> {
    // The terms of a webhook on a shard, from which call on; only where the rate changes.
    let mut terms: BTreeMap<(usize, u32), Vec<(u64, Terms)>> = BTreeMap::new();
    // When attempts were begun, under which of these terms.
    let mut begun: BTreeMap<(usize, u32, usize), Vec<u64>> = BTreeMap::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::Learned { shard, webhook, terms: new } => {
                let known = terms.entry((*shard, *webhook)).or_default();
                if known.last().is_none_or(|(_, old)| old.rate != new.rate) {
                    known.push((entry.call, *new));
                }
            }
            Happening::Sent(sent) if sent.event.is_some() => {
                let Some(known) = terms.get(&(sent.shard, sent.name.webhook)) else { continue };
                let place = known.iter().rposition(|(call, _)| *call < sent.assigned_call);
                let place = (sent.shard, sent.name.webhook, place.unwrap_or_default());
                begun.entry(place).or_default().push(sent.assigned_at);
            }
            _ => {}
        }
    }
    for ((shard, webhook, place), mut times) in begun {
        let (_, terms) = &terms[&(shard, webhook)][place];
        if terms.rate == 0 {
            continue;
        }
        times.sort_unstable();
        let (interval_ns, burst) = bucket_of(terms, plan);
        let mut full_at_ns = 0;
        for time in times {
            let now_ns = time * 1000;
            if now_ns + interval_ns * (burst - 1) < full_at_ns {
                let message = format!("too many attempts of webhook {webhook} on {shard}");
                return Err(at(time, &message));
            }
            full_at_ns = full_at_ns.max(now_ns) + interval_ns;
        }
    }
    Ok(())
}

/// Until when, at the latest, webhooks with a rate wait for their next token.
pub struct Tokens {
    /// When a shard begun an attempt: of a webhook, or of one that is not known because the
    /// request was never written.
    begun: BTreeMap<(usize, Option<u32>), Vec<u64>>,
}

impl Tokens {
    pub fn new(history: &History) -> Tokens {
        let mut begun: BTreeMap<(usize, Option<u32>), Vec<u64>> = BTreeMap::new();
        for entry in &history.entries {
            let (place, time) = match &entry.what {
                Happening::Sent(sent) => ((sent.shard, Some(sent.name.webhook)), sent.assigned_at),
                Happening::Ended(Ended { shard, request: None, assigned_at, .. }) => {
                    ((*shard, None), *assigned_at)
                }
                _ => continue,
            };
            begun.entry(place).or_default().push(time);
        }
        Tokens { begun }
    }

    /// Whether a webhook may have to wait for a token.
    pub fn may_lack(
        &self,
        now: u64,
        shard: usize,
        webhook: u32,
        terms: &Terms,
        plan: &Plan,
    ) -> bool {
        if terms.rate == 0 {
            return false;
        }
        // After an attempt the next token comes within one interval, rounded up.
        let (interval_ns, _) = bucket_of(terms, plan);
        let wait_us = interval_ns / 1000 + 2 + plan.late_us;
        let places = [(shard, Some(webhook)), (shard, None)];
        let mut times = places.iter().filter_map(|place| self.begun.get(place)).flatten();
        times.any(|&time| time <= now && now <= time + wait_us)
    }
}
