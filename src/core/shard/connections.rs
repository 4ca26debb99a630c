//! Connections: what happens on them.
//!
//! A connection carries exchanges one behind the other. Without `PIPELINE` there is at most one
//! of them; with it, requests stand behind each other and are answered in their order (RFC 9112,
//! section 9.3.2). A connection carries one request alone until it has answered one: a receiver
//! that cannot take more, or that breaks the connection over its first request, shows it then.

use super::Shard;
use super::lanes::Written;
use super::load::Load;
use super::settle::{Began, TestJob};
use crate::base::id::EventId;
use crate::base::limits;
use crate::base::time::{Now, Tick};
use crate::core::failure::Failure;
use crate::core::format::ContentType;
use crate::core::http::endpoint::EndpointKey;
use crate::core::http::request::Request;
use crate::core::http::response::{Response, ResponseReader};
use crate::core::payload;
use std::collections::VecDeque;
use std::sync::Arc;

/// While other endpoints wait because there are as many connections as there may be, one gives
/// way after so many exchanges: the busy ones must not keep the others waiting for ever.
const EXCHANGES_WHILE_STARVED: u32 = 16;

/// Names a connection between the shard and its driver. A late word about one that is gone is
/// recognised and ignored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ConnectionId {
    /// Index into the driver's and the shard's tables.
    pub index: u32,
    /// Tells it from an earlier one with the same index.
    pub generation: u32,
}

/// Where a connection leads: what must be equal for two webhooks to share it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    /// Scheme, host and port.
    pub endpoint: EndpointKey,
    /// The TLS profile, by name; `None` for the configuration's own. A connection is never handed
    /// to a webhook with another one: it may be unverified, or show another client certificate.
    pub tls_profile: Option<Arc<str>>,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The peer closed it.
    Orderly,
    /// It broke.
    Broken,
    /// It broke for a reason that has a name.
    Failed(Failure),
}

/// What the driver does next with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// Read more.
    Continue,
    /// There are requests to write: call [`Shard::write_requests`], unless a write is under way;
    /// then after it.
    Send,
    /// Nothing to do: wait for [`Action::Wake`](super::Action::Wake), and watch for bytes or the end.
    Idle,
    /// Close it; the shard has forgotten it.
    Close,
}

/// What an exchange is for.
#[derive(Debug)]
pub(super) enum Job {
    /// Deliveries of a webhook.
    Load(Load),
    /// A test delivery.
    Test(Box<TestJob>),
}

impl Job {
    /// What it carries of a webhook's deliveries.
    pub(super) fn load(&self) -> Option<Load> {
        match self {
            Job::Load(load) => Some(*load),
            Job::Test(_) => None,
        }
    }
}

/// A request and its answer.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) job: Job,
    /// When it was given to the connection.
    pub(super) since: Tick,
    pub(super) deadline: Tick,
    /// The webhook's revision that the request was written by.
    revision: u32,
}

impl Exchange {
    fn began(&self) -> Began {
        Began { at: self.since, revision: self.revision }
    }
}

/// What the driver has said of the requests that it took last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Writing {
    /// They are written.
    Over,
    UnderWay,
    /// One of them could not be written whole: nothing can be written any more.
    Failed,
}

#[derive(Debug)]
pub(super) struct Connection {
    generation: u32,
    pub(super) endpoint: usize,
    /// The gate of its endpoint, which may outlive the pool.
    gate: usize,
    /// Under way, the oldest first: answers come in this order.
    pub(super) exchanges: VecDeque<Exchange>,
    /// How many of them, the oldest, the driver has taken to write: only after that can bytes be
    /// an answer to them.
    written: usize,
    writing: Writing,
    reader: ResponseReader,
    /// Since when it is idle.
    pub(super) idle_since: Tick,
    /// Whole exchanges behind it.
    pub(super) answered: u32,
    /// It gets no more requests, and is closed when the last exchange is over: a request could
    /// not be written whole, or the connection must give way to others.
    closing: bool,
    /// Stands in its endpoint's list of those with room.
    pub(super) listed_roomy: bool,
}

impl Connection {
    pub(super) fn new(generation: u32, endpoint: usize, gate: usize) -> Self {
        Connection {
            generation,
            endpoint,
            gate,
            exchanges: VecDeque::new(),
            written: 0,
            writing: Writing::Over,
            reader: ResponseReader::new(),
            idle_since: Tick::default(),
            answered: 0,
            closing: false,
            listed_roomy: false,
        }
    }

