//! Lanes: one chain of deliveries per (webhook, key), linked through slabs.

use super::Shard;
use crate::base::id::EventId;
use crate::core::event::WebhookEvent;
use crate::core::replay::KeptEvent;
use std::num::NonZeroU32;

// What a pending delivery takes beside its body and its place in the index of lanes (P6).
const _: () = assert!(size_of::<Option<EventRecord>>() == 48);
const _: () = assert!(size_of::<Option<Delivery>>() == 16);
const _: () = assert!(size_of::<Option<Lane>>() == 32);

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

/// An event that deliveries refer to.
#[derive(Debug)]
pub(super) struct EventRecord {
    /// Its place among the events of the shard. The counting part of its id, too, unless it is
    /// replayed; the boot is the shard's then.
    pub(super) sequence: u64,
    /// The body, then the key's first bytes for the delivery log; of a replayed event, its id.
    buffer: Vec<u8>,
    body_bytes: u32,
    /// Deliveries that refer to it.
    references: u32,
    pub(super) kind: WebhookEvent,
    is_replayed: bool,
}

/// The id at the end of a replayed event's buffer.
const ID_BYTES: usize = 16;

impl EventRecord {
    /// `buffer` is used for the bytes; what is in it is not.
    pub(super) fn new(
        sequence: u64,
        kind: WebhookEvent,
        mut buffer: Vec<u8>,
        body: &[u8],
        key: &[u8],
    ) -> Self {
        let body_bytes = body.len() as u32;
        buffer.clear();
        // Exactly: many of them may wait for long.
        buffer.reserve_exact(body.len() + key.len());
        buffer.extend_from_slice(body);
        buffer.extend_from_slice(key);
        EventRecord { sequence, buffer, body_bytes, references: 0, kind, is_replayed: false }
    }

    /// An event that is sent again, with the id it had; `order` is its place now.
    pub(super) fn replayed(order: u64, event: &KeptEvent) -> Self {
        let mut tail = event.key.clone();
        tail.extend_from_slice(&event.id.boot.to_le_bytes());
        tail.extend_from_slice(&event.id.sequence.to_le_bytes());
        let record = EventRecord::new(order, event.event, Vec::new(), &event.body, &tail);
        EventRecord { is_replayed: true, ..record }
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

    /// The bytes that are sent and signed: the same on every attempt (DEL-3).
    pub(super) fn body(&self) -> &[u8] {
        &self.buffer[..self.body_bytes as usize]
    }

    /// The key's first bytes.
    pub(super) fn key(&self) -> &[u8] {
        let end = self.buffer.len() - if self.is_replayed { ID_BYTES } else { 0 };
        &self.buffer[self.body_bytes as usize..end]
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
    /// of the slab.
    next_attempt: NonZeroU32,
}

impl Delivery {
    /// Attempts that were made and counted.
    pub(super) fn attempts(&self) -> u32 {
        self.next_attempt.get() - 1
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
}

/// The deliveries of one (webhook, key), in order.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) key: LaneKey,
    head: u32,
    tail: u32,
    pub(super) state: LaneState,
    /// The next one in the webhook's ready list.
    next_ready: u32,
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
    pub(super) fn append_delivery(&mut self, key: LaneKey, event: u32, attempts: u32) {
        self.events[event as usize].references += 1;
        let next_attempt = NonZeroU32::MIN.saturating_add(attempts);
        let delivery = Delivery { event, lane: NONE, next: NONE, next_attempt };
        let delivery = self.deliveries.insert(delivery) as u32;
        let known = self.lane_index.find(key.hash(), |&lane| self.lanes[lane as usize].key == key);
        let lane = match known {
            Some(&lane) => {
                let tail = std::mem::replace(&mut self.lanes[lane as usize].tail, delivery);
                self.deliveries[tail as usize].next = delivery;
                lane
            }
            None => self.add_lane(key, delivery),
        };
        self.deliveries[delivery as usize].lane = lane;
    }

    fn add_lane(&mut self, key: LaneKey, delivery: u32) -> u32 {
        let lane = Lane {
            key,
            head: delivery,
            tail: delivery,
            state: LaneState::Waiting,
            next_ready: NONE,
            generation: self.next_generation(),
        };
        let index = self.lanes.insert(lane) as u32;
        let lanes = &self.lanes;
        self.lane_index.insert_unique(key.hash(), index, |&lane| lanes[lane as usize].key.hash());
        self.ready_at_end(index);
        index
    }

    /// Takes the head off `lane`; the rest is ready, or the lane ends.
    pub(super) fn finish_head(&mut self, lane: u32) {
        let head = self.lanes[lane as usize].head;
        let delivery = self.deliveries.remove(head as usize);
        self.release_event(delivery.event);
        if delivery.next == NONE {
            self.end_lane(lane);
        } else {
            self.lanes[lane as usize].head = delivery.next;
            self.ready_at_end(lane);
        }
    }

    /// Removes the whole lane; gives the number of its deliveries. It must not be in a ready list
    /// that is still used.
    pub(super) fn remove_lane(&mut self, lane: u32) -> u64 {
        let ended = self.end_lane(lane);
        let (mut count, mut next) = (0, ended.head);
        while next != NONE {
            let delivery = self.deliveries.remove(next as usize);
            self.release_event(delivery.event);
            next = delivery.next;
            count += 1;
        }
        count
    }

    fn end_lane(&mut self, lane: u32) -> Lane {
        let ended = self.lanes.remove(lane as usize);
        if let Ok(entry) = self.lane_index.find_entry(ended.key.hash(), |&known| known == lane) {
            entry.remove();
        }
        ended
    }

    fn release_event(&mut self, event: u32) {
        let record = &mut self.events[event as usize];
        record.references -= 1;
        if record.references == 0 {
            let record = self.events.remove(event as usize);
            self.spare_body(record.buffer);
        }
    }

    /// Links `lane` at the end of its webhook's ready list.
    pub(super) fn ready_at_end(&mut self, lane: u32) {
        let slot = self.lanes[lane as usize].key.slot;
        self.lanes[lane as usize].state = LaneState::Ready;
        self.lanes[lane as usize].next_ready = NONE;
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        match webhook.ready.tail {
            NONE => webhook.ready.head = lane,
            tail => self.lanes[tail as usize].next_ready = lane,
        }
        webhook.ready.tail = lane;
        self.list_webhook(slot);
    }

    /// Links `lane` at the front of its webhook's ready list.
    pub(super) fn ready_at_front(&mut self, lane: u32) {
        let slot = self.lanes[lane as usize].key.slot;
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        self.lanes[lane as usize].state = LaneState::Ready;
        self.lanes[lane as usize].next_ready = webhook.ready.head;
        webhook.ready.head = lane;
        if webhook.ready.tail == NONE {
            webhook.ready.tail = lane;
        }
        self.list_webhook(slot);
    }

    /// Takes the first lane off the ready list of `slot`.
    pub(super) fn pop_ready(&mut self, slot: u32) -> Option<u32> {
        let webhook = self.webhooks[slot as usize].as_mut()?;
        let lane = webhook.ready.head;
        if lane == NONE {
            return None;
        }
        webhook.ready.head = self.lanes[lane as usize].next_ready;
        if webhook.ready.head == NONE {
            webhook.ready.tail = NONE;
        }
        Some(lane)
    }
}
