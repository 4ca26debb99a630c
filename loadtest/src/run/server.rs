//! A running `ferrite serve`, driven by clients that set keys.

use super::channel::{Accepted, Channel, Counts, Credit, Driven, Event, Offered};
use super::client::{Client, PATIENCE, no_reply, read_some};
use super::error::RunError;
use super::options::Options;
use super::plan::{self, Planned};
use super::resp::{self, Reply};
use crate::batch::Batches;
use crate::history::{Accounts, HistoryLine};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Write};
use std::net::TcpStream;

/// Commands that may wait for their answers on one connection.
const UNANSWERED_MAX: usize = 4096;
/// Commands are sent when so many bytes have come together, or when the generator waits.
const SEND_BYTES: usize = 16 * 1024;
/// Keys that are deleted with one command, at the end.
const KEYS_PER_DELETE: u64 = 500;

/// The server, with the run's webhooks in it.
#[derive(Debug)]
pub(super) struct Server {
    options: Options,
    client: Client,
    webhooks: Vec<String>,
}

impl Server {
    /// Connects and makes the webhooks.
    pub fn start(options: &Options, urls: &[String]) -> Result<Server, RunError> {
        let client = Client::connect(&options.target)?;
        let mut server = Server { options: options.clone(), client, webhooks: Vec::new() };
        // Nobody else's webhooks have these names: not even those of another run.
        let name = format!("loadtest-{}", std::process::id());
        for planned in plan::webhooks(options, &name, urls) {
            server.create(&planned)?;
        }
        Ok(server)
    }

    fn create(&mut self, planned: &Planned) -> Result<(), RunError> {
        let options = &self.options;
        let numbers = [
            ("CONCURRENCY", Some(u64::from(options.concurrency()))),
            ("PIPELINE", options.pipeline.map(u64::from)),
            ("RETRIES", options.retries.map(u64::from)),
            ("RETRY_DELAY", options.retry_delay_ms),
            ("TIMEOUT", options.timeout_ms),
        ];
        let numbers: Vec<(&str, String)> = numbers
            .into_iter()
            .filter_map(|(name, number)| Some((name, number?.to_string())))
            .collect();
        let mut words = vec![planned.name.as_str(), &planned.url, "PATTERN", &planned.pattern];
        words.extend(["EVENTS", "SET"]);
        words.extend(numbers.iter().flat_map(|(name, number)| [*name, number.as_str()]));
        if let Some(secret) = &options.secret {
            words.extend(["SECRET", secret]);
        }
        let batches = options.batches().map_or_else(Vec::new, Batches::words);
        words.extend(batches.iter().map(String::as_str));
        let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
        self.client.call("WEBHOOK.CREATE", &words, |_| ())?;
        self.webhooks.push(planned.name.clone());
        Ok(())
    }

    /// Deletes the webhooks, then the keys, which so are no events.
    fn clean(&mut self) -> Result<(), RunError> {
        for name in std::mem::take(&mut self.webhooks) {
            self.client.call("WEBHOOK.DELETE", &[name.as_bytes()], |_| ())?;
        }
        // Keys with a prefix of the user's choice may have been there before.
        if self.options.key_prefix.is_some() {
            return Ok(());
        }
        let prefix = self.options.key_prefix().to_owned();
        for first in (0..self.options.keys).step_by(KEYS_PER_DELETE as usize) {
            let last = (first + KEYS_PER_DELETE).min(self.options.keys);
            let keys: Vec<String> =
                (first..last).map(|number| format!("{prefix}{number}")).collect();
            let words: Vec<&[u8]> = keys.iter().map(String::as_bytes).collect();
            self.client.call("DEL", &words, |_| ())?;
        }
        Ok(())
    }
}

impl Drop for Server {
    /// What an error left behind.
    fn drop(&mut self) {
        if !self.webhooks.is_empty() {
            let _ = self.clean();
        }
    }
}

impl Driven for Server {
    type Channel = ServerChannel;

    fn channel(&self) -> Result<ServerChannel, RunError> {
        let client = Client::connect(&self.options.target)?;
        let address = client.address.clone();
        let stream = client.into_stream();
        stream
            .set_nonblocking(true)
            .map_err(|reason| RunError::Server { address: address.clone(), reason })?;
        let credit = match self.options.rate {
            Some(_) => None,
            None => {
                let limit = self.options.backlog() / self.options.generators;
                Some((Credit::new(limit as u64), Client::connect(&self.options.target)?))
            }
        };
        Ok(ServerChannel {
            address,
            stream,
            output: Vec::with_capacity(2 * SEND_BYTES),
            sent: 0,
            input: Vec::new(),
            unanswered: VecDeque::with_capacity(UNANSWERED_MAX),
            credit,
            matching: u64::from(self.options.matching()),
        })
    }

    fn counts(&mut self) -> Result<Counts, RunError> {
        let numbers = self.client.numbers("WEBHOOK.STATS", &[])?;
        let get = |name: &str| number(&numbers, name);
        Ok(Counts {
            delivered: get("successful_deliveries"),
            dead: get("failed_deliveries"),
            dropped: get("dropped_deliveries"),
            cancelled: get("cancelled_deliveries"),
            pending: get("pending_deliveries"),
            failed_attempts: get("failed_attempts"),
            connections_opened: get("connections_opened"),
            rings_by_callers: 0,
            worker_restarts: 0,
        })
    }

