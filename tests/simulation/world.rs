//! The driver: shards, endpoints and connections in virtual time.
//!
//! It stands where the workers stand and uses the shards exactly as they do: the same calls, in
//! the orders that sockets and the clock can bring about. Nothing here looks into a shard.

use super::dice::Dice;
use super::endpoints::Script;
use super::faults::Plan;
use super::history::{Happening, History, RequestName};
use super::journal::SharedStore;
use super::links::Link;
use super::operations::{Life, View};
use super::replays::Taken;
use ferrite::base::hash::KeyHasher;
use ferrite::base::id::EventId;
use ferrite::base::time::{Now, Tick};
use ferrite::core::dead_letters::KeptPlace;
use ferrite::core::failure::Failure;
use ferrite::core::journal::Fetched;
use ferrite::core::replay::Replay;
use ferrite::core::shard::{Closed, ConnectionId, Shard, ShardConfig, Shared};
use ferrite::registry::{Registry, RegistryConfig};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// The wall clock when virtual time is 0, in microseconds since 1970. Not a whole second.
pub const WALL_START_US: u64 = 1_800_000_000_250_000;
pub const BOOT: u64 = 0x0123_4567_89ab_cdef;
/// After everything has healed, all must be delivered within this virtual time.
const DRAIN_US_MAX: u64 = 120_000_000;
/// More steps than any run needs: beyond is a livelock.
const STEPS_MAX: u64 = 400_000;
/// Calls of `handle_timeout` at one moment; more is a livelock.
const TIMEOUTS_AT_ONCE_MAX: u32 = 1000;

/// What the world is to do at some time.
#[derive(Debug, Clone)]
pub enum Todo {
    /// The endpoint accepts the connection, or not.
    Connect {
        link: u32,
        result: Result<(), Failure>,
    },
    /// The connection's task writes what it was woken for.
    Write {
        link: u32,
    },
    /// A write is over.
    Written {
        link: u32,
        whole: bool,
    },
    /// A request has reached the endpoint.
    Arrive {
        link: u32,
        number: u32,
    },
    /// What the endpoint has said arrives, up to `upto`.
    Piece {
        link: u32,
        upto: usize,
    },
    /// The connection ends.
    End {
        link: u32,
        closed: Closed,
    },
    /// The endpoint closes an idle connection, if it has had no other request.
    IdleClose {
        link: u32,
        arrived: u32,
    },
    /// The endpoint says something on an idle connection, if it has had no other request.
    Speak {
        link: u32,
        arrived: u32,
    },
    /// A worker takes in what is in its inbox.
    TakeIn {
        shard: usize,
    },
    Operation,
    Trigger,
    Spurious,
    LateWord {
        shard: usize,
        connection: ConnectionId,
    },
    Breakdown {
        shard: usize,
    },
    /// A replay reaches its worker.
    Replay {
        number: usize,
    },
    Heal,
    /// The journal writes what a worker has handed over.
    JournalWrite {
        worker: usize,
    },
    /// The journal's fetcher does its next piece of work.
    JournalRead,
    /// What was fetched reaches its worker.
    Fetched {
        shard: usize,
    },
    /// The journal changes its mood.
    Mood {
        mood: super::lives::Mood,
        begins: bool,
    },
    /// Dead letters were cleared: a worker hears of it.
    LettersCleared {
        shard: usize,
        number: u64,
        places: Vec<KeptPlace>,
    },
    /// The engine ends, and starts anew.
    Crash {
        orderly: bool,
    },
}

/// Why the driver calls a shard: what the shard may do depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    Timeout,
    Snapshot,
    Test,
    Other,
}

/// Deliberate misbehaviour of the driver, for negative controls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Mischief {
    #[default]
    None,
    /// Says that a connection broke although the whole answer had come.
    DenyAnswers,
    /// Tells the shard that it is later than it is, by so many microseconds.
    ClockAhead(u64),
    /// Loses the events of a key on their way into the shard.
    LoseEvents(u32),
    /// Does nothing when the shard's time has come, but for every so many microseconds.
    SleepyTimeouts(u64),
    /// The first two requests of a write reach the endpoint in the wrong order.
    SwapRequests,
    /// A replayed event has other bytes.
    OtherBytes,
}

