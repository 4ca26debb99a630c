//! DEL-1: the counters add up exactly, and every end of an exchange is accounted for once.

use super::super::faults::Plan;
use super::super::history::{
    Attempt, Checkpoint, End, Ended, Entry, Happening, History, Note, Row,
};
use super::at;
use ferrite::core::failure::Failure;
use ferrite::core::journal::Finish;
use ferrite::core::ledger::{DeliveryOutcome, Tally};
use std::collections::{BTreeMap, BTreeSet};

/// What the counters of one webhook on one shard, or of one shard, must be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Books {
    triggered: u64,
    delivered: u64,
    dead: u64,
    dropped: u64,
    cancelled: u64,
    coalesced: u64,
    pending: u64,
    attempts: u64,
    failed_attempts: u64,
    replayed: u64,
    spilled: u64,
}

impl Books {
    fn of(tally: &Tally) -> Books {
        Books {
            triggered: tally.triggered,
            delivered: tally.delivered,
            dead: tally.dead,
            dropped: tally.dropped,
            cancelled: tally.cancelled,
            coalesced: tally.coalesced,
            pending: tally.pending,
            attempts: tally.attempts,
            failed_attempts: tally.failed_attempts,
            replayed: tally.replayed,
            spilled: tally.spilled,
        }
    }

    fn balance(&self) -> bool {
        let ended = self.delivered + self.dead + self.dropped + self.cancelled + self.coalesced;
        self.triggered + self.replayed == ended + self.pending
    }

    fn plus(self, other: Books) -> Books {
        Books {
            triggered: self.triggered + other.triggered,
            delivered: self.delivered + other.delivered,
            dead: self.dead + other.dead,
            dropped: self.dropped + other.dropped,
            cancelled: self.cancelled + other.cancelled,
            coalesced: self.coalesced + other.coalesced,
            pending: self.pending + other.pending,
            attempts: self.attempts + other.attempts,
            failed_attempts: self.failed_attempts + other.failed_attempts,
            replayed: self.replayed + other.replayed,
            spilled: self.spilled + other.spilled,
        }
    }
}

/// The books that the history itself leads to, by webhook and shard.
#[derive(Default)]
struct Ledgers {
    books: BTreeMap<(u32, usize), Books>,
    /// Requests that went out again uncounted, by shard.
    resent: BTreeMap<usize, u64>,
    /// Shards that have had webhooks with `PIPELINE`.
    pipelined: BTreeSet<usize>,
    /// Shards that have had webhooks with `BATCH`: a request may be many deliveries.
    batched: BTreeSet<usize>,
    /// Shards that may have taken back more than the driver knows: connections were closed that
    /// carried requests of a deleted webhook, and with them requests that it never learned of.
    vague: BTreeSet<usize>,
    /// What was unread of webhooks that a shard was the first to delete: counted in sum only.
    unread: BTreeMap<usize, u64>,
    /// The webhooks that each shard has.
    known: BTreeSet<(u32, usize)>,
}

impl Ledgers {
    fn follow(&mut self, entry: &Entry) {
        match &entry.what {
            Happening::Accepted { shard, wanted, .. } => {
                for wanted in wanted {
                    let books = self.books.entry((wanted.webhook, *shard)).or_default();
                    books.triggered += 1;
                    *(if wanted.dropped { &mut books.dropped } else { &mut books.pending }) += 1;
                }
            }
            Happening::Coalesced { shard, webhook, .. } => {
                let books = self.books.entry((*webhook, *shard)).or_default();
                (books.coalesced, books.pending) = (books.coalesced + 1, books.pending - 1);
            }
            Happening::Ended(Ended {
                end: End::Stale | End::TakenBack,
                shard,
                test: false,
                ..
            }) => {
                *self.resent.entry(*shard).or_default() += 1;
            }
            Happening::Learned { shard, webhook, terms } => {
                self.known.insert((*webhook, *shard));
                // Only connections that carry several requests lose others with a deleted
                // webhook's.
                if terms.pipeline > 1 {
                    self.pipelined.insert(*shard);
                }
                if terms.batch.is_some() {
                    self.batched.insert(*shard);
                }
            }
            Happening::Attempt(attempt) => {
                let books = self.books.entry((attempt.name.webhook, attempt.shard)).or_default();
                let deliveries = attempt.deliveries;
                books.attempts += deliveries;
                match attempt.outcome {
                    DeliveryOutcome::Ok => books.delivered += deliveries,
                    DeliveryOutcome::Failed => books.failed_attempts += deliveries,
                    DeliveryOutcome::Dead => {
                        books.dead += deliveries;
                        books.failed_attempts += deliveries;
                    }
                }
                if attempt.outcome != DeliveryOutcome::Failed {
                    books.pending = books.pending.wrapping_sub(deliveries);
                }
            }
            Happening::Replayed { shard, name, .. } => {
                let books = self.books.entry((name.webhook, *shard)).or_default();
                (books.replayed, books.pending) = (books.replayed + 1, books.pending + 1);
            }
            Happening::Deleted { shard, webhook } => {
                if self.pipelined.contains(shard) {
                    self.vague.insert(*shard);
                }
                let books = self.books.entry((*webhook, *shard)).or_default();
                books.cancelled += std::mem::take(&mut books.pending);
                books.spilled = 0;
                self.known.remove(&(*webhook, *shard));
            }
            Happening::Journal { shard, note } => self.follow_journal(*shard, note),
            _ => {}
        }
    }

