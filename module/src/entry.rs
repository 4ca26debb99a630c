//! What the server calls, and the module's state.
//!
//! The state belongs to the server's thread, on which all of this runs: it is there from the time
//! that the module is loaded until the process ends.

use crate::command_info::is_change;
use crate::definitions;
use crate::events::Events;
use crate::host::{self, BlockedClient, Dump, NotifiedKey, Server, Watch, Words};
use crate::resp::{Answer, pass_on};
use crate::{server_log, settings};
use ferrite::server::engine::{TestFuture, block_on};
use ferrite::server::hosted::{self, Caller, HostedCommands, Outcome};
use ferrite::webhooks::WebhookManager;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Tests under way at once; each has a thread that waits for it.
const TESTS_MAX: usize = 64;

const OK_REPLY: &[u8] = b"+OK\r\n";
const NOT_IN_TRANSACTION: &str = "ERR Command not allowed inside a transaction";
const TOO_MANY_TESTS: &str = "ERR too many tests are under way; try again";
const NOT_ON_REPLICA: &str = "READONLY a replica sends nothing: publish to its primary";

thread_local! {
    static MODULE: RefCell<Option<Module>> = const { RefCell::new(None) };
}

struct Module {
    manager: WebhookManager,
    commands: HostedCommands,
    events: Events,
    shutdown_timeout: Duration,
    is_replica: bool,
    is_loading: bool,
    /// Since loading began.
    definitions_were_loaded: bool,
    /// The definitions after the last change.
    last_known: Vec<definitions::Commands>,
    /// The engine has kept definitions that are at least as new as those in the server's files.
    has_newer: bool,
    /// Commands are heard of while there are webhooks.
    watch: Option<Watch>,
    tests: Arc<AtomicUsize>,
    /// Holds a reply; kept for the next.
    reply: Vec<u8>,
}

/// Runs `act` with the state. Nothing happens when the server calls while it is called: it would
/// be an event of our own reading.
fn with_module<R>(act: impl FnOnce(&mut Module) -> R) -> Option<R> {
    MODULE.with(|module| module.try_borrow_mut().ok()?.as_mut().map(act))
}

/// The module is loaded.
pub fn start(server: &Server<'_>, words: &[&[u8]]) -> Result<(), String> {
    let settings = settings::read(words)?;
    server_log::start(&settings.server.log_level);
    settings.warnings.iter().for_each(|warning| server.log(c"warning", warning));
    // With persistence the engine has written each change down before it was answered; the files
    // of the server lag behind.
    let queue = &settings.server.webhooks.queue;
    let has_newer = queue.persistence && queue.data_dir.is_dir();
    let manager = WebhookManager::start(settings.server.webhooks.clone())
        .map_err(|error| error.to_string())?;
    // No webhook leads to this server, nor to the port by which its cluster talks (SEC-1).
    let port = server.configured_number(c"port");
    let bus = port.filter(|_| server.is_in_cluster()).and_then(|port| {
        let bus = server.configured_number(c"cluster-port").filter(|bus| *bus != 0);
        bus.or(port.checked_add(10_000))
    });
    for port in [port, bus, server.configured_number(c"tls-port")].into_iter().flatten() {
        if port != 0 {
            manager.add_own_listener((Ipv4Addr::UNSPECIFIED, port).into());
        }
    }
    let module = Module {
        commands: HostedCommands::new(settings.server.clone(), manager.clone()),
        events: Events::new(manager.clone(), settings.value_bytes_max),
        manager,
        shutdown_timeout: Duration::from_millis(settings.server.shutdown_timeout_ms),
        is_replica: server.is_replica(),
        is_loading: server.is_loading(),
        definitions_were_loaded: false,
        last_known: Vec::new(),
        has_newer,
        watch: None,
        tests: Arc::default(),
        reply: Vec::new(),
    };
    let mut module = module;
    module.follow_definitions(server);
    MODULE.with(|place| *place.borrow_mut() = Some(module));
    Ok(())
}

