//! `compare`: the engine beside other senders, in turns, against one sink, with the same bytes.

mod command;
pub(crate) mod engine;
#[cfg(feature = "peers")]
mod loops;
mod message;
mod node;
mod output;
mod peer;
mod raw;
pub mod request;
mod rounds;
pub(crate) mod sink;
pub(crate) mod table;

pub use message::Message;

use crate::defaults::defaults;
use crate::result::{ComparisonResult, Machine, PeerResult, ResultFile};
use indicatif::{ProgressBar, ProgressStyle};
use peer::{Peer, Stage};
use rounds::Measured;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// What to compare, and how.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How often each peer has its turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds of each measurement, after a short warm-up.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// The core of whatever sends.
    #[arg(long, default_value_t = 0)]
    pub sender_core: usize,
    /// The core of the sink.
    #[arg(long, default_value_t = 1)]
    pub sink_core: usize,
    /// Pin nothing to cores.
    #[arg(long)]
    pub unpinned: bool,
    /// Connections of each peer.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub connections: u32,
    /// Requests in a pipeline, for the peers that have one.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=128))]
    pub pipeline: u32,
    /// Events in a batch, for the peers that have them: engine-batched and engine-batched-signed,
    /// which take part when they are named in --peers. Their events are counted, not requests.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub batch: u32,
    /// Bytes of the value in each event.
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
    /// The peers, in the order of the table.
    #[arg(long, value_delimiter = ',', default_values_t = peer::NAMES.map(str::to_owned))]
    pub peers: Vec<String>,
    /// Another peer: 'name=command', with {url}, {seconds}, {core}, {connections} and {body-file}.
    #[arg(long = "peer", value_name = "NAME=COMMAND")]
    pub custom: Vec<String>,
    /// A sink that runs already (it must answer `GET /sink/stats`), instead of one of our own.
    #[arg(long, value_name = "ADDRESS")]
    pub sink: Option<SocketAddr>,
    /// Where the peers with a durable log keep it: on the device that is to be measured.
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    pub data_dir: PathBuf,
    /// A name for the result.
    #[arg(long, default_value = "comparison")]
    pub label: String,
    /// Write the result to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl Default for Options {
    /// The defaults of the command line.
    fn default() -> Self {
        defaults()
    }
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options cannot be followed.
    #[error("{0}")]
    Usage(String),
    /// The sink did not start.
    #[error("the sink: {0}")]
    Sink(io::Error),
    /// The engine's request could not be had.
    #[error("capturing the engine's request: {0}")]
    Capture(io::Error),
    /// A file could not be written.
    #[error("{}: {error}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Compares, prints the table, and writes the result.
pub fn run(options: &Options) -> Result<(), Error> {
    let result = compare(options)?;
    print!("{}", table::text(&result));
    match &options.json {
        Some(file) => write(file, &ResultFile::Comparison(result)),
        None => Ok(()),
    }
}

/// Writes a result as JSON.
pub(crate) fn write(file: &Path, result: &ResultFile) -> Result<(), Error> {
    let failed = |error| Error::File { file: file.to_owned(), error };
    let json = serde_json::to_vec_pretty(result).map_err(|error| failed(error.into()))?;
    fs::write(file, json).map_err(failed)
}

