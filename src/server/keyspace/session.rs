//! The point of mutation: handlers read and change keys through a [`Session`], and every event of
//! the keyspace comes from here.
//!
//! The rules: no event unless something changed, but setting a string or a field always counts; a
//! collection that lost its last element is deleted, after the event of what emptied it; a key
//! found expired yields its own event before the command's; moving a deadline is no event.

use std::borrow::Cow;

use super::error::CommandError;
use super::streams::StreamId;
use super::table::Table;
use super::value::{Entry, Kind, Text, Value};
use super::{Keyspace, MutationSink};
use crate::server::reply::format_double;
use crate::webhooks::{EventRef, EventValue, WebhookEvent};

/// What happens to a string's time to live when it is set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lifetime {
    /// It lives for ever.
    Endless,
    /// As before.
    Kept,
    /// It expires at this time, in milliseconds since 1970.
    Until(u64),
}

/// What a write does about a key that does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Missing {
    /// Creates it.
    Create,
    /// Nothing.
    Skip,
}

/// What a write added to a collection, and with that the kind of its event.
#[derive(Clone, Debug)]
pub(super) enum Added<'a> {
    /// Items at the head of a list.
    Head(&'a [&'a [u8]]),
    /// Items at the tail of a list.
    Tail(&'a [&'a [u8]]),
    /// Fields of a hash with their values.
    Fields(Vec<(&'a [u8], Cow<'a, [u8]>)>),
    /// Members of a set.
    Members(Vec<&'a [u8]>),
    /// Members of a sorted set with their scores.
    Scores(Vec<(&'a [u8], f64)>),
    /// An entry of a stream.
    Entry(StreamId, Vec<(&'a [u8], &'a [u8])>),
}

/// What a change answers: its result, and what it added if it added something.
pub(super) type Changed<'a, R> = Result<(R, Option<Added<'a>>), CommandError>;

/// What a command sees of the keyspace while it runs.
pub(super) struct Session<'s> {
    keyspace: &'s mut Keyspace,
    sink: &'s mut dyn MutationSink,
    /// The time, in milliseconds since 1970.
    pub(super) now_ms: u64,
    /// The database that the command works on.
    pub(super) database: u32,
}

impl<'s> Session<'s> {
    /// A session for one command.
    pub(super) fn new(
        keyspace: &'s mut Keyspace,
        now_ms: u64,
        database: u32,
        sink: &'s mut dyn MutationSink,
    ) -> Self {
        Session { keyspace, sink, now_ms, database }
    }

    /// The entry at `key`, whatever it holds; an expired one is not found.
    pub(super) fn peek(&mut self, key: &[u8]) -> Option<&Entry> {
        self.expire_if_due(key);
        self.keyspace.entry(self.database, key)
    }

    /// Whether `key` exists.
    pub(super) fn exists(&mut self, key: &[u8]) -> bool {
        self.peek(key).is_some()
    }

    /// The entry at `key` as [`peek`](Self::peek), counted as a hit or a miss.
    pub(super) fn visit(&mut self, key: &[u8]) -> Option<&Entry> {
        self.expire_if_due(key);
        let Keyspace { databases, stats, .. } = &mut *self.keyspace;
        let found = databases.get(self.database as usize)?.entries.get(key);
        match found {
            Some(_) => stats.hits += 1,
            None => stats.misses += 1,
        }
        found
    }

    /// Reads `key` as a `C`; `None` when it does not exist.
    pub(super) fn read<C: Kind>(&mut self, key: &[u8]) -> Result<Option<&C>, CommandError> {
        match self.visit(key) {
            None => Ok(None),
            Some(entry) => C::of(&entry.value).map(Some).ok_or(CommandError::WrongType),
        }
    }

    /// The keys of the session's database, expired ones included until they are reclaimed.
    pub(super) fn table(&self) -> Option<&Table<Entry>> {
        self.keyspace.table(self.database)
    }

    /// Whether an entry is still there for clients.
    pub(super) fn is_live(&self, entry: &Entry) -> bool {
        entry.deadline.is_none_or(|deadline| deadline > self.now_ms)
    }

    /// How many databases there are.
    pub(super) fn databases(&self) -> u32 {
        self.keyspace.databases()
    }

    /// The source of random choices.
    pub(super) fn random(&mut self) -> &mut crate::base::random::Random {
        &mut self.keyspace.random
    }

    /// Some key of the database that has not expired.
    pub(super) fn random_key(&mut self) -> Option<Vec<u8>> {
        loop {
            let random = &mut self.keyspace.random;
            let entries = &self.keyspace.databases.get(self.database as usize)?.entries;
            let key = entries.random_key(random)?.to_vec();
            if !self.expire_if_due(&key) {
                return Some(key);
            }
        }
    }

    /// Reclaims `key` when its time has come; whether it had.
    pub(super) fn expire_if_due(&mut self, key: &[u8]) -> bool {
        let due = self.keyspace.entry(self.database, key).is_some_and(|entry| !self.is_live(entry));
        if due && let Some(entry) = self.keyspace.take(self.database, key) {
            self.keyspace.stats.expired_keys += 1;
            self.announce_loss(WebhookEvent::Expire, key, &entry);
        }
        due
    }

    /// Sets `key` to a string, whatever it held.
    pub(super) fn set_text(&mut self, key: &[u8], text: Text, lifetime: Lifetime) {
        self.expire_if_due(key);
        let deadline = match lifetime {
            Lifetime::Endless => None,
            Lifetime::Until(deadline) => Some(deadline),
            Lifetime::Kept => {
                self.keyspace.entry(self.database, key).and_then(|entry| entry.deadline)
            }
        };
        let entry = Entry { value: Value::Text(text), deadline };
        let before = self.keyspace.put(self.database, key, entry);
        let Some(entry) = self.keyspace.entry(self.database, key) else { return };
        self.sink.mutation(&EventRef {
            event: WebhookEvent::Set,
            key,
            database: self.database,
            value: EventValue::Bytes(entry.value.text().unwrap_or_default()),
            old_value: before.as_ref().and_then(|before| before.value.text()),
            ttl: seconds_left(deadline, self.now_ms),
            ..EventRef::default()
        });
    }

