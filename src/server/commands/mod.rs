//! The commands of the server itself, and the way from a request to its reply.

mod acl;
mod admin;
mod client;
mod command;
mod config;
mod connection;
mod docs;
mod info;
mod multi;
mod time_argument;
mod webhook;
mod webhook_deliveries;
mod webhook_docs;
mod webhook_options;
mod webhook_reply;
mod webhook_words;

use super::command_table::CommandSpec;
use super::connection::Clients;
use super::keyspace;
use super::reply::Reply;
use super::session::Session;
use super::state::State;
use std::collections::{BTreeMap, HashMap};

/// Longest command name that is looked up; no command is longer.
const NAME_BYTES_MAX: usize = 64;
/// Bytes of an unknown command's arguments that its error repeats.
const ECHOED_BYTES_MAX: usize = 128;

pub use docs::Argument;
pub(crate) use webhook::{parse_publish, write_test_report};
pub(crate) use webhook_docs::arguments as webhook_arguments;
pub(crate) use webhook_options::option_words;
pub(crate) use webhook_reply::error_text;
pub use webhook_words::{CommandWords, commands_of};

pub(crate) const NOT_AN_INTEGER: &str = "ERR value is not an integer or out of range";
pub(crate) const SYNTAX_ERROR: &str = "ERR syntax error";

/// What a command works on.
pub(crate) struct Context<'a> {
    pub state: &'a mut State,
    pub session: &'a mut Session,
    /// The other clients.
    pub others: &'a mut Clients,
    pub reply: Reply<'a>,
    pub now_ms: u64,
}

/// Runs a command: writes one reply.
pub(crate) type Handler = fn(&mut Context<'_>, &[&[u8]]);

/// A command of the server itself.
pub(crate) struct OwnCommand {
    pub spec: CommandSpec,
    pub run: Handler,
}

/// A command: its description, and who runs it.
#[derive(Clone, Copy)]
pub(crate) struct Command {
    pub spec: &'static CommandSpec,
    /// `None`: the keyspace does.
    run: Option<Handler>,
}

/// All commands by name.
pub(crate) struct CommandTable {
    by_name: HashMap<Box<str>, Command>,
}

impl CommandTable {
    pub fn new() -> Self {
        let own = [
            connection::COMMANDS,
            client::COMMANDS,
            command::COMMANDS,
            config::COMMANDS,
            info::COMMANDS,
            admin::COMMANDS,
            multi::COMMANDS,
            webhook::COMMANDS,
            acl::COMMANDS,
        ];
        // The server's own commands come last, so that they win.
        let by_name = keyspace::COMMANDS
            .iter()
            .map(|spec| Command { spec, run: None })
            .chain(
                own.into_iter()
                    .flatten()
                    .map(|own| Command { spec: &own.spec, run: Some(own.run) }),
            )
            .map(|command| (command.spec.name.to_ascii_lowercase().into_boxed_str(), command))
            .collect();
        CommandTable { by_name }
    }

    /// The command called `name`, in any case.
    pub fn get(&self, name: &[u8]) -> Option<Command> {
        let mut lower = [0; NAME_BYTES_MAX];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        self.by_name.get(std::str::from_utf8(lower).ok()?).copied()
    }

    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// All commands, by name.
    pub fn sorted(&self) -> BTreeMap<&str, Command> {
        self.by_name.iter().map(|(name, command)| (&**name, *command)).collect()
    }
}

/// Answers one request, which has at least one word.
pub(crate) fn dispatch(context: &mut Context<'_>, args: &[&[u8]]) {
    context.state.counters.commands += 1;
    let Some(&name) = args.first() else { return };
    if is_http(name) {
        tracing::warn!(peer = %context.session.peer, "HTTP on the RESP port: connection dropped");
        context.session.aborted = true;
        return;
    }
    let Some(command) = context.state.commands.get(name) else {
        return refuse(context, &unknown_command(args));
    };
    let name = command.spec.name;
    if !command.spec.takes(args.len()) {
        let message = wrong_arity(&name.to_ascii_lowercase());
        return refuse(context, &message);
    }
    if !context.session.authenticated && !command.spec.has("no_auth") {
        return refuse(context, "NOAUTH Authentication required.");
    }
    if (command.spec.has("write") || name == "webhook.publish")
        && let Some(message) = context.state.refusal_of_writes()
    {
        return refuse(context, &message);
    }
    context.session.last_command = name;
    if context.session.transaction.is_some() && !command.spec.has("in_multi") {
        return multi::queue(context, command.spec, args);
    }
    run(context, command, args);
}

/// Runs a command that was looked up and checked.
fn run(context: &mut Context<'_>, command: Command, args: &[&[u8]]) {
    let Some(handler) = command.run else {
        let Context { state, session, reply, now_ms, .. } = context;
        if !state.execute_in_keyspace(session, *now_ms, args, reply) {
            reply.error(&unknown_command(args));
        }
        if command.spec.has("write") && !state.watched.is_empty() {
            touch_watched(state, session.database, command.spec, args);
        }
        return;
    };
    handler(context, args);
}

/// A write was run: whoever watches its keys has to know.
fn touch_watched(state: &mut State, database: u32, spec: &CommandSpec, args: &[&[u8]]) {
    let mut has_keys = false;
    for key in spec.keys(args) {
        has_keys = true;
        state.watched.touch(database, key);
    }
    // These may write to another database than the connection's.
    let elsewhere = matches!(spec.name, "copy" | "move");
    if !has_keys || elsewhere || spec.has("movablekeys") {
        state.watched.touch_all();
    }
}

/// An error before the command was run; within a transaction it fails the whole.
fn refuse(context: &mut Context<'_>, message: &str) {
    if let Some(transaction) = &mut context.session.transaction {
        transaction.fail();
    }
    context.reply.error(message);
}

/// Whether a browser, or one of our own webhooks, talks HTTP to us. Running the lines of its
/// request as commands would let any web page command the server.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"HOST:")
}

