//! A journal in memory that behaves as the durable log does: it takes a while, refuses, is full,
//! fails, answers fetches late and in parts, and loses what it has not written when all crashes.

use ferrite::base::hash::{KeyHasher, worker_of};
use ferrite::base::id::EventId;
use ferrite::base::limits;
use ferrite::core::event::WebhookEvent;
use ferrite::core::journal::{
    Death, Fetch, Fetched, Journal, LogEvent, Lost, Mark, PendingTarget, StoredDelivery, Urgency,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

/// Deliberate misbehaviour of the journal, for negative controls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Trick {
    #[default]
    None,
    /// Says that events are written, and forgets those of this number and behind.
    ForgetEvents(u64),
    /// A fetch passes over its first delivery.
    SkipFetched,
    /// The first two deliveries of a fetch change places.
    SwapFetched,
    /// Acks are lost on their way.
    LoseAcks,
    /// What was said to be dead is not kept.
    LoseDeaths,
    /// Attempts are not remembered.
    LoseAttempts,
    /// A fetch brings more than was asked for.
    FetchMore,
    /// A fetched body is another one.
    OtherBytes,
    /// Says that all was read, whatever there is.
    EndTooEarly,
}

/// A delivery of an event that was written.
#[derive(Debug, Clone)]
struct KeptTarget {
    webhook: u64,
    finished: bool,
    attempts: u16,
    death: Option<Death>,
}

/// An event that was written down.
#[derive(Debug, Clone)]
struct Kept {
    id: EventId,
    kind: WebhookEvent,
    database: u32,
    timestamp_us: u64,
    key: Vec<u8>,
    body: Vec<u8>,
    targets: Vec<KeptTarget>,
}

#[derive(Debug)]
enum Written {
    Event { event: Box<Kept>, waiter: u32 },
    Ack(Mark),
    Attempts(Mark),
    Dead(Mark, Death),
}

/// What the journal was told, and what it told, for the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Event {
        id: EventId,
        key: Vec<u8>,
        targets: Vec<u64>,
        spilled: Vec<u64>,
    },
    Finished(Mark),
    Attempts(Mark),
    Dead(Mark),
    /// Deliveries that were to be in the journal only are nowhere.
    Lost {
        webhook: u64,
        ids: Vec<EventId>,
    },
    /// Events that were handed over could not be written.
    Refused {
        ids: Vec<EventId>,
    },
    /// Somebody who waited has his answer.
    Answered {
        waiter: u32,
        kept: bool,
    },
}

/// What is to be done some time later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Something was handed over: it is to be written.
    Write { worker: usize },
    /// There is a request for the fetcher.
    Read,
}

/// A delivery that is unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub id: EventId,
    pub webhook: u64,
    pub attempts: u16,
    pub dead: bool,
}

#[derive(Debug)]
enum Request {
    Begin { worker: usize, webhook: u64, first: EventId, from: usize },
    Fetch { worker: usize, fetch: Fetch },
    Forget { worker: usize, webhook: u64 },
}

#[derive(Debug, Default)]
struct Cursor {
    at: usize,
    first: Option<EventId>,
}

/// One worker's way into the journal.
#[derive(Debug, Default)]
struct Side {
    batch: Vec<Written>,
    batch_bytes: usize,
    is_awaited: bool,
    queue: VecDeque<Vec<Written>>,
    /// The tickets of what was handed over last and of what was answered last.
    handed: u64,
    answered: u64,
    failed: BTreeSet<u64>,
    unwritten: VecDeque<(u64, u64, Vec<EventId>)>,
    lost: VecDeque<(u64, Vec<EventId>)>,
    /// Most deliveries that a fetch under way may bring, by webhook.
    asked: BTreeMap<u64, usize>,
    /// Since when something waits to be handed over.
    waits_since: Option<u64>,
}

/// The journal of one engine.
#[derive(Debug, Default)]
pub struct Store {
    log: Vec<Kept>,
    places: BTreeMap<(u64, u64), usize>,
    sides: Vec<Side>,
    cursors: BTreeMap<(usize, u64), Cursor>,
    requests: VecDeque<Request>,
    pub told: Vec<(usize, Told)>,
    pub wants: Vec<Want>,
    /// It has no room in its queue.
    pub refuses: bool,
    pub is_full: bool,
    /// The next batches with events are not written.
    pub fails: bool,
    pub trick: Trick,
    pub now: u64,
    /// When it refused last.
    pub refused_at: u64,
    boot: u64,
}

