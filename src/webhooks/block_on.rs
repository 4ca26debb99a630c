//! Runs a future on a thread that has nothing else to do.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// Longest sleep between two looks at a future. Its waker ends the sleep; this bound only means
/// that a wake-up which got lost costs a millisecond and not the caller.
const PARK_MAX: Duration = Duration::from_millis(1);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `future` on this thread, which sleeps while it waits.
pub fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    loop {
        if let Some(output) = block_on_for(future.as_mut(), Duration::MAX) {
            return output;
        }
    }
}

/// As [`block_on`], but gives the future up after `timeout`.
pub fn block_on_for<F: Future>(future: F, timeout: Duration) -> Option<F::Output> {
    // `None` is for ever.
    let end = Instant::now().checked_add(timeout);
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return Some(output),
            Poll::Pending if end.is_some_and(|end| Instant::now() >= end) => return None,
            Poll::Pending => std::thread::park_timeout(PARK_MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_on_waits_for_another_thread() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let sleeper = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            sender.send(7).unwrap();
        });
        let value = block_on(std::future::poll_fn(|_| {
            receiver.try_recv().map_or(Poll::Pending, Poll::Ready)
        }));
        assert_eq!(value, 7);
        sleeper.join().unwrap();
    }

    #[test]
    fn a_future_that_does_not_end_is_given_up() {
        assert_eq!(block_on_for(std::future::pending::<()>(), Duration::from_millis(2)), None);
        assert_eq!(block_on_for(std::future::ready(7), Duration::ZERO), Some(7));
    }
}
