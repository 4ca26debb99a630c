//! Which deliveries of which events are unfinished: the bookkeeping of acks.
//!
//! Six bytes per event, whatever its size: each segment knows the numbers of its events, by worker
//! and in order, and for each event a bit per webhook that must still get it. A bit can only be
//! cleared, so that an ack that comes twice changes nothing.

use super::record::{self, Kind, Record};
use crate::base::id::EventId;
use crate::base::limits::LOG_ATTEMPTS_MAX;
use crate::core::journal::{Death, Mark};
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Map<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// The bits of more targets than this do not fit beside the number; they stand in a map.
const NARROW_TARGETS_MAX: usize = 14;
/// In place of bits: they stand in the map.
const WIDE: u16 = 1 << 15;
/// In place of bits: the event's record is left out of the segment that is being cleaned.
const LEFT_OUT: u16 = 1 << 14;

/// The events of one worker in one segment.
#[derive(Debug, Default)]
struct Stream {
    first: u64,
    /// Distances from `first`, ascending.
    numbers: Vec<u32>,
    bits: Vec<u16>,
}

impl Stream {
    /// Where `number` is, or would be.
    fn find(&self, number: u64) -> Result<usize, usize> {
        let Some(distance) = number.checked_sub(self.first) else { return Err(0) };
        let Ok(distance) = u32::try_from(distance) else { return Err(self.numbers.len()) };
        // Nearly dense: mostly it is where it would be without gaps.
        let guess = (distance as usize).min(self.numbers.len().saturating_sub(1));
        if self.numbers.get(guess) == Some(&distance) {
            return Ok(guess);
        }
        self.numbers.binary_search(&distance)
    }

    fn fits(&self, number: u64) -> bool {
        let Some(&last) = self.numbers.last() else { return true };
        let distance = match self.first.checked_sub(number) {
            Some(earlier) => earlier.saturating_add(u64::from(last)),
            None => number - self.first,
        };
        u32::try_from(distance).is_ok()
    }

    fn insert(&mut self, number: u64, bits: u16) -> bool {
        if self.numbers.is_empty() {
            self.first = number;
        } else if let Some(earlier) = self.first.checked_sub(number)
            && earlier > 0
        {
            // Only a repaired segment, whose header was lost, has them out of order.
            self.numbers.iter_mut().for_each(|distance| *distance += earlier as u32);
            self.first = number;
        }
        let Err(place) = self.find(number) else { return false };
        self.numbers.insert(place, (number - self.first) as u32);
        self.bits.insert(place, bits);
        true
    }
}

/// One segment, as its readers and its removal need it.
#[derive(Debug)]
pub struct SegmentState {
    /// Its number.
    pub id: u64,
    /// The start of the engine that wrote it.
    pub boot: u64,
    /// Tells its records from others.
    pub epoch: u32,
    /// Where its valid bytes end.
    pub end: u64,
    /// Nothing will be appended any more.
    pub sealed: bool,
    /// Events in the file.
    pub events: u64,
    /// Events with an unfinished delivery.
    pub live: u64,
    /// The oldest segment and `live`, when it was cleaned: doing it again would gain nothing.
    pub cleaned_at: Option<(u64, u64)>,
    streams: Box<[Stream]>,
    wide: Map<EventId, Box<[u64]>>,
    /// Unfinished deliveries by webhook.
    webhooks: Map<u64, u64>,
}

impl SegmentState {
    /// A segment without records.
    pub fn new(id: u64, boot: u64, epoch: u32, workers: u32, end: u64) -> SegmentState {
        SegmentState {
            id,
            boot,
            epoch,
            end,
            sealed: false,
            events: 0,
            live: 0,
            cleaned_at: None,
            streams: (0..workers.max(1)).map(|_| Stream::default()).collect(),
            wide: Map::default(),
            webhooks: Map::default(),
        }
    }

    fn place(&self, id: EventId) -> (usize, u64) {
        let workers = self.streams.len() as u64;
        ((id.sequence % workers) as usize, id.sequence / workers)
    }

    /// Whether the event's number is near enough to the others'.
    pub fn fits(&self, id: EventId) -> bool {
        let (stream, number) = self.place(id);
        self.streams[stream].fits(number)
    }