pub type SharedStore = Arc<Mutex<Store>>;

/// Where a webhook that begins to lag is read from begins at a multiple of so many events, as
/// segments do.
const SEGMENT_EVENTS: usize = 8;

impl Store {
    /// The engine starts with `workers` workers. What was not written before is gone.
    pub fn start(&mut self, workers: usize, boot: u64) {
        self.sides = (0..workers).map(|_| Side::default()).collect();
        self.cursors.clear();
        self.requests.clear();
        self.wants.clear();
        self.told.clear();
        (self.refuses, self.is_full, self.fails) = (false, false, false);
        self.boot = boot;
    }

    fn place(&self, id: EventId) -> Option<usize> {
        self.places.get(&(id.boot, id.sequence)).copied()
    }

    /// The target that a mark means.
    fn target(&mut self, mark: &Mark) -> Option<&mut KeptTarget> {
        let place = self.place(mark.id)?;
        let target = self.log[place].targets.get_mut(usize::from(mark.target))?;
        (target.webhook == mark.webhook).then_some(target)
    }

    /// Writes the oldest batch that a worker has handed over.
    pub fn write(&mut self, worker: usize) {
        let Some(batch) = self.sides[worker].queue.pop_front() else { return };
        self.sides[worker].answered += 1;
        let ticket = self.sides[worker].answered;
        let fails = self.fails && batch.iter().any(|one| matches!(one, Written::Event { .. }));
        if fails {
            self.sides[worker].failed.insert(ticket);
        }
        let mut refused = Vec::new();
        for written in batch {
            match written {
                Written::Event { event, waiter } => {
                    if fails {
                        refused.push(event.id);
                    }
                    let forgets = matches!(self.trick, Trick::ForgetEvents(from)
                        if event.id.sequence >= from);
                    if !fails && !forgets {
                        self.places.insert((event.id.boot, event.id.sequence), self.log.len());
                        self.log.push(*event);
                    }
                    if waiter != 0 {
                        self.told.push((worker, Told::Answered { waiter, kept: !fails }));
                    }
                }
                Written::Ack(mark) => {
                    if let Some(target) = self.target(&mark) {
                        target.finished = true;
                    }
                }
                Written::Attempts(mark) => {
                    if let Some(target) = self.target(&mark) {
                        target.attempts = mark.value;
                    }
                }
                Written::Dead(mark, death) => {
                    if let Some(target) = self.target(&mark) {
                        target.death = Some(death);
                    }
                }
            }
        }
        if fails {
            self.told.push((worker, Told::Refused { ids: refused }));
        }
    }

    /// Hands over and writes everything, as the end of the engine in good order does.
    pub fn write_all(&mut self) {
        for worker in 0..self.sides.len() {
            let batch = std::mem::take(&mut self.sides[worker].batch);
            self.sides[worker].queue.push_back(batch);
            while !self.sides[worker].queue.is_empty() {
                self.write(worker);
            }
        }
    }

    /// Whether everything that was said is written.
    pub fn is_quiet(&self) -> bool {
        self.sides.iter().all(|side| side.batch.is_empty() && side.queue.is_empty())
    }

    /// For how long something has waited to be handed over.
    pub fn waits_us(&self, worker: usize) -> u64 {
        let since = self.sides[worker].waits_since;
        since.map_or(0, |since| self.now - since.max(self.refused_at))
    }

    /// Most deliveries that a fetch under way may bring.
    pub fn asked(&self, worker: usize, webhook: u64) -> usize {
        self.sides[worker].asked.get(&webhook).copied().unwrap_or(0)
    }

    /// The fetch was answered.
    pub fn brought(&mut self, worker: usize, webhook: u64) {
        self.sides[worker].asked.remove(&webhook);
    }

    /// What is unfinished of what was written, in its order.
    pub fn left(&self) -> Vec<Left> {
        let of_event = |event: &Kept| {
            let id = event.id;
            let left = |target: &KeptTarget| {
                let (webhook, attempts, dead) =
                    (target.webhook, target.attempts, target.death.is_some());
                (!target.finished).then_some(Left { id, webhook, attempts, dead })
            };
            event.targets.iter().filter_map(left).collect::<Vec<_>>()
        };
        self.log.iter().flat_map(of_event).collect()
    }

