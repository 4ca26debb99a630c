//! A shard without I/O, driven by hand: what the benches, the instruction counts and the tests of
//! memory have in common. Nothing in it is random but the seeds of two small hash tables.
#![allow(dead_code, reason = "no user uses all of it")]
#![allow(missing_docs, clippy::unwrap_used, reason = "it is part of benches and tests only")]

use ferrite::base::time::{Now, Tick};
use ferrite::core::event::{EventMask, EventRef, EventValue};
use ferrite::core::format::Format;
use ferrite::core::on_full::OnFull;
use ferrite::core::packed::{Stamp, pack};
use ferrite::core::retry::{RetryBackoff, RetryPolicy};
use ferrite::core::shard::{
    Action, BreakerPolicy, ConnectionId, Isolation, Shard, ShardConfig, Shared, Step,
};
use ferrite::core::signature::Signatures;
use ferrite::inbox::Doorbell;
use ferrite::registry::{Auth, Registry, RegistryConfig, Settings};
use std::sync::Arc;

pub const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
pub const UNAVAILABLE: &[u8] = b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";
pub const UNIX_US: u64 = 1_700_000_000_000_000;
pub const SECRET: &str = "mysecretkey";

/// The shard's clock goes on by so much with each delivery.
const STEP_US: u64 = 10;
/// Nothing but the retries' timers is to fire.
const FOR_EVER_MS: u64 = 1 << 40;

/// A doorbell for nobody.
pub struct Silent;

impl Doorbell for Silent {
    fn ring(&self) {}
}

/// A usual event.
pub fn event(key: &[u8]) -> EventRef<'_> {
    EventRef {
        key,
        value: EventValue::Bytes(b"{\"total\": 42, \"currency\": \"EUR\", \"items\": [1, 2, 3]}"),
        client_id: Some("conn:456"),
        source_ip: Some("192.168.1.100"),
        ..EventRef::default()
    }
}

/// A different place for each number.
pub fn key_hash(number: u64) -> u64 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// One webhook, which wants `order:*`.
fn registry(secret: Option<&str>, retries: u32, batch: Option<u32>) -> Registry {
    let config = RegistryConfig {
        webhooks_max: 1,
        pending_max: usize::MAX >> 1,
        batch_size_max: 100,
        workers: 1,
        tls_profiles: Default::default(),
        addresses: Arc::default(),
        proxy: None,
        dead: Default::default(),
        keeper: None,
    };
    let registry = Registry::new(config).unwrap();
    let settings = Settings {
        url: "http://127.0.0.1:9/hook".to_owned(),
        pattern: "order:*".to_owned(),
        events: EventMask::ALL,
        auth: Auth::None,
        headers: Vec::new(),
        secret: secret.map(str::to_owned),
        signatures: Signatures::BOTH,
        retired: Vec::new(),
        retry: RetryPolicy {
            retries,
            delay_ms: 60_000,
            backoff: RetryBackoff::Fixed,
            multiplier: 1.0,
            delay_ms_max: 60_000,
            jitter: 0.1,
        },
        timeout_ms: 5000,
        concurrency: 64,
        while_disabled: Default::default(),
        pipeline: 1,
        batch: batch.is_some(),
        batch_size: batch.unwrap_or(1),
        batch_interval_ms: 1000,
        on_full: OnFull::Reject,
        coalesce: false,
        ordered: true,
        format: Format::Ferrite,
        sequence: false,
        final_statuses: Vec::new(),
        rate: 0,
        adaptive: false,
        tls_profile: None,
    };
    registry.create("w", settings, 0).unwrap();
    registry
}

/// A shard with one webhook and at most one connection, which this drives.
pub struct Rig {
    shard: Shard,
    connection: Option<ConnectionId>,
    time_us: u64,
    packed: Vec<u8>,
    request: Vec<u8>,
}

impl Rig {
    pub fn new(secret: Option<&str>, retries: u32) -> Rig {
        Rig::with_batches(secret, retries, None)
    }

    /// With batches of so many events.
    pub fn with_batches(secret: Option<&str>, retries: u32, batch: Option<u32>) -> Rig {
        let registry = registry(secret, retries, batch);
        let config = ShardConfig {
            worker: 0,
            workers: 1,
            boot: 1,
            seed: 1,
            endpoint_connections_max: 1,
            connections_max: 1024,
            idle_timeout_ms: FOR_EVER_MS,
            isolation: Isolation {
                // Nothing but failures comes in some parts.
                breaker: BreakerPolicy { failures: u32::MAX, ..BreakerPolicy::default() },
                ..Isolation::default()
            },
        };
        let snapshot = registry.published().load_full();
        Rig {
            shard: Shard::new(config, Arc::new(Shared::new(1)), snapshot),
            connection: None,
            time_us: 0,
            packed: Vec::new(),
            request: Vec::new(),
        }
    }

    pub fn pending(&self) -> usize {
        self.shard.pending()
    }

    /// A delivery of a key of its own, from the event to the `answer`.
    pub fn deliver(&mut self, answer: &[u8]) {
        self.take_in();
        self.exchange(answer);
    }

    /// An event of a key of its own comes in.
    pub fn take_in(&mut self) {
        self.time_us += STEP_US;
        let stamp = Stamp {
            key_hash: key_hash(self.time_us),
            generation: 1,
            may_drop: false,
            timestamp_us: UNIX_US + self.time_us,
            waiter: 0,
        };
        pack(&event(b"order:123"), &stamp, &mut self.packed);
        self.shard.handle_event(self.now(), &self.packed);
    }

    /// Goes on to the next retry that is due, and sends it; it gets this `answer`.
    pub fn retry(&mut self, answer: &[u8]) {
        while !self.act() {
            let Tick(due) = self.shard.poll_timeout().expect("a delivery waits for its retry");
            self.time_us = self.time_us.max(due);
            self.shard.handle_timeout(self.now());
        }
        self.answer(answer);
    }

    /// So many events come in and fill a batch, which gets this `answer`.
    pub fn deliver_batch(&mut self, events: u32, answer: &[u8]) {
        (0..events).for_each(|_| self.take_in());
        self.exchange(answer);
    }

    fn exchange(&mut self, answer: &[u8]) {
        assert!(self.act(), "the event is on its way");
        self.answer(answer);
    }

    /// Does what the shard asks for. Whether there is something to send.
    fn act(&mut self) -> bool {
        let mut to_send = false;
        while let Some(action) = self.shard.poll_action() {
            match action {
                Action::Open { connection, .. } => {
                    assert!(self.shard.handle_connected(connection));
                    self.connection = Some(connection);
                    to_send = true;
                }
                Action::Wake(_) => to_send = true,
                Action::Close(_) | Action::RoomMade | Action::Notice(_) => {}
            }
        }
        to_send
    }

    fn answer(&mut self, answer: &[u8]) {
        let (now, connection) = (self.now(), self.connection.unwrap());
        self.request.clear();
        assert!(self.shard.write_requests(now, connection, &mut self.request));
        assert!(!self.shard.handle_written(connection));
        let step = self.shard.handle_read(now, connection, answer);
        // It goes on at once when more than one retry was due.
        match step {
            Step::Idle => {}
            Step::Send => self.answer(answer),
            Step::Continue | Step::Close => unreachable!("the answer is whole: {step:?}"),
        }
    }

    fn now(&self) -> Now {
        Now { tick: Tick(self.time_us), unix_us: UNIX_US + self.time_us }
    }
}
