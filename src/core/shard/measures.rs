//! What is measured of an attempt.

use super::Shard;
use super::load::Load;
use crate::base::time::Tick;
use crate::core::failure::Failure;
use crate::core::latency::Measures;

/// An attempt that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub(super) began: Tick,
    pub(super) now: Tick,
    pub(super) failure: Option<Failure>,
    /// It was not the first that counts.
    pub(super) is_retry: bool,
    /// Whether it counts.
    pub(super) counted: bool,
}

impl Shard {
    /// Measures an attempt at all deliveries of `load`.
    pub(super) fn measure(&self, load: Load, attempt: &Measured) {
        let worker = self.config.worker;
        let Some(webhook) = &self.webhooks[self.load_slot(load) as usize] else { return };
        let measures = webhook.definition.ledger.measures(worker);
        let deliveries = self.load_deliveries(load);
        measures.attempt_ended(attempt.now.since_us(attempt.began), deliveries, attempt.failure);
        if attempt.is_retry {
            for counters in [webhook.counters(worker), &self.totals().deliveries] {
                counters.retries.add(deliveries);
            }
        }
        match load {
            Load::Lane(lane) => {
                self.measure_delivery(measures, self.lanes[lane as usize].head(), attempt);
            }
            Load::Batch(batch) => self
                .batch_chain(batch)
                .for_each(|delivery| self.measure_delivery(measures, delivery, attempt)),
        }
    }

    fn measure_delivery(&self, measures: &Measures, delivery: u32, attempt: &Measured) {
        let event = self.deliveries[delivery as usize].event;
        let since = self.events[event as usize].since();
        if !attempt.is_retry && attempt.counted {
            measures.queue.note(attempt.began.since_us(since), 1);
        }
        if attempt.failure.is_none() {
            measures.total.note(attempt.now.since_us(since), 1);
        }
    }
}
