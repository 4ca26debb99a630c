//! Commands about the connection: who the client is and how it wants to be talked to.

use super::{Context, NOT_AN_INTEGER, OwnCommand, SYNTAX_ERROR, parse_number, wrong_arity};
use crate::server::command_table::CommandSpec;
use crate::server::session::ReplyMode;

const FAST: &[&str] = &["fast", "loading", "stale"];
const EARLY: &[&str] =
    &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy", "in_multi"];
const GREETING: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];

const fn own(
    name: &'static str,
    arity: i32,
    flags: &'static [&'static str],
    since: &'static str,
    summary: &'static str,
    run: super::Handler,
) -> OwnCommand {
    OwnCommand { spec: CommandSpec::keyless(name, arity, flags, "connection", since, summary), run }
}

pub(crate) const COMMANDS: &[OwnCommand] = &[
    own("ping", -1, FAST, "1.0.0", "Answers PONG, or what it was given.", ping),
    own("echo", 2, FAST, "1.0.0", "Answers what it was given.", echo),
    own("hello", -1, GREETING, "6.0.0", "Chooses the protocol version, and logs in.", hello),
    own("auth", -2, GREETING, "1.0.0", "Logs in.", auth),
    own("select", 2, FAST, "1.0.0", "Chooses the database.", select),
    own("quit", -1, EARLY, "1.0.0", "Closes the connection.", quit),
    own("reset", 1, EARLY, "6.2.0", "Makes the connection as good as new.", reset),
];

/// The version of Redis that clients may take the server for.
pub(crate) const COMPATIBLE_VERSION: &str = "7.2.4";

const WRONG_PASSWORD: &str = "WRONGPASS invalid username-password pair or user is disabled.";

fn ping(context: &mut Context<'_>, args: &[&[u8]]) {
    match args {
        [_] => context.reply.simple("PONG"),
        [_, text] => context.reply.bulk(text),
        _ => context.reply.error(&wrong_arity("ping")),
    }
}

fn echo(context: &mut Context<'_>, args: &[&[u8]]) {
    context.reply.bulk(args[1]);
}

fn select(context: &mut Context<'_>, args: &[&[u8]]) {
    match parse_number::<i64>(args[1]) {
        None => context.reply.error(NOT_AN_INTEGER),
        Some(index) if (0..i64::from(context.state.settings.databases)).contains(&index) => {
            context.session.database = index as u32;
            context.reply.ok();
        }
        Some(_) => context.reply.error("ERR DB index is out of range"),
    }
}

fn quit(context: &mut Context<'_>, _: &[&[u8]]) {
    context.session.closing = true;
    context.reply.ok();
}

fn reset(context: &mut Context<'_>, _: &[&[u8]]) {
    let session = &mut *context.session;
    session.transaction = None;
    context.state.watched.unwatch(&mut session.watches);
    session.name.clear();
    session.database = 0;
    session.resp3 = false;
    session.reply_mode = ReplyMode::On;
    session.no_evict = false;
    session.no_touch = false;
    session.authenticated = context.state.password.is_none();
    context.reply.set_resp3(false);
    context.reply.simple("RESET");
}

fn auth(context: &mut Context<'_>, args: &[&[u8]]) {
    let (user, password): (&[u8], &[u8]) = match args {
        [_, _] if context.state.password.is_none() => {
            return context.reply.error(
                "ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?",
            );
        }
        [_, password] => (b"default", password),
        [_, user, password] => (user, password),
        _ => return context.reply.error(SYNTAX_ERROR),
    };
    match log_in(context, user, password) {
        true => context.reply.ok(),
        false => context.reply.error(WRONG_PASSWORD),
    }
}

/// Logs in; there is one user, whom any password fits when none is configured.
fn log_in(context: &mut Context<'_>, user: &[u8], password: &[u8]) -> bool {
    let fits = context.state.password.as_ref().is_none_or(|wanted| wanted.matches(password));
    let accepted = fits && user == b"default";
    if accepted {
        context.session.authenticated = true;
    } else {
        tracing::warn!(peer = %context.session.peer, "login refused");
    }
    accepted
}

/// What `HELLO` was asked to do.
#[derive(Default)]
struct Greeting<'a> {
    resp3: Option<bool>,
    credentials: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

fn parse_hello<'a>(args: &'a [&'a [u8]]) -> Result<Greeting<'a>, &'static str> {
    let mut greeting = Greeting::default();
    let Some((version, mut rest)) = args.split_first() else { return Ok(greeting) };
    greeting.resp3 = match parse_number::<i64>(version) {
        None => return Err("ERR Protocol version is not an integer or out of range"),
        Some(2) => Some(false),
        Some(3) => Some(true),
        Some(_) => return Err("NOPROTO unsupported protocol version"),
    };
    loop {
        rest = match rest {
            [] => return Ok(greeting),
            [word, user, password, rest @ ..] if word.eq_ignore_ascii_case(b"AUTH") => {
                greeting.credentials = Some((user, password));
                rest
            }
            [word, name, rest @ ..] if word.eq_ignore_ascii_case(b"SETNAME") => {
                greeting.name = Some(name);
                rest
            }
            // Does not repeat the word: it may be a password in the wrong place.
            _ => return Err("ERR Syntax error in HELLO"),
        };
    }
}

fn hello(context: &mut Context<'_>, args: &[&[u8]]) {
    let greeting = match parse_hello(&args[1..]) {
        Ok(greeting) => greeting,
        Err(message) => return context.reply.error(message),
    };
    if greeting.name.is_some_and(|name| !super::client::is_plain(name)) {
        return context.reply.error(super::client::BAD_NAME);
    }
    match greeting.credentials {
        Some((user, password)) if !log_in(context, user, password) => {
            return context.reply.error(WRONG_PASSWORD);
        }
        None if !context.session.authenticated => {
            return context.reply.error(
                "NOAUTH HELLO must be called with the client already authenticated, otherwise \
                 the HELLO <proto> AUTH <user> <pass> option can be used to log in",
            );
        }
        _ => {}
    }
    if let Some(name) = greeting.name {
        context.session.name = super::lossy(name);
    }
    if let Some(resp3) = greeting.resp3 {
        context.session.resp3 = resp3;
        context.reply.set_resp3(resp3);
    }
    describe_server(context);
}

fn describe_server(context: &mut Context<'_>) {
    let (id, resp3) = (context.session.id, context.session.resp3);
    let reply = &mut context.reply;
    reply.map(7);
    for (name, value) in [("server", "redis"), ("version", COMPATIBLE_VERSION)] {
        reply.bulk(name);
        reply.bulk(value);
    }
    reply.bulk("proto");
    reply.integer(if resp3 { 3 } else { 2 });
    reply.bulk("id");
    reply.integer(id as i64);
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(name);
        reply.bulk(value);
    }
    reply.bulk("modules");
    reply.array(0);
}
