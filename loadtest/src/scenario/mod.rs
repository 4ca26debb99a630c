//! Scenarios with verdicts: what the engine promises, held against misbehaviour for a while.
//!
//! | room | what |
//! |---|---|
//! | `soak` | long, with faults: does it lose, leak or grow? |
//! | `isolation`, `condition` | what a bad endpoint does to the others |
//! | `chaos` | receivers that reset, stall and are killed |
//! | `trial` | a run against receivers that write histories, judged by `verify` |
//! | `process` | a receiver that can be held still and killed |
//! | `killed_server`, `writers` | a server that is killed under load, and its clients |
//! | `full_disk` | a server whose log fills up |
//! | `server_process` | a server that can be killed and started again |
//! | `judge`, `samples` | when numbers are flat or alike, and the numbers |
//! | `outcome` | tables, files, exit codes |

pub mod chaos;
mod condition;
mod full_disk;
pub mod isolation;
mod judge;
mod killed_server;
mod outcome;
mod process;
mod samples;
mod server_process;
pub mod soak;
mod trial;
mod writers;

pub use outcome::Outcome;

use crate::run::RunError;
use crate::verify::VerifyError;
use outcome::conclude;
use std::io;

/// Signs the deliveries of the scenarios.
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Why a scenario has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The engine or the generator could not be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A history cannot be read.
    #[error(transparent)]
    History(#[from] VerifyError),
    /// A receiver or a file.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] io::Error),
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> ScenarioError {
    move |error| ScenarioError::Io(what, error)
}
