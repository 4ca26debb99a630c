//! ORD-2: nothing that may be sent waits.

use super::super::faults::Plan;
use super::super::history::{
    Checkpoint, End, Ended, Happening, History, LinkRow, RequestName, Row, ShardRow, Terms,
};
use super::at;
use super::attempts::{Known, delay_us_max};
use super::breaker::Breakers;
use super::order::Lanes;
use super::rate::Tokens;
use ferrite::core::ledger::{DeliveryOutcome, WebhookStatus};
use std::collections::{BTreeMap, BTreeSet};

/// The end of a hold that was given as a date is rounded up to a millisecond.
const HOLD_GRAIN_US: u64 = 1000;

/// What keeps deliveries from being sent, as far as the history tells.
#[derive(Default)]
struct Waits {
    lanes: Lanes,
    known: Known,
    /// Until when, at the latest, the head of a lane waits for its retry.
    retries: BTreeMap<(u32, u32), u64>,
    /// Until when, at the latest, a shard must not send to an endpoint.
    holds: BTreeMap<(usize, usize), u64>,
    /// Where each request went last.
    endpoints: BTreeMap<RequestName, usize>,
    breakers: Breakers,
    tokens: Option<Tokens>,
    /// How many requests each link may carry.
    pipelines: BTreeMap<u32, u32>,
    /// Webhooks that have made batches.
    was_batched: BTreeSet<(usize, u32)>,
    /// When each webhook changed last: what is ready is counted anew then.
    changed: BTreeMap<(usize, u32), u64>,
    /// Until when some batch of a webhook may wait for its retry, nobody knows which.
    vague: BTreeMap<(usize, u32), u64>,
    /// When the delivery before the head of a lane ended.
    freed: BTreeMap<(u32, u32), u64>,
    /// When each event was accepted.
    accepted: BTreeMap<u32, u64>,
    /// Webhooks that were enabled, and which shards have heard of changes since.
    enabled: BTreeMap<u32, BTreeSet<usize>>,
}

/// At every moment of rest: a webhook that is active, whose endpoint is not on hold and whose
/// endpoint's breaker lets something through, whose window has room and
/// that has a lane that is ready, waits only for a connection, and none can be had: there are as
/// many as there may be, or those that have not answered yet will have room for all.
pub fn progress(history: &History, plan: &Plan) -> Result<(), String> {
    let mut waits = Waits {
        pipelines: history.pipelines(),
        breakers: Breakers::new(plan),
        tokens: Some(Tokens::new(history)),
        ..Waits::default()
    };
    for entry in &history.entries {
        // That it is obeyed is another rule's matter.
        let _ = waits.breakers.follow(entry);
        waits.lanes.follow(entry);
        waits.known.follow(entry);
        match &entry.what {
            Happening::Attempt(attempt) if attempt.outcome == DeliveryOutcome::Failed => {
                let Some(terms) = waits.known.of(attempt.shard, attempt.name.webhook) else {
                    continue;
                };
                // 410 leaves the head ready.
                let delay = match attempt.status {
                    Some(410) => 0,
                    _ => delay_us_max(&terms.retry, attempt.attempt),
                };
                for key in &attempt.keys {
                    waits.retries.insert((attempt.name.webhook, *key), entry.at + delay);
                }
                if attempt.keys.len() as u64 != attempt.deliveries {
                    let place = (attempt.shard, attempt.name.webhook);
                    let vague = waits.vague.entry(place).or_default();
                    *vague = (*vague).max(entry.at + delay);
                }
            }
            Happening::Attempt(attempt) => {
                for key in &attempt.keys {
                    waits.retries.remove(&(attempt.name.webhook, *key));
                    waits.freed.insert((attempt.name.webhook, *key), entry.at);
                }
            }
            Happening::Accepted { event, .. } | Happening::Replayed { event, .. } => {
                waits.accepted.insert(*event, entry.at);
            }
            Happening::Ended(Ended {
                shard,
                end: End::Status { retry_at: Some(until), .. },
                request: Some(name),
                test: false,
                ..
            }) => {
                let Some(&endpoint) = waits.endpoints.get(name) else { continue };
                let hold = waits.holds.entry((*shard, endpoint)).or_default();
                *hold = (*hold).max(*until);
            }
            Happening::Sent(sent) => {
                waits.endpoints.insert(sent.name, sent.endpoint);
            }
            Happening::Learned { shard, webhook, terms } => {
                let place = (*shard, *webhook);
                waits.changed.insert(place, entry.at);
                if terms.batch.is_some() {
                    waits.was_batched.insert(place);
                }
            }
            Happening::StatusSet { webhook, active: true } => {
                waits.enabled.insert(*webhook, BTreeSet::new());
            }
            // Filling begins anew.
            Happening::Salvaged { shard } => {
                let of_shard = waits.changed.iter_mut().filter(|((of, _), _)| of == shard);
                of_shard.for_each(|(_, changed)| *changed = entry.at);
            }
            Happening::TookOver { shard } => {
                for heard in waits.enabled.values_mut() {
                    heard.insert(*shard);
                }
            }
            Happening::Checkpoint(checkpoint) => {
                let verdict = waits.check(entry.at, checkpoint, plan);
                verdict.map_err(|message| at(entry.at, &message))?;
            }
            _ => {}
        }
    }
    Ok(())
}

