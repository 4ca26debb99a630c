//! Gates: whether an endpoint may be sent to at all (DEL-6).
//!
//! A gate belongs to a target, as this shard sees it: webhooks with different `PIPELINE` have
//! connections of their own, but stand before one gate. It shuts when the endpoint asks for a
//! pause (`Retry-After`, DEL-2) and when its circuit breaker opens. Shards share nothing here:
//! each hears from the endpoint by its own attempts, at the cost of one more attempt per worker.
//!
//! What a gate allows is kept at each of its pools of connections, where the dispatch path looks
//! for it; here it is changed.

use super::Shard;
use super::breaker::{Admission, Breaker, is_breakdown};
use super::connections::{Job, Target};
use super::load::Load;
use crate::base::time::{Now, Tick};
use crate::core::failure::Failure;
use crate::core::http::response::{Response, RetryAfter};
use crate::core::ledger::BreakerState;
use hashbrown::HashMap;
use slab::Slab;

pub(super) const STATUS_TOO_MANY_REQUESTS: u16 = 429;
const STATUS_UNAVAILABLE: u16 = 503;

/// One endpoint's gate.
#[derive(Debug)]
struct Gate {
    target: Target,
    /// The endpoint's pools of connections.
    pools: Vec<usize>,
    /// Nothing is sent before: the endpoint asked for it.
    hold_until: Tick,
    /// The same on the wall clock, in microseconds since 1970, for people; 0: it never asked.
    hold_until_us: u64,
    breaker: Breaker,
    /// What both together allow, as it is kept at the pools.
    admission: Admission,
    /// What was told of it last to whoever asks.
    told: (BreakerState, u64),
}

impl Gate {
    fn admits(&mut self, now: Tick) -> Admission {
        match self.breaker.admits(now) {
            _ if self.hold_until > now => Admission::Shut,
            admission => admission,
        }
    }

    /// What there is to tell of it.
    fn reading(&self) -> (BreakerState, u64) {
        (self.breaker.reading(), self.hold_until_us)
    }
}

/// All gates of a shard.
#[derive(Debug, Default)]
pub(super) struct Gates {
    gates: Slab<Gate>,
    index: HashMap<Target, usize, foldhash::fast::RandomState>,
    /// What half-open breakers have let through as their probes, with their gates.
    probes: Vec<(Load, usize)>,
}

impl Gates {
    /// The gate of a target, which comes into being if need be.
    fn of(&mut self, target: &Target) -> usize {
        let Gates { gates, index, .. } = self;
        *index.entry(target.clone()).or_insert_with(|| {
            gates.insert(Gate {
                target: target.clone(),
                pools: Vec::new(),
                hold_until: Tick::default(),
                hold_until_us: 0,
                breaker: Breaker::default(),
                admission: Admission::Free,
                told: (BreakerState::Closed, 0),
            })
        })
    }

    fn take_probe(&mut self, load: Load) -> Option<usize> {
        let place = self.probes.iter().position(|(probe, _)| *probe == load)?;
        Some(self.probes.swap_remove(place).1)
    }
}

impl Shard {
    /// The endpoint that a gate stands before, as people name it.
    pub(super) fn gate_name(&self, gate: usize) -> Option<String> {
        let endpoint = &self.gates.gates.get(gate)?.target.endpoint;
        Some(format!("{}:{}", endpoint.host, endpoint.port))
    }

    /// Puts a new pool of connections behind its target's gate; gives the gate, and what it
    /// allows.
    pub(super) fn join_gate(&mut self, target: &Target, pool: usize) -> (usize, Admission) {
        let gate = self.gates.of(target);
        let state = &mut self.gates.gates[gate];
        state.pools.push(pool);
        (gate, state.admission)
    }

    /// A pool is no more. A gate that is shut is remembered until it opens: who deletes a webhook
    /// and makes it anew is not rid of what its endpoint asked for.
    pub(super) fn leave_gate(&mut self, gate: usize, pool: usize) {
        self.gates.gates[gate].pools.retain(|&known| known != pool);
        self.remove_gate_if_unused(gate);
    }

    fn remove_gate_if_unused(&mut self, gate: usize) {
        let state = &self.gates.gates[gate];
        if state.pools.is_empty() && state.admission != Admission::Shut {
            let state = self.gates.gates.remove(gate);
            self.gates.index.remove(&state.target);
        }
    }

    /// Whether a load that was on its way to `endpoint` may be sent again at once.
    pub(super) fn may_send_again(&self, now: Tick, endpoint: usize, load: Load) -> bool {
        let state = &self.endpoints[endpoint];
        state.admission == Admission::Free
            || (self.gates.probes.contains(&(load, state.gate))
                && self.gates.gates[state.gate].hold_until <= now)
    }

    /// `load` is the one that a half-open breaker lets through.
    pub(super) fn begin_probe(&mut self, now: Tick, endpoint: usize, load: Load) {
        let gate = self.endpoints[endpoint].gate;
        self.gates.gates[gate].breaker.begin_probe();
        self.gates.probes.push((load, gate));
        self.update_gate(now, gate);
    }

    /// The exchanges of a webhook are no more.
    pub(super) fn lose_probes_of(&mut self, slot: u32) {
        let probes = self.gates.probes.iter().map(|(load, _)| *load);
        let lost: Vec<Load> = probes.filter(|&load| self.load_slot(load) == slot).collect();
        lost.into_iter().for_each(|load| self.lose_probe(load));
    }

