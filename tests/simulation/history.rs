//! What happened in a run, in order: the only thing that the checkers look at.
//!
//! Entries come from two sides that know nothing of each other: the world's own knowledge of the
//! bytes it moved, and what the shard counted and logged.

use ferrite::core::dead_letters::DeadTally;
use ferrite::core::failure::Failure;
use ferrite::core::http::response::DeliveryWish;
use ferrite::core::ledger::{DeliveryOutcome, Tally, WebhookStatus};
use ferrite::core::retry::RetryPolicy;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default, Clone)]
pub struct History {
    pub entries: Vec<Entry>,
    /// Workers of the first life.
    pub shards_at_first: usize,
}

#[derive(Debug, Clone)]
pub struct Entry {
    /// Virtual time, in microseconds.
    pub at: u64,
    /// Counts the driver's calls of shards: what one call led to has one number.
    pub call: u64,
    pub what: Happening,
}

#[derive(Debug, Clone)]
pub enum Happening {
    /// A shard took in an event that webhooks want.
    Accepted {
        shard: usize,
        event: u32,
        key: u32,
        wanted: Vec<Wanted>,
    },
    /// Of the event that was accepted or replayed last and the one before it in its lane, the older
    /// one gave way.
    Coalesced {
        shard: usize,
        webhook: u32,
        key: u32,
    },
    /// A shard learned of a webhook, or of its change.
    Learned {
        shard: usize,
        webhook: u32,
        terms: Terms,
    },
    /// A shard has the newest snapshot.
    TookOver {
        shard: usize,
    },
    /// A shard learned that a webhook is deleted.
    Deleted {
        shard: usize,
        webhook: u32,
    },
    /// The shard wants a connection, and has something to send over it.
    Opening {
        link: u32,
        shard: usize,
        endpoint: usize,
        test: bool,
    },
    /// A request was written.
    Sent(Sent),
    /// The endpoint answered a request, as its own log has it.
    Replied {
        link: u32,
        name: RequestName,
        status: u16,
    },
    /// The endpoint said something that could be the answer to a request not made yet.
    Unasked {
        link: u32,
        status: u16,
    },
    /// The whole answer to a request has reached the driver.
    Answered {
        link: u32,
        name: RequestName,
        status: u16,
    },
    /// An exchange is over, as far as the shard was told or has said itself.
    Ended(Ended),
    /// The shard logged an attempt.
    Attempt(Attempt),
    /// A connection is gone.
    Closed {
        link: u32,
    },
    /// A shard broke down and was rebuilt.
    Salvaged {
        shard: usize,
    },
    /// A command changed whether a webhook gets deliveries.
    StatusSet {
        webhook: u32,
        active: bool,
    },
    /// A shard took a dead letter up again.
    Replayed {
        shard: usize,
        name: RequestName,
        event: u32,
        key: u32,
    },
    /// A command threw the dead letters of a webhook away.
    Cleared {
        webhook: u32,
    },
    TestAsked {
        token: u64,
    },
    TestDone {
        token: u64,
        status: Option<u16>,
        failure: Option<Failure>,
    },
    /// A call of `handle_timeout` before it was due; what it changed, if anything.
    Spurious {
        shard: usize,
        changed: Option<String>,
    },
    Checkpoint(Checkpoint),
    /// All is delivered and all timers have run out.
    Settled {
        links_open: usize,
        deliveries_pending: usize,
        timers_left: usize,
    },
    /// The driver's and the shard's agreement was broken.
    Broken {
        message: String,
    },
    /// A shard and its journal have told each other something.
    Journal {
        shard: usize,
        note: Note,
    },
    /// The engine is gone. What the journal has unfinished is left.
    Crashed {
        left: Vec<LeftOver>,
        /// It had ended in good order.
        orderly: bool,
    },
    /// The engine starts again.
    Restarted {
        shards: usize,
        life: u64,
    },
    /// In the end: what the journal has unfinished, and the dead letters of the webhooks that are.
    JournalEnd {
        left: Vec<LeftOver>,
        letters: Vec<(u32, u64)>,
        unread: u64,
    },
}

/// What a shard and its journal tell each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// An event is written down.
    Event {
        event: u32,
        key: u32,
        id: u64,
        webhooks: Vec<u32>,
        /// Of these, those whose deliveries are in the journal only.
        spilled: Vec<u32>,
    },
    /// A delivery is finished, and how.
    Finished { webhook: u32, id: u64, finish: u16 },
    /// So many attempts were made.
    Attempts { webhook: u32, id: u64, attempts: u16 },
    /// A delivery is a dead letter.
    Dead { webhook: u32, id: u64 },
    /// Deliveries could not be written that are nowhere else.
    Lost { webhook: u32, ids: Vec<u64> },
    /// Events could not be written: they are in memory, if anywhere.
    Refused { ids: Vec<u64> },
    /// So many deliveries of earlier lives went, unread, with a webhook that is deleted.
    Unread { webhook: u32, deliveries: u64 },
    /// Whoever waited for an event was told.
    Answered { event: u32, kept: bool },
    /// A fetch is answered.
    Fetched { webhook: u32, deliveries: Vec<FetchedOne>, end: bool },
}

