//! `ON_FULL drop-oldest`: which pending delivery makes room for a new one.

use super::lanes::{LaneState, NONE};
use super::{Action, Shard};
use crate::base::time::Tick;
use crate::core::on_full::OnFull;
use std::collections::VecDeque;

/// Entries of deliveries that are gone are thrown out when there are so many more than live ones.
const STALE_ENTRIES_MAX: usize = 64;
/// Deliveries that are looked at for one to drop: many may be in one batch, and the queue may be
/// longer than it should be for some events instead.
const LOOKS_MAX: usize = 64;

/// The pending deliveries of a webhook by age, the oldest first. Those that have ended stay in it
/// until they are met or there are too many of them.
#[derive(Debug, Default)]
pub(super) struct DropQueue {
    /// The event's number, which tells a delivery from a later one in its place.
    entries: VecDeque<(u64, u32)>,
}

impl Shard {
    /// Whether the webhook drops its oldest deliveries when it is full.
    pub(super) fn drops_oldest(&self, slot: u32) -> bool {
        let webhook = self.webhooks[slot as usize].as_ref();
        webhook.is_some_and(|webhook| webhook.definition.on_full == OnFull::DropOldest)
    }

    /// A delivery has joined a webhook that drops its oldest ones: remembers it, and makes room.
    pub(super) fn make_room(&mut self, now: Tick, slot: u32, delivery: u32) {
        self.note_youngest(slot, delivery);
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        // With a journal the queue goes on there.
        if self.journal.is_none() && webhook.definition.ledger.is_over_full() {
            self.drop_oldest(now, slot, delivery);
        }
    }

    /// The webhook's policy has become to drop the oldest: looks what there is.
    fn fill_drop_queue(&mut self, slot: u32) {
        let of_slot = self.deliveries.iter().filter_map(|(index, delivery)| {
            let lane = &self.lanes[delivery.lane as usize];
            let sequence = self.events[delivery.event as usize].sequence;
            (lane.key.slot == slot).then_some((sequence, index as u32))
        });
        let mut entries: Vec<(u64, u32)> = of_slot.collect();
        entries.sort_unstable();
        if let Some(webhook) = &mut self.webhooks[slot as usize] {
            webhook.drop_queue.entries = entries.into();
        }
    }

    /// Remembers that a delivery is the youngest of its webhook.
    pub(super) fn note_youngest(&mut self, slot: u32, delivery: u32) {
        let sequence = self.sequence_of(delivery);
        let worker = self.config.worker;
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.drop_queue.entries.push_back((sequence, delivery));
        let pending = webhook.counters(worker).pending.get() as usize;
        if webhook.drop_queue.entries.len() > 2 * pending + STALE_ENTRIES_MAX {
            self.forget_ended(slot);
        }
    }

    /// What is done when the webhook is full has changed.
    pub(super) fn change_on_full(&mut self, slot: u32) {
        if self.drops_oldest(slot) {
            self.fill_drop_queue(slot);
            if let Some(webhook) = &self.webhooks[slot as usize] {
                webhook.definition.ledger.retire(&self.shared.full_count);
                // Callers that wait for its full queue need not wait for it any more.
                self.actions.push_back(Action::RoomMade);
            }
        } else {
            if let Some(webhook) = &mut self.webhooks[slot as usize] {
                webhook.drop_queue = DropQueue::default();
            }
            self.update_full(slot);
        }
    }

    fn sequence_of(&self, delivery: u32) -> u64 {
        self.events[self.deliveries[delivery as usize].event as usize].sequence
    }

    fn is_pending(&self, slot: u32, (sequence, delivery): (u64, u32)) -> bool {
        self.deliveries.get(delivery as usize).is_some_and(|found| {
            self.events[found.event as usize].sequence == sequence
                && self.lanes[found.lane as usize].key.slot == slot
        })
    }

    fn forget_ended(&mut self, slot: u32) {
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        let mut entries = std::mem::take(&mut webhook.drop_queue.entries);
        entries.retain(|&entry| self.is_pending(slot, entry));
        if let Some(webhook) = &mut self.webhooks[slot as usize] {
            webhook.drop_queue.entries = entries;
        }
    }

    /// Drops the oldest delivery that is not under way. Those that are count as young from now on.
    /// `newest` is not dropped: when all others are under way, the window bounds the queue.
    pub(super) fn drop_oldest(&mut self, now: Tick, slot: u32, newest: u32) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        for _ in 0..webhook.drop_queue.entries.len().min(LOOKS_MAX) {
            let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
            let Some(entry) = webhook.drop_queue.entries.pop_front() else { return };
            if !self.is_pending(slot, entry) {
                continue;
            }
            if entry.1 != newest && self.remove_waiting(now, entry.1) {
                self.count_dropped(slot);
                self.notice_dropped(now, slot);
                return;
            }
            if let Some(webhook) = &mut self.webhooks[slot as usize] {
                webhook.drop_queue.entries.push_back(entry);
            }
            if entry.1 == newest {
                return;
            }
        }
    }

    fn count_dropped(&self, slot: u32) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            counters.dropped.add(1);
            counters.pending.subtract(1);
        }
    }

    /// Takes a delivery out of its lane, unless it is under way or in a batch.
    fn remove_waiting(&mut self, now: Tick, delivery: u32) -> bool {
        let lane = self.deliveries[delivery as usize].lane;
        let state = &self.lanes[lane as usize];
        // The deliveries before it in its lane are older, so they are under way, or it is the head.
        let is_ready = state.state == LaneState::Ready;
        let Some(place) = self.chain(lane).position(|found| found == delivery) else {
            return false;
        };
        if place < self.under_way(lane) {
            return false;
        }
        let before = place.checked_sub(1).and_then(|place| self.chain(lane).nth(place));
        if is_ready {
            self.unlink_ready(lane);
        }
        self.unchain(lane, before, delivery);
        match self.lanes[lane as usize].head() {
            NONE => {
                let ended = self.end_lane(lane);
                if ended.state == LaneState::Waiting {
                    self.note_unblocked(ended.key.slot, 1);
                }
            }
            _ if is_ready => self.ready_at_front(now, lane),
            _ => {}
        }
        true
    }
}
