//! Dead deliveries: kept when they are given up, and sent again when somebody asks for it.

use super::Shard;
use super::lanes::{EventRecord, LaneKey};
use crate::base::limits;
use crate::base::time::Tick;
use crate::core::dead_letters::{DeadLetter, DeadReason};
use crate::core::ledger::{AttemptRecord, WebhookStatus};
use crate::core::replay::{KeptEvent, Replay};

impl Shard {
    /// Keeps the head of `lane`, which is given up: `last` is its last attempt.
    pub(super) fn keep_dead(&self, lane: u32, last: &AttemptRecord, reason: DeadReason) {
        let lane = &self.lanes[lane as usize];
        let event = &self.events[self.deliveries[lane.head() as usize].event as usize];
        let Some(webhook) = &self.webhooks[lane.key.slot as usize] else { return };
        let letter = DeadLetter {
            kept: KeptEvent {
                id: last.id,
                event: event.kind,
                key: event.key().to_vec(),
                key_hash: lane.key.key_hash(),
                body: event.body().to_vec(),
            },
            worker: self.config.worker,
            attempts: last.attempt,
            status: last.status,
            failure: last.failure,
            reason,
            at_us: last.at_us,
            replaying: false,
        };
        webhook.definition.ledger.dead().push(letter);
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
        let ledger = webhook.map(|webhook| &webhook.definition.ledger);
        let Some(ledger) = ledger.filter(|ledger| ledger.status() == WebhookStatus::Active) else {
            self.replays.remove(index as usize);
            return;
        };
        let interval_us = replay.interval_us;
        let next = if ledger.is_full() {
            now.plus_ms(limits::REPLAY_FULL_PAUSE_MS)
        } else {
            if let Some(event) = replay.take_next() {
                self.take_up(now, slot, event);
            }
            let behind_max_us = limits::REPLAY_BEHIND_MS_MAX * 1000;
            Tick(due.0.max(now.0.saturating_sub(behind_max_us)).saturating_add(interval_us))
        };
        match self.replays[index as usize].is_over() {
            true => drop(self.replays.remove(index as usize)),
            false => self.timers.replay_due(next, index),
        }
    }

    /// Puts a kept event at the end of its lane.
    fn take_up(&mut self, now: Tick, slot: u32, event: KeptEvent) {
        // Its place among the others is the one of an event that is triggered now.
        let order = self.next_id().sequence;
        let record = EventRecord::replayed(order, &event);
        let record = self.events.insert(record) as u32;
        self.append_delivery(LaneKey::new(slot, event.key_hash), record, 0);
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            counters.replayed.add(1);
            counters.pending.add(1);
        }
        let endpoint = webhook.endpoint;
        self.update_full(slot);
        self.pump(now, endpoint);
    }

    /// Takes over the replays of a shard that broke down.
    pub(super) fn take_over_replays(&mut self, now: Tick, old: &mut Shard) {
        for replay in std::mem::take(&mut old.replays).into_iter().map(|(_, replay)| replay) {
            let index = self.replays.insert(replay) as u32;
            self.timers.replay_due(now, index);
        }
    }
}