/// A delivery that was fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchedOne {
    pub id: u64,
    pub attempts: u16,
    pub dead: bool,
    /// An earlier life of the engine has left it.
    pub earlier: bool,
}

/// A delivery that the journal has unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftOver {
    pub webhook: u32,
    pub id: u64,
    pub attempts: u16,
    pub dead: bool,
}

/// A webhook that wants an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub webhook: u32,
    /// Its queue was full, and the event was accepted knowing that.
    pub dropped: bool,
}

/// What a webhook asks for, as far as a checker needs it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    pub retry: RetryPolicy,
    pub timeout_ms: u64,
    /// The shard's part of the concurrency.
    pub window: u32,
    pub pipeline: u32,
    /// Most events in a batch, and how long one may wait for its batch to fill, in milliseconds.
    pub batch: Option<(u32, u64)>,
    /// The events of a key wait for each other.
    pub ordered: bool,
    pub endpoint: usize,
    /// Counts the changes of the webhook.
    pub revision: u32,
    /// A failure with this status is not tried again.
    pub final_status: Option<u16>,
    /// Attempts per second over all shards; 0: no limit.
    pub rate: u32,
    /// The window may be narrower than its part of the concurrency.
    pub adaptive: bool,
    /// The secrets that it was told, the newest first: the number of each, and the second since
    /// 1970 until which it signs.
    pub secrets: [Option<(u32, u64)>; 3],
    pub sequence: bool,
    pub coalesce: bool,
    /// Full, it drops the oldest.
    pub drops_oldest: bool,
}

/// Names a request: which webhook, which event id (its counting part).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestName {
    pub webhook: u32,
    pub id: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    pub link: u32,
    pub shard: usize,
    /// Where the connection leads.
    pub endpoint: usize,
    pub name: RequestName,
    /// The revision that the request was written by.
    pub revision: u32,
    /// `None` for a test delivery; of a batch, the first.
    pub event: Option<u32>,
    pub key: u32,
    /// The events of a delivery, in their order.
    pub carried: Vec<CarriedEvent>,
    pub is_batch: bool,
    pub attempt: u32,
    /// A hash of the body's bytes.
    pub body: u64,
    pub form: Form,
    pub signature: Option<String>,
    pub signers: Signers,
    /// The numbers in its head.
    pub numbers: Option<Numbers>,
    /// When the shard decided to send it.
    pub assigned_at: u64,
    /// In which call it decided that.
    pub assigned_call: u64,
    /// When it must be over.
    pub deadline: u64,
    /// The connection has carried a whole exchange before.
    pub reused: bool,
}

/// The form of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    Ferrite,
    Structured,
    Binary,
}

/// The numbers of the secrets that a request was signed with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signers {
    pub ferrite: Option<u32>,
    /// In the order of `webhook-signature`.
    pub standard: Vec<u32>,
}

/// `X-Ferrite-Sequence` and `X-Ferrite-Key-Sequence`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Numbers {
    pub stream: String,
    pub of_webhook: u64,
    pub key_stream: String,
    pub of_key: u64,
}

/// An event in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CarriedEvent {
    pub event: u32,
    pub key: u32,
    /// The counting part of its id.
    pub id: u64,
}

impl Sent {
    /// The lanes that it is of.
    pub fn lanes(&self) -> BTreeSet<(u32, u32)> {
        self.carried.iter().map(|carried| (self.name.webhook, carried.key)).collect()
    }
}

/// The end of one of the requests that a connection was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub link: u32,
    pub shard: usize,
    pub end: End,
    /// `None`: nothing had been written yet.
    pub request: Option<RequestName>,
    pub assigned_at: u64,
    pub deadline: u64,
    pub test: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// An answer stands. `retry_at` is when the endpoint wants to hear again.
    Status {
        status: u16,
        retry_at: Option<u64>,
        /// What it said in `webhook-delivery`.
        wish: Option<DeliveryWish>,
    },
    Failed(Failure),
    /// The connection had gone stale: DEL-4.
    Stale,
    /// It stood behind another one when the connection ended, and goes out again.
    TakenBack,
    /// The shard gave it up because the webhook was deleted or changed.
    Withdrawn,
    /// The shard broke down.
    Lost,
}

