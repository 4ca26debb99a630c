//! The durable log: accepted events survive the process, and with `fsync = "always"` the loss of
//! power (DUR-1 to DUR-3).
//!
//! ```text
//! workers ──▶ Appender: a batch of events and acks ──▶ queue ──▶ writer's thread
//!                ▲ answered up to ticket n                          │ one group: one write, one sync
//!                └──────────────────────────────────────────────────┤
//!                                                                   ▼
//! LogReader, Scan ◀── segments on the disk ◀── Store: append, sync, rotate, clean, remove
//!      ▲                                         │
//!      └──────────── Table: what is unfinished ◀─┘
//! ```
//!
//! An event is written once, with the bytes that will be sent and the list of webhooks that it is
//! for. What becomes of its deliveries is written as *acks*, many in one record. A segment in which
//! nothing is unfinished is removed, oldest first; one that is kept for a few events is copied
//! without the others ([`cleaning`](Store::clean_step)). After a restart, everything that is
//! unfinished is read again in its order ([`LogReader::scan`]), as is what a webhook that lags has
//! left on the disk ([`Scan::only`]).
//!
//! The store has no thread and no clock, and its disk is a trait: tests cut it off at every place.
//! [`recovery`](RecoveryReport) says how damage is told from a torn tail.

mod appender;
mod cleaning;
mod disk;
mod error;
mod inspect;
mod reader;
pub mod record;
mod recovery;
mod scanner;
pub mod segment;
mod store;
mod table;
mod waiters;
mod writer;

pub use crate::core::journal::{Death, Finish, LogEvent, Mark, PendingTarget, StoredEvent};
pub use appender::{Appender, Pressure, QueueFull};
pub use disk::{Directory, Disk, DiskFile};
pub use error::LogError;
pub use inspect::{Damage, RepairReport, Verification, dump, repair, verify};
pub use reader::{LogReader, Position, Scan};
pub use recovery::{Cut, Progress, RecoveryReport};
pub use store::{Store, StoreConfig, StoreCounters};
pub use waiters::AnswerWaiters;
pub use writer::{DurableLog, Fsync, LogConfig, LogStatus};
