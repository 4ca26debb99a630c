//! The WEBHOOK commands for a host that has a server of its own, such as the module for Redis and
//! Valkey: the host gives the words of a command, and gets the reply as RESP.
//!
//! Nothing here waits, and the host's own keyspace is not touched: of the server behind it, the
//! commands use the engine alone.

use super::commands::{self, CommandTable, Context, dispatch};
use super::connection::Clients;
use super::engine::TestFuture;
use super::reply::Reply;
use super::session::Session;
use super::settings::ServerSettings;
use super::state::State;
use crate::webhooks::{Admission, TestReport, WebhookError, WebhookManager, WhenFull};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

pub use super::command_table::CommandSpec;
pub use super::commands::{Argument, CommandWords, commands_of};

/// The prefix of all commands here.
const PREFIX: &str = "webhook.";

/// What `WEBHOOK.PUBLISH` answers when the engine's rings have no room: the caller may wait, the
/// server's thread must not.
const NO_ROOM: &str = "ERR the webhook queue is full; try again";

/// Who sent a command.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// The number of its connection.
    pub id: u64,
    /// Its address, as events name it; empty for none.
    pub source_ip: &'a str,
    /// The database it works on.
    pub database: u32,
    /// Whether it speaks RESP3.
    pub resp3: bool,
}

/// What became of a command.
#[must_use]
pub enum Outcome {
    /// The reply is complete.
    Replied,
    /// Nothing was written: the reply comes when the test is over, from [`write_test_report`].
    Test(TestFuture),
}

/// The WEBHOOK commands of one engine.
pub struct HostedCommands {
    manager: WebhookManager,
    state: State,
    others: Clients,
}

impl HostedCommands {
    /// The commands over `manager`.
    pub fn new(settings: ServerSettings, manager: WebhookManager) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let settings = ServerSettings { databases: 1, ..settings };
        HostedCommands {
            state: State::new(settings, Box::new(manager.clone()), nowhere),
            manager,
            others: Clients::default(),
        }
    }

    /// Counts an event that the engine refused, for `WEBHOOK.STATS`.
    pub fn count_refused(&mut self) {
        self.state.counters.events_refused += 1;
    }

    /// Runs one command; `args` begin with its name. Writes its reply to `out`, as RESP.
    pub fn run(&mut self, caller: &Caller<'_>, args: &[&[u8]], out: &mut Vec<u8>) -> Outcome {
        let ip = caller.source_ip.parse().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let peer = SocketAddr::new(ip, 0);
        let mut session = Session::new(caller.id, peer, peer, true);
        session.database = caller.database;
        session.resp3 = caller.resp3;
        let mut reply = Reply::new(out, caller.resp3);
        let is_publish = args.first().is_some_and(|name| name.eq_ignore_ascii_case(PUBLISH));
        if is_publish && args.len() >= PUBLISH_WORDS_MIN {
            self.publish(caller, &session, args, &mut reply);
            return Outcome::Replied;
        }
        let mut context = Context {
            state: &mut self.state,
            session: &mut session,
            others: &mut self.others,
            reply,
            now_ms: 0,
        };
        dispatch(&mut context, args);
        session.test.take().map_or(Outcome::Replied, Outcome::Test)
    }

    /// `WEBHOOK.PUBLISH`, which elsewhere waits for room.
    fn publish(
        &self,
        caller: &Caller<'_>,
        session: &Session,
        args: &[&[u8]],
        reply: &mut Reply<'_>,
    ) {
        let mut event = match commands::parse_publish(args, caller.database) {
            Ok(event) => event,
            Err(message) => return reply.error(&message),
        };
        event.client_id = Some(&session.client_id);
        event.source_ip = Some(caller.source_ip).filter(|ip| !ip.is_empty());
        match self.manager.offer(&event, WhenFull::DropNow) {
            Ok(Admission::Full) => reply.error(NO_ROOM),
            Ok(Admission::Accepted | Admission::Unmatched) => reply.ok(),
            Err(error) => reply.error(&commands::error_text(&error)),
        }
    }
}

const PUBLISH: &[u8] = b"webhook.publish";
/// Fewer words are a wrong number of arguments, which is answered where all commands are.
const PUBLISH_WORDS_MIN: usize = 4;

