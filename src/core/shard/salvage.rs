//! A worker broke down: what was accepted is carried over into a fresh shard.

use super::batches::Filling;
use super::connections::Job;
use super::lanes::{LaneKey, LaneState, ReadyList};
use super::load::Load;
use super::{Action, Shard, ShardConfig};
use crate::base::time::{Now, Tick};
use crate::core::failure::Failure;
use crate::core::stages::TestStages;
use std::collections::HashMap;

impl Shard {
    /// A fresh shard with everything that this one had accepted and not finished, in order.
    ///
    /// The old one may be inconsistent: its driver panicked, maybe in the middle of a change. So
    /// nothing is taken over but the deliveries themselves and until when they wait; lanes, windows
    /// and connections are built anew. Deliveries that were under way are sent again and not
    /// counted as attempts.
    #[must_use]
    pub fn salvage(mut self, now: Now) -> Shard {
        let config = ShardConfig { seed: self.random.next_u64(), ..self.config.clone() };
        let mut fresh = Shard::new(config, self.shared.clone(), self.snapshot.clone());
        fresh.sequence = self.sequence;
        fresh.generation = self.generation;
        let mut left: Vec<(u64, LaneKey, u32, u16, u32)> = self
            .deliveries
            .iter()
            .filter_map(|(_, delivery)| {
                let lane = self.lanes.get(delivery.lane as usize)?;
                let event = self.events.get(delivery.event as usize)?;
                Some((
                    event.sequence,
                    lane.key,
                    delivery.event,
                    delivery.target,
                    delivery.attempts(),
                ))
            })
            .collect();
        left.sort_unstable_by_key(|(sequence, ..)| *sequence);
        let mut moved: HashMap<u32, u32> = HashMap::new();
        for (_, key, old, target, attempts) in left {
            let event = *moved
                .entry(old)
                .or_insert_with(|| fresh.events.insert(self.events[old as usize].copied()) as u32);
            let attempts = u16::try_from(attempts).unwrap_or(u16::MAX);
            fresh.append_delivery(now.tick, key, event, target, attempts);
        }
        fresh.take_over_journal(&mut self);
        fresh.recount();
        // The timers for both went with the old shard.
        fresh.flush_journal(now.tick);
        fresh.fetch_all();
        fresh.keep_waiting(now.tick, &self);
        fresh.keep_gates(now.tick, &self);
        fresh.keep_buckets(&self);
        self.fail_tests(now, &mut fresh);
        fresh.take_over_replays(now.tick, &mut self);
        fresh.totals().restarts.add(1);
        fresh.pump_all(now.tick);
        fresh
    }

    /// Retries wait as long as they would have: a breakdown must not turn into a storm.
    fn keep_waiting(&mut self, now: Tick, old: &Shard) {
        for (slot, webhook) in self.webhooks.iter_mut().enumerate() {
            let Some(webhook) = webhook else { continue };
            (webhook.ready, webhook.filling) = (ReadyList::default(), Filling::default());
            if let Some(Some(old)) = old.webhooks.get(slot)
                && old.definition.id == webhook.definition.id
            {
                webhook.numbers.clone_from(&old.numbers);
            }
        }
        self.keep_batches(old);
        let due = old.retries_due();
        for lane in self.lanes.iter().map(|(index, _)| index as u32).collect::<Vec<_>>() {
            let state = &mut self.lanes[lane as usize];
            if state.state == LaneState::Batched {
                continue;
            }
            state.counted = 0;
            match due.get(&state.key) {
                Some(&at) => {
                    state.state = LaneState::Waiting;
                    self.timers.lane_due(at, lane, state.generation);
                    let slot = state.key.slot;
                    self.note_blocked(slot, 1);
                }
                None => self.ready_at_end(now, lane),
            }
        }
        for slot in 0..self.webhooks.len() as u32 {
            self.change_on_full(slot);
        }
        // The news may have been lost with the old shard's actions.
        self.actions.push_back(Action::RoomMade);
    }

    /// Batches stay what they are: their ids and their bytes may have been seen.
    fn keep_batches(&mut self, old: &Shard) {
        let due = old.batch_retries_due();
        let mut batches: Vec<_> = old.batches.iter().collect();
        batches.sort_unstable_by_key(|(_, batch)| std::cmp::Reverse(batch.sequence));
        for (index, batch) in batches {
            let Some(adopted) = self.adopt_batch(old, batch) else { continue };
            match due.get(&(index as u32)) {
                Some(&at) => self.retry_at(at, Load::Batch(adopted)),
                // Each goes to the front, so the first of them comes to stand first.
                None => self.batch_ready(adopted),
            }
        }
    }

    /// Brings the counts of what is pending and under way back in line with what there is.
    fn recount(&mut self) {
        let worker = self.config.worker;
        let mut pending = vec![0; self.webhooks.len()];
        for (_, delivery) in &self.deliveries {
            let slot = self.lanes[delivery.lane as usize].key.slot;
            pending[slot as usize] += 1;
        }
        let mut spilled_by_all = 0;
        for (webhook, pending) in self.webhooks.iter().zip(&mut pending) {
            if let Some(webhook) = webhook {
                let spilled = webhook.spilled();
                spilled_by_all += spilled;
                *pending += spilled;
                webhook.counters(worker).spilled.set(spilled);
                webhook.counters(worker).pending.set(*pending);
                webhook.counters(worker).in_flight.set(0);
                webhook.counters(worker).lanes_blocked.set(0);
            }
        }
        self.totals().deliveries.pending.set(pending.iter().sum());
        self.totals().deliveries.spilled.set(spilled_by_all);
        self.totals().deliveries.in_flight.set(0);
        self.totals().deliveries.lanes_blocked.set(0);
        self.totals().connections_open.set(0);
    }

    /// Test deliveries are not sent again: whoever waits for one is told.
    fn fail_tests(&mut self, now: Now, fresh: &mut Shard) {
        for index in self.connections.iter().map(|(index, _)| index).collect::<Vec<_>>() {
            for exchange in self.connections.remove(index).exchanges {
                let Job::Test(test) = exchange.job else { continue };
                fresh.tests.push_back(super::TestOutcome {
                    token: test.token,
                    id: test.id,
                    status: None,
                    failure: Some(Failure::Internal),
                    latency_us: now.tick.since_us(exchange.since),
                    response: Vec::new(),
                    connection: test.connection,
                    began: exchange.since,
                    stages: TestStages::default(),
                });
            }
        }
        fresh.tests.extend(self.tests.drain(..));
    }
}
