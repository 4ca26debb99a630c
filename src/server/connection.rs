//! One client's connection: bytes in, commands, bytes out.
//!
//! All replies of a read are written together. Every buffer has a bound: a client that does not
//! read its replies is not read from either, and is disconnected if it never does.

use super::commands::{self, Context};
use super::engine::TestFuture;
use super::reply::Reply;
use super::resp::{RequestLimits, RequestParser, Step};
use super::session::{ReplyMode, Session};
use super::state::State;
use mio::net::TcpStream;
use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Longest argument, in bytes.
pub(crate) const BULK_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Most arguments of one command.
const ARGUMENTS_MAX: usize = 1024 * 1024;
/// Most unprocessed bytes of a client.
const INPUT_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Most unprocessed bytes of a client that has not authenticated.
const UNAUTHENTICATED_INPUT_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of the read buffer that all connections share.
pub(crate) const SHARED_BUFFER_BYTES: usize = 64 * 1024;
/// Least room that a read is given.
const READ_BYTES_MIN: usize = 16 * 1024;
/// Commands that one connection may run before the others get their turn.
const COMMANDS_PER_TURN: usize = 512;
/// With so many bytes of replies unread, no more commands of the client are run.
const OUTPUT_PAUSE_BYTES: usize = 64 * 1024 * 1024;
/// Output buffers larger than this are freed when they are empty.
const OUTPUT_KEPT_BYTES: usize = 16 * 1024;
/// A client that reads none of its replies for this long is disconnected.
const OUTPUT_STALL_MAX: Duration = Duration::from_secs(60);
/// A client that does not authenticate for this long is disconnected.
const UNAUTHENTICATED_IDLE_MAX: Duration = Duration::from_secs(60);
/// How long, and how many bytes, a closed connection is read from, so that the last reply is not
/// lost to a reset.
const LINGER_MAX: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// Commands with up to so many words need no allocation for them.
const WORDS_INLINE: usize = 16;

/// Bytes that came and are not processed yet.
#[derive(Debug, Default)]
struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Input {
    fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Makes room for a read; `wanted` is how long `filled` must become, if that is known. Grows
    /// by doubling as bytes come, so that an announced length alone allocates nothing.
    fn reserve(&mut self, wanted: usize) {
        let filled = self.end - self.start;
        if self.bytes.len() - self.end >= READ_BYTES_MIN {
            return;
        }
        let capacity = if filled + READ_BYTES_MIN <= self.bytes.len() / 2 {
            self.bytes.len()
        } else {
            wanted.clamp(filled + READ_BYTES_MIN, 2 * filled + SHARED_BUFFER_BYTES)
        };
        if capacity <= self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
        } else {
            let mut bytes = vec![0; capacity];
            bytes[..filled].copy_from_slice(self.filled());
            self.bytes = bytes;
        }
        (self.start, self.end) = (0, filled);
    }

    fn read_from(&mut self, socket: &mut TcpStream) -> io::Result<usize> {
        let count = socket.read(&mut self.bytes[self.end..])?;
        self.end += count;
        Ok(count)
    }

    fn room(&self) -> usize {
        self.bytes.len() - self.end
    }

    /// Uses the shared buffer when there is none of its own.
    fn borrow(&mut self, shared: &mut Vec<u8>) {
        if self.bytes.is_empty() {
            std::mem::swap(&mut self.bytes, shared);
        }
    }

    /// Gives the shared buffer back; what is left of the input moves to a buffer of its own.
    fn give_back(&mut self, shared: &mut Vec<u8>) {
        if shared.is_empty() {
            let rest = self.filled().to_vec();
            (self.start, self.end) = (0, rest.len());
            *shared = std::mem::replace(&mut self.bytes, rest);
            shared.resize(SHARED_BUFFER_BYTES, 0);
            shared.shrink_to_fit();
        } else if self.is_empty() {
            self.bytes = Vec::new();
        }
    }
}

