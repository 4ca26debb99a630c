//! Webhooks that were kept are made again at the start. None is lost: one that the configuration
//! does not accept any more is held, with everything it was told, until one of the two is changed.

use super::keeping::{Kept, KeptWebhook, Status};
use super::{Auth, snapshot_of};
use super::{Registry, RegistryConfig, RegistryError, Settings, SettingsError, Webhook, Webhooks};
use crate::base::id::WebhookId;
use crate::core::ledger::{Ledger, Tally, WebhookStatus};
use crate::core::matcher::validate_pattern;
use crate::core::retry::{RetryBackoff, RetryPolicy};
use crate::core::snapshot::Definition;
use crate::core::while_disabled::WhileDisabled;
use std::sync::Arc;

/// What a webhook is that the configuration does not accept.
#[derive(Clone, PartialEq, Debug)]
pub struct Held {
    /// Why.
    pub why: SettingsError,
    /// The status that it has again when it is accepted.
    pub(super) status: Status,
}

impl Held {
    /// Whether it is enabled when it is accepted.
    pub fn is_enabled(&self) -> bool {
        self.status.0 == WebhookStatus::Active
    }

    pub(super) fn set_status(&mut self, status: WebhookStatus, now_us: u64) {
        if self.status.0 != status {
            self.status = (status, Some(now_us));
        }
    }
}

impl Registry {
    /// Makes webhooks again that were kept, in a registry that has none; `last_number` is the
    /// greatest that was ever given. Gives the names of those that are held, and why.
    ///
    /// # Errors
    /// When the records cannot all be true, or the patterns together make an automaton that is too
    /// large.
    pub fn restore(
        &self,
        records: Vec<KeptWebhook>,
        last_number: u64,
    ) -> Result<Vec<(String, SettingsError)>, RegistryError> {
        let kept = &mut *self.turn();
        let mut webhooks = Webhooks { generation: 1, last_number, ..Webhooks::default() };
        let mut held = Vec::new();
        for record in records {
            let name = record.name.clone();
            let webhook = webhooks.made_again(record, &self.config, kept)?;
            held.extend(webhook.held.as_ref().map(|held| (name.clone(), held.why.clone())));
            if webhooks.by_name.insert(name.clone(), webhook).is_some() {
                return Err(RegistryError::Exists(name));
            }
        }
        let snapshot = snapshot_of(&webhooks, None)?;
        *self.lock() = webhooks;
        self.published.publish(snapshot);
        Ok(held)
    }

    /// What was counted of the webhooks that were restored, before the restart.
    pub fn restored(&self) -> Tally {
        self.lock().restored
    }
}

impl Webhooks {
    fn made_again(
        &mut self,
        record: KeptWebhook,
        config: &RegistryConfig,
        kept: &mut Kept,
    ) -> Result<Webhook, RegistryError> {
        let KeptWebhook { number, name, mut settings, created_at_us, ledger: known } = record;
        // Most have it from the configuration of then. What is kept stays as it is.
        settings.batch_size = settings.batch_size.min(config.batch_size_max);
        let id = self.free_id();
        self.take_id(id);
        self.last_number = self.last_number.max(number);
        let ledger = Ledger::new(config.workers, config.pending_max as u64, config.dead);
        let ledger = Arc::new(ledger.restored(&known));
        self.restored.add_tally(&ledger.tally());
        let status = (known.status, known.status_since_us);
        kept.statuses.insert(number, status);
        kept.counters.insert(number, known.counters);
        let compiled = settings.compile(&name, id, number, self.generation, ledger.clone(), config);
        let (definition, held) = match compiled {
            Ok(definition) => (definition, None),
            Err(why) => {
                // Since when, is since when it has the status that it will have again.
                let since = known.status_since_us.unwrap_or(created_at_us);
                ledger.set_status(WebhookStatus::Held, since);
                let place = (id, number, self.generation);
                let definition = place_holder(&settings, &name, place, ledger, config)?;
                (definition, Some(Held { why, status }))
            }
        };
        Ok(Webhook { settings, definition: Arc::new(definition), created_at_us, held })
    }
}

/// The compiled form of a webhook that cannot be compiled. Nothing is sent with it, because it is
/// disabled; but events may wait for it.
fn place_holder(
    settings: &Settings,
    name: &str,
    (id, number, generation): (WebhookId, u64, u64),
    ledger: Arc<Ledger>,
    config: &RegistryConfig,
) -> Result<Definition, SettingsError> {
    let pattern = settings.pattern.as_bytes();
    let while_disabled = match validate_pattern(pattern) {
        Ok(()) => settings.while_disabled,
        Err(_) => WhileDisabled::Drop,
    };
    let acceptable = Settings {
        url: "http://held.invalid/".to_owned(),
        pattern: "*".to_owned(),
        events: settings.events,
        auth: Auth::None,
        headers: Vec::new(),
        secret: None,
        signatures: settings.signatures,
        retired: Vec::new(),
        retry: RetryPolicy {
            retries: 0,
            delay_ms: 0,
            backoff: RetryBackoff::default(),
            multiplier: 1.0,
            delay_ms_max: 0,
            jitter: 0.0,
        },
        timeout_ms: 1,
        concurrency: 1,
        pipeline: 1,
        batch: false,
        batch_size: 1,
        batch_interval_ms: 0,
        on_full: settings.on_full,
        coalesce: settings.coalesce && settings.ordered,
        ordered: settings.ordered,
        format: settings.format,
        sequence: settings.sequence,
        final_statuses: Vec::new(),
        rate: 0,
        adaptive: false,
        tls_profile: None,
        while_disabled,
    };
    let any = RegistryConfig { addresses: Arc::default(), proxy: None, ..config.clone() };
    acceptable.compile(name, id, number, generation, ledger, &any)
}
