//! Webhooks survive restarts (DUR-4): the public API over real files, processes that are killed,
//! files that are damaged, and a registry whose keeper fails or forgets.

#![allow(clippy::unwrap_used)]
#![cfg(feature = "persistence")]

mod support;

#[path = "definitions/files.rs"]
mod files;
#[path = "definitions/held.rs"]
mod held;
#[path = "definitions/keepers.rs"]
mod keepers;
#[path = "definitions/killed.rs"]
mod killed;
#[path = "definitions/restarts.rs"]
mod restarts;

use ferrite::webhooks::{
    EventRef, EventValue, QueueConfig, WebhookConfig, WebhookError, WebhookInfo, WebhookManager,
    WebhookOptions, WhenFull,
};
use std::future::Future;
use std::path::{Path, PathBuf};
use support::audited::{Audited, audited};
use support::scratch::Scratch;

/// A directory of a test, removed when the test is done with it.
struct Place(Scratch);

impl Place {
    fn new(name: &str) -> Place {
        Place(Scratch::new(&format!("definitions-{name}")))
    }

    /// Where the engine keeps things; it makes the directory.
    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn file(&self) -> PathBuf {
        self.data().join(ferrite::definitions::FILE_NAME)
    }
}

fn config(data: &Path) -> WebhookConfig {
    let queue = QueueConfig {
        persistence: true,
        data_dir: data.to_owned(),
        segment_bytes: 1 << 20,
        max_disk_bytes: 1 << 24,
        ..QueueConfig::default()
    };
    let mut config = WebhookConfig { queue, ..WebhookConfig::default() };
    config.workers.workers = 2;
    config
}

fn open(data: &Path) -> Audited {
    audited(config(data))
}

fn now<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

/// Triggers an event.
fn set(manager: &WebhookManager, key: &str) -> Result<(), WebhookError> {
    let event =
        EventRef { key: key.as_bytes(), value: EventValue::Bytes(b"v"), ..EventRef::default() };
    now(manager.trigger_event(event, WhenFull::Refuse))
}

/// Makes a webhook that leads to nobody.
fn create(manager: &WebhookManager, name: &str, options: WebhookOptions) {
    now(manager.create(name, "http://127.0.0.1:9/hook", options)).unwrap();
}

/// Everything about webhooks that has to be the same after a restart.
fn told(manager: &WebhookManager) -> Vec<WebhookInfo> {
    let window = |info: WebhookInfo| {
        let mut info = info;
        // It is 0 before the workers know of the webhook.
        info.window = 0;
        info
    };
    manager.list().into_iter().map(window).collect()
}

/// The numbers of the webhooks that are kept, and the greatest that was given.
fn numbers(data: &Path) -> (Vec<u64>, u64) {
    let (_store, restored) = ferrite::definitions::Store::open(data, None).unwrap();
    (restored.webhooks.iter().map(|webhook| webhook.number).collect(), restored.last_number)
}
