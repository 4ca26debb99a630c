//! The webhooks that exist: checks what they are told, compiles them, publishes snapshots.

mod keeping;
mod restoring;
mod rotation;
mod settings;

pub use keeping::{DefinitionKeeper, KeepError, KeptWebhook};
pub use restoring::Held;
pub use rotation::RetiredSecret;
pub use settings::{Auth, Settings, SettingsError};

use crate::base::id::WebhookId;
use crate::core::address_policy::AddressPolicy;
use crate::core::dead_letters::DeadLimits;
use crate::core::event::EventMask;
use crate::core::http::proxy::Proxy;
use crate::core::ledger::{Ledger, Tally, WebhookStatus};
use crate::core::matcher::{Matcher, MatcherEntry};
use crate::core::snapshot::{Definition, Published, Snapshot};
use keeping::{Change, Kept};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Why a change was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RegistryError {
    /// No webhook has this name.
    #[error("no such webhook '{0}'")]
    NotFound(String),
    /// A webhook has this name already.
    #[error("webhook '{0}' exists already")]
    Exists(String),
    /// There are as many as there may be.
    #[error("limit of {0} webhooks reached (max_webhooks)")]
    LimitReached(usize),
    /// A setting is not acceptable.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The patterns together make an automaton that is too large.
    #[error("the pattern cannot be compiled beside the others: {0}")]
    Patterns(String),
    /// The change could not be made durable, and was not made; says why and what to do.
    #[error("the change could not be saved, and nothing has changed: {0}")]
    NotKept(String),
    /// It is held, and says why: the configuration does not accept it.
    #[error("webhook '{0}' is not accepted by the configuration: {1}; update it first")]
    Held(String, SettingsError),
}

/// What holds for all webhooks.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// Most webhooks.
    pub webhooks_max: usize,
    /// Pending deliveries of one webhook.
    pub pending_max: usize,
    /// Most events that a webhook may want in one batch.
    pub batch_size_max: u32,
    /// Workers, each with its part of every ledger.
    pub workers: usize,
    /// Names of the TLS profiles.
    pub tls_profiles: BTreeSet<Arc<str>>,
    /// Where webhooks may lead.
    pub addresses: Arc<AddressPolicy>,
    /// The proxy on the way out.
    pub proxy: Option<Arc<Proxy>>,
    /// Dead letters that one webhook keeps.
    pub dead: DeadLimits,
    /// Keeps them over restarts.
    pub keeper: Option<Arc<dyn DefinitionKeeper>>,
}

/// One webhook: what it was told, and what became of it.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// What it was told.
    pub settings: Settings,
    /// Its compiled form.
    pub definition: Arc<Definition>,
    /// When it was made, in microseconds since 1970.
    pub created_at_us: u64,
    /// It survived a restart, and the configuration does not accept it any more.
    pub held: Option<Held>,
}

impl Webhook {
    /// Which one it is for good; see [`Definition::number`].
    pub fn number(&self) -> u64 {
        self.definition.number
    }

