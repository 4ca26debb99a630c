//! Connections and the endpoints they lead to: who gets which, and what happens on them.

use super::lanes::LaneState;
use super::settle::{Began, TestJob};
use super::{Action, Shard};
use crate::base::time::{Now, Tick};
use crate::core::failure::Failure;
use crate::core::http::endpoint::EndpointKey;
use crate::core::http::request::Request;
use crate::core::http::response::{Response, ResponseReader};
use crate::core::snapshot::Definition;
use hashbrown::HashMap;
use std::collections::VecDeque;

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
    /// Whether the certificate is verified: an unverified connection is never handed to a
    /// webhook that wants a verified one.
    pub verify_tls: bool,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Closed {
    /// The peer closed it.
    Orderly,
    /// It broke.
    Broken,
}

/// What the driver does next with a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// Read more.
    Continue,
    /// Write the next request: call [`Shard::write_request`].
    Send,
    /// Nothing to do: wait for [`Action::Wake`], and watch for bytes or the end.
    Idle,
    /// Close it; the shard has forgotten it.
    Close,
}

/// What a connection is busy with.
#[derive(Debug)]
pub(super) enum Job {
    /// Nothing: it is idle.
    None,
    /// The head of a lane.
    Lane(u32),
    /// A test delivery.
    Test(Box<TestJob>),
}

#[derive(Debug)]
pub(super) struct Connection {
    generation: u32,
    pub(super) endpoint: usize,
    pub(super) job: Job,
    pub(super) reader: ResponseReader,
    /// When the exchange began, or since when it is idle.
    pub(super) since: Tick,
    /// The webhook's revision that the request was written by.
    revision: u32,
    pub(super) deadline: Tick,
    /// Whole exchanges behind it.
    pub(super) exchanges: u32,
    /// Whether the driver has taken the request: only after that can bytes be an answer to it.
    pub(super) written: bool,
    /// The request could not be written whole: read the answer, then close.
    broken: bool,
}

/// An endpoint and its connections.
#[derive(Debug)]
pub(super) struct EndpointState {
    target: Target,
    /// Webhooks and tests that use it.
    users: usize,
    /// Its connections, idle ones included.
    open: usize,
    /// The idle ones, least recently used first.
    pub(super) idle: Vec<u32>,
    /// Webhooks that have something to send, in turn.
    pub(super) queue: VecDeque<u32>,
    starved: bool,
}

/// Finds endpoints, and remembers those that wait for the number of connections to go down.
#[derive(Debug, Default)]
pub(super) struct Pool {
    index: HashMap<Target, usize, foldhash::fast::RandomState>,
    starved: VecDeque<usize>,
    freed: bool,
}

impl Shard {
    pub(super) fn endpoint_for(&mut self, definition: &Definition) -> usize {
        let target = definition.target.clone();
        let endpoint = match self.pool.index.get(&target) {
            Some(&endpoint) => endpoint,
            None => {
                let endpoint = self.endpoints.insert(EndpointState {
                    target: target.clone(),
                    users: 0,
                    open: 0,
                    idle: Vec::new(),
                    queue: VecDeque::new(),
                    starved: false,
                });
                self.pool.index.insert(target, endpoint);
                endpoint
            }
        };
        self.endpoints[endpoint].users += 1;
        endpoint
    }

    pub(super) fn release_endpoint(&mut self, endpoint: usize) {
        self.endpoints[endpoint].users -= 1;
        if self.endpoints[endpoint].users == 0 {
            for index in std::mem::take(&mut self.endpoints[endpoint].idle) {
                self.forget_connection(index as usize);
            }
            // The last of them may have taken the endpoint with it.
            if self.endpoints.contains(endpoint) {
                self.remove_endpoint_if_unused(endpoint);
            }
        }
    }

    fn remove_endpoint_if_unused(&mut self, endpoint: usize) {
        let state = &self.endpoints[endpoint];
        if state.users == 0 && state.open == 0 {
            let state = self.endpoints.remove(endpoint);
            self.pool.index.remove(&state.target);
            self.pool.starved.retain(|&starved| starved != endpoint);
        }
    }

