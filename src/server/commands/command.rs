//! `COMMAND`: what the server can do, for clients that ask.

use super::{Command, Context, OwnCommand, SYNTAX_ERROR, Subcommand, docs, run_subcommand};
use crate::server::command_table::CommandSpec;
use crate::server::reply::Reply;

pub(crate) const COMMANDS: &[OwnCommand] = &[OwnCommand {
    spec: CommandSpec::keyless(
        "command",
        -1,
        &["loading", "stale"],
        "server",
        "2.8.13",
        "Describes the commands.",
    ),
    run: command,
}];

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { name: "COUNT", arity: 2, run: count },
    Subcommand { name: "LIST", arity: -2, run: list },
    Subcommand { name: "INFO", arity: -2, run: info },
    Subcommand { name: "DOCS", arity: -2, run: docs::docs },
    Subcommand { name: "GETKEYS", arity: -3, run: get_keys },
];

fn command(context: &mut Context<'_>, args: &[&[u8]]) {
    if args.len() == 1 {
        return all(context);
    }
    run_subcommand(context, "COMMAND", SUBCOMMANDS, args);
}

fn all(context: &mut Context<'_>) {
    let commands = context.state.commands.sorted();
    context.reply.array(commands.len());
    for (name, command) in commands {
        describe(&mut context.reply, name, &command);
    }
}

fn count(context: &mut Context<'_>, _: &[&[u8]]) {
    context.reply.integer(context.state.commands.len() as i64);
}

fn list(context: &mut Context<'_>, args: &[&[u8]]) {
    if args.len() != 2 {
        return context.reply.error(SYNTAX_ERROR);
    }
    let commands = context.state.commands.sorted();
    context.reply.array(commands.len());
    for name in commands.keys() {
        context.reply.bulk(name);
    }
}

fn info(context: &mut Context<'_>, args: &[&[u8]]) {
    if args.len() == 2 {
        return all(context);
    }
    context.reply.array(args.len() - 2);
    for name in &args[2..] {
        match context.state.commands.get(name) {
            Some(command) => {
                let name = command.spec.name.to_ascii_lowercase();
                describe(&mut context.reply, &name, &command);
            }
            None => context.reply.null_array(),
        }
    }
}

/// One row: name, arity, flags, keys, categories, and three things we have none of (tips, key
/// specifications, subcommands).
fn describe(reply: &mut Reply<'_>, name: &str, command: &Command) {
    let spec = command.spec;
    reply.array(10);
    reply.bulk(name);
    reply.integer(i64::from(spec.arity));
    // `in_multi` is our own word.
    let flags: Vec<&str> = spec.flags.iter().copied().filter(|flag| *flag != "in_multi").collect();
    reply.set(flags.len());
    for flag in flags {
        reply.simple(flag);
    }
    for number in [spec.first_key, spec.last_key, spec.key_step] {
        reply.integer(i64::from(number));
    }
    let categories = categories(spec);
    reply.set(categories.len());
    for category in categories {
        reply.simple(&category);
    }
    for _ in 0..3 {
        reply.array(0);
    }
}

/// The access categories, derived from the flags and the group.
pub(super) fn categories(spec: &CommandSpec) -> Vec<String> {
    let mut categories = Vec::new();
    for (flag, category) in [
        ("write", "@write"),
        ("readonly", "@read"),
        ("admin", "@admin"),
        ("admin", "@dangerous"),
        ("blocking", "@blocking"),
    ] {
        if spec.has(flag) {
            categories.push(category.to_owned());
        }
    }
    let group = match spec.group {
        "generic" => "keyspace",
        "sorted-set" | "sorted_set" => "sortedset",
        "transactions" => "transaction",
        group => group,
    };
    if group != "server" {
        categories.push(format!("@{group}"));
    }
    categories.push(if spec.has("fast") { "@fast" } else { "@slow" }.to_owned());
    categories
}

fn get_keys(context: &mut Context<'_>, args: &[&[u8]]) {
    let inner = &args[2..];
    let Some(command) = context.state.commands.get(inner[0]) else {
        return context.reply.error("ERR Invalid command specified");
    };
    if !command.spec.takes(inner.len()) {
        return context.reply.error("ERR Invalid number of arguments specified for command");
    }
    let keys: Vec<&[u8]> = command.spec.keys(inner).collect();
    if keys.is_empty() {
        return context.reply.error("ERR The command has no key arguments");
    }
    context.reply.array(keys.len());
    for key in keys {
        context.reply.bulk(key);
    }
}
