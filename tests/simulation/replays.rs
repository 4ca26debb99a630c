//! Dead letters that are sent again, and events that wait while their webhook is disabled.

use super::history::{Happening, RequestName};
use super::world::{Mischief, Todo, Why, World, id_number};
use ferrite::core::ledger::{Ledger, WebhookStatus};
use ferrite::core::replay::{EventKeeper, KeptEvent, Place, Replay, Selection, Which, divide};
use std::sync::{Arc, Mutex};

/// What shards have taken from keepers.
pub type Taken = Arc<Mutex<Vec<TakenEvent>>>;

#[derive(Debug)]
pub struct TakenEvent {
    webhook: u32,
    event: KeptEvent,
    /// How many of the webhook's deliveries had given way before.
    coalesced: u64,
}

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
        self.taken.lock().expect("one thread").push(TakenEvent {
            webhook: self.webhook,
            event: event.clone(),
            coalesced: self.ledger.tally().coalesced,
        });
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
        let places = self.lives[webhook as usize].ledger.dead().clear();
        self.tell_cleared(webhook, &places);
    }

    /// Moves what a shard has taken up into the history.
    pub fn note_replayed(&mut self, shard: usize) {
        let taken = std::mem::take(&mut *self.taken.lock().expect("one thread"));
        for (place, TakenEvent { webhook, event, coalesced }) in taken.iter().enumerate() {
            let webhook = *webhook;
            let later = taken[place + 1..].iter().find(|later| later.webhook == webhook);
            let coalesced_then = match later {
                Some(later) => later.coalesced,
                None => self.lives[webhook as usize].ledger.tally().coalesced,
            };
            let body: serde_json::Value =
                serde_json::from_slice(&event.body).expect("a body is JSON");
            // A CloudEvent in structured mode has the payload in it.
            let body = if body["specversion"].is_string() { &body["data"] } else { &body };
            let number = |text: Option<&str>, prefix: &str| -> u32 {
                text.and_then(|text| text.strip_prefix(prefix)?.parse().ok()).expect("made here")
            };
            let name = RequestName { webhook, id: id_number(event.id) };
            let key = number(body["key"].as_str(), "key:");
            let event = number(body["data"]["value"].as_str(), "event-");
            self.note(Happening::Replayed { shard, name, event, key });
            // With a journal, its acks say so.
            let coalesced_then = if self.store.is_some() { *coalesced } else { coalesced_then };
            for _ in *coalesced..coalesced_then {
                self.note(Happening::Coalesced { shard, webhook, key });
            }
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
                let until_us = letter.death.at_us + self.dice.between(0, 1_000_000);
                Which::Between { since_us: letter.death.at_us, until_us }
            }
            _ => Which::Dead,
        };
        self.replay(webhook, which, per_second);
    }
}

mod scenarios {
    use super::super::endpoints::Script;
    use super::super::faults::Plan;
    use super::super::history::{CarriedEvent, Happening};
    use super::super::operations::Order;
    use super::super::run;
    use super::super::scenarios::{finish, order, retry, sents, tally, world};
    use super::super::world::World;
    use ferrite::core::dead_letters::{DeadLimits, DeadTally};
    use ferrite::core::ledger::{DeliveryOutcome, WebhookStatus};
    use ferrite::core::on_full::OnFull;
    use ferrite::core::replay::Which;
    use ferrite::core::while_disabled::WhileDisabled;
    use std::collections::{BTreeMap, BTreeSet};

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

