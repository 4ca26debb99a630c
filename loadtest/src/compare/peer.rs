//! What a peer is, and the list of those the harness knows.

use super::command::{self, CommandPeer};
use super::engine::Engine;
use super::message::Message;
use super::node::Node;
use super::raw::Raw;
use super::request::SECRET;
use super::{Error, Options};
use crate::batch::Batches;
use ferrite::webhooks::{Fsync, Signatures};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

/// A batch waits so long for more events: with a queue that is never empty it does not.
const BATCH_INTERVAL_MS: u64 = 10;

/// Everything that a sender needs to know.
#[derive(Clone, Debug)]
pub(super) struct Stage {
    /// The sink.
    pub address: SocketAddr,
    /// The sink's process, if it is ours.
    pub sink_process: Option<u32>,
    /// The core that the sender's threads and processes stay on.
    pub core: Option<usize>,
    pub connections: usize,
    pub value_bytes: usize,
    /// Seconds that a sender is given at most, from its start to its stop.
    pub seconds_max: f64,
    /// The request without and with signatures.
    pub plain: Message,
    pub signed: Message,
    /// A folder for files of the senders.
    pub folder: PathBuf,
    /// Where logs of the engine are made.
    pub data_dir: PathBuf,
}

impl Stage {
    pub(super) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }
}

/// What a sender says at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sent {
    /// The rate that it has counted itself.
    pub own_rate: Option<f64>,
}

/// Sends requests until it is told to stop.
pub(super) trait Sender: Send {
    /// Runs on a thread that is pinned to the sender's core; what it starts inherits that.
    fn send(&mut self, stage: &Stage, stop: &AtomicBool) -> Result<Sent, String>;
}

/// A sender with its name.
pub(super) struct Peer {
    pub name: String,
    /// What it does beyond posting bytes.
    pub notes: String,
    pub sender: Box<dyn Sender>,
}

/// The names of `--peers`, in the order of the table.
pub(super) const NAMES: [&str; 16] = [
    "engine",
    "engine-signed",
    "engine-signed-once",
    "engine-pipelined",
    "engine-pipelined-signed",
    "engine-pipelined-signed-once",
    "raw",
    "raw-signed",
    "raw-pipelined",
    "raw-pipelined-signed",
    "wrk",
    "wrk-pipelined",
    "oha",
    "hyper",
    "reqwest",
    "node",
];

/// Further names, that must be asked for.
const FURTHER_NAMES: [&str; 11] = [
    "engine-batched",
    "engine-batched-signed",
    "engine-everysec",
    "engine-always",
    "engine-no",
    "engine-pipelined-everysec",
    "engine-pipelined-always",
    "engine-pipelined-no",
    "engine-batched-everysec",
    "engine-batched-always",
    "engine-batched-no",
];

/// With which `fsync` a peer has the durable log; `None`: it has none.
fn fsync(name: &str) -> Option<Fsync> {
    Fsync::from_name(name.rsplit('-').next()?)
}

/// Whether a peer puts several events into one request.
pub(super) fn is_batched(name: &str) -> bool {
    name.contains("-batched")
}

/// Peers that take part, and those that were asked for but are not there, with the reason.
pub(super) type Assembled = (Vec<Peer>, Vec<(String, String)>);

/// Finds the peers that were asked for.
pub(super) fn assemble(options: &Options) -> Result<Assembled, Error> {
    let (mut peers, mut absent) = (Vec::new(), Vec::new());
    for name in &options.peers {
        let mut names = NAMES.iter().chain(&FURTHER_NAMES);
        if !names.any(|known| known == name) {
            let known = [&NAMES[..], &FURTHER_NAMES].concat().join(", ");
            return Err(Error::Usage(format!("no peer is called {name:?}; there are {known}")));
        }
        match known(name, options) {
            Ok((notes, sender)) => peers.push(Peer { name: name.clone(), notes, sender }),
            Err(reason) => absent.push((name.clone(), reason)),
        }
    }
    for text in &options.custom {
        let Some((name, command)) = text.split_once('=') else {
            return Err(Error::Usage(format!("--peer {text:?} must be 'name=command'")));
        };
        let sender = Box::new(CommandPeer::custom(command));
        let notes = "a command".to_owned();
        peers.push(Peer { name: name.trim().to_owned(), notes, sender });
    }
    if peers.is_empty() {
        let reasons: Vec<String> =
            absent.iter().map(|(name, reason)| format!("; {name}: {reason}")).collect();
        let nobody = "none of the peers that were asked for is there".to_owned();
        return Err(Error::Usage(nobody + &reasons.concat()));
    }
    Ok((peers, absent))
}

