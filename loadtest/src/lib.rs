//! The load-test harness of Ferrite Webhooks: a sink that misbehaves on request, runs of the
//! engine, comparisons with other senders, checkers of what was promised, and a report.

mod batch;
pub mod caller;
pub mod compare;
mod defaults;
pub mod durability;
pub mod history;
pub mod idle;
pub mod machine;
pub mod report;
pub mod result;
pub mod run;
pub mod scenario;
pub mod sink;
pub mod verify;
pub mod wait;
