//! Webhooks survive restarts (DUR-4): what they were told, their status and their counters are
//! kept in a redb database, `definitions.redb` in the data directory, for its owner only.
//!
//! | table | key | value |
//! |---|---|---|
//! | `webhooks` | the webhook's number | what it was told, secrets included, and its status ([`row`]) |
//! | `counters` | the webhook's number | what was counted |
//! | `meta` | `last_number` | the greatest number that was ever given |
//! | `meta` | `key_check` | in an encrypted store: a known text, by which a wrong key is told |
//!
//! Rows are JSON with a version. With a key, those of `webhooks` are AES-256-GCM
//! ([`key`]), bound to their number. Counters are not: they are numbers that change every second,
//! and one key must not encrypt without end.
//!
//! A change is committed in two phases, so that no loss of power takes an acknowledged one back.
//! Counters are committed in one.
//!
//! At the start the whole file is first read into memory, checked and decrypted there. Whatever is
//! wrong with it, it is left as it is.

mod error;
mod file;
pub mod key;
pub mod row;
mod store;

pub use error::DefinitionsError;
pub use file::check_directory;
pub use store::{FILE_NAME, Restored, Store};
