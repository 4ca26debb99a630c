//! What the shards and the ledgers say of themselves, and the calls that must change nothing.

use super::history::{Attempt, Checkpoint, Happening, Measured, RequestName, Row, ShardRow};
use super::world::{Why, World, id_number};
use ferrite::core::latency::{Histogram, LatencyHistogram, Measures};
use ferrite::core::ledger::{AttemptRecord, DeliveryOutcome, Tally, WebhookStatus};
use ferrite::core::shard::{Closed, ConnectionId, Shard, Step};

fn measured(measures: &Measures) -> Measured {
    let count = |histogram: &Histogram| {
        let mut reading = LatencyHistogram::default();
        reading.add(histogram);
        reading.count()
    };
    Measured {
        queue: count(&measures.queue),
        attempt: count(&measures.attempt),
        total: count(&measures.total),
        failures: measures.failures.iter().map(|cause| cause.get()).sum(),
        oldest_us: measures.oldest_us.get(),
    }
}

impl World {
    /// Moves what a shard has newly logged into the history.
    pub fn note_attempts(&mut self, shard: usize) {
        for webhook in 0..self.lives.len() {
            let life = &mut self.lives[webhook];
            let counted = life.ledger.counters(shard).attempts.get();
            let new = counted - std::mem::replace(&mut life.attempts_seen[shard], counted);
            if new == 0 {
                continue;
            }
            let log = life.ledger.log(shard);
            let mut records: Vec<AttemptRecord> = Vec::new();
            let mut deliveries = 0;
            for record in log.entries().rev() {
                if deliveries >= new {
                    break;
                }
                deliveries += deliveries_of(record);
                records.push(record.clone());
            }
            drop(log);
            if deliveries != new {
                self.broken(format!("{deliveries} deliveries were logged, {new} counted"));
            }
            records.reverse();
            // Of a batch that was given up, each delivery has its own record.
            let same =
                |a: &AttemptRecord, b: &AttemptRecord| a.batch.is_some() && a.batch == b.batch;
            for records in records.chunk_by(same) {
                self.note_attempt(shard, webhook as u32, records);
            }
        }
    }

    fn note_attempt(&mut self, shard: usize, webhook: u32, records: &[AttemptRecord]) {
        let record = &records[0];
        let key_of = |record: &AttemptRecord| {
            let key = std::str::from_utf8(&record.key).ok();
            key.and_then(|key| key.strip_prefix("key:")?.parse::<u32>().ok())
        };
        let logged: Option<Vec<u32>> = records.iter().map(key_of).collect();
        if record.id.boot > self.boot || logged.is_none() {
            self.broken(format!("a record of nothing that was triggered: {record:?}"));
        }
        let id = record.batch.map_or(record.id, |batch| batch.id(self.boot));
        let id = id_number(id);
        let name = RequestName { webhook, id };
        let keys = self.batches.get(&name).cloned().or(logged.clone()).unwrap_or_default();
        let dead = record.outcome == DeliveryOutcome::Dead;
        if dead && logged.as_ref() != Some(&keys) {
            self.broken(format!("{keys:?} were sent, {logged:?} are dead"));
        }
        self.note(Happening::Attempt(Attempt {
            shard,
            name,
            keys,
            ids: records.iter().map(|record| id_number(record.id)).collect(),
            deliveries: records.iter().map(deliveries_of).sum(),
            attempt: record.attempt,
            outcome: record.outcome,
            status: record.status,
            failure: record.failure,
        }));
    }

    pub fn checkpoint(&mut self) {
        let mut rows = Vec::new();
        for (webhook, life) in self.lives.iter().enumerate() {
            for shard in 0..self.seats.len() {
                let mut tally = Tally::default();
                tally.add(life.ledger.counters(shard));
                let status = life.ledger.status();
                let measured = measured(life.ledger.measures(shard));
                rows.push(Row { webhook: webhook as u32, shard, tally, status, measured });
            }
        }
        let shards = (0..self.seats.len()).map(|shard| self.shard_row(shard)).collect();
        let letters = self.lives.iter().map(|life| life.ledger.dead().tally()).collect();
        self.check_journal();
        self.note(Happening::Checkpoint(Checkpoint { rows, shards, letters }));
    }

