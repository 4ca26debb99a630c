//! A webhook that cannot keep up costs disk, not memory (DUR-3): beyond the part of its queue that
//! it may have in memory, its deliveries are in the journal only. They are fetched in their order
//! when half of that part is free. While it lags, all its new deliveries go the same way, so that
//! none overtakes (ORD-1). It has caught up when everything was fetched.
//!
//! After a restart each webhook that has something left lags in this way.

use super::intake::{CameFrom, spread};
use super::lanes::{EventRecord, LaneKey, Written};
use super::webhooks::WebhookState;
use super::{Action, Shard};
use crate::base::id::EventId;
use crate::base::limits;
use crate::base::time::{Now, Tick};
use crate::core::dead_letters::{DeadLetter, KeptPlace};
use crate::core::journal::{Fetch, Fetched, Finish, Lost, StoredDelivery, read_form};
use crate::core::on_full::OnFull;
use crate::core::replay::KeptEvent;
use std::sync::atomic::Ordering;

/// How far a webhook lags.
#[derive(Debug, Default)]
pub(super) struct Lag {
    /// Deliveries of this start that are in the journal only.
    spilled: u64,
    /// Earlier starts may have left some that were not fetched yet.
    recovers: bool,
    /// They were asked for.
    asked: bool,
}

impl Lag {
    fn is_over(&self) -> bool {
        self.spilled == 0 && !self.recovers
    }
}

impl WebhookState {
    /// Deliveries of this start that are in the journal only.
    pub(super) fn spilled(&self) -> u64 {
        self.lag.as_ref().map_or(0, |lag| lag.spilled)
    }
}

impl Shard {
    /// How many of a webhook's deliveries this worker may have in memory, and has.
    fn in_memory(&self, webhook: &WebhookState) -> (u64, u64) {
        let workers = self.config.workers as u64;
        let counters = webhook.counters(self.config.worker);
        let most = (webhook.definition.ledger.pending_max() / workers).max(1);
        (most, counters.pending.get() - counters.spilled.get())
    }

    /// Earlier starts have left something of a webhook, which may be no more.
    pub(super) fn lag_behind(&mut self, number: u64) {
        let lag = Lag { recovers: true, ..Lag::default() };
        let slot = self.slot_of(number);
        match slot.and_then(|slot| self.webhooks[slot as usize].as_mut()) {
            Some(webhook) => webhook.lag = Some(Box::new(lag)),
            None => drop(self.orphans.insert(number, lag)),
        }
        self.fetch_if_room(number, slot);
    }

    fn slot_of(&self, number: u64) -> Option<u32> {
        let is_it = |webhook: &Option<WebhookState>| {
            webhook.as_ref().is_some_and(|webhook| webhook.definition.number == number)
        };
        self.webhooks.iter().position(is_it).map(|slot| slot as u32)
    }

    /// How far a webhook lags; in no slot if it is no more.
    fn lag_of(&mut self, number: u64, slot: Option<u32>) -> Option<&mut Lag> {
        match slot {
            Some(slot) => self.webhooks[slot as usize].as_mut()?.lag.as_deref_mut(),
            None => self.orphans.get_mut(&number),
        }
    }

    /// Whether the next delivery of a webhook has no place in memory.
    pub(super) fn must_spill(&self, slot: u32) -> bool {
        let Some(webhook) = &self.webhooks[slot as usize] else { return false };
        let (most, there) = self.in_memory(webhook);
        webhook.lag.is_some() || there >= most
    }

