//! Wakes one task of the same thread.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};

/// A flag that one task waits for. Raising it twice is the same as raising it once.
#[derive(Debug, Default)]
pub(super) struct Signal {
    raised: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    /// Raises the flag and wakes the task that waits.
    pub(super) fn raise(&self) {
        self.raised.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Whether the flag is up; takes it down. If not, the task is woken when it is raised.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        if self.raised.take() {
            return Poll::Ready(());
        }
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until the flag is up, and takes it down.
    pub(super) async fn wait(&self) {
        std::future::poll_fn(|context| self.poll(context)).await;
    }
}
