//! The `ferrite` server as its users meet it: real clients, real receivers, signals and hostile
//! bytes. `scripts/test` installs the clients; where one is missing, its tests fail.

#![allow(clippy::unwrap_used)]

#[path = "support/server.rs"]
mod server;
mod support;

#[path = "clients/formats.rs"]
mod formats;
#[path = "clients/hostile.rs"]
mod hostile;
#[path = "clients/languages.rs"]
mod languages;
#[path = "clients/own_listeners.rs"]
mod own_listeners;
#[path = "clients/process.rs"]
mod process;
#[path = "clients/quick_start.rs"]
mod quick_start;
#[path = "clients/secrets.rs"]
mod secrets;
#[path = "clients/writes.rs"]
mod writes;
