//! Batches (`BATCH true`): many deliveries of one webhook in one request.
//!
//! A batch is made when it can be sent, from the webhook's ready lanes in their order: of each
//! lane as many deliveries from its head on as fit. A lane that a batch has taken from is out of
//! the ready list until the batch is over: so the order of each key holds inside a batch, across
//! batches and through retries (ORD-3). What a batch carries never changes once it is made, so
//! its id and its bytes are the same on every attempt (DEL-3); the bytes are put together anew
//! for each, from the bodies of its events.
//!
//! A webhook that batches sends when so many deliveries are ready that a batch is full, or when
//! one of them has waited for as long as the policy allows.

use super::Shard;
use super::lanes::{LaneState, NONE};
use super::load::Load;
use crate::base::id::EventId;
use crate::base::time::{Now, Tick};
use crate::core::format::Format;
use crate::core::journal::Finish;
use crate::core::ledger::BatchRef;
use crate::core::payload;
use crate::core::snapshot::BatchPolicy;
use std::num::NonZeroU32;

/// Deliveries that go together. Made, and not over yet.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) slot: u32,
    /// The lanes it has taken from, in the order of its events; each says how many (`counted`).
    pub(super) lanes: Vec<u32>,
    /// Deliveries in it.
    pub(super) count: u32,
    /// The form of its events.
    pub(super) format: Format,
    /// The counting part of its id.
    pub(super) sequence: u64,
    /// When it was first written, in microseconds since 1970; 0 before.
    pub(super) timestamp_us: u64,
    /// Attempts that were made and counted.
    pub(super) attempts: u32,
    /// Tells it from an earlier one with the same index, for timers.
    pub(super) generation: u32,
    /// It waits for its retry.
    pub(super) waits: bool,
}

impl Batch {
    pub(super) fn count_attempt(&mut self) {
        self.attempts = self.attempts.saturating_add(1);
    }
}

/// What of a webhook is ready to go into batches.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filling {
    /// Deliveries in ready lanes. Of a long lane only as many as fit into a batch.
    pub(super) ready: u32,
    /// So many of them have waited long enough.
    overdue: u32,
    /// Since when the first of the others has been waiting.
    since: Tick,
    /// When its timer runs out; another is an old one.
    timer: Option<Tick>,
    /// Nothing waits: the engine is about to stop.
    drains: bool,
}

impl Filling {
    /// Whether a batch is to be made.
    pub(super) fn is_due(&self, policy: &BatchPolicy) -> bool {
        self.ready >= policy.events_max || self.overdue > 0 || (self.drains && self.ready > 0)
    }
}

impl Shard {
    /// Counts a lane that has become ready, if its webhook makes batches.
    pub(super) fn count_ready(&mut self, now: Tick, lane: u32) {
        let slot = self.lanes[lane as usize].key.slot;
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let Some(policy) = webhook.definition.batch else { return };
        let most = policy.events_max.min(u32::from(u16::MAX)) as usize;
        let counted = self.chain(lane).take(most).count() as u16;
        self.lanes[lane as usize].counted = counted;
        self.add_ready(now, slot, u32::from(counted));
    }

    /// Counts a delivery that has joined a ready lane, if its webhook makes batches.
    pub(super) fn count_joined(&mut self, now: Tick, lane: u32) {
        let state = &mut self.lanes[lane as usize];
        let slot = state.key.slot;
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        if webhook.definition.batch.is_none() || state.state != LaneState::Ready {
            return;
        }
        if let Some(counted) = state.counted.checked_add(1) {
            state.counted = counted;
            self.add_ready(now, slot, 1);
            self.list_webhook(slot);
        }
    }

    fn add_ready(&mut self, now: Tick, slot: u32, deliveries: u32) {
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        let Some(policy) = webhook.definition.batch else { return };
        if webhook.filling.ready == 0 || webhook.filling.timer.is_none() {
            webhook.filling.since = now;
        }
        webhook.filling.ready += deliveries;
        if webhook.filling.timer.is_none() {
            let at = webhook.filling.since.plus_ms(policy.interval_ms);
            webhook.filling.timer = Some(at);
            self.timers.fill_due(at, slot);
        }
    }

    /// A lane has left the ready list.
    pub(super) fn uncount_ready(&mut self, lane: u32) {
        let state = &mut self.lanes[lane as usize];
        let counted = u32::from(std::mem::take(&mut state.counted));
        if counted > 0
            && let Some(webhook) = &mut self.webhooks[state.key.slot as usize]
        {
            webhook.filling.ready -= counted;
            // Those that go may be newer than some that stay, which must not wait once more.
            webhook.filling.overdue = webhook.filling.overdue.min(webhook.filling.ready);
        }
    }

