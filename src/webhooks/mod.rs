//! Webhooks: define them, trigger them, look at them.
//!
//! The engine starts its worker threads at the first call that needs them. The futures returned
//! here can be polled by any executor.

#[doc(hidden)]
pub mod block_on;
mod commit;
mod config;
mod definition;
mod deliveries;
mod durable;
mod engine;
mod error;
mod gather;
mod lasting;
mod manager;
mod masking;
mod options;
mod persistence;
mod report;
mod tls;
mod trigger;

pub use crate::core::dead_letters::DeadReason;
pub use crate::core::event::{EventRef, EventValue, WebhookEvent};
pub use crate::core::failure::Failure;
pub use crate::core::format::Format;
pub use crate::core::ledger::{BreakerState, DeliveryOutcome, WebhookStatus};
pub use crate::core::on_full::OnFull;
pub use crate::core::retry::RetryBackoff;
pub use crate::core::signature::Signatures;
pub use crate::core::stages::TestStages;
pub use crate::core::while_disabled::WhileDisabled;
pub use crate::log::Fsync;
pub use crate::metrics::{
    CONTENT_TYPE as PROMETHEUS_CONTENT_TYPE, LATENCY_BOUNDS_US, LatencyHistogram, Metrics,
    WebhookMetrics, WorkerMetrics,
};
pub use commit::CommitGroup;
pub use config::{
    DeliveryConfig, ProxyUrl, QueueConfig, SecurityConfig, TlsProfile, WebhookConfig, WorkerConfig,
};
#[doc(hidden)]
pub use definition::WebhookDefinition;
pub use deliveries::{DeadLetterRecord, DeliveryFilter, ReplayOf, ReplayRequest};
pub use error::{QueueFull, TryTriggerError, WebhookError};
pub use manager::{Admission, WebhookManager, WhenFull};
pub use options::{WebhookAuth, WebhookOptions, WebhookUpdate};
#[cfg(feature = "server")]
pub(crate) use persistence::check_files;
pub use report::{
    DeliveryRecord, DrainReport, EngineState, EngineStats, LogReport, LogState, TestReport,
    WebhookInfo, WebhookStats,
};
pub use trigger::WebhookTrigger;