/// A worker's place.
pub struct Seat {
    /// Gone only while it is being rebuilt.
    pub shard: Option<Shard>,
    pub inbox: VecDeque<Vec<u8>>,
    /// The webhooks as the shard knows them.
    pub view: Rc<View>,
    /// Links by the connection's index.
    pub links: Vec<Option<u32>>,
    /// What was fetched, on its way.
    pub fetched: VecDeque<Fetched>,
}

/// An endpoint's place.
#[derive(Default)]
pub struct Seated {
    pub script: VecDeque<Script>,
    /// Repeats when the script is at its end.
    pub forever: Option<Script>,
    /// Requests of this key are never answered.
    pub hanging_key: Option<u32>,
}

pub struct World {
    pub plan: Plan,
    pub now: u64,
    pub dice: Dice,
    pub endpoint_dice: Dice,
    pub seats: Vec<Seat>,
    pub endpoints: Vec<Seated>,
    pub links: Vec<Link>,
    pub registry: Registry,
    pub shared: Arc<Shared>,
    pub hasher: KeyHasher,
    /// Every webhook that ever was.
    pub lives: Vec<Life>,
    pub by_name: BTreeMap<String, u32>,
    pub view: Rc<View>,
    pub history: History,
    pub call: u64,
    pub healed: bool,
    pub mischief: Mischief,
    /// The next write fails after so many whole requests.
    pub fail_write_after: Option<usize>,
    /// Events that were triggered.
    pub events: u32,
    pub tests_asked: u64,
    pub rooms_made: u64,
    /// What the shards want in the log.
    pub notices: Vec<String>,
    /// What the batches carry that were written.
    pub batches: BTreeMap<RequestName, Vec<u32>>,
    pub steps: u64,
    checkpoint_wanted: bool,
    pub queue: BTreeMap<(u64, u64), Todo>,
    queued: u64,
    timeouts_at_once: u32,
    /// What was taken for replays and is not in the history yet.
    pub taken: Taken,
    /// Replays on their way to their workers.
    pub replays: Vec<Option<(usize, Replay)>>,
    /// Where the shards write down what they do.
    pub store: Option<SharedStore>,
    /// Names this start of the engine.
    pub boot: u64,
    /// The events that somebody waits for.
    pub waiters: BTreeMap<u32, u32>,
    /// The event that is being taken in.
    pub taking_in: u32,
}

impl Seat {
    pub fn of(shard: Shard, view: &Rc<View>) -> Seat {
        Seat {
            shard: Some(shard),
            inbox: VecDeque::new(),
            view: view.clone(),
            links: Vec::new(),
            fetched: VecDeque::new(),
        }
    }
}

pub fn registry_for(plan: &Plan) -> Registry {
    Registry::new(RegistryConfig {
        webhooks_max: 1000,
        pending_max: plan.pending_max,
        batch_size_max: 100,
        workers: plan.shards,
        tls_profiles: Default::default(),
        addresses: Arc::default(),
        proxy: None,
        dead: plan.dead,
        keeper: None,
    })
    .expect("a registry without webhooks")
}

pub fn shard_config(plan: &Plan, worker: usize, boot: u64, seed: u64) -> ShardConfig {
    ShardConfig {
        worker,
        workers: plan.shards,
        boot,
        seed,
        endpoint_connections_max: plan.endpoint_connections_max,
        connections_max: plan.connections_max,
        idle_timeout_ms: plan.idle_timeout_ms,
        isolation: plan.isolation,
    }
}

/// An id as one number: which life of the engine, and its counting part.
pub fn id_number(id: EventId) -> u64 {
    id.boot.wrapping_sub(BOOT) << 48 | id.sequence
}