    /// Whether a request may stand behind those that are under way.
    pub(super) fn has_room(&self, pipeline: usize) -> bool {
        let limit = if self.answered == 0 { 1 } else { pipeline };
        self.exchanges.len() < limit && !self.closing
    }

    /// Whether it will have room when what it carries is answered: it carries its first.
    pub(super) fn will_have_room(&self) -> bool {
        let is_delivery = |exchange: &Exchange| exchange.job.load().is_some();
        self.answered == 0 && !self.closing && self.exchanges.front().is_some_and(is_delivery)
    }

    /// Exchanges whose request the driver has not taken yet.
    pub(super) fn requests_unwritten(&self) -> usize {
        self.exchanges.len() - self.written
    }

    /// The exchanges that the driver has not taken.
    pub(super) fn unwritten(&self) -> impl Iterator<Item = &Exchange> {
        self.exchanges.iter().skip(self.written)
    }

    /// Takes back the exchanges not written yet that carry one of `loads`.
    pub(super) fn withdraw(&mut self, loads: &[Load]) {
        let mut position = 0;
        let written = self.written;
        self.exchanges.retain(|exchange| {
            let unwritten = position >= written;
            position += 1;
            !(unwritten && exchange.job.load().is_some_and(|load| loads.contains(&load)))
        });
    }
}

impl Shard {
    pub(super) fn assign(&mut self, now: Tick, index: u32, load: Load) {
        let (slot, deliveries) = self.depart(load);
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.in_flight += 1;
        if let Some(bucket) = &mut webhook.rate {
            bucket.take(now);
        }
        webhook.counters(self.config.worker).in_flight.add(deliveries);
        let timeout_ms = webhook.definition.timeout_ms;
        self.shared.totals[self.config.worker].deliveries.in_flight.add(deliveries);
        self.begin_exchange(now, index, timeout_ms, Job::Load(load));
    }

    pub(super) fn begin_exchange(&mut self, now: Tick, index: u32, timeout_ms: u64, job: Job) {
        let connection = &mut self.connections[index as usize];
        let deadline = now.plus_ms(timeout_ms);
        connection.exchanges.push_back(Exchange { job, since: now, deadline, revision: 0 });
        self.timers.exchange_due(deadline);
    }

    pub(super) fn connection_id(&self, index: u32) -> ConnectionId {
        ConnectionId { index, generation: self.connections[index as usize].generation }
    }

    fn find(&self, id: ConnectionId) -> Option<usize> {
        let index = id.index as usize;
        let connection = self.connections.get(index)?;
        (connection.generation == id.generation).then_some(index)
    }

    /// When the oldest exchange of a connection must be over.
    pub fn deadline(&self, id: ConnectionId) -> Option<Tick> {
        let connection = &self.connections[self.find(id)?];
        connection.exchanges.front().map(|exchange| exchange.deadline)
    }

