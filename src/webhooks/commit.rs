//! Waiting until the durable log has kept its promise, for many events at once.

#[cfg(test)]
mod tests;
mod waiters;

pub(super) use waiters::Waiters;

use super::block_on::{block_on, block_on_for};
use super::engine::Engine;
use super::{Admission, EventRef, WebhookError, WhenFull};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Events that are waited for together: offer some, then wait once until the log has kept its
/// promise (DUR-1) for all of them. Offering does not wait, and costs no more than
/// [`WebhookManager::offer`](super::WebhookManager::offer).
///
/// `Ok` means: an event that was accepted survives kill -9. With `fsync = "always"` it also survives
/// power loss; `everysec` (default) may lose the last 1-2 s on power loss only; `no` leaves it to the
/// kernel. Without persistence nothing is promised, and every wait is over at once.
///
/// A group serves one round after another: when a wait is over, the next events count anew. One
/// that is dropped gives up the waiting, not the events. Like a clone of the handle, a group keeps
/// the engine running.
#[derive(Debug)]
pub struct CommitGroup {
    engine: Arc<Engine>,
    round: Round,
}

impl CommitGroup {
    pub(super) fn new(engine: Arc<Engine>) -> CommitGroup {
        let round = Round::new(&engine);
        CommitGroup { engine, round }
    }

    /// Offers an event, which joins the round if it is accepted. Never blocks.
    /// [`Admission::Full`] also if [`COMMIT_WAITERS_MAX`](crate::base::limits::COMMIT_WAITERS_MAX)
    /// callers wait.
    ///
    /// # Errors
    /// `EventTooLarge`, `Start`, `ShutDown`.
    #[inline]
    pub fn offer(
        &mut self,
        event: &EventRef<'_>,
        when_full: WhenFull,
    ) -> Result<Admission, WebhookError> {
        self.round.offer(&self.engine, event, when_full)
    }

    /// Events of this round that are to be waited for; 0 without persistence.
    pub fn outstanding(&self) -> u64 {
        self.round.offered
    }

    /// Events of the last round for which the promise does not hold.
    pub fn failed(&self) -> u64 {
        self.round.failed
    }

    /// Whether the round is over, and how; else the task of `context` is woken when it is.
    ///
    /// # Errors
    /// As [`CommitGroup::committed`].
    pub fn poll_committed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WebhookError>> {
        self.round.poll_committed(&self.engine, context)
    }

    /// Waits until the round is over. Dropping the future gives up nothing: wait again.
    ///
    /// # Errors
    /// `NotDurable` with the first reason, if the promise does not hold for some event of the round:
    /// [`CommitGroup::failed`] says for how many. `ShutDown` if the engine ended before the answer.
    pub async fn committed(&mut self) -> Result<(), WebhookError> {
        std::future::poll_fn(|context| self.poll_committed(context)).await
    }

    /// As [`CommitGroup::committed`], on a thread that has nothing else to do.
    ///
    /// # Errors
    /// As [`CommitGroup::committed`].
    pub fn wait(&mut self) -> Result<(), WebhookError> {
        if self.outstanding() == 0 { self.round.over() } else { block_on(self.committed()) }
    }

    /// As [`CommitGroup::wait`], but not for longer than `timeout`; `None` when it has passed, and
    /// the round goes on.
    pub fn wait_for(&mut self, timeout: Duration) -> Option<Result<(), WebhookError>> {
        if self.outstanding() == 0 {
            return Some(self.round.over());
        }
        block_on_for(self.committed(), timeout)
    }
}

/// One caller's events that are not answered yet.
#[derive(Debug)]
pub(super) struct Round {
    /// `None` without persistence.
    waiters: Option<Arc<Waiters>>,
    /// The caller's number; 0 while it has none.
    waiter: u32,
    offered: u64,
    failed: u64,
    /// The workers were woken for this round.
    hurried: bool,
}

impl Round {
    #[inline]
    pub fn new(engine: &Engine) -> Round {
        Round { waiters: engine.waiters.clone(), waiter: 0, offered: 0, failed: 0, hurried: false }
    }

    #[inline]
    pub fn offer(
        &mut self,
        engine: &Engine,
        event: &EventRef<'_>,
        when_full: WhenFull,
    ) -> Result<Admission, WebhookError> {
        let Some(waiters) = &self.waiters else { return engine.offer(event, when_full) };
        let waiter = &mut self.waiter;
        let admission = engine.offer_with(event, when_full, || {
            if *waiter == 0 {
                *waiter = waiters.enter()?;
            }
            Some(*waiter)
        })?;
        // It may be answered already: answers are counted until they are looked at.
        self.offered += u64::from(admission == Admission::Accepted);
        Ok(admission)
    }

    pub fn poll_committed(
        &mut self,
        engine: &Engine,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), WebhookError>> {
        let poll = self.poll(context);
        if poll.is_pending() && !std::mem::replace(&mut self.hurried, true) {
            // Whoever waits pays for the waking, instead of waiting for the ringer's nap.
            engine.hurry();
        }
        poll
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WebhookError>> {
        let Some(waiters) = self.waiters.as_ref().filter(|_| self.offered > 0) else {
            return Poll::Ready(self.over());
        };
        waiters.poll(self.waiter, self.offered, context.waker()).map(|answers| {
            self.offered = 0;
            self.hurried = false;
            self.failed = answers.failed;
            answers.result
        })
    }

    /// There was nothing to wait for.
    fn over(&mut self) -> Result<(), WebhookError> {
        self.failed = 0;
        Ok(())
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        if let Some(waiters) = &self.waiters
            && self.waiter != 0
        {
            waiters.leave(self.waiter, self.offered);
        }
    }
}
