//! The fetcher's thread: reads unfinished deliveries back for the workers.
//!
//! What earlier starts have left is read once, in order, for all webhooks and workers together. A
//! webhook that takes up its deliveries more slowly than they are read goes on by itself from
//! where it is; so does each webhook when all was read. A webhook that begins to lag later is read
//! from where the log ended then.

use crate::base::hash::{KeyHasher, worker_of};
use crate::base::id::EventId;
use crate::core::journal::{Fetch, Fetched, StoredDelivery, StoredEvent};
use crate::io::worker::{Control, WorkerShared};
use crate::log::{LogError, LogReader, Position, Scan};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

/// Events that are read before requests are looked at again.
const STEP_EVENTS: usize = 256;
/// Deliveries that are read ahead for a webhook and worker; then it goes on by itself.
const AHEAD_DELIVERIES_MAX: usize = 1024;
/// Bodies and keys that are read ahead for all together, in bytes.
const AHEAD_BYTES_MAX: usize = 16 << 20;
/// Bodies and keys that are fetched at once, in bytes; one alone may be larger.
const FETCH_BYTES_MAX: usize = 1 << 20;
/// An error that stays is told this often.
const ERROR_INTERVAL: Duration = Duration::from_secs(10);
/// What could not be read is tried again after this.
const AFTER_ERROR_PAUSE: Duration = Duration::from_millis(100);

/// What a worker asks.
pub(super) enum Request {
    /// A webhook begins to lag.
    Begin {
        /// On which worker.
        worker: usize,
        /// Its number.
        webhook: u64,
        /// The event that it begins with.
        first: EventId,
        /// That event is behind this.
        behind: Position,
    },
    /// Deliveries, please.
    Fetch {
        /// For which worker.
        worker: usize,
        /// Which.
        fetch: Fetch,
    },
    /// A webhook does not lag any more.
    Forget {
        /// On which worker.
        worker: usize,
        /// Its number.
        webhook: u64,
    },
    /// The engine stops.
    Stop,
}

/// Where a webhook is, on one worker.
#[derive(Default)]
struct Cursor {
    /// Was read, and not fetched yet.
    ahead: VecDeque<StoredDelivery>,
    /// Reads on behind that; `None` while what earlier starts have left is read for all together.
    scan: Option<Scan>,
    /// Of this start, only this event and later ones.
    first: Option<EventId>,
    /// A question that is not answered yet: for how many.
    asked: Option<usize>,
}

type Place = (usize, u64);

pub(super) struct Fetcher {
    reader: LogReader,
    workers: Vec<Arc<WorkerShared>>,
    hasher: KeyHasher,
    boot: u64,
    cursors: HashMap<Place, Cursor>,
    /// What earlier starts have left, until it is read.
    left: Option<Scan>,
    /// Where that ended.
    end: Option<Scan>,
    /// Bytes that are read ahead, by all together.
    ahead_bytes: usize,
    event: StoredEvent,
    error_told_at: Option<Instant>,
}

impl Fetcher {
    pub(super) fn new(
        reader: LogReader,
        workers: Vec<Arc<WorkerShared>>,
        hasher: KeyHasher,
        boot: u64,
    ) -> Fetcher {
        Fetcher {
            left: Some(reader.scan()),
            end: None,
            ahead_bytes: 0,
            reader,
            workers,
            hasher,
            boot,
            cursors: HashMap::new(),
            event: StoredEvent::default(),
            error_told_at: None,
        }
    }

