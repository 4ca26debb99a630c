//! What is measured agrees with what happened.

use super::super::faults::Plan;
use super::super::history::{Attempt, Entry, Happening, History, Note, Row};
use super::at;
use super::attempts::disables;
use ferrite::core::ledger::DeliveryOutcome;
use std::collections::BTreeMap;

/// What must have been measured of one webhook on one shard.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Expected {
    queue: u64,
    attempt: u64,
    total: u64,
    failures: u64,
    retries: u64,
}

#[derive(Default)]
struct Measured {
    /// By webhook and shard.
    expected: BTreeMap<(u32, usize), Expected>,
    /// Attempts that were counted, by webhook and event or batch.
    made: BTreeMap<(u32, u64), u32>,
}

impl Measured {
    fn follow(&mut self, attempt: &Attempt, counted: bool) {
        let expected = self.expected.entry((attempt.name.webhook, attempt.shard)).or_default();
        let made = self.made.entry((attempt.name.webhook, attempt.name.id)).or_default();
        let deliveries_if = |condition| if condition { attempt.deliveries } else { 0 };
        expected.attempt += attempt.deliveries;
        expected.retries += deliveries_if(*made > 0);
        expected.queue += deliveries_if(*made == 0 && counted);
        expected.total += deliveries_if(attempt.outcome == DeliveryOutcome::Ok);
        expected.failures += deliveries_if(attempt.outcome != DeliveryOutcome::Ok);
        *made += u32::from(counted);
    }

    fn compare(&self, row: &Row, now: u64) -> Result<(), String> {
        let expected = self.expected.get(&(row.webhook, row.shard)).copied().unwrap_or_default();
        let measured = Expected {
            queue: row.measured.queue,
            attempt: row.measured.attempt,
            total: row.measured.total,
            failures: row.measured.failures,
            retries: row.tally.retries,
        };
        if measured != expected {
            return Err(format!("{row:?}: measured {measured:?}, happened {expected:?}"));
        }
        if row.tally.lanes_blocked > row.tally.pending {
            return Err(format!("{row:?}: more lanes wait than deliveries are pending"));
        }
        if row.measured.oldest_us > now {
            return Err(format!("{row:?}: the oldest delivery is from the future"));
        }
        Ok(())
    }
}

/// Each attempt is measured once, in its stages and by its cause; the lanes that wait for a retry
/// are the same by webhook and in sum, and none is left when nothing is pending.
pub fn measures(history: &History, _: &Plan) -> Result<(), String> {
    let mut measured = Measured::default();
    let wishes = history.wishes();
    for Entry { at: time, call, what } in &history.entries {
        match what {
            // It has all its attempts again.
            Happening::Replayed { name, .. } => {
                measured.made.remove(&(name.webhook, name.id));
            }
            Happening::Journal { note: Note::Fetched { webhook, deliveries, .. }, .. } => {
                for one in deliveries {
                    measured.made.insert((*webhook, one.id), u32::from(one.attempts));
                }
            }
            Happening::Attempt(attempt) => {
                let wish = wishes.get(&(*call, attempt.name)).copied();
                measured.follow(attempt, !disables(attempt, wish));
            }
            Happening::Checkpoint(checkpoint) => {
                let mut blocked = vec![0; checkpoint.shards.len()];
                for row in &checkpoint.rows {
                    measured.compare(row, *time).map_err(|message| at(*time, &message))?;
                    blocked[row.shard] += row.tally.lanes_blocked;
                }
                let totals = checkpoint.shards.iter().map(|shard| shard.totals.lanes_blocked);
                let totals: Vec<u64> = totals.collect();
                if blocked != totals {
                    let message = format!("lanes that wait: {blocked:?}, in sum {totals:?}");
                    return Err(at(*time, &message));
                }
            }
            _ => {}
        }
    }
    Ok(())
}
