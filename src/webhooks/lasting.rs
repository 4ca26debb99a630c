//! Webhooks that last: opens the store of definitions, makes the webhooks again, and saves what
//! workers decide.

use super::{QueueConfig, WebhookError};
use crate::base::limits;
use crate::registry::{DefinitionKeeper, KeptWebhook, Registry};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The store, and what it has.
#[derive(Default)]
pub(super) struct Lasting {
    pub(super) keeper: Option<Arc<dyn DefinitionKeeper>>,
    webhooks: Vec<KeptWebhook>,
    last_number: u64,
}

/// Opens the store, if there shall be one.
pub(super) fn open(config: &QueueConfig) -> Result<Lasting, WebhookError> {
    if config.persistence { open_store(config) } else { Ok(Lasting::default()) }
}

#[cfg(feature = "persistence")]
fn open_store(config: &QueueConfig) -> Result<Lasting, WebhookError> {
    use crate::definitions::{FILE_NAME, Restored, Store};
    let (file, log) = (config.data_dir.join(FILE_NAME), super::durable::directory(config));
    // Numbers would begin anew, and what the log has for old webhooks would go to new ones.
    if !file.exists() && log.exists() {
        return Err(WebhookError::Start(format!(
            "{} is missing, and the log in {} is of the webhooks in it: put a copy of it back, or \
             move the log away too, which gives up what is unfinished in it",
            file.display(),
            log.display()
        )));
    }
    let opened = Store::open(&config.data_dir, config.secrets_key_file.as_deref());
    let (store, restored) = opened.map_err(|error| WebhookError::Start(error.to_string()))?;
    let Restored { webhooks, last_number, .. } = restored;
    Ok(Lasting { keeper: Some(Arc::new(store)), webhooks, last_number })
}

#[cfg(not(feature = "persistence"))]
fn open_store(_: &QueueConfig) -> Result<Lasting, WebhookError> {
    Err(WebhookError::Start(
        "configuration: persistence = true needs the cargo feature `persistence` of \
         ferrite-webhooks"
            .to_owned(),
    ))
}

impl Lasting {
    /// Makes the webhooks again that were kept.
    pub(super) fn restore(self, registry: &Registry) -> Result<(), WebhookError> {
        if self.keeper.is_none() {
            return Ok(());
        }
        let count = self.webhooks.len();
        let held = registry.restore(self.webhooks, self.last_number);
        let held = held.map_err(|error| {
            WebhookError::Start(format!(
                "the webhooks that were kept cannot be made again: {error}"
            ))
        })?;
        for (name, why) in &held {
            tracing::error!(
                "webhook {name} is disabled, because the configuration does not accept it any \
                 more: {why}. Update it, or change the configuration and start again"
            );
        }
        tracing::info!("{count} webhooks restored, {} of them held", held.len());
        Ok(())
    }
}

/// Saves what workers decide and count, every now and then, and when it is dropped.
#[derive(Debug)]
pub(super) struct Saver {
    stop: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    /// Starts it, if there is something to save.
    pub(super) fn start_for(
        config: &QueueConfig,
        registry: Arc<Registry>,
    ) -> Result<Option<Saver>, WebhookError> {
        config.persistence.then(|| Saver::start(registry)).transpose()
    }

    fn start(registry: Arc<Registry>) -> Result<Saver, WebhookError> {
        let stop = Arc::new((Mutex::new(false), Condvar::new()));
        let seen = stop.clone();
        let run = move || {
            let mut trouble = None;
            while !wait(&seen) {
                save(&registry, &mut trouble);
            }
            save(&registry, &mut trouble);
        };
        let thread = std::thread::Builder::new().name("webhook-saver".to_owned()).spawn(run);
        let thread = thread.map_err(|error| WebhookError::Start(error.to_string()))?;
        Ok(Saver { stop, thread: Some(thread) })
    }
}

/// Waits for the next time; `true`: there is none.
fn wait((stop, changed): &(Mutex<bool>, Condvar)) -> bool {
    let interval = Duration::from_millis(limits::DEFINITIONS_SAVE_INTERVAL_MS);
    let stop = stop.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = changed.wait_timeout_while(stop, interval, |stop| !*stop);
    *waited.unwrap_or_else(PoisonError::into_inner).0
}

/// Logs when it begins to fail, and when it works again.
fn save(registry: &Registry, trouble: &mut Option<String>) {
    let outcome = registry.save().err().map(|error| error.to_string());
    match (&outcome, &trouble) {
        (Some(now), before) if before.as_ref() != Some(now) => {
            tracing::error!("states and counters of webhooks are not saved: {now}");
        }
        (None, Some(_)) => tracing::info!("states and counters of webhooks are saved again"),
        _ => {}
    }
    *trouble = outcome;
}

impl Drop for Saver {
    fn drop(&mut self) {
        let (stop, changed) = &*self.stop;
        *stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        changed.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(all(test, not(feature = "persistence")))]
mod tests {
    use crate::webhooks::{QueueConfig, WebhookConfig, WebhookError, WebhookManager};

    #[test]
    fn a_library_without_the_feature_says_so() {
        let queue = QueueConfig { persistence: true, ..QueueConfig::default() };
        let outcome = WebhookManager::start(WebhookConfig { queue, ..WebhookConfig::default() });
        let Err(WebhookError::Start(text)) = outcome else { panic!("{outcome:?}") };
        assert!(text.contains("cargo feature `persistence`"), "{text}");
    }
}
