//! The writer's thread: whatever has come while the last group was being written (and synced) is
//! the next group. So the slower the disk, the larger the groups, and no timer is needed.

use super::appender::{Appender, Batch, Link, Pressure};
use super::disk::{Directory, Disk};
use super::error::LogError;
use super::reader::LogReader;
use super::record::{self, Kind};
use super::recovery::{Progress, RecoveryReport};
use super::store::{Store, StoreConfig, StoreCounters};
use super::table::SharedTable;
use super::waiters::AnswerWaiters;
use crate::base::limits;
use crate::base::random;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What an event survives once `trigger().await` has returned `Ok`, and what an answered
/// ticket means (DUR-1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Fsync {
    /// It survives kill -9, and power loss.
    Always,
    /// It survives kill -9; power loss may take the last 1-2 s.
    #[default]
    EverySecond,
    /// It survives kill -9; power loss is left to the kernel.
    No,
}

impl Fsync {
    /// The names in the configuration.
    pub const NAMES: [&str; 3] = ["always", "everysec", "no"];

    /// The name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Fsync::Always => Fsync::NAMES[0],
            Fsync::EverySecond => Fsync::NAMES[1],
            Fsync::No => Fsync::NAMES[2],
        }
    }

    /// Reads a name.
    pub fn from_name(name: &str) -> Option<Fsync> {
        [Fsync::Always, Fsync::EverySecond, Fsync::No]
            .into_iter()
            .find(|choice| choice.name() == name)
    }
}

/// How the log is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogConfig {
    /// What an answered ticket means.
    pub fsync: Fsync,
    /// A segment ends when it is this long, in bytes.
    pub segment_bytes: u64,
    /// All segments together, in bytes. No event is taken beyond it.
    pub disk_bytes_max: u64,
    /// Workers of the engine, each of which gets an [`Appender`].
    pub workers: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig {
            fsync: Fsync::default(),
            segment_bytes: limits::LOG_SEGMENT_BYTES_DEFAULT,
            disk_bytes_max: limits::LOG_DISK_BYTES_DEFAULT,
            workers: 1,
        }
    }
}

/// How the log is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LogStatus {
    /// Why nothing can be made durable, if it cannot.
    pub trouble: Option<LogError>,
    /// Bytes of all segments.
    pub disk_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Unfinished deliveries in the log.
    pub pending: u64,
    /// Batches of events that were refused because the bound of the disk was reached.
    pub batches_refused_full: u64,
    /// Batches of events that were refused because the disk had failed.
    pub batches_refused_failed: u64,
    /// Attempts that were not remembered because there were too many.
    pub attempts_forgotten: u64,
    /// What was done and met.
    pub counters: StoreCounters,
}

#[derive(Default)]
struct Shared {
    status: Mutex<LogStatus>,
    refused_full: AtomicU64,
    refused_failed: AtomicU64,
}

