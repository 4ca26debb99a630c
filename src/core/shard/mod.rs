//! One worker's engine: a deterministic state machine.
//!
//! In: packed events, snapshots of the webhooks, bytes from connections, the time. Out: actions
//! for the driver ([`Shard::poll_action`]), requests to write ([`Shard::write_requests`]), one
//! deadline ([`Shard::poll_timeout`]). The driver is a worker of `io`, or the simulator.
//!
//! ```text
//! handle_event ──▶ lanes: one chain of deliveries per (webhook, key), ORD-1
//!                    │ a lane whose head may be sent is linked into its webhook's ready list;
//!                    │ a request carries such a head, or a batch of many
//!                    ▼
//!                  webhook: ready lanes, window of deliveries in flight, ORD-2
//!                    │ a webhook that may send stands in its endpoint's queue
//!                    ▼
//!                  endpoint: idle connections, last used first ──▶ Open / Wake
//!                    ▼
//! handle_read ───▶ connection: exchanges, in order ──▶ settle: done, again later, or dead
//! ```
//!
//! No step looks through a queue: a bad key with 100 000 events behind it, or a hung endpoint,
//! costs the others nothing. What is looked through, now and then, are connections (when a
//! deadline has passed, or the bound of connections is reached) and webhooks (when one changes).

mod ages;
mod batches;
mod breaker;
mod connections;
mod endpoints;
mod gates;
mod intake;
mod isolation;
mod journal;
mod lag;
mod lanes;
mod load;
mod measures;
mod notices;
mod numbers;
mod overflow;
mod rate;
mod replay;
mod salvage;
mod settle;
mod stale;
mod timers;
mod webhooks;
mod window;

pub use breaker::BreakerPolicy;
pub use connections::{Closed, ConnectionId, Step, Target};
pub use isolation::Isolation;
pub use notices::{Notice, NoticeKind};
pub use settle::TestOutcome;

use super::ledger::Counters;
use super::replay::Replay;
use super::snapshot::Snapshot;
use super::timestamp::TimeWriter;
use crate::base::random::Random;
use crate::base::time::Tick;
use batches::Batch;
use connections::Connection;
use endpoints::{EndpointState, Pool};
use gates::Gates;
use hashbrown::HashTable;
use journal::Keeping;
use lag::Lag;
use lanes::{Delivery, EventRecord, Lane};
use notices::Notices;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use timers::Timers;
use webhooks::WebhookState;

/// What a shard is told once.
#[derive(Clone, Debug)]
pub struct ShardConfig {
    /// The number of this worker.
    pub worker: usize,
    /// How many workers there are.
    pub workers: usize,
    /// Names this start of the engine in event ids.
    pub boot: u64,
    /// Seed of the jitter.
    pub seed: u64,
    /// Open connections to one endpoint.
    pub endpoint_connections_max: usize,
    /// Open connections.
    pub connections_max: usize,
    /// An idle connection is closed after this long.
    pub idle_timeout_ms: u64,
    /// How far endpoints that misbehave are borne with.
    pub isolation: Isolation,
}

/// What the shards of one engine share with each other and with the callers.
#[derive(Debug)]
pub struct Shared {
    /// Counters over all webhooks, deleted ones included; one per worker.
    pub totals: Box<[crossbeam_utils::CachePadded<Totals>]>,
    /// Webhooks whose queue is full.
    pub full_count: AtomicU32,
    /// Unfinished deliveries of earlier starts that no worker has taken up yet, of all webhooks.
    pub unread: AtomicU64,
}

/// One worker's counters over all webhooks.
#[derive(Debug, Default)]
pub struct Totals {
    /// The sums over all webhooks.
    pub deliveries: Counters,
    /// Connections that were opened.
    pub connections_opened: super::ledger::Counter,
    /// Requests over a connection that had been used before.
    pub connections_reused: super::ledger::Counter,
    /// Times the worker was started again after a breakdown.
    pub restarts: super::ledger::Counter,
    /// Accepted events that broke the worker twice and were given up.
    pub events_abandoned: super::ledger::Counter,
    /// Connections that are open, those included that are being opened.
    pub connections_open: super::ledger::Counter,
    /// Events that were taken out of the ring.
    pub events_taken_in: super::ledger::Counter,
}

impl Shared {
    /// For `workers` workers.
    pub fn new(workers: usize) -> Self {
        Shared {
            totals: (0..workers).map(|_| Default::default()).collect(),
            full_count: AtomicU32::new(0),
            unread: AtomicU64::new(0),
        }
    }
}

