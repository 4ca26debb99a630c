//! The server's event loop: one thread, which owns the connections and the keyspace.

use super::commit::Committed;
use super::connection::{Clients, Connection, SHARED_BUFFER_BYTES, Turn};
use super::engine::Engine;
use super::session::Session;
use super::settings::ServerSettings;
use super::state::State;
use crate::webhooks::DrainReport;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

/// Wakes the loop from other threads.
const WAKER: Token = Token(0);
/// Listeners have the tokens from here on.
const FIRST_LISTENER: usize = 1;
/// Connections have the tokens from here on.
const FIRST_CONNECTION: usize = 64;
/// Events taken from the system at once.
const EVENTS_MAX: usize = 1024;
/// Connections accepted before the others get their turn.
const ACCEPTS_PER_TURN: usize = 64;
/// How often idle and closing connections are looked at, and failed accepts are tried again.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

const TOO_MANY_CLIENTS: &[u8] = b"-ERR max number of clients reached\r\n";
const PROTECTED: &[u8] = b"-DENIED Running in protected mode because the server can be reached \
    from other machines and has no password. Connect from its own machine, set requirepass, or \
    bind a loopback address.\r\n";

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// The system refused something that the loop cannot do without.
    #[error("the event loop failed: {0}")]
    Loop(#[from] io::Error),
}

/// Asks a server to stop, from any thread.
#[derive(Clone)]
pub struct StopHandle {
    stop: Arc<AtomicBool>,
    waker: Arc<mio::Waker>,
}

impl StopHandle {
    /// Asks it to stop: it closes its connections and delivers what is pending.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        // It fails only when the loop is gone, which is what was wanted.
        let _ = self.waker.wake();
    }
}

/// Pokes the loop when a test delivery has made progress.
struct PokeLoop(Arc<mio::Waker>);

impl Wake for PokeLoop {
    fn wake(self: Arc<Self>) {
        // It fails only when the loop is gone; then nobody waits for the test.
        let _ = self.0.wake();
    }
}

/// A server that listens. [`Server::run`] serves until it is asked to stop.
pub struct Server {
    poll: Poll,
    waker: Arc<mio::Waker>,
    stop: Arc<AtomicBool>,
    listeners: Vec<TcpListener>,
    /// Listeners that may have more to accept.
    accepting: Vec<bool>,
    clients: Clients,
    /// Connections that want a turn.
    queue: VecDeque<usize>,
    /// Connections that wait for a test delivery.
    tests: Vec<usize>,
    /// Connections whose replies wait for the events of this turn.
    uncommitted: Vec<usize>,
    shared_buffer: Vec<u8>,
    next_client_id: u64,
    housekeeping_at: Instant,
    state: State,
}