    /// The seeds do replay, in batches and beside newer events as well, and what they replay is
    /// delivered: else the rules would show nothing.
    #[test]
    fn chance_replays_too() {
        let (mut replayed, mut delivered, mut in_batches, mut gave_way) = (0, 0, 0, 0);
        for seed in 0..600 {
            let mut taken_up = BTreeSet::new();
            let mut sents = BTreeMap::new();
            let mut latest = None;
            for entry in run::history_of(seed).entries {
                match entry.what {
                    Happening::Replayed { name, .. } => {
                        replayed += 1;
                        taken_up.insert((name.webhook, name.id));
                        latest = Some(entry.call);
                    }
                    Happening::Coalesced { .. } => {
                        gave_way += usize::from(latest == Some(entry.call));
                    }
                    Happening::Sent(sent) => drop(sents.insert(sent.name, sent)),
                    Happening::Attempt(attempt) if attempt.outcome == DeliveryOutcome::Ok => {
                        let Some(sent) = sents.get(&attempt.name) else { continue };
                        for carried in &sent.carried {
                            let was = taken_up.remove(&(attempt.name.webhook, carried.id));
                            delivered += usize::from(was);
                            in_batches += usize::from(was && sent.is_batch);
                        }
                    }
                    _ => {}
                }
            }
        }
        let seen = [replayed, delivered, in_batches, gave_way];
        let least = [200, 100, 20, 2];
        assert!(seen.iter().zip(least).all(|(&seen, least)| seen >= least), "{seen:?}");
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

    fn carried(world: &World) -> Vec<Vec<u32>> {
        let events = |carried: &[CarriedEvent]| carried.iter().map(|one| one.event).collect();
        sents(world).iter().map(|(_, sent)| events(&sent.carried)).collect()
    }

    /// Each event of a batch that is given up is a dead letter of its own, and is sent again as the
    /// webhook wants it then: in a batch, or alone.
    #[test]
    fn a_batch_leaves_a_dead_letter_for_each_of_its_events() {
        for batch_then in [true, false] {
            let mut world = world(Plan { wake_us: Some(0), ..Plan::quiet() });
            let batch = Some((3, 20));
            world.create("hook", Order { batch, retry: retry(0, 0), ..order(0) });
            world.run_for(10_000);
            world.endpoints[0].script.push_back(FAILS);
            world.endpoints[0].forever = Some(WORKS);
            assert!([1, 2, 1].into_iter().all(|key| world.trigger(key, false)));
            world.run_for(50_000);
            assert_eq!((tally(&world, 0).dead, kept(&world).kept), (3, 3));
            world.update(0, |settings| settings.batch = batch_then);
            world.run_for(10_000);
            assert_eq!(world.replay(0, Which::Dead, 100_000), 3);
            finish(&mut world);
            let mut again = carried(&world).split_off(1);
            match batch_then {
                true => assert_eq!(again.len(), 1, "{again:?}"),
                false => assert!(again.iter().all(|events| events.len() == 1), "{again:?}"),
            }
            let mut again: Vec<u32> = again.drain(..).flatten().collect();
            let of_key_1: Vec<u32> = again.iter().copied().filter(|&event| event != 1).collect();
            assert_eq!(of_key_1, [0, 2], "in their order");
            again.sort_unstable();
            assert_eq!(again, [0, 1, 2]);
            let tally = tally(&world, 0);
            assert_eq!((tally.replayed, tally.delivered, tally.dead), (3, 3, 3));
        }
    }

    /// `COALESCE latest`: a replayed event never goes out after a newer one of its key that is
    /// pending, and never takes its place: it gives way, and is counted.
    #[test]
    fn a_replayed_event_gives_way_to_a_newer_one() {
        for is_under_way in [false, true] {
            let mut world = with_dead(Plan::quiet(), 1);
            world.update(0, |settings| {
                (settings.coalesce, settings.retry) = (true, retry(3, 100));
            });
            world.run_for(10_000);
            world.endpoints[0].script.push_back(match is_under_way {
                true => Script::Status(200, 60_000),
                false => FAILS,
            });
            world.trigger(0, false);
            world.run_for(20_000);
            assert_eq!(world.replay(0, Which::Dead, 100), 1);
            finish(&mut world);
            let last = events_sent(&world).pop();
            assert_eq!(last, Some(Some(1)), "under way: {is_under_way}");
            let tally = tally(&world, 0);
            assert_eq!((tally.triggered, tally.replayed, tally.dead), (2, 1, 1));
            assert_eq!((tally.coalesced, tally.delivered, kept(&world).kept), (1, 1, 0));
        }
    }

    /// Of two dead letters of one key, the newer one takes the place of the older one, and a new
    /// event that of both.
    #[test]
    fn newer_events_take_the_place_of_replayed_ones() {
        let mut world = with_dead(Plan::quiet(), 1);
        world.endpoints[0].script.push_back(FAILS);
        world.trigger(0, false);
        world.run_for(50_000);
        assert_eq!(kept(&world).kept, 2);
        world.update(0, |settings| {
            (settings.coalesce, settings.concurrency) = (true, 1);
        });
        world.endpoints[0].script.push_back(Script::Status(200, 100_000));
        world.trigger(5, false);
        world.run_for(20_000);
        assert_eq!(world.replay(0, Which::Dead, 100_000), 2);
        world.run_for(20_000);
        assert_eq!((tally(&world, 0).replayed, tally(&world, 0).coalesced), (2, 1));
        world.trigger(0, false);
        finish(&mut world);
        assert_eq!(events_sent(&world), [0, 1, 2, 3].map(Some));
        let tally = tally(&world, 0);
        assert_eq!((tally.coalesced, tally.delivered, tally.pending), (2, 2, 0));
    }

    /// `ON_FULL drop-oldest`: nothing is dropped for the sake of a replay; what has been replayed
    /// is the youngest, and is dropped in its turn.
    #[test]
    fn a_replay_drops_nothing() {
        let mut world = with_dead(Plan { pending_max: 3, ..Plan::quiet() }, 2);
        world.update(0, |settings| {
            (settings.on_full, settings.timeout_ms) = (OnFull::DropOldest, 60_000);
            settings.concurrency = 1;
        });
        world.endpoints[0].forever = Some(Script::Status(200, 200_000));
        world.run_for(10_000);
        assert!((10..12).all(|key| world.trigger(key, false)));
        world.run_for(10_000);
        assert_eq!(world.replay(0, Which::Dead, 100_000), 2);
        world.run_for(100_000);
        let tally_now = tally(&world, 0);
        assert_eq!((tally_now.replayed, tally_now.pending, tally_now.dropped), (1, 3, 0));
        // One is under way; the other one and the replayed one go.
        assert!((12..14).all(|key| world.trigger(key, false)));
        world.run_for(1000);
        assert_eq!((tally(&world, 0).pending, tally(&world, 0).dropped), (3, 2));
        world.drain();
        let tally = tally(&world, 0);
        assert_eq!((tally.replayed, tally.delivered, tally.dropped), (2, 4, 2));
        let events = [0, 1, 2, 4, 5, 1].map(Some);
        assert_eq!(events_sent(&world), events);
    }

    /// `ORDER none`: a replayed event waits for nobody, and nobody for it.
    #[test]
    fn without_order_a_replayed_event_waits_for_nobody() {
        let mut world = world(Plan::quiet());
        let retry_once = retry(1, 200);
        world.create("hook", Order { ordered: false, retry: retry(0, 0), ..order(0) });
        world.endpoints[0].script.extend([FAILS, FAILS]);
        world.endpoints[0].forever = Some(WORKS);
        world.trigger(1, false);
        world.run_for(50_000);
        world.update(0, |settings| settings.retry = retry_once);
        world.run_for(10_000);
        world.trigger(1, false);
        world.run_for(50_000);
        world.replay(0, Which::Dead, 100);
        world.run_for(50_000);
        assert_eq!(events_sent(&world), [0, 1, 0].map(Some), "the other one waits for its retry");
        finish(&mut world);
        assert_eq!((tally(&world, 0).delivered, tally(&world, 0).replayed), (2, 1));
    }

    /// How far behind a webhook is, is told from when an event was taken up again: it was not
    /// pending meanwhile.
    #[test]
    fn a_replayed_event_is_young() {
        let mut world = with_dead(Plan::quiet(), 1);
        world.run_for(3_600_000_000);
        let replayed_at = world.now;
        world.endpoints[0].forever = Some(Script::Hang);
        world.replay(0, Which::Dead, 100);
        world.run_for(10_000);
        assert_eq!(tally(&world, 0).pending, 1);
        let oldest_us = world.lives[0].ledger.measures(0).oldest_us.get();
        assert!((replayed_at..=world.now).contains(&oldest_us));
        world.endpoints[0].forever = Some(WORKS);
        finish(&mut world);
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
