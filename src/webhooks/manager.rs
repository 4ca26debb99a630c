//! The engine's handle.

use super::{
    DeliveryRecord, DrainReport, EngineStats, EventRef, TestReport, TryTriggerError, WebhookConfig,
    WebhookError, WebhookInfo, WebhookOptions, WebhookStats, WebhookTrigger, WebhookUpdate,
};
use std::time::Duration;

/// The engine's handle. Cheap to clone; the engine stops when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct WebhookManager {}

#[allow(clippy::unused_async, unused_variables, missing_docs, clippy::todo)]
impl WebhookManager {
    pub fn new(config: WebhookConfig) -> Self {
        todo!()
    }
    /// Like `new`, but starts the workers now and says what is wrong.
    pub fn start(config: WebhookConfig) -> Result<Self, WebhookError> {
        todo!()
    }
    pub async fn create(
        &self,
        name: &str,
        url: &str,
        options: WebhookOptions,
    ) -> Result<(), WebhookError> {
        todo!()
    }
    pub async fn update(&self, name: &str, update: WebhookUpdate) -> Result<(), WebhookError> {
        todo!()
    }
    pub async fn delete(&self, name: &str) -> Result<(), WebhookError> {
        todo!()
    }
    pub async fn enable(&self, name: &str) -> Result<(), WebhookError> {
        todo!()
    }
    pub async fn disable(&self, name: &str) -> Result<(), WebhookError> {
        todo!()
    }
    /// The future is `'static + Send`.
    pub fn test(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<TestReport, WebhookError>> + Send + 'static {
        async { todo!() }
    }
    /// Sorted by name.
    pub fn list(&self) -> Vec<WebhookInfo> {
        todo!()
    }
    pub fn info(&self, name: &str) -> Result<WebhookInfo, WebhookError> {
        todo!()
    }
    pub fn stats(&self, name: &str) -> Result<WebhookStats, WebhookError> {
        todo!()
    }
    pub fn engine_stats(&self) -> EngineStats {
        todo!()
    }
    /// The last `count` attempts, newest first.
    pub fn deliveries(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<DeliveryRecord>, WebhookError> {
        todo!()
    }
    /// Waits for room.
    pub async fn trigger(&self, trigger: WebhookTrigger) -> Result<(), WebhookError> {
        todo!()
    }
    pub fn try_trigger(&self, trigger: WebhookTrigger) -> Result<(), TryTriggerError> {
        todo!()
    }
    /// The borrowed forms. `Ok(false)`: there was no room.
    pub fn try_trigger_event(&self, event: &EventRef<'_>) -> Result<bool, WebhookError> {
        todo!()
    }
    /// Waits for room.
    pub async fn trigger_event(&self, event: EventRef<'_>) -> Result<(), WebhookError> {
        todo!()
    }
    /// Stops accepting, waits for pending deliveries until the deadline, stops the workers.
    pub async fn shutdown(&self, deadline: Duration) -> DrainReport {
        todo!()
    }
}
