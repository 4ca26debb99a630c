//! `MULTI` and `WATCH`: queued commands, and which watched keys have changed.

use std::collections::HashMap;

/// Most bytes of arguments that one transaction may queue.
const QUEUED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// The commands between `MULTI` and `EXEC`.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    commands: Vec<Vec<Box<[u8]>>>,
    bytes: usize,
    failed: bool,
}

impl Transaction {
    /// Queues a command; `false` when the transaction has become too large, which fails it.
    pub fn queue(&mut self, args: &[&[u8]]) -> bool {
        // What each argument costs beside its bytes: a pointer and a length.
        self.bytes += args.iter().map(|arg| arg.len() + 16).sum::<usize>();
        if self.bytes > QUEUED_BYTES_MAX {
            self.fail();
            return false;
        }
        self.commands.push(args.iter().map(|arg| Box::from(*arg)).collect());
        true
    }

    /// A command was refused: `EXEC` will be too.
    pub fn fail(&mut self) {
        self.failed = true;
        self.commands = Vec::new();
    }

    pub fn has_failed(&self) -> bool {
        self.failed
    }

    pub fn len(&self) -> usize {
        self.commands.len()
    }

    pub fn into_commands(self) -> Vec<Vec<Box<[u8]>>> {
        self.commands
    }
}

/// A key that a client watches, and what its version was then.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Watch {
    database: u32,
    key: Box<[u8]>,
    version: u64,
}

#[derive(Debug, Default)]
struct Watched {
    version: u64,
    watchers: usize,
}

/// Versions of the keys that any client watches. A version may rise without a change (a write that
/// failed); it never stays when there was one.
#[derive(Debug, Default)]
pub(crate) struct WatchedKeys {
    keys: HashMap<(u32, Box<[u8]>), Watched>,
}

impl WatchedKeys {
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Starts watching a key.
    pub fn watch(&mut self, database: u32, key: &[u8]) -> Watch {
        let key: Box<[u8]> = Box::from(key);
        let watched = self.keys.entry((database, key.clone())).or_default();
        watched.watchers += 1;
        Watch { database, key, version: watched.version }
    }

    /// Whether the key of `watch` may have changed since.
    pub fn has_changed(&self, watch: &Watch) -> bool {
        self.keys
            .get(&(watch.database, watch.key.clone()))
            .is_none_or(|watched| watched.version != watch.version)
    }

    /// Stops watching.
    pub fn unwatch(&mut self, watches: &mut Vec<Watch>) {
        for watch in watches.drain(..) {
            let place = (watch.database, watch.key);
            if let Some(watched) = self.keys.get_mut(&place) {
                watched.watchers -= 1;
                if watched.watchers == 0 {
                    self.keys.remove(&place);
                }
            }
        }
    }

    /// A key may have changed.
    pub fn touch(&mut self, database: u32, key: &[u8]) {
        if self.keys.is_empty() {
            return;
        }
        if let Some(watched) = self.keys.get_mut(&(database, Box::from(key))) {
            watched.version += 1;
        }
    }

    /// Any key may have changed.
    pub fn touch_all(&mut self) {
        self.keys.values_mut().for_each(|watched| watched.version += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_by_every_watcher_and_forgotten_with_the_last() {
        let mut keys = WatchedKeys::default();
        let (mut first, mut second) = (vec![keys.watch(0, b"k")], vec![keys.watch(0, b"k")]);
        keys.touch(1, b"k");
        assert!(!keys.has_changed(&first[0]));
        keys.touch(0, b"k");
        assert!(keys.has_changed(&first[0]) && keys.has_changed(&second[0]));
        keys.unwatch(&mut first);
        assert!(!keys.is_empty());
        keys.unwatch(&mut second);
        assert!(keys.is_empty());
    }

    #[test]
    fn a_failed_transaction_keeps_nothing() {
        let mut transaction = Transaction::default();
        assert!(transaction.queue(&[b"SET", b"k", b"v"]));
        transaction.fail();
        assert!(transaction.has_failed() && transaction.into_commands().is_empty());
    }
}
