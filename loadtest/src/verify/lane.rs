//! ORD-1, and the attempts of DEL-3, for one path and key: what must be remembered of what has
//! been answered.

use super::ranges::Ranges;
use super::verdict::{Findings, Kind};
use crate::history::Request;

/// What is known of one path and key.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// What arrived.
    pub seen: Ranges,
    /// What was answered 2xx.
    pub answered: Ranges,
    /// The latest sequence that came in a request with an answer.
    latest: Option<u64>,
    /// The same before the request with this id (a hash of it), which may come again.
    before: Option<u64>,
    id: u64,
    /// The latest answer, and the sequence that it was for.
    end_us: u64,
    end_sequence: u64,
    /// The number of the latest attempt of that id.
    attempt: u32,
    /// Which life of the engine the latest request was of.
    life: usize,
}

impl Lane {
    /// A request of this life of the engine comes next. If it is another life, the lane begins anew:
    /// with whatever event, and with attempts that count from wherever they were noted.
    pub fn begin_life(&mut self, life: usize) {
        if self.life != life {
            (self.life, self.latest, self.before, self.id, self.attempt) = (life, None, None, 0, 0);
        }
    }

    /// A request is over. `sequences` are those of this key in it: more than one in a batch.
    /// Requests of one lane come in the order in which they were over.
    ///
    /// Each event waits until the one before is settled, so no two requests overlap and no
    /// sequence goes back, but to what the request before carried: that may come again.
    pub fn over(
        &mut self,
        request: &Request,
        id: u64,
        key: &str,
        sequences: &[u64],
        findings: &mut Findings,
    ) {
        for sequence in sequences {
            self.seen.insert(*sequence);
        }
        // It was given up by its sender at a time that the receiver does not know.
        if request.status.is_none() {
            return;
        }
        if let Some(pair) = sequences.windows(2).find(|pair| pair[0] >= pair[1]) {
            findings.add(Kind::Order, || {
                format!("{request}: {key}#{} after {key}#{} in one batch", pair[1], pair[0])
            });
        }
        if let Some(first) = sequences.iter().min() {
            self.order(request, id, key, *first, findings);
        }
        if let Some(last) = sequences.iter().max() {
            self.latest = self.latest.max(Some(*last));
            if self.end_us <= request.answered_us {
                (self.end_us, self.end_sequence) = (request.answered_us, *last);
            }
        }
        if request.is_2xx() {
            for sequence in sequences {
                if !self.answered.insert(*sequence) {
                    findings.duplicates += 1;
                }
            }
        }
    }

    fn order(
        &mut self,
        request: &Request,
        id: u64,
        key: &str,
        first: u64,
        findings: &mut Findings,
    ) {
        if self.id != id {
            (self.id, self.before, self.attempt) = (id, self.latest, 0);
        }
        let overlaps = request.arrived_us < self.end_us;
        if let Some(passed) = self.before.filter(|before| *before > first) {
            findings.add(Kind::Order, || format!("{request}: after {key}#{passed} had come"));
        } else if overlaps && self.end_sequence < first {
            findings.add(Kind::Order, || {
                format!("{request}: {key}#{} was settled at {}", self.end_sequence, self.end_us)
            });
        }
        if overlaps {
            findings.add(Kind::Overlap, || {
                format!("{request}: {key}#{} was answered at {}", self.end_sequence, self.end_us)
            });
        }
    }

    /// The number of an attempt may stay the same (DEL-4: what failed on a reused connection does
    /// not count), but never go back. To be called after `over`.
    pub fn attempt(&mut self, request: &Request, id: u64, findings: &mut Findings) {
        let latest = if self.id == id { self.attempt } else { 0 };
        // What was given up by its sender may be read late, after the attempt that followed it.
        if request.attempt == 0 || request.status.is_some() && request.attempt < latest {
            findings.add(Kind::Attempts, || format!("{request}: after attempt {latest}"));
        }
        if self.id == id {
            self.attempt = request.attempt.max(latest);
        }
    }
}
