//! What a sink counts. Each thread writes its own counters; they are summed when asked for.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Statuses are counted below this one.
const STATUSES: usize = 600;

/// What a sink has seen since it started or was last reset.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Requests that arrived whole.
    pub requests: u64,
    /// Connections that were accepted.
    pub connections_opened: u64,
    /// Connections that are open now; no reset changes it.
    pub connections_open: u64,
    /// Requests that were given no answer on purpose, or whose sender had gone by then.
    pub unanswered: u64,
    /// Requests that were no HTTP, or larger than the sink takes.
    pub malformed: u64,
    /// Requests with a signature that is wrong or missing (`--verify-secret`).
    pub bad_signatures: u64,
    /// Requests whose body does not say which event they carry (`--verify-order`).
    pub unordered: u64,
    /// Events that came before an earlier one of their key was answered 2xx (`--verify-order`).
    pub bad_order: u64,
    /// Events that came again after they had been answered 2xx (`--verify-order`).
    pub duplicates: u64,
    /// Events in the requests: as many, unless those in batches are counted (`--count-events`).
    #[serde(default)]
    pub events: u64,
    /// Answers by status.
    pub answered: BTreeMap<u16, u64>,
}

/// A counter that one thread writes and all may read.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    /// Only the thread that owns the counter may call it: cheaper than an atomic addition.
    pub(super) fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One thread's counters. They only grow.
#[derive(Debug)]
pub(super) struct ThreadCounters {
    pub(super) requests: Counter,
    pub(super) events: Counter,
    pub(super) connections_opened: Counter,
    pub(super) connections_closed: Counter,
    pub(super) unanswered: Counter,
    pub(super) malformed: Counter,
    pub(super) bad_signatures: Counter,
    pub(super) unordered: Counter,
    pub(super) bad_order: Counter,
    pub(super) duplicates: Counter,
    answered: [Counter; STATUSES],
}

impl Default for ThreadCounters {
    fn default() -> Self {
        ThreadCounters {
            requests: Counter::default(),
            events: Counter::default(),
            connections_opened: Counter::default(),
            connections_closed: Counter::default(),
            unanswered: Counter::default(),
            malformed: Counter::default(),
            bad_signatures: Counter::default(),
            unordered: Counter::default(),
            bad_order: Counter::default(),
            duplicates: Counter::default(),
            answered: std::array::from_fn(|_| Counter::default()),
        }
    }
}

impl ThreadCounters {
    /// Counts answers of one status.
    pub(super) fn answered(&self, status: u16, count: u64) {
        if let Some(counter) = self.answered.get(usize::from(status)) {
            counter.add(count);
        }
    }

    fn add_to(&self, stats: &mut Stats) {
        stats.requests += self.requests.get();
        stats.events += self.events.get();
        stats.connections_opened += self.connections_opened.get();
        stats.connections_open += self.connections_opened.get() - self.connections_closed.get();
        stats.unanswered += self.unanswered.get();
        stats.malformed += self.malformed.get();
        stats.bad_signatures += self.bad_signatures.get();
        stats.unordered += self.unordered.get();
        stats.bad_order += self.bad_order.get();
        stats.duplicates += self.duplicates.get();
        for (status, counter) in (0..).zip(&self.answered).filter(|(_, counter)| counter.get() > 0)
        {
            *stats.answered.entry(status).or_default() += counter.get();
        }
    }
}

/// The counters of all threads of one sink.
#[derive(Debug)]
pub(super) struct Counters {
    threads: Vec<Arc<ThreadCounters>>,
    /// The sums at the last reset: no thread's counter is written by another.
    reset_at: Mutex<Stats>,
}

impl Counters {
    pub(super) fn new(threads: usize) -> Self {
        let threads = std::iter::repeat_with(Arc::default).take(threads).collect();
        Counters { threads, reset_at: Mutex::default() }
    }

    pub(super) fn of_thread(&self, thread: usize) -> Arc<ThreadCounters> {
        self.threads[thread].clone()
    }

    fn sums(&self) -> Stats {
        let mut stats = Stats::default();
        self.threads.iter().for_each(|thread| thread.add_to(&mut stats));
        stats
    }

    pub(super) fn since_reset(&self) -> Stats {
        let reset_at = self.reset_at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stats = self.sums();
        stats.requests -= reset_at.requests;
        stats.events -= reset_at.events;
        stats.connections_opened -= reset_at.connections_opened;
        stats.unanswered -= reset_at.unanswered;
        stats.malformed -= reset_at.malformed;
        stats.bad_signatures -= reset_at.bad_signatures;
        stats.unordered -= reset_at.unordered;
        stats.bad_order -= reset_at.bad_order;
        stats.duplicates -= reset_at.duplicates;
        for (status, count) in &reset_at.answered {
            if let Some(answered) = stats.answered.get_mut(status) {
                *answered -= count;
            }
        }
        stats.answered.retain(|_, count| *count > 0);
        stats
    }

    pub(super) fn reset(&self) {
        let mut reset_at = self.reset_at.lock().unwrap_or_else(PoisonError::into_inner);
        *reset_at = self.sums();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_are_summed_and_a_reset_starts_anew_but_for_open_connections() {
        let counters = Counters::new(2);
        for thread in 0..2 {
            let thread = counters.of_thread(thread);
            thread.requests.add(5);
            thread.connections_opened.add(2);
            thread.connections_closed.add(1);
            thread.answered(200, 4);
            thread.answered(500, 1);
        }
        let stats = counters.since_reset();
        assert_eq!((stats.requests, stats.connections_opened, stats.connections_open), (10, 4, 2));
        assert_eq!(stats.answered, BTreeMap::from([(200, 8), (500, 2)]));
        counters.reset();
        counters.of_thread(1).requests.add(3);
        counters.of_thread(1).answered(200, 3);
        let stats = counters.since_reset();
        assert_eq!((stats.requests, stats.connections_opened, stats.connections_open), (3, 0, 2));
        assert_eq!(stats.answered, BTreeMap::from([(200, 3)]));
    }
}
