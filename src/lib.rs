//! Ferrite Webhooks: when keys change, HTTP callbacks go out.
//!
//! The public face is [`webhooks`]. Everything else is the engine behind it: see
//! `docs/ARCHITECTURE.md` for the layers and the life of an event.
//!
//! The library names no async runtime in its API, sets no global allocator and installs no
//! logger. It runs its own worker threads; every future it returns can be polled by any executor.

// The engine's layers are reachable for this project's own benchmarks, simulator and load-test
// harness. They are not a public interface: no stability is promised.
#[doc(hidden)]
pub mod base;
#[doc(hidden)]
pub mod core;
#[cfg(feature = "persistence")]
#[doc(hidden)]
pub mod definitions;
#[doc(hidden)]
pub mod inbox;
#[doc(hidden)]
pub mod io;
#[doc(hidden)]
pub mod log;
#[doc(hidden)]
pub mod metrics;
#[doc(hidden)]
pub mod registry;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod server;
pub mod webhooks;
