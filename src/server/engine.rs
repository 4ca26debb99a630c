//! What the server needs of the webhook engine.
//!
//! A trait, so that the server's tests run against a stub; the one real engine is
//! [`WebhookManager`].

use super::commit::{self, Commit};
use crate::webhooks::{
    DeadLetterRecord, DeliveryFilter, DeliveryRecord, DrainReport, EngineStats, EventRef,
    ReplayRequest, TestReport, WebhookError, WebhookInfo, WebhookManager, WebhookOptions,
    WebhookStats, WebhookUpdate,
};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

pub use crate::webhooks::block_on::block_on;

/// A test delivery under way.
pub type TestFuture = Pin<Box<dyn Future<Output = Result<TestReport, WebhookError>> + Send>>;

/// The engine as the server's thread calls it. Nothing but [`Engine::shutdown`] and
/// `Commit::wait_for` waits.
#[allow(missing_docs, reason = "the names and meanings are those of WebhookManager")]
pub trait Engine: Send {
    /// `Ok(false)`: there is no room in the rings, which the engine empties quickly. A webhook
    /// whose own queue is full counts the event as dropped instead: one endpoint that hangs must
    /// not stop the store. Only one that says `ON_FULL wait` is waited for, while `patient`.
    fn offer(&self, event: &EventRef<'_>, patient: bool) -> Result<bool, WebhookError>;
    /// For events whose writers wait until the promise of the log holds.
    fn commit_group(&self) -> Box<dyn Commit>;
    fn create(&self, name: &str, url: &str, options: WebhookOptions) -> Result<(), WebhookError>;
    fn update(&self, name: &str, update: WebhookUpdate) -> Result<(), WebhookError>;
    fn delete(&self, name: &str) -> Result<(), WebhookError>;
    fn enable(&self, name: &str) -> Result<(), WebhookError>;
    fn disable(&self, name: &str) -> Result<(), WebhookError>;
    fn test(&self, name: &str) -> TestFuture;
    fn list(&self) -> Vec<WebhookInfo>;
    fn info(&self, name: &str) -> Result<WebhookInfo, WebhookError>;
    fn stats(&self, name: &str) -> Result<WebhookStats, WebhookError>;
    fn engine_stats(&self) -> EngineStats;
    fn deliveries(
        &self,
        name: &str,
        filter: &DeliveryFilter,
    ) -> Result<Vec<DeliveryRecord>, WebhookError>;
    fn dead_letters(&self, name: &str, count: usize)
    -> Result<Vec<DeadLetterRecord>, WebhookError>;
    fn dead_letter_body(&self, name: &str, id: &str) -> Result<Vec<u8>, WebhookError>;
    fn clear_dead_letters(&self, name: &str) -> Result<u64, WebhookError>;
    fn replay(&self, name: &str, request: &ReplayRequest) -> Result<u64, WebhookError>;
    fn shutdown(&self, deadline: Duration) -> DrainReport;
    fn add_own_listener(&self, listener: SocketAddr);
}

impl Engine for WebhookManager {
    fn offer(&self, event: &EventRef<'_>, patient: bool) -> Result<bool, WebhookError> {
        commit::offer(self, event, patient)
    }

    fn commit_group(&self) -> Box<dyn Commit> {
        Box::new(WebhookManager::commit_group(self))
    }

    fn create(&self, name: &str, url: &str, options: WebhookOptions) -> Result<(), WebhookError> {
        block_on(WebhookManager::create(self, name, url, options))
    }

    fn update(&self, name: &str, update: WebhookUpdate) -> Result<(), WebhookError> {
        block_on(WebhookManager::update(self, name, update))
    }

    fn delete(&self, name: &str) -> Result<(), WebhookError> {
        block_on(WebhookManager::delete(self, name))
    }

    fn enable(&self, name: &str) -> Result<(), WebhookError> {
        block_on(WebhookManager::enable(self, name))
    }

    fn disable(&self, name: &str) -> Result<(), WebhookError> {
        block_on(WebhookManager::disable(self, name))
    }

    fn test(&self, name: &str) -> TestFuture {
        Box::pin(WebhookManager::test(self, name))
    }

    fn list(&self) -> Vec<WebhookInfo> {
        WebhookManager::list(self)
    }

    fn info(&self, name: &str) -> Result<WebhookInfo, WebhookError> {
        WebhookManager::info(self, name)
    }

    fn stats(&self, name: &str) -> Result<WebhookStats, WebhookError> {
        WebhookManager::stats(self, name)
    }

    fn add_own_listener(&self, listener: SocketAddr) {
        WebhookManager::add_own_listener(self, listener);
    }

    fn engine_stats(&self) -> EngineStats {
        WebhookManager::engine_stats(self)
    }

    fn deliveries(
        &self,
        name: &str,
        filter: &DeliveryFilter,
    ) -> Result<Vec<DeliveryRecord>, WebhookError> {
        WebhookManager::deliveries_matching(self, name, filter)
    }

    fn dead_letters(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<DeadLetterRecord>, WebhookError> {
        WebhookManager::dead_letters(self, name, count)
    }

    fn dead_letter_body(&self, name: &str, id: &str) -> Result<Vec<u8>, WebhookError> {
        WebhookManager::dead_letter_body(self, name, id)
    }

    fn clear_dead_letters(&self, name: &str) -> Result<u64, WebhookError> {
        WebhookManager::clear_dead_letters(self, name)
    }

    fn replay(&self, name: &str, request: &ReplayRequest) -> Result<u64, WebhookError> {
        WebhookManager::replay(self, name, request)
    }

    fn shutdown(&self, deadline: Duration) -> DrainReport {
        block_on(WebhookManager::shutdown(self, deadline))
    }
}
