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
use crate::base::limits;
use crate::base::time::Tick;
use std::collections::VecDeque;

/// Deliveries that came in about the same time.
#[derive(Clone, Copy, Debug)]
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
    generations: VecDeque<Generation>,
}

impl Ages {
    /// A delivery came in. Their events' numbers grow.
    fn add(&mut self, sequence: u64, since: Tick) {
        if let Some(last) = self.generations.back_mut()
            && since.since_us(last.opened) < limits::AGE_GENERATION_US
        {
            last.pending += 1;
            last.newest = last.newest.max(since);
            return;
        }
        if self.generations.len() == limits::AGE_GENERATIONS_MAX {
            self.merge_two(since);
        }
        self.generations.push_back(Generation {
            first_sequence: sequence,
            opened: since,
            newest: since,
            pending: 1,
        });
    }

    /// A delivery is not pending any more.
    fn remove(&mut self, sequence: u64) {
        let place = self.generations.iter().rposition(|known| known.first_sequence <= sequence);
        let place = place.unwrap_or(0);
        let Some(generation) = self.generations.get_mut(place) else { return };
        generation.pending -= 1;
        if generation.pending == 0 {
            self.generations.remove(place);
        }
    }

    /// Makes one of the two neighbours whose common width is the least beside their age.
    fn merge_two(&mut self, now: Tick) {
        let width = |place: usize| {
            let (older, newer) = (self.generations[place], self.generations[place + 1]);
            let age_us = now.since_us(older.opened).max(1);
            newer.newest.since_us(older.opened) as f64 / age_us as f64
        };
        let places = 0..self.generations.len().saturating_sub(1);
        let narrowest = places.min_by(|&one, &other| width(one).total_cmp(&width(other)));
        let Some(place) = narrowest else { return };
        let Some(newer) = self.generations.remove(place + 1) else { return };
        let older = &mut self.generations[place];
        older.newest = older.newest.max(newer.newest);
        older.pending += newer.pending;
    }

    /// How many deliveries are pending.
    pub(super) fn count(&self) -> u64 {
        self.generations.iter().map(|generation| u64::from(generation.pending)).sum()
    }

    /// When the oldest pending delivery came in, or later; `None`: nothing is pending.
    fn oldest(&self) -> Option<Tick> {
        self.generations.front().map(|generation| generation.newest)
    }
}

impl Shard {
    /// A delivery of `slot` is pending from now on. Everything that adds one says so here.
    pub(super) fn note_pending(&mut self, slot: u32, event: u32) {
        let record = &self.events[event as usize];
        let (sequence, since) = (record.sequence, record.since());
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.ages.add(sequence, since);
        self.tell_oldest(slot);
    }

    /// A delivery of `slot` is not pending any more. Everything that takes one off its lane says
    /// so here, unless the webhook goes with it.
    pub(super) fn note_ended(&mut self, slot: u32, event: u32) {
        let sequence = self.events[event as usize].sequence;
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.ages.remove(sequence);
        self.tell_oldest(slot);
    }

    fn tell_oldest(&self, slot: u32) {
        if let Some(webhook) = &self.webhooks[slot as usize]
            && let Some(oldest) = webhook.ages.oldest()
        {
            webhook.definition.ledger.measures(self.config.worker).oldest_us.set(oldest.0);
        }
    }

    /// A lane waits for its retry from now on.
    pub(super) fn note_blocked(&self, slot: u32) {
        self.totals().deliveries.lanes_blocked.add(1);
        if let Some(webhook) = &self.webhooks[slot as usize] {
            webhook.counters(self.config.worker).lanes_blocked.add(1);
        }
    }

    /// A lane does not wait for its retry any more.
    pub(super) fn note_unblocked(&self, slot: u32) {
        self.totals().deliveries.lanes_blocked.subtract(1);
        if let Some(webhook) = &self.webhooks[slot as usize] {
            webhook.counters(self.config.worker).lanes_blocked.subtract(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;

    /// Against what is really pending: what is told is never more than the true age, and at most
    /// so much less.
    fn check(ages: &Ages, pending: &BTreeMap<u64, Tick>, now: Tick) {
        let told = ages.oldest().map(|at| now.since_us(at));
        let truly = pending.values().map(|&at| now.since_us(at)).max();
        let (Some(told), Some(truly)) = (told, truly) else {
            return assert_eq!(told, truly);
        };
        let most = told + told / 2 + limits::AGE_GENERATION_US;
        assert!(told <= truly && truly <= most, "told {told}, truly {truly}");
    }

    #[test]
    fn what_is_told_is_close_to_the_true_age_and_never_above_it() {
        for seed in 0..20 {
            let mut random = Random::new(seed);
            let (mut ages, mut pending) = (Ages::default(), BTreeMap::new());
            let mut now = Tick(0);
            for sequence in 0..5000 {
                now = Tick(now.0 + random.next_u64() % 200_000);
                ages.add(sequence, now);
                pending.insert(sequence, now);
                check(&ages, &pending, now);
                // Mostly the newer ones end; some wait for long.
                while !pending.is_empty() && !random.next_u64().is_multiple_of(16) {
                    let place =
                        pending.len() - 1 - (random.next_u64() as usize % 8).min(pending.len() - 1);
                    let ended = *pending.keys().nth(place).unwrap();
                    pending.remove(&ended);
                    ages.remove(ended);
                    check(&ages, &pending, now);
                }
                assert!(ages.generations.len() <= limits::AGE_GENERATIONS_MAX);
            }
            for ended in pending.keys().copied().collect::<Vec<_>>() {
                pending.remove(&ended);
                ages.remove(ended);
                check(&ages, &pending, Tick(now.0 + 1));
            }
            assert!(ages.generations.is_empty());
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
            assert!(now.since_us(ages.oldest().unwrap()) <= 2000);
        }
    }
}
