//! Transactions: `MULTI`, `EXEC`, `DISCARD`, `WATCH`, `UNWATCH`.
//!
//! One thread runs all commands, so a transaction is alone by nature: it only has to be queued.

use super::{Context, OwnCommand, refuse, run};
use crate::server::command_table::CommandSpec;
use crate::server::transaction::Transaction;

const IN_MULTI: &[&str] = &["noscript", "loading", "stale", "fast", "allow_busy", "in_multi"];

const fn own(
    name: &'static str,
    arity: i32,
    flags: &'static [&'static str],
    since: &'static str,
    summary: &'static str,
    run: super::Handler,
) -> OwnCommand {
    OwnCommand {
        spec: CommandSpec::keyless(name, arity, flags, "transactions", since, summary),
        run,
    }
}

pub(crate) const COMMANDS: &[OwnCommand] = &[
    own("multi", 1, IN_MULTI, "1.2.0", "Starts a transaction.", multi),
    own("exec", 1, IN_MULTI, "1.2.0", "Runs the transaction.", exec),
    own("discard", 1, IN_MULTI, "2.0.0", "Drops the transaction.", discard),
    OwnCommand {
        spec: CommandSpec {
            first_key: 1,
            last_key: -1,
            key_step: 1,
            ..CommandSpec::keyless(
                "watch",
                -2,
                IN_MULTI,
                "transactions",
                "2.2.0",
                "Makes the next transaction depend on keys staying as they are.",
            )
        },
        run: watch,
    },
    own(
        "unwatch",
        1,
        &["noscript", "loading", "stale", "fast", "allow_busy"],
        "2.2.0",
        "Forgets watched keys.",
        unwatch,
    ),
];

/// Keeps a command for `EXEC`.
pub(super) fn queue(context: &mut Context<'_>, spec: &CommandSpec, args: &[&[u8]]) {
    if spec.has("no_multi") {
        return refuse(context, "ERR Command not allowed inside a transaction");
    }
    let queued = context.session.transaction.as_mut().is_some_and(|open| {
        // A transaction that has failed keeps nothing.
        open.has_failed() || open.queue(args)
    });
    match queued {
        true => context.reply.simple("QUEUED"),
        false => context.reply.error("ERR the transaction is too large"),
    }
}

fn multi(context: &mut Context<'_>, _: &[&[u8]]) {
    if context.session.transaction.is_some() {
        return context.reply.error("ERR MULTI calls can not be nested");
    }
    context.session.transaction = Some(Transaction::default());
    context.reply.ok();
}

fn discard(context: &mut Context<'_>, _: &[&[u8]]) {
    if context.session.transaction.take().is_none() {
        return context.reply.error("ERR DISCARD without MULTI");
    }
    context.state.watched.unwatch(&mut context.session.watches);
    context.reply.ok();
}

fn exec(context: &mut Context<'_>, _: &[&[u8]]) {
    let Some(transaction) = context.session.transaction.take() else {
        return context.reply.error("ERR EXEC without MULTI");
    };
    let watches = &mut context.session.watches;
    let changed = watches.iter().any(|watch| context.state.watched.has_changed(watch));
    context.state.watched.unwatch(watches);
    if transaction.has_failed() {
        return context.reply.error("EXECABORT Transaction discarded because of previous errors.");
    }
    if changed {
        return context.reply.null_array();
    }
    context.reply.array(transaction.len());
    for args in transaction.into_commands() {
        let args: Vec<&[u8]> = args.iter().map(|arg| &**arg).collect();
        // It was found when it was queued, and commands do not go away.
        if let Some(command) = context.state.commands.get(args[0]) {
            run(context, command, &args);
        }
    }
}

fn watch(context: &mut Context<'_>, args: &[&[u8]]) {
    if context.session.transaction.is_some() {
        return context.reply.error("ERR WATCH inside MULTI is not allowed");
    }
    let database = context.session.database;
    for key in &args[1..] {
        context.session.watches.push(context.state.watched.watch(database, key));
    }
    context.reply.ok();
}

fn unwatch(context: &mut Context<'_>, _: &[&[u8]]) {
    context.state.watched.unwatch(&mut context.session.watches);
    context.reply.ok();
}