    fn accounts(&mut self) -> Result<Vec<HistoryLine>, RunError> {
        let mut lines = Vec::with_capacity(self.webhooks.len());
        for name in &self.webhooks {
            let numbers = self.client.numbers("WEBHOOK.STATS", &[name.as_bytes()])?;
            let get = |name: &str| number(&numbers, name);
            lines.push(HistoryLine::Accounts(Accounts {
                webhook: name.clone(),
                triggered: get("triggered"),
                delivered: get("delivered"),
                dead: get("failures"),
                dropped: get("dropped"),
                cancelled: get("cancelled"),
                replayed: get("replayed"),
                coalesced: get("coalesced"),
                pending: get("pending"),
                signed: self.options.secret.is_some(),
            }));
        }
        Ok(lines)
    }

    fn driver(&self) -> String {
        String::new()
    }

    fn finish(mut self) -> Result<(), RunError> {
        self.clean()
    }
}

fn number(numbers: &HashMap<String, u64>, name: &str) -> u64 {
    numbers.get(name).copied().unwrap_or_default()
}

/// A client that sets keys and does not wait for each answer.
#[derive(Debug)]
pub(super) struct ServerChannel {
    address: String,
    stream: TcpStream,
    output: Vec<u8>,
    /// Bytes of the output that are on their way.
    sent: usize,
    input: Vec<u8>,
    unanswered: VecDeque<Unanswered>,
    /// A closed loop asks the server how much is pending, over a connection of its own.
    credit: Option<(Credit, Client)>,
    matching: u64,
}

/// A SET without an answer yet.
#[derive(Debug)]
struct Unanswered {
    /// Only if a history is written: else it is not worth its allocation.
    key: Vec<u8>,
    sequence: u64,
    intended_ns: u64,
}

impl ServerChannel {
    fn failed(&self, reason: io::Error) -> RunError {
        RunError::Server { address: self.address.clone(), reason }
    }

    fn send(&mut self) -> Result<(), RunError> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.failed(error)),
            }
        }
        self.output.clear();
        self.sent = 0;
        Ok(())
    }

    /// Reads what is there. In the blocking mode, at least something.
    fn receive(&mut self, accepted: &mut Accepted) -> Result<(), RunError> {
        match read_some(&mut self.stream, &mut self.input) {
            Ok(()) => self.take_answers(accepted),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn take_answers(&mut self, accepted: &mut Accepted) -> Result<(), RunError> {
        let mut at = 0;
        loop {
            let answer = resp::read(&self.input[at..]).map_err(|_| self.failed(no_reply()))?;
            let Some((reply, length)) = answer else { break };
            match reply {
                Reply::Simple(_) => {}
                Reply::Error(text) => {
                    return Err(RunError::Refused {
                        address: self.address.clone(),
                        command: "SET",
                        reason: String::from_utf8_lossy(text).into_owned(),
                    });
                }
                _ => return Err(self.failed(no_reply())),
            }
            at += length;
            let Some(event) = self.unanswered.pop_front() else {
                return Err(self.failed(no_reply()));
            };
            accepted.record(&event.key, event.sequence, event.intended_ns)?;
        }
        self.input.drain(..at);
        Ok(())
    }
}

impl Channel for ServerChannel {
    fn offer(&mut self, event: &Event<'_>, accepted: &mut Accepted) -> Result<Offered, RunError> {
        if self.output.len() >= SEND_BYTES {
            self.turn(accepted)?;
        }
        if self.unanswered.len() >= UNANSWERED_MAX {
            return Ok(Offered::Full);
        }
        if let Some((credit, client)) = &mut self.credit {
            let matching = self.matching;
            let pending = || {
                Ok(number(&client.numbers("WEBHOOK.STATS", &[])?, "pending_deliveries") / matching)
            };
            if !credit.take(pending)? {
                return Ok(Offered::Full);
            }
        }
        resp::write_command(&mut self.output, &[b"SET", event.key, event.value]);
        let key = if accepted.history.is_some() { event.key.to_vec() } else { Vec::new() };
        let (sequence, intended_ns) = (event.sequence, event.intended_ns);
        self.unanswered.push_back(Unanswered { key, sequence, intended_ns });
        Ok(Offered::Taken)
    }

    fn turn(&mut self, accepted: &mut Accepted) -> Result<(), RunError> {
        self.send()?;
        self.receive(accepted)
    }

    fn finish(mut self, accepted: &mut Accepted) -> Result<(), RunError> {
        let block = |stream: &TcpStream| {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(PATIENCE))
        };
        block(&self.stream).map_err(|reason| self.failed(reason))?;
        self.send()?;
        while !self.unanswered.is_empty() {
            let before = (self.unanswered.len(), self.input.len());
            self.receive(accepted)?;
            if (self.unanswered.len(), self.input.len()) == before {
                return Err(self.failed(io::ErrorKind::TimedOut.into()));
            }
        }
        Ok(())
    }
}
