//! What the log has promised, kept beside it, and the judge of what is left after a stop.

use crate::disk::{Files, RecordingDisk};
use ferrite::base::id::EventId;
use ferrite::core::dead_letters::DeadReason;
use ferrite::core::event::WebhookEvent;
use ferrite::core::failure::Failure;
use ferrite::log::record::{self, Kind};
use ferrite::log::{Death, LogError, LogEvent, Mark, Store, StoreConfig, StoredEvent};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Small segments, so that few events fill one.
pub const SEGMENT_BYTES: u64 = 4096;

pub fn config(seed: u64) -> StoreConfig {
    StoreConfig {
        segment_bytes: SEGMENT_BYTES,
        disk_bytes_max: 1 << 20,
        workers: 2,
        boot: 10,
        seed,
    }
}

pub fn open(disk: &RecordingDisk, seed: u64) -> Result<Store, LogError> {
    Store::open(Arc::new(disk.clone()), config(seed), &mut |_| {}).map(|(store, _)| store)
}

/// When something began, and when it was promised: counts of what had been done to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    pub began: usize,
    pub written: Option<usize>,
    pub synced: Option<usize>,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub id: EventId,
    pub body: Vec<u8>,
    pub times: Times,
    /// For each target, when it was acked.
    pub acks: Vec<Option<Times>>,
    /// For each target, when and how it became a dead letter.
    pub deaths: Vec<Option<(Times, Death)>>,
    /// It was refused. It may be in the log all the same.
    pub refused: bool,
}

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stop {
    /// The page cache is whole.
    Killed,
    /// Only what was synced is certain.
    Powerless,
}

/// A store, and what it has promised.
pub struct Run {
    pub disk: RecordingDisk,
    pub store: Option<Store>,
    pub events: Vec<Event>,
    pub boots: Vec<u64>,
    pub counts: [u64; 2],
    /// A promise is noted before it is kept: a control.
    pub promises_early: bool,
    /// Segments that were cleaned.
    pub cleaned: u64,
    next: u64,
}

impl Run {
    pub fn new(disk: RecordingDisk, seed: u64) -> Run {
        let mut run = Run {
            disk,
            store: None,
            events: Vec::new(),
            boots: Vec::new(),
            counts: [0; 2],
            promises_early: false,
            cleaned: 0,
            next: seed,
        };
        run.reopen();
        run
    }

    /// Opens the log again, after the process was killed or closed it.
    pub fn reopen(&mut self) {
        self.store = None;
        self.next += 1;
        let store = open(&self.disk, self.next).unwrap();
        assert!(self.boots.last().is_none_or(|&last| store.boot() > last), "a boot number again");
        self.boots.push(store.boot());
        self.counts = [0; 2];
        self.store = Some(store);
        // What was found is on stable storage.
        self.note_sync();
    }

    pub fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn note_sync(&mut self) {
        let now = self.disk.len();
        for event in &mut self.events {
            let acks = event.acks.iter_mut().flatten();
            let deaths = event.deaths.iter_mut().flatten().map(|(times, _)| times);
            for times in acks.chain(deaths).chain([&mut event.times]) {
                if times.written.is_some() {
                    times.synced.get_or_insert(now);
                }
            }
        }
    }

    /// Appends an event of `bytes` for `targets` webhooks.
    pub fn append(&mut self, worker: usize, bytes: usize, targets: usize) -> Result<(), LogError> {
        let boot = self.store().boot();
        let sequence = self.counts[worker] * 2 + worker as u64;
        self.counts[worker] += 1;
        let id = EventId { boot, sequence };
        let body: Vec<u8> =
            (0..bytes).map(|index| (index as u64 * 31 + sequence * 7 + boot) as u8).collect();
        let webhooks: Vec<u64> = (0..targets as u64).collect();
        let mut records = Vec::new();
        record::put_event(&mut records, &log_event(id, &body, &webhooks));
        let began = self.disk.len();
        let mut times = Times { began, ..Times::default() };
        if self.promises_early {
            times.written = Some(began);
        }
        let acks = vec![None; targets];
        let deaths = vec![None; targets];
        self.events.push(Event { id, body, times, acks, deaths, refused: false });
        let result = self.store().append(&mut records);
        let now = self.disk.len();
        let event = self.events.last_mut().unwrap();
        match &result {
            Ok(()) => _ = event.times.written.get_or_insert(now),
            Err(_) => event.refused = true,
        }
        result
    }

