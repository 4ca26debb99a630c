//! A map that keeps the order of insertion and can be scanned while it changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::base::random::Random;

/// How often a random place is tried before the nearest entry is taken.
const RANDOM_TRIES: usize = 64;

/// A map from byte strings to values, in the order of insertion.
///
/// Every entry has a place, a number that only grows and that the entry keeps as long as it
/// exists. Scans go from the newest place to the oldest: whatever is present from the first call
/// to the last is visited exactly once, and what is added meanwhile is not in the way, so that a
/// scan ends even if entries are replaced as fast as it advances.
#[derive(Clone, Debug)]
pub(super) struct Table<V> {
    slots: HashMap<Arc<[u8]>, Slot<V>>,
    order: BTreeMap<u64, Arc<[u8]>>,
    last_place: u64,
}

#[derive(Clone, Debug)]
struct Slot<V> {
    place: u64,
    value: V,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Table { slots: HashMap::new(), order: BTreeMap::new(), last_place: 0 }
    }
}

impl<V> Table<V> {
    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there is no entry.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether `key` is present.
    pub(super) fn contains(&self, key: &[u8]) -> bool {
        self.slots.contains_key(key)
    }

    /// The value of `key`.
    pub(super) fn get(&self, key: &[u8]) -> Option<&V> {
        self.slots.get(key).map(|slot| &slot.value)
    }

    /// The value of `key`, to change.
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut V> {
        self.slots.get_mut(key).map(|slot| &mut slot.value)
    }

    /// The stored form of `key`, which can be shared.
    pub(super) fn stored_key(&self, key: &[u8]) -> Option<Arc<[u8]>> {
        self.slots.get_key_value(key).map(|(stored, _)| Arc::clone(stored))
    }

    /// Puts `value` at `key`; the value before. A key that was present keeps its place.
    pub(super) fn insert(&mut self, key: &[u8], value: V) -> Option<V> {
        if let Some(slot) = self.slots.get_mut(key) {
            return Some(std::mem::replace(&mut slot.value, value));
        }
        self.last_place += 1;
        let key: Arc<[u8]> = Arc::from(key);
        self.order.insert(self.last_place, Arc::clone(&key));
        self.slots.insert(key, Slot { place: self.last_place, value });
        None
    }

    /// Takes `key` out.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let slot = self.slots.remove(key)?;
        self.order.remove(&slot.place);
        Some(slot.value)
    }

    /// The entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<[u8]>, &V)> {
        self.order.values().filter_map(|key| self.get(key).map(|value| (key, value)))
    }

    /// The keys, oldest first.
    pub(super) fn keys(&self) -> impl Iterator<Item = &Arc<[u8]>> {
        self.order.values()
    }

    /// Visits `count` entries from `cursor` on (0 starts); the cursor to go on with, 0 at the end.
    pub(super) fn scan<'t>(
        &'t self,
        cursor: u64,
        count: usize,
        mut visit: impl FnMut(&'t Arc<[u8]>, &'t V),
    ) -> u64 {
        let end = if cursor == 0 { u64::MAX } else { cursor };
        let mut last = 0;
        for (&place, key) in self.order.range(..end).rev().take(count) {
            last = place;
            if let Some(value) = self.get(key) {
                visit(key, value);
            }
        }
        if self.order.range(..last).next_back().is_some() { last } else { 0 }
    }

    /// Some entry's key. All are equally likely unless most of the places have been vacated.
    pub(super) fn random_key(&self, random: &mut Random) -> Option<&Arc<[u8]>> {
        let (&first, _) = self.order.first_key_value()?;
        let (&last, _) = self.order.last_key_value()?;
        if self.order.len() <= RANDOM_TRIES {
            return self.order.values().nth(random.below(self.order.len() as u64) as usize);
        }
        let mut place = first;
        for _ in 0..RANDOM_TRIES {
            place = first + random.below(last - first + 1);
            if let Some(key) = self.order.get(&place) {
                return Some(key);
            }
        }
        self.order.range(place..).next().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_visit_all_that_stays_and_end_while_entries_are_replaced() {
        let mut table = Table::default();
        for number in 0..100u32 {
            table.insert(&number.to_be_bytes(), ());
        }
        let (mut cursor, mut seen, mut round) = (0, Vec::new(), 0u32);
        loop {
            cursor = table.scan(cursor, 7, |key, ()| seen.push(key.to_vec()));
            table.remove(&(round * 2).to_be_bytes());
            table.insert(&(1000 + round).to_be_bytes(), ());
            round += 1;
            if cursor == 0 {
                break;
            }
        }
        for number in (1..100u32).step_by(2) {
            assert_eq!(seen.iter().filter(|key| **key == number.to_be_bytes()).count(), 1);
        }
        assert!(round < 20);
    }

    #[test]
    fn random_keys_are_found_after_many_were_removed() {
        let (mut table, mut random) = (Table::default(), Random::new(1));
        assert_eq!(table.random_key(&mut random), None);
        for number in 0..10_000u32 {
            table.insert(&number.to_be_bytes(), ());
        }
        for number in 1..9_900u32 {
            table.remove(&number.to_be_bytes());
        }
        for _ in 0..1000 {
            assert!(table.contains(table.random_key(&mut random).unwrap()));
        }
    }
}