/// The commands, by name.
pub fn specs() -> Vec<&'static CommandSpec> {
    let table = CommandTable::new();
    let webhook = table.sorted().into_iter().filter(|(name, _)| name.starts_with(PREFIX));
    webhook.map(|(_, command)| command.spec).collect()
}

/// The arguments of a command, for `COMMAND DOCS`.
pub fn arguments(name: &str) -> &'static [Argument] {
    commands::webhook_arguments(name)
}

/// Writes the reply of `WEBHOOK.TEST`.
pub fn write_test_report(
    out: &mut Vec<u8>,
    resp3: bool,
    outcome: &Result<TestReport, WebhookError>,
) {
    commands::write_test_report(&mut Reply::new(out, resp3), outcome);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhooks::WebhookConfig;

    fn now() -> u64 {
        crate::base::time::unix_us() / 1_000_000
    }

    fn commands() -> HostedCommands {
        let manager = WebhookManager::new(WebhookConfig::default());
        HostedCommands::new(ServerSettings::default(), manager)
    }

    fn run(commands: &mut HostedCommands, line: &str) -> String {
        let caller = Caller { id: 7, source_ip: "127.0.0.1", database: 0, resp3: false };
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let mut out = Vec::new();
        let outcome = commands.run(&caller, &args, &mut out);
        assert!(matches!(outcome, Outcome::Replied) || out.is_empty());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn commands_answer_as_the_server_does() {
        let mut commands = commands();
        let create = "WEBHOOK.CREATE a http://127.0.0.1:1/ EVENTS SET";
        assert_eq!(run(&mut commands, create), "+OK\r\n");
        assert_eq!(run(&mut commands, create), "-WEBHOOKEXISTS webhook 'a' exists already\r\n");
        assert!(run(&mut commands, "webhook.list").contains("http://127.0.0.1:1/"));
        assert!(run(&mut commands, "WEBHOOK.CREATE a").contains("wrong number of arguments"));
        assert!(run(&mut commands, "WEBHOOK.PUBLISH SET").contains("wrong number of arguments"));
        assert_eq!(run(&mut commands, "WEBHOOK.PUBLISH DEL k v"), "+OK\r\n");
        assert!(run(&mut commands, "WEBHOOK.PUBLISH GET k v").starts_with("-ERR unknown event"));
        commands.count_refused();
        assert!(run(&mut commands, "WEBHOOK.STATS").contains("refused"));
    }

    #[test]
    fn definitions_make_the_same_webhooks_again() {
        let mut one = commands();
        for line in [
            "WEBHOOK.CREATE a http://127.0.0.1:1/ EVENTS SET AUTH bearer t HEADER X-A b SECRET s1",
            "WEBHOOK.UPDATE a SECRET s2 GRACE 1000",
            "WEBHOOK.CREATE b https://127.0.0.1:1/x BATCH true FINAL_STATUS 404 409 PATTERN k*",
            "WEBHOOK.DISABLE b",
        ] {
            assert_eq!(run(&mut one, line), "+OK\r\n", "{line}");
        }
        let definitions = one.manager.definitions().unwrap();
        let mut other = commands();
        for words in definitions.iter().flat_map(|definition| commands_of(definition, now())) {
            let line = String::from_utf8(words.join(&b' ')).unwrap();
            assert_eq!(run(&mut other, &line), "+OK\r\n", "{line}");
        }
        let mut again = other.manager.definitions().unwrap();
        // The second that a grace ends in may have been rounded.
        for (definition, before) in again.iter_mut().zip(&definitions) {
            for (secret, (_, until)) in
                definition.retired_secrets.iter_mut().zip(&before.retired_secrets)
            {
                assert!(secret.1.abs_diff(*until) <= 1);
                secret.1 = *until;
            }
        }
        assert_eq!(again, definitions);
    }

    #[test]
    fn every_webhook_command_is_there_with_its_arguments() {
        let names: Vec<&str> = specs().iter().map(|spec| spec.name).collect();
        assert_eq!(names.len(), 14);
        assert!(names.contains(&"webhook.create") && names.iter().all(|n| n.starts_with(PREFIX)));
        assert!(!arguments("webhook.create").is_empty());
    }
}
