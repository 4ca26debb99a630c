//! `ferrite serve`: a RESP server with an embedded keyspace, on top of the public API.
//!
//! One thread owns the connections and the keyspace ([`serve`]); the engine has its own threads.

pub mod admin_http;
pub mod cli;
pub mod command_table;
mod commands;
pub mod config_file;
mod connection;
mod demo;
pub mod engine;
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

#[cfg(test)]
mod tests;
