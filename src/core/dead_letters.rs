//! Deliveries that were given up, with their bodies, so that somebody can look at them and send
//! them again. In memory: a restart forgets them.

use super::failure::Failure;
use super::glob::Glob;
use super::replay::{KeptEvent, Place, Selection, Which};
use crate::base::id::EventId;
use crate::base::limits;
use std::collections::BTreeMap;

/// Why a delivery was given up.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum DeadReason {
    /// Its first attempt and all its retries failed.
    RetriesUsedUp,
    /// Its answer had a status that is not tried again (`FINAL_STATUS`).
    FinalStatus,
    /// Its receiver wanted no further attempt (`webhook-delivery: abort-message`).
    Aborted,
}

impl DeadReason {
    /// In a number, to be written down.
    pub const fn number(self) -> u8 {
        match self {
            DeadReason::RetriesUsedUp => 0,
            DeadReason::FinalStatus => 1,
            DeadReason::Aborted => 2,
        }
    }

    /// The reason with this number.
    pub const fn from_number(number: u8) -> Option<DeadReason> {
        Some(match number {
            0 => DeadReason::RetriesUsedUp,
            1 => DeadReason::FinalStatus,
            2 => DeadReason::Aborted,
            _ => return None,
        })
    }

    /// The name in replies.
    pub const fn name(self) -> &'static str {
        match self {
            DeadReason::RetriesUsedUp => "retries used up",
            DeadReason::FinalStatus => "final status",
            DeadReason::Aborted => "aborted by the receiver",
        }
    }
}

/// How a delivery died that is kept as a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Death {
    /// Attempts that were made.
    pub attempts: u32,
    /// The HTTP status of the last one, if a response came.
    pub status: Option<u16>,
    /// Why the last one failed.
    pub failure: Option<Failure>,
    /// Why it was given up.
    pub reason: DeadReason,
    /// When, in microseconds since 1970.
    pub at_us: u64,
}

/// A delivery that was given up.
#[derive(Clone, PartialEq, Debug)]
pub struct DeadLetter {
    /// What is sent again.
    pub kept: KeptEvent,
    /// The worker whose lanes its key belongs to.
    pub worker: usize,
    /// How it died.
    pub death: Death,
    /// It is taken for a replay and waits for its turn.
    pub replaying: bool,
}

/// Where the durable log keeps a dead letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeptPlace {
    /// The event's id.
    pub id: EventId,
    /// The webhook's place among those that the event was for.
    pub target: u16,
    /// The worker that its key belongs to.
    pub worker: usize,
}

impl DeadLetter {
    fn place(&self) -> KeptPlace {
        KeptPlace { id: self.kept.id, target: self.kept.target, worker: self.worker }
    }

    /// What it counts for: its body, its header lines and the kept part of its key.
    fn bytes(&self) -> usize {
        self.kept.body.len() + self.kept.lines.len() + self.kept.key.len()
    }
}

/// How many dead letters one webhook keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DeadLimits {
    /// Letters.
    pub letters_max: usize,
    /// Their bodies and keys together.
    pub bytes_max: usize,
}

impl Default for DeadLimits {
    fn default() -> Self {
        DeadLimits {
            letters_max: limits::DEAD_LETTERS_MAX_DEFAULT,
            bytes_max: limits::DEAD_LETTER_BYTES_MAX_DEFAULT,
        }
    }
}

/// What became of a webhook's dead letters. `kept + forgotten + cleared`, and those that were
/// replayed, are all that ever died.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DeadTally {
    /// There now.
    pub kept: u64,
    /// Forgotten because of a bound.
    pub forgotten: u64,
    /// Cleared by command.
    pub cleared: u64,
}

impl DeadTally {
    /// The sum of two.
    #[must_use]
    pub fn plus(self, other: DeadTally) -> DeadTally {
        DeadTally {
            kept: self.kept + other.kept,
            forgotten: self.forgotten + other.forgotten,
            cleared: self.cleared + other.cleared,
        }
    }
}

/// The dead letters of one webhook. Full, in number or in bytes, it forgets the oldest.
#[derive(Debug, Default)]
pub struct DeadLetters {
    limits: DeadLimits,
    /// By the number of their arrival.
    letters: BTreeMap<u64, DeadLetter>,
    arrived: u64,
    bytes: usize,
    forgotten: u64,
    cleared: u64,
}

