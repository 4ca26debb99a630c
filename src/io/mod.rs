//! Threads and sockets: the only folder that names monoio.
//!
//! One worker is one thread with one ring of the kernel's (io_uring, or epoll where that is not to
//! be had), one [`Shard`](crate::core::shard::Shard), and one inbox. See `docs/ARCHITECTURE.md`
//! for the rules that keep monoio 0.2 safe and fast; each is named where it is obeyed.

mod connection;
pub mod dns;
pub mod doorbell;
mod driver;
pub mod ringer;
mod signal;
mod thread_time;
pub mod tls;
mod tunnel;
mod vetting;
pub mod worker;

pub use driver::{DriverKind, detect as detect_driver};
