//! The webhooks a shard serves: which may send, and how a new snapshot changes them.

use super::ages::Ages;
use super::batches::Filling;
use super::breaker::Admission;
use super::connections::Exchange;
use super::lag::Lag;
use super::lanes::ReadyList;
use super::load::Load;
use super::numbers::Numbers;
use super::overflow::DropQueue;
use super::rate::Bucket;
use super::window::AdaptiveWindow;
use super::{Action, Shard};
use crate::base::time::Tick;
use crate::core::ledger::{Counters, WebhookStatus};
use crate::core::snapshot::{Definition, Snapshot};
use std::collections::VecDeque;
use std::sync::Arc;

/// One webhook, as this shard serves it.
#[derive(Debug)]
pub(super) struct WebhookState {
    pub(super) definition: Arc<Definition>,
    pub(super) endpoint: usize,
    /// Counts the changes of its URL and of what it says of itself in requests.
    pub(super) revision: u32,
    pub(super) ready: ReadyList,
    /// Requests on a connection.
    pub(super) in_flight: u32,
    /// This shard's part of the webhook's concurrency.
    pub(super) window: u32,
    /// Whether it stands in its endpoint's queue.
    listed: bool,
    /// Batches that are made and may be sent, the first one first.
    pub(super) batches_ready: VecDeque<u32>,
    /// What there is for the next batch.
    pub(super) filling: Filling,
    /// Its deliveries by age, if it drops the oldest.
    pub(super) drop_queue: DropQueue,
    /// How old its pending deliveries are.
    pub(super) ages: Ages,
    /// What its events are numbered by, once one was (`SEQUENCE`).
    pub(super) numbers: Option<Box<Numbers>>,
    /// This shard's part of its rate, if that is limited.
    pub(super) rate: Option<Bucket>,
    /// Narrows the window, if it is to adapt.
    pub(super) adaptive: Option<AdaptiveWindow>,
    /// Its queue goes on in the journal.
    pub(super) lag: Option<Box<Lag>>,
}

impl WebhookState {
    /// How many more requests its window allows.
    pub(super) fn room(&self) -> u32 {
        self.window.saturating_sub(self.in_flight)
    }

    fn may_send(&self, now: Tick) -> bool {
        self.in_flight < self.window
            && self.has_something_due()
            && self.is_active()
            && self.has_token(now)
    }

    pub(super) fn makes_batches(&self) -> bool {
        self.definition.batch.is_some()
    }

    /// Whether something is ready, and need not wait for its batch to fill.
    fn has_something_due(&self) -> bool {
        let is_due = match &self.definition.batch {
            None => !self.ready.is_empty(),
            Some(policy) => self.filling.is_due(policy),
        };
        is_due || !self.batches_ready.is_empty()
    }

    /// Whether its rate allows another attempt.
    pub(super) fn has_token(&self, now: Tick) -> bool {
        self.rate.as_ref().is_none_or(|bucket| bucket.allows(now))
    }

    /// Whether nobody has stopped it.
    pub(super) fn is_active(&self) -> bool {
        self.definition.ledger.status() == WebhookStatus::Active
    }

    pub(super) fn counters(&self, worker: usize) -> &Counters {
        self.definition.ledger.counters(worker)
    }
}

/// This worker's part of `concurrency`: the parts add up, and each is at least 1.
fn window_of(concurrency: u32, worker: usize, workers: usize) -> u32 {
    let (worker, workers) = (worker as u32, workers.max(1) as u32);
    (concurrency / workers + u32::from(worker < concurrency % workers)).max(1)
}