    fn find(&self, id: EventId) -> Option<(usize, usize)> {
        if id.boot != self.boot {
            return None;
        }
        let (stream, number) = self.place(id);
        let index = self.streams[stream].find(number).ok()?;
        (self.streams[stream].bits[index] != LEFT_OUT).then_some((stream, index))
    }

    /// Adds an event, with all its deliveries unfinished.
    pub fn insert(&mut self, id: EventId, targets: impl ExactSizeIterator<Item = u64>) {
        let count = targets.len();
        let bits = if count > NARROW_TARGETS_MAX { WIDE } else { (1 << count) - 1 };
        let (stream, number) = self.place(id);
        if !self.streams[stream].insert(number, bits) {
            return;
        }
        if bits == WIDE {
            let full = count / 64;
            let rest = (1u64 << (count % 64)) - 1;
            let words = std::iter::repeat_n(u64::MAX, full).chain((rest != 0).then_some(rest));
            self.wide.insert(id, words.collect());
        }
        self.events += 1;
        self.live += u64::from(count > 0);
        for webhook in targets {
            *self.webhooks.entry(webhook).or_default() += 1;
        }
    }

    fn finish(&mut self, mark: &Mark, (stream, index): (usize, usize)) -> bool {
        let bits = &mut self.streams[stream].bits[index];
        let finished = if *bits == WIDE {
            let Some(words) = self.wide.get_mut(&mark.id) else { return false };
            let Some(word) = words.get_mut(usize::from(mark.target / 64)) else { return false };
            let bit = 1 << (mark.target % 64);
            if *word & bit == 0 {
                return false;
            }
            *word &= !bit;
            words.iter().all(|&word| word == 0)
        } else {
            let bit = 1u16.checked_shl(u32::from(mark.target)).unwrap_or(0);
            if *bits & bit & !(WIDE | LEFT_OUT) == 0 {
                return false;
            }
            *bits &= !bit;
            *bits == 0
        };
        if finished {
            self.live -= 1;
            *bits = 0;
            self.wide.remove(&mark.id);
        }
        if let Some(count) = self.webhooks.get_mut(&mark.webhook) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.webhooks.remove(&mark.webhook);
            }
        }
        true
    }

    fn is_unfinished(&self, id: EventId, target: u16, (stream, index): (usize, usize)) -> bool {
        match self.streams[stream].bits[index] {
            WIDE => self.wide.get(&id).is_some_and(|words| {
                words
                    .get(usize::from(target / 64))
                    .is_some_and(|word| word >> (target % 64) & 1 != 0)
            }),
            LEFT_OUT => false,
            bits => bits & 1u16.checked_shl(u32::from(target)).unwrap_or(0) != 0,
        }
    }

    /// Unfinished deliveries to `webhook`.
    pub fn pending_of(&self, webhook: u64) -> u64 {
        self.webhooks.get(&webhook).copied().unwrap_or(0)
    }

    /// The event is finished, and the copy of the segment will be without it. `false`: it is not
    /// finished.
    pub fn leave_out(&mut self, id: EventId) -> bool {
        let Some((stream, index)) = self.find(id) else { return true };
        let bits = &mut self.streams[stream].bits[index];
        if *bits == 0 {
            *bits = LEFT_OUT;
        }
        *bits == LEFT_OUT
    }

    /// The copy has taken the segment's place (`done`), or has been given up.
    pub fn end_cleaning(&mut self, done: bool) {
        for stream in &mut self.streams {
            if !done {
                stream.bits.iter_mut().filter(|bits| **bits == LEFT_OUT).for_each(|bits| *bits = 0);
                continue;
            }
            let mut bits = stream.bits.iter();
            stream.numbers.retain(|_| bits.next().is_some_and(|&bits| bits != LEFT_OUT));
            stream.bits.retain(|&bits| bits != LEFT_OUT);
            stream.numbers.shrink_to_fit();
            stream.bits.shrink_to_fit();
        }
        self.events = self.streams.iter().map(|stream| stream.numbers.len() as u64).sum();
    }

    /// Bytes of unfinished events, estimated from how many there are.
    pub fn live_bytes(&self) -> u64 {
        (u128::from(self.end) * u128::from(self.live) / u128::from(self.events.max(1))) as u64
    }
}

