//! The world's side of a journal, and the lives of an engine that keeps one: it ends at any moment
//! and starts again with what the journal has written, with other workers and another hash.

use super::endpoints::Script;
use super::history::{FetchedOne, Happening, LeftOver, Note};
use super::journal::{Left, SharedStore, SimJournal, Store, Told, Trick, Want};
use super::operations::View;
use super::world::{BOOT, Seat, Todo, Why, World, id_number, registry_for, shard_config};
use ferrite::base::hash::KeyHasher;
use ferrite::base::limits;
use ferrite::core::dead_letters::KeptPlace;
use ferrite::core::ledger::WebhookStatus;
use ferrite::core::shard::{Shard, Shared};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

/// What may be the matter for a while, mostly with the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// It takes nothing.
    Refuses,
    /// The bound of the disk is near.
    Full,
    /// The disk fails.
    Fails,
    /// An endpoint is down.
    Down { endpoint: usize },
}

/// The place of a webhook among all that ever were.
fn webhook_of(number: u64) -> u32 {
    (number - 1) as u32
}

fn left_over(left: &Left) -> LeftOver {
    LeftOver {
        webhook: webhook_of(left.webhook),
        id: id_number(left.id),
        attempts: left.attempts,
        dead: left.dead,
    }
}

impl World {
    /// From the beginning on, the shards keep a journal.
    pub fn keep_journal(&mut self) {
        let store = SharedStore::default();
        store.lock().expect("one thread").start(self.plan.shards, self.boot);
        for (worker, seat) in self.seats.iter_mut().enumerate() {
            let journal = SimJournal::new(worker, store.clone());
            let shard = seat.shard.as_mut().expect("only gone while it is rebuilt");
            shard.keep_journal(Box::new(journal));
        }
        self.store = Some(store);
    }

