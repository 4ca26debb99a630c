//! Judges the histories of both sides of a run: was what was promised kept?
//!
//! | rule | what must hold |
//! |---|---|
//! | DEL-1 | what was accepted was answered 2xx on every path, or the accounts say what became of it; they add up; nothing else arrived |
//! | ORD-1 | of one path and key, no event comes before the earlier ones are settled, and no two requests overlap |
//! | DEL-3 | one id, one body, one event; attempts do not go back; signatures are right |
//!
//! A request without a status (a timeout, a reset) is exempt from ORD-1: the sender gave it up at
//! a time that the receiver does not know.

mod accounts;
mod command;
mod ids;
mod order;
#[cfg(test)]
mod tests;
mod verdict;

pub use command::{Options, VerifyError, read, verify};
pub use verdict::{Finding, Kind, Verdict};

use crate::history::HistoryLine;
use std::collections::{BTreeMap, HashMap, HashSet};
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
    let mut findings = Findings::default();
    let history = Case::collect(lines, &mut findings);
    accounts::check(&history, rules, &mut findings);
    for requests in history.paths.values() {
        for (lane, requests) in lanes(requests) {
            order::check(lane, &requests, &mut findings);
        }
    }
    ids::check(&history, &mut findings);
    findings.into_verdict(&history)
}

/// Both histories, sorted by what they are about.
#[derive(Debug, Default)]
struct Case {
    accepted: HashMap<String, HashSet<u64>>,
    accepted_count: u64,
    accounts: Vec<Account>,
    /// Requests by path, in the order of their arrival.
    paths: BTreeMap<String, Vec<Request>>,
    request_count: u64,
}

/// How a webhook's deliveries are accounted for.
#[derive(Debug)]
struct Account {
    webhook: String,
    triggered: u64,
    delivered: u64,
    /// Dead, dropped, cancelled and pending: what need not have been answered 2xx.
    excused: u64,
    signed: bool,
}

/// A request as the receiver saw it.
#[derive(Clone, Debug)]
struct Request {
    path: String,
    id: String,
    attempt: u32,
    key: String,
    sequence: Option<u64>,
    body_hash: u64,
    signature: Option<bool>,
    arrived_us: u64,
    answered_us: u64,
    status: Option<u16>,
}

impl Request {
    fn is_2xx(&self) -> bool {
        matches!(self.status, Some(200..300))
    }
}

impl std::fmt::Display for Request {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sequence = self.sequence.map_or("?".to_owned(), |sequence| sequence.to_string());
        let status = self.status.map_or("no answer".to_owned(), |status| status.to_string());
        write!(
            formatter,
            "{} {}#{sequence} (id {}, attempt {}, arrived {}, answered {}: {status})",
            self.path, self.key, self.id, self.attempt, self.arrived_us, self.answered_us
        )
    }
}

impl Case {
    fn collect(lines: impl IntoIterator<Item = HistoryLine>, findings: &mut Findings) -> Self {
        let mut history = Case::default();
        for line in lines {
            history.add(line, findings);
        }
        for requests in history.paths.values_mut() {
            // Stable: what arrived in the same microsecond stays as it was written.
            requests.sort_by_key(|request| request.arrived_us);
        }
        history
    }

    fn add(&mut self, line: HistoryLine, findings: &mut Findings) {
        match line {
            HistoryLine::Accepted { key, sequence, .. } => {
                self.accepted_count += 1;
                if !self.accepted.entry(key.clone()).or_default().insert(sequence) {
                    findings.add(Kind::AcceptedTwice, || format!("{key}#{sequence}"));
                }
            }
            HistoryLine::Accounts {
                webhook,
                triggered,
                delivered,
                dead,
                dropped,
                cancelled,
                pending,
                signed,
                replayed,
            } => {
                let ended = delivered + dead + dropped + cancelled;
                if triggered + replayed != ended + pending {
                    findings.add(Kind::Accounts, || {
                        format!(
                            "{webhook}: {triggered} triggered + {replayed} replayed is not \
                             {delivered} delivered + \
                             {dead} dead + {dropped} dropped + {cancelled} cancelled + \
                             {pending} pending"
                        )
                    });
                }
                // A dead one that was taken up again is no excuse.
                let excused = (dead + dropped + cancelled + pending).saturating_sub(replayed);
                self.accounts.push(Account { webhook, triggered, delivered, excused, signed });
            }
            HistoryLine::Request {
                path,
                id,
                attempt,
                key,
                sequence,
                body_hash,
                signature,
                arrived_us,
                answered_us,
                status,
            } => {
                self.request_count += 1;
                let request = Request {
                    path: path.clone(),
                    id,
                    attempt,
                    key,
                    sequence,
                    body_hash,
                    signature,
                    arrived_us,
                    answered_us,
                    status,
                };
                self.paths.entry(path).or_default().push(request);
            }
        }
    }

    fn is_accepted(&self, key: &str, sequence: u64) -> bool {
        self.accepted.get(key).is_some_and(|sequences| sequences.contains(&sequence))
    }
}

/// The requests of a path by key, each in the order of arrival.
fn lanes(requests: &[Request]) -> BTreeMap<&str, Vec<&Request>> {
    let mut lanes: BTreeMap<&str, Vec<&Request>> = BTreeMap::new();
    for request in requests {
        lanes.entry(&request.key).or_default().push(request);
    }
    lanes
}