    /// Changes the collection at `key`, which must be a `C`; `None` when it does not exist and
    /// `missing` says to skip it. `change` must check before it changes: after an error from it
    /// nothing may be different.
    pub(super) fn write<'a, C: Kind, R>(
        &mut self,
        key: &[u8],
        missing: Missing,
        change: impl FnOnce(&mut C) -> Changed<'a, R>,
    ) -> Result<Option<R>, CommandError> {
        self.expire_if_due(key);
        let (result, added) = match self.keyspace.entry_mut(self.database, key) {
            Some(entry) => change(C::of_mut(&mut entry.value).ok_or(CommandError::WrongType)?)?,
            None if missing == Missing::Skip => return Ok(None),
            None => {
                let mut created = C::default();
                let (result, added) = change(&mut created)?;
                let value = created.into_value();
                if value.is_spent() {
                    return Ok(Some(result));
                }
                self.keyspace.put(self.database, key, Entry { value, deadline: None });
                (result, added)
            }
        };
        if let Some(added) = added {
            self.announce_addition(key, &added);
        }
        let entry = self.keyspace.entry(self.database, key);
        if entry.is_some_and(|entry| entry.value.is_spent()) {
            self.remove(key);
        }
        Ok(Some(result))
    }

    /// Deletes `key`; what it held.
    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.expire_if_due(key);
        let entry = self.keyspace.take(self.database, key)?;
        self.announce_loss(WebhookEvent::Del, key, &entry);
        Some(entry)
    }

    /// Moves what `key` holds, with its deadline, to `new_key`, whatever that held.
    pub(super) fn rename(&mut self, key: &[u8], new_key: &[u8]) {
        self.expire_if_due(new_key);
        let Some(entry) = self.keyspace.take(self.database, key) else { return };
        let deadline = entry.deadline;
        self.keyspace.put(self.database, new_key, entry);
        self.sink.mutation(&EventRef {
            event: WebhookEvent::Rename,
            key,
            database: self.database,
            ttl: seconds_left(deadline, self.now_ms),
            new_key: Some(new_key),
            ..EventRef::default()
        });
    }

    /// Puts a copy of an entry at `key` of the session's database. Copies are no event.
    pub(super) fn put_copy(&mut self, key: &[u8], entry: Entry) {
        self.keyspace.put(self.database, key, entry);
    }

    /// Changes when `key` expires; a time that is not in the future deletes it. Moving a deadline
    /// is no event.
    pub(super) fn set_deadline(&mut self, key: &[u8], deadline: Option<i64>) {
        match deadline.map(u64::try_from) {
            None => self.keyspace.put_deadline(self.database, key, None),
            Some(Ok(deadline)) if deadline > self.now_ms => {
                self.keyspace.put_deadline(self.database, key, Some(deadline));
            }
            Some(_) => {
                self.remove(key);
            }
        }
    }

    /// Empties a database. Flushing is no event.
    pub(super) fn clear(&mut self, database: u32) {
        self.keyspace.clear(database);
    }

    /// Tells of a key that is gone.
    fn announce_loss(&mut self, event: WebhookEvent, key: &[u8], entry: &Entry) {
        self.sink.mutation(&EventRef {
            event,
            key,
            database: self.database,
            old_value: entry.value.text(),
            ..EventRef::default()
        });
    }

    /// Tells of what was added to a collection.
    fn announce_addition(&mut self, key: &[u8], added: &Added<'_>) {
        match added {
            Added::Head(items) => self.announce(WebhookEvent::LPush, key, EventValue::Items(items)),
            Added::Tail(items) => self.announce(WebhookEvent::RPush, key, EventValue::Items(items)),
            Added::Members(members) => {
                self.announce(WebhookEvent::SAdd, key, EventValue::Items(members));
            }
            Added::Fields(fields) => {
                let pairs: Vec<_> =
                    fields.iter().map(|(field, value)| (*field, value.as_ref())).collect();
                self.announce(WebhookEvent::HSet, key, EventValue::Pairs(&pairs));
            }
            Added::Scores(scores) => {
                let texts: Vec<_> = scores.iter().map(|(_, score)| format_double(*score)).collect();
                let scored: Vec<_> = scores
                    .iter()
                    .zip(&texts)
                    .map(|((member, _), text)| (*member, text.as_bytes()))
                    .collect();
                self.announce(WebhookEvent::ZAdd, key, EventValue::Scored(&scored));
            }
            Added::Entry(id, fields) => {
                let id = id.to_string();
                let value = EventValue::Entry { id: id.as_bytes(), fields };
                self.announce(WebhookEvent::XAdd, key, value);
            }
        }
    }

    fn announce(&mut self, event: WebhookEvent, key: &[u8], value: EventValue<'_>) {
        let deadline = self.keyspace.entry(self.database, key).and_then(|entry| entry.deadline);
        self.sink.mutation(&EventRef {
            event,
            key,
            database: self.database,
            value,
            ttl: seconds_left(deadline, self.now_ms),
            ..EventRef::default()
        });
    }
}

/// Seconds until `deadline`, rounded up.
fn seconds_left(deadline: Option<u64>, now_ms: u64) -> Option<u64> {
    deadline.map(|deadline| deadline.saturating_sub(now_ms).div_ceil(1000))
}