    pub fn store(&self) -> MutexGuard<'_, Store> {
        self.store.as_ref().expect("there is a journal").lock().expect("one thread")
    }

    pub fn trick(&mut self, trick: Trick) {
        self.store().trick = trick;
    }

    pub fn tell_time(&mut self) {
        if self.store.is_some() {
            let now = self.now;
            self.store().now = now;
        }
    }

    /// Somebody waits for the event that is being triggered, by chance.
    pub fn next_waiter(&mut self) -> u32 {
        let Some(plan) = self.plan.journal.filter(|_| self.store.is_some()) else { return 0 };
        if !self.dice.chance(plan.waiters) {
            return 0;
        }
        let waiter = self.waiters.len() as u32 + 1;
        self.waiters.insert(waiter, self.events - 1);
        waiter
    }

    /// Moves what the journal was told into the history, and has its work done some time later.
    pub fn note_journal(&mut self) {
        if self.store.is_none() {
            return;
        }
        let (told, wants) = {
            let mut store = self.store();
            (std::mem::take(&mut store.told), std::mem::take(&mut store.wants))
        };
        for (shard, told) in told {
            let note = self.note_of(told);
            self.note(Happening::Journal { shard, note });
        }
        let plan = self.plan.journal.unwrap_or_default();
        for want in wants {
            match want {
                Want::Write { worker } => {
                    let wait_us = self.dice.latency_us(1, plan.write_us);
                    self.later(wait_us, Todo::JournalWrite { worker });
                }
                Want::Read => {
                    let wait_us = self.dice.latency_us(1, plan.fetch_us);
                    self.later(wait_us, Todo::JournalRead);
                }
            }
        }
    }

    fn note_of(&self, told: Told) -> Note {
        let numbers =
            |webhooks: &[u64]| webhooks.iter().map(|&number| webhook_of(number)).collect();
        match told {
            Told::Event { id, key, targets, spilled } => {
                let key = std::str::from_utf8(&key).ok();
                let key = key.and_then(|key| key.strip_prefix("key:")?.parse().ok());
                Note::Event {
                    event: self.taking_in,
                    key: key.expect("made here"),
                    id: id_number(id),
                    webhooks: numbers(&targets),
                    spilled: numbers(&spilled),
                }
            }
            Told::Finished(mark) => Note::Finished {
                webhook: webhook_of(mark.webhook),
                id: id_number(mark.id),
                finish: mark.value,
            },
            Told::Attempts(mark) => Note::Attempts {
                webhook: webhook_of(mark.webhook),
                id: id_number(mark.id),
                attempts: mark.value,
            },
            Told::Dead(mark) => {
                Note::Dead { webhook: webhook_of(mark.webhook), id: id_number(mark.id) }
            }
            Told::Lost { webhook, ids } => Note::Lost {
                webhook: webhook_of(webhook),
                ids: ids.into_iter().map(id_number).collect(),
            },
            Told::Refused { ids } => {
                Note::Refused { ids: ids.into_iter().map(id_number).collect() }
            }
            Told::Answered { waiter, kept } => {
                Note::Answered { event: self.waiters[&waiter], kept }
            }
        }
    }

    /// As a worker does before it takes in events, and after. `false`: it must not.
    pub fn look_at_journal(&mut self, shard: usize) -> bool {
        self.store.is_none()
            || self.with_shard(shard, Why::Other, |shard, now| shard.handle_journal(now))
    }

    pub fn journal_writes(&mut self, worker: usize) {
        self.store().write(worker);
        self.note_journal();
        // It rings the worker's doorbell.
        self.take_in_soon(worker);
    }

    pub fn journal_reads(&mut self) {
        let plan = self.plan.journal.unwrap_or_default();
        let most = match plan.partial && !self.healed && self.dice.chance(300) {
            true => self.dice.pick(&[0, 1, 2, 5]),
            false => usize::MAX,
        };
        let hasher = self.hasher.clone();
        let answer = self.store().read(&hasher, most);
        if let Some((shard, fetched)) = answer {
            self.seats[shard].fetched.push_back(fetched);
            let wait_us = self.dice.latency_us(1, plan.fetch_us);
            self.later(wait_us, Todo::Fetched { shard });
        }
    }

    pub fn take_up_fetched(&mut self, shard: usize) {
        let Some(mut fetched) = self.seats[shard].fetched.pop_front() else { return };
        let boot = self.boot;
        let deliveries = fetched.deliveries.iter().map(|stored| FetchedOne {
            id: id_number(stored.id),
            attempts: stored.target.attempts,
            dead: stored.target.death.is_some(),
            earlier: stored.id.boot != boot,
        });
        let (webhook, end) = (webhook_of(fetched.webhook), fetched.end);
        let note = Note::Fetched { webhook, deliveries: deliveries.collect(), end };
        // It belongs to the call that follows.
        self.call += 1;
        self.note(Happening::Journal { shard, note });
        self.call -= 1;
        self.store().brought(shard, fetched.webhook);
        self.with_shard(shard, Why::Other, |shard, now| shard.handle_fetched(now, &mut fetched));
        if !fetched.deliveries.is_empty() {
            self.broken(format!("{shard} has not taken up {fetched:?}"));
        }
        self.take_in(shard);
        self.want_checkpoint();
    }

    pub fn change_mood(&mut self, mood: Mood, begins: bool) {
        if self.healed && begins {
            return;
        }
        let now = self.now;
        if let Mood::Down { endpoint } = mood {
            self.endpoints[endpoint].forever = begins.then_some(Script::Reset);
            return;
        }
        {
            let mut store = self.store();
            match mood {
                Mood::Refuses => {
                    store.refuses = begins;
                    store.refused_at = now;
                }
                Mood::Full => store.is_full = begins,
                Mood::Fails => store.fails = begins,
                Mood::Down { .. } => {}
            }
        }
        for shard in 0..self.seats.len() {
            self.take_in_soon(shard);
        }
    }

    /// The disk is well again.
    pub fn calm_journal(&mut self) {
        if self.store.is_some() {
            [Mood::Refuses, Mood::Full, Mood::Fails]
                .into_iter()
                .for_each(|mood| self.change_mood(mood, false));
        }
    }

    /// Workers hear of dead letters that were cleared, each of its own.
    pub fn tell_cleared(&mut self, webhook: u32, places: &[KeptPlace]) {
        if self.store.is_none() {
            return;
        }
        for shard in 0..self.seats.len() {
            let own: Vec<KeptPlace> =
                places.iter().filter(|place| place.worker == shard).copied().collect();
            if !own.is_empty() {
                let number = u64::from(webhook) + 1;
                let wait_us = self.dice.pick(&[0, 1, 20, 500]);
                self.later(wait_us, Todo::LettersCleared { shard, number, places: own });
            }
        }
    }

    pub fn letters_cleared(&mut self, shard: usize, number: u64, places: &[KeptPlace]) {
        self.with_shard(shard, Why::Other, |shard, _| shard.handle_letters_cleared(number, places));
        self.take_in(shard);
    }

    /// At a moment of rest: what is to be written is handed over in time, and no more is in memory
    /// than may be (DUR-3).
    pub fn check_journal(&mut self) {
        if self.store.is_none() {
            return;
        }
        let refuses = self.store().refuses;
        let mut wrong = Vec::new();
        for shard in 0..self.seats.len() {
            let now = self.now;
            self.store().now = now;
            let waits_us = self.store().waits_us(shard);
            if !refuses && waits_us > limits::LOG_FLUSH_MS * 1000 + self.plan.late_us {
                wrong.push(format!("{shard} has not handed over since {waits_us} us"));
            }
        }
        wrong.into_iter().for_each(|message| self.broken(message));
    }

    /// Deliveries that are nowhere but in the journal, or are not written yet: those that no shard
    /// counts.
    pub fn pending_in_journal(&self) -> usize {
        if self.store.is_none() {
            return 0;
        }
        let store = self.store();
        let orphans = store.left().into_iter().filter(|left| {
            let life = &self.lives[webhook_of(left.webhook) as usize];
            // Its dead letters are cancelled in the meantime; the rule "left" looks.
            life.deleted && !left.dead
        });
        let unread = self.shared.unread.load(Ordering::Relaxed) as usize;
        orphans.count() + unread + usize::from(!store.is_quiet())
    }

    /// Where deliveries are that are still pending.
    pub fn where_pending(&mut self) -> String {
        let shards: Vec<(usize, usize)> = (0..self.seats.len())
            .map(|shard| (self.shard(shard).pending(), self.seats[shard].inbox.len()))
            .collect();
        let journal = self.pending_in_journal();
        let unread = self.shared.unread.load(Ordering::Relaxed);
        format!(
            "(deliveries, events) of each shard {shards:?}, {journal} of no shard, {unread} unread"
        )
    }

    /// What the journal has in the end.
    pub fn note_journal_end(&mut self) {
        if self.store.is_none() {
            return;
        }
        let left = self.store().left().iter().map(left_over).collect();
        let mut letters = Vec::new();
        for &webhook in self.by_name.values() {
            let dead = self.lives[webhook as usize].ledger.dead();
            letters.extend(dead.letters().map(|letter| (webhook, id_number(letter.kept.id))));
        }
        let unread = self.shared.unread.load(Ordering::Relaxed);
        self.note(Happening::JournalEnd { left, letters, unread });
    }

    /// All that is not written is gone, or, in good order, is written first. The engine starts
    /// again with another number of workers and another hash of the keys.
    pub fn crash(&mut self, orderly: bool) {
        if self.healed {
            return;
        }
        let shards = self.dice.pick(&[1, 2, 3]);
        self.restart_with(shards, orderly);
    }

    pub fn restart_with(&mut self, shards: usize, orderly: bool) {
        self.rest_if_wanted();
        self.call += 1;
        (0..self.seats.len()).for_each(|shard| self.lose_links(shard));
        if orderly {
            self.store().write_all();
            self.note_journal();
        }
        let left: Vec<LeftOver> = self.store().left().iter().map(left_over).collect();
        self.note(Happening::Crashed { left, orderly });
        self.forget_what_was_to_do();
        let stopped: Vec<u32> = self
            .by_name
            .values()
            .copied()
            .filter(|&webhook| {
                self.lives[webhook as usize].ledger.status() != WebhookStatus::Active
            })
            .collect();
        self.plan.shards = shards;
        self.boot += 1;
        self.hasher = KeyHasher::new(self.dice.number());
        self.store().start(shards, self.boot);
        self.registry = registry_for(&self.plan);
        self.shared = Arc::new(Shared::new(shards));
        self.seats.clear();
        self.call += 1;
        self.note(Happening::Restarted { shards, life: self.boot - BOOT });
        self.view = Rc::new(View::default());
        self.restore_webhooks();
        stopped.into_iter().for_each(|webhook| {
            self.set_status(webhook, WebhookStatus::Disabled);
        });
        self.count_unread();
        for worker in 0..shards {
            let config = shard_config(&self.plan, worker, self.boot, self.dice.number());
            let snapshot = self.registry.published().load_full();
            let mut shard = Shard::new(config, self.shared.clone(), snapshot);
            let store = self.store.clone().expect("there is a journal");
            shard.keep_journal(Box::new(SimJournal::new(worker, store)));
            let seat = Seat::of(shard, &self.view);
            self.seats.push(seat);
        }
        for shard in 0..shards {
            self.note_learned(shard);
        }
        for shard in 0..shards {
            self.with_shard(shard, Why::Other, |_, _| ());
            self.take_in_soon(shard);
        }
        self.want_checkpoint();
    }

    fn count_unread(&mut self) {
        let left = self.store().left();
        for &webhook in self.by_name.values() {
            let own = left.iter().filter(|left| webhook_of(left.webhook) == webhook).count() as u64;
            self.lives[webhook as usize].ledger.set_unread(own);
            self.shared.unread.fetch_add(own, Ordering::Relaxed);
        }
    }

    /// What nobody has taken up of a webhook goes with it, when the first worker hears of its end.
    pub fn note_unread(&mut self, shard: usize, webhook: u32) {
        if self.store.is_none() {
            return;
        }
        let ledger = &self.lives[webhook as usize].ledger;
        let shards = 0..self.seats.len();
        let read: u64 = shards.map(|shard| ledger.counters(shard).pending.get()).sum();
        let deliveries = ledger.tally().pending - read;
        if deliveries > 0 {
            self.note(Happening::Journal { shard, note: Note::Unread { webhook, deliveries } });
        }
    }

    fn forget_what_was_to_do(&mut self) {
        self.queue.retain(|_, todo| {
            matches!(
                todo,
                Todo::Operation
                    | Todo::Trigger
                    | Todo::Spurious
                    | Todo::Breakdown { shard: 0 }
                    | Todo::Heal
                    | Todo::Mood { begins: true, .. }
                    | Todo::Mood { mood: Mood::Down { .. }, .. }
                    | Todo::Crash { .. }
            )
        });
        self.replays.iter_mut().for_each(|replay| *replay = None);
        self.taken.lock().expect("one thread").clear();
    }
}