impl DeadLetters {
    /// None yet.
    pub fn new(limits: DeadLimits) -> Self {
        DeadLetters { limits, ..DeadLetters::default() }
    }

    /// Keeps `letter`, and forgets the oldest ones that have no room beside it. One that is larger
    /// than all together may be is forgotten itself. Gives those that were forgotten.
    pub fn push(&mut self, letter: DeadLetter) -> Vec<KeptPlace> {
        let mut forgotten = Vec::new();
        if letter.bytes() > self.limits.bytes_max || self.limits.letters_max == 0 {
            self.forgotten += 1;
            forgotten.push(letter.place());
            return forgotten;
        }
        self.bytes += letter.bytes();
        self.letters.insert(self.arrived, letter);
        self.arrived += 1;
        while self.letters.len() > self.limits.letters_max || self.bytes > self.limits.bytes_max {
            let Some((_, oldest)) = self.letters.pop_first() else { break };
            self.bytes -= oldest.bytes();
            self.forgotten += 1;
            forgotten.push(oldest.place());
        }
        forgotten
    }

    /// Goes on counting from what was kept before a restart. The letters themselves are not part
    /// of it.
    pub fn restore(&mut self, kept: DeadTally) {
        (self.forgotten, self.cleared) = (kept.forgotten, kept.cleared);
    }

    /// The letters, oldest first.
    pub fn letters(&self) -> impl DoubleEndedIterator<Item = &DeadLetter> {
        self.letters.values()
    }

    /// The places of a worker's letters.
    pub fn places_of(&self, worker: usize) -> Vec<KeptPlace> {
        let places = self.letters.values().map(DeadLetter::place);
        places.filter(|place| place.worker == worker).collect()
    }

    /// Throws all letters away, also those that wait for a replay; gives their places.
    pub fn clear(&mut self) -> Vec<KeptPlace> {
        let places: Vec<_> = self.letters.values().map(DeadLetter::place).collect();
        (self.bytes, self.cleared) = (0, self.cleared + places.len() as u64);
        self.letters.clear();
        places
    }

    /// What became of them.
    pub fn tally(&self) -> DeadTally {
        DeadTally {
            kept: self.letters.len() as u64,
            forgotten: self.forgotten,
            cleared: self.cleared,
        }
    }

    /// Reserves the letters that `selection` means and that no replay has reserved already; gives
    /// their places, oldest first.
    pub(super) fn select(&mut self, selection: &Selection) -> Vec<Place> {
        let pattern = selection.pattern.as_deref().map(Glob::parse);
        let means = |letter: &DeadLetter| {
            let by_which = match selection.which {
                Which::Id(id) => letter.kept.id == id,
                Which::Dead => true,
                Which::Between { since_us, until_us } => {
                    (since_us..=until_us).contains(&letter.death.at_us)
                }
            };
            by_which && pattern.as_ref().is_none_or(|pattern| pattern.matches(&letter.kept.key))
        };
        let mut places = Vec::new();
        for (&number, letter) in &mut self.letters {
            if !letter.replaying && means(letter) {
                letter.replaying = true;
                places.push(Place { number, worker: letter.worker });
            }
        }
        places
    }

    /// Takes a reserved letter out; `None` if it was forgotten or cleared meanwhile.
    pub(super) fn take(&mut self, number: u64) -> Option<KeptEvent> {
        let letter = self.letters.remove(&number)?;
        self.bytes -= letter.bytes();
        Some(letter.kept)
    }