impl Shard {
    /// The webhooks have changed. Deliveries of deleted ones are cancelled; those of changed ones
    /// follow the new definition from their next attempt on.
    pub fn handle_snapshot(&mut self, now: Tick, snapshot: Arc<Snapshot>) {
        let slots = snapshot.definitions.len().max(self.webhooks.len());
        self.webhooks.resize_with(slots, || None);
        for slot in 0..slots {
            let wanted = snapshot.definition(slot as u32);
            let known = self.webhooks[slot].as_ref().map(|webhook| &webhook.definition);
            match (known, wanted) {
                (None, None) => {}
                (Some(known), Some(wanted)) if Arc::ptr_eq(known, wanted) => {}
                (Some(known), Some(wanted)) if known.id == wanted.id => {
                    self.change_webhook(now, slot as u32, wanted.clone());
                }
                (known, wanted) => {
                    if known.is_some() {
                        self.remove_webhook(now, slot as u32);
                    }
                    if let Some(wanted) = wanted {
                        self.add_webhook(slot, wanted.clone());
                    }
                }
            }
        }
        self.snapshot = snapshot;
        // A webhook may have been enabled.
        for slot in 0..slots as u32 {
            self.list_webhook(slot);
        }
        self.pump_all(now);
    }

    fn add_webhook(&mut self, slot: usize, definition: Arc<Definition>) {
        let endpoint = self.endpoint_for(&definition);
        self.webhooks[slot] = Some(WebhookState {
            definition,
            endpoint,
            revision: 0,
            ready: ReadyList::default(),
            in_flight: 0,
            window: 0,
            listed: false,
            batches_ready: VecDeque::new(),
            filling: Filling::default(),
            drop_queue: DropQueue::default(),
            ages: Ages::default(),
            numbers: None,
            rate: None,
            adaptive: None,
            lag: None,
        });
        self.change_rate(slot as u32);
        self.change_window(slot as u32);
        self.publish_gate(slot as u32);
    }

    fn change_webhook(&mut self, now: Tick, slot: u32, definition: Arc<Definition>) {
        let endpoint = self.endpoint_for(&definition);
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        if webhook.definition.target != definition.target
            || webhook.definition.head != definition.head
        {
            // What the old place will yet say of the webhook is not for the new one.
            webhook.revision = webhook.revision.wrapping_add(1);
            definition.ledger.note_success();
        }
        let on_full_changes = webhook.definition.on_full != definition.on_full;
        let batch_changes = webhook.definition.batch != definition.batch;
        webhook.definition = definition;
        let old = std::mem::replace(&mut webhook.endpoint, endpoint);
        self.endpoints[endpoint].has_enough = false;
        if old != endpoint {
            if std::mem::take(&mut webhook.listed) {
                self.endpoints[old].queue.retain(|&listed| listed != slot);
            }
            self.withdraw_unwritten(now, slot, old);
        }
        if batch_changes {
            self.recount_ready(now, slot);
        }
        if on_full_changes {
            self.change_on_full(slot);
        }
        self.release_endpoint(old);
        self.publish_gate(slot);
        self.change_rate(slot);
        self.change_window(slot);
    }

    /// The webhook has another concurrency: what its window has learnt is kept.
    fn change_window(&mut self, slot: u32) {
        let (worker, workers) = (self.config.worker, self.config.workers);
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.window = window_of(webhook.definition.concurrency, worker, workers);
        let known = webhook.adaptive.take();
        if webhook.definition.adaptive {
            let window = match known {
                Some(known) => known.bounded(webhook.window),
                None => AdaptiveWindow::new(webhook.window),
            };
            webhook.window = window.limit();
            webhook.adaptive = Some(window);
        }
        webhook.definition.ledger.gate(worker).set_window(webhook.window);
    }

    /// An attempt of a webhook whose window adapts has ended.
    pub(super) fn adapt_window(&mut self, now: Tick, slot: u32, latency_us: u64, pressed: bool) {
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        let Some(adaptive) = &mut webhook.adaptive else { return };
        adaptive.note(now, latency_us, webhook.in_flight + 1, pressed);
        let limit = adaptive.limit();
        if webhook.window == limit {
            return;
        }
        if webhook.window < limit {
            // The connection that has answered takes one request, not two.
            self.timers.webhook_due(Tick::default(), slot);
        }
        webhook.window = limit;
        webhook.definition.ledger.gate(self.config.worker).set_window(limit);
    }

