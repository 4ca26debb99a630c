//! What callers do: events, and changes of the webhooks.

use super::durable;
use super::faults;
use super::history::{Happening, Terms, Wanted};
use super::secrets;
use super::world::{Mischief, Todo, WALL_START_US, Why, World};
use ferrite::base::hash::worker_of;
use ferrite::core::event::{EventMask, EventRef, EventValue, WebhookEvent};
use ferrite::core::format::Format;
use ferrite::core::ledger::{Ledger, WebhookStatus};
use ferrite::core::on_full::OnFull;
use ferrite::core::packed::{self, Stamp, pack, unpack};
use ferrite::core::retry::RetryPolicy;
use ferrite::core::signature::Signatures;
use ferrite::core::while_disabled::WhileDisabled;
use ferrite::registry::{Auth, Settings};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A webhook from its making to its end.
#[derive(Debug)]
pub struct Life {
    pub name: String,
    pub ledger: Arc<Ledger>,
    /// The number of the newest secret that it ever had.
    pub secrets_made: u32,
    pub deleted: bool,
    pub settings: Settings,
    endpoint: usize,
    revision: u32,
    since: u64,
    /// Attempts that are in the history already, by shard.
    pub attempts_seen: Vec<u64>,
}

/// The webhooks at one moment, as a snapshot has them: the world's own reading.
#[derive(Debug, Default)]
pub struct View {
    pub generation: u64,
    pub rows: Vec<ViewRow>,
}

#[derive(Debug, Clone)]
pub struct ViewRow {
    pub webhook: u32,
    pub pattern: String,
    pub active: bool,
    pub since: u64,
    pub terms: Terms,
    pub concurrency: u32,
    /// It takes events while it is disabled, too.
    pub keeps: bool,
}

/// What a new webhook is told.
#[derive(Debug, Clone)]
pub struct Order {
    pub endpoint: usize,
    pub pattern: String,
    pub retry: RetryPolicy,
    pub timeout_ms: u64,
    pub concurrency: u32,
    pub pipeline: u32,
    /// Most events in a batch, and how long one may wait for its batch to fill, in milliseconds.
    pub batch: Option<(u32, u64)>,
    pub on_full: OnFull,
    pub coalesce: bool,
    pub ordered: bool,
    /// Whether requests are signed.
    pub signed: bool,
    pub format: Format,
    pub sequence: bool,
    pub final_status: Option<u16>,
    pub rate: u32,
    pub adaptive: bool,
    pub while_disabled: WhileDisabled,
}

/// The world's own matching: a name, or the beginning of names.
fn pattern_wants(pattern: &str, key: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(beginning) => key.starts_with(beginning),
        None => pattern == key,
    }
}

fn batch_of(settings: &Settings) -> Option<(u32, u64)> {
    settings.batch.then_some((settings.batch_size, settings.batch_interval_ms))
}

pub fn set_batch(settings: &mut Settings, batch: Option<(u32, u64)>) {
    settings.batch = batch.is_some();
    (settings.batch_size, settings.batch_interval_ms) = batch.unwrap_or((1, 0));
}

fn url(endpoint: usize, webhook: u32, revision: u32) -> String {
    format!("http://endpoint-{endpoint}.test/{webhook}/{revision}")
}

/// The secrets that a webhook is told, by number.
fn secrets_of(settings: &Settings) -> [Option<(u32, u64)>; 3] {
    let current = settings.secret.iter().map(|text| (secrets::number(text), u64::MAX));
    let retired = settings.retired.iter();
    let retired =
        retired.map(|retired| (secrets::number(&retired.text), retired.until_unix_seconds));
    let mut all = [None; 3];
    all.iter_mut().zip(current.chain(retired)).for_each(|(place, secret)| *place = Some(secret));
    all
}