    /// The requests of a connection that [`Shard::write_requests`] has not given out yet, in their
    /// order: when each was given to the connection, and its deadline. `None`: there is no such
    /// connection.
    pub fn requests_waiting(
        &self,
        id: ConnectionId,
    ) -> Option<impl Iterator<Item = (Tick, Tick)> + '_> {
        let connection = &self.connections[self.find(id)?];
        Some(connection.unwritten().map(|exchange| (exchange.since, exchange.deadline)))
    }

    /// The connection is open, TLS included. `false`: it is not wanted any more, close it.
    pub fn handle_connected(&mut self, id: ConnectionId) -> bool {
        let wanted = self.find(id).is_some();
        self.totals().connections_opened.add(u64::from(wanted));
        wanted
    }

    /// The connection could not be opened.
    pub fn handle_connect_failed(&mut self, now: Now, id: ConnectionId, failure: Failure) {
        if let Some(index) = self.find(id) {
            let endpoint = self.connections[index].endpoint;
            self.notice_connect_failed(now.tick, endpoint, failure);
            self.end_connection(now, index, Err(failure));
        }
    }

    /// Appends the requests that the connection is to write, one behind the other, up to a bound
    /// of bytes. `false`: there is none that was not taken before. When they are written, or
    /// cannot be, say so with [`Shard::handle_written`] or [`Shard::handle_write_failed`].
    pub fn write_requests(&mut self, now: Now, id: ConnectionId, out: &mut Vec<u8>) -> bool {
        let Some(index) = self.find(id) else { return false };
        let begin = out.len();
        let mut any = false;
        while self.connections[index].requests_unwritten() > 0
            && self.connections[index].writing != Writing::Failed
            && out.len() - begin < limits::WRITE_BYTES_MAX
        {
            let place = self.connections[index].written;
            let Some(revision) = self.write_request(now, index, place, out) else { break };
            let connection = &mut self.connections[index];
            connection.exchanges[place].revision = revision;
            connection.written += 1;
            connection.writing = Writing::UnderWay;
            any = true;
        }
        any
    }

    /// Writes the request of one exchange; gives the webhook's revision.
    fn write_request(
        &mut self,
        now: Now,
        index: usize,
        place: usize,
        out: &mut Vec<u8>,
    ) -> Option<u32> {
        let mut batch_body = Vec::new();
        if let Job::Load(Load::Batch(batch)) = self.connections[index].exchanges[place].job {
            batch_body = self.batch_body(now, batch);
        }
        let connection = &self.connections[index];
        let mut batch_id = Vec::new();
        let (definition, revision, id_text, attempt, content_type, written) =
            match &connection.exchanges[place].job {
                Job::Test(test) => {
                    let written = test.record.written();
                    let id_text = payload::id_text(written.body, test.id);
                    (&*test.definition, 0, id_text, 1, written.format.content_type(), written)
                }
                Job::Load(Load::Lane(lane)) => {
                    let lane = &self.lanes[*lane as usize];
                    let delivery = &self.deliveries[lane.head() as usize];
                    let event = &self.events[delivery.event as usize];
                    let webhook = self.webhooks[lane.key.slot as usize].as_ref()?;
                    let attempt = delivery.attempts() + 1;
                    let id = event.id(self.config.boot);
                    let written = event.written();
                    let (id_text, content_type) =
                        (payload::id_text(written.body, id), written.format.content_type());
                    let revision = webhook.revision;
                    (&*webhook.definition, revision, id_text, attempt, content_type, written)
                }
                Job::Load(Load::Batch(batch)) => {
                    let batch = &self.batches[*batch as usize];
                    let webhook = self.webhooks[batch.slot as usize].as_ref()?;
                    let id = EventId { boot: self.config.boot, sequence: batch.sequence };
                    let content_type = batch.format.batch_content_type();
                    let written =
                        Written { format: batch.format, body: batch_body.as_slice(), lines: b"" };
                    let (attempt, revision) = (batch.attempts + 1, webhook.revision);
                    let id_text = if content_type == ContentType::CloudEvents {
                        // That one holds nothing but the events.
                        id.write_as_batch(&mut batch_id);
                        batch_id.as_slice()
                    } else {
                        payload::batch_id_text(&batch_body, id)
                    };
                    (&*webhook.definition, revision, id_text, attempt, content_type, written)
                }
            };
        definition.head.write_request(
            out,
            &Request {
                id_text,
                attempt,
                lines: written.lines,
                body: written.body,
                content_type,
                signature: definition.signing.as_ref(),
                unix_seconds: now.unix_us / 1_000_000,
            },
        );
        if connection.answered > 0 || place > 0 {
            self.totals().connections_reused.add(1);
        }
        self.keep_batch_body(batch_body);
        Some(revision)
    }

    /// What was taken last is written. `true`: there is more, call [`Shard::write_requests`].
    pub fn handle_written(&mut self, id: ConnectionId) -> bool {
        let Some(index) = self.find(id) else { return false };
        let connection = &mut self.connections[index];
        if connection.writing == Writing::Failed {
            // TLS had something else to say.
            return false;
        }
        connection.writing = Writing::Over;
        connection.requests_unwritten() > 0
    }

    /// What was taken last could not be written whole. The endpoint may have answered already: go
    /// on reading; the connection is closed after the answers.
    pub fn handle_write_failed(&mut self, now: Now, id: ConnectionId) {
        let Some(index) = self.find(id) else { return };
        let connection = &mut self.connections[index];
        (connection.writing, connection.closing) = (Writing::Failed, true);
        let endpoint = connection.endpoint;
        // Others may have waited for the room behind its first request.
        self.endpoints[endpoint].has_enough = false;
        self.pump(now.tick, endpoint);
    }

    /// Bytes came in.
    pub fn handle_read(&mut self, now: Now, id: ConnectionId, bytes: &[u8]) -> Step {
        let Some(index) = self.find(id) else { return Step::Close };
        let before = self.connections[index].answered;
        let mut rest = bytes;
        while !rest.is_empty() {
            let connection = &mut self.connections[index];
            if connection.written == 0 {
                // Nobody had asked yet. Whatever it is, it is no answer, and the next answer
                // could be taken for another's.
                self.end_unasked(now, index);
                return Step::Close;
            }
            let memo = &mut self.endpoints[connection.endpoint].head_memo;
            match connection.reader.read_next(rest, Some(memo)) {
                Ok((_, None)) => break,
                Ok((used, Some(response))) => {
                    rest = &rest[used..];
                    if !self.finish_exchange(now, index, response) {
                        return Step::Close;
                    }
                }
                Err(error) => {
                    self.end_connection(now, index, Err(error.failure()));
                    return Step::Close;
                }
            }
        }
        if self.connections[index].answered == before {
            return Step::Continue;
        }
        self.go_on(now.tick, index, before)
    }

    /// An answer is complete. `false`: the connection has ended with it.
    fn finish_exchange(&mut self, now: Now, index: usize, response: Response) -> bool {
        let connection = &mut self.connections[index];
        let endpoint = connection.endpoint;
        // The endpoint has answered what was not written whole: it does not want the rest.
        let is_early = connection.written == 1 && connection.writing != Writing::Over;
        // It is kept for nobody else, but those behind may still be answered.
        let is_unwanted = connection.closing || self.endpoints[endpoint].users == 0;
        let is_over = connection.exchanges.len() == 1 && is_unwanted;
        let reusable = response.keep_alive
            && !is_early
            && !is_over
            && connection.exchanges[0].job.load().is_some();
        if !reusable {
            self.end_connection(now, index, Ok(response));
            return false;
        }
        let Some(exchange) = connection.exchanges.pop_front() else { return false };
        connection.written -= 1;
        connection.answered = connection.answered.saturating_add(1);
        let snippet = connection.reader.take_snippet();
        connection.reader.reset();
        let gate = connection.gate;
        self.hear(now, gate, &exchange.job, &Ok(response));
        let began = exchange.began();
        self.endpoints[endpoint].has_enough = false;
        self.settle_and_pump_elsewhere(now, endpoint, exchange.job, began, Ok(response), &snippet);
        self.connections.contains(index)
    }

    /// Gives a connection that has answered its next requests.
    fn go_on(&mut self, now: Tick, index: usize, answered_before: u32) -> Step {
        let endpoint = self.connections[index].endpoint;
        let pipeline = self.endpoints[endpoint].pipeline();
        // Other endpoints may wait for a connection while there may be no more of them.
        let itself = usize::from(self.endpoints[endpoint].starved);
        let gives_way = self.pool.starved.len() > itself;
        let connection = &mut self.connections[index];
        let turn = |answered: u32| answered / EXCHANGES_WHILE_STARVED;
        let is_turn = turn(connection.answered) != turn(answered_before);
        connection.closing |= gives_way && is_turn;
        while self.connections[index].has_room(pipeline)
            && let Some(load) = self.next_load(now, endpoint)
        {
            self.assign(now, index as u32, load);
        }
        let connection = &mut self.connections[index];
        if !connection.exchanges.is_empty() {
            let step = match connection.requests_unwritten() {
                0 => Step::Continue,
                _ => Step::Send,
            };
            if self.connections[index].closing {
                // What the answers made room for goes elsewhere.
                self.pump(now, endpoint);
            } else if pipeline > 1 {
                self.list_roomy(index);
            }
            return step;
        }
        if gives_way || connection.closing {
            self.remove_connection(index);
            self.pump_starved(now);
            if self.endpoints.contains(endpoint) {
                self.pump(now, endpoint);
            }
            return Step::Close;
        }
        connection.idle_since = now;
        self.endpoints[endpoint].idle.push(index as u32);
        self.timers.idle_due(now.plus_ms(self.config.idle_timeout_ms));
        Step::Idle
    }

    /// The connection has ended.
    pub fn handle_closed(&mut self, now: Now, id: ConnectionId, closed: Closed) {
        let Some(index) = self.find(id) else { return };
        let connection = &mut self.connections[index];
        if connection.exchanges.is_empty() {
            self.remove_connection(index);
            self.pump_starved(now.tick);
            return;
        }
        let outcome = match (connection.reader.finish(), closed) {
            (Ok(response), _) => Ok(response),
            (Err(error), Closed::Orderly) => Err(error.failure()),
            (Err(_), Closed::Broken) => Err(Failure::Reset),
            (Err(_), Closed::Failed(failure)) => Err(failure),
        };
        // DEL-4: a pooled connection that had gone stale before it was used. The request cannot
        // have been answered; it goes out again at once, and is not counted.
        let stale = connection.answered > 0 && !connection.reader.has_started();
        match &connection.exchanges[0].job {
            Job::Load(_) if stale && outcome.is_err() => self.send_again(now.tick, index),
            _ => self.end_connection(now, index, outcome),
        }
    }

    /// Ends a connection with what came of its oldest exchange; the others go out again. The
    /// driver must be told by the caller's return value, or have told us.
    pub(super) fn end_connection(
        &mut self,
        now: Now,
        index: usize,
        outcome: Result<Response, Failure>,
    ) {
        let mut connection = self.remove_connection(index);
        let endpoint = connection.endpoint;
        if let Some(exchange) = connection.exchanges.pop_front() {
            let began = exchange.began();
            let snippet = connection.reader.snippet();
            self.hear(now, connection.gate, &exchange.job, &outcome);
            self.settle_and_pump_elsewhere(now, endpoint, exchange.job, began, outcome, snippet);
        }
        self.take_back(now.tick, connection.exchanges);
        // Those that wait for a connection come first: this endpoint has just had one.
        self.pump_starved(now.tick);
        if self.endpoints.contains(endpoint) {
            self.pump(now.tick, endpoint);
        }
    }

    /// Ends connections on which exchanges have outlived their deadline.
    pub(super) fn expire_connections(&mut self, now: Now, due: Vec<usize>) {
        // All go before any is made up for: nothing must be given to one that is about to go.
        let ended: Vec<_> = due.into_iter().map(|index| self.forget_connection(index)).collect();
        let mut over = Vec::with_capacity(ended.len());
        for Connection { endpoint, gate, mut exchanges, mut reader, .. } in ended {
            let mut outcomes = Vec::new();
            // Once its head is complete an answer stands, also one whose body takes too long.
            if let Ok(response) = reader.finish()
                && let Some(exchange) = exchanges.pop_front()
            {
                outcomes.push((exchange, Ok(response), reader.snippet().to_vec()));
            }
            let (expired, others): (VecDeque<_>, VecDeque<_>) =
                exchanges.into_iter().partition(|exchange| exchange.deadline <= now.tick);
            let timeout = |exchange| (exchange, Err(Failure::Timeout), Vec::new());
            outcomes.extend(expired.into_iter().map(timeout));
            // All are heard before anything is sent: one may have asked for a pause.
            for (exchange, outcome, _) in &outcomes {
                self.hear(now, gate, &exchange.job, outcome);
            }
            over.push((endpoint, outcomes, others));
        }
        for (endpoint, outcomes, others) in over {
            for (exchange, outcome, snippet) in outcomes {
                let began = exchange.began();
                self.settle_and_pump_elsewhere(
                    now,
                    endpoint,
                    exchange.job,
                    began,
                    outcome,
                    &snippet,
                );
            }
            self.take_back(now.tick, others);
            self.pump_starved(now.tick);
            if self.endpoints.contains(endpoint) {
                self.pump(now.tick, endpoint);
            }
        }
    }

    /// Settles, and serves the webhook's endpoint if it is another one by now: the webhook may
    /// have been given a new URL during the exchange.
    fn settle_and_pump_elsewhere(
        &mut self,
        now: Now,
        endpoint: usize,
        job: Job,
        began: Began,
        outcome: Result<Response, Failure>,
        snippet: &[u8],
    ) {
        let slot = job.load().map(|load| self.load_slot(load));
        self.settle(now, job, began, outcome, snippet);
        let webhook = slot.and_then(|slot| self.webhooks[slot as usize].as_ref());
        if let Some(elsewhere) = webhook.map(|webhook| webhook.endpoint).filter(|&e| e != endpoint)
        {
            self.pump(now.tick, elsewhere);
        }
    }
}
