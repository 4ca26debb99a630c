//! `COMMAND DOCS`: what redis-cli shows as hints and in `HELP`.
//!
//! redis-cli checks the types of what it gets and aborts when they are wrong: names, texts and
//! tokens are bulk strings, an argument's flags are simple strings.

use super::{Command, Context, webhook_docs};
use crate::server::reply::Reply;

/// One argument of a command.
pub struct Argument {
    /// Its name.
    pub name: &'static str,
    /// `string`, `integer`, `pattern`, `pure-token`, `oneof` or `block`.
    pub kind: &'static str,
    /// The word before it; empty for none.
    pub token: &'static str,
    /// `optional`, `multiple`, `multiple_token`.
    pub flags: &'static [&'static str],
    /// The parts of a `oneof` or `block`.
    pub parts: &'static [Argument],
}

pub(super) fn docs(context: &mut Context<'_>, args: &[&[u8]]) {
    if args.len() == 2 {
        let commands = context.state.commands.sorted();
        context.reply.map(commands.len());
        for (name, command) in commands {
            describe(&mut context.reply, name, &command);
        }
        return;
    }
    let found: Vec<Command> =
        args[2..].iter().filter_map(|name| context.state.commands.get(name)).collect();
    context.reply.map(found.len());
    for command in found {
        describe(&mut context.reply, &command.spec.name.to_ascii_lowercase(), &command);
    }
}

fn describe(reply: &mut Reply<'_>, name: &str, command: &Command) {
    let spec = command.spec;
    let arguments = webhook_docs::arguments(name);
    reply.bulk(name);
    reply.map(3 + usize::from(!arguments.is_empty()));
    for (field, text) in [("summary", spec.summary), ("since", spec.since), ("group", spec.group)] {
        reply.bulk(field);
        reply.bulk(text);
    }
    if !arguments.is_empty() {
        reply.bulk("arguments");
        describe_arguments(reply, arguments);
    }
}

fn describe_arguments(reply: &mut Reply<'_>, arguments: &[Argument]) {
    reply.array(arguments.len());
    for argument in arguments {
        let optional = [!argument.token.is_empty(), !argument.flags.is_empty()];
        let optional = optional.into_iter().filter(|present| *present).count();
        reply.map(2 + optional + usize::from(!argument.parts.is_empty()));
        for (field, text) in [("name", argument.name), ("type", argument.kind)] {
            reply.bulk(field);
            reply.bulk(text);
        }
        if !argument.token.is_empty() {
            reply.bulk("token");
            reply.bulk(argument.token);
        }
        if !argument.flags.is_empty() {
            reply.bulk("flags");
            reply.set(argument.flags.len());
            argument.flags.iter().for_each(|flag| reply.simple(flag));
        }
        if !argument.parts.is_empty() {
            reply.bulk("arguments");
            describe_arguments(reply, argument.parts);
        }
    }
}