/// Compares, with progress on the terminal. A peer that fails is left out from then on.
pub fn compare(options: &Options) -> Result<ComparisonResult, Error> {
    if !(options.seconds > 0.0 && options.seconds < 3600.0) {
        return Err(Error::Usage("--seconds must be above 0 and below 3600".to_owned()));
    }
    let (mut peers, mut absent) = peer::assemble(options)?;
    let pinned = |core: usize| (!options.unpinned).then_some(core);
    // Counting costs the sink a little: only where it must.
    let counts_events = peers.iter().any(|peer| peer::is_batched(&peer.name));
    let sink = sink::Sink::start_unless(options.sink, pinned(options.sink_core), counts_events);
    let sink = sink.map_err(Error::Sink)?;
    let address = sink.address;
    let folder =
        tempfile::tempdir().map_err(|error| Error::File { file: std::env::temp_dir(), error })?;
    let capture =
        |signed| request::capture(options.value_bytes, signed, address).map_err(Error::Capture);
    let stage = Stage {
        address,
        sink_process: sink.process(),
        core: pinned(options.sender_core),
        connections: options.connections as usize,
        value_bytes: options.value_bytes,
        seconds_max: rounds::seconds_max(options.seconds),
        plain: capture(false)?,
        signed: capture(true)?,
        folder: folder.path().to_owned(),
        data_dir: options.data_dir.clone(),
    };
    let measured = take_turns(&mut peers, &stage, options, &mut absent);
    Ok(ComparisonResult {
        label: options.label.clone(),
        machine: Machine::here(),
        cores: cores(options),
        seconds: options.seconds,
        peers: measured,
        absent,
    })
}

fn cores(options: &Options) -> String {
    let sink = match (options.sink, options.unpinned) {
        (Some(address), _) => format!("the sink at {address} where it was put"),
        (None, true) => "the sink on any core".to_owned(),
        (None, false) => format!("the sink on core {}", options.sink_core),
    };
    let sender = match options.unpinned {
        true => "each sender on any core".to_owned(),
        false => format!("each sender (and who feeds it) on core {}", options.sender_core),
    };
    format!("{sender}, {sink}, {} connections", options.connections)
}

fn take_turns(
    peers: &mut Vec<Peer>,
    stage: &Stage,
    options: &Options,
    absent: &mut Vec<(String, String)>,
) -> Vec<PeerResult> {
    let progress = ProgressBar::new(u64::from(options.rounds) * peers.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {eta} left  {msg}") {
        progress.set_style(style);
    }
    let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); peers.len()];
    let mut failed: Vec<Option<String>> = vec![None; peers.len()];
    for round in 0..options.rounds as usize {
        for index in rounds::order(round, peers.len()) {
            let peer = &mut peers[index];
            if failed[index].is_none() {
                progress.set_message(format!("round {}: {}", round + 1, peer.name));
                match rounds::measure(peer, stage, options.seconds) {
                    Ok(one) => measured[index].push(one),
                    Err(reason) => {
                        failed[index] = Some(format!("failed in round {}: {reason}", round + 1));
                    }
                }
            }
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    let mut results = Vec::new();
    for ((peer, measured), failed) in peers.drain(..).zip(measured).zip(failed) {
        match failed {
            Some(reason) => absent.push((peer.name, reason)),
            None => results.push(result_of(peer, &measured)),
        }
    }
    results
}

fn result_of(peer: Peer, measured: &[Measured]) -> PeerResult {
    let median_of = |value: fn(&Measured) -> Option<f64>| {
        let values: Vec<f64> = measured.iter().filter_map(value).collect();
        (!values.is_empty()).then(|| table::median(&values))
    };
    let mut notes = peer.notes;
    if let Some(own) = median_of(|one| one.own_rate) {
        notes.push_str(&format!("; by its own count {own:.0}/s"));
    }
    PeerResult {
        name: peer.name,
        rates: measured.iter().map(|one| one.rate).collect(),
        median: median_of(|one| Some(one.rate)).unwrap_or_default(),
        notes,
        sink_busy: median_of(|one| one.sink_busy),
        sink_held_up: median_of(|one| one.sink_held_up),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A stage without a sink.
    pub(super) fn stage(folder: &Path) -> Stage {
        let message = Message { bytes: b"POST / HTTP/1.1\r\n\r\nbody".to_vec(), body_at: 19 };
        Stage {
            address: SocketAddr::from(([127, 0, 0, 1], 9)),
            sink_process: None,
            core: None,
            connections: 4,
            value_bytes: 100,
            seconds_max: 1.3,
            plain: message.clone(),
            signed: message,
            folder: folder.to_owned(),
            data_dir: folder.to_owned(),
        }
    }
}
