//! The embedded keyspace of `ferrite serve`: the data commands of Redis over one map per database,
//! and the events that come of them.
//!
//! It is small on purpose: one thread, no persistence, replies as Redis gives them. What it does
//! better than watching a server from outside is the point of mutation (`session`): every event
//! carries the new value, the old one and the time to live, and keys expire when they are due.

mod arguments;
mod commands;
mod counters;
mod error;
mod expiry;
mod hashes;
mod keys;
mod lists;
mod scans;
mod session;
mod set_options;
mod sets;
mod sorted_ranges;
mod sorted_sets;
mod streams;
mod strings;
mod table;
#[cfg(test)]
mod tests;
mod trimming;
mod value;

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::random::{self, Random};
use crate::server::reply::Reply;
use crate::webhooks::EventRef;

pub use commands::COMMANDS;
use error::CommandError;
use session::Session;
use table::Table;
use value::Entry;

/// Takes the events that commands cause.
pub trait MutationSink {
    /// Takes one event. `client_id`, `source_ip` and `timestamp_us` are not filled in: the
    /// keyspace knows neither connections nor clocks.
    fn mutation(&mut self, event: &EventRef<'_>);
}

/// What the keyspace counts, for `INFO`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct KeyspaceStats {
    /// Keys that expired.
    pub expired_keys: u64,
    /// Reads that found their key.
    pub hits: u64,
    /// Reads that found nothing.
    pub misses: u64,
}

/// All databases with their keys.
#[derive(Debug)]
pub struct Keyspace {
    databases: Vec<Database>,
    /// Every deadline of every key, soonest first.
    deadlines: BTreeSet<(u64, u32, Arc<[u8]>)>,
    stats: KeyspaceStats,
    random: Random,
}

#[derive(Debug, Default)]
struct Database {
    entries: Table<Entry>,
    volatile: usize,
}

impl Keyspace {
    /// An empty keyspace of `databases` databases.
    pub fn new(databases: usize) -> Self {
        let mut all = Vec::new();
        all.resize_with(databases, Database::default);
        Keyspace {
            databases: all,
            deadlines: BTreeSet::new(),
            stats: KeyspaceStats::default(),
            random: Random::new(random::seed()),
        }
    }

    /// Runs one data command at `now_ms` (milliseconds since 1970) and writes its reply.
    ///
    /// `args[0]` is the command's name, in any case. Returns false, with nothing written, when the
    /// keyspace has no such command.
    pub fn execute(
        &mut self,
        now_ms: u64,
        database: &mut u32,
        args: &[&[u8]],
        reply: &mut Reply<'_>,
        mutations: &mut dyn MutationSink,
    ) -> bool {
        let Some((spec, handler)) = args.first().and_then(|name| commands::find(name)) else {
            return false;
        };
        let outcome = if !spec.takes(args.len()) {
            Err(CommandError::Arity)
        } else if self.databases.len() <= *database as usize {
            Err(CommandError::DatabaseOutOfRange)
        } else {
            handler(&mut Session::new(self, now_ms, *database, mutations), args, reply)
        };
        if let Err(error) = outcome {
            reply.error(&error.text(spec.name));
        }
        true
    }

    /// Expires keys that are due at `now_ms`, the longest due first, at most `limit`; how many.
    pub fn expire_due(
        &mut self,
        now_ms: u64,
        limit: usize,
        mutations: &mut dyn MutationSink,
    ) -> usize {
        let mut expired = 0;
        while expired < limit {
            let due = match self.deadlines.first() {
                Some((deadline, database, key)) if *deadline <= now_ms => {
                    (*database, Arc::clone(key))
                }
                _ => break,
            };
            Session::new(self, now_ms, due.0, mutations).expire_if_due(&due.1);
            expired += 1;
        }
        expired
    }

    /// When the next key expires, in milliseconds since 1970.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, ..)| *deadline)
    }

    /// How many databases there are.
    pub fn databases(&self) -> u32 {
        u32::try_from(self.databases.len()).unwrap_or(u32::MAX)
    }

    /// How many keys a database holds.
    pub fn len(&self, database: u32) -> usize {
        self.databases.get(database as usize).map_or(0, |database| database.entries.len())
    }

    /// Whether a database holds no key.
    pub fn is_empty(&self, database: u32) -> bool {
        self.len(database) == 0
    }

    /// How many of a database's keys have a time to live.
    pub fn volatile_len(&self, database: u32) -> usize {
        self.databases.get(database as usize).map_or(0, |database| database.volatile)
    }

    /// What was counted so far.
    pub fn stats(&self) -> KeyspaceStats {
        self.stats
    }

    /// Starts counting anew.
    pub fn reset_stats(&mut self) {
        self.stats = KeyspaceStats::default();
    }

    // What follows changes the map and the deadlines together and tells nobody: only `session`
    // calls it, which does.

    fn table(&self, database: u32) -> Option<&Table<Entry>> {
        self.databases.get(database as usize).map(|database| &database.entries)
    }

    fn entry(&self, database: u32, key: &[u8]) -> Option<&Entry> {
        self.table(database)?.get(key)
    }

    fn entry_mut(&mut self, database: u32, key: &[u8]) -> Option<&mut Entry> {
        self.databases.get_mut(database as usize)?.entries.get_mut(key)
    }

    /// Puts an entry at `key`; the one before.
    fn put(&mut self, database: u32, key: &[u8], entry: Entry) -> Option<Entry> {
        let deadline = entry.deadline;
        let entries = &mut self.databases.get_mut(database as usize)?.entries;
        let before = entries.insert(key, entry);
        let was = before.as_ref().and_then(|before| before.deadline);
        self.note_deadline(database, key, was, deadline);
        before
    }

    /// Takes the entry at `key` out.
    fn take(&mut self, database: u32, key: &[u8]) -> Option<Entry> {
        let deadline = self.entry(database, key)?.deadline;
        self.note_deadline(database, key, deadline, None);
        self.databases.get_mut(database as usize)?.entries.remove(key)
    }

    /// Gives the entry at `key` another deadline.
    fn put_deadline(&mut self, database: u32, key: &[u8], deadline: Option<u64>) {
        if let Some(entry) = self.entry_mut(database, key) {
            let was = std::mem::replace(&mut entry.deadline, deadline);
            self.note_deadline(database, key, was, deadline);
        }
    }

    /// Brings the ordered deadlines in line with an entry that is in the map.
    fn note_deadline(&mut self, database: u32, key: &[u8], was: Option<u64>, is: Option<u64>) {
        if was == is {
            return;
        }
        let Some(held) = self.databases.get_mut(database as usize) else { return };
        let Some(key) = held.entries.stored_key(key) else { return };
        if let Some(was) = was {
            self.deadlines.remove(&(was, database, Arc::clone(&key)));
            held.volatile -= 1;
        }
        if let Some(is) = is {
            self.deadlines.insert((is, database, key));
            held.volatile += 1;
        }
    }

    /// Empties a database.
    fn clear(&mut self, database: u32) {
        if let Some(held) = self.databases.get_mut(database as usize) {
            *held = Database::default();
            self.deadlines.retain(|(_, other, _)| *other != database);
        }
    }
}