impl Shared {
    fn status(&self) -> MutexGuard<'_, LogStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The durable log of an engine, and its writer's thread.
pub struct DurableLog {
    link: Arc<Link>,
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    table: SharedTable,
    boot: u64,
    report: RecoveryReport,
    taken: Box<[AtomicBool]>,
    thread: Mutex<Option<JoinHandle<Result<(), LogError>>>>,
}

impl DurableLog {
    /// Opens the log in `path`, and makes it if there is none. `progress` is called now and then
    /// while a large one is read. When this returns, the number of this start is on stable
    /// storage.
    ///
    /// # Errors
    /// [`LogError::Locked`], [`LogError::ReadOnly`], [`LogError::NoSpace`],
    /// [`LogError::Damaged`], [`LogError::Missing`], [`LogError::Invalid`], [`LogError::Io`]: each
    /// says what to do.
    pub fn open(
        path: &Path,
        config: &LogConfig,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<DurableLog, LogError> {
        DurableLog::open_on(Arc::new(Directory::lock(path)?), config, progress)
    }

    /// As [`DurableLog::open`], on any disk.
    ///
    /// # Errors
    /// As [`DurableLog::open`].
    pub fn open_on(
        disk: Arc<dyn Disk>,
        config: &LogConfig,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<DurableLog, LogError> {
        let store_config = StoreConfig {
            segment_bytes: config.segment_bytes,
            disk_bytes_max: config.disk_bytes_max,
            workers: u32::try_from(config.workers).unwrap_or(u32::MAX),
            boot: random::boot_id(),
            seed: random::seed(),
        };
        let (store, report) = Store::open(disk.clone(), store_config, progress)?;
        if let Some(cut) = &report.cut {
            tracing::warn!(
                "{}: {} bytes at offset {} were not wholly written ({}); {} records in them were \
                 not promised to survive a loss of power and are gone",
                cut.file.display(),
                cut.bytes,
                cut.offset,
                cut.what,
                cut.records,
            );
        }
        let link = Arc::new(Link::new(config.workers));
        let shared = Arc::new(Shared::default());
        let (table, boot) = (store.table(), store.boot());
        let mut writer = Writer {
            fsync: config.fsync,
            // What may be in the queue and in a group when the pressure is noticed.
            reserve: (limits::LOG_QUEUE_BYTES_MAX + 2 * limits::LOG_GROUP_BYTES_MAX) as u64,
            // Small segments are not to end far behind their end.
            group_bytes: limits::LOG_GROUP_BYTES_MAX.min(config.segment_bytes as usize / 4),
            store,
            link: link.clone(),
            shared: shared.clone(),
            group: Vec::new(),
            taken: Taken { batches: Vec::new(), link: link.clone() },
            touched: vec![false; config.workers],
            synced_at: Instant::now(),
            tried_at: Instant::now(),
        };
        writer.report();
        let thread = std::thread::Builder::new()
            .name("webhook-log".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| LogError::from_io("starting the writer of", &disk.path(""), &error))?;
        let _ = link.writer.set(thread.thread().clone());
        let taken = (0..config.workers).map(|_| AtomicBool::new(false)).collect();
        let thread = Mutex::new(Some(thread));
        Ok(DurableLog { link, shared, disk, table, boot, report, taken, thread })
    }

    /// The number of this start of the engine: higher than any before, also when the clock was set
    /// back. Event ids must carry it.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// What the log held when it was opened.
    pub fn recovered(&self) -> &RecoveryReport {
        &self.report
    }

    /// The way into the log for `worker`. `None`: it was given out already, or there is no such
    /// worker.
    pub fn appender(&self, worker: usize) -> Option<Appender> {
        let taken = self.taken.get(worker)?.swap(true, Ordering::AcqRel);
        (!taken).then(|| Appender::new(self.link.clone(), worker, self.boot))
    }

    /// Who tells the callers that wait for their events. Set it before the first event comes with
    /// a waiter; only the first call counts.
    pub fn answer_with(&self, answerer: Arc<dyn AnswerWaiters>) {
        let _ = self.link.answerer.set(answerer);
    }

    /// Reads events back.
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.disk.clone(), self.table.clone())
    }

    /// Whether the log takes events: one relaxed load.
    pub fn pressure(&self) -> Pressure {
        self.link.pressure()
    }

    /// How the log is; brought up to date with each group, at most a second old otherwise.
    pub fn status(&self) -> LogStatus {
        let mut status = self.shared.status().clone();
        status.batches_refused_full = self.shared.refused_full.load(Ordering::Relaxed);
        status.batches_refused_failed = self.shared.refused_failed.load(Ordering::Relaxed);
        let table = self.table.lock();
        status.segments = table.segments.len() as u64;
        status.pending = table.pending;
        status.attempts_forgotten = table.attempts_forgotten;
        status
    }

    /// Writes and syncs what was handed over, and ends the log in order. Later calls do nothing.
    ///
    /// # Errors
    /// The disk failed.
    pub fn close(&self) -> Result<(), LogError> {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        self.link.stop.store(true, Ordering::Release);
        thread.thread().unpark();
        thread.join().unwrap_or(Err(LogError::Closed))
    }
}

impl Drop for DurableLog {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "the log was not closed in order");
        }
    }
}

struct Writer {
    fsync: Fsync,
    reserve: u64,
    /// No batch is added to a group that is this long.
    group_bytes: usize,
    store: Store,
    link: Arc<Link>,
    shared: Arc<Shared>,
    /// The records of a group.
    group: Vec<u8>,
    taken: Taken,
    touched: Vec<bool>,
    synced_at: Instant,
    tried_at: Instant,
}

/// The batches of a group, and what became of them.
struct Taken {
    batches: Vec<(Batch, Result<(), LogError>)>,
    link: Arc<Link>,
}

impl Drop for Taken {
    /// There are some only if the writer breaks down.
    fn drop(&mut self) {
        for (batch, _) in self.batches.drain(..) {
            self.link.answer_waiters(&batch, Err(&LogError::Closed));
        }
    }
}

/// Tells the workers and those who wait, however the thread ends.
struct Ended(Arc<Link>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.set_pressure(Pressure::Failed);
        self.0.end();
        self.0.notify_all();
    }
}

