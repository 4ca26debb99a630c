//! Endpoints: which connection a lane gets.
//!
//! A lane goes to an idle connection, else behind other requests on a connection that has room
//! (`PIPELINE`), else a connection is opened, else it waits in its webhook's ready list.

use super::breaker::Admission;
use super::connections::{Connection, Target};
use super::{Action, Shard};
use crate::base::time::Tick;
use crate::core::http::response::HeadMemo;
use crate::core::snapshot::Definition;
use hashbrown::HashMap;
use std::collections::VecDeque;

/// An endpoint and its connections.
#[derive(Debug)]
pub(super) struct EndpointState {
    key: PoolKey,
    /// Webhooks and tests that use it.
    pub(super) users: usize,
    /// Its connections, idle ones included.
    open: usize,
    /// The idle ones, least recently used first.
    pub(super) idle: Vec<u32>,
    /// Busy ones that may have room for a request behind the others. Those that have not are
    /// dropped when they are looked at.
    roomy: Vec<u32>,
    /// [`Shard::could_use_another`] has said no, and neither has anything ended since nor a
    /// webhook come to wait.
    pub(super) has_enough: bool,
    pub(super) head_memo: HeadMemo,
    /// Webhooks that have something to send, in turn.
    pub(super) queue: VecDeque<u32>,
    pub(super) starved: bool,
    /// The gate of its target, and what that allows.
    pub(super) gate: usize,
    pub(super) admission: Admission,
}

impl EndpointState {
    /// Host and port, for people.
    pub(super) fn address(&self) -> String {
        let endpoint = &self.key.target.endpoint;
        format!("{}:{}", endpoint.host, endpoint.port)
    }

    /// Requests that one connection may carry at once.
    pub(super) fn pipeline(&self) -> usize {
        self.key.pipeline as usize
    }
}

/// What webhooks must have in common to share connections.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct PoolKey {
    target: Target,
    /// A receiver that allows one webhook to pipeline has not said so to the others.
    pipeline: u32,
}

/// Finds endpoints, and remembers those that wait for the number of connections to go down.
#[derive(Debug, Default)]
pub(super) struct Pool {
    index: HashMap<PoolKey, usize, foldhash::fast::RandomState>,
    pub(super) starved: VecDeque<usize>,
    freed: bool,
}