    fn shard_row(&mut self, shard: usize) -> ShardRow {
        let mut totals = Tally::default();
        totals.add(&self.shared.totals[shard].deliveries);
        let pending = self.shard(shard).pending();
        let links = self.open_links(shard);
        if let Some(link) = links.iter().find(|link| self.is_forgotten(link.link)) {
            self.broken(format!("{link:?} has requests, and the driver was never told"));
        }
        ShardRow { totals, pending, links }
    }

    /// Everything that a call without need must leave alone.
    fn portrait(shard: &Shard, totals: Tally) -> String {
        format!("{:?} {} {totals:?}", shard.poll_timeout(), shard.pending())
    }

    /// `handle_timeout` before it is due does nothing.
    pub fn call_without_need(&mut self) {
        let shard = self.dice.below(self.seats.len());
        let now = self.clocks();
        if self.shard(shard).poll_timeout().is_some_and(|due| due <= now.tick) {
            return;
        }
        let mut before = Tally::default();
        before.add(&self.shared.totals[shard].deliveries);
        let before = Self::portrait(self.shard(shard), before);
        self.shard(shard).handle_timeout(now);
        let action = self.shard(shard).poll_action();
        let mut after = Tally::default();
        after.add(&self.shared.totals[shard].deliveries);
        let after = Self::portrait(self.shard(shard), after);
        let changed = match action {
            Some(action) => Some(format!("it led to {action:?}")),
            None => (before != after).then(|| format!("{before} became {after}")),
        };
        self.note(Happening::Spurious { shard, changed });
    }

    /// A late word about a connection that is gone does nothing.
    pub fn late_word(&mut self, shard: usize, connection: ConnectionId) {
        let kind = self.dice.below(6);
        let taken = self.with_shard(shard, Why::Other, |shard, now| match kind {
            0 => shard.handle_read(now, connection, b"HTTP/1.1 200 OK\r\n\r\n") != Step::Close,
            1 => {
                shard.handle_closed(now, connection, Closed::Broken);
                false
            }
            2 => shard.handle_connected(connection),
            3 => shard.write_requests(now, connection, &mut Vec::new()),
            4 => shard.handle_written(connection),
            _ => {
                shard.handle_write_failed(now, connection);
                false
            }
        });
        if taken {
            self.broken(format!("a late word about {connection:?} was taken"));
        }
    }

    /// The worker breaks down: its connections are gone, its deliveries are carried over.
    pub fn break_down(&mut self, shard: usize) {
        if self.healed {
            return;
        }
        self.call += 1;
        self.lose_links(shard);
        self.note(Happening::Salvaged { shard });
        let now = self.clocks();
        let old = self.seats[shard].shard.take().expect("only gone while it is rebuilt");
        self.seats[shard].shard = Some(old.salvage(now));
        self.with_shard(shard, Why::Other, |_, _| ());
        if self.store.is_some() {
            self.take_in(shard);
        }
        self.want_checkpoint();
    }

    /// All endpoints heal, and all webhooks are enabled.
    pub fn heal(&mut self) {
        self.healed = true;
        self.calm_journal();
        let alive: Vec<u32> = self.by_name.values().copied().collect();
        for webhook in alive {
            self.set_status(webhook, WebhookStatus::Active);
        }
    }
}

/// How many deliveries a record stands for.
fn deliveries_of(record: &AttemptRecord) -> u64 {
    match (record.outcome, record.batch) {
        (DeliveryOutcome::Dead, _) | (_, None) => 1,
        (_, Some(batch)) => u64::from(batch.events),
    }
}
