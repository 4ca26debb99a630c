//! Requests that have not reached their endpoint, or whose answer has not come and will not, and
//! that go out again uncounted.

use super::Shard;
use super::connections::{Exchange, Job};
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
            Some(Job::Lane(_)) if connection.answered > 0 => self.send_again(now.tick, index),
            Some(_) => self.end_connection(now, index, Err(Failure::MalformedResponse)),
        }
    }

    /// Moves the oldest lane of a stale connection to a new one, and takes the others back. If the
    /// webhook has been given another endpoint meanwhile, or has been stopped, or its endpoint must
    /// not be sent to, the lane waits its turn instead.
    pub(super) fn send_again(&mut self, now: Tick, index: usize) {
        let endpoint = self.connections[index].endpoint;
        let mut exchanges = std::mem::take(&mut self.connections[index].exchanges);
        let lane = match exchanges.front().map(|exchange| &exchange.job) {
            Some(Job::Lane(lane)) => *lane,
            _ => return,
        };
        let slot = self.lanes[lane as usize].key.slot;
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        if webhook.endpoint == endpoint
            && webhook.is_active()
            && webhook.has_token(now)
            && self.may_send_again(now, endpoint, lane)
        {
            exchanges.pop_front();
            self.count_as_resent(slot);
            // The new connection is made before the old one goes, so that the endpoint stays.
            let fresh = self.open_connection_now(endpoint);
            self.remove_connection(index);
            self.assign(now, fresh, lane);
        } else {
            self.remove_connection(index);
        }
        self.take_back(now, exchanges);
        if self.endpoints.contains(endpoint) {
            self.pump(now, endpoint);
        }
        self.pump_starved(now);
    }

    /// Exchanges whose connection has ended before it was their turn: their lanes are the first
    /// to be sent again. Tests are not sent again; none ever stands behind another exchange.
    pub(super) fn take_back(&mut self, now: Tick, exchanges: VecDeque<Exchange>) {
        let mut endpoints = Vec::new();
        // From the last to the first, so that the first stands first.
        for exchange in exchanges.into_iter().rev() {
            let Job::Lane(lane) = exchange.job else { continue };
            let slot = self.lanes[lane as usize].key.slot;
            self.count_as_resent(slot);
            self.lose_probe(lane);
            self.ready_at_front(lane);
            endpoints.extend(self.webhooks[slot as usize].as_ref().map(|webhook| webhook.endpoint));
        }
        // A webhook may have been given another endpoint meanwhile.
        endpoints.dedup();
        endpoints.into_iter().for_each(|endpoint| self.pump(now, endpoint));
    }

    fn count_as_resent(&mut self, slot: u32) {
        let worker = self.config.worker;
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.in_flight -= 1;
        self.endpoints[webhook.endpoint].has_enough = false;
        for counters in [webhook.counters(worker), &self.shared.totals[worker].deliveries] {
            counters.in_flight.subtract(1);
            counters.resent.add(1);
        }
    }

    /// Takes back the deliveries of `slot` whose requests have not been written to `endpoint`,
    /// which is its endpoint no more.
    pub(super) fn withdraw_unwritten(&mut self, slot: u32, endpoint: usize) {
        let is_of_slot = |lane: u32| self.lanes[lane as usize].key.slot == slot;
        let mut withdrawn = Vec::new();
        let mut connections = Vec::new();
        for (index, connection) in &self.connections {
            if connection.endpoint != endpoint {
                continue;
            }
            let before = withdrawn.len();
            withdrawn.extend(connection.unwritten().filter_map(|exchange| match exchange.job {
                Job::Lane(lane) if is_of_slot(lane) => Some(lane),
                _ => None,
            }));
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
        withdrawn.iter().for_each(|&lane| self.lose_probe(lane));
        withdrawn.into_iter().rev().for_each(|lane| self.ready_at_front(lane));
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.in_flight -= count as u32;
        self.endpoints[webhook.endpoint].has_enough = false;
        for counters in [webhook.counters(worker), &self.shared.totals[worker].deliveries] {
            counters.in_flight.subtract(count as u64);
        }
    }
}
