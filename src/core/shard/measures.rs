//! What is measured of an attempt.

use super::Shard;
use super::load::Load;
use super::settle::Ended;
use crate::base::time::Tick;

impl Shard {
    /// Measures an attempt at all deliveries of `load`.
    pub(super) fn measure(&self, now: Tick, slot: u32, load: Load, attempt: &Ended) {
        let worker = self.config.worker;
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let measures = webhook.definition.ledger.measures(worker);
        let deliveries = self.load_deliveries(load);
        measures.attempt_ended(attempt.latency_us, deliveries, attempt.failure);
        if attempt.is_retry() {
            for counters in [webhook.counters(worker), &self.totals().deliveries] {
                counters.retries.add(deliveries);
            }
        }
        for delivery in self.load_chain(load) {
            let event = self.deliveries[delivery as usize].event;
            let since = self.events[event as usize].since();
            if !attempt.is_retry() && attempt.counts() {
                measures.queue.note(attempt.began.since_us(since), 1);
            }
            if attempt.failure.is_none() {
                measures.total.note(now.since_us(since), 1);
            }
        }
    }
}
