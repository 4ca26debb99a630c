//! The engine within this process, driven.

use super::channel::{Accepted, Channel, Counts, Credit, Driven, Event, Offered};
use super::error::RunError;
use super::options::Options;
use super::plan::Planned;
use crate::history::{Accounts, HistoryLine};
use crate::wait::wait;
use ferrite::webhooks::{
    Admission, EventRef, EventValue, WebhookConfig, WebhookManager, WebhookOptions, WhenFull,
};
use std::time::Duration;

/// The name that webhooks begin with.
pub(super) const NAME: &str = "load";

/// The engine and its webhooks.
#[derive(Debug)]
pub(super) struct Embedded {
    manager: WebhookManager,
    webhooks: Vec<String>,
    matching: u64,
    /// Events that a closed loop may have pending, where the engine's own bound does not do.
    credit: Option<u64>,
    generators: u64,
}

impl Embedded {
    /// Starts it and makes the webhooks.
    pub fn start(options: &Options, planned: &[Planned]) -> Result<Embedded, RunError> {
        let mut config = WebhookConfig::default();
        let workers = options.workers();
        let matching = options.matching() as usize;
        config.workers.workers = workers;
        config.workers.pin_cores = options.core.clone();
        config.workers.max_connections_per_endpoint =
            (options.connections() as usize).div_ceil(workers).max(1);
        config.workers.max_connections = config.workers.max_connections.max(
            config.workers.max_connections_per_endpoint.saturating_mul(
                options.endpoints.max(options.urls.len()) + options.bystanders.len(),
            ),
        );
        config.max_webhooks = config.max_webhooks.max(planned.len());
        // Where several webhooks want an event and one of them is full, that one drops it and no
        // one waits. So their queues are long enough, and a closed loop counts what is pending.
        let counts = options.rate.is_none() && matching > 1;
        config.queue.max_pending = match counts {
            true => options.backlog().saturating_mul(2 * matching) + config.queue.ring_events,
            false => options.backlog(),
        };
        if options.rate.is_none() {
            // Events in the rings are pending too: without this, eight times the backlog.
            config.queue.ring_events = config.queue.ring_events.min(options.backlog());
        }
        let manager = WebhookManager::start(config)?;
        for webhook in planned {
            let wanted = WebhookOptions {
                pattern: Some(webhook.pattern.clone()),
                secret: options.secret.clone(),
                concurrency: Some(options.concurrency()),
                pipeline: options.pipeline,
                retries: options.retries.unwrap_or(WebhookOptions::RETRIES_FROM_CONFIG),
                retry_delay_ms: options.retry_delay_ms,
                timeout_ms: options.timeout_ms,
                ..WebhookOptions::default()
            };
            let wanted = match options.batches() {
                Some(batches) => batches.apply(wanted),
                None => wanted,
            };
            wait(manager.create(&webhook.name, &webhook.url, wanted))?;
        }
        Ok(Embedded {
            manager,
            webhooks: planned.iter().map(|webhook| webhook.name.clone()).collect(),
            matching: matching as u64,
            credit: counts.then(|| options.backlog() as u64),
            generators: options.generators as u64,
        })
    }

    /// Its handle.
    pub fn manager(&self) -> &WebhookManager {
        &self.manager
    }
}

impl Driven for Embedded {
    type Channel = EmbeddedChannel;

    fn channel(&self) -> Result<EmbeddedChannel, RunError> {
        let credit = self.credit.map(|limit| Credit::new(limit / self.generators));
        let matching = self.matching;
        Ok(EmbeddedChannel { manager: self.manager.clone(), credit, matching })
    }

    fn counts(&mut self) -> Result<Counts, RunError> {
        let stats = self.manager.engine_stats();
        Ok(Counts {
            delivered: stats.totals.delivered,
            dead: stats.totals.failures,
            dropped: stats.totals.dropped,
            cancelled: stats.totals.cancelled,
            pending: stats.totals.pending,
            failed_attempts: stats.totals.failed_attempts,
            connections_opened: stats.connections_opened,
            rings_by_callers: stats.doorbells_by_callers,
            worker_restarts: stats.worker_restarts,
        })
    }

    fn accounts(&mut self) -> Result<Vec<HistoryLine>, RunError> {
        let accounts = |name: &String| {
            let info = self.manager.info(name)?;
            Ok(HistoryLine::Accounts(Accounts {
                webhook: name.clone(),
                triggered: info.stats.triggered,
                delivered: info.stats.delivered,
                dead: info.stats.failures,
                dropped: info.stats.dropped,
                cancelled: info.stats.cancelled,
                replayed: info.stats.replayed,
                coalesced: info.stats.coalesced,
                pending: info.stats.pending,
                signed: info.signed,
            }))
        };
        self.webhooks.iter().map(accounts).collect()
    }

    fn driver(&self) -> String {
        self.manager.driver().unwrap_or_default()
    }

    fn finish(self) -> Result<(), RunError> {
        wait(self.manager.shutdown(Duration::ZERO));
        Ok(())
    }
}

/// A generator's way into the engine.
#[derive(Debug)]
pub(super) struct EmbeddedChannel {
    manager: WebhookManager,
    credit: Option<Credit>,
    matching: u64,
}

impl Channel for EmbeddedChannel {
    #[inline]
    fn offer(&mut self, event: &Event<'_>, accepted: &mut Accepted) -> Result<Offered, RunError> {
        if let Some(credit) = &mut self.credit {
            let pending = || Ok(self.manager.engine_stats().totals.pending / self.matching);
            if !credit.take(pending)? {
                return Ok(Offered::Full);
            }
        }
        let set = EventRef {
            key: event.key,
            value: EventValue::Bytes(event.value),
            ..EventRef::default()
        };
        match self.manager.offer(&set, WhenFull::Refuse)? {
            Admission::Accepted => {
                accepted.record(event.key, event.sequence, event.intended_ns)?;
                Ok(Offered::Taken)
            }
            Admission::Full => {
                if let Some(credit) = &mut self.credit {
                    credit.give_back();
                }
                Ok(Offered::Full)
            }
            Admission::Unmatched => Err(RunError::Unwanted),
        }
    }

    fn turn(&mut self, _: &mut Accepted) -> Result<(), RunError> {
        Ok(())
    }

    fn finish(self, _: &mut Accepted) -> Result<(), RunError> {
        Ok(())
    }
}