impl Writer {
    fn run(mut self) -> Result<(), LogError> {
        let _ended = Ended(self.link.clone());
        loop {
            let wrote = self.write_group();
            self.sync_if_due();
            self.retry_if_due();
            self.store.remove_finished();
            // Only in steps: batches may wait.
            let cleaning = self.store.clean_step();
            self.report();
            if wrote || cleaning {
                continue;
            }
            if self.link.stop.load(Ordering::Acquire) && self.link.queue.is_empty() {
                break;
            }
            if self.link.may_sleep() {
                std::thread::park_timeout(Duration::from_millis(limits::LOG_SYNC_INTERVAL_MS));
                self.link.awake();
            }
        }
        self.store.close()
    }

    /// Writes what waits; `false`: nothing did.
    fn write_group(&mut self) -> bool {
        self.group.clear();
        let mut has_events = false;
        while self.group.len() < self.group_bytes
            && let Some(batch) = self.link.pop()
        {
            let mut result = Ok(());
            if !batch.events.is_empty() {
                result = self.store.check_room(self.group.len() + batch.events.len());
                if result.is_ok() {
                    self.group.extend_from_slice(&batch.events);
                    has_events = true;
                } else {
                    self.shared.refused_full.fetch_add(1, Ordering::Relaxed);
                }
            }
            let marks = [
                (Kind::Acks, &batch.acks),
                (Kind::Attempts, &batch.attempts),
                (Kind::Dead, &batch.dead),
            ];
            for (kind, marks) in marks {
                if !marks.is_empty() {
                    record::put(&mut self.group, kind, marks);
                }
            }
            self.taken.batches.push((batch, result));
        }
        if self.taken.batches.is_empty() {
            return false;
        }
        let mut written = self.store.append(&mut self.group);
        // Acks alone need no sync: one that is lost costs a repetition.
        if written.is_ok() && has_events && self.fsync == Fsync::Always {
            written = self.store.sync();
        }
        self.answer(&written);
        if self.group.capacity() > 2 * limits::LOG_GROUP_BYTES_MAX {
            self.group = Vec::new();
        }
        true
    }

    fn answer(&mut self, written: &Result<(), LogError>) {
        for (batch, result) in self.taken.batches.drain(..) {
            let result = match (result, written) {
                (Ok(()), Err(error)) if !batch.events.is_empty() => {
                    self.shared.refused_failed.fetch_add(1, Ordering::Relaxed);
                    Err(error.clone())
                }
                (result, _) => result,
            };
            self.link.answer_waiters(&batch, result.as_ref().copied());
            self.link.answer(batch.worker, batch.number, result);
            self.touched[batch.worker] = true;
            self.link.give_back(batch);
        }
        self.link.notify(&mut self.touched);
    }

    fn sync_if_due(&mut self) {
        if self.fsync == Fsync::No || !self.store.is_unsynced() {
            // A second counts from the first write that is not synced.
            self.synced_at = Instant::now();
            return;
        }
        if self.synced_at.elapsed() >= Duration::from_millis(limits::LOG_SYNC_INTERVAL_MS) {
            // Its failure is seen as trouble, and was logged.
            let _ = self.store.sync();
            self.synced_at = Instant::now();
        }
    }

    fn retry_if_due(&mut self) {
        if self.store.trouble().is_some()
            && self.tried_at.elapsed() >= Duration::from_millis(limits::LOG_RETRY_MS)
        {
            self.tried_at = Instant::now();
            if self.store.retry().is_ok() {
                tracing::info!("the log can be written again");
            }
        }
    }

    /// Tells how the log is.
    fn report(&mut self) {
        let (used, limit) = (self.store.disk_bytes(), self.store.disk_bytes_max());
        // Small logs are used to the half before the reserve takes what is left.
        let mut soft = limit.saturating_sub(self.reserve).max(limit / 2);
        if self.link.pressure() == Pressure::Full {
            // Not back and forth with every segment.
            soft -= soft / 10;
        }
        let pressure = match self.store.trouble() {
            Some(_) => Pressure::Failed,
            None if used >= soft => Pressure::Full,
            None => Pressure::None,
        };
        self.store.set_pressed(used >= soft);
        if pressure != self.link.pressure() {
            self.link.set_pressure(pressure);
            match pressure {
                Pressure::Full => tracing::warn!(used, limit, "the log is nearly full"),
                Pressure::Failed => tracing::error!("the log takes no events: the disk has failed"),
                Pressure::None => tracing::info!("the log takes events"),
            }
            self.link.notify_all();
        }
        let mut status = self.shared.status();
        status.trouble = self.store.trouble().cloned();
        status.disk_bytes = used;
        status.counters = self.store.counters();
    }
}