    fn follow_journal(&mut self, shard: usize, note: &Note) {
        if let Note::Event { spilled, .. } = note {
            for webhook in spilled {
                self.books.entry((*webhook, shard)).or_default().spilled += 1;
            }
        }
        if let Note::Unread { deliveries, .. } = note {
            *self.unread.entry(shard).or_default() += deliveries;
        }
        let (Note::Finished { webhook, .. }
        | Note::Lost { webhook, .. }
        | Note::Fetched { webhook, .. }) = note
        else {
            return;
        };
        if !self.known.contains(&(*webhook, shard)) {
            return;
        }
        let books = self.books.entry((*webhook, shard)).or_default();
        match note {
            Note::Finished { finish, .. } if *finish == Finish::Dropped as u16 => {
                (books.dropped, books.pending) = (books.dropped + 1, books.pending.wrapping_sub(1));
            }
            Note::Finished { finish, .. } if *finish == Finish::Coalesced as u16 => {
                (books.coalesced, books.pending) =
                    (books.coalesced + 1, books.pending.wrapping_sub(1));
            }
            Note::Lost { ids, .. } => {
                let lost = ids.len() as u64;
                books.dropped += lost;
                (books.pending, books.spilled) =
                    (books.pending.wrapping_sub(lost), books.spilled.wrapping_sub(lost));
            }
            Note::Fetched { deliveries, .. } => {
                let earlier = deliveries.iter().filter(|one| one.earlier);
                let unfinished = earlier.filter(|one| !one.dead).count() as u64;
                books.triggered += unfinished;
                books.pending += unfinished;
                let own = deliveries.iter().filter(|one| !one.earlier).count() as u64;
                books.spilled = books.spilled.wrapping_sub(own);
            }
            _ => {}
        }
    }

    fn compare_row(&self, row: &Row) -> Result<(), String> {
        let expected = self.books.get(&(row.webhook, row.shard)).copied().unwrap_or_default();
        let counted = Books::of(&row.tally);
        if counted != expected || !counted.balance() {
            return Err(format!(
                "webhook {} on shard {}: counted {counted:?}, but it was {expected:?}",
                row.webhook, row.shard
            ));
        }
        Ok(())
    }

    fn compare(&self, checkpoint: &Checkpoint) -> Result<(), String> {
        checkpoint.rows.iter().try_for_each(|row| self.compare_row(row))?;
        for (shard, row) in checkpoint.shards.iter().enumerate() {
            let own = self.books.iter().filter(|((_, of), _)| *of == shard);
            let mut expected = own.fold(Books::default(), |sum, (_, books)| sum.plus(*books));
            let unread = self.unread.get(&shard).copied().unwrap_or_default();
            expected.triggered += unread;
            expected.cancelled += unread;
            let counted = Books::of(&row.totals);
            if counted != expected || counted.pending != row.pending as u64 {
                return Err(format!("totals of {shard}: {counted:?}, but it was {expected:?}"));
            }
            let in_flight = row.totals.in_flight;
            let agrees = match self.batched.contains(&shard) {
                true => in_flight >= row.busy() as u64 && (row.busy() > 0 || in_flight == 0),
                false => in_flight == row.busy() as u64,
            };
            if !agrees {
                return Err(format!("{shard}: {} in flight of {row:?}", row.totals.in_flight));
            }
            let of_webhooks = checkpoint.rows.iter().filter(|row| row.shard == shard);
            if of_webhooks.map(|row| row.tally.in_flight).sum::<u64>() != row.totals.in_flight {
                return Err(format!("in flight of the webhooks of {shard} is not {row:?}"));
            }
            let resent = self.resent.get(&shard).copied().unwrap_or_default();
            let vague = self.vague.contains(&shard) && row.totals.resent > resent;
            if row.totals.resent != resent && !vague {
                return Err(format!("{shard}: {} resent, not {resent}", row.totals.resent));
            }
        }
        Ok(())
    }
}

