//! Callers that wait for room in a full queue.

use super::sync::{AtomicUsize, Mutex, Ordering, fence};
use std::task::{Context, Poll, Waker};

/// The callers that wait for room, and how they are woken. Works under any executor.
///
/// The hot side ([`Room::made`]) is a fence and a load while nobody waits. No wake is lost: a
/// waiter registers, fences, and tries once more; whoever makes room makes it, fences, and looks
/// for waiters. One of the two fences comes first in the total order of `SeqCst`, so either the
/// second try finds the room or the maker finds the waiter.
#[derive(Debug, Default)]
pub struct Room {
    waiting: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
}

impl Room {
    /// Polls `attempt`, which gives `None` while there is no room; registers the caller before
    /// it gives up.
    pub fn poll<T>(
        &self,
        context: &mut Context<'_>,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Poll<T> {
        if let Some(done) = attempt() {
            return Poll::Ready(done);
        }
        {
            let mut wakers = lock(&self.wakers);
            if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
                self.waiting.store(wakers.len(), Ordering::Relaxed);
            }
        }
        fence(Ordering::SeqCst);
        attempt().map_or(Poll::Pending, Poll::Ready)
    }

    /// Room was made: wakes every waiter, who will all try again.
    pub fn made(&self) {
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return;
        }
        let wakers = {
            let mut wakers = lock(&self.wakers);
            self.waiting.store(0, Ordering::Relaxed);
            std::mem::take(&mut *wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

#[cfg(not(ferrite_loom))]
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(ferrite_loom)]
fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex.lock().expect("loom mutexes are not poisoned")
}