/// All segments, oldest first.
#[derive(Debug, Default)]
pub struct Table {
    /// The last one is being written.
    pub segments: VecDeque<SegmentState>,
    attempts: Map<(EventId, u16), u16>,
    /// How those deliveries died that are kept as dead letters.
    deaths: Map<(EventId, u16), Death>,
    /// Attempts that were not remembered because there were too many.
    pub attempts_forgotten: u64,
    /// Unfinished deliveries.
    pub pending: u64,
    /// Where the last ack found its event.
    last_hit: usize,
}

impl Table {
    /// The segment with this number.
    pub fn segment(&self, id: u64) -> Option<&SegmentState> {
        let oldest = self.segments.front()?.id;
        self.segments.get(usize::try_from(id.checked_sub(oldest)?).ok()?)
    }

    /// The segment with this number.
    pub fn segment_mut(&mut self, id: u64) -> Option<&mut SegmentState> {
        let oldest = self.segments.front()?.id;
        self.segments.get_mut(usize::try_from(id.checked_sub(oldest)?).ok()?)
    }

    fn find(&self, id: EventId) -> Option<(usize, (usize, usize))> {
        let at = |index: usize| Some((index, self.segments.get(index)?.find(id)?));
        at(self.last_hit).or_else(|| (0..self.segments.len()).rev().find_map(at))
    }

    /// The segment whose file holds the event.
    pub fn segment_of(&self, id: EventId) -> Option<u64> {
        self.find(id).map(|(index, _)| self.segments[index].id)
    }

    /// Whether the delivery is unfinished.
    pub fn is_unfinished(&self, id: EventId, target: u16) -> bool {
        self.find(id)
            .is_some_and(|(index, place)| self.segments[index].is_unfinished(id, target, place))
    }

    /// Attempts that were recorded of the delivery.
    pub fn attempts(&self, id: EventId, target: u16) -> u16 {
        self.attempts.get(&(id, target)).copied().unwrap_or(0)
    }

    /// How the delivery died, if it is kept as a dead letter.
    pub fn death(&self, id: EventId, target: u16) -> Option<Death> {
        self.deaths.get(&(id, target)).copied()
    }

    /// The webhooks that have unfinished deliveries.
    pub fn webhooks(&self) -> BTreeSet<u64> {
        self.segments.iter().flat_map(|segment| segment.webhooks.keys().copied()).collect()
    }

    /// Unfinished deliveries to `webhook`.
    pub fn pending_of(&self, webhook: u64) -> u64 {
        self.segments.iter().map(|segment| segment.pending_of(webhook)).sum()
    }

    /// Notes what a record of the last segment says. `false`: it makes no sense.
    pub fn apply(&mut self, record: &Record<'_>) -> bool {
        match record.kind {
            Kind::Event => {
                let Some(event) = record::read_event(record.payload) else { return false };
                let Some(segment) = self.segments.back_mut() else { return false };
                if event.id.boot != segment.boot || !segment.fits(event.id) {
                    return false;
                }
                let before = segment.events;
                segment.insert(event.id, event.targets());
                if segment.events != before {
                    self.pending += event.targets().len() as u64;
                }
            }
            Kind::Acks => {
                let Some(marks) = record::read_marks(record.payload) else { return false };
                marks.for_each(|mark| self.finish(&mark));
            }
            Kind::Attempts => {
                let Some(marks) = record::read_marks(record.payload) else { return false };
                marks.for_each(|mark| self.note_attempts(&mark));
            }
            Kind::Dead => {
                let Some(marks) = record::read_dead(record.payload) else { return false };
                marks.for_each(|(mark, death)| self.note_death(&mark, death));
            }
            Kind::End | Kind::Closed => {}
        }
        true
    }

    fn note_death(&mut self, mark: &Mark, death: Death) {
        let key = (mark.id, mark.target);
        if !self.is_unfinished(mark.id, mark.target) {
            return;
        }
        if self.deaths.contains_key(&key) || self.deaths.len() < LOG_ATTEMPTS_MAX {
            self.deaths.insert(key, death);
        } else {
            self.attempts_forgotten += 1;
        }
        self.attempts.remove(&key);
    }

    fn finish(&mut self, mark: &Mark) {
        let Some((index, place)) = self.find(mark.id) else { return };
        self.last_hit = index;
        if self.segments[index].finish(mark, place) {
            self.pending -= 1;
            if !self.attempts.is_empty() {
                self.attempts.remove(&(mark.id, mark.target));
            }
            if !self.deaths.is_empty() {
                self.deaths.remove(&(mark.id, mark.target));
            }
        }
    }