/// Repeats what the client sent, as Redis does, but no argument of a misspelt WEBHOOK command:
/// it may be a secret.
fn unknown_command(args: &[&[u8]]) -> String {
    use std::fmt::Write as _;
    let name = &args[0][..args[0].len().min(ECHOED_BYTES_MAX)];
    let mut message = format!(
        "ERR unknown command '{}', with args beginning with: ",
        String::from_utf8_lossy(name)
    );
    if may_hold_secrets(name) {
        return message;
    }
    let mut left = ECHOED_BYTES_MAX;
    for arg in &args[1..] {
        if left == 0 {
            break;
        }
        let shown = &arg[..arg.len().min(left)];
        left -= shown.len();
        // Writing to a String cannot fail.
        let _ = write!(message, "'{}' ", String::from_utf8_lossy(shown));
        left = left.saturating_sub(3);
    }
    message
}

fn may_hold_secrets(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    name.contains("hook") || name.starts_with("web") || name.starts_with("auth")
}

pub(crate) fn wrong_arity(name: &str) -> String {
    format!("ERR wrong number of arguments for '{name}' command")
}

/// One subcommand of a container command such as `CLIENT`.
pub(crate) struct Subcommand {
    /// Its name, in upper case.
    pub name: &'static str,
    /// As in [`CommandSpec`], the container's name included.
    pub arity: i32,
    pub run: Handler,
}

/// Runs the subcommand that `args` name.
fn run_subcommand(
    context: &mut Context<'_>,
    container: &'static str,
    table: &'static [Subcommand],
    args: &[&[u8]],
) {
    let found = table.iter().find(|sub| args[1].eq_ignore_ascii_case(sub.name.as_bytes()));
    let Some(sub) = found else {
        if args[1].eq_ignore_ascii_case(b"HELP") {
            return help(&mut context.reply, container, table);
        }
        let name = &args[1][..args[1].len().min(ECHOED_BYTES_MAX)];
        return context.reply.error(&format!(
            "ERR unknown subcommand '{}'. Try {container} HELP.",
            String::from_utf8_lossy(name)
        ));
    };
    let arity = CommandSpec::keyless(sub.name, sub.arity, &[], "", "", "");
    if !arity.takes(args.len()) {
        let name = format!("{container}|{}", sub.name).to_ascii_lowercase();
        return context.reply.error(&wrong_arity(&name));
    }
    (sub.run)(context, args);
}

fn help(reply: &mut Reply<'_>, container: &str, table: &[Subcommand]) {
    reply.array(table.len() + 1);
    reply.simple(&format!("{container} knows these subcommands:"));
    for sub in table {
        reply.simple(sub.name);
    }
}

/// A whole number, as clients write it.
pub(crate) fn parse_number<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    // `from_str` would take a plus sign.
    std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'))?.parse().ok()
}

/// `args` as text; invalid UTF-8 is shown as such.
pub(crate) fn lossy(arg: &[u8]) -> String {
    String::from_utf8_lossy(arg).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_commands_are_repeated_within_bounds_and_without_secrets() {
        assert_eq!(
            unknown_command(&[b"FOO", b"a", b"b"]),
            "ERR unknown command 'FOO', with args beginning with: 'a' 'b' "
        );
        let long = [b'x'; 1000];
        assert!(unknown_command(&[&long, &long, &long]).len() < 400);
        for name in [b"WEBHOOK.CREAT".as_slice(), b"webhok.create", b"hook", b"authx"] {
            let text = unknown_command(&[name, b"n", b"SECRET", b"hunter2"]);
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn names_are_found_in_any_case() {
        let table = CommandTable::new();
        assert_eq!(table.get(b"PiNg").unwrap().spec.name, "ping");
        assert!(table.get(b"webhook.create").is_some());
        assert!(table.get(&[b'x'; 1000]).is_none() && table.get(b"\xff").is_none());
        assert!(table.len() > 20);
    }
}
