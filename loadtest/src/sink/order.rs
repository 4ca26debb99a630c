//! Checks the order of each key's events as they arrive. Connections of all threads share it.

use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};

/// Keys are spread over this many locks.
const SHARDS: usize = 64;

/// Which events of each (path, key) were answered 2xx.
#[derive(Debug)]
pub(super) struct OrderCheck {
    hasher: RandomState,
    /// By a hash of path and key, the sequence that comes after all that were answered 2xx. That
    /// two of a million keys have the same hash is less likely than one in ten million.
    shards: [Mutex<HashMap<u64, u64>>; SHARDS],
}

/// How an event stands to those before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// It is the first that was not answered 2xx.
    InOrder,
    /// It was answered 2xx before.
    Duplicate,
    /// An earlier one was not answered 2xx.
    TooEarly,
}

/// An event of a key, as it is remembered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct EventOfKey {
    hash: u64,
    sequence: u64,
}

impl EventOfKey {
    /// Whether it is the next one of the same key.
    pub(super) fn follows(self, other: &EventOfKey) -> bool {
        self.hash == other.hash && self.sequence == other.sequence.saturating_add(1)
    }
}

impl Default for OrderCheck {
    fn default() -> Self {
        OrderCheck {
            hasher: RandomState::default(),
            shards: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl OrderCheck {
    pub(super) fn event(&self, path: &str, key: &str, sequence: u64) -> EventOfKey {
        EventOfKey { hash: self.hasher.hash_one((path, key)), sequence }
    }

    pub(super) fn arrived(&self, event: EventOfKey) -> Arrival {
        self.with(event, |next| match event.sequence.cmp(next) {
            std::cmp::Ordering::Less => Arrival::Duplicate,
            std::cmp::Ordering::Equal => Arrival::InOrder,
            std::cmp::Ordering::Greater => Arrival::TooEarly,
        })
    }

    /// To be called before the answer is written: the next event may arrive right after it.
    pub(super) fn answered_2xx(&self, event: EventOfKey) {
        self.with(event, |next| *next = (*next).max(event.sequence.saturating_add(1)));
    }

    pub(super) fn reset(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn with<T>(&self, event: EventOfKey, look: impl FnOnce(&mut u64) -> T) -> T {
        let shard = &self.shards[event.hash as usize % SHARDS];
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        look(shard.entry(event.hash).or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_must_wait_for_the_one_before_and_keys_do_not_meet() {
        let check = OrderCheck::default();
        let event = |key, sequence| check.event("/a", key, sequence);
        assert_eq!(check.arrived(event("k", 0)), Arrival::InOrder);
        assert_eq!(check.arrived(event("k", 0)), Arrival::InOrder, "a retry");
        assert_eq!(check.arrived(event("k", 1)), Arrival::TooEarly);
        check.answered_2xx(event("k", 0));
        assert_eq!(check.arrived(event("k", 1)), Arrival::InOrder);
        assert_eq!(check.arrived(event("k", 0)), Arrival::Duplicate);
        assert_eq!(check.arrived(event("other", 0)), Arrival::InOrder);
        assert_eq!(check.arrived(check.event("/b", "k", 0)), Arrival::InOrder);
        check.reset();
        assert_eq!(check.arrived(event("k", 1)), Arrival::TooEarly);
    }
}
