//! Lanes: one chain of deliveries per (webhook, key), linked through slabs.

use super::Shard;
use super::webhooks::WebhookState;
use crate::base::id::EventId;
use crate::base::limits;
use crate::base::time::Tick;
use crate::core::event::WebhookEvent;
use crate::core::format::Format;
use crate::core::journal::Finish;
use crate::core::replay::KeptEvent;
use std::num::{NonZeroU16, NonZeroU32};

// What a pending delivery takes beside its body and its place in the index of lanes (P6).
const _: () = assert!(size_of::<Option<EventRecord>>() == 56);
const _: () = assert!(size_of::<Option<Delivery>>() == 16);
const _: () = assert!(size_of::<Option<Lane>>() == 36);

/// No index: the end of a chain.
pub(super) const NONE: u32 = u32::MAX;

/// Which lane a delivery belongs to. Two keys with equal 64-bit hashes share a lane, which keeps
/// both in order and costs them a little parallelism; the hash has a secret seed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct LaneKey {
    pub(super) slot: u32,
    /// The halves of the hash: so the key takes 12 bytes in a lane and not 16.
    key_hash: [u32; 2],
}

impl LaneKey {
    pub(super) fn new(slot: u32, key_hash: u64) -> Self {
        LaneKey { slot, key_hash: [(key_hash >> 32) as u32, key_hash as u32] }
    }

    pub(super) fn key_hash(self) -> u64 {
        let [high, low] = self.key_hash.map(u64::from);
        high << 32 | low
    }

    /// The key's hash is one already; webhooks that share a key are spread by their slots.
    fn hash(self) -> u64 {
        self.key_hash() ^ u64::from(self.slot).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

/// What is sent of an event: the same on every attempt (DEL-3).
#[derive(Clone, Copy, Debug)]
pub(super) struct Written<'a> {
    pub(super) format: Format,
    /// The bytes that are sent and signed.
    pub(super) body: &'a [u8],
    /// Its own header lines, each with CRLF before it.
    pub(super) lines: &'a [u8],
}

/// An event that deliveries refer to.
#[derive(Debug)]
pub(super) struct EventRecord {
    /// Its place among the events of the shard. The counting part of its id, too, unless it is
    /// replayed; the boot is the shard's then.
    pub(super) sequence: u64,
    /// The body, then its own header lines, then the key's first bytes for the delivery log; of a
    /// replayed event, then its id.
    buffer: Vec<u8>,
    body_bytes: u32,
    lines_bytes: u32,
    /// Deliveries that refer to it.
    references: u32,
    pub(super) kind: WebhookEvent,
    /// The tick that it is from, in 48 bits, so that it fits in beside the kind: nine years.
    since: [u16; 3],
    /// The form of the body.
    pub(super) format: Format,
    is_replayed: bool,
}

/// The id at the end of a replayed event's buffer.
const ID_BYTES: usize = 16;

impl EventRecord {
    /// `buffer` is used for the bytes; what is in it is not.
    pub(super) fn new(
        sequence: u64,
        kind: WebhookEvent,
        since: Tick,
        mut buffer: Vec<u8>,
        written: Written<'_>,
        key: &[u8],
    ) -> Self {
        let Written { format, body, lines } = written;
        let (body_bytes, lines_bytes) = (body.len() as u32, lines.len() as u32);
        buffer.clear();
        // Exactly: many of them may wait for long.
        buffer.reserve_exact(body.len() + lines.len() + key.len());
        buffer.extend_from_slice(body);
        buffer.extend_from_slice(lines);
        buffer.extend_from_slice(key);
        let since = [0, 16, 32].map(|shift| (since.0 >> shift) as u16);
        EventRecord {
            sequence,
            buffer,
            body_bytes,
            lines_bytes,
            references: 0,
            kind,
            since,
            format,
            is_replayed: false,
        }
    }

    /// An event that was written before, with the id it had; `order` is its place now, and it counts
    /// as one that happened at `since`.
    pub(super) fn again(
        order: u64,
        id: EventId,
        kind: WebhookEvent,
        since: Tick,
        written: Written<'_>,
        key: &[u8],
    ) -> Self {
        let mut tail = key[..key.len().min(limits::DELIVERY_LOG_KEY_BYTES_MAX)].to_vec();
        tail.extend_from_slice(&id.boot.to_le_bytes());
        tail.extend_from_slice(&id.sequence.to_le_bytes());
        let record = EventRecord::new(order, kind, since, Vec::new(), written, &tail);
        EventRecord { is_replayed: true, ..record }
    }