impl World {
    pub fn create(&mut self, name: &str, order: Order) -> u32 {
        let webhook = self.lives.len() as u32;
        let settings = Settings {
            url: url(order.endpoint, webhook, 0),
            pattern: order.pattern,
            events: EventMask::ALL,
            auth: Auth::None,
            headers: Vec::new(),
            secret: order.signed.then(|| secrets::text(0)),
            signatures: Signatures::BOTH,
            retired: Vec::new(),
            retry: order.retry,
            timeout_ms: order.timeout_ms,
            concurrency: order.concurrency,
            pipeline: order.pipeline,
            batch: order.batch.is_some(),
            batch_size: order.batch.map_or(1, |(size, _)| size),
            batch_interval_ms: order.batch.map_or(0, |(_, interval_ms)| interval_ms),
            on_full: order.on_full,
            coalesce: order.coalesce,
            ordered: order.ordered,
            format: order.format,
            sequence: order.sequence,
            final_statuses: order.final_status.into_iter().collect(),
            rate: order.rate,
            adaptive: order.adaptive,
            tls_profile: None,
            while_disabled: order.while_disabled,
        };
        let now_us = WALL_START_US + self.now;
        self.registry.create(name, settings.clone(), now_us).expect("an acceptable webhook");
        let ledger = self.registry.get(name).expect("just made").definition.ledger.clone();
        self.lives.push(Life {
            name: name.to_owned(),
            ledger,
            secrets_made: 0,
            deleted: false,
            settings,
            endpoint: order.endpoint,
            revision: 0,
            since: self.registry.published().generation(),
            attempts_seen: vec![0; self.seats.len()],
        });
        self.by_name.insert(name.to_owned(), webhook);
        self.published();
        webhook
    }

    pub fn update(&mut self, webhook: u32, edit: impl FnOnce(&mut Settings)) {
        let life = &mut self.lives[webhook as usize];
        edit(&mut life.settings);
        let settings = life.settings.clone();
        self.registry.update(&life.name, |known| *known = settings).expect("an acceptable change");
        self.published();
    }

    /// Gives a webhook a new secret; the old one has a grace of so many seconds.
    pub fn rotate(&mut self, webhook: u32, grace_seconds: u64) {
        let now_us = WALL_START_US + self.now;
        let life = &mut self.lives[webhook as usize];
        life.secrets_made += 1;
        let secret = secrets::text(life.secrets_made);
        self.update(webhook, |settings| {
            settings.change_secret(Some(secret), grace_seconds, now_us);
        });
    }

    pub fn move_to(&mut self, webhook: u32, endpoint: usize) {
        let life = &mut self.lives[webhook as usize];
        (life.endpoint, life.revision) = (endpoint, life.revision + 1);
        let url = url(endpoint, webhook, life.revision);
        self.update(webhook, |settings| settings.url = url);
    }

    pub fn delete(&mut self, webhook: u32) {
        let life = &mut self.lives[webhook as usize];
        life.deleted = true;
        self.registry.delete(&life.name).expect("it was there");
        self.by_name.remove(&life.name);
        self.published();
    }

    pub fn set_status(&mut self, webhook: u32, status: WebhookStatus) {
        self.note(Happening::StatusSet { webhook, active: status == WebhookStatus::Active });
        self.registry
            .set_status(&self.lives[webhook as usize].name, status, WALL_START_US + self.now)
            .expect("it is there");
        self.published();
    }

    /// A snapshot is out: the workers hear of it some time later.
    fn published(&mut self) {
        self.look_at_webhooks();
        for shard in 0..self.seats.len() {
            self.take_in_soon(shard);
        }
    }

    /// The webhooks of a new start of the engine, all that are not deleted with the numbers that
    /// they had. Those that are gone leave their numbers unused.
    pub fn restore_webhooks(&mut self) {
        let now_us = WALL_START_US + self.now;
        for webhook in 0..self.lives.len() {
            let life = &mut self.lives[webhook];
            let name = if life.deleted { "gone" } else { life.name.as_str() };
            let settings = life.settings.clone();
            self.registry.create(name, settings, now_us).expect("it was acceptable before");
            let made = self.registry.get(name).expect("just made").definition;
            assert_eq!(made.number, webhook as u64 + 1);
            life.ledger = made.ledger.clone();
            life.since = self.registry.published().generation();
            life.attempts_seen = vec![0; self.plan.shards];
            if life.deleted {
                self.registry.delete(name).expect("just made");
            }
        }
        self.look_at_webhooks();
    }

