//! How workers reach the writer: batches in one direction, answers in the other, and no lock.
//!
//! Each worker fills a batch of its own and hands it over when it has a few events together. The
//! writer answers batches of one worker in their order; the worker asks how far it has come.

use super::error::LogError;
use super::record;
use super::waiters::AnswerWaiters;
use crate::base::id::EventId;
use crate::base::limits;
use crate::core::journal::{Death, LogEvent, Mark};
use crossbeam_queue::ArrayQueue;
use crossbeam_utils::CachePadded;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

/// What a worker hands over at once: unsealed records.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) worker: usize,
    /// Counts the worker's batches, from 1.
    pub(super) number: u64,
    /// Records of events.
    pub(super) events: Vec<u8>,
    /// Payload of a record of acks.
    pub(super) acks: Vec<u8>,
    /// Payload of a record of attempts.
    pub(super) attempts: Vec<u8>,
    /// Payload of a record of dead letters.
    pub(super) dead: Vec<u8>,
    /// Who waits for the events, once for each.
    pub(super) waiters: Vec<u32>,
}

impl Batch {
    fn bytes(&self) -> usize {
        self.events.len() + self.acks.len() + self.attempts.len() + self.dead.len()
    }

    pub(super) fn clear(&mut self) {
        for part in [&mut self.events, &mut self.acks, &mut self.attempts, &mut self.dead] {
            part.clear();
            if part.capacity() > limits::LOG_BATCH_KEPT_BYTES_MAX {
                *part = Vec::new();
            }
        }
        self.waiters.clear();
        if self.waiters.capacity() > limits::LOG_BATCH_KEPT_BYTES_MAX / size_of::<u32>() {
            self.waiters = Vec::new();
        }
    }
}

/// Whether the log takes events.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Pressure {
    /// It does.
    None = 0,
    /// The configured bound is near: apply the webhooks' policies for a full queue. What is under
    /// way already still fits.
    Full = 1,
    /// The disk has failed: nothing can be made durable until it recovers.
    Failed = 2,
}

/// One worker's answers.
#[derive(Default)]
struct Port {
    /// Batches up to this number are answered.
    answered: AtomicU64,
    has_failures: AtomicBool,
    failures: Mutex<Vec<(u64, LogError)>>,
    notify: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The worker is to be told of its next answer.
    wants_answer: AtomicBool,
    /// The worker found the queue full, and is to be told when there is room.
    wants_room: AtomicBool,
}

impl Port {
    fn tell(&self) {
        if let Some(notify) = self.notify.get() {
            notify();
        }
    }
}

/// Looking is cheaper than swapping, and mostly nobody wants anything.
fn take_flag(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed) && flag.swap(false, Ordering::Relaxed)
}

/// What the workers and the writer share.
pub(super) struct Link {
    pub(super) queue: ArrayQueue<Batch>,
    queued_bytes: AtomicUsize,
    spare: ArrayQueue<Batch>,
    asleep: CachePadded<AtomicBool>,
    pub(super) writer: OnceLock<Thread>,
    ports: Box<[CachePadded<Port>]>,
    pressure: AtomicU8,
    pub(super) stop: AtomicBool,
    /// The writer has ended: nobody will answer.
    pub(super) ended: AtomicBool,
    pub(super) answerer: OnceLock<Arc<dyn AnswerWaiters>>,
}

impl Link {
    pub(super) fn new(workers: usize) -> Link {
        Link {
            queue: ArrayQueue::new(limits::LOG_QUEUE_BATCHES_MAX),
            queued_bytes: AtomicUsize::new(0),
            spare: ArrayQueue::new(limits::LOG_QUEUE_BATCHES_MAX),
            asleep: CachePadded::new(AtomicBool::new(false)),
            writer: OnceLock::new(),
            ports: (0..workers).map(|_| CachePadded::default()).collect(),
            pressure: AtomicU8::new(Pressure::None as u8),
            stop: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            answerer: OnceLock::new(),
        }
    }

    /// Writer: the next batch.
    pub(super) fn pop(&self) -> Option<Batch> {
        let batch = self.queue.pop()?;
        self.queued_bytes.fetch_sub(batch.bytes(), Ordering::Relaxed);
        Some(batch)
    }

