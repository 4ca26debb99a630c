//! What a key can hold.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::streams::Stream;
use super::table::Table;

/// A string.
pub(super) type Text = Vec<u8>;
/// A list.
pub(super) type List = VecDeque<Vec<u8>>;
/// A hash: fields with their values.
pub(super) type Hash = Table<Vec<u8>>;
/// A set.
pub(super) type Set = Table<()>;

/// What a key holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// A string of bytes.
    Text(Text),
    /// A list of strings.
    List(List),
    /// A map of strings.
    Hash(Hash),
    /// A set of strings.
    Set(Set),
    /// A set of strings, ordered by score.
    SortedSet(SortedSet),
    /// A log of entries.
    Stream(Stream),
}

/// A key's value and when it expires.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// What the key holds.
    pub(super) value: Value,
    /// When it expires, in milliseconds since 1970.
    pub(super) deadline: Option<u64>,
}

impl Value {
    /// The name of the type, as `TYPE` answers it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Text(_) => "string",
            Value::List(_) => "list",
            Value::Hash(_) => "hash",
            Value::Set(_) => "set",
            Value::SortedSet(_) => "zset",
            Value::Stream(_) => "stream",
        }
    }

    /// Whether the key must go: collections end with their last element. A stream stays, because
    /// it remembers its last id.
    pub(super) fn is_spent(&self) -> bool {
        match self {
            Value::List(list) => list.is_empty(),
            Value::Hash(hash) => hash.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::SortedSet(sorted) => sorted.len() == 0,
            Value::Text(_) | Value::Stream(_) => false,
        }
    }

    /// The bytes, of a string.
    pub(super) fn text(&self) -> Option<&[u8]> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// A type that a key can hold.
pub(super) trait Kind: Default {
    /// The value as this type.
    fn of(value: &Value) -> Option<&Self>;
    /// The value as this type, to change.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    /// This as a value.
    fn into_value(self) -> Value;
}

macro_rules! kinds {
    ($($variant:ident: $kind:ty),*) => {$(
        impl Kind for $kind {
            fn of(value: &Value) -> Option<&Self> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut Self> {
                if let Value::$variant(inner) = value { Some(inner) } else { None }
            }
            fn into_value(self) -> Value {
                Value::$variant(self)
            }
        }
    )*};
}
kinds!(Text: Text, List: List, Hash: Hash, Set: Set, SortedSet: SortedSet, Stream: Stream);

/// A score, ordered as a number; never NaN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score(pub(super) f64);

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Adding zero makes -0 and 0 one score, as they compare equal.
        (self.0 + 0.0).total_cmp(&(other.0 + 0.0))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Score {}

/// Members with scores, ordered by score and then by bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct SortedSet {
    scores: Table<f64>,
    ranks: BTreeSet<(Score, Arc<[u8]>)>,
}

impl SortedSet {
    /// How many members there are.
    pub(super) fn len(&self) -> usize {
        self.scores.len()
    }

    /// The score of `member`.
    pub(super) fn score(&self, member: &[u8]) -> Option<f64> {
        self.scores.get(member).copied()
    }

    /// The members by their age, for scans.
    pub(super) fn table(&self) -> &Table<f64> {
        &self.scores
    }

    /// Gives `member` the score, which must not be NaN; the score before.
    pub(super) fn insert(&mut self, member: &[u8], score: f64) -> Option<f64> {
        let before = self.scores.insert(member, score);
        if let Some(stored) = self.scores.stored_key(member) {
            if let Some(before) = before {
                self.ranks.remove(&(Score(before), Arc::clone(&stored)));
            }
            self.ranks.insert((Score(score), stored));
        }
        before
    }

    /// Takes `member` out; its score.
    pub(super) fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let stored = self.scores.stored_key(member)?;
        let score = self.scores.remove(member)?;
        self.ranks.remove(&(Score(score), stored));
        Some(score)
    }

    /// The members from the lowest score to the highest.
    pub(super) fn ranked(&self) -> impl DoubleEndedIterator<Item = (&Arc<[u8]>, f64)> {
        self.ranks.iter().map(|(score, member)| (member, score.0))
    }

    /// The members from the score `lowest` on, lowest first.
    pub(super) fn ranked_from(&self, lowest: f64) -> impl Iterator<Item = (&Arc<[u8]>, f64)> {
        let from = (Score(lowest), Arc::from(&[][..]));
        self.ranks.range(from..).map(|(score, member)| (member, score.0))
    }

    /// The member with the lowest score, or the highest.
    pub(super) fn extreme(&self, highest: bool) -> Option<Arc<[u8]>> {
        let end = if highest { self.ranks.last() } else { self.ranks.first() };
        end.map(|(_, member)| Arc::clone(member))
    }
}