    /// Acks a delivery, by its place among the unfinished ones.
    pub fn ack(&mut self, place: usize) {
        let unfinished: Vec<(usize, usize)> = self.unfinished();
        if unfinished.is_empty() {
            return;
        }
        let (event, target) = unfinished[place % unfinished.len()];
        let mark = Mark {
            id: self.events[event].id,
            webhook: target as u64,
            target: target as u16,
            value: 1,
        };
        let (mut payload, mut records) = (Vec::new(), Vec::new());
        record::put_mark(&mut payload, &mark);
        record::put(&mut records, Kind::Acks, &payload);
        let began = self.disk.len();
        self.events[event].acks[target] = Some(Times { began, ..Times::default() });
        if self.store().append(&mut records).is_ok() {
            let written = Some(self.disk.len());
            self.events[event].acks[target].as_mut().unwrap().written = written;
        }
    }

    /// A delivery becomes a dead letter, by its place among the unfinished ones; once.
    pub fn die(&mut self, place: usize) {
        let unfinished: Vec<(usize, usize)> = self.unfinished();
        if unfinished.is_empty() {
            return;
        }
        let (event, target) = unfinished[place % unfinished.len()];
        if self.events[event].deaths[target].is_some() {
            return;
        }
        let began = self.disk.len();
        let status = 500 + (began % 100) as u16;
        let death = Death {
            attempts: 1 + (began % 7) as u32,
            status: Some(status),
            failure: Some(Failure::Status(status)),
            reason: DeadReason::FinalStatus,
            at_us: began as u64,
        };
        let id = self.events[event].id;
        let mark = Mark { id, webhook: target as u64, target: target as u16, value: 0 };
        let (mut payload, mut records) = (Vec::new(), Vec::new());
        record::put_dead(&mut payload, &mark, &death);
        record::put(&mut records, Kind::Dead, &payload);
        let mut times = Times { began, ..Times::default() };
        if self.store().append(&mut records).is_ok() {
            times.written = Some(self.disk.len());
        }
        self.events[event].deaths[target] = Some((times, death));
    }

    /// Events and targets without an ack.
    pub fn unfinished(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for (index, event) in self.events.iter().enumerate() {
            for (target, ack) in event.acks.iter().enumerate() {
                if ack.is_none() && !event.refused {
                    found.push((index, target));
                }
            }
        }
        found
    }

    pub fn sync(&mut self) -> Result<(), LogError> {
        let result = self.store().sync();
        if result.is_ok() {
            self.note_sync();
        }
        result
    }

    /// Removes and cleans all there is to.
    pub fn upkeep(&mut self) {
        let before = self.store().counters().segments_cleaned;
        self.store().remove_finished();
        while self.store().clean_step() {}
        self.cleaned += self.store().counters().segments_cleaned - before;
    }

    /// Judges what is left after a stop at `at`, and that work goes on from there.
    pub fn judge(&self, at: usize, stop: Stop, files: &Files) -> Result<(), String> {
        let disk = RecordingDisk::with(files);
        let store = open(&disk, 77).map_err(|error| format!("refused: {error}"))?;
        if let Some(boot) = self.boots_at(at).last()
            && store.boot() <= *boot
        {
            return Err(format!("boot number {boot} again"));
        }
        let found = self.check(at, stop, &store)?;
        go_on(&disk, store, &found)
    }

    /// Starts of the engine whose number may have been used by `at`.
    fn boots_at(&self, at: usize) -> Vec<u64> {
        let used = self.events.iter().filter(|event| event.times.began < at);
        used.map(|event| event.id.boot).collect()
    }