/// What a connection needs after its turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// Nothing, until its socket or its test says so.
    Wait,
    /// Another turn.
    Again,
    /// To be [finished](Connection::finish_turn) when the events of this turn are committed.
    Commit,
    /// To be dropped.
    Close,
}

/// The connection is being closed: our side is shut, the client's last bytes are thrown away.
#[derive(Debug)]
struct Linger {
    until: Instant,
    bytes_left: usize,
}

/// One client's connection.
pub(crate) struct Connection {
    pub socket: TcpStream,
    pub session: Session,
    pub readable: bool,
    pub writable: bool,
    /// The client has shut its side.
    pub peer_closed: bool,
    /// Whether it stands in the queue for a turn.
    pub queued: bool,
    parser: RequestParser,
    input: Input,
    /// The input may hold a whole request.
    input_ready: bool,
    output: Vec<u8>,
    /// Where in the output the replies to commands are whose events are not committed yet.
    promises: Vec<Range<usize>>,
    sent: usize,
    progress_at: Instant,
    linger: Option<Linger>,
}

impl Connection {
    pub fn new(socket: TcpStream, session: Session) -> Self {
        Connection {
            socket,
            session,
            // Bytes may have come before the socket was registered.
            readable: true,
            writable: true,
            peer_closed: false,
            queued: false,
            parser: RequestParser::default(),
            input: Input::default(),
            input_ready: false,
            output: Vec::new(),
            promises: Vec::new(),
            sent: 0,
            progress_at: Instant::now(),
            linger: None,
        }
    }

    /// One turn: what was left, one read and its commands, and one write, unless replies have to
    /// wait: also those that only tell what somebody else has written.
    pub fn turn(
        &mut self,
        state: &mut State,
        others: &mut Clients,
        shared: &mut Vec<u8>,
        now_ms: u64,
    ) -> Turn {
        if self.linger.is_some() {
            return self.discard(shared);
        }
        let mut budget = COMMANDS_PER_TURN;
        if self.input_ready {
            self.run_commands(state, others, now_ms, &mut budget);
        }
        if self.readable && budget > 0 && !self.is_blocked() && !self.session.aborted {
            self.input.borrow(shared);
            if self.read(state).is_err() {
                self.session.aborted = true;
            } else {
                self.run_commands(state, others, now_ms, &mut budget);
            }
            self.input.give_back(shared);
        }
        if !self.session.aborted && state.commits.outstanding() > 0 {
            return Turn::Commit;
        }
        self.finish_turn(state)
    }

    /// The end of a turn: its replies go out.
    pub fn finish_turn(&mut self, state: &mut State) -> Turn {
        self.promises.clear();
        if self.session.aborted || self.flush(state).is_err() {
            return Turn::Close;
        }
        self.after_turn()
    }

    /// The events of this turn are not durable: puts an error in the place of each reply that
    /// promised it.
    pub fn break_promises(&mut self, message: &str) {
        if self.promises.is_empty() {
            return;
        }
        let replies = std::mem::take(&mut self.output);
        let mut kept_from = 0;
        for promise in self.promises.drain(..) {
            self.output.extend_from_slice(&replies[kept_from..promise.start]);
            Reply::new(&mut self.output, self.session.resp3).error(message);
            kept_from = promise.end;
        }
        self.output.extend_from_slice(&replies[kept_from..]);
    }

    fn after_turn(&mut self) -> Turn {
        if self.session.closing {
            return if self.output.is_empty() { self.start_linger() } else { Turn::Wait };
        }
        if !self.is_blocked() && (self.input_ready || self.readable) {
            Turn::Again
        } else {
            Turn::Wait
        }
    }

    /// Whether no command may run now.
    fn is_blocked(&self) -> bool {
        self.session.closing
            || self.session.test.is_some()
            || self.output.len() - self.sent > OUTPUT_PAUSE_BYTES
    }