/// One of the WEBHOOK commands.
pub fn command(server: &mut Server<'_>, words: &[&[u8]]) {
    let done = with_module(|module| module.command(server, words));
    if done.is_none() {
        server.error(b"ERR webhooks are not running");
    }
}

/// Something happened to a key.
pub fn notification(server: &Server<'_>, event: &[u8], key: &NotifiedKey<'_>) {
    with_module(|module| {
        if !(module.is_replica || module.is_loading) {
            module.events.notification(server, event, key);
        }
    });
}

/// A command is about to run.
pub fn command_begins(words: &Words<'_>) {
    with_module(|module| {
        if !(module.is_replica || module.is_loading) {
            module.events.command_begins(words);
        }
    });
}

/// The server has done what there was to do.
pub fn before_sleep(_server: &Server<'_>) {
    with_module(|module| {
        module.events.let_go();
        // What is loaded from now on is newer: it comes from a primary, or somebody asked for it.
        module.has_newer = false;
    });
}

/// The server has become a primary or a replica.
pub fn role_changed(server: &Server<'_>, is_primary: bool) {
    with_module(|module| {
        module.is_replica = !is_primary;
        module.events.forget();
        let now = if is_primary { "sends" } else { "does not send" };
        server.log(c"notice", &format!("webhooks: this server {now} events from now on"));
    });
}

/// What is being loaded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loading {
    /// An RDB file, or what a primary sends.
    Dump,
    /// The append-only file.
    AppendOnlyFile,
    /// Nothing any more.
    Ended,
    /// Nothing any more, and it did not work.
    Failed,
}

/// The server begins or ends loading its data.
pub fn loading(server: &Server<'_>, loading: Loading) {
    with_module(|module| {
        module.is_loading = matches!(loading, Loading::Dump | Loading::AppendOnlyFile);
        module.events.forget();
        match loading {
            _ if module.has_newer => {}
            Loading::Dump => module.definitions_were_loaded = false,
            // Its commands make them anew.
            Loading::AppendOnlyFile => {
                module.definitions_were_loaded = true;
                module.become_of(Vec::new());
            }
            // Some servers leave out that there are none.
            Loading::Ended if !module.definitions_were_loaded => module.become_of(Vec::new()),
            Loading::Ended | Loading::Failed => {}
        }
        module.follow_definitions(server);
    });
}

/// The server is about to end: what is pending is delivered, as far as there is time.
pub fn shutdown(server: &Server<'_>) {
    with_module(|module| {
        module.events.let_go();
        let report = block_on(module.manager.shutdown(module.shutdown_timeout));
        if report.pending > 0 {
            let line = format!("webhooks: {} deliveries were left pending", report.pending);
            server.log(c"warning", &line);
        }
    });
}

/// What is written when there are no webhooks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Empty {
    /// That there are none.
    Written,
    /// Nothing.
    LeftOut,
}

/// Writes the definitions to an RDB file.
///
/// The server does this in a copy of itself, which has this thread alone: a lock that another
/// thread held when the copy was made is never let go there. What was last known is written then:
/// it lacks at most that a worker has disabled a webhook since.
pub fn save(dump: &mut Dump, empty: Empty) {
    let now = |module: &mut Module| {
        definitions::of(&module.manager).unwrap_or_else(|| module.last_known.clone())
    };
    let webhooks = with_module(now).unwrap_or_default();
    if empty == Empty::Written || !webhooks.is_empty() {
        definitions::write(dump, &webhooks);
    }
}

/// Reads the definitions from an RDB file.
pub fn restore(dump: &mut Dump) -> bool {
    let wanted = definitions::read(dump);
    with_module(|module| {
        module.definitions_were_loaded = true;
        if !module.has_newer {
            module.become_of(wanted);
        }
    })
    .is_some()
}