    /// Gives a reservation up.
    pub(super) fn release(&mut self, number: u64) {
        if let Some(letter) = self.letters.get_mut(&number) {
            letter.replaying = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::event::WebhookEvent;
    use crate::core::format::Format;

    fn letter(sequence: u64, body_bytes: usize) -> DeadLetter {
        DeadLetter {
            kept: KeptEvent {
                id: EventId { boot: 1, sequence },
                event: WebhookEvent::Set,
                key: format!("key:{sequence}").into_bytes(),
                key_hash: sequence,
                target: 0,
                body: vec![b'x'; body_bytes],
                format: Format::Ferrite,
                lines: Vec::new(),
            },
            worker: 0,
            death: Death {
                attempts: 4,
                status: Some(500),
                failure: Some(Failure::Status(500)),
                reason: DeadReason::RetriesUsedUp,
                at_us: 100 * sequence,
            },
            replaying: false,
        }
    }

    fn letters(limits: DeadLimits, count: u64, body_bytes: usize) -> DeadLetters {
        let mut letters = DeadLetters::new(limits);
        (0..count).for_each(|sequence| drop(letters.push(letter(sequence, body_bytes))));
        letters
    }

    fn sequences(letters: &DeadLetters) -> Vec<u64> {
        letters.letters().map(|letter| letter.kept.id.sequence).collect()
    }

    fn selected(letters: &mut DeadLetters, which: Which, pattern: Option<&[u8]>) -> Vec<u64> {
        let selection = Selection { which, pattern: pattern.map(<[u8]>::to_vec) };
        letters.select(&selection).into_iter().map(|place| place.number).collect()
    }

    #[test]
    fn the_oldest_are_forgotten_at_the_bound_of_letters_and_of_bytes() {
        let by_number = letters(DeadLimits { letters_max: 3, ..DeadLimits::default() }, 5, 10);
        assert_eq!(sequences(&by_number), [2, 3, 4]);
        assert_eq!(by_number.tally(), DeadTally { kept: 3, forgotten: 2, cleared: 0 });
        // Each takes 105 bytes, with its key.
        let by_bytes = letters(DeadLimits { bytes_max: 211, ..DeadLimits::default() }, 5, 100);
        assert_eq!(sequences(&by_bytes), [3, 4]);
    }

    #[test]
    fn one_that_is_larger_than_all_may_be_pushes_no_other_out() {
        let mut letters = letters(DeadLimits { bytes_max: 500, ..DeadLimits::default() }, 2, 100);
        let forgotten = letters.push(letter(9, 600));
        assert_eq!(
            forgotten,
            [KeptPlace { id: EventId { boot: 1, sequence: 9 }, target: 0, worker: 0 }]
        );
        assert_eq!(sequences(&letters), [0, 1]);
        assert_eq!(letters.tally().forgotten, 1);
        let mut none = DeadLetters::new(DeadLimits { letters_max: 0, bytes_max: 1000 });
        assert_eq!(none.push(letter(0, 1)).len(), 1);
        assert_eq!(none.tally(), DeadTally { kept: 0, forgotten: 1, cleared: 0 });
    }

    #[test]
    fn a_letter_is_selected_by_id_time_and_pattern_and_by_one_replay_only() {
        let mut letters = letters(DeadLimits::default(), 12, 10);
        let id = EventId { boot: 1, sequence: 7 };
        assert_eq!(selected(&mut letters, Which::Id(id), None), [7]);
        assert!(selected(&mut letters, Which::Id(id), None).is_empty(), "it is reserved");
        let between = Which::Between { since_us: 600, until_us: 900 };
        assert_eq!(selected(&mut letters, between, None), [6, 8, 9]);
        assert_eq!(selected(&mut letters, Which::Dead, Some(b"key:1*")), [1, 10, 11]);
        letters.release(10);
        assert_eq!(selected(&mut letters, Which::Dead, Some(b"key:1*")), [10]);
        assert_eq!(letters.take(10).map(|kept| kept.id.sequence), Some(10));
        assert_eq!(letters.take(10), None);
        assert_eq!((letters.clear().len(), letters.take(1)), (11, None));
        assert_eq!(letters.tally(), DeadTally { kept: 0, forgotten: 0, cleared: 11 });
    }

    #[test]
    fn what_is_taken_and_cleared_makes_room() {
        let limits = DeadLimits { letters_max: 100, bytes_max: 315 };
        let mut letters = letters(limits, 3, 100);
        letters.take(1);
        assert!(letters.push(letter(3, 100)).is_empty());
        assert_eq!(sequences(&letters), [0, 2, 3]);
        letters.clear();
        let pushed = (4..7).flat_map(|sequence| letters.push(letter(sequence, 100)));
        assert_eq!(pushed.count(), 0);
        assert_eq!(sequences(&letters), [4, 5, 6]);
    }
}