    /// The policy of a webhook has changed: its ready lanes are counted anew, by the new one.
    pub(super) fn recount_ready(&mut self, now: Tick, slot: u32) {
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.filling = Filling { drains: webhook.filling.drains, ..Filling::default() };
        for lane in self.ready_lanes(slot) {
            self.lanes[lane as usize].counted = 0;
            self.count_ready(now, lane);
        }
    }

    /// The timer of [`Shard::add_ready`] has run out.
    pub(super) fn handle_fill_due(&mut self, now: Tick, slot: u32) {
        let Some(webhook) = self.webhooks.get_mut(slot as usize).and_then(Option::as_mut) else {
            return;
        };
        let (filling, policy) = (&mut webhook.filling, webhook.definition.batch);
        if filling.timer.is_none_or(|at| at > now) {
            return;
        }
        filling.timer = None;
        let Some(policy) = policy.filter(|_| filling.ready > 0) else { return };
        let due = filling.since.plus_ms(policy.interval_ms);
        if due > now {
            filling.timer = Some(due);
            self.timers.fill_due(due, slot);
            return;
        }
        // The next one that becomes ready sets the timer again.
        filling.overdue = filling.ready;
        self.list_webhook(slot);
    }

    /// Lets nothing wait for its batch to fill: the engine is about to stop.
    pub fn handle_drain(&mut self, now: Tick) {
        for slot in 0..self.webhooks.len() as u32 {
            if let Some(webhook) = &mut self.webhooks[slot as usize] {
                webhook.filling.drains = true;
                self.list_webhook(slot);
            }
        }
        self.pump_all(now);
    }

    /// Makes a batch of what is ready. `None`: nothing is.
    pub(super) fn make_batch(&mut self, slot: u32, policy: &BatchPolicy) -> Option<u32> {
        let (mut lanes, mut count, mut bytes) = (Vec::new(), 0, 0);
        let mut format = Format::Ferrite;
        while count < policy.events_max
            && let Some(lane) = self.first_ready(slot)
            && !self.was_tried_alone(lane)
        {
            let mut taken: u16 = 0;
            for delivery in self.chain(lane) {
                let event = self.deliveries[delivery as usize].event;
                let written = self.events[event as usize].written();
                let body_bytes = written.body.len();
                if count == 0 {
                    format = written.format.of_batch();
                }
                // Events that were written before a change of form wait for a batch of their own.
                let is_other = written.format.of_batch() != format;
                let is_full = is_other
                    || count == policy.events_max
                    || taken == u16::MAX
                    || (count > 0 && bytes + body_bytes > policy.bytes_max);
                if is_full {
                    break;
                }
                (taken, count, bytes) = (taken + 1, count + 1, bytes + body_bytes);
            }
            if taken == 0 {
                break;
            }
            self.pop_ready(slot);
            let state = &mut self.lanes[lane as usize];
            (state.state, state.counted) = (LaneState::Batched, taken);
            lanes.push(lane);
        }
        if lanes.is_empty() {
            return None;
        }
        let (sequence, generation) = (self.next_id().sequence, self.next_generation());
        let (timestamp_us, attempts, waits) = (0, 0, false);
        let batch = Batch {
            slot,
            lanes,
            count,
            format,
            sequence,
            timestamp_us,
            attempts,
            generation,
            waits,
        };
        Some(self.batches.insert(batch) as u32)
    }

    /// The batch goes out as soon as it may, before anything newer.
    pub(super) fn batch_ready(&mut self, batch: u32) {
        let state = &mut self.batches[batch as usize];
        let (slot, lanes) = (state.slot, state.lanes.len());
        if std::mem::take(&mut state.waits) {
            self.note_unblocked(slot, lanes as u64);
        }
        if let Some(webhook) = &mut self.webhooks[slot as usize] {
            webhook.batches_ready.push_front(batch);
            self.list_webhook(slot);
        }
    }

    /// The wait before the next attempt is over. Gives the webhook.
    pub(super) fn handle_batch_due(&mut self, batch: u32, generation: u32) -> Option<u32> {
        let waiting = self.batches.get(batch as usize)?;
        if waiting.generation != generation {
            return None;
        }
        let slot = waiting.slot;
        self.batch_ready(batch);
        Some(slot)
    }