    /// An event that is sent again: it counts as one that happens at `now`, for how far behind the
    /// webhook is, is not the fault of what died.
    pub(super) fn replayed(order: u64, now: Tick, event: &KeptEvent) -> Self {
        let written = Written { format: event.format, body: &event.body, lines: &event.lines };
        EventRecord::again(order, event.id, event.event, now, written, &event.key)
    }

    /// A copy that no delivery refers to yet.
    pub(super) fn copied(&self) -> Self {
        let buffer = self.buffer.clone();
        EventRecord { buffer, references: 0, ..*self }
    }

    /// Its id, in a shard of `boot`.
    pub(super) fn id(&self, boot: u64) -> EventId {
        if self.is_replayed {
            return self.kept_id();
        }
        EventId { boot, sequence: self.sequence }
    }

    #[cold]
    fn kept_id(&self) -> EventId {
        let tail = &self.buffer[self.buffer.len() - ID_BYTES..];
        let number = |at: usize| {
            tail[at..at + 8].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte))
        };
        EventId { boot: number(0), sequence: number(8) }
    }

    /// When it happened; not before the engine's start. When it was taken up, if it is replayed.
    pub(super) fn since(&self) -> Tick {
        let [low, middle, high] = self.since.map(u64::from);
        Tick(high << 32 | middle << 16 | low)
    }

    /// Everything of the event that is sent.
    pub(super) fn written(&self) -> Written<'_> {
        let (body, rest) = self.buffer.split_at(self.body_bytes as usize);
        Written { format: self.format, body, lines: &rest[..self.lines_bytes as usize] }
    }

    /// The key's first bytes.
    pub(super) fn key(&self) -> &[u8] {
        let end = self.buffer.len() - if self.is_replayed { ID_BYTES } else { 0 };
        &self.buffer[self.body_bytes as usize + self.lines_bytes as usize..end]
    }
}

/// An event on its way to one webhook.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) event: u32,
    pub(super) lane: u32,
    /// The next one of the lane.
    next: u32,
    /// The number of the next attempt, from 1. Never 0, which leaves a form for the empty places
    /// of the slab. Retries are fewer than 65 535.
    next_attempt: NonZeroU16,
    /// The webhook's place among those that the event is for: what the journal names it by.
    pub(super) target: u16,
}

const _: () = assert!(limits::RETRIES_MAX < u16::MAX as u32 - 1);

impl Delivery {
    /// Attempts that were made and counted.
    pub(super) fn attempts(&self) -> u32 {
        u32::from(self.next_attempt.get()) - 1
    }

    /// The one behind it in its lane.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// Counts an attempt.
    pub(super) fn count_attempt(&mut self) {
        self.next_attempt = self.next_attempt.saturating_add(1);
    }
}

/// Where a lane stands. A lane is never empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum LaneState {
    /// In its webhook's ready list.
    Ready,
    /// Its head is on a connection.
    InFlight,
    /// Its head waits for its retry.
    Waiting,
    /// Its first deliveries are in a batch, wherever that is.
    Batched,
}

/// The deliveries of one (webhook, key), in order.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) key: LaneKey,
    head: u32,
    tail: u32,
    pub(super) state: LaneState,
    /// Of a webhook that makes batches: how many deliveries its batch has taken, or, in the ready
    /// list, how many are counted as ready. Otherwise 0.
    pub(super) counted: u16,
    /// Its neighbours in the webhook's ready list.
    next_ready: u32,
    previous_ready: u32,
    /// Tells the lane from an earlier one with the same index, for timers.
    pub(super) generation: u32,
}

impl Lane {
    /// The delivery that is next.
    pub(super) fn head(&self) -> u32 {
        self.head
    }
}

/// A list of lanes, linked through `next_ready`.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReadyList {
    head: u32,
    tail: u32,
}

impl Default for ReadyList {
    fn default() -> Self {
        ReadyList { head: NONE, tail: NONE }
    }
}

impl ReadyList {
    pub(super) fn is_empty(self) -> bool {
        self.head == NONE
    }
}

impl Shard {
    /// Puts a delivery at the end of its lane, which comes into being if need be.
    pub(super) fn append_delivery(
        &mut self,
        now: Tick,
        key: LaneKey,
        event: u32,
        target: u16,
        attempts: u16,
    ) -> u32 {
        let record = &mut self.events[event as usize];
        record.references += 1;
        let (sequence, since) = (record.sequence, record.since());
        self.note_pending(key.slot, sequence, since);
        let next_attempt = NonZeroU16::MIN.saturating_add(attempts);
        let delivery = Delivery { event, lane: NONE, next: NONE, next_attempt, target };
        let delivery = self.deliveries.insert(delivery) as u32;
        let lane = match self.lane_of(key) {
            Some(lane) => {
                let tail = std::mem::replace(&mut self.lanes[lane as usize].tail, delivery);
                self.deliveries[tail as usize].next = delivery;
                self.count_joined(now, lane);
                lane
            }
            None => self.add_lane(now, key, delivery),
        };
        self.deliveries[delivery as usize].lane = lane;
        delivery
    }

