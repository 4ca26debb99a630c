//! The durable log against a disk that records everything: what is left after a stop at any place,
//! with any part of what was not synced, must be what was promised (DUR-1, DUR-2).

#![allow(clippy::unwrap_used)]

#[path = "durable_log/controls.rs"]
mod controls;
#[path = "durable_log/corruption.rs"]
mod corruption;
#[path = "durable_log/disk.rs"]
mod disk;
#[path = "durable_log/failures.rs"]
mod failures;
#[path = "durable_log/images.rs"]
mod images;
#[path = "durable_log/killed.rs"]
mod killed;
#[path = "durable_log/model.rs"]
mod model;
#[path = "durable_log/thread.rs"]
mod thread;
#[path = "durable_log/waiters.rs"]
mod waiters;