    /// Does the fetcher's next piece of work; an answer is for a worker. Not more than `most`
    /// deliveries are in it.
    pub fn read(&mut self, hasher: &KeyHasher, most: usize) -> Option<(usize, Fetched)> {
        match self.requests.pop_front()? {
            Request::Begin { worker, webhook, first, from } => {
                self.cursors.insert((worker, webhook), Cursor { at: from, first: Some(first) });
                None
            }
            Request::Forget { worker, webhook } => {
                self.cursors.remove(&(worker, webhook));
                None
            }
            Request::Fetch { worker, fetch } => {
                let asked = match self.trick {
                    Trick::FetchMore => usize::MAX,
                    _ => fetch.deliveries_max,
                };
                Some((worker, self.fetch(hasher, worker, fetch.webhook, asked.min(most), most)))
            }
        }
    }

    fn fetch(
        &mut self,
        hasher: &KeyHasher,
        worker: usize,
        webhook: u64,
        asked: usize,
        most: usize,
    ) -> Fetched {
        let mut fetched = Fetched { webhook, ..Fetched::default() };
        let (boot, workers) = (self.boot, self.sides.len());
        let cursor = self.cursors.entry((worker, webhook)).or_default();
        while fetched.deliveries.len() < asked {
            let Some(event) = self.log.get(cursor.at) else {
                fetched.end = true;
                break;
            };
            cursor.at += 1;
            let target = event.targets.iter().position(|target| target.webhook == webhook);
            let Some(target) = target else { continue };
            let is_earlier = cursor
                .first
                .is_some_and(|first| event.id.boot != boot || event.id.sequence < first.sequence);
            let key_hash = hasher.hash(event.database, &event.key);
            let state = &event.targets[target];
            if state.finished || is_earlier || worker_of(key_hash, workers) != worker {
                continue;
            }
            fetched.deliveries.push_back(StoredDelivery {
                id: event.id,
                kind: event.kind,
                timestamp_us: event.timestamp_us,
                key_hash,
                key: event.key.clone(),
                body: event.body.clone(),
                targets_written: event.targets.len() as u16,
                target: PendingTarget {
                    target: target as u16,
                    webhook,
                    attempts: state.attempts,
                    death: state.death,
                },
            });
        }
        // A part of what there is does not say that it is all.
        fetched.end &= fetched.deliveries.len() < most;
        match self.trick {
            Trick::SkipFetched => drop(fetched.deliveries.pop_front()),
            Trick::SwapFetched if fetched.deliveries.len() > 1 => fetched.deliveries.swap(0, 1),
            Trick::EndTooEarly => fetched.end = true,
            Trick::OtherBytes => {
                for stored in &mut fetched.deliveries {
                    let at = stored.body.windows(13).position(|part| part == b"\"timestamp\":\"");
                    if let Some(at) = at {
                        stored.body[at + 13] = b'3';
                    }
                }
            }
            _ => {}
        }
        fetched
    }
}

/// One worker's journal.
#[derive(Debug)]
pub struct SimJournal {
    worker: usize,
    store: SharedStore,
}

impl SimJournal {
    pub fn new(worker: usize, store: SharedStore) -> SimJournal {
        SimJournal { worker, store }
    }

    fn with<T>(&self, act: impl FnOnce(&mut Store, usize) -> T) -> T {
        act(&mut self.store.lock().expect("one thread"), self.worker)
    }

    fn write_down(&self, written: Written, bytes: usize, told: Told) {
        self.with(|store, worker| {
            store.told.push((worker, told));
            let now = store.now;
            let side = &mut store.sides[worker];
            side.batch.push(written);
            side.batch_bytes += bytes;
            side.waits_since.get_or_insert(now);
        });
    }
}

impl Journal for SimJournal {
    fn event(&mut self, event: &LogEvent<'_>, waiter: u32, spilled: &[u64]) {
        let kept = Kept {
            id: event.id,
            kind: event.kind,
            database: event.database,
            timestamp_us: event.timestamp_us,
            key: event.key.to_vec(),
            body: event.body.to_vec(),
            targets: event
                .targets
                .iter()
                .map(|&webhook| KeptTarget { webhook, finished: false, attempts: 0, death: None })
                .collect(),
        };
        let told = Told::Event {
            id: event.id,
            key: event.key.to_vec(),
            targets: event.targets.to_vec(),
            spilled: spilled.to_vec(),
        };
        let bytes = event.body.len() + event.key.len();
        self.write_down(Written::Event { event: Box::new(kept), waiter }, bytes, told);
        self.with(|store, worker| {
            let side = &mut store.sides[worker];
            side.is_awaited |= waiter != 0;
            let ticket = side.handed + 1;
            for &webhook in spilled {
                side.unwritten.push_back((ticket, webhook, vec![event.id]));
            }
        });
    }

