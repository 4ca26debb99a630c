//! The durable log as a part of the engine: workers write down what they do, and get back what
//! they have no room for in memory.
//!
//! ```text
//! shard ──▶ LogJournal ──▶ log's Appender ──▶ writer's thread ──▶ disk
//!   ▲           │ fetch                                            │
//!   └─ control ─┴──────▶ Fetcher's thread ◀────────────────────────┘
//! ```
//!
//! Workers never read the disk: the fetcher's thread does, for all of them.

mod fetcher;
mod journal;

use super::{LogReport, LogState, QueueConfig, WebhookError};
use crate::base::hash::KeyHasher;
use crate::core::journal::Journal;
use crate::io::worker::WorkerShared;
use crate::log::{AnswerWaiters, DurableLog, LogConfig, LogReader, Pressure, Progress};
use fetcher::{Fetcher, Request};
use journal::LogJournal;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The log lies in this directory, in `data_dir`.
const LOG_DIRECTORY: &str = "log";
/// Progress of a long opening is told this often.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);

/// The log of a running engine.
pub(super) struct Durable {
    log: DurableLog,
    reader: LogReader,
    disk_bytes_max: u64,
    answerer: Arc<dyn AnswerWaiters>,
    requests: Sender<Request>,
    /// Until the fetcher starts.
    asked: Mutex<Option<Receiver<Request>>>,
    workers: Arc<[OnceLock<Arc<WorkerShared>>]>,
    fetcher: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Durable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Durable").field("boot", &self.log.boot()).finish_non_exhaustive()
    }
}

impl Durable {
    /// Opens the log, which may take long.
    pub(super) fn open(
        config: &QueueConfig,
        workers: usize,
        answerer: Arc<dyn AnswerWaiters>,
    ) -> Result<Durable, WebhookError> {
        let path = directory(config);
        let log_config = LogConfig {
            fsync: config.fsync,
            segment_bytes: config.segment_bytes,
            disk_bytes_max: config.max_disk_bytes,
            workers,
        };
        let mut told_at = Instant::now();
        let mut tell = |progress: Progress| {
            if told_at.elapsed() >= PROGRESS_INTERVAL {
                told_at = Instant::now();
                let percent = 100 * progress.bytes / progress.bytes_total.max(1);
                tracing::info!(
                    events = progress.events,
                    pending = progress.pending,
                    "reading the log: {percent} %"
                );
            }
        };
        let log = DurableLog::open(&path, &log_config, &mut tell)
            .map_err(|error| WebhookError::Start(error.to_string()))?;
        log.answer_with(answerer.clone());
        let reader = log.reader();
        let pending = reader.pending();
        if pending > 0 {
            tracing::info!(pending, "unfinished deliveries of earlier starts are taken up");
        }
        let (requests, asked) = channel();
        Ok(Durable {
            log,
            reader,
            disk_bytes_max: config.max_disk_bytes,
            answerer,
            requests,
            asked: Mutex::new(Some(asked)),
            workers: (0..workers).map(|_| OnceLock::new()).collect(),
            fetcher: Mutex::new(None),
        })
    }

    /// The number of this start of the engine.
    pub(super) fn boot(&self) -> u64 {
        self.log.boot()
    }

    /// Unfinished deliveries that the log holds of a webhook.
    pub(super) fn pending_of(&self, number: u64) -> u64 {
        self.reader.pending_of(number)
    }

    /// How the log is.
    pub(super) fn report(&self) -> LogReport {
        let status = self.log.status();
        LogReport {
            state: match self.log.pressure() {
                Pressure::None => LogState::Ok,
                Pressure::Full => LogState::Full,
                Pressure::Failed => LogState::Failed,
            },
            trouble: status.trouble.map(|error| error.to_string()),
            disk_bytes: status.disk_bytes,
            disk_bytes_max: self.disk_bytes_max,
            segments: status.segments,
            unfinished: status.pending,
            bytes_written: status.counters.bytes,
            syncs: status.counters.syncs,
            write_errors: status.counters.write_errors,
            groups_refused: status.batches_refused_full + status.batches_refused_failed,
        }
    }

    /// The journal of `worker`; once.
    pub(super) fn journal(&self, worker: usize) -> Option<Box<dyn Journal>> {
        let appender = self.log.appender(worker)?;
        let workers = self.workers.clone();
        appender.on_answer(move || {
            if let Some(worker) = workers[worker].get() {
                worker.inbox.ring_doorbell();
            }
        });
        let (reader, answerer) = (self.reader.clone(), self.answerer.clone());
        Some(Box::new(LogJournal::new(worker, appender, reader, answerer, self.requests.clone())))
    }

    /// The workers run: from now on they get what they fetch.
    pub(super) fn connect(
        &self,
        workers: &[Arc<WorkerShared>],
        hasher: &KeyHasher,
    ) -> std::io::Result<()> {
        for (place, worker) in self.workers.iter().zip(workers) {
            let _ = place.set(worker.clone());
            // What the log had to say meanwhile.
            worker.inbox.ring_doorbell();
        }
        let Some(asked) = lock(&self.asked).take() else { return Ok(()) };
        let fetcher =
            Fetcher::new(self.reader.clone(), workers.to_vec(), hasher.clone(), self.boot());
        let thread = std::thread::Builder::new()
            .name("webhook-fetcher".to_owned())
            .spawn(move || fetcher.run(&asked))?;
        *lock(&self.fetcher) = Some(thread);
        Ok(())
    }

    /// The workers have ended: writes and syncs the rest, and ends the log in order.
    pub(super) fn close(&self) {
        let _ = self.requests.send(Request::Stop);
        if let Some(thread) = lock(&self.fetcher).take() {
            let _ = thread.join();
        }
        if let Err(error) = self.log.close() {
            tracing::error!(%error, "the log was not closed in order");
        }
    }
}

/// Where the log lies.
pub(super) fn directory(config: &QueueConfig) -> PathBuf {
    config.data_dir.join(LOG_DIRECTORY)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