impl Module {
    fn command(&mut self, server: &mut Server<'_>, words: &[&[u8]]) {
        let name = words.first().copied().unwrap_or_default();
        if self.has_newer && self.is_loading && is_change(name) {
            return server.simple(b"OK");
        }
        if self.is_replica && name.eq_ignore_ascii_case(b"webhook.publish") {
            return server.error(NOT_ON_REPLICA.as_bytes());
        }
        if name.eq_ignore_ascii_case(b"webhook.test") && server.denies_blocking() {
            return server.error(NOT_IN_TRANSACTION.as_bytes());
        }
        for _ in 0..std::mem::take(&mut self.events.refused) {
            self.commands.count_refused();
        }
        let id = server.client_id();
        let source_ip = server.client_ip(id);
        let caller = Caller {
            id,
            source_ip: &source_ip,
            database: server.database(),
            resp3: server.is_resp3(),
        };
        // What was before is told before what the command says.
        self.events.let_go();
        self.reply.clear();
        match self.commands.run(&caller, words, &mut self.reply) {
            Outcome::Test(test) => self.test(server, caller.resp3, test),
            Outcome::Replied => {
                pass_on(&self.reply, server);
                if is_change(name) && self.reply == OK_REPLY {
                    server.replicate();
                    self.follow_definitions(server);
                }
            }
        }
    }

    /// The client waits, and not the server.
    fn test(&self, server: &mut Server<'_>, resp3: bool, test: TestFuture) {
        if self.tests.fetch_add(1, Ordering::Relaxed) >= TESTS_MAX {
            self.tests.fetch_sub(1, Ordering::Relaxed);
            return server.error(TOO_MANY_TESTS.as_bytes());
        }
        let (client, tests) = (server.block(), self.tests.clone());
        let waiting = std::thread::Builder::new().name("webhook-test".to_owned());
        // The client is behind a cell, so that it is at hand when there is no thread for it.
        let client = Arc::new(std::sync::Mutex::new(Some(client)));
        let for_thread = client.clone();
        let spawned = waiting.spawn(move || {
            let outcome = block_on(test);
            let mut reply = Vec::new();
            hosted::write_test_report(&mut reply, resp3, &outcome);
            answer(&for_thread, &reply);
            tests.fetch_sub(1, Ordering::Relaxed);
        });
        if spawned.is_err() {
            self.tests.fetch_sub(1, Ordering::Relaxed);
            answer(&client, format!("-{TOO_MANY_TESTS}\r\n").as_bytes());
        }
    }

    /// Makes the webhooks those that are wanted. One that cannot be made is left out: the data of
    /// the server are worth more than it.
    fn become_of(&mut self, wanted: Vec<definitions::Commands>) {
        let caller = Caller { id: 0, source_ip: "", database: 0, resp3: false };
        let are = self.definitions();
        for words in definitions::changes(&are, wanted) {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            let mut reply = Vec::new();
            let done = self.commands.run(&caller, &words, &mut reply);
            if !matches!(done, Outcome::Replied) || reply != OK_REPLY {
                let name = words.get(1).copied().unwrap_or_default();
                let (name, why) = (String::from_utf8_lossy(name), String::from_utf8_lossy(&reply));
                host::log(c"warning", &format!("webhook {name} was not restored: {}", why.trim()));
            }
        }
    }

    /// What makes the webhooks that there are. Others look at them for moments only.
    fn definitions(&self) -> Vec<definitions::Commands> {
        loop {
            match definitions::of(&self.manager) {
                Some(definitions) => return definitions,
                None => std::thread::yield_now(),
            }
        }
    }

    /// Hears of commands while there is a webhook that might want to know.
    fn follow_definitions(&mut self, server: &Server<'_>) {
        self.last_known = self.definitions();
        let wanted = !self.last_known.is_empty();
        match self.watch.take() {
            Some(watch) if !wanted => server.unwatch_commands(watch),
            None if wanted => self.watch = server.watch_commands(),
            watch => self.watch = watch,
        }
    }
}

fn answer(client: &std::sync::Mutex<Option<BlockedClient>>, reply: &[u8]) {
    let client = client.lock().ok().and_then(|mut client| client.take());
    if let Some(client) = client {
        client.reply(|server| {
            pass_on(reply, server);
        });
    }
}