    /// A shard knows the webhooks from its start on.
    pub fn note_learned(&mut self, shard: usize) {
        let view = self.view.clone();
        for row in &view.rows {
            let terms = Terms { window: self.window_of(shard, row), ..row.terms };
            self.note(Happening::Learned { shard, webhook: row.webhook, terms });
        }
        self.note(Happening::TookOver { shard });
    }

    fn window_of(&self, shard: usize, row: &ViewRow) -> u32 {
        let (worker, workers) = (shard as u32, self.seats.len() as u32);
        let extra = u32::from(worker < row.concurrency % workers);
        (row.concurrency / workers + extra).max(1)
    }

    fn look_at_webhooks(&mut self) {
        let rows = self.by_name.values().map(|&webhook| {
            let life = &self.lives[webhook as usize];
            ViewRow {
                webhook,
                pattern: life.settings.pattern.clone(),
                active: life.ledger.status() == WebhookStatus::Active,
                since: life.since,
                concurrency: life.settings.concurrency,
                keeps: life.settings.while_disabled == WhileDisabled::Keep,
                terms: Terms {
                    retry: life.settings.retry,
                    timeout_ms: life.settings.timeout_ms,
                    window: 0,
                    pipeline: life.settings.pipeline,
                    batch: batch_of(&life.settings),
                    ordered: life.settings.ordered,
                    endpoint: life.endpoint,
                    revision: life.revision,
                    secrets: secrets_of(&life.settings),
                    sequence: life.settings.sequence,
                    final_status: life.settings.final_statuses.first().copied(),
                    rate: life.settings.rate,
                    adaptive: life.settings.adaptive,
                    coalesce: life.settings.coalesce,
                    drops_oldest: life.settings.on_full == OnFull::DropOldest,
                },
            }
        });
        let generation = self.registry.published().generation();
        self.view = Rc::new(View { generation, rows: rows.collect() });
    }

    pub fn take_in_soon(&mut self, shard: usize) {
        let wait_us = self.dice.pick(&[0, 1, 20, 500]);
        self.later(wait_us, Todo::TakeIn { shard });
    }

    /// What a caller's `trigger` does: `false` when the event is refused.
    pub fn trigger(&mut self, key: u32, may_be_dropped: bool) -> bool {
        let (key_text, value) = (format!("key:{key}"), format!("event-{}", self.events));
        let snapshot = self.registry.published().load_full();
        self.events += 1;
        if !snapshot.wants(WebhookEvent::Set, key_text.as_bytes()) {
            return true;
        }
        let some_full = self.shared.full_count.load(Ordering::Relaxed) != 0;
        if some_full && !may_be_dropped {
            return false;
        }
        let key_hash = self.hasher.hash(0, key_text.as_bytes());
        let stamp = Stamp {
            key_hash,
            generation: snapshot.generation,
            may_drop: some_full,
            timestamp_us: WALL_START_US + self.now,
            waiter: self.next_waiter(),
        };
        let event = EventRef {
            event: WebhookEvent::Set,
            key: key_text.as_bytes(),
            value: EventValue::Bytes(value.as_bytes()),
            ..EventRef::default()
        };
        let mut buffer = Vec::new();
        pack(&event, &stamp, &mut buffer);
        let shard = worker_of(key_hash, self.seats.len());
        self.seats[shard].inbox.push_back(buffer);
        self.take_in_soon(shard);
        true
    }

    /// A worker takes over the newest snapshot and takes in what is in its inbox.
    pub fn take_in(&mut self, shard: usize) {
        if !self.look_at_journal(shard) {
            // It has no room for events now, and will ring.
            return;
        }
        self.take_over(shard, self.view.generation);
        while let Some(packed) = self.seats[shard].inbox.pop_front() {
            self.take_over(shard, packed::generation(&packed));
            let lost = self.note_accepted(shard, &packed);
            if !lost {
                let before = self.coalesced(shard);
                self.with_shard(shard, Why::Other, |shard, now| shard.handle_event(now, &packed));
                if self.store.is_none() {
                    self.note_coalesced(shard, &before, &packed);
                }
            }
        }
        self.look_at_journal(shard);
        if self.dice.chance(100) {
            self.want_checkpoint();
        }
    }

