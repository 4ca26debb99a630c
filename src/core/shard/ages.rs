//! How far behind a webhook is: how old its oldest pending delivery is, and how many of its lanes
//! wait for a retry.
//!
//! The exact age would need a place in a list for each pending delivery. Instead the deliveries
//! are counted by *generations*: those that came in within a tenth of a second. When there are too
//! many generations, two neighbours that are old beside their width become one. The oldest
//! pending delivery is at least as old as the newest one of the oldest generation: that is what
//! is told. So a webhook that keeps up shows next to nothing, and no alarm is false; the true age
//! is more by a tenth of a second, or by about half when deliveries of very different ages wait.

use super::Shard;
use super::webhooks::WebhookState;
use crate::base::limits;
use crate::base::time::Tick;
use std::collections::VecDeque;

/// Deliveries that came in about the same time.
#[derive(Clone, Copy, Debug, Default)]
struct Generation {
    /// Number of the first event: those of the generations before have smaller ones.
    first_sequence: u64,
    /// When the first one came in.
    opened: Tick,
    /// When the last one came in.
    newest: Tick,
    /// Those that are still pending.
    pending: u32,
}

/// The ages of one webhook's pending deliveries, roughly.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// The newest generation; it alone may have nothing pending.
    last: Generation,
    /// The others, the oldest first. There are none while the webhook keeps up.
    older: VecDeque<Generation>,
}

impl Ages {
    /// A delivery came in. Their events' numbers grow. `true`: [`Ages::oldest`] may have changed.
    fn add(&mut self, sequence: u64, since: Tick) -> bool {
        let last = &mut self.last;
        let mut merged = false;
        if last.pending > 0 && since.since_us(last.opened) < limits::AGE_GENERATION_US {
            last.newest = last.newest.max(since);
        } else {
            if last.pending > 0 {
                merged = self.close_last(since);
            }
            self.last =
                Generation { first_sequence: sequence, opened: since, newest: since, pending: 0 };
        }
        self.last.pending += 1;
        merged || self.older.is_empty()
    }

    /// A delivery is not pending any more. `true`: [`Ages::oldest`] may have changed.
    fn remove(&mut self, sequence: u64) -> bool {
        if sequence >= self.last.first_sequence {
            self.last.pending -= 1;
            return false;
        }
        self.remove_older(sequence);
        true
    }

    fn remove_older(&mut self, sequence: u64) {
        let place = self.older.iter().rposition(|known| known.first_sequence <= sequence);
        let place = place.unwrap_or(0);
        let Some(generation) = self.older.get_mut(place) else { return };
        generation.pending -= 1;
        if generation.pending == 0 {
            self.older.remove(place);
        }
    }

    /// The newest generation becomes one of the others. `true`: others were merged.
    fn close_last(&mut self, now: Tick) -> bool {
        // With the newest one there are as many as there may be.
        let merge = self.older.len() == limits::AGE_GENERATIONS_MAX - 1;
        if merge {
            self.merge_two(now);
        }
        self.older.push_back(self.last);
        merge
    }

    /// Makes one of the two neighbours whose common width is the least beside their age.
    fn merge_two(&mut self, now: Tick) {
        let width = |place: usize| {
            let (older, newer) = (self.older[place], self.older[place + 1]);
            let age_us = now.since_us(older.opened).max(1);
            newer.newest.since_us(older.opened) as f64 / age_us as f64
        };
        let places = 0..self.older.len().saturating_sub(1);
        let narrowest = places.min_by(|&one, &other| width(one).total_cmp(&width(other)));
        let Some(place) = narrowest else { return };
        let Some(newer) = self.older.remove(place + 1) else { return };
        let older = &mut self.older[place];
        older.newest = older.newest.max(newer.newest);
        older.pending += newer.pending;
    }

    /// How many deliveries are pending.
    pub(super) fn count(&self) -> u64 {
        self.older.iter().chain([&self.last]).map(|known| u64::from(known.pending)).sum()
    }

