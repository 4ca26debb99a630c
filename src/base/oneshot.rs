//! One value from one thread to a future on another, under any executor.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Debug)]
struct State<T> {
    value: Option<T>,
    sender_gone: bool,
    waker: Option<Waker>,
}

/// Sends the value. Dropped unused, it tells the receiver that none will come.
#[derive(Debug)]
pub struct Sender<T>(Arc<Mutex<State<T>>>);

/// Receives the value.
#[derive(Debug)]
pub struct Receiver<T>(Arc<Mutex<State<T>>>);

/// A fresh pair.
pub fn oneshot<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { value: None, sender_gone: false, waker: None };
    let state = Arc::new(Mutex::new(state));
    (Sender(state.clone()), Receiver(state))
}

fn lock<T>(state: &Mutex<State<T>>) -> MutexGuard<'_, State<T>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Sender<T> {
    /// Sends the value.
    pub fn send(self, value: T) {
        lock(&self.0).value = Some(value);
        // Dropping `self` wakes the receiver.
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.sender_gone = true;
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> Future for Receiver<T> {
    /// `None`: the sender was dropped without sending.
    type Output = Option<T>;

    fn poll(self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = lock(&self.0);
        if state.sender_gone {
            return Poll::Ready(state.value.take());
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[test]
    fn the_value_arrives_and_a_dropped_sender_is_noticed() {
        let mut context = Context::from_waker(Waker::noop());
        let (sender, receiver) = oneshot();
        let mut receiver = pin!(receiver);
        assert_eq!(receiver.as_mut().poll(&mut context), Poll::Pending);
        sender.send(7);
        assert_eq!(receiver.as_mut().poll(&mut context), Poll::Ready(Some(7)));
        let (sender, receiver) = oneshot::<u32>();
        drop(sender);
        assert_eq!(pin!(receiver).poll(&mut context), Poll::Ready(None));
    }
}