impl Server {
    /// Listens on the addresses of `settings`.
    pub fn bind(settings: ServerSettings, engine: Box<dyn Engine>) -> Result<Server, ServeError> {
        let poll = Poll::new()?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKER)?);
        let mut listeners = Vec::new();
        for (index, ip) in settings.bind.iter().enumerate() {
            let address = SocketAddr::new(*ip, settings.port);
            let failed = |source| ServeError::Listen { address, source };
            let mut listener = TcpListener::bind(address).map_err(failed)?;
            let token = Token(FIRST_LISTENER + index);
            poll.registry().register(&mut listener, token, Interest::READABLE)?;
            // No webhook leads to this server (SEC-1).
            engine.add_own_listener(listener.local_addr()?);
            listeners.push(listener);
        }
        let address = match listeners.first() {
            Some(listener) => listener.local_addr()?,
            None => SocketAddr::from(([127, 0, 0, 1], settings.port)),
        };
        Ok(Server {
            poll,
            waker,
            stop: Arc::new(AtomicBool::new(false)),
            accepting: vec![false; listeners.len()],
            listeners,
            clients: Clients::default(),
            queue: VecDeque::new(),
            tests: Vec::new(),
            uncommitted: Vec::new(),
            shared_buffer: vec![0; SHARED_BUFFER_BYTES],
            next_client_id: 1,
            housekeeping_at: Instant::now(),
            state: State::new(settings, engine, address),
        })
    }

    /// The first address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.state.address
    }

    /// A handle that stops it.
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle { stop: self.stop.clone(), waker: self.waker.clone() }
    }

    /// Serves until it is asked to stop; then closes the connections, waits for pending
    /// deliveries, and says what was left.
    pub fn run(mut self) -> Result<DrainReport, ServeError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while !self.should_stop() {
            self.wait(&mut events)?;
            self.expire();
            self.accept();
            self.give_turns();
            self.housekeep();
        }
        let deadline = Duration::from_millis(self.state.settings.shutdown_timeout_ms);
        let Server { state, clients, listeners, .. } = self;
        drop((listeners, clients));
        Ok(state.engine.shutdown(deadline))
    }

    fn should_stop(&self) -> bool {
        self.state.stopping || self.stop.load(Ordering::Acquire)
    }

    /// Waits for something to do, and notes what.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let timeout = self.timeout();
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            outcome => outcome?,
        }
        let mut woken = false;
        for event in events.iter() {
            match event.token() {
                WAKER => woken = true,
                Token(token) if token < FIRST_CONNECTION => {
                    self.accepting[token - FIRST_LISTENER] = true;
                }
                Token(token) => {
                    let slot = token - FIRST_CONNECTION;
                    if let Some(connection) = self.clients.get_mut(slot) {
                        connection.readable |= event.is_readable() || event.is_read_closed();
                        connection.writable |= event.is_writable();
                        connection.peer_closed |= event.is_read_closed();
                        enqueue(&mut self.queue, connection, slot);
                    }
                }
            }
        }
        if woken {
            self.poll_tests();
        }
        Ok(())
    }

    fn timeout(&self) -> Duration {
        if !self.queue.is_empty() || self.accepting.contains(&true) {
            return Duration::ZERO;
        }
        let housekeeping = self.housekeeping_at.saturating_duration_since(Instant::now());
        match self.state.keyspace.next_expiry_ms() {
            Some(at) => housekeeping.min(Duration::from_millis(at.saturating_sub(unix_ms()))),
            None => housekeeping,
        }
    }

    fn expire(&mut self) {
        let now_ms = unix_ms();
        // What does not fit into this batch is due at once, so the next wait is short.
        if self.state.keyspace.next_expiry_ms().is_some_and(|at| at <= now_ms) {
            self.state.expire_due(now_ms);
        }
    }

    fn accept(&mut self) {
        for index in 0..self.listeners.len() {
            if !self.accepting[index] {
                continue;
            }
            for _ in 0..ACCEPTS_PER_TURN {
                match self.listeners[index].accept() {
                    Ok((socket, peer)) => self.welcome(socket, peer),
                    Err(error) => {
                        self.accepting[index] = false;
                        match error.kind() {
                            io::ErrorKind::WouldBlock => {}
                            // This client gave up; there may be others.
                            io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {
                                self.accepting[index] = true;
                            }
                            // Out of descriptors or memory: housekeeping tries again.
                            _ => tracing::warn!("cannot accept a connection: {error}"),
                        }
                        break;
                    }
                }
            }
        }
    }

    fn welcome(&mut self, mut socket: TcpStream, peer: SocketAddr) {
        let state = &mut self.state;
        let protected = state.password.is_none() && state.settings.is_reachable_from_elsewhere();
        let refusal = if self.clients.count() >= state.settings.maxclients {
            Some(TOO_MANY_CLIENTS)
        } else if protected && !peer.ip().to_canonical().is_loopback() {
            Some(PROTECTED)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            state.counters.connections_rejected += 1;
            // The socket is new, so its buffer is empty; a client that misses the reason is
            // disconnected all the same.
            let _ = socket.write(refusal);
            return;
        }
        state.counters.connections += 1;
        // Replies are written together already; waiting for more would only delay them.
        let _ = socket.set_nodelay(true);
        let local = socket.local_addr().unwrap_or(state.address);
        let slot = self.clients.reserve();
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(FIRST_CONNECTION + slot);
        if let Err(error) = self.poll.registry().register(&mut socket, token, interest) {
            tracing::warn!("cannot watch a connection: {error}");
            return self.clients.release(slot);
        }
        let session = Session::new(self.next_client_id, peer, local, state.password.is_none());
        self.next_client_id += 1;
        let mut connection = Box::new(Connection::new(socket, session));
        enqueue(&mut self.queue, &mut connection, slot);
        self.clients.put_back(slot, connection);
    }

    /// One turn for everyone who stands in the queue now, and one wait for the events of them all.
    fn give_turns(&mut self) {
        let now_ms = unix_ms();
        for _ in 0..self.queue.len() {
            let Some(slot) = self.queue.pop_front() else { break };
            let Some(mut connection) = self.clients.take(slot) else { continue };
            connection.queued = false;
            let turn = connection.turn(
                &mut self.state,
                &mut self.clients,
                &mut self.shared_buffer,
                now_ms,
            );
            self.after_turn(slot, connection, turn);
            for killed in self.clients.take_killed() {
                self.drop_client(killed);
            }
        }
        if self.state.commits.outstanding() > 0 {
            self.commit();
        }
    }

    fn after_turn(&mut self, slot: usize, mut connection: Box<Connection>, turn: Turn) {
        match turn {
            Turn::Close => return self.farewell(slot, connection),
            Turn::Commit => {
                self.uncommitted.push(slot);
                return self.clients.put_back(slot, connection);
            }
            Turn::Again => enqueue(&mut self.queue, &mut connection, slot),
            Turn::Wait => {}
        }
        let waits = connection.session.test.is_some();
        self.clients.put_back(slot, connection);
        if waits {
            self.poll_test(slot);
        }
    }

    /// Waits until the log has kept its promise for the events of this turn; then their replies
    /// go out.
    fn commit(&mut self) {
        let committed = self.state.commit(|| self.stop.load(Ordering::Acquire));
        for slot in std::mem::take(&mut self.uncommitted) {
            // Another client may have killed it.
            let Some(mut connection) = self.clients.take(slot) else { continue };
            match &committed {
                Committed::Kept => {}
                Committed::Broken(message) => connection.break_promises(message),
                // Its replies would promise what nobody knows; it is closed with all others.
                Committed::GivenUp => {
                    self.clients.put_back(slot, connection);
                    continue;
                }
            }
            let turn = connection.finish_turn(&mut self.state);
            self.after_turn(slot, connection, turn);
        }
    }

    /// Asks the test that a client waits for whether it is over.
    fn poll_test(&mut self, slot: usize) {
        let Some(connection) = self.clients.get_mut(slot) else { return };
        let Some(test) = &mut connection.session.test else { return };
        let waker = Waker::from(Arc::new(PokeLoop(self.waker.clone())));
        if let std::task::Poll::Ready(outcome) =
            test.as_mut().poll(&mut Context::from_waker(&waker))
        {
            connection.finish_test(&outcome);
            self.tests.retain(|waiting| *waiting != slot);
            // Commands behind the test may wait in the buffer or in the socket.
            enqueue(&mut self.queue, connection, slot);
        } else if !self.tests.contains(&slot) {
            self.tests.push(slot);
        }
    }

    fn poll_tests(&mut self) {
        for slot in self.tests.clone() {
            self.poll_test(slot);
        }
    }

    fn housekeep(&mut self) {
        let now = Instant::now();
        if now < self.housekeeping_at {
            return;
        }
        self.housekeeping_at = now + HOUSEKEEPING_INTERVAL;
        self.accepting.fill(true);
        let idle_max = Duration::from_secs(self.state.settings.timeout_seconds);
        for slot in self.clients.overdue(now, idle_max) {
            self.drop_client(slot);
        }
    }

    fn drop_client(&mut self, slot: usize) {
        if let Some(connection) = self.clients.take(slot) {
            self.farewell(slot, connection);
        }
    }

    /// The connection ends here; its descriptor leaves the poll when it is closed.
    fn farewell(&mut self, slot: usize, mut connection: Box<Connection>) {
        self.state.watched.unwatch(&mut connection.session.watches);
        self.tests.retain(|waiting| *waiting != slot);
        self.queue.retain(|waiting| *waiting != slot);
        self.clients.release(slot);
    }
}

fn enqueue(queue: &mut VecDeque<usize>, connection: &mut Connection, slot: usize) {
    if !connection.queued {
        connection.queued = true;
        queue.push_back(slot);
    }
}

fn unix_ms() -> u64 {
    crate::base::time::unix_us() / 1000
}