    /// Sends what can be sent to `endpoint`.
    pub(super) fn pump(&mut self, now: Tick, endpoint: usize) {
        while self.has_lane(now, endpoint) {
            let idle = self.endpoints[endpoint].idle.pop();
            let Some(index) = idle.or_else(|| self.open_connection(endpoint)) else { return };
            match self.next_lane(now, endpoint) {
                Some(lane) => self.assign(now, index, lane),
                None => debug_assert!(false, "has_lane said there is one"),
            }
            if idle.is_some() {
                let id = self.connection_id(index);
                self.actions.push_back(Action::Wake(id));
            }
        }
    }

    pub(super) fn pump_all(&mut self, now: Tick) {
        let endpoints: Vec<usize> = self.endpoints.iter().map(|(index, _)| index).collect();
        endpoints.into_iter().for_each(|endpoint| self.pump(now, endpoint));
    }

    /// Serves the endpoints that waited for the number of connections to go down.
    pub(super) fn pump_starved(&mut self, now: Tick) {
        if !std::mem::take(&mut self.pool.freed) {
            return;
        }
        for _ in 0..self.pool.starved.len() {
            if self.connections.len() >= self.config.connections_max {
                // The others keep their places.
                return;
            }
            let Some(endpoint) = self.pool.starved.pop_front() else { return };
            self.endpoints[endpoint].starved = false;
            self.pump(now, endpoint);
        }
    }

    fn open_connection(&mut self, endpoint: usize) -> Option<u32> {
        if self.endpoints[endpoint].open >= self.config.endpoint_connections_max {
            return None;
        }
        if self.connections.len() >= self.config.connections_max && !self.close_an_idle_one() {
            if !std::mem::replace(&mut self.endpoints[endpoint].starved, true) {
                self.pool.starved.push_back(endpoint);
            }
            return None;
        }
        Some(self.open_connection_now(endpoint))
    }

    pub(super) fn open_connection_now(&mut self, endpoint: usize) -> u32 {
        let generation = self.next_generation();
        let index = self.connections.insert(Connection {
            generation,
            endpoint,
            job: Job::None,
            reader: ResponseReader::new(),
            since: Tick::default(),
            revision: 0,
            deadline: Tick::default(),
            exchanges: 0,
            written: false,
            broken: false,
        }) as u32;
        let state = &mut self.endpoints[endpoint];
        state.open += 1;
        let connection = ConnectionId { index, generation };
        self.actions.push_back(Action::Open { connection, target: state.target.clone() });
        index
    }

    /// Makes room for a connection by closing an idle one: the least recently used of the first
    /// endpoint that has any.
    fn close_an_idle_one(&mut self) -> bool {
        let victim = self.endpoints.iter().find_map(|(_, endpoint)| endpoint.idle.first().copied());
        if let Some(index) = victim {
            self.forget_connection(index as usize);
        }
        victim.is_some()
    }

    pub(super) fn assign(&mut self, now: Tick, index: u32, lane: u32) {
        let slot = self.lanes[lane as usize].key.slot;
        self.lanes[lane as usize].state = LaneState::InFlight;
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.in_flight += 1;
        webhook.counters(self.config.worker).in_flight.add(1);
        let timeout_ms = webhook.definition.timeout_ms;
        self.shared.totals[self.config.worker].deliveries.in_flight.add(1);
        self.begin_exchange(now, index, timeout_ms, Job::Lane(lane));
    }

    pub(super) fn begin_exchange(&mut self, now: Tick, index: u32, timeout_ms: u64, job: Job) {
        let connection = &mut self.connections[index as usize];
        connection.job = job;
        connection.reader.reset();
        connection.written = false;
        connection.since = now;
        connection.deadline = now.plus_ms(timeout_ms);
        self.timers.exchange_due(connection.deadline);
    }

