//! Dead letters that are sent again, and events that wait while their webhook is disabled.

use super::history::{Happening, RequestName};
use super::world::{Mischief, Todo, Why, World};
use ferrite::core::ledger::{Ledger, WebhookStatus};
use ferrite::core::replay::{EventKeeper, KeptEvent, Place, Replay, Selection, Which, divide};
use std::sync::{Arc, Mutex};

/// What shards have taken from keepers: which webhook's, and what.
pub type Taken = Arc<Mutex<Vec<(u32, KeptEvent)>>>;

/// A webhook's dead letters, and a note of each that is taken.
#[derive(Debug)]
struct Watched {
    webhook: u32,
    ledger: Arc<Ledger>,
    taken: Taken,
    mischief: Mischief,
}

impl EventKeeper for Watched {
    fn select(&self, selection: &Selection) -> Vec<Place> {
        self.ledger.select(selection)
    }

    fn take(&self, number: u64) -> Option<KeptEvent> {
        let mut event = self.ledger.take(number)?;
        self.taken.lock().expect("one thread").push((self.webhook, event.clone()));
        if self.mischief == Mischief::OtherBytes {
            let text = String::from_utf8(event.body).expect("a body is text");
            event.body = text.replace("\"timestamp\":\"2", "\"timestamp\":\"3").into_bytes();
        }
        Some(event)
    }

    fn release(&self, number: u64) {
        self.ledger.release(number);
    }
}

impl World {
    /// What `WEBHOOK.REPLAY` does; gives the number of events that are to be sent again.
    pub fn replay(&mut self, webhook: u32, which: Which, per_second: u32) -> usize {
        let life = &self.lives[webhook as usize];
        if life.deleted || life.ledger.status() != WebhookStatus::Active {
            return 0;
        }
        let id = self.registry.get(&life.name).expect("it is there").definition.id;
        let keeper: Arc<dyn EventKeeper> = Arc::new(Watched {
            webhook,
            ledger: life.ledger.clone(),
            taken: self.taken.clone(),
            mischief: self.mischief,
        });
        let places = keeper.select(&Selection { which, pattern: None });
        for (shard, part) in divide(id, &keeper, &places, self.seats.len(), per_second) {
            self.replays.push(Some((shard, part)));
            let wait_us = self.dice.pick(&[0, 1, 20, 500]);
            self.later(wait_us, Todo::Replay { number: self.replays.len() - 1 });
        }
        places.len()
    }

    /// A replay reaches its worker.
    pub fn begin_replay(&mut self, number: usize) {
        let Some((shard, replay)): Option<(usize, Replay)> = self.replays[number].take() else {
            return;
        };
        self.with_shard(shard, Why::Other, |shard, now| shard.handle_replay(now.tick, replay));
    }

    /// What `WEBHOOK.DEAD name CLEAR` does.
    pub fn clear_dead(&mut self, webhook: u32) {
        self.note(Happening::Cleared { webhook });
        self.lives[webhook as usize].ledger.dead().clear();
    }

    /// Moves what a shard has taken up into the history.
    pub fn note_replayed(&mut self, shard: usize) {
        let taken = std::mem::take(&mut *self.taken.lock().expect("one thread"));
        for (webhook, event) in taken {
            let body: serde_json::Value =
                serde_json::from_slice(&event.body).expect("a body is JSON");
            let number = |text: Option<&str>, prefix: &str| -> u32 {
                text.and_then(|text| text.strip_prefix(prefix)?.parse().ok()).expect("made here")
            };
            let name = RequestName { webhook, id: event.id.sequence };
            let key = number(body["key"].as_str(), "key:");
            let event = number(body["data"]["value"].as_str(), "event-");
            self.note(Happening::Replayed { shard, name, event, key });
        }
    }

    pub fn replay_by_chance(&mut self, webhook: u32) {
        if self.dice.chance(150) {
            return self.clear_dead(webhook);
        }
        let per_second = self.dice.pick(&[20, 200, 100_000]);
        let first = self.lives[webhook as usize].ledger.dead().letters().next().cloned();
        let which = match first {
            Some(letter) if self.dice.chance(200) => Which::Id(letter.kept.id),
            Some(letter) if self.dice.chance(300) => {
                let until_us = letter.at_us + self.dice.between(0, 1_000_000);
                Which::Between { since_us: letter.at_us, until_us }
            }
            _ => Which::Dead,
        };
        self.replay(webhook, which, per_second);
    }
}

mod scenarios {
    use super::super::endpoints::Script;
    use super::super::faults::Plan;
    use super::super::history::Happening;
    use super::super::operations::Order;
    use super::super::run;
    use super::super::scenarios::{finish, order, retry, sents, tally, world};
    use super::super::world::World;
    use ferrite::core::dead_letters::{DeadLimits, DeadTally};
    use ferrite::core::ledger::{DeliveryOutcome, WebhookStatus};
    use ferrite::core::replay::Which;
    use ferrite::core::while_disabled::WhileDisabled;
    use std::collections::BTreeSet;

    const FAILS: Script = Script::Status(500, 1000);
    const WORKS: Script = Script::Status(200, 1000);