    /// `COALESCE latest`: the newest delivery of a lane, if it may give way to a newer one.
    pub(super) fn replaceable(&self, key: LaneKey) -> Option<u32> {
        let lane = self.lane_of(key)?;
        let tail = self.lanes[lane as usize].tail;
        let is_under_way = self.chain(lane).take(self.under_way(lane)).any(|found| found == tail);
        (!is_under_way).then_some(tail)
    }

    /// The newest delivery of a lane.
    pub(super) fn lane_tail(&self, lane: u32) -> u32 {
        self.lanes[lane as usize].tail
    }

    /// Puts a newer event in the place of a delivery's.
    pub(super) fn replace_event(&mut self, delivery: u32, event: u32, target: u16) {
        self.events[event as usize].references += 1;
        let delivery = &mut self.deliveries[delivery as usize];
        delivery.next_attempt = NonZeroU16::MIN;
        let (replaced, lane) = (std::mem::replace(&mut delivery.event, event), delivery.lane);
        let replaced_target = std::mem::replace(&mut delivery.target, target);
        let slot = self.lanes[lane as usize].key.slot;
        let (sequence, since) =
            (self.events[event as usize].sequence, self.events[event as usize].since());
        self.note_pending(slot, sequence, since);
        self.note_finished(slot, replaced, replaced_target, Finish::Coalesced);
        let replaced = self.release_event(replaced);
        self.note_ended(slot, replaced);
    }

    /// How many deliveries of a lane, from its head on, are on a connection or in a batch.
    pub(super) fn under_way(&self, lane: u32) -> usize {
        let lane = &self.lanes[lane as usize];
        match lane.state {
            LaneState::Ready | LaneState::Waiting => 0,
            LaneState::InFlight => 1,
            LaneState::Batched => usize::from(lane.counted),
        }
    }

    /// Takes a delivery, which is dropped, out of its lane; `before` is the one before it there.
    pub(super) fn unchain(&mut self, lane: u32, before: Option<u32>, delivery: u32) {
        let removed = self.deliveries.remove(delivery as usize);
        match before {
            Some(before) => self.deliveries[before as usize].next = removed.next,
            None => self.lanes[lane as usize].head = removed.next,
        }
        if removed.next == NONE {
            self.lanes[lane as usize].tail = before.unwrap_or(NONE);
        }
        let slot = self.lanes[lane as usize].key.slot;
        self.note_finished(slot, removed.event, removed.target, Finish::Dropped);
        let sequence = self.release_event(removed.event);
        self.note_ended(slot, sequence);
    }

    /// The lane of a (webhook, key), if it has deliveries.
    pub(super) fn lane_of(&self, key: LaneKey) -> Option<u32> {
        let is_it = |&lane: &u32| self.lanes[lane as usize].key == key;
        self.lane_index.find(key.hash(), is_it).copied()
    }

    fn add_lane(&mut self, now: Tick, key: LaneKey, delivery: u32) -> u32 {
        let lane = Lane {
            key,
            head: delivery,
            tail: delivery,
            state: LaneState::Ready,
            counted: 0,
            next_ready: NONE,
            previous_ready: NONE,
            generation: self.next_generation(),
        };
        let index = self.lanes.insert(lane) as u32;
        let lanes = &self.lanes;
        self.lane_index.insert_unique(key.hash(), index, |&lane| lanes[lane as usize].key.hash());
        self.ready_at_end(now, index);
        index
    }

    /// Takes the first `count` deliveries off `lane`; the rest is ready, or the lane ends. `finish`
    /// is for the journal, unless it knows already.
    pub(super) fn finish_heads(
        &mut self,
        now: Tick,
        lane: u32,
        count: NonZeroU32,
        finish: Option<Finish>,
    ) {
        let slot = self.make_ready(lane);
        let mut next = self.lanes[lane as usize].head;
        for _ in 0..count.get() {
            let delivery = self.deliveries.remove(next as usize);
            if let Some(finish) = finish {
                self.note_finished(slot, delivery.event, delivery.target, finish);
            }
            let sequence = self.release_event(delivery.event);
            self.note_ended(slot, sequence);
            next = delivery.next;
        }
        if next == NONE {
            self.end_lane(lane);
        } else {
            self.lanes[lane as usize].head = next;
            self.ready_at_end(now, lane);
        }
    }

