//! Commands about the server, and the stubs that clients and test suites expect.

use super::{
    Context, NOT_AN_INTEGER, OwnCommand, SYNTAX_ERROR, Subcommand, parse_number, run_subcommand,
};
use crate::server::command_table::CommandSpec;

const fn own(
    name: &'static str,
    arity: i32,
    flags: &'static [&'static str],
    since: &'static str,
    summary: &'static str,
    run: super::Handler,
) -> OwnCommand {
    OwnCommand { spec: CommandSpec::keyless(name, arity, flags, "server", since, summary), run }
}

const PLAIN: &[&str] = &["loading", "stale"];
const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];

pub(crate) const COMMANDS: &[OwnCommand] = &[
    own("time", 1, &["fast", "loading", "stale"], "2.6.0", "The server's clock.", time),
    own("cluster", -2, PLAIN, "3.0.0", "There is no cluster.", no_cluster),
    own("readonly", 1, &["fast"], "3.0.0", "There is no cluster.", no_cluster),
    own("readwrite", 1, &["fast"], "3.0.0", "There is no cluster.", no_cluster),
    own("wait", 3, PLAIN, "3.0.0", "Counts replicas: there are none.", wait),
    own("debug", -2, ADMIN, "1.0.0", "Not allowed.", |context, _| {
        context.reply.error("ERR DEBUG command not allowed.");
    }),
    own(
        "shutdown",
        -1,
        &["admin", "noscript", "loading", "stale", "no_multi"],
        "1.0.0",
        "Delivers what is pending, and stops the server.",
        shutdown,
    ),
    own("role", 1, PLAIN, "2.8.12", "The server's part in replication.", role),
    own("function", -2, &["noscript"], "7.0.0", "There are no functions.", |context, args| {
        run_subcommand(context, "FUNCTION", FLUSH, args);
    }),
    own("script", -2, &["noscript"], "2.6.0", "There are no scripts.", |context, args| {
        run_subcommand(context, "SCRIPT", FLUSH, args);
    }),
    own("slowlog", -2, ADMIN, "2.2.12", "Slow commands: none are kept.", |context, args| {
        run_subcommand(context, "SLOWLOG", SLOWLOG, args);
    }),
    own("latency", -2, ADMIN, "2.8.13", "Latency events: none are kept.", |context, args| {
        run_subcommand(context, "LATENCY", LATENCY, args);
    }),
    own("lolwut", -1, &["readonly", "fast"], "5.0.0", "The version.", |context, _| {
        context.reply.verbatim(concat!("Ferrite ver. ", env!("CARGO_PKG_VERSION"), "\n"));
    }),
];

const FLUSH: &[Subcommand] =
    &[Subcommand { name: "FLUSH", arity: -2, run: |context, _| context.reply.ok() }];

const SLOWLOG: &[Subcommand] = &[
    Subcommand { name: "GET", arity: -2, run: |context, _| context.reply.array(0) },
    Subcommand { name: "LEN", arity: 2, run: |context, _| context.reply.integer(0) },
    Subcommand { name: "RESET", arity: 2, run: |context, _| context.reply.ok() },
];

const LATENCY: &[Subcommand] = &[
    Subcommand { name: "LATEST", arity: 2, run: |context, _| context.reply.array(0) },
    Subcommand { name: "HISTORY", arity: 3, run: |context, _| context.reply.array(0) },
    Subcommand { name: "RESET", arity: -2, run: |context, _| context.reply.integer(0) },
];

fn wait(context: &mut Context<'_>, args: &[&[u8]]) {
    match (parse_number::<i64>(args[1]), parse_number::<i64>(args[2])) {
        (None, _) => context.reply.error(NOT_AN_INTEGER),
        (_, None) => context.reply.error("ERR timeout is not an integer or out of range"),
        (_, Some(..0)) => context.reply.error("ERR timeout is negative"),
        _ => context.reply.integer(0),
    }
}

fn time(context: &mut Context<'_>, _: &[&[u8]]) {
    let now_us = crate::base::time::unix_us();
    context.reply.array(2);
    context.reply.bulk((now_us / 1_000_000).to_string());
    context.reply.bulk((now_us % 1_000_000).to_string());
}

fn no_cluster(context: &mut Context<'_>, _: &[&[u8]]) {
    context.reply.error("ERR This instance has cluster support disabled");
}

fn role(context: &mut Context<'_>, _: &[&[u8]]) {
    context.reply.array(3);
    context.reply.bulk("master");
    context.reply.integer(0);
    context.reply.array(0);
}

fn shutdown(context: &mut Context<'_>, args: &[&[u8]]) {
    let known = [b"NOSAVE".as_slice(), b"SAVE", b"NOW", b"FORCE"];
    if !args[1..].iter().all(|arg| known.iter().any(|word| arg.eq_ignore_ascii_case(word))) {
        return context.reply.error(SYNTAX_ERROR);
    }
    tracing::info!(peer = %context.session.peer, "stop requested by a client");
    // No reply: the connection closes when the server is down.
    context.state.stopping = true;
}
