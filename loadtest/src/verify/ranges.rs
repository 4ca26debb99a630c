//! Sets of sequences that take as much memory as they have gaps: those of one key mostly come one
//! after the other.

use std::ops::Range;

/// A set of numbers, as the ranges that they fill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Ascending, and none touches the next.
    ranges: Vec<Range<u64>>,
}

impl Ranges {
    /// Adds a number; `false` if it was there.
    pub fn insert(&mut self, number: u64) -> bool {
        // The first range that ends at the number or behind it.
        let at = match self.ranges.last() {
            Some(last) if last.end < number => self.ranges.len(),
            _ => self.ranges.partition_point(|range| range.end < number),
        };
        match self.ranges.get_mut(at) {
            Some(range) if range.contains(&number) => return false,
            Some(range) if range.end == number => {
                range.end += 1;
                if self.ranges.get(at + 1).is_some_and(|next| next.start == number + 1) {
                    self.ranges[at].end = self.ranges.remove(at + 1).end;
                }
            }
            Some(range) if range.start == number + 1 => range.start = number,
            _ => self.ranges.insert(at, number..number + 1),
        }
        true
    }

    /// Whether a number is in it.
    pub fn contains(&self, number: u64) -> bool {
        let at = self.ranges.partition_point(|range| range.end <= number);
        self.ranges.get(at).is_some_and(|range| range.contains(&number))
    }

    /// How many numbers.
    pub fn count(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// What is in it and not in `other`, ascending.
    pub fn without<'a>(&'a self, other: &'a Ranges) -> impl Iterator<Item = Range<u64>> + 'a {
        let mut others = other.ranges.iter().peekable();
        let mut own = self.ranges.iter().cloned();
        let mut rest = own.next();
        std::iter::from_fn(move || {
            loop {
                let range = rest.take()?;
                while others.next_if(|other| other.end <= range.start).is_some() {}
                let (found, left) = match others.peek() {
                    Some(other) if other.start < range.end => (
                        range.start..other.start.max(range.start),
                        other.end.min(range.end)..range.end,
                    ),
                    _ => (range.clone(), range.end..range.end),
                };
                rest = if left.is_empty() { own.next() } else { Some(left) };
                if !found.is_empty() {
                    return Some(found);
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_comes_in_order_takes_one_range() {
        let mut ranges = Ranges::default();
        assert!((0..1000).all(|number| ranges.insert(number)));
        assert_eq!((ranges.ranges.len(), ranges.count()), (1, 1000));
        assert!(!ranges.insert(500) && ranges.insert(1001) && ranges.insert(1000));
        assert_eq!((ranges.ranges.len(), ranges.count()), (1, 1002));
    }

    proptest! {
        #[test]
        fn they_are_sets(
            numbers in prop::collection::vec(0..40_u64, 0..60),
            others in prop::collection::vec(0..40_u64, 0..60),
        ) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for number in numbers {
                prop_assert_eq!(ranges.insert(number), set.insert(number));
            }
            let (mut other, mut other_set) = (Ranges::default(), BTreeSet::new());
            for number in others {
                other.insert(number);
                other_set.insert(number);
            }
            prop_assert_eq!(ranges.count(), set.len() as u64);
            prop_assert!(ranges.ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            let found: Vec<u64> = ranges.without(&other).flatten().collect();
            let wanted: Vec<u64> = set.difference(&other_set).copied().collect();
            prop_assert_eq!(found, wanted);
            for number in 0..41 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
        }
    }
}
