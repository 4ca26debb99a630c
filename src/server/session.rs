//! What the server remembers of a client, beside its socket.

use super::engine::TestFuture;
use super::transaction::Transaction;
use super::transaction::Watch;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Whether replies are sent (`CLIENT REPLY`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ReplyMode {
    /// They are.
    #[default]
    On,
    /// They are not.
    Off,
    /// `CLIENT REPLY SKIP` itself is running: the command after it gets no reply.
    SkipNext,
    /// The command under way gets no reply, later ones do.
    Skip,
}

/// One client.
pub(crate) struct Session {
    pub id: u64,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// As events name this client: `conn:<id>`.
    pub client_id: String,
    /// As events name this client's address.
    pub source_ip: String,
    pub name: String,
    pub library_name: String,
    pub library_version: String,
    pub database: u32,
    pub resp3: bool,
    pub authenticated: bool,
    pub reply_mode: ReplyMode,
    pub transaction: Option<Transaction>,
    pub watches: Vec<Watch>,
    /// The connection is closed once the replies so far are sent; nothing more is executed.
    pub closing: bool,
    /// Drop the connection now: nothing more is sent either.
    pub aborted: bool,
    /// A test delivery whose result is this client's next reply.
    pub test: Option<TestFuture>,
    pub connected_at: Instant,
    pub active_at: Instant,
    pub last_command: &'static str,
    pub no_evict: bool,
    pub no_touch: bool,
}

impl Session {
    pub fn new(id: u64, peer: SocketAddr, local: SocketAddr, authenticated: bool) -> Self {
        let now = Instant::now();
        Session {
            id,
            peer,
            local,
            client_id: format!("conn:{id}"),
            source_ip: peer.ip().to_canonical().to_string(),
            name: String::new(),
            library_name: String::new(),
            library_version: String::new(),
            database: 0,
            resp3: false,
            authenticated,
            reply_mode: ReplyMode::On,
            transaction: None,
            watches: Vec::new(),
            closing: false,
            aborted: false,
            test: None,
            connected_at: now,
            active_at: now,
            last_command: "NULL",
            no_evict: false,
            no_touch: false,
        }
    }

    pub fn idle(&self) -> Duration {
        self.active_at.elapsed()
    }

    /// This client's line in `CLIENT LIST`. It holds no arguments, so it can hold no secrets.
    pub fn describe(&self) -> String {
        let multi = self.transaction.as_ref().map_or(-1, |open| open.len() as i64);
        let flags = match (&self.transaction, self.closing) {
            (Some(_), _) => "x",
            (None, true) => "c",
            (None, false) => "N",
        };
        let mut line = String::with_capacity(256);
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            "id={} addr={} laddr={} fd=-1 name={} age={} idle={} flags={flags} db={} sub=0 psub=0 \
             ssub=0 multi={multi} watch={} qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 \
             obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} user=default redir=-1 resp={} \
             lib-name={} lib-ver={}",
            self.id,
            self.peer,
            self.local,
            self.name,
            self.connected_at.elapsed().as_secs(),
            self.idle().as_secs(),
            self.database,
            self.watches.len(),
            self.last_command,
            if self.resp3 { 3 } else { 2 },
            self.library_name,
            self.library_version,
        );
        line
    }
}
