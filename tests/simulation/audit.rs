//! What the shards and the ledgers say of themselves, and the calls that must change nothing.

use super::history::{Attempt, Checkpoint, Happening, RequestName, Row, ShardRow};
use super::world::{BOOT, Why, World};
use ferrite::core::ledger::{AttemptRecord, Tally, WebhookStatus};
use ferrite::core::shard::{Closed, ConnectionId, Shard, Step};

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
            let mut records: Vec<AttemptRecord> =
                log.entries().rev().take(new as usize).cloned().collect();
            drop(log);
            records.reverse();
            for record in records {
                self.note_attempt(shard, webhook as u32, &record);
            }
        }
    }

    fn note_attempt(&mut self, shard: usize, webhook: u32, record: &AttemptRecord) {
        let key = std::str::from_utf8(&record.key).ok();
        let key = key.and_then(|key| key.strip_prefix("key:")?.parse().ok());
        if record.id.boot != BOOT || key.is_none() {
            self.broken(format!("a record of nothing that was triggered: {record:?}"));
        }
        self.note(Happening::Attempt(Attempt {
            shard,
            name: RequestName { webhook, id: record.id.sequence },
            key: key.unwrap_or_default(),
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
                rows.push(Row { webhook: webhook as u32, shard, tally, status });
            }
        }
        let shards = (0..self.seats.len()).map(|shard| self.shard_row(shard)).collect();
        let letters = self.lives.iter().map(|life| life.ledger.dead().tally()).collect();
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
        self.want_checkpoint();
    }

    /// All endpoints heal, and all webhooks are enabled.
    pub fn heal(&mut self) {
        self.healed = true;
        let alive: Vec<u32> = self.by_name.values().copied().collect();
        for webhook in alive {
            self.set_status(webhook, WebhookStatus::Active);
        }
    }
}
