//! The engine as a sender: one worker, and a caller that offers events on the same core.

use super::peer::{Sender, Sent, Stage};
use crate::batch::Batches;
use crate::wait::wait;
use ferrite::webhooks::{
    Admission, EventRef, EventValue, Fsync, Signatures, WebhookConfig, WebhookManager,
    WebhookOptions, WhenFull,
};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Different keys: more than deliveries in flight, so that lanes are no limit.
const KEYS: u64 = 10_000;
/// Deliveries that wait, beyond those in flight: enough for the naps of the caller.
const BACKLOG: usize = 1024;
/// Events between two looks at what is pending.
const LOOK_EVERY: u64 = 64;
/// What the caller sleeps when there is no room, so that the worker gets the core.
const NAP: Duration = Duration::from_micros(300);
/// How long a shutdown waits for what is pending.
const SHUTDOWN: Duration = Duration::from_millis(200);

/// The engine with its settings.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    pub secret: Option<String>,
    pub signatures: Signatures,
    pub pipeline: u32,
    pub batches: Option<Batches>,
    /// With the durable log; `None`: without.
    pub fsync: Option<Fsync>,
}

impl Sender for Engine {
    fn send(&mut self, stage: &Stage, stop: &AtomicBool) -> Result<Sent, String> {
        let connections = stage.connections as u32;
        let concurrency = connections.saturating_mul(self.pipeline);
        let cores: Vec<usize> = stage.core.into_iter().collect();
        // A log of its own for each measurement, removed behind it.
        let folder = tempfile::tempdir_in(&stage.data_dir).map_err(|error| error.to_string())?;
        let config = durable(self.fsync, folder.path());
        let options = self.options(concurrency);
        let manager = start_with(config, stage.address, cores, options, stage.connections)?;
        let value = vec![b'v'; stage.value_bytes];
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            // With a log the queue has room on the disk: the caller keeps the bound itself.
            while self.fsync.is_some()
                && number % LOOK_EVERY == 0
                && manager.engine_stats().totals.pending > bound(concurrency) as u64
                && !stop.load(Ordering::Relaxed)
            {
                std::thread::sleep(NAP);
            }
            let key = key(number % KEYS);
            number += 1;
            while let Admission::Full = offer(&manager, &key, &value)? {
                std::thread::sleep(NAP);
                if stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        let failed = manager.engine_stats().totals.failed_attempts;
        wait(manager.shutdown(SHUTDOWN));
        if failed > 0 {
            return Err(format!("{failed} attempts failed"));
        }
        Ok(Sent::default())
    }
}

impl Engine {
    pub(super) fn options(&self, concurrency: u32) -> WebhookOptions {
        let options = WebhookOptions {
            pattern: Some("order:*".to_owned()),
            secret: self.secret.clone(),
            signatures: self.signatures,
            concurrency: Some(concurrency),
            pipeline: Some(self.pipeline),
            ..WebhookOptions::default()
        };
        match self.batches {
            Some(batches) => batches.apply(options),
            None => options,
        }
    }
}

/// The configuration with the durable log in `folder`, or without one.
pub(crate) fn durable(fsync: Option<Fsync>, folder: &Path) -> WebhookConfig {
    let mut config = WebhookConfig::default();
    if let Some(fsync) = fsync {
        config.queue.persistence = true;
        config.queue.fsync = fsync;
        config.queue.data_dir = folder.join("data");
    }
    config
}

/// An engine with one worker and one webhook.
pub(crate) fn start(
    address: SocketAddr,
    cores: Vec<usize>,
    options: WebhookOptions,
    connections: usize,
) -> Result<WebhookManager, String> {
    start_with(WebhookConfig::default(), address, cores, options, connections)
}

/// The same with further configuration.
pub(crate) fn start_with(
    mut config: WebhookConfig,
    address: SocketAddr,
    cores: Vec<usize>,
    options: WebhookOptions,
    connections: usize,
) -> Result<WebhookManager, String> {
    config.workers.workers = 1;
    config.workers.pin_cores = cores;
    config.workers.max_connections_per_endpoint = connections;
    let bound = bound(options.concurrency.unwrap_or_default());
    // What is in the rings comes on top: with a log it must not be sent the long way, over the disk.
    config.queue.max_pending = if config.queue.persistence { 4 * bound } else { bound };
    let manager = WebhookManager::start(config).map_err(|error| error.to_string())?;
    let url = format!("http://{address}/hook");
    wait(manager.create("load", &url, options)).map_err(|error| error.to_string())?;
    Ok(manager)
}

/// Deliveries that are pending at once.
fn bound(concurrency: u32) -> usize {
    BACKLOG + concurrency as usize
}

pub(crate) fn offer(
    manager: &WebhookManager,
    key: &str,
    value: &[u8],
) -> Result<Admission, String> {
    let value = EventValue::Bytes(value);
    let event = EventRef { key: key.as_bytes(), value, ..EventRef::default() };
    manager.offer(&event, WhenFull::Refuse).map_err(|error| error.to_string())
}

/// Keys of one length, so that all requests are as long as the captured one.
pub(crate) fn key(number: u64) -> String {
    format!("order:{number:04}")
}
