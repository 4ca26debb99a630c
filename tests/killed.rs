//! What survives: real `ferrite serve` processes are killed in the middle of their work, stopped
//! and started with other workers, and met with broken and full disks; receivers that outlive them
//! remember what arrived, and the rules below look at both sides.
//!
//! `FERRITE_SEED` repeats a run, `FERRITE_KILL_ROUNDS` makes it longer.

#![allow(clippy::unwrap_used)]

#[path = "support/server.rs"]
mod server;
mod support;

#[path = "killed/answers.rs"]
mod answers;
#[path = "killed/books.rs"]
mod books;
#[path = "killed/controls.rs"]
mod controls;
#[path = "killed/down.rs"]
mod down;
#[path = "killed/dump.rs"]
mod dump;
#[path = "killed/full.rs"]
mod full;
#[path = "killed/load.rs"]
mod load;
#[path = "killed/receiver.rs"]
mod receiver;
#[path = "killed/restart.rs"]
mod restart;
#[path = "killed/rounds.rs"]
mod rounds;
#[path = "killed/rules.rs"]
mod rules;
#[path = "killed/serving.rs"]
mod serving;
#[path = "killed/workers.rs"]
mod workers;
