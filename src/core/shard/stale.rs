//! Requests that have not reached their endpoint, and go out again uncounted.

use super::Shard;
use super::connections::{Connection, Job};
use crate::base::time::{Now, Tick};
use crate::core::failure::Failure;

impl Shard {
    /// Ends a connection that was spoken on before its request was written.
    pub(super) fn end_unasked(&mut self, now: Now, index: usize) {
        let connection = &self.connections[index];
        match connection.job {
            Job::Lane(lane) if connection.exchanges > 0 => self.send_again(now.tick, index, lane),
            _ => self.end_connection(now, index, Err(Failure::MalformedResponse)),
        }
    }

    /// Moves the lane of a stale connection to a new one. If the webhook has been given another
    /// endpoint meanwhile, or has been stopped or put on hold, the lane waits its turn instead.
    pub(super) fn send_again(&mut self, now: Tick, index: usize, lane: u32) {
        let endpoint = self.connections[index].endpoint;
        let slot = self.lanes[lane as usize].key.slot;
        let worker = self.config.worker;
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.in_flight -= 1;
        for counters in [webhook.counters(worker), &self.shared.totals[worker].deliveries] {
            counters.in_flight.subtract(1);
            counters.resent.add(1);
        }
        let wanted = webhook.endpoint;
        if wanted == endpoint && webhook.is_welcome(now) {
            // The new connection is made before the old one goes, so that the endpoint stays.
            let fresh = self.open_connection_now(endpoint);
            self.remove_connection(index);
            self.assign(now, fresh, lane);
        } else {
            self.remove_connection(index);
            self.ready_at_front(lane);
            self.pump(now, wanted);
        }
        self.pump_starved(now);
    }

    /// Takes back the deliveries of `slot` whose requests have not been written to `endpoint`,
    /// which is its endpoint no more.
    pub(super) fn withdraw_unwritten(&mut self, slot: u32, endpoint: usize) {
        let unwritten = |(index, connection): (usize, &Connection)| match connection.job {
            Job::Lane(lane)
                if connection.endpoint == endpoint
                    && !connection.written
                    && self.lanes[lane as usize].key.slot == slot =>
            {
                Some((index, lane))
            }
            _ => None,
        };
        let withdrawn: Vec<(usize, u32)> = self.connections.iter().filter_map(unwritten).collect();
        let count = withdrawn.len();
        for (index, lane) in withdrawn {
            self.forget_connection(index);
            self.ready_at_front(lane);
        }
        let worker = self.config.worker;
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.in_flight -= count as u32;
        for counters in [webhook.counters(worker), &self.shared.totals[worker].deliveries] {
            counters.in_flight.subtract(count as u64);
        }
    }
}
