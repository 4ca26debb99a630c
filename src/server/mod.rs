//! `ferrite serve`: a RESP server with an embedded keyspace, on top of the public API.
//!
//! One thread owns the connections and the keyspace ([`serve`]); the engine has its own threads.

pub mod admin_http;
pub mod cli;
pub mod command_table;
mod commands;
mod commit;
pub mod config;
mod connection;
mod demo;
pub mod engine;
pub mod hosted;
pub mod keyspace;
mod log_commands;
mod password;
pub mod reply;
pub mod resp;
pub mod serve;
mod session;
pub mod settings;
mod state;
mod time_text;
mod transaction;

/// The names of all commands, for the test of `docs/CONFORMANCE.md`.
pub fn command_names() -> Vec<String> {
    commands::CommandTable::new().sorted().into_keys().map(str::to_owned).collect()
}

/// The words that start an option of `WEBHOOK.CREATE` and `WEBHOOK.UPDATE`, for the same test.
pub fn webhook_option_names() -> Vec<&'static str> {
    commands::option_words().collect()
}

#[cfg(test)]
mod tests;