    /// Runs until it is told to stop.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        loop {
            let request = match self.is_idle() {
                true => requests.recv().map_err(|_| TryRecvError::Disconnected),
                false => requests.try_recv(),
            };
            match request {
                Ok(Request::Begin { worker, webhook, first, behind }) => {
                    let scan = Some(self.reader.scan_behind(behind, webhook));
                    let cursor = Cursor { scan, first: Some(first), ..Cursor::default() };
                    self.forget((worker, webhook));
                    self.cursors.insert((worker, webhook), cursor);
                }
                Ok(Request::Fetch { worker, fetch }) => self.ask((worker, fetch.webhook), &fetch),
                Ok(Request::Forget { worker, webhook }) => {
                    self.forget((worker, webhook));
                }
                Ok(Request::Stop) | Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => self.read_what_is_left(),
            }
        }
    }

    /// Whether there is nothing to do before the next request: nobody asks, who has nothing of his
    /// own.
    fn is_idle(&self) -> bool {
        let asks = |cursor: &Cursor| cursor.asked.is_some() && cursor.scan.is_none();
        self.left.is_none() || !self.cursors.values().any(asks)
    }

    fn forget(&mut self, place: Place) {
        if let Some(cursor) = self.cursors.remove(&place) {
            self.ahead_bytes -= cursor.ahead.iter().map(bytes_of).sum::<usize>();
        }
    }

    fn ask(&mut self, place: Place, fetch: &Fetch) {
        let cursor = self.cursors.entry(place).or_default();
        cursor.asked = Some(fetch.deliveries_max);
        if cursor.scan.is_none()
            && let Some(end) = &self.end
        {
            // Earlier starts have left nothing of it.
            cursor.scan = Some(end.fork(fetch.webhook));
        }
        if !cursor.ahead.is_empty() || cursor.scan.is_some() {
            self.answer(place);
        }
    }

    /// Reads a part of what earlier starts have left.
    fn read_what_is_left(&mut self) {
        let Some(mut scan) = self.left.take() else { return };
        for _ in 0..STEP_EVENTS {
            match scan.next(&mut self.event) {
                Ok(true) => self.hand_out(&scan),
                Ok(false) => return self.all_is_read(scan),
                Err(error) => {
                    self.tell(&error);
                    std::thread::sleep(AFTER_ERROR_PAUSE);
                    break;
                }
            }
        }
        self.left = Some(scan);
        let ready = |(place, cursor): (&Place, &Cursor)| {
            (cursor.asked.is_some() && !cursor.ahead.is_empty()).then_some(*place)
        };
        let ready: Vec<Place> = self.cursors.iter().filter_map(ready).collect();
        ready.into_iter().for_each(|place| self.answer(place));
    }

    /// Gives the event that was read to all that it is for.
    fn hand_out(&mut self, scan: &Scan) {
        let key_hash = self.hasher.hash(self.event.database, &self.event.key);
        let worker = worker_of(key_hash, self.workers.len());
        for index in 0..self.event.targets.len() {
            let webhook = self.event.targets[index].webhook;
            let is_new = self.event.id.boot == self.boot;
            if is_new && !self.cursors.contains_key(&(worker, webhook)) {
                // The webhook does not lag: it has it in memory.
                continue;
            }
            let cursor = self.cursors.entry((worker, webhook)).or_default();
            if cursor.scan.is_some() {
                continue;
            }
            let delivery = delivery_of(&self.event, key_hash, index);
            self.ahead_bytes += bytes_of(&delivery);
            cursor.ahead.push_back(delivery);
            if cursor.ahead.len() >= AHEAD_DELIVERIES_MAX || self.ahead_bytes > AHEAD_BYTES_MAX {
                cursor.scan = Some(scan.fork(webhook));
            }
        }
    }

    fn all_is_read(&mut self, scan: Scan) {
        for ((_, webhook), cursor) in &mut self.cursors {
            cursor.scan.get_or_insert_with(|| scan.fork(*webhook));
        }
        self.end = Some(scan);
        let asked = |(place, cursor): (&Place, &Cursor)| cursor.asked.map(|_| *place);
        let asked: Vec<Place> = self.cursors.iter().filter_map(asked).collect();
        asked.into_iter().for_each(|place| self.answer(place));
    }

    /// Answers the question of a webhook and worker, with whatever there is.
    fn answer(&mut self, place: Place) {
        let (worker, webhook) = place;
        let Some(cursor) = self.cursors.get_mut(&place) else { return };
        let Some(most) = cursor.asked.take() else { return };
        let mut fetched = Fetched { webhook, ..Fetched::default() };
        let mut bytes = 0;
        while fetched.deliveries.len() < most && bytes < FETCH_BYTES_MAX {
            let Some(delivery) = cursor.ahead.pop_front() else { break };
            bytes += bytes_of(&delivery);
            self.ahead_bytes -= bytes_of(&delivery);
            fetched.deliveries.push_back(delivery);
        }
        let mut failed = None;
        if let Some(scan) = &mut cursor.scan {
            while fetched.deliveries.len() < most && bytes < FETCH_BYTES_MAX {
                match scan.next(&mut self.event) {
                    Ok(true) => {}
                    Ok(false) => {
                        fetched.end = true;
                        break;
                    }
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
                let id = self.event.id;
                let is_earlier = cursor
                    .first
                    .is_some_and(|first| id.boot != self.boot || id.sequence < first.sequence);
                let key_hash = self.hasher.hash(self.event.database, &self.event.key);
                if is_earlier || worker_of(key_hash, self.workers.len()) != worker {
                    continue;
                }
                let delivery = delivery_of(&self.event, key_hash, 0);
                bytes += bytes_of(&delivery);
                fetched.deliveries.push_back(delivery);
            }
        }
        self.workers[worker].control(Control::Fetched(fetched));
        if let Some(error) = failed {
            self.tell(&error);
        }
    }

    fn tell(&mut self, error: &LogError) {
        if self.error_told_at.is_none_or(|at| at.elapsed() >= ERROR_INTERVAL) {
            self.error_told_at = Some(Instant::now());
            tracing::error!("deliveries cannot be read from the log, and wait: {error}");
        }
    }
}

fn bytes_of(delivery: &StoredDelivery) -> usize {
    delivery.key.len() + delivery.body.len()
}

fn delivery_of(event: &StoredEvent, key_hash: u64, index: usize) -> StoredDelivery {
    StoredDelivery {
        id: event.id,
        kind: event.kind,
        timestamp_us: event.timestamp_us,
        key_hash,
        key: event.key.clone(),
        body: event.body.clone(),
        targets_written: event.targets_written,
        target: event.targets[index],
    }
}