    /// The body of a batch: the same bytes each time.
    pub(super) fn batch_body(&mut self, now: Now, index: u32) -> Vec<u8> {
        let mut body = std::mem::take(&mut self.body);
        body.clear();
        let timestamp_us = &mut self.batches[index as usize].timestamp_us;
        if *timestamp_us == 0 {
            *timestamp_us = now.unix_us.max(1);
        }
        let batch = &self.batches[index as usize];
        let id = EventId { boot: self.config.boot, sequence: batch.sequence };
        match batch.format {
            Format::CloudEventsStructured => body.push(b'['),
            _ => payload::begin_batch(&mut self.times, &mut body, id, batch.timestamp_us),
        }
        for (place, delivery) in self.batch_chain(index).enumerate() {
            if place > 0 {
                body.push(b',');
            }
            let event = self.deliveries[delivery as usize].event;
            body.extend_from_slice(self.events[event as usize].written().body);
        }
        match batch.format {
            Format::CloudEventsStructured => body.push(b']'),
            _ => payload::end_batch(&mut body, batch.count),
        }
        body
    }

    /// Takes back the buffer of [`Shard::batch_body`].
    pub(super) fn keep_batch_body(&mut self, body: Vec<u8>) {
        if body.capacity() > 0 {
            self.body = body;
        }
    }

    pub(super) fn finish_batch(&mut self, now: Tick, batch: u32, finish: Option<Finish>) {
        // The batch goes first: if this breaks down in the middle, what is left is no batch.
        let batch = self.batches.remove(batch as usize);
        for lane in batch.lanes {
            let taken = u32::from(std::mem::take(&mut self.lanes[lane as usize].counted));
            let count = NonZeroU32::new(taken).unwrap_or(NonZeroU32::MIN);
            self.finish_heads(now, lane, count, finish);
        }
    }

    /// Takes over a batch from the shard that broke down, if all that was in it is there.
    pub(super) fn adopt_batch(&mut self, old: &Shard, batch: &Batch) -> Option<u32> {
        let mut lanes = Vec::with_capacity(batch.lanes.len());
        let mut counts = Vec::with_capacity(batch.lanes.len());
        for &lane in &batch.lanes {
            let was = old.lanes.get(lane as usize)?;
            let counted = was.counted;
            let lane = self.lane_of(was.key)?;
            let is_there = was.state == LaneState::Batched
                && self.chain(lane).take(usize::from(counted)).count() == usize::from(counted);
            if !is_there {
                return None;
            }
            lanes.push(lane);
            counts.push(counted);
        }
        if counts.iter().map(|&counted| u32::from(counted)).sum::<u32>() != batch.count {
            return None;
        }
        for (&lane, counted) in lanes.iter().zip(counts) {
            let state = &mut self.lanes[lane as usize];
            (state.state, state.counted) = (LaneState::Batched, counted);
        }
        let generation = self.next_generation();
        Some(self.batches.insert(Batch { lanes, generation, waits: false, ..*batch }) as u32)
    }

    /// The deliveries of a batch, in their order.
    pub(super) fn batch_chain(&self, batch: u32) -> impl Iterator<Item = u32> + '_ {
        let lanes = self.batches[batch as usize].lanes.iter();
        lanes
            .flat_map(|&lane| self.chain(lane).take(usize::from(self.lanes[lane as usize].counted)))
    }

    /// The batch that a load is, for the log.
    pub(super) fn batch_ref(&self, load: Load) -> Option<BatchRef> {
        let Load::Batch(batch) = load else { return None };
        let batch = &self.batches[batch as usize];
        Some(BatchRef { sequence: batch.sequence, events: batch.count })
    }

    /// The deliveries of a lane, from its head on.
    pub(super) fn chain(&self, lane: u32) -> impl Iterator<Item = u32> + '_ {
        let mut next = self.lanes[lane as usize].head();
        std::iter::from_fn(move || {
            let delivery = next;
            (delivery != NONE).then(|| {
                next = self.deliveries[delivery as usize].next();
                delivery
            })
        })
    }

    fn was_tried_alone(&self, lane: u32) -> bool {
        self.load_attempts(Load::Lane(lane)) > 0
    }

    /// Takes what the webhook is to send next.
    pub(super) fn take_load(&mut self, slot: u32) -> Option<Load> {
        let webhook = self.webhooks[slot as usize].as_mut()?;
        if let Some(batch) = webhook.batches_ready.pop_front() {
            return Some(Load::Batch(batch));
        }
        let batch = webhook.definition.batch;
        match batch {
            // What was tried alone, before the webhook made batches, goes on alone (DEL-3).
            Some(policy) if !self.was_tried_alone(self.first_ready(slot)?) => {
                self.make_batch(slot, &policy).map(Load::Batch)
            }
            _ => self.pop_ready(slot).map(Load::Lane),
        }
    }
}
