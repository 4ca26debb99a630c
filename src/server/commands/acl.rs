//! `ACL`: there is one user, `default`, who may do everything once logged in. Enough for clients
//! that ask who they are, and for tools that ask which commands belong to a category.

use super::command::categories;
use super::{Context, OwnCommand, Subcommand, run_subcommand};
use crate::server::command_table::CommandSpec;

pub(crate) const COMMANDS: &[OwnCommand] = &[OwnCommand {
    spec: CommandSpec::keyless(
        "acl",
        -2,
        &["admin", "noscript", "loading", "stale"],
        "server",
        "6.0.0",
        "Says who the client is, and which commands belong together.",
    ),
    run: |context, args| run_subcommand(context, "ACL", SUBCOMMANDS, args),
}];

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { name: "WHOAMI", arity: 2, run: |context, _| context.reply.bulk(USER) },
    Subcommand { name: "USERS", arity: 2, run: users },
    Subcommand { name: "LIST", arity: 2, run: list },
    Subcommand { name: "GETUSER", arity: 3, run: get_user },
    Subcommand { name: "CAT", arity: -2, run: cat },
    Subcommand { name: "LOG", arity: -2, run: log },
];

const USER: &str = "default";

/// The categories of Redis, in its order, and the one of the WEBHOOK commands.
const CATEGORIES: [&str; 22] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
    "webhook",
];

fn users(context: &mut Context<'_>, _: &[&[u8]]) {
    context.reply.array(1);
    context.reply.bulk(USER);
}

/// The flags of the one user. A password is not shown, nor its hash.
fn flags(context: &Context<'_>) -> &'static [&'static str] {
    match context.state.password {
        None => &["on", "nopass", "sanitize-payload"],
        Some(_) => &["on", "sanitize-payload"],
    }
}

fn list(context: &mut Context<'_>, _: &[&[u8]]) {
    let rule = format!("user {USER} {} ~* &* +@all", flags(context).join(" "));
    context.reply.array(1);
    context.reply.bulk(rule);
}

fn get_user(context: &mut Context<'_>, args: &[&[u8]]) {
    if args[2] != USER.as_bytes() {
        return context.reply.null();
    }
    let flags = flags(context);
    let reply = &mut context.reply;
    reply.map(6);
    reply.bulk("flags");
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.bulk(flag));
    reply.bulk("passwords");
    reply.array(0);
    for (name, value) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        reply.bulk(name);
        reply.bulk(value);
    }
    reply.bulk("selectors");
    reply.array(0);
}

fn cat(context: &mut Context<'_>, args: &[&[u8]]) {
    let wanted = match args {
        [_, _] => {
            context.reply.array(CATEGORIES.len());
            return CATEGORIES.iter().for_each(|category| context.reply.bulk(category));
        }
        [_, _, wanted] => *wanted,
        _ => {
            return context.reply.error(
                "ERR unknown subcommand or wrong number of arguments for 'CAT'. Try ACL HELP.",
            );
        }
    };
    let known = CATEGORIES.iter().find(|known| wanted.eq_ignore_ascii_case(known.as_bytes()));
    let Some(category) = known else {
        let shown = String::from_utf8_lossy(&wanted[..wanted.len().min(64)]);
        return context.reply.error(&format!("ERR Unknown category '{shown}'"));
    };
    let category = format!("@{category}");
    let sorted = context.state.commands.sorted();
    let members: Vec<&str> = sorted
        .iter()
        .filter(|(_, command)| categories(command.spec).contains(&category))
        .map(|(name, _)| *name)
        .collect();
    context.reply.array(members.len());
    members.into_iter().for_each(|name| context.reply.bulk(name));
}

/// Nothing is logged here: refused logins are in the server's own log.
fn log(context: &mut Context<'_>, args: &[&[u8]]) {
    match args {
        [_, _, word] if word.eq_ignore_ascii_case(b"reset") => context.reply.ok(),
        _ => context.reply.array(0),
    }
}
