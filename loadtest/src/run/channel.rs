//! What generators and the run need of what is driven.

use super::error::RunError;
use super::history::HistoryWriter;
use super::stamp::Clock;
use crate::history::HistoryLine;
use std::ops::Range;

/// What is driven: the embedded engine, or a server.
pub(super) trait Driven {
    /// What one generator offers its events to.
    type Channel: Channel + Send + 'static;

    /// A channel.
    fn channel(&self) -> Result<Self::Channel, RunError>;
    /// The counters of now.
    fn counts(&mut self) -> Result<Counts, RunError>;
    /// How each of the run's webhooks accounts for its deliveries.
    fn accounts(&mut self) -> Result<Vec<HistoryLine>, RunError>;
    /// What its workers run on, if it tells.
    fn driver(&self) -> String;
    /// Takes away what the run made.
    fn finish(self) -> Result<(), RunError>;
}

/// What one generator offers its events to. Each call tells `accepted` what was accepted.
pub(super) trait Channel {
    /// Offers an event. It is accepted at once or, if the answer takes time, during a `turn`.
    fn offer(&mut self, event: &Event<'_>, accepted: &mut Accepted) -> Result<Offered, RunError>;
    /// Sends what is held back, and takes in what was answered meanwhile.
    fn turn(&mut self, accepted: &mut Accepted) -> Result<(), RunError>;
    /// Waits for every answer.
    fn finish(self, accepted: &mut Accepted) -> Result<(), RunError>;
}

/// What became of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Offered {
    /// It was taken.
    Taken,
    /// There is no room.
    Full,
}

/// An event to be offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value, stamped.
    pub value: &'a [u8],
    /// Counts the key's events.
    pub sequence: u64,
    /// When it is meant to be offered.
    pub intended_ns: u64,
}

/// Counters; the engine's own, which may have other webhooks than the run's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub delivered: u64,
    pub dead: u64,
    pub dropped: u64,
    pub cancelled: u64,
    pub pending: u64,
    pub failed_attempts: u64,
    pub connections_opened: u64,
    /// System calls that offers made to wake a worker; the embedded engine tells.
    pub rings_by_callers: u64,
    /// Times that a worker broke down; the embedded engine tells.
    pub worker_restarts: u64,
}

impl Counts {
    /// Deliveries that are over.
    pub fn finished(&self) -> u64 {
        self.delivered + self.dead + self.dropped + self.cancelled
    }
}

/// Counts what was accepted of one generator's events, and writes it down if it must.
#[derive(Debug)]
pub(super) struct Accepted {
    pub clock: Clock,
    /// The measured part, by the intended time of events.
    pub measured_ns: Range<u64>,
    /// Events of the measured part.
    pub measured: u64,
    /// All events.
    pub all: u64,
    pub history: Option<HistoryWriter>,
}

impl Accepted {
    pub fn new(clock: Clock, history: Option<HistoryWriter>) -> Accepted {
        Accepted { clock, measured_ns: 0..0, measured: 0, all: 0, history }
    }

    /// An event was accepted.
    #[inline]
    pub fn record(&mut self, text: &[u8], sequence: u64, intended_ns: u64) -> Result<(), RunError> {
        self.all += 1;
        self.measured += u64::from(self.measured_ns.contains(&intended_ns));
        match &mut self.history {
            None => Ok(()),
            Some(history) => {
                let at_us = self.clock.unix_us(self.clock.now_ns());
                let key = String::from_utf8_lossy(text).into_owned();
                history.write(&HistoryLine::Accepted { key, sequence, at_us })
            }
        }
    }
}

/// Holds a closed loop back where the engine's own bound does not: events that may still be
/// offered before the pending ones are counted again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credit {
    /// Events that may be pending.
    limit: u64,
    left: u64,
}

/// New credit is given when so many parts of the limit are free: counting costs.
const CREDIT_PARTS: u64 = 4;

impl Credit {
    pub fn new(limit: u64) -> Credit {
        Credit { limit: limit.max(1), left: 0 }
    }

    /// Takes one, if there is one or `pending` events leave room for more.
    #[inline]
    pub fn take(
        &mut self,
        pending: impl FnOnce() -> Result<u64, RunError>,
    ) -> Result<bool, RunError> {
        if self.left == 0 {
            let free = self.limit.saturating_sub(pending()?);
            if free == 0 || free < self.limit / CREDIT_PARTS {
                return Ok(false);
            }
            self.left = free;
        }
        self.left -= 1;
        Ok(true)
    }

    /// Gives one back that was not used.
    pub fn give_back(&mut self) {
        self.left += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_is_given_when_enough_is_free_and_counted_only_then() {
        let mut credit = Credit::new(8);
        assert!(!credit.take(|| Ok(7)).unwrap());
        assert!(credit.take(|| Ok(5)).unwrap());
        for _ in 0..2 {
            assert!(credit.take(|| panic!("there is credit left")).unwrap());
        }
        assert!(!credit.take(|| Ok(8)).unwrap());
        credit.give_back();
        assert!(credit.take(|| panic!("one was given back")).unwrap());
    }
}
