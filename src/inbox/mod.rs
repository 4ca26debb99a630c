//! How an event gets from a caller's thread to a worker: a lock-free ring, a pool of buffers that
//! goes the other way, and a doorbell that hardly ever rings.
//!
//! # Who wakes the worker
//!
//! Waking a sleeping thread costs the one who wakes it microseconds, so callers must almost never
//! do it. A *ringer* thread of the engine's own looks at the rings in short naps while traffic is
//! recent, and rings for everybody; only when there was no traffic for a while does it go to
//! sleep itself, and then the next caller rings once. The flag `unwatched` says which it is:
//!
//! ```text
//! caller: push; fence; if unwatched, and I am the one who clears it: ring the doorbell
//! ringer, going to sleep: set unwatched; fence; if the ring is not empty: clear it, stay awake
//! worker, woken by the doorbell: wake the ringer; drain the ring
//! ```
//!
//! *No event is forgotten:* while `unwatched` is clear, the ringer is awake or the worker is about
//! to wake it, and an awake ringer looks again after each nap. When it is set, then by the two
//! fences either the caller sees it set, and rings, or the ringer sees the event, and stays.
//! Loom checks this on the type itself (`cargo test` with `--cfg ferrite_loom`).

mod room;
mod sync;
#[cfg(test)]
mod tests;

pub use room::Room;

use crate::base::limits;
use crossbeam_utils::CachePadded;
use sync::{AtomicBool, AtomicU64, Ordering, Ring, fence};

/// Wakes one worker. Ringing twice before the worker wakes is the same as ringing once.
pub trait Doorbell {
    /// Wakes the worker; must not block.
    fn ring(&self);
}

/// What the ringer found at one inbox.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// No events, and the worker has not looked either.
    Quiet,
    /// The worker looks for itself.
    Busy,
    /// Events waited, and the worker was rung for them.
    Neglected,
}

/// The events on their way to one worker.
#[derive(Debug)]
pub struct Inbox<D> {
    ring: Ring<Vec<u8>>,
    spare: Ring<Vec<u8>>,
    doorbell: D,
    unwatched: CachePadded<AtomicBool>,
    /// Counts the worker's looks into the ring: tells the ringer that the worker is awake.
    drains: CachePadded<AtomicU64>,
    rung_by_callers: AtomicU64,
    rung_by_ringer: AtomicU64,
}

impl<D: Doorbell> Inbox<D> {
    /// An inbox for up to `capacity` events. It starts unwatched: the first caller rings.
    pub fn new(capacity: usize, doorbell: D) -> Self {
        let capacity = capacity.max(1);
        let spare = Ring::new(capacity);
        for _ in 0..capacity.min(limits::EVENT_BUFFERS_AT_START) {
            let _ = spare.push(Vec::with_capacity(limits::EVENT_BUFFER_BYTES));
        }
        Inbox {
            ring: Ring::new(capacity),
            spare,
            doorbell,
            unwatched: CachePadded::new(AtomicBool::new(true)),
            drains: CachePadded::new(AtomicU64::new(0)),
            rung_by_callers: AtomicU64::new(0),
            rung_by_ringer: AtomicU64::new(0),
        }
    }

    /// A buffer to pack an event into: a used one, or a new one while there are too few.
    pub fn buffer(&self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(limits::EVENT_BUFFER_BYTES))
    }

    /// Takes a buffer back; frees it when it has grown large or enough are kept.
    pub fn give_back(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= limits::EVENT_BUFFER_KEPT_BYTES_MAX {
            buffer.clear();
            let _ = self.spare.push(buffer);
        }
    }

    /// Caller: hands over a packed event, or gives it back when the ring is full. Never blocks;
    /// makes a system call only if the ringer was asleep.
    pub fn push(&self, event: Vec<u8>) -> Result<(), Vec<u8>> {
        self.ring.push(event)?;
        fence(Ordering::SeqCst);
        if self.unwatched.load(Ordering::Relaxed) && self.unwatched.swap(false, Ordering::Relaxed) {
            self.rung_by_callers.fetch_add(1, Ordering::Relaxed);
            self.doorbell.ring();
        }
        Ok(())
    }

    /// Worker: says that it is about to look into the ring.
    pub fn begin_drain(&self) {
        // One writer: the worker.
        self.drains.store(self.drains.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Worker: the next event.
    pub fn pop(&self) -> Option<Vec<u8>> {
        // An empty ring is the common case of a busy worker, and looking is cheaper than popping.
        if self.ring.is_empty() { None } else { self.ring.pop() }
    }

    /// Events that wait in the ring.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether no event waits.
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// Wakes the worker for something other than an event.
    pub fn ring_doorbell(&self) {
        self.doorbell.ring();
    }

    /// Ringer: takes over from the callers.
    pub fn watch(&self) {
        self.unwatched.store(false, Ordering::Relaxed);
    }

    /// Ringer: leaves the ringing to the callers. `false`: an event is waiting, stay awake.
    pub fn unwatch(&self) -> bool {
        self.unwatched.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        if self.ring.is_empty() {
            return true;
        }
        self.unwatched.store(false, Ordering::Relaxed);
        false
    }

    /// Ringer: rings if events wait although the worker has not looked since `seen`, which is
    /// brought up to date.
    pub fn ring_if_neglected(&self, seen: &mut u64) -> Look {
        let drains = self.drains.load(Ordering::Relaxed);
        let looked = std::mem::replace(seen, drains) != drains;
        let neglected = !looked && !self.ring.is_empty();
        if neglected {
            self.rung_by_ringer.fetch_add(1, Ordering::Relaxed);
            self.doorbell.ring();
        }
        match (neglected, looked) {
            (true, _) => Look::Neglected,
            (false, true) => Look::Busy,
            (false, false) => Look::Quiet,
        }
    }

    /// Times the worker looked into the ring: once for each round of its loop.
    pub fn drains(&self) -> u64 {
        self.drains.load(Ordering::Relaxed)
    }

    /// Times a caller rang.
    pub fn rung_by_callers(&self) -> u64 {
        self.rung_by_callers.load(Ordering::Relaxed)
    }

    /// Times the ringer rang.
    pub fn rung_by_ringer(&self) -> u64 {
        self.rung_by_ringer.load(Ordering::Relaxed)
    }
}