    fn ack(&mut self, mark: &Mark) {
        let told = Told::Finished(*mark);
        if self.with(|store, _| store.trick == Trick::LoseAcks) {
            return self.with(|store, worker| store.told.push((worker, told)));
        }
        self.write_down(Written::Ack(*mark), 32, told);
    }

    fn attempts(&mut self, mark: &Mark) {
        let told = Told::Attempts(*mark);
        if self.with(|store, _| store.trick == Trick::LoseAttempts) {
            return self.with(|store, worker| store.told.push((worker, told)));
        }
        self.write_down(Written::Attempts(*mark), 32, told);
    }

    fn dead(&mut self, mark: &Mark, death: &Death) {
        let told = Told::Dead(*mark);
        if self.with(|store, _| store.trick == Trick::LoseDeaths) {
            return self.with(|store, worker| store.told.push((worker, told)));
        }
        self.write_down(Written::Dead(*mark, *death), 64, told);
    }

    fn not_wanted(&mut self, waiter: u32) {
        self.with(|store, worker| {
            store.told.push((worker, Told::Answered { waiter, kept: true }));
        });
    }

    fn abandoned(&mut self, waiter: u32) {
        self.with(|store, worker| {
            store.told.push((worker, Told::Answered { waiter, kept: false }));
        });
    }

    fn urgency(&self) -> Urgency {
        self.with(|store, worker| {
            let side = &store.sides[worker];
            match side.batch.len() {
                0 => Urgency::Nothing,
                _ if side.is_awaited || side.batch_bytes >= limits::LOG_FLUSH_BYTES => Urgency::Now,
                _ => Urgency::Later,
            }
        })
    }

    fn flush(&mut self) -> bool {
        self.with(|store, worker| {
            if store.sides[worker].batch.is_empty() {
                return true;
            }
            if store.refuses {
                return false;
            }
            let side = &mut store.sides[worker];
            side.queue.push_back(std::mem::take(&mut side.batch));
            side.handed += 1;
            (side.is_awaited, side.batch_bytes, side.waits_since) = (false, 0, None);
            store.wants.push(Want::Write { worker });
            true
        })
    }

    fn is_full(&self) -> bool {
        self.with(|store, _| store.is_full)
    }

    fn poll_lost(&mut self) -> Option<Lost> {
        self.with(|store, worker| {
            let side = &mut store.sides[worker];
            while let Some((ticket, ..)) = side.unwritten.front()
                && *ticket <= side.answered
            {
                let Some((ticket, webhook, ids)) = side.unwritten.pop_front() else { break };
                if side.failed.contains(&ticket) {
                    side.lost.push_back((webhook, ids));
                }
            }
            let (webhook, ids) = side.lost.pop_front()?;
            let lost = Lost { webhook, deliveries: ids.len() as u64 };
            store.told.push((worker, Told::Lost { webhook, ids }));
            Some(lost)
        })
    }

    fn begin(&mut self, webhook: u64, first: EventId) {
        self.with(|store, worker| {
            // The event is not handed over yet: it will be there or behind.
            let from = store.log.len() / SEGMENT_EVENTS * SEGMENT_EVENTS;
            store.requests.push_back(Request::Begin { worker, webhook, first, from });
            store.wants.push(Want::Read);
        });
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.with(|store, worker| {
            let asked = &mut store.sides[worker].asked;
            *asked.entry(fetch.webhook).or_default() += fetch.deliveries_max;
            store.requests.push_back(Request::Fetch { worker, fetch });
            store.wants.push(Want::Read);
        });
    }

    fn forget(&mut self, webhook: u64) {
        self.with(|store, worker| {
            store.requests.push_back(Request::Forget { worker, webhook });
            store.wants.push(Want::Read);
        });
    }

    fn left(&self) -> Vec<u64> {
        let left = self.with(|store, _| store.left());
        left.iter().map(|left| left.webhook).collect::<BTreeSet<u64>>().into_iter().collect()
    }
}