impl Shard {
    pub(super) fn endpoint_for(&mut self, definition: &Definition) -> usize {
        let key = PoolKey { target: definition.target.clone(), pipeline: definition.pipeline };
        let endpoint = match self.pool.index.get(&key) {
            Some(&endpoint) => endpoint,
            None => {
                let endpoint = self.endpoints.insert(EndpointState {
                    key: key.clone(),
                    users: 0,
                    open: 0,
                    idle: Vec::new(),
                    roomy: Vec::new(),
                    has_enough: false,
                    head_memo: HeadMemo::default(),
                    queue: VecDeque::new(),
                    starved: false,
                    gate: usize::MAX,
                    admission: Admission::Free,
                });
                let (gate, admission) = self.join_gate(&key.target, endpoint);
                let state = &mut self.endpoints[endpoint];
                (state.gate, state.admission) = (gate, admission);
                self.pool.index.insert(key, endpoint);
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
                drop(self.forget_connection(index as usize));
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
            self.pool.index.remove(&state.key);
            self.pool.starved.retain(|&starved| starved != endpoint);
            self.leave_gate(state.gate, endpoint);
        }
    }

    /// Sends what can be sent to `endpoint`.
    pub(super) fn pump(&mut self, now: Tick, endpoint: usize) {
        while self.has_load(now, endpoint) {
            let open = self.connection_with_room(endpoint);
            let Some(index) = open.or_else(|| self.open_connection(endpoint)) else { return };
            match self.next_load(now, endpoint) {
                Some(load) => self.assign(now, index, load),
                None => debug_assert!(false, "has_load said there is one"),
            }
            // One that is being opened asks for its requests when it is open.
            if open.is_some() && self.connections[index as usize].requests_unwritten() == 1 {
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

    /// An open connection that can take another request: an idle one, no longer so, or one where
    /// it stands behind others.
    fn connection_with_room(&mut self, endpoint: usize) -> Option<u32> {
        let state = &mut self.endpoints[endpoint];
        let pipeline = state.pipeline();
        if let Some(index) = state.idle.pop() {
            if pipeline > 1 {
                self.list_roomy(index as usize);
            }
            return Some(index);
        }
        while let Some(&index) = state.roomy.last() {
            let connection = &mut self.connections[index as usize];
            if connection.has_room(pipeline) {
                return Some(index);
            }
            connection.listed_roomy = false;
            state.roomy.pop();
        }
        None
    }

    /// Remembers that a busy connection has room behind its requests.
    pub(super) fn list_roomy(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let state = &mut self.endpoints[connection.endpoint];
        if !connection.listed_roomy && connection.has_room(state.pipeline()) {
            connection.listed_roomy = true;
            state.roomy.push(index as u32);
        }
    }

    /// Whether `endpoint`, whose connections are all full, will not have room for what the windows
    /// of its waiting webhooks still allow. A new connection carries one request alone at first:
    /// when it has answered, there is room behind it, and for that room none needs to be opened.
    fn could_use_another(&mut self, endpoint: usize) -> bool {
        let state = &self.endpoints[endpoint];
        let pipeline = state.pipeline();
        if pipeline == 1 || state.has_enough {
            return pipeline == 1;
        }
        let waiting = state.queue.iter().filter_map(|slot| self.webhooks[*slot as usize].as_ref());
        let wanted: usize = waiting.map(|webhook| webhook.room() as usize).sum();
        let connections = self.connections.iter().map(|(_, connection)| connection);
        let fresh = connections
            .filter(|connection| connection.endpoint == endpoint && connection.will_have_room());
        let has_enough = fresh.take(wanted).count() * (pipeline - 1) >= wanted;
        self.endpoints[endpoint].has_enough = has_enough;
        !has_enough
    }

    fn open_connection(&mut self, endpoint: usize) -> Option<u32> {
        if self.endpoints[endpoint].open >= self.config.endpoint_connections_max
            || !self.could_use_another(endpoint)
        {
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
        let connection = Connection::new(generation, endpoint, self.endpoints[endpoint].gate);
        let index = self.connections.insert(connection) as u32;
        let state = &mut self.endpoints[endpoint];
        state.open += 1;
        let target = state.key.target.clone();
        let connection = self.connection_id(index);
        self.totals().connections_open.add(1);
        self.actions.push_back(Action::Open { connection, target });
        index
    }

    /// Makes room for a connection by closing an idle one: the least recently used of the first
    /// endpoint that has any.
    fn close_an_idle_one(&mut self) -> bool {
        let victim = self.endpoints.iter().find_map(|(_, endpoint)| endpoint.idle.first().copied());
        if let Some(index) = victim {
            drop(self.forget_connection(index as usize));
        }
        victim.is_some()
    }

    /// Removes a connection and tells the driver to close it. Its exchanges must be looked after.
    pub(super) fn forget_connection(&mut self, index: usize) -> Connection {
        let id = self.connection_id(index as u32);
        self.actions.push_back(Action::Close(id));
        self.remove_connection(index)
    }

    /// Removes a connection. Its exchanges must be looked after.
    pub(super) fn remove_connection(&mut self, index: usize) -> Connection {
        let connection = self.connections.remove(index);
        self.totals().connections_open.subtract(1);
        let endpoint = &mut self.endpoints[connection.endpoint];
        endpoint.open -= 1;
        endpoint.has_enough = false;
        if connection.exchanges.is_empty() {
            endpoint.idle.retain(|&idle| idle != index as u32);
        }
        if connection.listed_roomy {
            endpoint.roomy.retain(|&roomy| roomy != index as u32);
        }
        self.pool.freed = true;
        self.remove_endpoint_if_unused(connection.endpoint);
        connection
    }
}
