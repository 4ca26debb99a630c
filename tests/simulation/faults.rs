//! What a seed decides about a run before it begins.
//!
//! Swarm testing: each seed switches whole kinds of fault off, because runs in which everything
//! goes wrong at once hide what happens when one thing goes wrong often.

use super::dice::Dice;
use ferrite::core::dead_letters::DeadLimits;
use ferrite::core::retry::{RetryBackoff, RetryPolicy};
use ferrite::core::shard::{BreakerPolicy, Isolation};

macro_rules! switches {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Which kinds of fault, and of operation, a run has.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Faults { $($(#[$doc])* pub $name: bool,)* }

        impl Faults {
            /// Each kind with even odds.
            pub fn draw(dice: &mut Dice) -> Faults {
                Faults { $($name: dice.chance(500),)* }
            }

            /// The names of the kinds that are on.
            pub fn names(&self) -> Vec<&'static str> {
                [$((stringify!($name), self.$name),)*]
                    .into_iter()
                    .filter_map(|(name, on)| on.then_some(name))
                    .collect()
            }
        }
    };
}

switches! {
    server_errors,
    client_errors,
    redirects,
    gone,
    busy,
    /// Connections break: before, within and after a request, and within a response.
    resets,
    /// Connections are closed in an orderly way at the same places.
    closes,
    /// An endpoint never answers, or stops in the middle.
    hangs,
    /// Responses come in pieces.
    pieces,
    /// Chunked, close-delimited, HTTP/1.0, interim responses.
    framings,
    garbage,
    /// Bytes that nobody asked for, on an idle connection or behind a response.
    unsolicited,
    /// An idle connection is closed by the endpoint, maybe while a request is on its way.
    stale,
    refusals,
    slow_connects,
    /// The driver cannot write a request whole.
    write_failures,
    /// Writing takes a while, and things happen meanwhile.
    slow_writes,
    /// Answers come together, and are cut apart anywhere.
    coalescing,
    slow_answers,
    updates,
    deletes,
    disables,
    tests,
    breakdowns,
    /// Queues are short, and what finds them full is dropped.
    overload,
    /// `handle_timeout` is also called when it is not due.
    spurious,
    /// The driver still says something about connections that are gone.
    late_words,
    bursts,
    hot_keys,
    idle_periods,
    /// Answers that say `webhook-delivery`.
    delivery_wishes,
    /// Dead letters are replayed and cleared.
    replays,
    /// Some webhooks keep events while they are disabled.
    keeps,
}

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub faults: Faults,
    /// How many of a thousand exchanges meet a fault.
    pub fault_parts: u64,
    /// Whether webhooks may ask for more than one request at once on a connection.
    pub pipelined: bool,
    /// Webhooks may ask for batches.
    pub batched: bool,
    /// Webhooks may keep only the latest event of a key.
    pub coalesces: bool,
    pub shards: usize,
    pub endpoints: usize,
    pub webhooks: usize,
    pub keys: usize,
    pub events: usize,
    /// Virtual time in which things happen, before everything heals.
    pub duration_us: u64,
    pub endpoint_connections_max: usize,
    pub connections_max: usize,
    pub idle_timeout_ms: u64,
    pub pending_max: usize,
    /// How late the driver's timer is.
    pub late_us: u64,
    /// How long a woken connection takes to write; `None` leaves it to chance.
    pub wake_us: Option<u64>,
    /// How long a write takes; the requests arrive when half of it is over. `None` leaves it to
    /// chance.
    pub write_us: Option<u64>,
    pub isolation: Isolation,
    /// Dead letters that a webhook keeps.
    pub dead: DeadLimits,
    /// How the journal behaves, if there is one.
    pub journal: Option<JournalPlan>,
}

/// How a journal behaves.
#[derive(Clone, Copy, Debug)]
pub struct JournalPlan {
    /// Longest time until what was handed over is written.
    pub write_us: u64,
    /// Longest time until a fetch is read, and then until it is answered.
    pub fetch_us: u64,
    /// Fetches may bring only a part, or nothing.
    pub partial: bool,
    /// How many of a thousand events somebody waits for.
    pub waiters: u64,
}

