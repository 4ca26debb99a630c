//! Requests that have not reached their endpoint, or whose answer has not come and will not, and
//! that go out again uncounted.

use super::Shard;
use super::connections::{Exchange, Job};
use super::load::Load;
use crate::base::time::{Now, Tick};
use crate::core::failure::Failure;
use std::collections::VecDeque;

impl Shard {
    /// Ends a connection that was spoken on before it had a request written.
    pub(super) fn end_unasked(&mut self, now: Now, index: usize) {
        let connection = &self.connections[index];
        match connection.exchanges.front().map(|exchange| &exchange.job) {
            None => {
                let endpoint = self.remove_connection(index).endpoint;
                self.pump_starved(now.tick);
                // It may have answered just before, and would have carried the next request.
                if self.endpoints.contains(endpoint) {
                    self.pump(now.tick, endpoint);
                }
            }
            Some(Job::Load(_)) if connection.answered > 0 => self.send_again(now.tick, index),
            Some(_) => self.end_connection(now, index, Err(Failure::MalformedResponse)),
        }
    }

    /// Moves the oldest load of a stale connection to a new one, and takes the others back. If the
    /// webhook has been given another endpoint meanwhile, or has been stopped, or its endpoint must
    /// not be sent to, the load waits its turn instead.
    pub(super) fn send_again(&mut self, now: Tick, index: usize) {
        let endpoint = self.connections[index].endpoint;
        let mut exchanges = std::mem::take(&mut self.connections[index].exchanges);
        let Some(load) = exchanges.front().and_then(|exchange| exchange.job.load()) else {
            return;
        };
        let slot = self.load_slot(load);
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        if webhook.endpoint == endpoint
            && webhook.is_active()
            && webhook.has_token(now)
            && self.may_send_again(now, endpoint, load)
        {
            exchanges.pop_front();
            self.count_as_resent(load);
            // The new connection is made before the old one goes, so that the endpoint stays.
            let fresh = self.open_connection_now(endpoint);
            self.remove_connection(index);
            self.assign(now, fresh, load);
        } else {
            self.remove_connection(index);
        }
        self.take_back(now, exchanges);
        if self.endpoints.contains(endpoint) {
            self.pump(now, endpoint);
        }
        self.pump_starved(now);
    }

    /// Exchanges whose connection has ended before it was their turn: what they carry is the first
    /// to be sent again. Tests are not sent again; none ever stands behind another exchange.
    pub(super) fn take_back(&mut self, now: Tick, exchanges: VecDeque<Exchange>) {
        let mut endpoints = Vec::new();
        // From the last to the first, so that the first stands first.
        for exchange in exchanges.into_iter().rev() {
            let Some(load) = exchange.job.load() else { continue };
            let slot = self.load_slot(load);
            self.count_as_resent(load);
            self.lose_probe(load);
            self.put_back(now, load);
            endpoints.extend(self.webhooks[slot as usize].as_ref().map(|webhook| webhook.endpoint));
        }
        // A webhook may have been given another endpoint meanwhile.
        endpoints.dedup();
        endpoints.into_iter().for_each(|endpoint| self.pump(now, endpoint));
    }

    fn count_as_resent(&mut self, load: Load) {
        let worker = self.config.worker;
        let (slot, deliveries) = (self.load_slot(load), self.load_deliveries(load));
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.in_flight -= 1;
        self.endpoints[webhook.endpoint].has_enough = false;
        for counters in [webhook.counters(worker), &self.shared.totals[worker].deliveries] {
            counters.in_flight.subtract(deliveries);
            counters.resent.add(1);
        }
    }

    /// Takes back the deliveries of `slot` whose requests have not been written to `endpoint`,
    /// which is its endpoint no more.
    pub(super) fn withdraw_unwritten(&mut self, now: Tick, slot: u32, endpoint: usize) {
        let is_of_slot = |load: &Load| self.load_slot(*load) == slot;
        let mut withdrawn = Vec::new();
        let mut connections = Vec::new();
        for (index, connection) in &self.connections {
            if connection.endpoint != endpoint {
                continue;
            }
            let before = withdrawn.len();
            let loads = connection.unwritten().filter_map(|exchange| exchange.job.load());
            withdrawn.extend(loads.filter(is_of_slot));
            if withdrawn.len() > before {
                connections.push(index);
            }
        }
        self.endpoints[endpoint].has_enough = false;
        for index in connections {
            self.connections[index].withdraw(&withdrawn);
            if self.connections[index].exchanges.is_empty() {
                drop(self.forget_connection(index));
            } else {
                self.list_roomy(index);
            }
        }
        let worker = self.config.worker;
        let count = withdrawn.len();
        withdrawn.iter().for_each(|&load| self.lose_probe(load));
        let deliveries: u64 = withdrawn.iter().map(|&load| self.load_deliveries(load)).sum();
        withdrawn.into_iter().rev().for_each(|load| self.put_back(now, load));
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.in_flight -= count as u32;
        self.endpoints[webhook.endpoint].has_enough = false;
        for counters in [webhook.counters(worker), &self.shared.totals[worker].deliveries] {
            counters.in_flight.subtract(deliveries);
        }
    }
}