    /// The delivery of an event to a webhook goes to the journal only.
    pub(super) fn spill(&mut self, now: Tick, slot: u32, id: EventId) {
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        let (number, begins) = (webhook.definition.number, webhook.lag.is_none());
        webhook.lag.get_or_insert_default().spilled += 1;
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            counters.triggered.add(1);
            counters.pending.add(1);
            counters.spilled.add(1);
        }
        self.add_spilled(number);
        let Some(keeping) = &mut self.journal else { return };
        if begins {
            keeping.journal.begin(number, id);
        }
        if keeping.journal.is_full() {
            if self.drops_oldest(slot) {
                self.drop_oldest(now, slot, u32::MAX);
            }
            self.update_full(slot);
        }
    }

    /// Brings up to date what others see of a webhook whose queue may go on in the journal, and
    /// fetches what there is room for.
    pub(super) fn update_lag(&mut self, slot: u32) {
        let (Some(keeping), Some(webhook)) = (&self.journal, &self.webhooks[slot as usize]) else {
            return;
        };
        let turns_away = webhook.definition.on_full != OnFull::DropOldest;
        let is_full = turns_away && keeping.journal.is_full();
        let ledger = &webhook.definition.ledger;
        let (number, lags) = (webhook.definition.number, webhook.lag.is_some());
        if (is_full || ledger.is_full()) && ledger.update_full_log(&self.shared.full_count, is_full)
        {
            self.actions.push_back(Action::RoomMade);
        }
        if lags {
            self.fetch_if_room(number, Some(slot));
        }
    }

    /// Asks for what a webhook has in the journal, if there is room for it.
    fn fetch_if_room(&mut self, number: u64, slot: Option<u32>) {
        let room = match slot.and_then(|slot| self.webhooks[slot as usize].as_ref()) {
            Some(webhook) => {
                let (most, there) = self.in_memory(webhook);
                let room = most.saturating_sub(there);
                if room * 2 >= most { room } else { 0 }
            }
            None => u64::MAX,
        };
        let deliveries_max = room.min(limits::LOG_FETCH_DELIVERIES_MAX as u64) as usize;
        let Some(lag) = self.lag_of(number, slot) else { return };
        if deliveries_max == 0 || lag.asked || lag.is_over() {
            return;
        }
        lag.asked = true;
        if let Some(keeping) = &mut self.journal {
            keeping.journal.fetch(Fetch { webhook: number, deliveries_max });
        }
    }

    /// What could not be fetched yet is asked for again.
    pub(super) fn fetch_again(&mut self, now: Tick, number: u64) {
        // It may have been lost instead.
        self.look_at_journal(now);
        let slot = self.slot_of(number);
        self.fetch_if_room(number, slot);
    }

    /// Asks for everything that is not on its way, as far as there is room.
    pub(super) fn fetch_all(&mut self) {
        let lagging = self.webhooks.iter().flatten().filter(|webhook| webhook.lag.is_some());
        let lagging = lagging.map(|webhook| webhook.definition.number);
        let mut numbers: Vec<u64> = lagging.chain(self.orphans.keys().copied()).collect();
        numbers.sort_unstable();
        for number in numbers {
            let slot = self.slot_of(number);
            self.fetch_if_room(number, slot);
        }
    }

    /// What was asked for with [`Journal::fetch`](crate::core::journal::Journal::fetch). Takes the
    /// deliveries out, one by one.
    pub fn handle_fetched(&mut self, now: Now, fetched: &mut Fetched) {
        let number = fetched.webhook;
        let slot = self.slot_of(number);
        let nothing = fetched.deliveries.is_empty();
        while let Some(stored) = fetched.deliveries.pop_front() {
            let is_of_this_start = stored.id.boot == self.config.boot;
            if is_of_this_start && let Some(lag) = self.lag_of(number, slot) {
                lag.spilled = lag.spilled.saturating_sub(1);
            }
            match slot {
                Some(slot) => self.take_up_stored(now, slot, stored, is_of_this_start),
                None => self.ack_places(number, &[place_of(&stored, 0)], Finish::Cancelled),
            }
        }
        let Some(lag) = self.lag_of(number, slot) else { return };
        lag.asked = false;
        lag.recovers &= !fetched.end;
        if nothing && !lag.is_over() {
            // It is being written.
            self.timers.fetch_due(now.tick.plus_ms(limits::LOG_FETCH_AGAIN_MS), number);
        } else {
            self.leave_lag_if_over(number, slot);
            self.fetch_if_room(number, slot);
        }
        if let Some(webhook) = slot.and_then(|slot| self.webhooks[slot as usize].as_ref()) {
            let endpoint = webhook.endpoint;
            self.pump(now.tick, endpoint);
        }
    }

    fn leave_lag_if_over(&mut self, number: u64, slot: Option<u32>) {
        if self.lag_of(number, slot).is_none_or(|lag| !lag.is_over()) {
            return;
        }
        match slot.and_then(|slot| self.webhooks[slot as usize].as_mut()) {
            Some(webhook) => webhook.lag = None,
            None => drop(self.orphans.remove(&number)),
        }
        if let Some(keeping) = &mut self.journal {
            keeping.journal.forget(number);
        }
    }

    /// A delivery comes into memory that was in the journal only.
    fn take_up_stored(&mut self, now: Now, slot: u32, stored: StoredDelivery, spilled: bool) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        if !spilled && webhook.definition.ledger.note_read() {
            self.shared.unread.fetch_sub(1, Ordering::Relaxed);
        }
        let place = place_of(&stored, self.config.worker);
        let Some(form) = read_form(&stored.body, stored.targets_written, place.target) else {
            // Its checksum was right: another engine has written what this one cannot read.
            return self.drop_unreadable(now.tick, slot, place, spilled);
        };
        if let Some(death) = stored.target.death {
            let (body, lines) = (form.body.to_vec(), form.lines.to_vec());
            let key = &stored.key[..stored.key.len().min(limits::DELIVERY_LOG_KEY_BYTES_MAX)];
            let kept = KeptEvent {
                id: stored.id,
                event: stored.kind,
                key: key.to_vec(),
                key_hash: stored.key_hash,
                target: place.target,
                body,
                format: form.format,
                lines,
            };
            let letter = DeadLetter { kept, worker: self.config.worker, death, replaying: false };
            let forgotten = webhook.definition.ledger.dead().push(letter);
            let number = webhook.definition.number;
            return self.ack_places(number, &forgotten, Finish::Dead);
        }
        let ordered = webhook.definition.ordered;
        let order = self.next_id().sequence;
        let key = LaneKey::new(slot, if ordered { stored.key_hash } else { spread(order) });
        let waited_us = now.unix_us.saturating_sub(stored.timestamp_us);
        let since = Tick(now.tick.0.saturating_sub(waited_us));
        let written = Written { format: form.format, body: form.body, lines: form.lines };
        let record = EventRecord::again(order, stored.id, stored.kind, since, written, &stored.key);
        let record = self.events.insert(record) as u32;
        let came_from = if spilled { CameFrom::Journal } else { CameFrom::EarlierStart };
        let attempts = stored.target.attempts;
        self.join_lane(now.tick, key, (record, place.target, attempts), came_from);
    }

    fn drop_unreadable(&mut self, now: Tick, slot: u32, place: KeptPlace, spilled: bool) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let number = webhook.definition.number;
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            match spilled {
                true => {
                    counters.pending.subtract(1);
                    counters.spilled.subtract(1);
                }
                false => counters.triggered.add(1),
            }
            counters.dropped.add(1);
        }
        self.notice_dropped(now, slot);
        self.ack_places(number, &[place], Finish::Dropped);
    }

    /// Deliveries that were to be in the journal only could not be written.
    pub(super) fn lose(&mut self, now: Tick, lost: Lost) {
        let slot = self.slot_of(lost.webhook);
        if let Some(lag) = self.lag_of(lost.webhook, slot) {
            lag.spilled = lag.spilled.saturating_sub(lost.deliveries);
        }
        if let Some(slot) = slot
            && let Some(webhook) = &self.webhooks[slot as usize]
        {
            for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
                counters.dropped.add(lost.deliveries);
                counters.pending.subtract(lost.deliveries);
                counters.spilled.subtract(lost.deliveries);
            }
            self.notice_dropped(now, slot);
        }
        self.leave_lag_if_over(lost.webhook, slot);
        if let Some(slot) = slot {
            self.update_full(slot);
        }
    }

    /// A webhook is deleted: gives how many of its deliveries were in the journal only. Those are
    /// fetched to be cancelled there, and so are its dead letters of this worker.
    pub(super) fn cancel_kept(&mut self, webhook: &mut WebhookState) -> u64 {
        if self.journal.is_none() {
            return 0;
        }
        let number = webhook.definition.number;
        let letters = webhook.definition.ledger.dead().places_of(self.config.worker);
        self.ack_places(number, &letters, Finish::Cancelled);
        // One of the workers counts what none has read.
        let unread = webhook.definition.ledger.take_unread();
        self.shared.unread.fetch_sub(unread, Ordering::Relaxed);
        self.totals().deliveries.triggered.add(unread);
        self.totals().deliveries.cancelled.add(unread);
        let Some(lag) = webhook.lag.take() else { return 0 };
        let spilled = lag.spilled;
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            counters.spilled.subtract(spilled);
        }
        self.orphans.insert(number, *lag);
        self.fetch_if_room(number, None);
        spilled
    }
}

fn place_of(stored: &StoredDelivery, worker: usize) -> KeptPlace {
    KeptPlace { id: stored.id, target: stored.target.target, worker }
}