    /// How many deliveries of each webhook have given way on a shard.
    fn coalesced(&self, shard: usize) -> Vec<u64> {
        self.lives.iter().map(|life| life.ledger.counters(shard).coalesced.get()).collect()
    }

    fn note_coalesced(&mut self, shard: usize, before: &[u64], packed: &[u8]) {
        let event = unpack(packed).expect("it was packed here");
        let key = std::str::from_utf8(event.key).ok();
        let key = key.and_then(|key| key.strip_prefix("key:")?.parse().ok()).expect("made here");
        for (webhook, after) in self.coalesced(shard).into_iter().enumerate() {
            for _ in before[webhook]..after {
                self.note(Happening::Coalesced { shard, webhook: webhook as u32, key });
            }
        }
    }

    fn take_over(&mut self, shard: usize, generation: u64) {
        if self.shard(shard).generation() >= generation {
            return;
        }
        let (old, new) = (self.seats[shard].view.clone(), self.view.clone());
        for row in &old.rows {
            if new.rows.iter().all(|other| other.webhook != row.webhook) {
                self.note(Happening::Deleted { shard, webhook: row.webhook });
                self.note_unread(shard, row.webhook);
            }
        }
        for row in &new.rows {
            let known = old.rows.iter().find(|other| other.webhook == row.webhook);
            if known.is_none_or(|known| {
                known.terms != row.terms || known.concurrency != row.concurrency
            }) {
                let terms = Terms { window: self.window_of(shard, row), ..row.terms };
                self.note(Happening::Learned { shard, webhook: row.webhook, terms });
            }
        }
        self.seats[shard].view = new;
        let snapshot = self.registry.published().load_full();
        self.with_shard(shard, Why::Snapshot, |shard, now| {
            shard.handle_snapshot(now.tick, snapshot);
        });
        self.note(Happening::TookOver { shard });
        self.want_checkpoint();
    }

    /// Who must get the event, by the world's own reading. `true`: mischief loses it.
    fn note_accepted(&mut self, shard: usize, packed: &[u8]) -> bool {
        let event = unpack(packed).expect("it was packed here");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let key_text = text(event.key);
        let wanted: Vec<Wanted> = self.seats[shard]
            .view
            .rows
            .iter()
            .filter(|row| {
                let ledger = &self.lives[row.webhook as usize].ledger;
                (row.active || row.keeps)
                    && pattern_wants(&row.pattern, &key_text)
                    && row.since <= event.stamp.generation
                    && (ledger.status() == WebhookStatus::Active || row.keeps)
            })
            .map(|row| {
                let ledger = &self.lives[row.webhook as usize].ledger;
                Wanted { webhook: row.webhook, dropped: event.stamp.may_drop && ledger.is_full() }
            })
            .collect();
        let ferrite::core::packed::PackedValue::Bytes(value) = event.value else {
            unreachable!("all values are text")
        };
        let number = |text: &str, prefix: &str| -> u32 {
            text.strip_prefix(prefix).and_then(|rest| rest.parse().ok()).expect("made here")
        };
        let (event, key) = (number(&text(value), "event-"), number(&key_text, "key:"));
        self.taking_in = event;
        if !wanted.is_empty() {
            self.note(Happening::Accepted { shard, event, key, wanted });
        }
        self.mischief == Mischief::LoseEvents(key)
    }

    pub fn test(&mut self, webhook: u32) {
        let name = &self.lives[webhook as usize].name;
        let Ok(webhook) = self.registry.get(name) else { return };
        let token = self.tests_asked;
        self.tests_asked += 1;
        self.note(Happening::TestAsked { token });
        self.with_shard(0, Why::Test, |shard, now| {
            shard.handle_test(now, webhook.definition, token);
        });
    }

    pub fn trigger_by_chance(&mut self) {
        let burst = if self.plan.faults.bursts && self.dice.chance(50) { 15 } else { 1 };
        for _ in 0..burst {
            let keys = self.plan.keys;
            let hot = self.plan.faults.hot_keys;
            let key = if hot { self.dice.skewed(keys) } else { self.dice.below(keys) };
            let may_be_dropped = self.dice.chance(700);
            self.trigger(key as u32, may_be_dropped);
        }
    }