impl Waits {
    fn check(&self, now: u64, checkpoint: &Checkpoint, plan: &Plan) -> Result<(), String> {
        for row in &checkpoint.rows {
            let Some(terms) = self.known.of(row.shard, row.webhook) else { continue };
            let place = (row.shard, row.webhook);
            let at_endpoint = (row.shard, terms.endpoint);
            let held = self
                .holds
                .get(&at_endpoint)
                .is_some_and(|until| until + plan.late_us + HOLD_GRAIN_US >= now);
            let heard = self.enabled.get(&row.webhook);
            let unheard = heard.is_some_and(|shards| !shards.contains(&row.shard));
            let shut = self.breakers.is_shut_until(at_endpoint).is_some_and(|until| {
                let mut links = checkpoint.shards[row.shard].links.iter();
                let is_probe = |link: &LinkRow| !link.test && link.requests > 0;
                until + plan.late_us >= now
                    || links.any(|link| link.endpoint == terms.endpoint && is_probe(link))
            });
            let lacks_token = self
                .tokens
                .as_ref()
                .is_some_and(|tokens| tokens.may_lack(now, row.shard, row.webhook, terms, plan));
            let narrow = terms.adaptive && row.tally.in_flight > 0;
            let waits = held || shut || unheard || lacks_token || narrow;
            if row.status != WebhookStatus::Active || waits {
                continue;
            }
            if terms.batch.is_some() || self.was_batched.contains(&place) {
                self.check_batches(now, row, terms, plan, &checkpoint.shards[row.shard])?;
                continue;
            }
            let ready = self.ready_lanes(now, place, plan).saturating_sub(row.tally.in_flight);
            if ready == 0 || row.tally.in_flight >= u64::from(terms.window) {
                continue;
            }
            // A window that adapts may be as narrow as one.
            let window = if terms.adaptive { 1 } else { terms.window };
            let room = u64::from(window) - row.tally.in_flight;
            let shard = &checkpoint.shards[row.shard];
            if !self.may_wait(shard, terms, room, plan) {
                return Err(format!(
                    "{ready} lanes of webhook {} are ready, {} are in flight in a window of {}, \
                     and connections can be had: {shard:?}",
                    row.webhook, row.tally.in_flight, terms.window
                ));
            }
        }
        Ok(())
    }

    /// A webhook that makes batches, or has made some: when nothing of it is under way, no
    /// delivery waits for longer than it may wait for its batch to fill.
    fn check_batches(
        &self,
        now: u64,
        row: &Row,
        terms: &Terms,
        plan: &Plan,
        shard: &ShardRow,
    ) -> Result<(), String> {
        let place = (row.shard, row.webhook);
        let is_vague = self.vague.get(&place).is_some_and(|until| until + plan.late_us >= now);
        if is_vague || row.tally.in_flight > 0 || !self.may_be_sent(shard, terms, plan) {
            return Ok(());
        }
        let wait_us = terms.batch.map_or(0, |(_, interval_ms)| interval_ms * 1000);
        let settled_since = self.changed.get(&place).copied().unwrap_or_default();
        let lanes = self.lanes.lanes.iter();
        for ((webhook, key), (_, events)) in lanes.filter(|(_, (shard, _))| *shard == row.shard) {
            let retry = self.retries.get(&(*webhook, *key)).copied().unwrap_or_default();
            let accepted = events.front().and_then(|head| self.accepted.get(head)).copied();
            let freed = self.freed.get(&(*webhook, *key)).copied().unwrap_or_default();
            let since = accepted.unwrap_or_default().max(retry).max(freed).max(settled_since);
            if *webhook == row.webhook && since + wait_us + plan.late_us + HOLD_GRAIN_US < now {
                return Err(format!("key {key} of webhook {webhook} has waited since {since} us"));
            }
        }
        Ok(())
    }

    fn may_be_sent(&self, shard: &ShardRow, terms: &Terms, plan: &Plan) -> bool {
        !self.may_wait(shard, terms, 1, plan)
    }

    /// Whether a webhook whose window has so much `room` has to wait for a connection.
    fn may_wait(&self, shard: &ShardRow, terms: &Terms, room: u64, plan: &Plan) -> bool {
        let pipeline = terms.pipeline as usize;
        // One on which nothing was ever written may belong to any pool of its endpoint.
        let of_pool = |link: &&LinkRow| {
            let known = self.pipelines.get(&link.link).copied();
            // What a test goes by may be older than what is known when it is written.
            let may_be = link.test || known.is_none_or(|known| known == terms.pipeline);
            link.endpoint == terms.endpoint && may_be
        };
        let links = || shard.links.iter().filter(of_pool);
        let has_room = |link: &LinkRow| {
            link.answered && !link.write_failed && !link.test && link.requests < pipeline
        };
        let full = shard.links.len() >= plan.connections_max && shard.idle() == 0;
        // One that gives way to other endpoints gets no more requests.
        let some_give_way = shard.links.len() * 2 >= plan.connections_max;
        if !full && !some_give_way && links().any(has_room) {
            return false;
        }
        // Until it has answered one, a connection carries one request alone.
        let is_fresh = |link: &&LinkRow| !link.answered && !link.write_failed && !link.test;
        let promised = links().filter(is_fresh).count() * (pipeline - 1);
        let full_here = links().count() >= plan.endpoint_connections_max;
        full || full_here || promised as u64 >= room
    }

    /// Lanes of a webhook on a shard that do not wait for a retry, those in flight included.
    fn ready_lanes(&self, now: u64, (shard, webhook): (usize, u32), plan: &Plan) -> u64 {
        let lanes = self
            .lanes
            .lanes
            .iter()
            .filter(|((of, _), (place, _))| *of == webhook && *place == shard);
        let ready = lanes.filter(|(lane, _)| {
            self.retries.get(lane).is_none_or(|until| until + plan.late_us < now)
        });
        ready.count() as u64
    }
}