    /// The exchange of `load` is no more, and nothing has come of it. If it was a probe, another
    /// one may be sent: soon, because whoever calls this is in the middle of something.
    pub(super) fn lose_probe(&mut self, load: Load) {
        if !self.gates.probes.is_empty()
            && let Some(gate) = self.gates.take_probe(load)
        {
            self.gates.gates[gate].breaker.end_probe();
            self.timers.gate_due(Tick::default(), gate);
        }
    }

    /// What came of an exchange with an endpoint: its breaker learns of it, and a pause that the
    /// endpoint asks for is granted.
    pub(super) fn hear(
        &mut self,
        now: Now,
        gate: usize,
        job: &Job,
        outcome: &Result<Response, Failure>,
    ) {
        let Some(load) = job.load() else { return };
        let is_probe = !self.gates.probes.is_empty() && self.gates.take_probe(load) == Some(gate);
        // Gone with the last pool: there is nobody to hold back.
        let Some(state) = self.gates.gates.get_mut(gate) else { return };
        let is_breakdown = is_breakdown(outcome);
        let asks = asks_for_pause(outcome);
        if !is_breakdown && asks.is_none() && state.breaker.is_at_ease() {
            return;
        }
        if is_breakdown {
            let policy = &self.config.isolation.breaker;
            let opened = state.breaker.note_failure(now.tick, policy, is_probe, &mut self.random);
            if let Some(until) = opened {
                self.timers.gate_due(until, gate);
                let wait_ms = until.since_us(now.tick) / 1000;
                self.notice_breaker_open(now.tick, gate, wait_ms);
            }
        } else {
            state.breaker.note_answer(is_probe);
        }
        let Some(state) = self.gates.gates.get_mut(gate) else { return };
        if let Some(retry_after) = asks {
            let longest_ms = self.config.isolation.retry_after_ms_max;
            let wait_ms = wait_ms(retry_after, now.unix_us).min(longest_ms);
            let until = now.tick.plus_ms(wait_ms);
            if until > state.hold_until {
                state.hold_until = until;
                state.hold_until_us = now.unix_us.saturating_add(wait_ms.saturating_mul(1000));
                self.timers.gate_due(until, gate);
            }
        }
        self.update_gate(now.tick, gate);
        if is_probe {
            // What it lets through goes on from here, also in the endpoint's other pools.
            self.timers.gate_due(Tick::default(), gate);
        }
    }

    /// The time of a gate may have come: sends what it lets through.
    pub(super) fn look_at_gate(&mut self, now: Tick, gate: usize) {
        if !self.gates.gates.contains(gate) {
            return;
        }
        self.update_gate(now, gate);
        let pools = self.gates.gates[gate].pools.clone();
        self.remove_gate_if_unused(gate);
        for pool in pools {
            if self.endpoints.contains(pool) {
                self.pump(now, pool);
            }
        }
    }

    /// Brings what the pools, and whoever asks, know of a gate up to date.
    fn update_gate(&mut self, now: Tick, gate: usize) {
        let state = &mut self.gates.gates[gate];
        let admission = state.admits(now);
        state.admission = admission;
        for &pool in &state.pools {
            self.endpoints[pool].admission = admission;
        }
        // Each failure comes here: only what is news goes round the webhooks.
        let (breaker, hold_until_us) = state.reading();
        if std::mem::replace(&mut state.told, (breaker, hold_until_us)) == (breaker, hold_until_us)
        {
            return;
        }
        for webhook in self.webhooks.iter().flatten() {
            if self.endpoints[webhook.endpoint].gate == gate {
                let reading = webhook.definition.ledger.gate(self.config.worker);
                reading.set(breaker, hold_until_us);
            }
        }
    }

    /// A webhook stands before another gate: whoever asks learns how that is.
    pub(super) fn publish_gate(&self, slot: u32) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let state = &self.gates.gates[self.endpoints[webhook.endpoint].gate];
        let (breaker, hold_until_us) = state.reading();
        webhook.definition.ledger.gate(self.config.worker).set(breaker, hold_until_us);
    }

    /// Endpoints that asked for a pause, or have broken down, are the same after a breakdown of
    /// ours: it must not turn into a storm.
    pub(super) fn keep_gates(&mut self, now: Tick, old: &Shard) {
        for (_, old) in &old.gates.gates {
            let gate = self.gates.of(&old.target);
            let state = &mut self.gates.gates[gate];
            (state.hold_until, state.hold_until_us) = (old.hold_until, old.hold_until_us);
            let (breaker, until) = old.breaker.carried_over();
            state.breaker = breaker;
            for due in until.into_iter().chain([state.hold_until]).filter(|&due| due > now) {
                self.timers.gate_due(due, gate);
            }
            self.update_gate(now, gate);
            self.remove_gate_if_unused(gate);
        }
    }
}

/// Only these two ask for a pause (DEL-2).
fn asks_for_pause(outcome: &Result<Response, Failure>) -> Option<RetryAfter> {
    match outcome {
        Ok(Response {
            status: STATUS_TOO_MANY_REQUESTS | STATUS_UNAVAILABLE, retry_after, ..
        }) => *retry_after,
        _ => None,
    }
}

fn wait_ms(retry_after: RetryAfter, unix_us: u64) -> u64 {
    match retry_after {
        RetryAfter::Seconds(seconds) => seconds.saturating_mul(1000),
        RetryAfter::UnixSeconds(at) => at.saturating_mul(1000).saturating_sub(unix_us / 1000),
    }
}