    fn note_attempts(&mut self, mark: &Mark) {
        if !self.is_unfinished(mark.id, mark.target) {
            return;
        }
        let known = self.attempts.contains_key(&(mark.id, mark.target));
        if known || self.attempts.len() < LOG_ATTEMPTS_MAX {
            self.attempts.insert((mark.id, mark.target), mark.value);
        } else {
            self.attempts_forgotten += 1;
        }
    }

    /// Whether a copy of a segment must keep what is said of a dead letter.
    pub fn needs_death(&self, mark: &Mark, death: &Death) -> bool {
        self.death(mark.id, mark.target) == Some(*death)
    }

    /// Whether a copy of a segment must keep what `mark` says.
    pub fn needs(&self, mark: &Mark, kind: Kind) -> bool {
        match kind {
            Kind::Attempts => self.attempts(mark.id, mark.target) == mark.value,
            _ => self.find(mark.id).is_some(),
        }
    }

    /// The event's record now stands in the last segment; what is unfinished stays so.
    pub fn move_to_last(
        &mut self,
        id: EventId,
        targets: impl ExactSizeIterator<Item = u64> + Clone,
    ) {
        let last = self.segments.len() - 1;
        let Some((index, place)) = self.find(id) else { return };
        if index == last {
            return;
        }
        let unfinished: Vec<bool> = (0..targets.len())
            .map(|target| self.segments[index].is_unfinished(id, target as u16, place))
            .collect();
        let marks = targets.clone().enumerate().map(|(target, webhook)| Mark {
            id,
            webhook,
            target: target as u16,
            value: 0,
        });
        for mark in marks.clone() {
            self.segments[index].finish(&mark, place);
        }
        let (stream, place) = place;
        self.segments[index].streams[stream].numbers.remove(place);
        self.segments[index].streams[stream].bits.remove(place);
        self.segments[index].events -= 1;
        self.segments[last].insert(id, targets);
        for (mark, unfinished) in marks.zip(unfinished) {
            if !unfinished && let Some(place) = self.segments[last].find(id) {
                self.segments[last].finish(&mark, place);
            }
        }
    }

    /// Takes the oldest segment out, when nothing in it is unfinished and it is not the last.
    pub fn pop_finished(&mut self) -> Option<SegmentState> {
        let oldest = self.segments.front()?;
        if !oldest.sealed || oldest.live > 0 || self.segments.len() < 2 {
            return None;
        }
        self.last_hit = self.last_hit.saturating_sub(1);
        self.segments.pop_front()
    }
}

/// The table is written by the log's writer and read by its readers. Workers never lock it.
#[derive(Clone, Debug, Default)]
pub struct SharedTable(Arc<Mutex<Table>>);

impl SharedTable {
    /// Locks it.
    pub fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(sequence: u64) -> EventId {
        EventId { boot: 1, sequence }
    }

    fn mark(sequence: u64, target: u16) -> Mark {
        Mark { id: id(sequence), webhook: u64::from(target), target, value: 1 }
    }

    fn table(workers: u32) -> Table {
        let mut table = Table::default();
        table.segments.push_back(SegmentState::new(5, 1, 9, workers, 0));
        table
    }

    fn insert(table: &mut Table, sequence: u64, targets: u64) {
        table.segments.back_mut().unwrap().insert(id(sequence), targets_of(targets));
        table.pending += targets;
    }

    fn targets_of(count: u64) -> impl ExactSizeIterator<Item = u64> + Clone {
        (0..count as usize).map(|webhook| webhook as u64)
    }

    #[test]
    fn an_event_is_finished_with_its_last_target_and_an_ack_counts_once() {
        for targets in [1, 2, 14, 15, 63, 64, 65, 200] {
            let mut table = table(3);
            insert(&mut table, 7, targets);
            for target in 0..targets as u16 {
                assert_eq!(table.segments[0].live, 1);
                assert!(table.is_unfinished(id(7), target));
                table.finish(&mark(7, target));
                table.finish(&mark(7, target));
                assert!(!table.is_unfinished(id(7), target));
                assert_eq!(table.pending, targets - u64::from(target) - 1);
                assert_eq!(table.pending_of(u64::from(target)), 0);
            }
            assert_eq!(table.segments[0].live, 0);
            // A target that never was.
            table.finish(&mark(7, u16::MAX));
            assert_eq!(table.pending, 0);
        }
    }

