//! What was found.

use super::Judge;
use crate::history::Accounts;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// Findings of one kind that are told in words; further ones are counted.
pub(super) const EXAMPLES_MAX: usize = 5;

/// A way to break a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Kind {
    /// An accepted event was never answered 2xx, and no account excuses it.
    Lost,
    /// A webhook counts more deliveries than were answered 2xx.
    Overclaimed,
    /// A webhook's accounts do not add up, or leave out accepted events.
    Accounts,
    /// Something arrived that was never accepted.
    Unknown,
    /// The sender's history has an event twice: it is not fit to be judged.
    AcceptedTwice,
    /// An event came before an earlier one of its key was settled.
    Order,
    /// Two requests of one key were under way at once.
    Overlap,
    /// A body was not the same on every attempt.
    BodyChanged,
    /// Two events had the same id.
    IdReused,
    /// A later attempt had a lower number, or a number was not one.
    Attempts,
    /// A signature is wrong or missing.
    Signature,
}

impl Kind {
    /// The number of the promise in the contract.
    pub fn rule(self) -> &'static str {
        match self {
            Kind::Lost
            | Kind::Overclaimed
            | Kind::Accounts
            | Kind::Unknown
            | Kind::AcceptedTwice => "DEL-1",
            Kind::Order | Kind::Overlap => "ORD-1",
            Kind::BodyChanged | Kind::IdReused | Kind::Attempts => "DEL-3",
            Kind::Signature => "PAY-3",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Kind::Lost => "accepted, but never answered 2xx",
            Kind::Overclaimed => "counted as delivered, but not answered 2xx",
            Kind::Accounts => "accounts do not add up",
            Kind::Unknown => "arrived, but was never accepted",
            Kind::AcceptedTwice => "accepted twice: the sender's history is not fit to be judged",
            Kind::Order => "came before an earlier event of its key was settled",
            Kind::Overlap => "under way together with another request of its key",
            Kind::BodyChanged => "the body was not the same on every attempt",
            Kind::IdReused => "two events had one id",
            Kind::Attempts => "attempts do not count up",
            Kind::Signature => "the signature is wrong or missing",
        }
    }
}

/// All that was found of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which kind.
    pub kind: Kind,
    /// The promise that it breaks.
    pub rule: &'static str,
    /// How often.
    pub count: u64,
    /// The first ones, in words.
    pub examples: Vec<String>,
}

/// The judgement over a run. `Display` is for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether every promise was kept.
    pub passed: bool,
    /// Events that the sender accepted.
    pub accepted: u64,
    /// Requests that the receiver saw.
    pub requests: u64,
    /// Paths that it saw them on.
    pub paths: u64,
    /// Deliveries that were answered 2xx again: the answer did not reach the sender. No promise
    /// forbids it.
    pub duplicates: u64,
    /// The sums over all webhooks.
    pub sums: Sums,
    /// What broke a promise.
    pub findings: Vec<Finding>,
    /// What could not be judged.
    pub notes: Vec<String>,
}

/// How the deliveries of all webhooks are accounted for (DEL-1), beside what the receivers saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// Webhooks.
    pub webhooks: u64,
    /// Events that matched them.
    pub triggered: u64,
    /// Answered 2xx.
    pub delivered: u64,
    /// Given up after all attempts.
    pub dead: u64,
    /// Turned away because a queue was full.
    pub dropped: u64,
    /// Cancelled by the deletion of their webhook.
    pub cancelled: u64,
    /// Still waiting or under way.
    pub pending: u64,
    /// Different deliveries that the receivers answered 2xx.
    pub answered: u64,
    /// Dead ones that were taken up again by a replay.
    pub replayed: u64,
    /// Given way to a newer event of their key.
    pub coalesced: u64,
}

impl Sums {
    pub(super) fn add(&mut self, accounts: &Accounts) {
        self.webhooks += 1;
        self.triggered += accounts.triggered;
        self.delivered += accounts.delivered;
        self.dead += accounts.dead;
        self.dropped += accounts.dropped;
        self.cancelled += accounts.cancelled;
        self.pending += accounts.pending;
        self.replayed += accounts.replayed;
        self.coalesced += accounts.coalesced;
    }

    /// Whether all that matched is accounted for.
    pub fn add_up(&self) -> bool {
        let ended = [self.delivered, self.dead, self.dropped, self.cancelled, self.coalesced];
        self.triggered + self.replayed == ended.iter().sum::<u64>() + self.pending
    }
}

impl Verdict {
    /// How often a promise was broken in this way.
    pub fn count(&self, kind: Kind) -> u64 {
        let found = self.findings.iter().find(|finding| finding.kind == kind);
        found.map_or(0, |finding| finding.count)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "{}: {} events accepted, {} requests on {} paths",
            if self.passed { "passed" } else { "FAILED" },
            self.accepted,
            self.requests,
            self.paths
        )?;
        for finding in &self.findings {
            writeln!(formatter, "{}: {} x {}", finding.rule, finding.count, finding.kind.words())?;
            for example in &finding.examples {
                writeln!(formatter, "    {example}")?;
            }
            if finding.count > finding.examples.len() as u64 {
                writeln!(formatter, "    ...")?;
            }
        }
        if self.duplicates > 0 {
            writeln!(formatter, "note: {} deliveries were answered 2xx again", self.duplicates)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(formatter, "note: {note}"))
    }
}

/// Findings while they are gathered.
#[derive(Debug, Default)]
pub(super) struct Findings {
    kinds: BTreeMap<Kind, (u64, Vec<String>)>,
    notes: Vec<String>,
    /// Deliveries that were answered 2xx again.
    pub duplicates: u64,
}

impl Findings {
    /// `words` is only asked for the first ones.
    pub(super) fn add(&mut self, kind: Kind, words: impl FnOnce() -> String) {
        let (count, examples) = self.kinds.entry(kind).or_default();
        *count += 1;
        if examples.len() < EXAMPLES_MAX {
            examples.push(words());
        }
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    pub(super) fn into_verdict(self, judge: &Judge, sums: Sums) -> Verdict {
        let finding = |(kind, (count, examples)): (Kind, _)| Finding {
            kind,
            rule: kind.rule(),
            count,
            examples,
        };
        Verdict {
            passed: self.kinds.is_empty(),
            accepted: judge.accepted_count,
            requests: judge.request_count,
            paths: judge.paths.len() as u64,
            duplicates: self.duplicates,
            sums,
            findings: self.kinds.into_iter().map(finding).collect(),
            notes: self.notes,
        }
    }
}
