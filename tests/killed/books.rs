//! What both sides of a run know about it: plain data, judged by `rules`.

use ferrite::base::id::EventId;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Instant;

/// Everything of a run over several lives of a server.
#[derive(Clone, Default, Debug)]
pub struct Story {
    /// By key: what was written.
    pub writes: HashMap<u32, Writes>,
    pub webhooks: Vec<Webhook>,
    /// What the log held when each life ended; `None`: there is no log.
    pub logs: Vec<Option<LogContents>>,
}

/// The writes of one key: the n-th one carries the number n.
#[derive(Clone, Default, Debug)]
pub struct Writes {
    /// For each write that was sent, whether its reply came.
    pub answered: Vec<bool>,
}

/// What the receiver of a webhook has seen.
#[derive(Clone, Default, Debug)]
pub struct Webhook {
    pub name: String,
    pub seen: Vec<Seen>,
    /// The dead letters, in the end.
    pub dead: HashSet<EventId>,
    /// After so many attempts a delivery is given up; `None`: it never is.
    pub attempts_max: Option<u32>,
}

/// A request.
#[derive(Clone)]
pub struct Seen {
    /// Of the server, counted from 0.
    pub life: usize,
    pub key: u32,
    /// The number in the event's value.
    pub number: usize,
    pub id: EventId,
    pub body_hash: u64,
    pub attempt: u32,
    /// When the request had arrived.
    pub began: Instant,
    /// Just before its answer was written, or its connection was closed.
    pub ended: Instant,
    /// 0: none.
    pub status: u16,
}

impl fmt::Debug for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seen { life, key, number, id, attempt, status, .. } = self;
        write!(formatter, "k:{key} {number} (life {life}, {id}, attempt {attempt}: {status})")
    }
}

impl Seen {
    pub fn is_2xx(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// A log, as `ferrite log dump` tells it.
#[derive(Clone, Default, Debug)]
pub struct LogContents {
    /// The boot numbers of its segments.
    pub boots: Vec<u64>,
    /// Unfinished deliveries, by the webhooks' numbers.
    pub pending: HashMap<u64, HashSet<EventId>>,
    /// Lasting numbers of webhooks that events were written for.
    pub webhooks: HashSet<u64>,
    /// Events that it holds.
    pub events: HashSet<EventId>,
    /// Deliveries that were given up, and the webhooks' numbers.
    pub dead: HashSet<(u64, EventId)>,
}

impl LogContents {
    /// What was given up of the webhook at this place, in the order of their making.
    pub fn dead_of(&self, place: usize) -> impl Iterator<Item = EventId> + '_ {
        let number = self.number_of(place);
        let dead = self.dead.iter().filter(move |(webhook, _)| Some(*webhook) == number);
        dead.map(|(_, id)| *id)
    }

    /// The lasting number of the webhook at this place: later ones have larger numbers.
    pub fn number_of(&self, place: usize) -> Option<u64> {
        let mut numbers: Vec<u64> = self.webhooks.iter().copied().collect();
        numbers.sort_unstable();
        numbers.get(place).copied()
    }
}