    /// A world of one webhook that does not retry, with `dead` dead letters on different keys.
    fn with_dead(plan: Plan, dead: u32) -> World {
        let mut world = world(plan);
        world.create("hook", Order { retry: retry(0, 0), ..order(0) });
        world.run_for(10_000);
        world.endpoints[0].forever = Some(FAILS);
        assert!((0..dead).all(|key| world.trigger(key, false)));
        world.run_for(100_000);
        world.endpoints[0].forever = Some(WORKS);
        world
    }

    /// The seeds do replay, and what they replay is delivered: else the rules would show nothing.
    #[test]
    fn chance_replays_too() {
        let (mut replayed, mut delivered) = (0, 0);
        for seed in 0..300 {
            let mut taken_up = BTreeSet::new();
            for entry in run::history_of(seed).entries {
                match entry.what {
                    Happening::Replayed { name, .. } => {
                        replayed += 1;
                        taken_up.insert(name);
                    }
                    Happening::Attempt(attempt) if attempt.outcome == DeliveryOutcome::Ok => {
                        delivered += usize::from(taken_up.remove(&attempt.name));
                    }
                    _ => {}
                }
            }
        }
        assert!(replayed >= 100 && delivered >= 50, "{replayed} replayed, {delivered} delivered");
    }

    fn events_sent(world: &World) -> Vec<Option<u32>> {
        sents(world).iter().map(|(_, sent)| sent.event).collect()
    }

    fn kept(world: &World) -> DeadTally {
        world.lives[0].ledger.dead().tally()
    }

    /// DEL-3, DEL-1: the same id and bytes, counted once more.
    #[test]
    fn a_dead_letter_is_sent_again() {
        let mut world = with_dead(Plan::quiet(), 1);
        assert_eq!((tally(&world, 0).dead, kept(&world).kept), (1, 1));
        assert_eq!(world.replay(0, Which::Dead, 100), 1);
        finish(&mut world);
        let sents = sents(&world);
        assert_eq!(sents[0].1.name, sents[1].1.name);
        assert_eq!((sents[0].1.body, sents[1].1.attempt), (sents[1].1.body, 1));
        let tally = tally(&world, 0);
        assert_eq!((tally.triggered, tally.replayed, tally.dead, tally.delivered), (1, 1, 1, 1));
        assert_eq!((kept(&world).kept, world.replay(0, Which::Dead, 100)), (0, 0));
    }

    /// One that dies again is a dead letter again, and has all its attempts again.
    #[test]
    fn a_replay_can_fail() {
        let mut world = with_dead(Plan::quiet(), 1);
        world.update(0, |settings| settings.retry = retry(2, 10));
        world.endpoints[0].script.extend([FAILS; 3]);
        for dead in [2, 2] {
            world.replay(0, Which::Dead, 100);
            world.run_for(100_000);
            assert_eq!(tally(&world, 0).dead, dead);
        }
        finish(&mut world);
        let attempts: Vec<u32> = sents(&world).iter().map(|(_, sent)| sent.attempt).collect();
        assert_eq!(attempts, [1, 1, 2, 3, 1]);
        assert_eq!((tally(&world, 0).replayed, tally(&world, 0).delivered), (2, 1));
    }

    /// ORD-1: what is replayed stands behind what is pending for its key, also after a breakdown,
    /// and in front of what comes later.
    #[test]
    fn a_replayed_event_joins_the_end_of_its_lane() {
        for breaks_down in [false, true] {
            let mut world = with_dead(Plan::quiet(), 1);
            world.update(0, |settings| settings.retry = retry(1, 200));
            world.endpoints[0].script.push_back(FAILS);
            world.trigger(0, false);
            world.trigger(0, false);
            world.run_for(20_000);
            world.replay(0, Which::Dead, 100);
            world.run_for(20_000);
            world.trigger(0, false);
            world.run_for(20_000);
            if breaks_down {
                world.break_down(0);
            }
            finish(&mut world);
            let events = [0, 1, 1, 2, 0, 3].map(Some);
            assert_eq!(events_sent(&world), events, "breaks down: {breaks_down}");
        }
    }

    /// A replay keeps its rate, over all shards together.
    #[test]
    fn a_replay_keeps_its_rate() {
        for shards in [1, 3] {
            let mut world = with_dead(Plan { shards, ..Plan::quiet() }, 50);
            world.replay(0, Which::Dead, 100);
            world.run_for(250_000);
            let sent = world.history.sents().count() - 50;
            // Each shard begins at once.
            assert!((22..=26 + shards).contains(&sent), "{sent} of {shards} shards");
            world.run_for(251_000);
            assert_eq!(tally(&world, 0).delivered, 50);
            finish(&mut world);
        }
    }