    /// When the oldest pending delivery came in, or later. Without meaning if none is pending.
    fn oldest(&self) -> Tick {
        self.older.front().unwrap_or(&self.last).newest
    }
}

impl Shard {
    /// A delivery of `slot` is pending from now on. Everything that adds one says so here.
    pub(super) fn note_pending(&mut self, slot: u32, sequence: u64, since: Tick) {
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        if webhook.ages.add(sequence, since) {
            webhook.tell_oldest(self.config.worker);
        }
    }

    /// A delivery of `slot` is not pending any more. Everything that takes one off its lane says
    /// so here, unless the webhook goes with it.
    pub(super) fn note_ended(&mut self, slot: u32, sequence: u64) {
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        if webhook.ages.remove(sequence) {
            webhook.tell_oldest(self.config.worker);
        }
    }

    /// Lanes of `slot` wait for their retry from now on.
    pub(super) fn note_blocked(&self, slot: u32, lanes: u64) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            counters.lanes_blocked.add(lanes);
        }
    }

    /// Lanes of `slot` do not wait for their retry any more.
    pub(super) fn note_unblocked(&self, slot: u32, lanes: u64) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            counters.lanes_blocked.subtract(lanes);
        }
    }
}

impl WebhookState {
    fn tell_oldest(&self, worker: usize) {
        self.definition.ledger.measures(worker).oldest_us.set(self.ages.oldest().0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;

    /// What is told, beside what is really pending.
    #[derive(Default)]
    struct Watched {
        ages: Ages,
        told: Tick,
        pending: BTreeMap<u64, Tick>,
    }

    impl Watched {
        fn add(&mut self, sequence: u64, now: Tick) {
            self.pending.insert(sequence, now);
            let changed = self.ages.add(sequence, now);
            self.check(changed, now);
        }

        /// The one at this place, the newest one first, ends.
        fn remove(&mut self, place: usize, now: Tick) {
            let Some((&sequence, _)) = self.pending.iter().nth_back(place) else { return };
            self.pending.remove(&sequence);
            let changed = self.ages.remove(sequence);
            self.check(changed, now);
        }

        fn check(&mut self, changed: bool, now: Tick) {
            if changed {
                self.told = self.ages.oldest();
            }
            assert_eq!(self.ages.count(), self.pending.len() as u64);
            let truly = self.pending.values().map(|&at| now.since_us(at)).max();
            let (told, Some(truly)) = (now.since_us(self.told), truly) else { return };
            let most = told + told / 2 + limits::AGE_GENERATION_US;
            assert!(told <= truly && truly <= most, "told {told}, truly {truly}");
        }
    }

    #[test]
    fn what_is_told_is_close_to_the_true_age_and_never_above_it() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let (mut watched, mut now) = (Watched::default(), Tick(0));
            for sequence in 0..5000 {
                now = Tick(now.0 + random.next_u64() % 200_000);
                watched.add(sequence, now);
                // Mostly the newer ones end; some wait for long.
                while !watched.pending.is_empty() && !random.next_u64().is_multiple_of(16) {
                    watched.remove(random.next_u64() as usize % 8, now);
                }
                assert!(watched.ages.older.len() < limits::AGE_GENERATIONS_MAX);
            }
            while !watched.pending.is_empty() {
                let place = random.next_u64() as usize % watched.pending.len();
                watched.remove(place, Tick(now.0 + 1));
            }
            assert!(watched.ages.older.is_empty());
        }
    }

    #[test]
    fn a_webhook_that_keeps_up_shows_no_age() {
        let mut ages = Ages::default();
        for sequence in 0..1000 {
            let now = Tick(sequence * 1000);
            ages.add(sequence, now);
            if let Some(ended) = sequence.checked_sub(2) {
                ages.remove(ended);
            }
            assert!(now.since_us(ages.oldest()) <= 100_000);
        }
    }
}