    #[test]
    fn numbers_may_have_gaps_and_come_from_several_workers_in_any_order() {
        let mut table = table(3);
        let sequences = [0, 1, 2, 30, 4, 31, 9, 3_000_000, 5];
        for sequence in sequences {
            insert(&mut table, sequence, 1);
        }
        for sequence in sequences {
            assert!(table.is_unfinished(id(sequence), 0), "{sequence}");
            table.finish(&mark(sequence, 0));
            assert!(!table.is_unfinished(id(sequence), 0), "{sequence}");
        }
        assert!(!table.is_unfinished(id(6), 0));
        assert!(!table.segments[0].fits(id(u64::MAX)));
    }

    #[test]
    fn only_the_oldest_goes_and_never_the_last() {
        let mut table = table(1);
        insert(&mut table, 0, 1);
        table.segments.push_back(SegmentState::new(6, 1, 9, 1, 0));
        table.segments.push_back(SegmentState::new(7, 1, 9, 1, 0));
        table.segments[0].sealed = true;
        table.segments[1].sealed = true;
        assert!(table.pop_finished().is_none(), "the oldest is pinned");
        table.finish(&mark(0, 0));
        assert_eq!(table.pop_finished().unwrap().id, 5);
        assert_eq!(table.pop_finished().unwrap().id, 6);
        assert!(table.pop_finished().is_none(), "the last stays");
    }

    #[test]
    fn what_is_left_out_of_a_copy_is_forgotten_and_what_was_copied_is_not() {
        let mut table = table(1);
        (0..3).for_each(|sequence| insert(&mut table, sequence, 1));
        table.finish(&mark(0, 0));
        let segment = &mut table.segments[0];
        assert!(segment.leave_out(id(0)));
        assert!(!segment.leave_out(id(1)));
        assert!(!segment.leave_out(id(2)));
        // Finished after it was copied: its ack must be kept for as long as the copy has it.
        table.finish(&mark(1, 0));
        table.segments[0].end_cleaning(true);
        assert!(!table.needs(&mark(0, 0), Kind::Acks));
        assert!(table.needs(&mark(1, 0), Kind::Acks));
        assert_eq!((table.segments[0].events, table.segments[0].live), (2, 1));
        assert!(table.is_unfinished(id(2), 0));
    }

    #[test]
    fn a_cleaning_that_was_given_up_forgets_nothing() {
        let mut table = table(1);
        insert(&mut table, 0, 1);
        table.finish(&mark(0, 0));
        assert!(table.segments[0].leave_out(id(0)));
        table.segments[0].end_cleaning(false);
        assert!(table.needs(&mark(0, 0), Kind::Acks));
    }

    #[test]
    fn a_moved_event_keeps_what_is_finished() {
        for targets in [3, 40] {
            let mut table = table(2);
            insert(&mut table, 8, targets);
            table.finish(&mark(8, 1));
            table.segments.push_back(SegmentState::new(6, 1, 9, 2, 0));
            table.move_to_last(id(8), targets_of(targets));
            assert_eq!((table.segments[0].events, table.segments[0].live), (0, 0));
            assert_eq!((table.segments[1].events, table.segments[1].live), (1, 1));
            let unfinished: Vec<bool> =
                (0..3).map(|target| table.is_unfinished(id(8), target)).collect();
            assert_eq!(unfinished, [true, false, true]);
            assert_eq!((table.pending, table.pending_of(1)), (targets - 1, 0));
        }
    }

    #[test]
    fn attempts_last_until_the_delivery_is_finished() {
        let mut table = table(1);
        insert(&mut table, 0, 2);
        table.note_attempts(&Mark { value: 4, ..mark(0, 1) });
        table.note_attempts(&mark(1, 0));
        assert_eq!((table.attempts(id(0), 0), table.attempts(id(0), 1)), (0, 4));
        assert!(!table.needs(&Mark { value: 3, ..mark(0, 1) }, Kind::Attempts));
        assert!(table.needs(&Mark { value: 4, ..mark(0, 1) }, Kind::Attempts));
        table.finish(&mark(0, 1));
        assert_eq!(table.attempts(id(0), 1), 0);
        assert!(table.attempts.is_empty());
    }
}