    /// Writer: says that it is about to sleep; `false`: do not, there is something to do. The
    /// fences here and in [`Link::wake`] make sure that one of the two sees the other.
    pub(super) fn may_sleep(&self) -> bool {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.queue.is_empty() && !self.stop.load(Ordering::Relaxed) {
            return true;
        }
        self.asleep.store(false, Ordering::Relaxed);
        false
    }

    pub(super) fn awake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
    }

    pub(super) fn wake(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed)
            && self.asleep.swap(false, Ordering::Relaxed)
            && let Some(writer) = self.writer.get()
        {
            writer.unpark();
        }
    }

    pub(super) fn give_back(&self, mut batch: Batch) {
        batch.clear();
        let _ = self.spare.push(batch);
    }

    /// Tells those who wait for the events of `batch`.
    pub(super) fn answer_waiters(&self, batch: &Batch, result: Result<(), &LogError>) {
        if !batch.waiters.is_empty()
            && let Some(answerer) = self.answerer.get()
        {
            answerer.answer(&batch.waiters, result);
        }
    }

    /// Nobody will write what is in the queue: tells those who wait for it. The fences here and in
    /// [`Link::wake`] make sure that a batch is seen here, or its worker sees that it is too late
    /// and calls this itself.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        while let Some(batch) = self.pop() {
            self.answer_waiters(&batch, Err(&LogError::Closed));
        }
    }

    /// Writer: `number` of `worker` is answered.
    pub(super) fn answer(&self, worker: usize, number: u64, result: Result<(), LogError>) {
        let port = &self.ports[worker];
        if let Err(error) = result {
            port.failures.lock().unwrap_or_else(PoisonError::into_inner).push((number, error));
            port.has_failures.store(true, Ordering::Release);
        }
        port.answered.store(number, Ordering::Release);
    }

    /// Writer, after a group: tells the workers that want to know. `touched`: which of them have
    /// new answers. The fences here and where a worker says what it wants make sure that it is told,
    /// or sees for itself what it waits for.
    pub(super) fn notify(&self, touched: &mut [bool]) {
        fence(Ordering::SeqCst);
        for (port, touched) in self.ports.iter().zip(touched) {
            let has_answer = std::mem::take(touched) && take_flag(&port.wants_answer);
            if take_flag(&port.wants_room) || has_answer {
                port.tell();
            }
        }
    }

    pub(super) fn notify_all(&self) {
        self.ports.iter().for_each(|port| port.tell());
    }

    pub(super) fn set_pressure(&self, pressure: Pressure) {
        self.pressure.store(pressure as u8, Ordering::Relaxed);
    }

    pub(super) fn pressure(&self) -> Pressure {
        match self.pressure.load(Ordering::Relaxed) {
            0 => Pressure::None,
            1 => Pressure::Full,
            _ => Pressure::Failed,
        }
    }
}

/// The queue to the writer is full: keep the batch, and flush again when notified. Nothing is
/// lost; take no further events meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the queue to the log's writer is full")]
pub struct QueueFull;

/// One worker's way into the log.
pub struct Appender {
    link: Arc<Link>,
    worker: usize,
    boot: u64,
    batch: Batch,
    /// Batches that were handed over.
    submitted: u64,
}

impl Appender {
    pub(super) fn new(link: Arc<Link>, worker: usize, boot: u64) -> Appender {
        Appender { link, worker, boot, batch: Batch::default(), submitted: 0 }
    }

    /// What to call, on the writer's thread, when there is an answer that was
    /// [wanted](Appender::want_answer), room in the queue after [`QueueFull`], or another
    /// [`Pressure`]. It must not block: ring a doorbell. Only the first call counts.
    pub fn on_answer(&self, notify: impl Fn() + Send + Sync + 'static) {
        let _ = self.link.ports[self.worker].notify.set(Box::new(notify));
    }