    /// Ends the connections that carry deliveries of `slot`, which is no more.
    fn cut_connections_of(&mut self, now: Tick, slot: u32) {
        let is_of_slot = |exchange: &Exchange| {
            exchange.job.load().is_some_and(|load| self.load_slot(load) == slot)
        };
        let carries = |exchanges: &VecDeque<Exchange>| exchanges.iter().any(is_of_slot);
        let cut: Vec<usize> = self
            .connections
            .iter()
            .filter(|(_, connection)| carries(&connection.exchanges))
            .map(|(index, _)| index)
            .collect();
        let mut others = VecDeque::new();
        for index in cut {
            others.extend(self.forget_connection(index).exchanges);
        }
        others.retain(|exchange| {
            exchange.job.load().is_some_and(|load| self.load_slot(load) != slot)
        });
        self.take_back(now, others);
    }

    fn remove_webhook(&mut self, now: Tick, slot: u32) {
        let Some(mut webhook) = self.webhooks[slot as usize].take() else { return };
        self.endpoints[webhook.endpoint].queue.retain(|&listed| listed != slot);
        self.cut_connections_of(now, slot);
        let lanes: Vec<u32> = self
            .lanes
            .iter()
            .filter(|(_, lane)| lane.key.slot == slot)
            .map(|(index, _)| index as u32)
            .collect();
        self.lose_probes_of(slot);
        let number = webhook.definition.number;
        let cancelled: u64 = lanes.into_iter().map(|lane| self.remove_lane(lane, number)).sum();
        let cancelled = cancelled + self.cancel_kept(&mut webhook);
        self.batches.retain(|_, batch| batch.slot != slot);
        let in_flight = webhook.counters(self.config.worker).in_flight.get();
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            counters.cancelled.add(cancelled);
            counters.pending.subtract(cancelled);
            counters.in_flight.subtract(in_flight);
        }
        let blocked = &webhook.counters(self.config.worker).lanes_blocked;
        self.totals().deliveries.lanes_blocked.subtract(blocked.get());
        blocked.set(0);
        webhook.definition.ledger.retire(&self.shared.full_count);
        self.actions.push_back(Action::RoomMade);
        self.release_endpoint(webhook.endpoint);
    }

    /// Puts a webhook that has something to send into its endpoint's queue.
    pub(super) fn list_webhook(&mut self, slot: u32) {
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        if !webhook.listed && webhook.has_something_due() {
            webhook.listed = true;
            let endpoint = &mut self.endpoints[webhook.endpoint];
            endpoint.queue.push_back(slot);
            endpoint.has_enough = false;
        }
    }

    /// What to send to `endpoint` next, taken from the webhooks in turn.
    pub(super) fn next_load(&mut self, now: Tick, endpoint: usize) -> Option<Load> {
        let admission = self.endpoints[endpoint].admission;
        if admission == Admission::Shut {
            return None;
        }
        while let Some(slot) = self.endpoints[endpoint].queue.pop_front() {
            let Some(webhook) = &mut self.webhooks[slot as usize] else { continue };
            webhook.listed = false;
            if !webhook.may_send(now) {
                // It comes back when a delivery ends, it is enabled, or there is a token.
                self.await_token(now, slot);
                continue;
            }
            let load = self.take_load(slot);
            self.list_webhook(slot);
            if let Some(load) = load {
                if admission == Admission::One {
                    self.begin_probe(now, endpoint, load);
                }
                return Some(load);
            }
        }
        None
    }

    /// Whether some webhook has something to send to `endpoint` now. Drops those that have not
    /// from its queue.
    pub(super) fn has_load(&mut self, now: Tick, endpoint: usize) -> bool {
        if self.endpoints[endpoint].admission == Admission::Shut {
            return false;
        }
        while let Some(&slot) = self.endpoints[endpoint].queue.front() {
            match &mut self.webhooks[slot as usize] {
                Some(webhook) if webhook.may_send(now) => return true,
                Some(webhook) => {
                    webhook.listed = false;
                    self.await_token(now, slot);
                }
                None => {}
            }
            self.endpoints[endpoint].queue.pop_front();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::window_of;

    #[test]
    fn the_parts_of_a_window_add_up() {
        for (concurrency, workers) in [(64, 1), (64, 3), (7, 4), (4, 4)] {
            let parts: u32 =
                (0..workers).map(|worker| window_of(concurrency, worker, workers)).sum();
            assert_eq!(parts, concurrency);
        }
        assert_eq!(window_of(1, 3, 4), 1, "each worker gets at least one");
    }
}