/// What the driver is to do.
#[derive(Debug)]
pub enum Action {
    /// Connect to `target`, then report with [`Shard::handle_connected`] or
    /// [`Shard::handle_connect_failed`].
    Open {
        /// The connection that is to be.
        connection: ConnectionId,
        /// Where to.
        target: Target,
    },
    /// An open connection has requests to write: call [`Shard::write_requests`], unless a write
    /// is under way; then after it.
    Wake(ConnectionId),
    /// Close it; the shard has forgotten it.
    Close(ConnectionId),
    /// There is room again in a queue that was full: wake the callers that wait.
    RoomMade,
    /// Something that operators should read in the log.
    Notice(Box<Notice>),
}

/// One worker's engine. See the module's documentation.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    shared: Arc<Shared>,
    snapshot: Arc<Snapshot>,
    /// By slot.
    webhooks: Vec<Option<WebhookState>>,
    events: Slab<EventRecord>,
    deliveries: Slab<Delivery>,
    lanes: Slab<Lane>,
    batches: Slab<Batch>,
    /// Finds the lane of a (webhook, key). Only lanes with deliveries exist.
    lane_index: HashTable<u32>,
    endpoints: Slab<EndpointState>,
    connections: Slab<Connection>,
    pool: Pool,
    timers: Timers,
    actions: VecDeque<Action>,
    tests: VecDeque<TestOutcome>,
    random: Random,
    /// Counts the events; part of their ids.
    sequence: u64,
    /// Counts connections and lanes, so that a late word about an earlier one is recognised.
    generation: u32,
    matched: Vec<u32>,
    spare_bodies: Vec<Vec<u8>>,
    times: TimeWriter,
    /// The body that is being written, and the header lines of its event.
    body: Vec<u8>,
    notices: Notices,
    lines: Vec<u8>,
    gates: Gates,
    /// Kept events that are being sent again.
    replays: Slab<Replay>,
    /// Where it writes down what must outlive the process.
    journal: Option<Box<Keeping>>,
    /// Webhooks that are no more and have deliveries in the journal that must be cancelled.
    orphans: HashMap<u64, Lag>,
}

impl Shard {
    /// A shard without webhooks; it learns of them with [`Shard::handle_snapshot`].
    pub fn new(config: ShardConfig, shared: Arc<Shared>, snapshot: Arc<Snapshot>) -> Self {
        let random = Random::new(config.seed);
        let mut shard = Shard {
            config,
            shared,
            snapshot: snapshot.clone(),
            webhooks: Vec::new(),
            events: Slab::new(),
            deliveries: Slab::new(),
            lanes: Slab::new(),
            batches: Slab::new(),
            lane_index: HashTable::new(),
            endpoints: Slab::new(),
            connections: Slab::new(),
            pool: Pool::default(),
            timers: Timers::default(),
            actions: VecDeque::new(),
            tests: VecDeque::new(),
            random,
            sequence: 0,
            generation: 0,
            matched: Vec::new(),
            spare_bodies: Vec::new(),
            times: TimeWriter::new(),
            body: Vec::new(),
            notices: Notices::default(),
            lines: Vec::new(),
            gates: Gates::default(),
            replays: Slab::new(),
            journal: None,
            orphans: HashMap::new(),
        };
        shard.handle_snapshot(Tick::default(), snapshot);
        shard
    }

    /// The next thing the driver is to do. Call after each `handle_*`, until it gives `None`.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The next finished test delivery. Call after each `handle_*`, until it gives `None`.
    pub fn poll_test(&mut self) -> Option<TestOutcome> {
        self.tests.pop_front()
    }

    /// When to call [`Shard::handle_timeout`]; it may have become earlier after each `handle_*`.
    pub fn poll_timeout(&self) -> Option<Tick> {
        self.timers.next()
    }

    /// Generation of the snapshot that the shard works by.
    pub fn generation(&self) -> u64 {
        self.snapshot.generation
    }

    /// Deliveries that wait or are under way.
    pub fn pending(&self) -> usize {
        let spilled = match self.journal {
            Some(_) => self.webhooks.iter().flatten().map(WebhookState::spilled).sum(),
            None => 0,
        };
        self.deliveries.len() + spilled as usize
    }

    fn totals(&self) -> &Totals {
        &self.shared.totals[self.config.worker]
    }

    fn next_generation(&mut self) -> u32 {
        self.generation = self.generation.wrapping_add(1);
        self.generation
    }
}
