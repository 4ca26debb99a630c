//! The load-test harness of Ferrite Webhooks: a sink that misbehaves on request, runs of the
//! engine, comparisons with other senders, checkers of what was promised, and a report.

pub mod history;
pub mod machine;
pub mod result;
pub mod run;
pub mod sink;
