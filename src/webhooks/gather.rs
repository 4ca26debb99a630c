//! Reads what is measured. Nothing is stopped, woken or locked: the counters are read while the
//! workers write them.

use super::durable::Durable;
use super::engine::Engine;
use super::{LogState, WebhookStatus};
use crate::base::time::{Tick, unix_us};
use crate::core::ledger::Tally;
use crate::core::shard::Totals;
use crate::core::snapshot::Definition;
use crate::io::worker::WorkerShared;
use crate::metrics::{LogMetrics, Metrics, WebhookMetrics, WorkerMetrics};

impl Engine {
    /// A reading of everything that is measured.
    pub(super) fn metrics(&self) -> Metrics {
        let now = self.clock.tick();
        let snapshot = self.published.as_ref().map(|published| published.load_full());
        let definitions =
            snapshot.iter().flat_map(|snapshot| snapshot.definitions.iter().flatten());
        let running = self.running.get().and_then(|running| running.as_ref().ok());
        let capacity = self.config.queue.ring_events as u64;
        let workers = running.into_iter().flat_map(|running| &running.workers);
        Metrics {
            version: env!("CARGO_PKG_VERSION"),
            driver: running.map(|running| running.driver.to_string()).unwrap_or_default(),
            uptime_us: now.0,
            webhooks_max: self.config.max_webhooks as u64,
            webhooks: definitions.map(|definition| of_webhook(definition, now)).collect(),
            workers: workers
                .zip(&self.shared.totals)
                .map(|(worker, totals)| of_worker(worker, totals, capacity))
                .collect(),
            log: running.and_then(|running| running.durable.as_ref()).map(of_log),
        }
    }
}

fn of_log(durable: &Durable) -> LogMetrics {
    let report = durable.report();
    LogMetrics {
        takes_events: report.state == LogState::Ok,
        failed: report.state == LogState::Failed,
        disk_bytes: report.disk_bytes,
        disk_bytes_max: report.disk_bytes_max,
        segments: report.segments,
        unfinished: report.unfinished,
        bytes_written: report.bytes_written,
        syncs: report.syncs,
        write_errors: report.write_errors,
        groups_refused: report.groups_refused,
    }
}

fn of_webhook(definition: &Definition, now: Tick) -> WebhookMetrics {
    let ledger = &*definition.ledger;
    let (tally, dead) = (ledger.tally(), ledger.dead().tally());
    let (breaker, hold_until_us) = ledger.gates();
    let mut webhook = WebhookMetrics {
        name: definition.name.clone(),
        active: ledger.status() == WebhookStatus::Active,
        breaker,
        retry_after_until_us: Some(hold_until_us).filter(|&until| until > unix_us()),
        window: ledger.window(),
        triggered: tally.triggered,
        delivered: tally.delivered,
        attempts: tally.attempts,
        retries: tally.retries,
        resent: tally.resent,
        dead: tally.dead,
        dropped: tally.dropped,
        cancelled: tally.cancelled,
        coalesced: tally.coalesced,
        replayed: tally.replayed,
        dead_letters: dead.kept,
        dead_letters_forgotten: dead.forgotten,
        pending: tally.pending,
        pending_on_disk: tally.spilled,
        pending_max: ledger.pending_max(),
        full: ledger.is_full(),
        in_flight: tally.in_flight,
        lanes_blocked: tally.lanes_blocked,
        last_delivery_us: ledger.last_delivery_us(),
        ..WebhookMetrics::default()
    };
    for (pending, measures) in ledger.measured() {
        webhook.queue_latency.add(&measures.queue);
        webhook.attempt_latency.add(&measures.attempt);
        webhook.total_latency.add(&measures.total);
        for (sum, failures) in webhook.failures.iter_mut().zip(&measures.failures) {
            *sum += failures.get();
        }
        if pending > 0 {
            let age_us = now.since_us(Tick(measures.oldest_us.get()));
            webhook.lag_us = webhook.lag_us.max(age_us);
        }
    }
    webhook
}

fn of_worker(worker: &WorkerShared, totals: &Totals, ring_capacity: u64) -> WorkerMetrics {
    let mut tally = Tally::default();
    tally.add(&totals.deliveries);
    WorkerMetrics {
        events: totals.events_taken_in.get(),
        ring_events: worker.inbox.len() as u64,
        ring_capacity,
        loops: worker.inbox.drains(),
        busy_us: worker.busy_us(),
        doorbells_by_callers: worker.inbox.rung_by_callers(),
        doorbells_by_ringer: worker.inbox.rung_by_ringer(),
        connections_opened: totals.connections_opened.get(),
        connections_reused: totals.connections_reused.get(),
        connections_open: totals.connections_open.get(),
        restarts: totals.restarts.get(),
        events_abandoned: totals.events_abandoned.get(),
        delivered: tally.delivered,
        dead: tally.dead,
        failed_attempts: tally.failed_attempts,
        pending: tally.pending,
        in_flight: tally.in_flight,
    }
}
