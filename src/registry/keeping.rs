//! What is kept of webhooks over restarts: a change is durable before it takes effect.

use super::{Registry, RegistryError, Settings, Webhook, Webhooks};
use crate::core::kept::{KeptCounters, KeptLedger};
use crate::core::ledger::{Ledger, WebhookStatus};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, MutexGuard, PoisonError};

/// Everything that is kept of one webhook. `Debug` shows no secret (SEC-3).
#[derive(Clone, PartialEq, Debug)]
pub struct KeptWebhook {
    /// Which one it is for good.
    pub number: u64,
    /// Its name.
    pub name: String,
    /// What it was told, secrets included.
    pub settings: Settings,
    /// When it was made, in microseconds since 1970.
    pub created_at_us: u64,
    /// Its status and its counters.
    pub ledger: KeptLedger,
}

/// Why something could not be kept, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct KeepError(pub String);

/// Keeps webhooks over restarts. Calls come one at a time.
pub trait DefinitionKeeper: Send + Sync + fmt::Debug {
    /// Returns when a webhook, all but its counters, is on stable storage, in place of what was
    /// kept under its number; and when it is certain that the number will not be given again.
    ///
    /// # Errors
    /// After an error it may be kept or not.
    fn put(&self, webhook: &KeptWebhook) -> Result<(), KeepError>;

    /// Returns when nothing is kept under the number any more, counters included; its being given
    /// once is.
    ///
    /// # Errors
    /// After an error it may be kept or not.
    fn remove(&self, number: u64) -> Result<(), KeepError>;

    /// Keeps the counters of these webhooks, by their numbers.
    ///
    /// # Errors
    /// After an error they may be kept or not.
    fn put_counters(&self, counters: &[(u64, KeptCounters)]) -> Result<(), KeepError>;
}

/// What the keeper has.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) statuses: BTreeMap<u64, Status>,
    pub(super) counters: BTreeMap<u64, KeptCounters>,
    /// Numbers of which nobody knows what is kept: the keeper has failed.
    uncertain: BTreeSet<u64>,
}

/// A status, and since when.
pub(super) type Status = (WebhookStatus, Option<u64>);

/// A change that is about to take effect.
pub(super) struct Change {
    pub(super) number: u64,
    /// The webhook's name; `None`: it is deleted.
    pub(super) name: Option<String>,
    /// The status it gets, and since when.
    pub(super) status: Option<(Arc<Ledger>, WebhookStatus, u64)>,
}

impl Change {
    /// The status of a webhook once the change has taken effect.
    pub(super) fn status_of(&self, webhook: &Webhook) -> WebhookStatus {
        match &self.status {
            Some((_, status, _)) if webhook.definition.number == self.number => *status,
            _ => webhook.definition.ledger.status(),
        }
    }

    pub(super) fn take_effect(&self) {
        if let Some((ledger, status, at_us)) = &self.status {
            ledger.set_status(*status, *at_us);
        }
    }
}

impl Webhook {
    /// The status that is kept: of one that is held, the one that it will have again.
    fn kept_status(&self) -> Status {
        let ledger = &self.definition.ledger;
        let held = self.held.as_ref().map(|held| held.status);
        held.unwrap_or_else(|| (ledger.status(), ledger.status_since_us()))
    }

    fn kept(&self, name: &str, (status, status_since_us): Status) -> KeptWebhook {
        KeptWebhook {
            number: self.definition.number,
            name: name.to_owned(),
            settings: self.settings.clone(),
            created_at_us: self.created_at_us,
            ledger: KeptLedger { status, status_since_us, counters: KeptCounters::default() },
        }
    }
}

impl Registry {
    /// The turn to change something, and what is kept so far.
    pub(super) fn turn(&self) -> MutexGuard<'_, Kept> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a change durable that is not in force yet.
    pub(super) fn keep(
        &self,
        kept: &mut Kept,
        webhooks: &Webhooks,
        change: &Change,
    ) -> Result<(), RegistryError> {
        let webhook = change.name.as_ref().and_then(|name| webhooks.by_name.get_key_value(name));
        let record = webhook.map(|(name, webhook)| {
            let status = match &change.status {
                Some((ledger, status, at_us)) if ledger.status() != *status => {
                    (*status, Some(*at_us))
                }
                Some((ledger, status, _)) => (*status, ledger.status_since_us()),
                None => webhook.kept_status(),
            };
            webhook.kept(name, status)
        });
        self.keep_record(kept, change.number, record.as_ref())
    }

    /// Keeps a record, or that there is none.
    fn keep_record(
        &self,
        kept: &mut Kept,
        number: u64,
        record: Option<&KeptWebhook>,
    ) -> Result<(), RegistryError> {
        let Some(keeper) = &self.config.keeper else { return Ok(()) };
        let outcome = match record {
            Some(record) => keeper.put(record),
            None => keeper.remove(number),
        };
        if let Err(KeepError(why)) = outcome {
            kept.uncertain.insert(number);
            // A removal that failed may have taken them along.
            kept.counters.remove(&number);
            return Err(RegistryError::NotKept(why));
        }
        kept.uncertain.remove(&number);
        match record {
            Some(record) => {
                let KeptLedger { status, status_since_us, .. } = record.ledger;
                kept.statuses.insert(number, (status, status_since_us));
            }
            None => {
                kept.statuses.remove(&number);
                kept.counters.remove(&number);
            }
        }
        Ok(())
    }

    /// Keeps what nobody asked for: statuses that workers have changed, counters, and the state
    /// before a change that could not be kept. For a thread that calls it every now and then.
    ///
    /// # Errors
    /// [`RegistryError::NotKept`]; the next call tries again.
    pub fn save(&self) -> Result<(), RegistryError> {
        let Some(keeper) = &self.config.keeper else { return Ok(()) };
        let kept = &mut *self.turn();
        let webhooks = self.list();
        let mut gone = kept.uncertain.clone();
        for (name, webhook) in &webhooks {
            let (number, status) = (webhook.definition.number, webhook.kept_status());
            gone.remove(&number);
            if kept.uncertain.contains(&number) || kept.statuses.get(&number) != Some(&status) {
                self.keep_record(kept, number, Some(&webhook.kept(name, status)))?;
            }
        }
        for number in gone {
            self.keep_record(kept, number, None)?;
        }
        let counted = webhooks.iter().map(|(_, webhook)| {
            (webhook.definition.number, KeptCounters::of(&webhook.definition.ledger))
        });
        let nothing = KeptCounters::default();
        let changed: Vec<(u64, KeptCounters)> = counted
            .filter(|(number, counters)| kept.counters.get(number).unwrap_or(&nothing) != counters)
            .collect();
        if !changed.is_empty() {
            keeper.put_counters(&changed).map_err(|KeepError(why)| RegistryError::NotKept(why))?;
            kept.counters.extend(changed);
        }
        Ok(())
    }
}
