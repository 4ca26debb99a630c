//! Who waits for the log's promise, and is told on the writer's own thread.

use super::error::LogError;

/// Takes the answers for callers that wait for their events (DUR-1).
///
/// A waiter is a number that its owner has given out; 0 is nobody. For each event that came with
/// a waiter there is exactly one answer, whatever becomes of the event.
pub trait AnswerWaiters: Send + Sync {
    /// `Ok`: the promise of the log's [`Fsync`](super::Fsync) holds for the events of these
    /// waiters. A waiter is named once for each of its events. It must not block.
    fn answer(&self, waiters: &[u32], result: Result<(), &LogError>);

    /// As [`AnswerWaiters::answer`], for one event; does nothing when nobody waits for it.
    fn answer_one(&self, waiter: u32, result: Result<(), &LogError>) {
        if waiter != 0 {
            self.answer(&[waiter], result);
        }
    }
}