/// Notes and sender of a known peer, or why it is not there.
fn known(name: &str, options: &Options) -> Result<(String, Box<dyn Sender>), String> {
    let depth = options.pipeline;
    let once = name.ends_with("-signed-once");
    let signs = once || name.ends_with("-signed");
    let pipeline = if name.contains("-pipelined") { depth } else { 1 };
    let notes = |what: &str| {
        let pipelines = format!("pipelines {depth}");
        let parts = [(what, !what.is_empty()), (&pipelines, pipeline > 1)];
        let parts: Vec<&str> = parts.iter().filter(|part| part.1).map(|part| part.0).collect();
        parts.join(", ")
    };
    let whole = "offer, match, JSON, lanes";
    Ok(match name.split('-').next().unwrap_or_default() {
        "engine" => {
            let secret = signs.then(|| SECRET.to_owned());
            let (signatures, signing) = match (signs, once) {
                (false, _) => (Signatures::BOTH, ""),
                (true, false) => (Signatures::BOTH, ", signs twice"),
                (true, true) => (Signatures::FERRITE, ", signs once"),
            };
            let mut what = format!("{whole}{signing}");
            let batches = is_batched(name)
                .then_some(Batches { size: options.batch, interval_ms: Some(BATCH_INTERVAL_MS) });
            if let Some(batches) = batches {
                what.push_str(&format!(", batches of {}: events are counted", batches.size));
            }
            let fsync = fsync(name);
            if let Some(fsync) = fsync {
                what.push_str(&format!(", durable log with fsync {}", fsync.name()));
            }
            (notes(&what), Box::new(Engine { secret, signatures, pipeline, batches, fsync }))
        }
        "raw" => {
            let what = if signs { "io_uring, signs once" } else { "io_uring" };
            (notes(what), Box::new(Raw { signs, pipeline: pipeline as usize }))
        }
        "wrk" => (notes("epoll"), Box::new(command::wrk(pipeline as usize)?)),
        "oha" => (notes("hyper"), Box::new(command::oha()?)),
        "node" => {
            let node = Node::find()?;
            (notes(node.notes()), Box::new(node))
        }
        loops => (notes("current_thread"), client_loop(loops)?),
    })
}

#[cfg(feature = "peers")]
fn client_loop(name: &str) -> Result<Box<dyn Sender>, String> {
    use super::loops::ClientLoop;
    Ok(Box::new(if name == "hyper" { ClientLoop::Hyper } else { ClientLoop::Reqwest }))
}

#[cfg(not(feature = "peers"))]
fn client_loop(_: &str) -> Result<Box<dyn Sender>, String> {
    Err("not built in; build with `--features peers`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(peers: &[&str], custom: &[&str]) -> Options {
        let text = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Options { peers: text(peers), custom: text(custom), ..Options::default() }
    }

    #[test]
    fn peers_are_found_in_their_order() {
        let asked = options(&["raw-pipelined-signed", "engine"], &["mine = ab -c {connections}"]);
        let (peers, absent) = assemble(&asked).unwrap();
        let names: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
        assert_eq!(names, ["raw-pipelined-signed", "engine", "mine"]);
        assert_eq!(peers[0].notes, "io_uring, signs once, pipelines 16");
        assert!(absent.is_empty());
    }

    #[test]
    fn the_engine_can_be_asked_for_batches() {
        let (peers, absent) = assemble(&options(&["engine", "engine-batched"], &[])).unwrap();
        let names: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
        assert_eq!((names, absent.len()), (vec!["engine", "engine-batched"], 0));
    }

    #[test]
    fn the_engine_can_be_asked_for_its_log() {
        let names = ["engine", "engine-everysec", "engine-pipelined-always", "engine-batched-no"];
        let (peers, absent) = assemble(&options(&names, &[])).unwrap();
        assert!(absent.is_empty());
        let notes: Vec<&str> = peers.iter().map(|peer| peer.notes.as_str()).collect();
        assert!(!notes[0].contains("log"));
        for (notes, fsync) in notes[1..].iter().zip(["everysec", "always", "no"]) {
            assert!(notes.contains(&format!("durable log with fsync {fsync}")), "{notes}");
        }
    }

    #[test]
    fn what_cannot_be_understood_is_refused() {
        for wrong in [options(&["engine", "nginx"], &[]), options(&[], &["wrk"]), options(&[], &[])]
        {
            assert!(matches!(assemble(&wrong), Err(Error::Usage(_))));
        }
    }
}