    fn read(&mut self, state: &mut State) -> io::Result<()> {
        self.input.reserve(self.parser.bytes_wanted());
        let room = self.input.room();
        match self.input.read_from(&mut self.socket) {
            // The client is gone or wants nothing more; what it asked for was answered.
            Ok(0) => {
                self.readable = false;
                self.session.closing = true;
            }
            Ok(count) => {
                state.counters.input_bytes += count as u64;
                self.session.active_at = Instant::now();
                // A short read has emptied the socket; but an end of stream behind the bytes is
                // announced only once, so keep reading until it is seen.
                self.readable = count == room || self.peer_closed;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn limits(&self) -> RequestLimits {
        RequestLimits {
            arguments_max: ARGUMENTS_MAX,
            bulk_bytes_max: BULK_BYTES_MAX,
            authenticated: self.session.authenticated,
        }
    }

    /// Runs requests of the input until none is whole, or something stops the client.
    fn run_commands(
        &mut self,
        state: &mut State,
        others: &mut Clients,
        now_ms: u64,
        budget: &mut usize,
    ) {
        self.input_ready = true;
        while *budget > 0 && !self.is_blocked() && !self.session.aborted {
            let step = self.parser.parse(self.input.filled(), &self.limits());
            match step {
                Ok(Step::Incomplete) => {
                    self.input_ready = false;
                    return self.check_input_bound();
                }
                Ok(Step::Empty(count)) => self.input.consume(count),
                Ok(Step::Request(count)) => {
                    self.run_command(state, others, now_ms);
                    self.input.consume(count);
                }
                Err(error) => {
                    state.counters.protocol_errors += 1;
                    Reply::new(&mut self.output, self.session.resp3)
                        .error(&format!("ERR Protocol error: {error}"));
                    self.session.closing = true;
                }
            }
            *budget -= 1;
        }
    }

    fn check_input_bound(&mut self) {
        let bound = match self.session.authenticated {
            true => INPUT_BYTES_MAX,
            false => UNAUTHENTICATED_INPUT_BYTES_MAX,
        };
        if self.input.filled().len() > bound {
            tracing::warn!(peer = %self.session.peer, "query buffer limit reached: disconnected");
            self.session.aborted = true;
        }
    }

    fn run_command(&mut self, state: &mut State, others: &mut Clients, now_ms: u64) {
        let (before, outstanding) = (self.output.len(), state.commits.outstanding());
        let words = self.parser.arguments(self.input.filled());
        let mut context = Context {
            state,
            session: &mut self.session,
            others,
            reply: Reply::new(&mut self.output, false),
            now_ms,
        };
        context.reply.set_resp3(context.session.resp3);
        if words.len() <= WORDS_INLINE {
            let mut inline: [&[u8]; WORDS_INLINE] = [b""; WORDS_INLINE];
            let count = words.len();
            for (place, word) in inline.iter_mut().zip(words) {
                *place = word;
            }
            commands::dispatch(&mut context, &inline[..count]);
        } else {
            commands::dispatch(&mut context, &words.collect::<Vec<_>>());
        }
        let offered = context.state.commits.outstanding() > outstanding;
        if self.session.test.is_none() {
            self.apply_reply_mode(before);
        }
        if offered && self.output.len() > before {
            self.promises.push(before..self.output.len());
        }
    }

    /// Takes back a reply that the client does not want.
    fn apply_reply_mode(&mut self, before: usize) {
        match self.session.reply_mode {
            ReplyMode::On => return,
            ReplyMode::Off => {}
            ReplyMode::SkipNext => self.session.reply_mode = ReplyMode::Skip,
            ReplyMode::Skip => self.session.reply_mode = ReplyMode::On,
        }
        self.output.truncate(before);
    }

    /// The test that the client waits for has ended: its result is the reply.
    pub fn finish_test(&mut self, outcome: &<TestFuture as Future>::Output) {
        self.session.test = None;
        let before = self.output.len();
        let mut reply = Reply::new(&mut self.output, self.session.resp3);
        commands::write_test_report(&mut reply, outcome);
        self.apply_reply_mode(before);
        self.session.active_at = Instant::now();
    }

    fn flush(&mut self, state: &mut State) -> io::Result<()> {
        if self.output.is_empty() {
            self.progress_at = Instant::now();
        }
        while self.writable && self.sent < self.output.len() {
            match self.socket.write(&self.output[self.sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.sent += count;
                    self.progress_at = Instant::now();
                    state.counters.output_bytes += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.output.len() {
            self.output.clear();
            self.output.shrink_to(OUTPUT_KEPT_BYTES);
            self.sent = 0;
        } else if self.sent > self.output.len() / 2 {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    /// Closing a socket with unread bytes resets it, and a reset can overtake the last reply. So
    /// our side is shut first, and the client's bytes are read until it shuts its own.
    fn start_linger(&mut self) -> Turn {
        if self.peer_closed || self.socket.shutdown(Shutdown::Write).is_err() {
            return Turn::Close;
        }
        self.input = Input::default();
        self.linger =
            Some(Linger { until: Instant::now() + LINGER_MAX, bytes_left: LINGER_BYTES_MAX });
        self.readable = true;
        Turn::Again
    }

    fn discard(&mut self, shared: &mut [u8]) -> Turn {
        let Some(linger) = &mut self.linger else { return Turn::Close };
        match self.socket.read(shared) {
            Ok(count) if count > 0 && count < linger.bytes_left => {
                linger.bytes_left -= count;
                Turn::Again
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Turn::Wait,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Turn::Again,
            Ok(_) | Err(_) => Turn::Close,
        }
    }

    /// Whether the connection has outlived its time; `idle_max` zero is for ever.
    pub fn is_overdue(&self, now: Instant, idle_max: Duration) -> bool {
        if let Some(linger) = &self.linger {
            return now >= linger.until;
        }
        if !self.output.is_empty() && now.duration_since(self.progress_at) > OUTPUT_STALL_MAX {
            return true;
        }
        let idle = now.duration_since(self.session.active_at);
        let silent = self.session.test.is_none()
            && (!idle_max.is_zero() && idle > idle_max
                || !self.session.authenticated && idle > UNAUTHENTICATED_IDLE_MAX);
        silent || self.session.closing && now.duration_since(self.progress_at) > OUTPUT_STALL_MAX
    }
}

/// All connections. A connection that has its turn is taken out.
#[derive(Default)]
pub(crate) struct Clients {
    slots: Vec<Option<Box<Connection>>>,
    free: Vec<usize>,
    /// Slots of connections that another client has killed.
    killed: Vec<usize>,
}

impl Clients {
    /// Connections that are not taken out.
    pub fn len(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// All, including one that is taken out.
    pub fn count(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// A place for a new connection: fill it with [`Clients::put_back`].
    pub fn reserve(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        })
    }

    pub fn get_mut(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)?.as_deref_mut()
    }

    pub fn take(&mut self, slot: usize) -> Option<Box<Connection>> {
        self.slots.get_mut(slot)?.take()
    }

    pub fn put_back(&mut self, slot: usize, connection: Box<Connection>) {
        self.slots[slot] = Some(connection);
    }

    /// The connection of this slot, which was taken out, is gone.
    pub fn release(&mut self, slot: usize) {
        self.free.push(slot);
    }

    pub fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.slots.iter().flatten().map(|connection| &connection.session)
    }

    /// Marks the connections that `wanted` picks; says how many.
    pub fn kill(&mut self, wanted: impl Fn(&Session) -> bool) -> usize {
        let before = self.killed.len();
        for (slot, connection) in self.slots.iter().enumerate() {
            if connection.as_ref().is_some_and(|connection| wanted(&connection.session)) {
                self.killed.push(slot);
            }
        }
        self.killed.len() - before
    }

    pub fn take_killed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.killed)
    }

    /// Slots whose connection has outlived its time.
    pub fn overdue(&self, now: Instant, idle_max: Duration) -> Vec<usize> {
        let is_overdue = |connection: &Connection| connection.is_overdue(now, idle_max);
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, connection)| connection.as_deref().is_some_and(is_overdue))
            .map(|(slot, _)| slot)
            .collect()
    }
}
