//! What a sink is asked to do.

use super::faults::Faults;
use crate::defaults::defaults;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// A receiver of webhooks. Without further options it answers 200 to everything, as fast as it
/// can; `GET /sink/stats` tells what it has seen, `POST /sink/reset` starts counting anew.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9900")]
    pub address: SocketAddr,
    /// The cores to run on, one thread each; without, one thread anywhere.
    #[arg(long, alias = "core", value_delimiter = ',', value_name = "CORE,...")]
    pub cores: Vec<usize>,
    /// Check the signatures of every request against this secret.
    #[arg(long, value_name = "SECRET")]
    pub verify_secret: Option<String>,
    /// Check the order of each key's events, by the `#<sequence>#` that their values begin with.
    #[arg(long)]
    pub verify_order: bool,
    /// Count the events in batches, by the `"count":<number>` at the end of their bodies.
    #[arg(long)]
    pub count_events: bool,
    /// Append a line for every request to this file; `POST /sink/flush` writes what is buffered.
    #[arg(long, value_name = "FILE")]
    pub history: Option<PathBuf>,
    /// Write each line of the history before the answer that it tells of: then a kill -9 loses no
    /// line of what was answered. Slow.
    #[arg(long, requires = "history")]
    pub history_first: bool,
    /// How to misbehave.
    #[command(flatten)]
    pub faults: Faults,
    /// Speak TLS, with a certificate made for localhost and 127.0.0.1.
    #[arg(long)]
    pub tls: bool,
    /// Where to write that certificate (PEM).
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub tls_cert_out: Option<PathBuf>,
    /// Makes the choices of the connections (by their number) the same again.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
}

impl Default for Options {
    /// The defaults of the command line, but a free port.
    fn default() -> Self {
        Options { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..defaults() }
    }
}

impl Options {
    /// Whether nothing is asked of the sink but answers: the fast path.
    pub(super) fn is_plain(&self) -> bool {
        self.verify_secret.is_none()
            && !self.verify_order
            && self.history.is_none()
            && !self.tls
            && self.faults == Faults::default()
    }
}
