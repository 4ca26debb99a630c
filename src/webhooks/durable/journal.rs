//! A worker's journal: the log behind it.

use super::fetcher::Request;
use crate::base::id::EventId;
use crate::base::limits;
use crate::core::journal::{Death, Fetch, Journal, LogEvent, Lost, Mark, Urgency};
use crate::log::{AnswerWaiters, Appender, LogError, LogReader, Pressure};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// How often, and how long each time, a worker that ends waits for room in the writer's queue.
const LAST_FLUSHES_MAX: usize = 1000;
const LAST_FLUSH_PAUSE: Duration = Duration::from_millis(1);

/// Writes down what a shard does, in the log.
pub(super) struct LogJournal {
    worker: usize,
    appender: Appender,
    reader: LogReader,
    answerer: Arc<dyn AnswerWaiters>,
    requests: Sender<Request>,
    /// Somebody waits for an event that is not handed over.
    is_awaited: bool,
    /// Deliveries that are in the log only, by ticket and webhook, until they are written.
    unwritten: VecDeque<(u64, Lost)>,
    lost: VecDeque<Lost>,
    /// Tickets up to this one were looked at.
    answered: u64,
}

impl std::fmt::Debug for LogJournal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LogJournal").field("worker", &self.worker).finish_non_exhaustive()
    }
}

impl LogJournal {
    pub(super) fn new(
        worker: usize,
        appender: Appender,
        reader: LogReader,
        answerer: Arc<dyn AnswerWaiters>,
        requests: Sender<Request>,
    ) -> LogJournal {
        LogJournal {
            worker,
            appender,
            reader,
            answerer,
            requests,
            is_awaited: false,
            unwritten: VecDeque::new(),
            lost: VecDeque::new(),
            answered: 0,
        }
    }

    /// Looks what became of deliveries that are in the log only.
    fn look_at_answers(&mut self) {
        let closed = self.appender.is_closed();
        let answered = self.appender.answered();
        if answered == self.answered && !closed {
            return;
        }
        self.answered = answered;
        let failures = self.appender.failures();
        let is_over = |ticket: u64| ticket <= answered || closed;
        while let Some((ticket, lost)) = self.unwritten.pop_front_if(|(ticket, _)| is_over(*ticket))
        {
            if ticket > answered || failures.iter().any(|(failed, _)| *failed == ticket) {
                self.lost.push_back(lost);
            }
        }
    }

    fn request(&self, request: Request) {
        // It is gone when the engine stops.
        let _ = self.requests.send(request);
    }
}

impl Journal for LogJournal {
    fn event(&mut self, event: &LogEvent<'_>, waiter: u32, spilled: &[u64]) {
        let ticket = match self.appender.event(event, waiter) {
            Ok(ticket) => ticket,
            Err(error) => {
                tracing::error!("event {} is not in the log: {error}", event.id);
                self.answerer.answer_one(waiter, Err(&error));
                let lost = spilled.iter().map(|&webhook| Lost { webhook, deliveries: 1 });
                return self.lost.extend(lost);
            }
        };
        self.is_awaited |= waiter != 0;
        for &webhook in spilled {
            match self.unwritten.back_mut() {
                Some((last, lost)) if *last == ticket && lost.webhook == webhook => {
                    lost.deliveries += 1;
                }
                _ => self.unwritten.push_back((ticket, Lost { webhook, deliveries: 1 })),
            }
        }
    }

    fn ack(&mut self, mark: &Mark) {
        self.appender.ack(mark);
    }

    fn attempts(&mut self, mark: &Mark) {
        self.appender.attempts(mark);
    }

    fn dead(&mut self, mark: &Mark, death: &Death) {
        self.appender.dead(mark, death);
    }

    fn not_wanted(&mut self, waiter: u32) {
        self.answerer.answer_one(waiter, Ok(()));
    }

    fn abandoned(&mut self, waiter: u32) {
        self.answerer.answer_one(waiter, Err(&LogError::Abandoned));
    }

    fn urgency(&self) -> Urgency {
        match self.appender.unflushed_bytes() {
            0 => Urgency::Nothing,
            bytes if self.is_awaited || bytes >= limits::LOG_FLUSH_BYTES => Urgency::Now,
            _ => Urgency::Later,
        }
    }

    fn flush(&mut self) -> bool {
        let flushed = self.appender.flush().is_ok();
        self.is_awaited &= !flushed;
        flushed
    }

    fn is_full(&self) -> bool {
        self.appender.pressure() != Pressure::None
    }

    fn poll_lost(&mut self) -> Option<Lost> {
        self.look_at_answers();
        self.lost.pop_front()
    }

    fn begin(&mut self, webhook: u64, first: EventId) {
        // The event is not handed over yet: it will be behind this.
        let behind = self.reader.end();
        self.request(Request::Begin { worker: self.worker, webhook, first, behind });
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.request(Request::Fetch { worker: self.worker, fetch });
    }

    fn forget(&mut self, webhook: u64) {
        self.request(Request::Forget { worker: self.worker, webhook });
    }

    fn left(&self) -> Vec<u64> {
        self.reader.webhooks().into_iter().collect()
    }
}

impl Drop for LogJournal {
    /// The worker ends: hands over the rest.
    fn drop(&mut self) {
        for _ in 0..LAST_FLUSHES_MAX {
            if self.appender.flush().is_ok() || self.appender.is_closed() {
                return;
            }
            std::thread::sleep(LAST_FLUSH_PAUSE);
        }
        tracing::error!(
            "worker {} could not hand its last acks to the log: some deliveries will be repeated",
            self.worker
        );
    }
}
