//! Why a run did not come to a result.

use ferrite::webhooks::WebhookError;
use std::io;
use std::path::PathBuf;

/// Why a run did not come to a result. A run that came to one which counts for nothing is no
/// error: see `void` of its result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The options cannot be followed.
    #[error("{0}")]
    Options(String),
    /// A thread cannot run on the core that it was given.
    #[error("cannot run on core {core}: {reason}; choose a core that this process may use")]
    Core {
        /// The core.
        core: usize,
        /// What the system says.
        reason: String,
    },
    /// The engine refuses.
    #[error("engine: {0}")]
    Engine(#[from] WebhookError),
    /// The engine takes no events of ours: its webhooks are not as the run made them.
    #[error("no webhook wants the events: did somebody else change the webhooks of this run?")]
    Unwanted,
    /// The run's own receiver does not start.
    #[error("the receiver of this run cannot start: {0}")]
    Receiver(io::Error),
    /// The server cannot be reached, or went away.
    #[error("server {address}: {reason}; is `ferrite serve` running there?")]
    Server {
        /// Its address.
        address: String,
        /// What happened.
        reason: io::Error,
    },
    /// The server answers with an error.
    #[error("server {address} refuses {command}: {reason}")]
    Refused {
        /// Its address.
        address: String,
        /// The command.
        command: &'static str,
        /// What it says.
        reason: String,
    },
    /// The history cannot be written.
    #[error("cannot write {path}: {reason}")]
    History {
        /// The file.
        path: PathBuf,
        /// What happened.
        reason: io::Error,
    },
    /// The system does not give a thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// A thread of the harness broke down: a bug of the harness.
    #[error("a thread of the harness broke down; this is a bug of it")]
    Broken,
}