    /// Removes the whole lane; gives the number of its deliveries. It must not be in a ready list
    /// that is still used. `number` is that of its webhook, which is no more.
    pub(super) fn remove_lane(&mut self, lane: u32, number: u64) -> u64 {
        let ended = self.end_lane(lane);
        let (mut count, mut next) = (0, ended.head);
        while next != NONE {
            let delivery = self.deliveries.remove(next as usize);
            self.note_cancelled(number, delivery.event, delivery.target);
            self.release_event(delivery.event);
            next = delivery.next;
            count += 1;
        }
        count
    }

    pub(super) fn end_lane(&mut self, lane: u32) -> Lane {
        let ended = self.lanes.remove(lane as usize);
        if ended.state == LaneState::Waiting {
            self.forget_timer();
        }
        if let Ok(entry) = self.lane_index.find_entry(ended.key.hash(), |&known| known == lane) {
            entry.remove();
        }
        ended
    }

    /// Forgets an event that no delivery refers to (any more).
    pub(super) fn forget_unused(&mut self, event: u32) {
        if self.events.get(event as usize).is_some_and(|record| record.references == 0) {
            let record = self.events.remove(event as usize);
            self.spare_body(record.buffer);
        }
    }

    /// Gives the event's number.
    fn release_event(&mut self, event: u32) -> u64 {
        let record = &mut self.events[event as usize];
        let sequence = record.sequence;
        record.references -= 1;
        if record.references == 0 {
            let record = self.events.remove(event as usize);
            self.spare_body(record.buffer);
        }
        sequence
    }

    /// Gives the slot of the lane's webhook.
    #[inline]
    pub(super) fn make_ready(&mut self, lane: u32) -> u32 {
        let lane = &mut self.lanes[lane as usize];
        let slot = lane.key.slot;
        if std::mem::replace(&mut lane.state, LaneState::Ready) == LaneState::Waiting {
            self.note_unblocked(slot, 1);
        }
        slot
    }

    /// Links `lane` at the end of its webhook's ready list.
    pub(super) fn ready_at_end(&mut self, now: Tick, lane: u32) {
        let slot = self.make_ready(lane);
        self.lanes[lane as usize].next_ready = NONE;
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        let tail = std::mem::replace(&mut webhook.ready.tail, lane);
        match tail {
            NONE => webhook.ready.head = lane,
            tail => self.lanes[tail as usize].next_ready = lane,
        }
        self.lanes[lane as usize].previous_ready = tail;
        self.ready_listed(now, slot, lane);
    }

    /// Links `lane` at the front of its webhook's ready list.
    pub(super) fn ready_at_front(&mut self, now: Tick, lane: u32) {
        let slot = self.make_ready(lane);
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        let head = std::mem::replace(&mut webhook.ready.head, lane);
        self.lanes[lane as usize].next_ready = head;
        self.lanes[lane as usize].previous_ready = NONE;
        match head {
            NONE => webhook.ready.tail = lane,
            head => self.lanes[head as usize].previous_ready = lane,
        }
        self.ready_listed(now, slot, lane);
    }

    fn ready_listed(&mut self, now: Tick, slot: u32, lane: u32) {
        if self.webhooks[slot as usize].as_ref().is_some_and(WebhookState::makes_batches) {
            self.count_ready(now, lane);
        }
        self.list_webhook(slot);
    }

    /// The first lane of the ready list of `slot`.
    pub(super) fn first_ready(&self, slot: u32) -> Option<u32> {
        let lane = self.webhooks[slot as usize].as_ref()?.ready.head;
        (lane != NONE).then_some(lane)
    }

    /// All lanes of the ready list of `slot`, for a change of the webhook.
    pub(super) fn ready_lanes(&self, slot: u32) -> Vec<u32> {
        let first = self.first_ready(slot);
        let next = |lane: &u32| Some(self.lanes[*lane as usize].next_ready).filter(|&n| n != NONE);
        std::iter::successors(first, next).collect()
    }

    /// Takes the first lane off the ready list of `slot`.
    pub(super) fn pop_ready(&mut self, slot: u32) -> Option<u32> {
        let lane = self.first_ready(slot)?;
        self.unlink_ready(lane);
        Some(lane)
    }

    /// Takes a lane out of its webhook's ready list.
    pub(super) fn unlink_ready(&mut self, lane: u32) {
        let state = &self.lanes[lane as usize];
        let (slot, next, previous) = (state.key.slot, state.next_ready, state.previous_ready);
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        match previous {
            NONE => webhook.ready.head = next,
            previous => self.lanes[previous as usize].next_ready = next,
        }
        match next {
            NONE => webhook.ready.tail = previous,
            next => self.lanes[next as usize].previous_ready = previous,
        }
        self.uncount_ready(lane);
    }
}