    pub fn draw_order(&mut self) -> Order {
        let endpoint = self.dice.below(self.plan.endpoints);
        // With full queues the world could not tell what is dropped from what gives way.
        let coalesce = self.plan.coalesces && !self.plan.faults.overload && self.dice.chance(600);
        let (on_full, ordered) = durable::draw_policies(self, coalesce);
        let batch = self.draw_batch();
        let structured = Format::CloudEventsStructured;
        let (other, sequence) = match batch {
            // Headers of one event do not go with a batch.
            Some(_) => (structured, false),
            None => (Format::CloudEventsBinary, self.dice.chance(300)),
        };
        let format = self.dice.pick(&[Format::Ferrite, Format::Ferrite, structured, other]);
        Order {
            endpoint,
            pattern: self.draw_pattern(),
            retry: faults::draw_retry(&mut self.dice),
            timeout_ms: self.dice.pick(&[5, 50, 500, 2000]),
            concurrency: self.dice.pick(&[1, 2, 3, 8, 64]),
            pipeline: if self.plan.pipelined { self.dice.pick(&[1, 2, 4, 16]) } else { 1 },
            on_full,
            coalesce,
            ordered,
            signed: self.dice.chance(300),
            format,
            sequence,
            batch,
            final_status: self.dice.pick(&[None, None, Some(400), Some(500), Some(503)]),
            rate: self.dice.pick(&[0, 0, 0, 50, 500]),
            adaptive: self.dice.chance(300),
            while_disabled: match self.plan.faults.keeps && self.dice.chance(500) {
                true => WhileDisabled::Keep,
                false => WhileDisabled::Drop,
            },
        }
    }

    fn draw_batch(&mut self) -> Option<(u32, u64)> {
        let wanted = self.plan.batched && self.dice.chance(600);
        wanted.then(|| (self.dice.pick(&[1, 2, 3, 10, 50]), self.dice.pick(&[0, 1, 20, 300])))
    }

    fn draw_pattern(&mut self) -> String {
        let key = self.dice.below(self.plan.keys);
        self.dice.pick(&["*", "*", "key:*", "key:1*", "one"]).replace("one", &format!("key:{key}"))
    }

    pub fn operate_by_chance(&mut self) {
        if self.healed {
            return;
        }
        let faults = self.plan.faults;
        let alive: Vec<u32> = self.by_name.values().copied().collect();
        if alive.is_empty() {
            let order = self.draw_order();
            self.create("first-again", order);
            return;
        }
        let webhook = self.dice.pick(&alive);
        match self.dice.below(11) {
            0 if faults.updates => {
                let endpoint = self.dice.below(self.plan.endpoints);
                self.move_to(webhook, endpoint);
            }
            1 if faults.updates => {
                let order = self.draw_order();
                self.update(webhook, |settings| {
                    settings.pattern = order.pattern;
                    settings.concurrency = order.concurrency;
                    settings.retry = order.retry;
                    settings.timeout_ms = order.timeout_ms;
                    settings.pipeline = order.pipeline;
                    set_batch(settings, order.batch);
                    settings.coalesce = order.coalesce && settings.ordered;
                    settings.format = order.format;
                    settings.sequence = order.sequence;
                    settings.final_statuses = order.final_status.into_iter().collect();
                    settings.rate = order.rate;
                    settings.adaptive = order.adaptive;
                    settings.while_disabled = order.while_disabled;
                });
            }
            2 if faults.deletes => {
                let name = self.lives[webhook as usize].name.clone();
                self.delete(webhook);
                if self.dice.chance(700) {
                    let order = self.draw_order();
                    self.create(&name, order);
                }
            }
            3 if faults.disables => self.set_status(webhook, WebhookStatus::Disabled),
            4 if faults.disables || faults.gone => {
                self.set_status(webhook, WebhookStatus::Active);
            }
            5 if faults.tests => self.test(webhook),
            6 if faults.updates => {
                let grace_seconds = self.dice.pick(&[0, 1, 2, 5]);
                self.rotate(webhook, grace_seconds);
            }
            7..=10 if faults.replays => self.replay_by_chance(webhook),
            _ => {}
        }
    }
}
