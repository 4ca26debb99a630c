//! Judges the histories of both sides of a run: was what was promised kept?
//!
//! | rule | what must hold |
//! |---|---|
//! | DEL-1 | what was accepted was answered 2xx on every path, or the accounts say what became of it; they add up; nothing else arrived |
//! | ORD-1 | of one path and key, no event comes before the earlier ones are settled, and no two requests overlap |
//! | DEL-3 | one id, one body, one event; attempts do not go back; signatures are right |
//!
//! A request without a status (a timeout, a reset) is exempt from ORD-1: the sender gave it up at
//! a time that the receiver does not know. The events of a batch count like single ones; that they
//! are under way together is no overlap, but they must be in order.
//!
//! A restart of the engine begins each lane anew: an event that was answered may come again, and
//! those that follow it come again behind it. What a lane leaves out then is lost, or comes later
//! and is out of order.
//!
//! Lines are looked at as they come and then forgotten: memory grows with paths and keys, and with
//! the gaps in their sequences, not with the lines.

mod accounts;
mod command;
mod ids;
mod lane;
mod ranges;
#[cfg(test)]
mod tests;
mod verdict;

pub use command::{Options, VerifyError, check_files, lines, verify};
pub use verdict::{Finding, Kind, Sums, Verdict};

use crate::history::{Accounts, Event, HistoryLine, Request};
use ids::Ids;
use lane::Lane;
use ranges::Ranges;
use std::collections::{BTreeMap, HashMap};
use verdict::Findings;

/// What is known besides the histories.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Webhooks may want only some of the keys. Then an event counts as lost on a path only if
    /// the path saw its key at all, and webhooks may match fewer events than were accepted.
    pub patterns: bool,
}

/// Judges the lines of both sides, in any order.
pub fn check(lines: impl IntoIterator<Item = HistoryLine>, rules: Rules) -> Verdict {
    let mut lines: Vec<HistoryLine> = lines.into_iter().collect();
    // Stable: what was answered in the same microsecond stays as it was written.
    lines.sort_by_key(over_us);
    let mut judge = Judge::default();
    lines.into_iter().for_each(|line| judge.take(line));
    judge.verdict(rules)
}

/// When the request of a line was over; other lines are not asked for their time.
fn over_us(line: &HistoryLine) -> u64 {
    match line {
        HistoryLine::Request(request) => request.answered_us,
        HistoryLine::Accepted { .. }
        | HistoryLine::Accounts(_)
        | HistoryLine::Unanswered { .. }
        | HistoryLine::Restarted { .. } => 0,
    }
}

/// What is known of both histories. Requests are to come in the order in which they were over, as
/// receivers write them.
#[derive(Debug, Default)]
struct Judge {
    accepted: HashMap<String, Ranges>,
    accepted_count: u64,
    /// What may be an event or not.
    unanswered: HashMap<String, Ranges>,
    /// When the engine started again, ascending.
    restarts_us: Vec<u64>,
    accounts: Vec<Accounts>,
    paths: BTreeMap<String, Path>,
    ids: Ids,
    request_count: u64,
    findings: Findings,
}

/// What is known of one path.
#[derive(Debug, Default)]
struct Path {
    lanes: HashMap<String, Lane>,
    /// Requests whose signatures were not looked at.
    unchecked: u64,
}

impl Judge {
    fn take(&mut self, line: HistoryLine) {
        match line {
            HistoryLine::Accepted { key, sequence, .. } => self.accept(key, sequence),
            HistoryLine::Accounts(accounts) => self.accounts.push(accounts),
            HistoryLine::Request(request) => self.request(&request),
            HistoryLine::Unanswered { key, sequence } => {
                self.unanswered.entry(key).or_default().insert(sequence);
            }
            HistoryLine::Restarted { at_us } => self.restarts_us.push(at_us),
        }
    }

    fn accept(&mut self, key: String, sequence: u64) {
        self.accepted_count += 1;
        let sequences = match self.accepted.get_mut(&key) {
            Some(sequences) => sequences,
            None => self.accepted.entry(key.clone()).or_default(),
        };
        if !sequences.insert(sequence) {
            self.findings.add(Kind::AcceptedTwice, || format!("{key}#{sequence}"));
        }
    }

    fn request(&mut self, request: &Request) {
        self.request_count += 1;
        let life = self.restarts_us.partition_point(|at_us| *at_us <= request.arrived_us);
        let id = self.ids.hash(&request.id);
        self.ids.check(request, id, &mut self.findings);
        let path = match self.paths.get_mut(&request.path) {
            Some(path) => path,
            None => self.paths.entry(request.path.clone()).or_default(),
        };
        path.signature(request, &mut self.findings);
        match request.events.as_slice() {
            [] => {
                let sequences = [request.sequence];
                path.lane(request, (life, id), &request.key, &sequences, &mut self.findings);
            }
            events => {
                let mut by_key: BTreeMap<&str, Vec<Option<u64>>> = BTreeMap::new();
                for event in events {
                    by_key.entry(&event.key).or_default().push(event.sequence);
                }
                for (key, sequences) in by_key {
                    path.lane(request, (life, id), key, &sequences, &mut self.findings);
                }
            }
        }
    }

    fn verdict(mut self, rules: Rules) -> Verdict {
        let mut findings = std::mem::take(&mut self.findings);
        let sums = accounts::check(&self, rules, &mut findings);
        if self.ids.forgot {
            findings.note(
                "ids were compared with a million or two that came before, not with all".to_owned(),
            );
        }
        findings.into_verdict(&self, sums)
    }
}

impl Path {
    /// A request carries these events of a key.
    fn lane(
        &mut self,
        request: &Request,
        (life, id): (usize, u64),
        key: &str,
        sequences: &[Option<u64>],
        findings: &mut Findings,
    ) {
        let lane = match self.lanes.get_mut(key) {
            Some(lane) => lane,
            None => self.lanes.entry(key.to_owned()).or_default(),
        };
        let known: Vec<u64> = sequences.iter().flatten().copied().collect();
        if known.len() < sequences.len() {
            findings.add(Kind::Unknown, || format!("{request}: {}", Event { key, sequence: None }));
        }
        lane.begin_life(life);
        lane.over(request, id, key, &known, findings);
        lane.attempt(request, id, findings);
    }

    /// A wrong signature is wrong wherever it is; a missing one where requests are signed.
    fn signature(&mut self, request: &Request, findings: &mut Findings) {
        match request.signature {
            Some(true) => {}
            Some(false) => findings.add(Kind::Signature, || request.to_string()),
            None => self.unchecked += 1,
        }
    }
}