impl End {
    /// What the attempt log must say about it; `None` if it is not to be logged.
    pub fn expected_log(self) -> Option<(Option<u16>, Option<Failure>)> {
        match self {
            End::Status { status: status @ 200..=299, .. } => Some((Some(status), None)),
            End::Status { status, .. } => Some((Some(status), Some(Failure::Status(status)))),
            End::Failed(failure) => Some((None, Some(failure))),
            End::Stale | End::TakenBack | End::Withdrawn | End::Lost => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Attempt {
    pub shard: usize,
    pub name: RequestName,
    /// The keys of its deliveries, one for each. Of a batch that was never written and will be
    /// tried again, they are not known, and this is its first one.
    pub keys: Vec<u32>,
    /// The ids of its events as the log has them: all of what is given up, else the first.
    pub ids: Vec<u64>,
    /// How many deliveries it was.
    pub deliveries: u64,
    pub attempt: u32,
    pub outcome: DeliveryOutcome,
    pub status: Option<u16>,
    pub failure: Option<Failure>,
}

/// What the shards and the ledgers say of themselves at one moment of rest.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    pub rows: Vec<Row>,
    pub shards: Vec<ShardRow>,
    /// The dead letters, by webhook.
    pub letters: Vec<DeadTally>,
}

/// One webhook on one shard.
#[derive(Debug, Clone)]
pub struct Row {
    pub webhook: u32,
    pub shard: usize,
    pub tally: Tally,
    pub status: WebhookStatus,
    pub measured: Measured,
}

/// How many were measured, by stage, and how many failed, by the sum of their causes.
#[derive(Debug, Clone, Default)]
pub struct Measured {
    pub queue: u64,
    pub attempt: u64,
    pub total: u64,
    pub failures: u64,
    /// When the oldest pending delivery came in, as the metrics tell it.
    pub oldest_us: u64,
}

#[derive(Debug, Clone)]
pub struct ShardRow {
    pub totals: Tally,
    pub pending: usize,
    pub links: Vec<LinkRow>,
}

/// A connection that is open, or is being opened.
#[derive(Debug, Clone, Copy)]
pub struct LinkRow {
    pub link: u32,
    pub endpoint: usize,
    pub test: bool,
    /// Requests that it was given and that are not over.
    pub requests: usize,
    /// It has carried a whole exchange.
    pub answered: bool,
    pub write_failed: bool,
}

impl ShardRow {
    /// Deliveries that are on a connection.
    pub fn busy(&self) -> usize {
        self.links.iter().filter(|link| !link.test).map(|link| link.requests).sum()
    }

    pub fn idle(&self) -> usize {
        self.links.iter().filter(|link| link.requests == 0).count()
    }
}

impl History {
    pub fn add(&mut self, at: u64, call: u64, what: Happening) {
        self.entries.push(Entry { at, call, what });
    }

    /// The requests, each with the time at which it was written.
    pub fn sents(&self) -> impl Iterator<Item = (u64, &Sent)> {
        self.entries.iter().filter_map(|entry| match &entry.what {
            Happening::Sent(sent) => Some((entry.at, sent)),
            _ => None,
        })
    }

    /// How many requests the connections may carry at once, as far as one was ever written on them:
    /// what their first request's webhook asked for.
    pub fn pipelines(&self) -> BTreeMap<u32, u32> {
        let mut terms: BTreeMap<(usize, u32), u32> = BTreeMap::new();
        let mut pipelines = BTreeMap::new();
        for entry in &self.entries {
            match &entry.what {
                Happening::Learned { shard, webhook, terms: new } => {
                    terms.insert((*shard, *webhook), new.pipeline);
                }
                Happening::Sent(sent) => {
                    if let Some(pipeline) = terms.get(&(sent.shard, sent.name.webhook)) {
                        pipelines.entry(sent.link).or_insert(*pipeline);
                    }
                }
                _ => {}
            }
        }
        pipelines
    }

    /// What endpoints said in `webhook-delivery`, by the call that brought it and the request.
    pub fn wishes(&self) -> BTreeMap<(u64, RequestName), DeliveryWish> {
        let wishes = self.entries.iter().filter_map(|entry| match &entry.what {
            Happening::Ended(Ended {
                end: End::Status { wish: Some(wish), .. },
                request: Some(name),
                ..
            }) => Some(((entry.call, *name), *wish)),
            _ => None,
        });
        wishes.collect()
    }

    /// The lives of the engine, each with its number of workers. The last one has `shards`.
    pub fn lives(&self, shards: usize) -> Vec<(usize, History)> {
        let starts = self.entries.iter().enumerate().filter_map(|(at, entry)| match entry.what {
            Happening::Restarted { shards, .. } => Some((at, shards)),
            _ => None,
        });
        let mut starts: Vec<(usize, usize)> = starts.collect();
        let first = if starts.is_empty() { shards } else { self.shards_at_first };
        starts.insert(0, (0, first));
        let ends = starts[1..].iter().map(|(at, _)| *at).chain([self.entries.len()]);
        let lives = starts.iter().zip(ends).map(|(&(from, shards), upto)| {
            let entries = self.entries[from..upto].to_vec();
            (shards, History { entries, shards_at_first: self.shards_at_first })
        });
        lives.collect()
    }

    /// The last entries, one a line.
    pub fn tail(&self, lines: usize) -> String {
        let from = self.entries.len().saturating_sub(lines);
        self.entries[from..]
            .iter()
            .map(|entry| {
                let text = format!("{:?}", entry.what);
                let text: String = text.chars().take(400).collect();
                format!("{:>12} us  call {:>6}  {text}\n", entry.at, entry.call)
            })
            .collect()
    }
}
