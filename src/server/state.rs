//! What all connections share: the keyspace, the engine, settings and counters.

use super::commands::CommandTable;
use super::commit::{Commit, LogTrouble};
use super::engine::Engine;
use super::keyspace::{Keyspace, MutationSink};
use super::password::Password;
use super::reply::Reply;
use super::session::Session;
use super::settings::ServerSettings;
use super::transaction::WatchedKeys;
use crate::webhooks::{EventRef, WebhookError};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Keys that expire in one go, before clients get their turn again.
const EXPIRE_BATCH_MAX: usize = 512;
/// Least time between two warnings about refused events.
const REFUSED_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Pauses while the engine's rings have no room: a worker empties a full ring within these.
const PAUSE_FOR_ROOM_MIN: Duration = Duration::from_micros(50);
const PAUSE_FOR_ROOM_MAX: Duration = Duration::from_millis(1);
/// The store waits so long for a full webhook that says `ON_FULL wait`; then its event is dropped
/// and counted, so that somebody can still say DISABLE.
const WAIT_FOR_WEBHOOK_MAX: Duration = Duration::from_secs(1);

/// Counters for `INFO`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub connections: u64,
    pub connections_rejected: u64,
    pub commands: u64,
    pub input_bytes: u64,
    pub output_bytes: u64,
    pub protocol_errors: u64,
    /// Writes that had to wait until the engine had room.
    pub event_waits: u64,
    /// Events that the engine refused for good.
    pub events_refused: u64,
    /// Events of writes for which the promise of the log does not hold.
    pub events_not_durable: u64,
}

/// What all connections share. Owned by the server's thread.
pub(crate) struct State {
    pub keyspace: Keyspace,
    pub engine: Box<dyn Engine>,
    pub settings: ServerSettings,
    pub password: Option<Password>,
    pub commands: CommandTable,
    pub watched: WatchedKeys,
    pub counters: Counters,
    /// The first address that is listened on.
    pub address: SocketAddr,
    pub run_id: String,
    pub started_at: Instant,
    /// A client or a signal asked the server to stop.
    pub stopping: bool,
    refused_warned_at: Option<Instant>,
    /// Events of clients' writes that are waited for.
    pub commits: Box<dyn Commit>,
    pub(super) log_trouble: LogTrouble,
}

impl State {
    pub fn new(settings: ServerSettings, engine: Box<dyn Engine>, address: SocketAddr) -> Self {
        let run_id: String =
            (0..3).map(|_| format!("{:016x}", crate::base::random::seed())).collect();
        State {
            keyspace: Keyspace::new(settings.databases as usize),
            commits: engine.commit_group(),
            log_trouble: LogTrouble::default(),
            engine,
            password: settings.requirepass.as_deref().map(Password::new),
            settings,
            commands: CommandTable::new(),
            watched: WatchedKeys::default(),
            counters: Counters::default(),
            address,
            run_id: run_id[..40].to_owned(),
            started_at: Instant::now(),
            stopping: false,
            refused_warned_at: None,
        }
    }

    /// Runs a command of the keyspace for `session`; when this returns, its events are accepted, but
    /// not yet committed.
    /// `false`: the keyspace has no such command.
    pub fn execute_in_keyspace(
        &mut self,
        session: &mut Session,
        now_ms: u64,
        args: &[&[u8]],
        reply: &mut Reply<'_>,
    ) -> bool {
        let mut database = session.database;
        let mut sink = EventSink {
            offer: &mut |event, patient| self.commits.offer(event, patient),
            counters: &mut self.counters,
            watched: &mut self.watched,
            client_id: Some(&session.client_id),
            source_ip: Some(&session.source_ip),
            refused: None,
        };
        let known = self.keyspace.execute(now_ms, &mut database, args, reply, &mut sink);
        let refused = sink.refused;
        session.database = database;
        self.warn_refused(refused);
        known
    }

    /// Removes keys that are due; their events are accepted when this returns. Says whether there
    /// may be more.
    pub fn expire_due(&mut self, now_ms: u64) -> bool {
        // Nobody is answered for these, so nobody waits for them.
        let mut sink = EventSink {
            offer: &mut |event, patient| self.engine.offer(event, patient),
            counters: &mut self.counters,
            watched: &mut self.watched,
            client_id: None,
            source_ip: None,
            refused: None,
        };
        let count = self.keyspace.expire_due(now_ms, EXPIRE_BATCH_MAX, &mut sink);
        let refused = sink.refused;
        self.warn_refused(refused);
        count >= EXPIRE_BATCH_MAX
    }

    /// Gives the engine an event that a client publishes.
    pub fn publish(&mut self, session: &Session, event: &EventRef<'_>) -> Result<(), WebhookError> {
        let event = EventRef {
            client_id: Some(&session.client_id),
            source_ip: Some(&session.source_ip),
            ..*event
        };
        trigger(
            &mut |event, patient| self.commits.offer(event, patient),
            &event,
            &mut self.counters,
        )
    }

    /// Logs refused events, at a bounded rate; every one is counted.
    fn warn_refused(&mut self, refused: Option<WebhookError>) {
        let Some(error) = refused else { return };
        if self.refused_warned_at.is_none_or(|at| at.elapsed() >= REFUSED_WARNING_INTERVAL) {
            self.refused_warned_at = Some(Instant::now());
            let total = self.counters.events_refused;
            tracing::warn!(total, "a write's event was refused: {error}");
        }
    }
}

/// How an event is offered to the engine, patiently or not.
type Offer<'a> = dyn FnMut(&EventRef<'_>, bool) -> Result<bool, WebhookError> + 'a;

/// Gives the engine an event and waits until it has room. The write's reply is sent only after
/// this and the commit, so a client that was answered knows that its event was accepted under the
/// configured promise.
fn trigger(
    offer: &mut Offer<'_>,
    event: &EventRef<'_>,
    counters: &mut Counters,
) -> Result<(), WebhookError> {
    let mut pause = PAUSE_FOR_ROOM_MIN;
    let (mut waits, mut waited) = (0, Duration::ZERO);
    while !offer(event, waited < WAIT_FOR_WEBHOOK_MAX)? {
        waits = 1;
        std::thread::sleep(pause);
        waited += pause;
        pause = (pause * 2).min(PAUSE_FOR_ROOM_MAX);
    }
    counters.event_waits += waits;
    Ok(())
}

/// Passes the keyspace's changes on to the engine.
struct EventSink<'a> {
    offer: &'a mut Offer<'a>,
    counters: &'a mut Counters,
    watched: &'a mut WatchedKeys,
    client_id: Option<&'a str>,
    source_ip: Option<&'a str>,
    refused: Option<WebhookError>,
}

impl MutationSink for EventSink<'_> {
    fn mutation(&mut self, event: &EventRef<'_>) {
        self.watched.touch(event.database, event.key);
        let event = EventRef { client_id: self.client_id, source_ip: self.source_ip, ..*event };
        let mut outcome = trigger(self.offer, &event, self.counters);
        if matches!(outcome, Err(WebhookError::EventTooLarge { .. })) && event.old_value.is_some() {
            // Better the news without the old value than no news.
            let event = EventRef { old_value: None, ..event };
            outcome = trigger(self.offer, &event, self.counters);
        }
        if let Err(error) = outcome {
            self.counters.events_refused += 1;
            self.refused = Some(error);
        }
    }
}
