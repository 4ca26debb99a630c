//! What is kept of a webhook's ledger over restarts.

use super::dead_letters::DeadTally;
use super::ledger::{Ledger, Tally, WebhookStatus};

/// The counters of a webhook, as they are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeptCounters {
    /// What was counted.
    pub tally: Tally,
    /// What became of its dead letters.
    pub dead: DeadTally,
    /// When an attempt was last answered 2xx, in microseconds since 1970.
    pub last_delivery_us: Option<u64>,
}

/// Everything that is kept of a ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptLedger {
    /// Whether the webhook gets deliveries.
    pub status: WebhookStatus,
    /// When that was changed last, in microseconds since 1970.
    pub status_since_us: Option<u64>,
    /// Its counters.
    pub counters: KeptCounters,
}

impl KeptCounters {
    /// What `ledger` says now, of what is finished.
    pub fn of(ledger: &Ledger) -> KeptCounters {
        KeptCounters {
            tally: ledger.tally().finished(),
            dead: DeadTally { kept: 0, ..ledger.dead().tally() },
            last_delivery_us: ledger.last_delivery_us(),
        }
    }
}

impl Tally {
    /// The part of the reading that is about finished deliveries. What is pending is triggered
    /// again when it is taken up after a restart, so that DEL-1's sum holds before and after.
    #[must_use]
    pub fn finished(&self) -> Tally {
        let finished = self.delivered + self.dead + self.dropped + self.cancelled + self.coalesced;
        // Counters that were kept a moment apart must not make a number below zero.
        let replayed = self.replayed.min(finished);
        Tally {
            triggered: finished - replayed,
            replayed,
            pending: 0,
            in_flight: 0,
            lanes_blocked: 0,
            spilled: 0,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::dead_letters::DeadLimits;

    #[test]
    fn a_restored_ledger_adds_up_and_goes_on() {
        let ledger = Ledger::new(2, 10, DeadLimits::default());
        let (first, second) = (ledger.counters(0), ledger.counters(1));
        first.triggered.add(9);
        first.delivered.add(3);
        first.dead.add(2);
        first.replayed.add(1);
        first.pending.add(5);
        first.in_flight.add(2);
        first.attempts.add(7);
        second.triggered.add(1);
        second.coalesced.add(1);
        ledger.delivered_at(77);
        ledger.disable(WebhookStatus::Gone, 55);
        let kept = KeptLedger {
            status: ledger.status(),
            status_since_us: ledger.status_since_us(),
            counters: KeptCounters::of(&ledger),
        };
        let again = Ledger::new(1, 10, DeadLimits::default()).restored(&kept);
        assert_eq!((again.status(), again.status_since_us()), (WebhookStatus::Gone, Some(55)));
        assert_eq!(again.last_delivery_us(), Some(77));
        let tally = again.tally();
        assert_eq!((tally.triggered, tally.replayed, tally.pending), (5, 1, 0));
        assert_eq!((tally.delivered, tally.dead, tally.coalesced), (3, 2, 1));
        assert_eq!((tally.attempts, tally.in_flight), (7, 0));
        again.counters(0).delivered.add(1);
        assert_eq!(again.tally().delivered, 4);
    }

    #[test]
    fn what_was_replayed_never_makes_a_number_below_zero() {
        let tally = Tally { replayed: 3, delivered: 1, ..Tally::default() }.finished();
        assert_eq!((tally.triggered, tally.replayed), (0, 1));
    }
}