    /// A replay ends when its webhook is stopped; what it has not sent stays a dead letter.
    #[test]
    fn a_replay_ends_when_its_webhook_is_stopped() {
        for gone in [false, true] {
            let mut world = with_dead(Plan::quiet(), 10);
            world.replay(0, Which::Dead, 100);
            world.run_for(45_000);
            let before = tally(&world, 0).replayed;
            assert!((4..=6).contains(&before));
            match gone {
                true => world.endpoints[0].script.push_back(Script::Status(410, 1000)),
                false => world.set_status(0, WebhookStatus::Disabled),
            }
            world.run_for(1_000_000);
            let sent = tally(&world, 0).replayed;
            assert_eq!(sent, before + u64::from(gone), "one meets the 410");
            assert_eq!(kept(&world).kept, 10 - sent);
            assert_eq!(world.replay(0, Which::Dead, 100), 0, "it is stopped");
            world.set_status(0, WebhookStatus::Active);
            assert_eq!(world.replay(0, Which::Dead, 100) as u64, 10 - sent);
            finish(&mut world);
            assert_eq!(tally(&world, 0).delivered, 10);
        }
    }

    /// A breakdown does not end a replay.
    #[test]
    fn a_breakdown_ends_no_replay() {
        let mut world = with_dead(Plan::quiet(), 10);
        world.replay(0, Which::Dead, 100);
        world.run_for(45_000);
        world.break_down(0);
        finish(&mut world);
        assert_eq!((tally(&world, 0).delivered, kept(&world).kept), (10, 0));
    }

    /// A replay does not push into a full queue, and goes on when there is room.
    #[test]
    fn a_replay_waits_while_the_queue_is_full() {
        let mut world = with_dead(Plan { pending_max: 3, ..Plan::quiet() }, 3);
        world.endpoints[0].forever = Some(Script::Hang);
        world.update(0, |settings| settings.timeout_ms = 60_000);
        world.run_for(10_000);
        assert!((10..13).all(|key| world.trigger(key, false)));
        world.run_for(10_000);
        assert_eq!(world.replay(0, Which::Dead, 100_000), 3);
        world.run_for(1_000_000);
        assert_eq!((tally(&world, 0).replayed, kept(&world).kept), (0, 3));
        world.endpoints[0].forever = Some(WORKS);
        world.run_for(60_000_000);
        finish(&mut world);
        assert_eq!((tally(&world, 0).replayed, tally(&world, 0).delivered), (3, 3));
    }

    /// The bound of dead letters: the oldest is forgotten and counted.
    #[test]
    fn dead_letters_are_bounded() {
        let dead = DeadLimits { letters_max: 3, ..DeadLimits::default() };
        let mut world = with_dead(Plan { dead, ..Plan::quiet() }, 5);
        assert_eq!(kept(&world), DeadTally { kept: 3, forgotten: 2, cleared: 0 });
        world.replay(0, Which::Dead, 100);
        finish(&mut world);
        assert_eq!((tally(&world, 0).dead, tally(&world, 0).delivered), (5, 3));
    }

    fn disabled(while_disabled: WhileDisabled) -> World {
        let mut world = world(Plan { pending_max: 4, ..Plan::quiet() });
        world.create("hook", Order { while_disabled, ..order(0) });
        world.endpoints[0].forever = Some(WORKS);
        world.run_for(10_000);
        world.set_status(0, WebhookStatus::Disabled);
        world.run_for(10_000);
        for _ in 0..6 {
            world.trigger(1, true);
            world.run_for(10_000);
        }
        assert_eq!(world.history.sents().count(), 0);
        world
    }

    /// `WHILE_DISABLED drop`: what comes meanwhile is not for it.
    #[test]
    fn a_disabled_webhook_gets_nothing() {
        let mut world = disabled(WhileDisabled::Drop);
        assert_eq!(tally(&world, 0).triggered, 0);
        world.set_status(0, WebhookStatus::Active);
        finish(&mut world);
        assert_eq!(world.history.sents().count(), 0);
    }

    /// `WHILE_DISABLED keep`: it waits up to the bound, and goes out in order.
    #[test]
    fn a_disabled_webhook_can_keep_its_events() {
        let mut world = disabled(WhileDisabled::Keep);
        let tally_then = tally(&world, 0);
        assert_eq!((tally_then.triggered, tally_then.pending, tally_then.dropped), (6, 4, 2));
        world.set_status(0, WebhookStatus::Active);
        finish(&mut world);
        assert_eq!(events_sent(&world), [0, 1, 2, 3].map(Some));
        assert_eq!(tally(&world, 0).delivered, 4);
    }

    /// The same after a 410: what comes meanwhile waits behind the event that met it.
    #[test]
    fn a_gone_webhook_can_keep_its_events() {
        let mut world = world(Plan::quiet());
        world.create("hook", Order { while_disabled: WhileDisabled::Keep, ..order(0) });
        world.endpoints[0].script.push_back(Script::Status(410, 1000));
        world.endpoints[0].forever = Some(WORKS);
        for _ in 0..3 {
            world.trigger(1, false);
            world.run_for(50_000);
        }
        assert_eq!((tally(&world, 0).pending, world.history.sents().count()), (3, 1));
        world.set_status(0, WebhookStatus::Active);
        finish(&mut world);
        assert_eq!(events_sent(&world), [0, 0, 1, 2].map(Some));
    }
}
