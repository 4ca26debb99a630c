//! The engine without I/O: a deterministic state machine. No clock, no socket, no unsafe.
//!
//! Time, randomness and bytes come in as arguments; what to do comes out. The workers (`io`) and
//! the simulator drive the same code.

pub mod address_policy;
pub mod cloudevent;
pub mod dead_letters;
pub mod event;
pub mod failure;
pub mod format;
pub mod glob;
pub mod host_rules;
pub mod http;
pub mod journal;
pub mod json;
pub mod kept;
pub mod latency;
pub mod ledger;
pub mod matcher;
pub mod on_full;
pub mod packed;
pub mod payload;
pub mod replay;
pub mod retry;
pub mod shard;
pub mod signature;
pub mod snapshot;
pub mod stages;
pub mod timestamp;
pub mod trace;
pub mod while_disabled;