impl Plan {
    pub fn draw(seed: u64, dice: &mut Dice) -> Plan {
        let mut faults = Faults::draw(dice);
        let shards = dice.pick(&[1, 1, 2, 3]);
        let pipelined = dice.chance(400);
        let batched = dice.chance(400);
        let coalesces = dice.chance(300);
        // Requests stand behind each other only when there are many at once.
        faults.bursts |= pipelined && dice.chance(700);
        Plan {
            seed,
            faults,
            fault_parts: dice.pick(&[20, 100, 300, 600]),
            pipelined,
            batched,
            coalesces,
            shards,
            endpoints: 1 + dice.below(4),
            webhooks: 1 + dice.below(5),
            keys: if pipelined { dice.pick(&[3, 30, 60]) } else { dice.pick(&[1, 3, 10, 30]) },
            events: dice.pick(&[20, 60, 60, 120]),
            duration_us: dice.pick(&[300_000, 2_000_000, 10_000_000]),
            endpoint_connections_max: dice.pick(&[1, 2, 4, 64]),
            connections_max: dice.pick(&[2, 4, 1000, 1000]),
            idle_timeout_ms: dice.pick(&[50, 1000, 30_000]),
            pending_max: if faults.overload { dice.pick(&[1, 5, 20]) } else { 100_000 },
            late_us: dice.pick(&[0, 0, 1000]),
            wake_us: None,
            write_us: None,
            isolation: draw_isolation(dice),
            dead: DeadLimits {
                letters_max: dice.pick(&[0, 2, 1000, 1000]),
                ..DeadLimits::default()
            },
            journal: None,
        }
    }

    /// A quiet run of one of everything, for scenarios.
    pub fn quiet() -> Plan {
        Plan {
            seed: 0,
            faults: Faults::default(),
            fault_parts: 0,
            pipelined: false,
            batched: false,
            coalesces: false,
            shards: 1,
            endpoints: 1,
            webhooks: 0,
            keys: 0,
            events: 0,
            duration_us: 0,
            endpoint_connections_max: 64,
            connections_max: 1000,
            idle_timeout_ms: 30_000,
            pending_max: 100_000,
            late_us: 0,
            wake_us: None,
            write_us: None,
            isolation: no_isolation(),
            dead: DeadLimits::default(),
            journal: None,
        }
    }
}

impl Default for JournalPlan {
    fn default() -> Self {
        JournalPlan { write_us: 300, fetch_us: 300, partial: false, waiters: 1000 }
    }
}

/// No breaker, and every `Retry-After` in full.
pub fn no_isolation() -> Isolation {
    let breaker = BreakerPolicy { failures: 0, open_ms: 100, open_ms_max: 400 };
    Isolation { retry_after_ms_max: 3_600_000, breaker, auto_disable_after_ms: 0 }
}

fn draw_isolation(dice: &mut Dice) -> Isolation {
    Isolation {
        retry_after_ms_max: dice.pick(&[500, 2500, 3_600_000]),
        breaker: BreakerPolicy {
            failures: dice.pick(&[0, 1, 2, 5, 10]),
            open_ms: dice.pick(&[1, 50, 500]),
            open_ms_max: dice.pick(&[100, 2000]),
        },
        auto_disable_after_ms: dice.pick(&[0, 0, 0, 10, 200]),
    }
}

/// When failed deliveries are tried again, by chance.
pub fn draw_retry(dice: &mut Dice) -> RetryPolicy {
    RetryPolicy {
        retries: dice.pick(&[0, 1, 2, 3, 6]),
        delay_ms: dice.pick(&[0, 1, 10, 100, 500]),
        backoff: dice.pick(&[RetryBackoff::Fixed, RetryBackoff::Linear, RetryBackoff::Exponential]),
        multiplier: dice.pick(&[1.0, 1.5, 2.0]),
        delay_ms_max: dice.pick(&[20, 1000]),
        jitter: dice.pick(&[0.0, 0.1, 0.5]),
    }
}
