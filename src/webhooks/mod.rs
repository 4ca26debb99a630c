//! Webhooks: define them, trigger them, look at them.
//!
//! The engine starts its worker threads at the first call that needs them. The futures returned
//! here can be polled by any executor.

mod config;
mod deliveries;
mod engine;
mod error;
mod manager;
mod options;
mod report;
mod trigger;

pub use crate::core::dead_letters::DeadReason;
pub use crate::core::event::{EventRef, EventValue, WebhookEvent};
pub use crate::core::failure::Failure;
pub use crate::core::ledger::{DeliveryOutcome, WebhookStatus};
pub use crate::core::retry::RetryBackoff;
pub use crate::core::signature::Signatures;
pub use crate::core::stages::TestStages;
pub use crate::core::while_disabled::WhileDisabled;
pub use config::{DeliveryConfig, QueueConfig, SecurityConfig, WebhookConfig, WorkerConfig};
pub use deliveries::{DeadLetterRecord, DeliveryFilter, ReplayOf, ReplayRequest};
pub use error::{QueueFull, TryTriggerError, WebhookError};
pub use manager::{Admission, WebhookManager, WhenFull};
pub use options::{WebhookAuth, WebhookOptions, WebhookUpdate};
pub use report::{DeliveryRecord, DrainReport, EngineStats, TestReport, WebhookInfo, WebhookStats};
pub use trigger::WebhookTrigger;