impl World {
    pub fn new(plan: Plan, mut dice: Dice) -> World {
        let registry = registry_for(&plan);
        let shared = Arc::new(Shared::new(plan.shards));
        let view = Rc::new(View::default());
        let seats = (0..plan.shards).map(|worker| {
            let config = shard_config(&plan, worker, BOOT, dice.number());
            let shard = Shard::new(config, shared.clone(), registry.published().load_full());
            Seat::of(shard, &view)
        });
        let seats = seats.collect();
        let endpoints = (0..plan.endpoints).map(|_| Seated::default()).collect();
        World {
            now: 0,
            endpoint_dice: dice.split(),
            hasher: KeyHasher::new(dice.number()),
            dice,
            seats,
            endpoints,
            links: Vec::new(),
            registry,
            shared,
            lives: Vec::new(),
            by_name: BTreeMap::new(),
            view,
            history: History { shards_at_first: plan.shards, ..History::default() },
            call: 0,
            healed: false,
            mischief: Mischief::None,
            fail_write_after: None,
            events: 0,
            tests_asked: 0,
            rooms_made: 0,
            notices: Vec::new(),
            batches: BTreeMap::new(),
            steps: 0,
            checkpoint_wanted: false,
            queue: BTreeMap::new(),
            queued: 0,
            timeouts_at_once: 0,
            taken: Taken::default(),
            replays: Vec::new(),
            store: None,
            boot: BOOT,
            waiters: BTreeMap::new(),
            taking_in: 0,
            plan,
        }
    }

    pub fn clocks(&self) -> Now {
        Now { tick: Tick(self.now), unix_us: WALL_START_US + self.now }
    }

    pub fn later(&mut self, wait_us: u64, todo: Todo) {
        self.queued += 1;
        self.queue.insert((self.now + wait_us, self.queued), todo);
    }

    pub fn note(&mut self, what: Happening) {
        self.history.add(self.now, self.call, what);
    }

    /// The driver and the shard do not agree any more.
    pub fn broken(&mut self, message: impl Into<String>) {
        self.note(Happening::Broken { message: message.into() });
    }

    /// Calls a shard as a worker does: then does what the shard wants done.
    pub fn with_shard<T>(
        &mut self,
        shard: usize,
        why: Why,
        act: impl FnOnce(&mut Shard, Now) -> T,
    ) -> T {
        self.call += 1;
        let now = self.clocks();
        self.tell_time();
        let result = act(self.shard(shard), now);
        self.note_replayed(shard);
        self.note_attempts(shard);
        self.note_journal();
        while let Some(action) = self.shard(shard).poll_action() {
            self.perform(shard, why, action);
        }
        while let Some(outcome) = self.shard(shard).poll_test() {
            self.note(Happening::TestDone {
                token: outcome.token,
                status: outcome.status,
                failure: outcome.failure,
            });
        }
        self.note_assigned(shard, why);
        result
    }

    pub fn shard(&mut self, shard: usize) -> &mut Shard {
        self.seats[shard].shard.as_mut().expect("only gone while it is rebuilt")
    }

    /// The earliest deadline of a shard.
    fn next_timeout(&self) -> Option<(u64, usize)> {
        let deadlines = self.seats.iter().enumerate().filter_map(|(index, seat)| {
            let due = seat.shard.as_ref()?.poll_timeout()?;
            let due = match self.mischief {
                Mischief::SleepyTimeouts(each) => due.0.div_ceil(each) * each,
                _ => due.0,
            };
            Some((due + self.plan.late_us, index))
        });
        deadlines.min()
    }

