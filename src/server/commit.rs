//! The promise of the durable log, kept for all writes of one turn of the loop at once.
//!
//! Replies go out only after their events are accepted under the configured promise (DUR-1). One
//! thread serves everybody, so it runs the commands of all clients that have some, offers their
//! events, and waits once: however many writes a client pipelines, they cost one wait, as with
//! Redis and `appendfsync always`.

use super::state::State;
use crate::webhooks::{
    Admission, CommitGroup, EventRef, Fsync, WebhookError, WebhookManager, WhenFull,
};
use std::time::{Duration, Instant};

/// A wait looks so often whether the server is to stop.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A wait that is longer is logged.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// With `fsync = "always"`, no write is taken for so long after one whose event is not durable; then
/// the next one finds out whether the log can be written again.
const REFUSE_WRITES_FOR: Duration = Duration::from_secs(1);
/// Least time between two warnings about events that are not durable.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// What the server needs of a [`CommitGroup`].
#[allow(missing_docs, reason = "the names and meanings are those of CommitGroup")]
pub trait Commit: Send {
    /// As [`Engine::offer`](super::engine::Engine::offer).
    fn offer(&mut self, event: &EventRef<'_>, patient: bool) -> Result<bool, WebhookError>;
    fn outstanding(&self) -> u64;
    fn wait_for(&mut self, timeout: Duration) -> Option<Result<(), WebhookError>>;
    fn failed(&self) -> u64;
}

impl Commit for CommitGroup {
    fn offer(&mut self, event: &EventRef<'_>, patient: bool) -> Result<bool, WebhookError> {
        Ok(CommitGroup::offer(self, event, when_full(patient))? != Admission::Full)
    }

    fn outstanding(&self) -> u64 {
        CommitGroup::outstanding(self)
    }

    fn wait_for(&mut self, timeout: Duration) -> Option<Result<(), WebhookError>> {
        CommitGroup::wait_for(self, timeout)
    }

    fn failed(&self) -> u64 {
        CommitGroup::failed(self)
    }
}

/// The server's own writes, which nobody waits for.
pub(super) fn offer(
    manager: &WebhookManager,
    event: &EventRef<'_>,
    patient: bool,
) -> Result<bool, WebhookError> {
    Ok(manager.offer(event, when_full(patient))? != Admission::Full)
}

fn when_full(patient: bool) -> WhenFull {
    if patient { WhenFull::Drop } else { WhenFull::DropNow }
}

/// How a turn of the loop ended for the events of its writes.
pub(crate) enum Committed {
    /// The promise holds for all.
    Kept,
    /// It does not hold for some; what to answer instead.
    Broken(String),
    /// The server is to stop: nobody is answered.
    GivenUp,
}

/// Trouble with the log, as the server has met it.
#[derive(Default)]
pub(crate) struct LogTrouble {
    warned_at: Option<Instant>,
    refuse_until: Option<Instant>,
    error: String,
}

impl State {
    /// Waits for the events of this turn, unless there is a reason to stop.
    pub fn commit(&mut self, stop: impl Fn() -> bool) -> Committed {
        let (begun, mut warned) = (Instant::now(), false);
        loop {
            match self.commits.wait_for(LOOK_INTERVAL) {
                Some(Ok(())) => return Committed::Kept,
                Some(Err(error)) => return Committed::Broken(self.note_broken(&error)),
                None if stop() => return Committed::GivenUp,
                None if !warned && begun.elapsed() >= LONG_WAIT => {
                    warned = true;
                    tracing::warn!(
                        "all clients wait for the log of webhook events: is its disk slow?"
                    );
                }
                None => {}
            }
        }
    }

    fn note_broken(&mut self, error: &WebhookError) -> String {
        let now = Instant::now();
        self.counters.events_not_durable += self.commits.failed();
        let trouble = &mut self.log_trouble;
        if trouble.warned_at.is_none_or(|at| now.duration_since(at) >= WARNING_INTERVAL) {
            trouble.warned_at = Some(now);
            let total = self.counters.events_not_durable;
            tracing::error!(total, "events of writes are not durable: {error}");
        }
        if self.settings.webhooks.queue.fsync == Fsync::Always {
            trouble.refuse_until = Some(now + REFUSE_WRITES_FOR);
            trouble.error = error.to_string();
        }
        format!(
            "NOTDURABLE the command was carried out, but its event, or one that was committed with \
             it, is not safe: {error}"
        )
    }

    /// Why no write is taken now, if so: with `fsync = "always"` the store is not to run ahead of a
    /// log that cannot follow.
    pub fn refusal_of_writes(&mut self) -> Option<String> {
        let trouble = &mut self.log_trouble;
        if Instant::now() >= trouble.refuse_until? {
            trouble.refuse_until = None;
            return None;
        }
        Some(format!(
            "MISCONF Events of webhooks cannot be made durable, so with fsync = \"always\" writes are \
             refused for now; they are tried again every second. {}",
            trouble.error
        ))
    }
}