    /// Refuses what cannot be done with a webhook that is held.
    ///
    /// # Errors
    /// [`RegistryError::Held`].
    pub fn check_not_held(&self) -> Result<(), RegistryError> {
        match &self.held {
            None => Ok(()),
            Some(held) => Err(RegistryError::Held(self.definition.name.clone(), held.why.clone())),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Webhooks {
    by_name: BTreeMap<String, Webhook>,
    /// Generations of the slots, and which are free.
    slots: Vec<u32>,
    free: Vec<u32>,
    generation: u64,
    /// The greatest number that was ever given.
    last_number: u64,
    /// What was counted before the restart.
    restored: Tally,
}

/// The webhooks that exist. Changes are made one at a time, and are durable before they are in
/// force; readers of the published snapshot take no lock, and who looks at the webhooks does not
/// wait for the disk.
#[derive(Debug)]
pub struct Registry {
    config: RegistryConfig,
    webhooks: Mutex<Webhooks>,
    published: Arc<Published>,
    turn: Mutex<Kept>,
}

impl Registry {
    /// A registry without webhooks.
    pub fn new(config: RegistryConfig) -> Result<Self, RegistryError> {
        let nothing = snapshot_of(&Webhooks::default(), None)?;
        Ok(Registry {
            config,
            webhooks: Mutex::default(),
            published: Arc::new(Published::new(nothing)),
            turn: Mutex::default(),
        })
    }

    /// The snapshots that are published.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// Makes a webhook.
    pub fn create(&self, name: &str, settings: Settings, now_us: u64) -> Result<(), RegistryError> {
        settings::check_name(name)?;
        self.change(|webhooks, config| {
            if webhooks.by_name.contains_key(name) {
                return Err(RegistryError::Exists(name.to_owned()));
            }
            if webhooks.by_name.len() >= config.webhooks_max {
                return Err(RegistryError::LimitReached(config.webhooks_max));
            }
            let ledger =
                Arc::new(Ledger::new(config.workers, config.pending_max as u64, config.dead));
            let (id, number) = (webhooks.free_id(), webhooks.last_number + 1);
            let since = webhooks.generation;
            let definition = settings.compile(name, id, number, since, ledger, config)?;
            let definition = Arc::new(definition);
            let webhook = Webhook { settings, definition, created_at_us: now_us, held: None };
            webhooks.take_id(id);
            webhooks.last_number = number;
            webhooks.by_name.insert(name.to_owned(), webhook);
            Ok(Change { number, name: Some(name.to_owned()), status: None })
        })
    }

    /// Changes a webhook: `edit` gets its settings.
    pub fn update(
        &self,
        name: &str,
        edit: impl FnOnce(&mut Settings),
    ) -> Result<(), RegistryError> {
        self.change(|webhooks, config| {
            let webhook = find(webhooks, name)?;
            edit(&mut webhook.settings);
            let known = &webhook.definition;
            let (since, ledger) = (known.since_generation, known.ledger.clone());
            let (id, number) = (known.id, known.number);
            let definition =
                webhook.settings.compile(name, id, number, since, ledger.clone(), config)?;
            webhook.definition = Arc::new(definition);
            // It is acceptable now: back to what it was.
            let status = webhook.held.take().map(|held| {
                let (status, since_us) = held.status;
                (ledger, status, since_us.unwrap_or(webhook.created_at_us))
            });
            Ok(Change { number, name: Some(name.to_owned()), status })
        })
    }

    /// Deletes a webhook; its pending deliveries are cancelled.
    pub fn delete(&self, name: &str) -> Result<(), RegistryError> {
        self.change(|webhooks, _| {
            let webhook = webhooks
                .by_name
                .remove(name)
                .ok_or_else(|| RegistryError::NotFound(name.to_owned()))?;
            webhooks.free.push(webhook.definition.id.slot);
            Ok(Change { number: webhook.definition.number, name: None, status: None })
        })
    }

    /// Changes whether a webhook gets deliveries.
    pub fn set_status(
        &self,
        name: &str,
        status: WebhookStatus,
        now_us: u64,
    ) -> Result<(), RegistryError> {
        self.change(|webhooks, _| {
            let webhook = find(webhooks, name)?;
            if status == WebhookStatus::Active {
                webhook.check_not_held()?;
            }
            let (number, name) = (webhook.definition.number, Some(name.to_owned()));
            // One that is held stays so, and gets the status when it is accepted again.
            if let Some(held) = &mut webhook.held {
                held.set_status(status, now_us);
                return Ok(Change { number, name, status: None });
            }
            let ledger = webhook.definition.ledger.clone();
            Ok(Change { number, name, status: Some((ledger, status, now_us)) })
        })
    }

    /// The webhook called `name`.
    pub fn get(&self, name: &str) -> Result<Webhook, RegistryError> {
        let webhooks = self.lock();
        let webhook = webhooks.by_name.get(name).cloned();
        webhook.ok_or_else(|| RegistryError::NotFound(name.to_owned()))
    }

    /// All webhooks, by name.
    pub fn list(&self) -> Vec<(String, Webhook)> {
        let webhooks = self.lock();
        webhooks.by_name.iter().map(|(name, webhook)| (name.clone(), webhook.clone())).collect()
    }

    /// All webhooks, by name; `None` while another thread looks at them or changes them. In a copy
    /// of the process that has one thread (`fork`), that thread may be gone.
    pub fn try_list(&self) -> Option<Vec<(String, Webhook)>> {
        let webhooks = match self.webhooks.try_lock() {
            Ok(webhooks) => webhooks,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let copy = |(name, webhook): (&String, &Webhook)| (name.clone(), webhook.clone());
        Some(webhooks.by_name.iter().map(copy).collect())
    }

    /// Makes a change, makes it durable and publishes it; a change that fails changes nothing.
    fn change(
        &self,
        act: impl FnOnce(&mut Webhooks, &RegistryConfig) -> Result<Change, RegistryError>,
    ) -> Result<(), RegistryError> {
        let mut kept = self.turn();
        let mut changed = self.lock().clone();
        changed.generation += 1;
        let change = act(&mut changed, &self.config)?;
        let snapshot = snapshot_of(&changed, Some(&change))?;
        if let Err(error) = self.keep(&mut kept, &changed, &change) {
            // The number may be on the disk.
            self.lock().last_number = changed.last_number;
            return Err(error);
        }
        change.take_effect();
        *self.lock() = changed;
        self.published.publish(snapshot);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Webhooks> {
        self.webhooks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Webhooks {
    /// The id that the next webhook gets.
    fn free_id(&self) -> WebhookId {
        let slot = self.free.last().copied().unwrap_or(self.slots.len() as u32);
        let generation = self.slots.get(slot as usize).map_or(0, |generation| generation + 1);
        WebhookId { slot, generation }
    }

    fn take_id(&mut self, id: WebhookId) {
        if self.free.last() == Some(&id.slot) {
            self.free.pop();
            self.slots[id.slot as usize] = id.generation;
        } else {
            self.slots.push(id.generation);
        }
    }
}

fn find<'a>(webhooks: &'a mut Webhooks, name: &str) -> Result<&'a mut Webhook, RegistryError> {
    let webhook = webhooks.by_name.get_mut(name);
    webhook.ok_or_else(|| RegistryError::NotFound(name.to_owned()))
}

/// The snapshot of these webhooks, once `change` has taken effect.
fn snapshot_of(webhooks: &Webhooks, change: Option<&Change>) -> Result<Snapshot, RegistryError> {
    let mut definitions = vec![None; webhooks.slots.len()];
    let mut entries = Vec::with_capacity(webhooks.by_name.len());
    let mut events = EventMask::NONE;
    for webhook in webhooks.by_name.values() {
        let slot = webhook.definition.id.slot;
        definitions[slot as usize] = Some(webhook.definition.clone());
        let status = match change {
            Some(change) => change.status_of(webhook),
            None => webhook.definition.ledger.status(),
        };
        if webhook.definition.takes_events_when(status) {
            events = events.union(webhook.settings.events);
            entries.push(MatcherEntry {
                slot,
                pattern: webhook.settings.pattern.as_bytes(),
                events: webhook.settings.events,
            });
        }
    }
    let matcher =
        Matcher::build(&entries).map_err(|error| RegistryError::Patterns(error.to_string()))?;
    Ok(Snapshot { generation: webhooks.generation, definitions, matcher, events })
}