    fn check(&self, at: usize, stop: Stop, store: &Store) -> Result<Found, String> {
        let found = read_all(store).map_err(|error| format!("unreadable: {error}"))?;
        let kept = |times: &Times| match stop {
            Stop::Killed => times.written.is_some_and(|written| written <= at),
            Stop::Powerless => times.synced.is_some_and(|synced| synced <= at),
        };
        let mut order = Vec::new();
        let mut hole = None;
        for event in self.events.iter().filter(|event| event.times.began <= at) {
            let targets = found.targets.get(&event.id);
            if let Some(targets) = targets {
                order.push(event.id);
                if targets.0 != event.body {
                    return Err(format!("{}: another body", event.id));
                }
            }
            for (target, ack) in event.acks.iter().enumerate() {
                let is_there =
                    targets.is_some_and(|(_, targets)| targets.contains(&(target as u16)));
                let died = event.deaths[target].filter(|(times, _)| times.began <= at);
                if is_there {
                    let told = found.deaths.get(&(event.id, target as u16)).copied();
                    match died {
                        Some((times, death)) if kept(&times) && told != Some(death) => {
                            return Err(format!("{} for {target}: {told:?}", event.id));
                        }
                        None if told.is_some() => {
                            return Err(format!("{} for {target} never died", event.id));
                        }
                        _ => {}
                    }
                }
                // One that was under way may have come through or not.
                let acked = ack.filter(|ack| ack.began <= at);
                match acked {
                    None if kept(&event.times) && !is_there => {
                        return Err(format!("{} for {target} is lost", event.id));
                    }
                    Some(ack) if kept(&ack) && is_there => {
                        return Err(format!("{} for {target} came back", event.id));
                    }
                    None if event.refused => {}
                    None if !is_there => hole = hole.or(Some(event.id)),
                    None if hole.is_some() => {
                        return Err(format!(
                            "{} is there, {} before it is not",
                            event.id,
                            hole.unwrap()
                        ));
                    }
                    _ => {}
                }
            }
        }
        if order != found.order {
            return Err(format!("order: {:?} instead of {order:?}", found.order));
        }
        Ok(found)
    }
}

/// Bodies and unfinished targets.
pub type Unfinished = BTreeMap<EventId, (Vec<u8>, Vec<u16>)>;

/// What a log holds that is unfinished.
pub struct Found {
    pub order: Vec<EventId>,
    pub targets: Unfinished,
    /// Of those that are dead letters.
    pub deaths: BTreeMap<(EventId, u16), Death>,
}

pub fn read_all(store: &Store) -> Result<Found, LogError> {
    let mut found = Found { order: Vec::new(), targets: BTreeMap::new(), deaths: BTreeMap::new() };
    let mut scan = store.reader().scan();
    let mut event = StoredEvent::default();
    while scan.next(&mut event)? {
        let targets = event.targets.iter().map(|target| target.target).collect();
        for target in &event.targets {
            found.deaths.extend(target.death.map(|death| ((event.id, target.target), death)));
        }
        found.order.push(event.id);
        let twice = found.targets.insert(event.id, (event.body.clone(), targets));
        assert!(twice.is_none(), "{} came twice", event.id);
    }
    let pending: usize = found.targets.values().map(|(_, targets)| targets.len()).sum();
    assert_eq!(store.reader().pending(), pending as u64);
    Ok(found)
}

/// Writes one more event, loses the power, and looks again: what was recovered must stay, and
/// nothing that was cut off may come back.
fn go_on(disk: &RecordingDisk, mut store: Store, found: &Found) -> Result<(), String> {
    let id = EventId { boot: store.boot(), sequence: 0 };
    let mut records = Vec::new();
    record::put_event(&mut records, &log_event(id, b"one more", &[9]));
    store.append(&mut records).map_err(|error| error.to_string())?;
    store.sync().map_err(|error| error.to_string())?;
    let history = disk.history();
    let files = history.powerless(history.ops().len(), &mut || false);
    let again = open(&RecordingDisk::with(&files), 78)
        .map_err(|error| format!("refused after one more event: {error}"))?;
    let now = read_all(&again).map_err(|error| error.to_string())?;
    let mut expected = found.order.clone();
    expected.push(id);
    if now.order != expected {
        return Err(format!("after one more event {:?} instead of {expected:?}", now.order));
    }
    Ok(())
}

pub fn log_event<'a>(id: EventId, body: &'a [u8], targets: &'a [u64]) -> LogEvent<'a> {
    LogEvent {
        id,
        kind: WebhookEvent::Set,
        database: 0,
        timestamp_us: 5,
        key: b"key",
        body,
        targets,
    }
}
