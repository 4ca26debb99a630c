//! DEL-3, what the receiver alone can tell: one id, one event, one body.
//!
//! A whole soak's ids would not fit into memory, so an id is forgotten when many others have come
//! since. Ids that are used twice by mistake mostly are so at once or after a restart.

use super::verdict::{Findings, Kind};
use crate::history::{BatchEvent, Request};
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::BuildHasher;

/// At least so many different ids are remembered, and at most twice as many.
const IDS_MAX: usize = 1 << 20;

/// The ids that came last.
#[derive(Debug, Default)]
pub(super) struct Ids {
    hasher: RandomState,
    young: HashMap<u64, FirstUse, RandomState>,
    old: HashMap<u64, FirstUse, RandomState>,
    /// Ids were forgotten.
    pub forgot: bool,
}

/// What an id was used for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FirstUse {
    /// A hash of key and sequence; of a batch, of all of them.
    event: u64,
    /// 0: not known, as that of an event in a batch.
    body: u64,
}

impl Ids {
    /// A hash of an id.
    pub fn hash(&self, id: &str) -> u64 {
        self.hasher.hash_one(id)
    }

    /// Looks at the ids of a request; `id` is the hash of its own.
    pub fn check(&mut self, request: &Request, id: u64, findings: &mut Findings) {
        let event = match request.events.as_slice() {
            [] => self.hasher.hash_one((&request.key, request.sequence)),
            [one] => self.event(one),
            all => {
                let all: Vec<u64> = all.iter().map(|event| self.event(event)).collect();
                self.hasher.hash_one(all)
            }
        };
        self.used(id, FirstUse { event, body: request.body_hash }, request, findings);
        for event in &request.events {
            let id = self.hash(&event.id);
            self.used(id, FirstUse { event: self.event(event), body: 0 }, request, findings);
        }
    }

    fn event(&self, event: &BatchEvent) -> u64 {
        self.hasher.hash_one((&event.key, event.sequence))
    }

    fn used(&mut self, id: u64, this: FirstUse, request: &Request, findings: &mut Findings) {
        let first = self.remember(id, this);
        if first.event != this.event {
            findings.add(Kind::IdReused, || format!("{request}: another event had the id"));
        } else if first.body != this.body && first.body != 0 && this.body != 0 {
            findings.add(Kind::BodyChanged, || format!("{request}: unlike the first time"));
        }
    }

    fn remember(&mut self, id: u64, this: FirstUse) -> FirstUse {
        if let Some(first) = self.young.get(&id).or_else(|| self.old.get(&id)) {
            return *first;
        }
        if self.young.len() >= IDS_MAX {
            self.forgot |= !self.old.is_empty();
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, this);
        this
    }
}
