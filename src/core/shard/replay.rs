//! Dead deliveries: kept when they are given up, and sent again when somebody asks for it.

use super::Shard;
use super::intake::{CameFrom, spread};
use super::lanes::{EventRecord, LaneKey};
use super::load::Load;
use super::settle::Ended;
use super::webhooks::WebhookState;
use crate::base::id::EventId;
use crate::base::limits;
use crate::base::time::{Now, Tick};
use crate::core::dead_letters::{DeadLetter, DeadReason, KeptPlace};
use crate::core::journal::{Death, Finish};
use crate::core::replay::{KeptEvent, Replay};

impl Shard {
    /// Keeps what `load` carries, which is given up with the attempt that `last` was: each event of
    /// a batch with its own bytes, so that it can be sent again in whatever way its webhook sends
    /// then.
    #[cold]
    pub(super) fn keep_dead(&mut self, now: Now, load: Load, last: &Ended, reason: DeadReason) {
        let Some(webhook) = &self.webhooks[self.load_slot(load) as usize] else { return };
        let death = Death {
            attempts: last.attempts(),
            status: last.status,
            failure: last.failure,
            reason,
            at_us: now.unix_us,
        };
        let (number, worker) = (webhook.definition.number, self.config.worker);
        let (mut kept, mut forgotten) = (Vec::new(), Vec::new());
        for delivery in self.load_chain(load) {
            let delivery = &self.deliveries[delivery as usize];
            let event = &self.events[delivery.event as usize];
            let written = event.written();
            let letter = DeadLetter {
                kept: KeptEvent {
                    id: event.id(self.config.boot),
                    event: event.kind,
                    key: event.key().to_vec(),
                    key_hash: self.lanes[delivery.lane as usize].key.key_hash(),
                    target: delivery.target,
                    format: written.format,
                    body: written.body.to_vec(),
                    lines: written.lines.to_vec(),
                },
                worker,
                death,
                replaying: false,
            };
            kept.push(KeptPlace { id: letter.kept.id, target: letter.kept.target, worker });
            forgotten.extend(webhook.definition.ledger.dead().push(letter));
        }
        // In this order: one that is larger than all may be is kept and forgotten.
        kept.into_iter().for_each(|place| self.note_dead(number, place, &death));
        self.ack_places(number, &forgotten, Finish::Dead);
    }

    fn has_room_for_replay(&self, slot: u32) -> bool {
        let Some(webhook) = &self.webhooks[slot as usize] else { return false };
        match self.journal {
            // What it has in the journal goes before.
            Some(_) => !self.must_spill(slot),
            None => !webhook.definition.ledger.has_no_room(),
        }
    }

    /// Sends kept events again, one after the other at the replay's rate. Each joins the end of
    /// its key's lane when its turn comes. The replay ends, and what it has not sent stays kept,
    /// when the webhook is disabled or deleted.
    pub fn handle_replay(&mut self, now: Tick, replay: Replay) {
        let index = self.replays.insert(replay) as u32;
        self.continue_replay(now, now, index);
    }

    /// The turn of a replay's next event, which was due at `due`.
    pub(super) fn continue_replay(&mut self, now: Tick, due: Tick, index: u32) {
        let Some(replay) = self.replays.get_mut(index as usize) else { return };
        let slot = replay.webhook.slot;
        let webhook = self.webhooks.get(slot as usize).and_then(Option::as_ref);
        let webhook = webhook.filter(|webhook| webhook.definition.id == replay.webhook);
        if !webhook.is_some_and(WebhookState::is_active) {
            self.replays.remove(index as usize);
            return;
        }
        let interval_us = replay.interval_us;
        let has_room = self.has_room_for_replay(slot);
        let Some(replay) = self.replays.get_mut(index as usize) else { return };
        let next = if !has_room {
            now.plus_ms(limits::REPLAY_FULL_PAUSE_MS)
        } else {
            if let Some(event) = replay.take_next() {
                self.take_up(now, slot, event);
                // One may have given way, also to this one.
                self.flush_soon(now);
            }
            let behind_max_us = limits::REPLAY_BEHIND_MS_MAX * 1000;
            Tick(due.0.max(now.0.saturating_sub(behind_max_us)).saturating_add(interval_us))
        };
        match self.replays[index as usize].is_over() {
            true => drop(self.replays.remove(index as usize)),
            false => self.timers.replay_due(next, index),
        }
    }

    /// Puts a kept event at the end of its lane. With `COALESCE` it never takes the place of a newer
    /// event of its key, and never goes out after one that is still pending: it gives way, counted.
    fn take_up(&mut self, now: Tick, slot: u32, event: KeptEvent) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let (coalesces, ordered) = (webhook.definition.coalesce, webhook.definition.ordered);
        let number = webhook.definition.number;
        // Its place among the others is the one of an event that is triggered now.
        let order = self.next_id().sequence;
        let key = LaneKey::new(slot, if ordered { event.key_hash } else { spread(order) });
        if coalesces && self.newest_of(key).is_some_and(|newest| !Self::is_newer(event.id, newest))
        {
            self.count_coalesced(slot, CameFrom::Replay);
            let (id, target, worker) = (event.id, event.target, self.config.worker);
            self.ack_places(number, &[KeptPlace { id, target, worker }], Finish::Coalesced);
            return;
        }
        let record = EventRecord::replayed(order, now, &event);
        let record = self.events.insert(record) as u32;
        self.join_lane(now, key, (record, event.target, 0), CameFrom::Replay);
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let endpoint = webhook.endpoint;
        self.pump(now, endpoint);
    }

    /// The id of the last event of a lane.
    fn newest_of(&self, key: LaneKey) -> Option<EventId> {
        let newest = self.lane_tail(self.lane_of(key)?);
        let event = self.deliveries[newest as usize].event;
        Some(self.events[event as usize].id(self.config.boot))
    }

    /// Whether an event happened after another one of its key. Those of several starts come together
    /// only from a durable log, whose starts count upwards.
    fn is_newer(id: EventId, than: EventId) -> bool {
        (id.boot, id.sequence) > (than.boot, than.sequence)
    }

    /// Takes over the replays of a shard that broke down.
    pub(super) fn take_over_replays(&mut self, now: Tick, old: &mut Shard) {
        for replay in std::mem::take(&mut old.replays).into_iter().map(|(_, replay)| replay) {
            let index = self.replays.insert(replay) as u32;
            self.timers.replay_due(now, index);
        }
    }
}