    /// Asks to be notified, once, of the next answer. Look at [`Appender::answered`] after this: what
    /// was answered before is not told again.
    pub fn want_answer(&self) {
        self.link.ports[self.worker].wants_answer.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Adds an event to the batch, with who waits for it (0: nobody), whom the log tells by
    /// [`AnswerWaiters`], unless this call fails: then the caller has to. The ticket is that of the batch: when [`Appender::answered`]
    /// has reached it, the promise of the log's [`Fsync`](super::Fsync) holds for the event,
    /// unless [`Appender::failures`] names the ticket.
    ///
    /// # Errors
    /// [`LogError::TooLarge`]; [`LogError::Invalid`] for an id of another start of the engine, or
    /// of another worker.
    pub fn event(&mut self, event: &LogEvent<'_>, waiter: u32) -> Result<u64, LogError> {
        let Some(_size) = record::event_size(event) else {
            let bytes = event.key.len() + event.body.len();
            return Err(LogError::TooLarge { bytes, targets: event.targets.len() });
        };
        let worker = event.id.sequence % self.link.ports.len() as u64;
        if event.id.boot != self.boot || worker != self.worker as u64 {
            return Err(LogError::Invalid("the id of another start of the engine, or worker"));
        }
        record::put_event(&mut self.batch.events, event);
        if waiter != 0 {
            self.batch.waiters.push(waiter);
        }
        Ok(self.submitted + 1)
    }

    /// Notes that a delivery is finished; `mark.value` is a [`Finish`](super::Finish). Acks need no
    /// answer: one that is lost with the power costs a repetition.
    pub fn ack(&mut self, mark: &Mark) {
        record::put_mark(&mut self.batch.acks, mark);
    }

    /// Notes how many attempts were made (`mark.value`). Lazily: not each one needs to be noted,
    /// but after a restart a delivery has as many left as were not noted.
    pub fn attempts(&mut self, mark: &Mark) {
        record::put_mark(&mut self.batch.attempts, mark);
    }

    /// Notes that a delivery is kept as a dead letter. It stays unfinished until it is acked.
    pub fn dead(&mut self, mark: &Mark, death: &Death) {
        record::put_dead(&mut self.batch.dead, mark, death);
    }

    /// Bytes that wait for [`Appender::flush`].
    pub fn unflushed_bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// Hands the batch over, if there is anything in it. Never blocks; makes a system call only
    /// if the writer sleeps.
    ///
    /// # Errors
    /// [`QueueFull`]; the batch is kept.
    pub fn flush(&mut self) -> Result<(), QueueFull> {
        self.hand_over().or_else(|QueueFull| {
            self.link.ports[self.worker].wants_room.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            // The writer may have made room before it could see the wish.
            self.hand_over()
        })
    }

    fn hand_over(&mut self) -> Result<(), QueueFull> {
        let bytes = self.batch.bytes();
        if bytes == 0 {
            return Ok(());
        }
        let link = &self.link;
        if link.queued_bytes.load(Ordering::Relaxed) >= limits::LOG_QUEUE_BYTES_MAX {
            return Err(QueueFull);
        }
        let mut batch = std::mem::take(&mut self.batch);
        batch.worker = self.worker;
        batch.number = self.submitted + 1;
        link.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Err(batch) = link.queue.push(batch) {
            link.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.batch = batch;
            return Err(QueueFull);
        }
        self.submitted += 1;
        self.batch = link.spare.pop().unwrap_or_default();
        link.wake();
        if link.ended.load(Ordering::Acquire) {
            link.end();
        }
        Ok(())
    }

    /// Tickets up to this one are answered.
    pub fn answered(&self) -> u64 {
        self.link.ports[self.worker].answered.load(Ordering::Acquire)
    }

    /// Tickets whose events are not in the log, and why; each is told once. Ask when
    /// [`Appender::answered`] has moved on, and before believing it.
    pub fn failures(&mut self) -> Vec<(u64, LogError)> {
        let port = &self.link.ports[self.worker];
        if !port.has_failures.swap(false, Ordering::AcqRel) {
            return Vec::new();
        }
        std::mem::take(&mut port.failures.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the log takes events: one relaxed load.
    pub fn pressure(&self) -> Pressure {
        self.link.pressure()
    }

    /// Whether the writer has ended: tickets that are not answered now never will be.
    pub fn is_closed(&self) -> bool {
        self.link.ended.load(Ordering::Acquire)
    }

    /// The number of this start of the engine; part of its events' ids.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// An id of this worker that has never been used: the `number`-th of this start.
    pub fn id(&self, number: u64) -> EventId {
        let workers = self.link.ports.len() as u64;
        EventId { boot: self.boot, sequence: number * workers + self.worker as u64 }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        self.link.answer_waiters(&self.batch, Err(&LogError::Closed));
    }
}