/// At every moment of rest, each counter of each webhook on each shard, and of each shard, is
/// exactly what happened.
pub fn accounting(history: &History, _: &Plan) -> Result<(), String> {
    let mut ledgers = Ledgers::default();
    for entry in &history.entries {
        ledgers.follow(entry);
        if let Happening::Checkpoint(checkpoint) = &entry.what {
            ledgers.compare(checkpoint).map_err(|message| at(entry.at, &message))?;
        }
    }
    Ok(())
}

/// In the end nothing is pending, no connection is open and no timer is left.
pub fn settled(history: &History, _: &Plan) -> Result<(), String> {
    for entry in &history.entries {
        if let Happening::Settled { links_open, deliveries_pending, timers_left } = entry.what
            && (links_open, deliveries_pending, timers_left) != (0, 0, 0)
        {
            return Err(format!(
                "in the end {links_open} connections are open, {deliveries_pending} deliveries \
                 pending, {timers_left} timers left"
            ));
        }
    }
    Ok(())
}

/// Every end of an exchange that counts is logged once and as what it was, within the call that
/// brought it about; nothing else is logged.
pub fn outcomes(history: &History, _: &Plan) -> Result<(), String> {
    let mut ended: Vec<Ended> = Vec::new();
    let mut logged: Vec<Attempt> = Vec::new();
    let mut call = 0;
    for entry in &history.entries {
        if entry.call != call {
            compare_call(&mut ended, &mut logged).map_err(|message| at(entry.at, &message))?;
            call = entry.call;
        }
        match &entry.what {
            Happening::Ended(one) if !one.test => ended.push(*one),
            Happening::Attempt(attempt) => logged.push(attempt.clone()),
            _ => {}
        }
    }
    compare_call(&mut ended, &mut logged)
}

fn compare_call(ended: &mut Vec<Ended>, logged: &mut Vec<Attempt>) -> Result<(), String> {
    // Those that are known by name first: the others take what is left.
    ended.sort_by_key(|ended| ended.request.is_none());
    for ended in ended.drain(..) {
        let Some((status, failure)) = ended.end.expected_log() else { continue };
        let found = logged.iter().position(|attempt| {
            (attempt.status, attempt.failure) == (status, failure)
                && ended.request.is_none_or(|name| attempt.name == name)
        });
        match found {
            Some(index) => drop(logged.swap_remove(index)),
            None => return Err(format!("{ended:?} is not in the log, but {logged:?}")),
        }
    }
    match logged.pop() {
        None => Ok(()),
        Some(attempt) => Err(format!("nothing ended as the log says: {attempt:?}")),
    }
}

/// The shard that makes the test deliveries.
const TESTING_SHARD: usize = 0;

/// Whoever asks for a test delivery gets one outcome, and it is that of its exchange.
pub fn tests(history: &History, _: &Plan) -> Result<(), String> {
    let mut asked: BTreeMap<u64, bool> = BTreeMap::new();
    let mut ends: Vec<(u64, Ended)> = Vec::new();
    let mut done = Vec::new();
    let mut broke_down = BTreeSet::new();
    for entry in &history.entries {
        match &entry.what {
            Happening::TestAsked { token } => drop(asked.insert(*token, false)),
            Happening::Ended(ended) if ended.test => ends.push((entry.call, *ended)),
            Happening::TestDone { token, status, failure } => {
                if asked.insert(*token, true) != Some(false) {
                    return Err(at(entry.at, &format!("test {token} was not open")));
                }
                if *failure != Some(Failure::Internal) {
                    done.push((entry.call, *status, *failure));
                } else if !broke_down.contains(&TESTING_SHARD) {
                    return Err(at(entry.at, "a test was lost, but no worker broke down"));
                }
            }
            Happening::Salvaged { shard } => {
                broke_down.insert(*shard);
            }
            Happening::Crashed { .. } => asked.clear(),
            _ => {}
        }
    }
    if let Some((token, _)) = asked.iter().find(|(_, done)| !**done) {
        return Err(format!("test {token} never got an outcome"));
    }
    for (call, ended) in ends {
        let Some((status, failure)) = ended.end.expected_log() else { continue };
        match done.iter().position(|done| *done == (call, status, failure)) {
            Some(index) => drop(done.swap_remove(index)),
            None => return Err(format!("{ended:?} was not what the test said")),
        }
    }
    Ok(())
}