    /// Does the next thing; `false`: there is nothing to do before `until`.
    pub fn step(&mut self, until: u64) -> bool {
        let timeout = self.next_timeout().map(|(due, shard)| (due.max(self.now), shard));
        let queued = self.queue.first_key_value().map(|((at, _), _)| *at);
        let next = [timeout.map(|(due, _)| due), queued].into_iter().flatten().min();
        let Some(next) = next.filter(|&next| next <= until) else {
            self.rest_if_wanted();
            self.now = self.now.max(until);
            return false;
        };
        if next > self.now {
            self.rest_if_wanted();
            self.timeouts_at_once = 0;
        }
        self.now = next;
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "livelock: more than {STEPS_MAX} steps");
        match timeout {
            // Which comes first when both are due is the kernel's choice.
            Some((due, shard))
                if due == next && (queued != Some(next) || self.dice.chance(500)) =>
            {
                self.handle_timeout(shard);
            }
            _ => {
                if let Some((_, todo)) = self.queue.pop_first() {
                    self.act(todo);
                }
            }
        }
        true
    }

    fn handle_timeout(&mut self, shard: usize) {
        self.timeouts_at_once += 1;
        assert!(
            self.timeouts_at_once < TIMEOUTS_AT_ONCE_MAX,
            "livelock: handle_timeout is due again and again at one moment"
        );
        let ahead = self.ahead();
        self.with_shard(shard, Why::Timeout, |shard, now| {
            shard.handle_timeout(Now { tick: Tick(now.tick.0 + ahead), ..now });
        });
    }

    /// By how much the shard is told a later time than it is.
    pub fn ahead(&self) -> u64 {
        match self.mischief {
            Mischief::ClockAhead(ahead) => ahead,
            _ => 0,
        }
    }

    fn act(&mut self, todo: Todo) {
        match todo {
            Todo::Connect { link, result } => self.connect(link, result),
            Todo::Write { link } => self.write(link),
            Todo::Written { link, whole } => self.written(link, whole),
            Todo::Arrive { link, number } => self.arrive(link, number),
            Todo::Piece { link, upto } => self.piece(link, upto),
            Todo::End { link, closed } => self.end(link, closed),
            Todo::IdleClose { link, arrived } => self.idle_close(link, arrived),
            Todo::Speak { link, arrived } => self.speak(link, arrived),
            Todo::TakeIn { shard } => self.take_in(shard),
            Todo::Trigger => self.trigger_by_chance(),
            Todo::Operation => self.operate_by_chance(),
            Todo::Spurious => self.call_without_need(),
            Todo::LateWord { shard, connection } => self.late_word(shard, connection),
            Todo::Breakdown { shard } => self.break_down(shard),
            Todo::Replay { number } => self.begin_replay(number),
            Todo::Heal => self.heal(),
            Todo::JournalWrite { worker } => self.journal_writes(worker),
            Todo::JournalRead => self.journal_reads(),
            Todo::Fetched { shard } => self.take_up_fetched(shard),
            Todo::Mood { mood, begins } => self.change_mood(mood, begins),
            Todo::LettersCleared { shard, number, places } => {
                self.letters_cleared(shard, number, &places);
            }
            Todo::Crash { orderly } => self.crash(orderly),
        }
    }

    /// Asks for a checkpoint as soon as nothing more is due at this moment.
    pub fn want_checkpoint(&mut self) {
        self.checkpoint_wanted = true;
    }

    pub fn rest_if_wanted(&mut self) {
        if std::mem::take(&mut self.checkpoint_wanted) {
            self.checkpoint();
        }
    }

    /// Lets `duration_us` pass.
    pub fn run_for(&mut self, duration_us: u64) {
        let until = self.now + duration_us;
        while self.step(until) {}
    }

    /// Runs until nothing is pending; a run that does not get there is a fault of the shard.
    pub fn drain(&mut self) {
        let until = self.now + DRAIN_US_MAX;
        loop {
            let pending: usize = (0..self.seats.len()).map(|shard| self.pending(shard)).sum();
            let pending = pending + self.pending_in_journal();
            if pending == 0 {
                break;
            }
            if !self.step(until) {
                self.checkpoint();
                let where_to = self.where_pending();
                self.broken(format!(
                    "{pending} deliveries are still pending long after healing: {where_to}"
                ));
                return;
            }
        }
        self.checkpoint();
        // Idle connections run out, and so does every timer.
        self.run_for(self.plan.idle_timeout_ms * 1000 + DRAIN_US_MAX);
        self.checkpoint();
        let links_open = self.links.iter().filter(|link| link.is_open()).count();
        let deliveries_pending = (0..self.seats.len()).map(|shard| self.pending(shard)).sum();
        let timers_left = self.next_timeout().iter().count();
        self.note_journal_end();
        self.note(Happening::Settled { links_open, deliveries_pending, timers_left });
    }

    /// Deliveries and events that a shard still has before it.
    fn pending(&mut self, shard: usize) -> usize {
        self.shard(shard).pending() + self.seats[shard].inbox.len()
    }
}
