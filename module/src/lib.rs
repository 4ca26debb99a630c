//! The WEBHOOK commands as a module for Redis and Valkey: the engine runs inside the server.
//!
//! `host` is the server's C interface made safe, and all that is `unsafe` here. `entry` is what
//! the server calls; it keeps the module's state, which belongs to the server's thread. `words`
//! reads the commands that are about to run, `events` makes events of what the server tells.

mod command_info;
mod definitions;
mod entry;
mod events;
mod host;
mod resp;
mod server_log;
mod settings;
mod words;
