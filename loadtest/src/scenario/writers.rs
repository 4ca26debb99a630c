//! Clients of a server that may be gone at any time: they write, remember what was answered, and
//! come back.

use super::ScenarioError;
use crate::history::HistoryLine;
use crate::run::client::read_some;
use crate::run::resp::{self, Reply};
use crate::run::{RunError, Target};
use std::io::{self, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A burst of writes every so often; their replies are read before the next one.
const BURST_EVERY: Duration = Duration::from_millis(20);
/// A server that is gone is looked for again after this.
const LOOK: Duration = Duration::from_millis(5);
/// A server that has not answered for so long is taken for gone.
const PATIENCE: Duration = Duration::from_secs(10);
/// Fills values up.
const VALUE_BYTES: usize = 100;

/// Where the server is, if it is anywhere; and when to stop.
pub(super) struct Whereabouts {
    target: Mutex<Option<Target>>,
    stop: AtomicBool,
}

impl Whereabouts {
    pub fn new(target: Target) -> Whereabouts {
        Whereabouts { target: Mutex::new(Some(target)), stop: AtomicBool::new(false) }
    }

    pub fn set(&self, target: Option<Target>) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = target;
    }

    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn connect(&self) -> Option<TcpStream> {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(Target::Server { address, .. }) = target else { return None };
        let stream = TcpStream::connect(address.as_str()).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(stream)
    }
}

/// What one client has written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// `Accepted` and `Unanswered` lines.
    pub lines: Vec<HistoryLine>,
    pub answered: u64,
    pub unanswered: u64,
    /// Of these, answered that the event is not durable.
    pub not_durable: u64,
    /// Connections that ended under it.
    pub cut_off: u64,
}

/// A client with keys of its own, so that the order of its writes is theirs.
pub(super) struct Writer {
    prefix: String,
    next: Vec<u64>,
    at: usize,
    per_burst: usize,
    written: Written,
}

impl Writer {
    /// `keys` keys that begin with `prefix`, and so many writes per second.
    pub fn new(prefix: String, keys: usize, rate: u64) -> Writer {
        let per_burst = (rate as f64 * BURST_EVERY.as_secs_f64()).ceil() as usize;
        let next = vec![0; keys.max(1)];
        Writer { prefix, next, at: 0, per_burst: per_burst.max(1), written: Written::default() }
    }

    /// Writes until it is told to stop.
    ///
    /// # Errors
    /// When the server refuses a write.
    pub fn run(mut self, whereabouts: &Whereabouts) -> Result<Written, ScenarioError> {
        while !whereabouts.is_over() {
            match whereabouts.connect() {
                Some(mut stream) => {
                    self.until_cut_off(&mut stream, whereabouts)?;
                    self.written.cut_off += u64::from(!whereabouts.is_over());
                }
                None => std::thread::sleep(LOOK),
            }
        }
        Ok(self.written)
    }

    fn until_cut_off(
        &mut self,
        stream: &mut TcpStream,
        whereabouts: &Whereabouts,
    ) -> Result<(), ScenarioError> {
        let (mut input, mut next) = (Vec::new(), Instant::now());
        while !whereabouts.is_over() {
            let burst = self.burst();
            let mut replies = Vec::new();
            let end = send(stream, &burst.bytes)
                .and_then(|()| read_replies(stream, &mut input, burst.events.len(), &mut replies));
            for (at, (key, sequence)) in burst.events.into_iter().enumerate() {
                self.note(key, sequence, replies.get(at).copied());
            }
            match end {
                Ok(()) => {}
                Err(Cut::Gone) => return Ok(()),
                Err(Cut::Refused(reason)) => {
                    let (address, command) = (self.prefix.clone(), "SET");
                    return Err(RunError::Refused { address, command, reason }.into());
                }
            }
            next += BURST_EVERY;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    fn burst(&mut self) -> Burst {
        let mut burst = Burst::default();
        for _ in 0..self.per_burst {
            let key = format!("{}{}", self.prefix, self.at);
            let sequence = self.next[self.at];
            self.next[self.at] += 1;
            self.at = (self.at + 1) % self.next.len();
            let value = format!("#{sequence}#{:v<VALUE_BYTES$}", "");
            resp::write_command(&mut burst.bytes, &[b"SET", key.as_bytes(), value.as_bytes()]);
            burst.events.push((key, sequence));
        }
        burst
    }

    fn note(&mut self, key: String, sequence: u64, reply: Option<Durable>) {
        let answered = reply == Some(Durable::Yes);
        self.written.not_durable += u64::from(reply == Some(Durable::No));
        self.written.answered += u64::from(answered);
        self.written.unanswered += u64::from(!answered);
        self.written.lines.push(match answered {
            true => HistoryLine::Accepted { key, sequence, at_us: 0 },
            false => HistoryLine::Unanswered { key, sequence },
        });
    }
}

#[derive(Default)]
struct Burst {
    bytes: Vec<u8>,
    events: Vec<(String, u64)>,
}

/// What a reply promises.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durable {
    Yes,
    /// The event is not safe: it may be delivered or not.
    No,
}

/// Why there is no further reply.
enum Cut {
    Gone,
    Refused(String),
}

impl From<io::Error> for Cut {
    fn from(_: io::Error) -> Cut {
        Cut::Gone
    }
}

fn send(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), Cut> {
    Ok(stream.write_all(bytes)?)
}

/// Reads replies; `replies` has those that came, whatever comes after them.
fn read_replies(
    stream: &mut TcpStream,
    input: &mut Vec<u8>,
    wanted: usize,
    replies: &mut Vec<Durable>,
) -> Result<(), Cut> {
    while replies.len() < wanted {
        let mut at = 0;
        while let Some((reply, length)) = resp::read(&input[at..]).map_err(|_| Cut::Gone)? {
            replies.push(match reply {
                Reply::Error(text) if text.starts_with(b"NOTDURABLE") => Durable::No,
                Reply::Error(text) => {
                    return Err(Cut::Refused(String::from_utf8_lossy(text).into_owned()));
                }
                _ => Durable::Yes,
            });
            at += length;
        }
        input.drain(..at);
        if replies.len() < wanted {
            read_some(stream, input)?;
        }
    }
    Ok(())
}
