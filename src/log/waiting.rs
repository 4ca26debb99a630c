//! Who waits for the log's promise: one queue per worker, answered in order.

use super::appender::Appender;
use super::error::LogError;
use std::collections::VecDeque;

/// Waiters of one worker, each with the ticket of its event.
#[derive(Debug)]
pub struct Waiting<T> {
    queue: VecDeque<(u64, T)>,
    /// Of tickets that are not answered yet.
    failures: VecDeque<(u64, LogError)>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Waiting { queue: VecDeque::new(), failures: VecDeque::new() }
    }
}

impl<T> Waiting<T> {
    /// Adds a waiter for the event with `ticket`, which is not lower than those before.
    pub fn push(&mut self, ticket: u64, waiter: T) {
        debug_assert!(self.queue.back().is_none_or(|(before, _)| *before <= ticket));
        self.queue.push_back((ticket, waiter));
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Gives all waiters that are answered to `answer`, with what became of their events. Call it
    /// when the log notifies; it costs one load if nothing is new.
    pub fn settle(
        &mut self,
        appender: &mut Appender,
        mut answer: impl FnMut(T, Result<(), LogError>),
    ) {
        // In this order: a failure is there before its ticket is answered. And the end of the
        // writer first of all, for what it answered last is answered.
        let closed = appender.is_closed();
        let answered = appender.answered();
        self.failures.extend(appender.failures());
        while let Some((ticket, waiter)) =
            self.queue.pop_front_if(|(ticket, _)| closed || *ticket <= answered)
        {
            while self.failures.front().is_some_and(|(failed, _)| *failed < ticket) {
                self.failures.pop_front();
            }
            let result = match self.failures.front() {
                Some((failed, error)) if *failed == ticket => Err(error.clone()),
                _ if ticket > answered => Err(LogError::Closed),
                _ => Ok(()),
            };
            answer(waiter, result);
        }
        if self.queue.is_empty() {
            // Of events for which nobody waits.
            self.failures.retain(|(failed, _)| *failed > answered);
        }
    }
}
