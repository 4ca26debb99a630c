//! Webhooks: define them, trigger them, look at them.
//!
//! The engine starts its worker threads at the first call that needs them. The futures returned
//! here can be polled by any executor.

mod config;
mod error;
mod manager;
mod options;
mod report;
mod trigger;

pub use crate::core::event::{EventRef, EventValue, WebhookEvent};
pub use crate::core::failure::Failure;
pub use config::{DeliveryConfig, QueueConfig, SecurityConfig, WebhookConfig, WorkerConfig};
pub use error::{QueueFull, TryTriggerError, WebhookError};
pub use manager::WebhookManager;
pub use options::{RetryBackoff, WebhookAuth, WebhookOptions, WebhookUpdate};
pub use report::{
    DeliveryOutcome, DeliveryRecord, DrainReport, EngineStats, TestReport, WebhookInfo,
    WebhookStats, WebhookStatus,
};
pub use trigger::WebhookTrigger;