    pub(super) fn connection_id(&self, index: u32) -> ConnectionId {
        ConnectionId { index, generation: self.connections[index as usize].generation }
    }

    fn find(&self, id: ConnectionId) -> Option<usize> {
        let index = id.index as usize;
        let connection = self.connections.get(index)?;
        (connection.generation == id.generation).then_some(index)
    }

    /// Removes a connection and tells the driver to close it. Its job must be looked after.
    pub(super) fn forget_connection(&mut self, index: usize) {
        let id = self.connection_id(index as u32);
        self.remove_connection(index);
        self.actions.push_back(Action::Close(id));
    }

    pub(super) fn remove_connection(&mut self, index: usize) -> Connection {
        let connection = self.connections.remove(index);
        let endpoint = &mut self.endpoints[connection.endpoint];
        endpoint.open -= 1;
        if matches!(connection.job, Job::None) {
            endpoint.idle.retain(|&idle| idle != index as u32);
        }
        self.pool.freed = true;
        self.remove_endpoint_if_unused(connection.endpoint);
        connection
    }

    /// When the exchange that a connection is busy with must be over.
    pub fn deadline(&self, id: ConnectionId) -> Option<Tick> {
        self.find(id).map(|index| self.connections[index].deadline)
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
            self.end_connection(now, index, Err(failure));
        }
    }

    /// Appends the request that the connection is to write. `false`: there is none, or it was
    /// taken before.
    pub fn write_request(&mut self, now: Now, id: ConnectionId, out: &mut Vec<u8>) -> bool {
        let Some(index) = self.find(id) else { return false };
        let connection = &self.connections[index];
        if connection.written {
            return false;
        }
        let (definition, revision, event_id, attempt, body) = match &connection.job {
            Job::None => return false,
            Job::Test(test) => (&*test.definition, 0, test.id, 1, test.body.as_slice()),
            Job::Lane(lane) => {
                let delivery = &self.deliveries[self.lanes[*lane as usize].head() as usize];
                let event = &self.events[delivery.event as usize];
                let slot = self.lanes[*lane as usize].key.slot;
                let Some(webhook) = &self.webhooks[slot as usize] else { return false };
                let attempt = delivery.attempts + 1;
                (&*webhook.definition, webhook.revision, event.id, attempt, event.body())
            }
        };
        self.id_text.clear();
        event_id.write_to(&mut self.id_text);
        definition.head.write_request(
            out,
            &Request {
                id_text: &self.id_text,
                attempt,
                body,
                signature: definition.signing.as_ref(),
                unix_seconds: now.unix_us / 1_000_000,
            },
        );
        if connection.exchanges > 0 {
            self.totals().connections_reused.add(1);
        }
        let connection = &mut self.connections[index];
        (connection.written, connection.revision) = (true, revision);
        true
    }

    /// The request could not be written whole. The endpoint may have answered already: go on
    /// reading; the connection is closed after the answer.
    pub fn handle_write_failed(&mut self, id: ConnectionId) {
        if let Some(index) = self.find(id) {
            self.connections[index].broken = true;
        }
    }

    /// Bytes came in.
    pub fn handle_read(&mut self, now: Now, id: ConnectionId, bytes: &[u8]) -> Step {
        let Some(index) = self.find(id) else { return Step::Close };
        let connection = &mut self.connections[index];
        if matches!(connection.job, Job::None) {
            // Nobody asked: whatever it is, the next answer could be taken for another's.
            self.remove_connection(index);
            self.pump_starved(now.tick);
            return Step::Close;
        }
        if !connection.written {
            // Nobody had asked yet: it was said to an idle connection, and is no answer.
            self.end_unasked(now, index);
            return Step::Close;
        }
        match connection.reader.read(bytes) {
            Ok(None) => Step::Continue,
            Ok(Some(response)) => self.finish_exchange(now, index, response),
            Err(error) => {
                self.end_connection(now, index, Err(error.failure()));
                Step::Close
            }
        }
    }

    fn finish_exchange(&mut self, now: Now, index: usize, response: Response) -> Step {
        let connection = &self.connections[index];
        let endpoint = connection.endpoint;
        let reusable = response.keep_alive
            && !connection.broken
            && matches!(connection.job, Job::Lane(_))
            && self.endpoints[endpoint].users > 0;
        if !reusable {
            self.end_connection(now, index, Ok(response));
            return Step::Close;
        }
        let connection = &mut self.connections[index];
        connection.exchanges = connection.exchanges.saturating_add(1);
        let job = std::mem::replace(&mut connection.job, Job::None);
        let began = Began { at: connection.since, revision: connection.revision };
        let reader = std::mem::take(&mut connection.reader);
        self.settle_and_pump_elsewhere(now, endpoint, job, began, Ok(response), reader.snippet());
        let Some(connection) = self.connections.get_mut(index) else { return Step::Close };
        connection.reader = reader;
        let itself = usize::from(self.endpoints[endpoint].starved);
        let gives_way = self.pool.starved.len() > itself;
        let may_go_on = !gives_way || !connection.exchanges.is_multiple_of(EXCHANGES_WHILE_STARVED);
        if may_go_on && let Some(lane) = self.next_lane(now.tick, endpoint) {
            self.assign(now.tick, index as u32, lane);
            return Step::Send;
        }
        if gives_way {
            // Other endpoints wait for a connection, and there may be no more of them.
            self.remove_connection(index);
            self.pump_starved(now.tick);
            if self.endpoints.contains(endpoint) {
                self.pump(now.tick, endpoint);
            }
            return Step::Close;
        }
        self.connections[index].since = now.tick;
        self.endpoints[endpoint].idle.push(index as u32);
        self.timers.idle_due(now.tick.plus_ms(self.config.idle_timeout_ms));
        Step::Idle
    }

    /// The connection has ended.
    pub fn handle_closed(&mut self, now: Now, id: ConnectionId, closed: Closed) {
        let Some(index) = self.find(id) else { return };
        let connection = &mut self.connections[index];
        let outcome = match &connection.job {
            Job::None => {
                self.remove_connection(index);
                self.pump_starved(now.tick);
                return;
            }
            Job::Lane(_) | Job::Test(_) => match (connection.reader.finish(), closed) {
                (Ok(response), _) => Ok(response),
                (Err(error), Closed::Orderly) => Err(error.failure()),
                (Err(_), Closed::Broken) => Err(Failure::Reset),
            },
        };
        // DEL-4: a pooled connection that had gone stale before it was used. The request cannot
        // have been answered; it goes out again at once, and is not counted.
        let stale = connection.exchanges > 0 && !connection.reader.has_started();
        match &connection.job {
            Job::Lane(lane) if stale && outcome.is_err() => {
                let lane = *lane;
                self.send_again(now.tick, index, lane);
            }
            _ => self.end_connection(now, index, outcome),
        }
    }

    /// Ends a connection that was busy, and serves who waited for it. The driver must be told by
    /// the caller's return value, or have told us.
    pub(super) fn end_connection(
        &mut self,
        now: Now,
        index: usize,
        outcome: Result<Response, Failure>,
    ) {
        let Connection { endpoint, job, since, revision, reader, .. } =
            self.remove_connection(index);
        let began = Began { at: since, revision };
        self.settle_and_pump_elsewhere(now, endpoint, job, began, outcome, reader.snippet());
        // Those that wait for a connection come first: this endpoint has just had one.
        self.pump_starved(now.tick);
        if self.endpoints.contains(endpoint) {
            self.pump(now.tick, endpoint);
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
        let slot = match &job {
            Job::Lane(lane) => Some(self.lanes[*lane as usize].key.slot as usize),
            _ => None,
        };
        self.settle(now, job, began, outcome, snippet);
        let webhook = slot.and_then(|slot| self.webhooks[slot].as_ref());
        if let Some(elsewhere) = webhook.map(|webhook| webhook.endpoint).filter(|&e| e != endpoint)
        {
            self.pump(now.tick, elsewhere);
        }
    }
}
