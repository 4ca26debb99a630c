//! The WEBHOOK commands.

use super::webhook_deliveries::{dead, deliveries, replay};
use super::webhook_options::{Form, Options, event_names, number, text};
use super::webhook_reply as reply;
use super::{Context, OwnCommand};
use crate::core::trace::{is_traceparent, is_tracestate};
use crate::server::command_table::CommandSpec;
use crate::webhooks::{EventRef, EventValue, WebhookError, WebhookEvent};

pub(crate) use super::webhook_reply::test as write_test_report;

const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];
const TEST: &[&str] = &["admin", "noscript", "blocking", "no_multi"];
const PUBLISH: &[&str] = &["admin", "noscript"];

const fn own(
    name: &'static str,
    arity: i32,
    flags: &'static [&'static str],
    summary: &'static str,
    run: super::Handler,
) -> OwnCommand {
    OwnCommand { spec: CommandSpec::keyless(name, arity, flags, "webhook", "0.1.0", summary), run }
}

pub(crate) const COMMANDS: &[OwnCommand] = &[
    own("webhook.create", -3, ADMIN, "Creates a webhook.", create),
    own("webhook.update", -4, ADMIN, "Changes a webhook.", update),
    own("webhook.delete", 2, ADMIN, "Deletes a webhook and what is pending for it.", delete),
    own("webhook.list", 1, ADMIN, "Lists the webhooks.", list),
    own("webhook.info", 2, ADMIN, "Shows a webhook and its counters.", info),
    own("webhook.enable", 2, ADMIN, "Enables a webhook again.", enable),
    own(
        "webhook.disable",
        2,
        ADMIN,
        "Disables a webhook: nothing is sent until it is enabled.",
        disable,
    ),
    own("webhook.test", 2, TEST, "Sends a test event and tells how it went.", test),
    own("webhook.deliveries", -2, ADMIN, "Shows the latest delivery attempts.", deliveries),
    own("webhook.dead", -2, ADMIN, "Shows, or clears, the deliveries that were given up.", dead),
    own("webhook.replay", -3, ADMIN, "Sends deliveries again that were given up.", replay),
    own("webhook.stats", -1, ADMIN, "Shows counters of all webhooks, or of one.", stats),
    own("webhook.publish", -4, PUBLISH, "Triggers webhooks with an event of your own.", publish),
    own("webhook.help", 1, ADMIN, "Shows how the WEBHOOK commands are used.", help),
];

/// The name of a webhook: the first argument of most commands.
pub(super) fn name(args: &[&[u8]]) -> Result<String, String> {
    text("the webhook's name", args[1])
}

pub(super) fn failed(error: WebhookError) -> String {
    reply::error_text(&error)
}

/// Answers OK, or what went wrong.
fn answer(context: &mut Context<'_>, outcome: Result<(), String>) {
    match outcome {
        Ok(()) => context.reply.ok(),
        Err(message) => context.reply.error(&message),
    }
}

fn create(context: &mut Context<'_>, args: &[&[u8]]) {
    let outcome = (|| {
        let url = text("the URL", args[2])?;
        let options = Options::parse(&args[3..], Form::Create)?.into_create();
        context.state.engine.create(&name(args)?, &url, options).map_err(failed)
    })();
    answer(context, outcome);
}

fn update(context: &mut Context<'_>, args: &[&[u8]]) {
    let outcome = (|| {
        let changes = Options::parse(&args[2..], Form::Update)?.into_update();
        context.state.engine.update(&name(args)?, changes).map_err(failed)
    })();
    answer(context, outcome);
}

fn delete(context: &mut Context<'_>, args: &[&[u8]]) {
    let outcome = name(args).and_then(|name| context.state.engine.delete(&name).map_err(failed));
    answer(context, outcome);
}

fn enable(context: &mut Context<'_>, args: &[&[u8]]) {
    let outcome = name(args).and_then(|name| context.state.engine.enable(&name).map_err(failed));
    answer(context, outcome);
}

fn disable(context: &mut Context<'_>, args: &[&[u8]]) {
    let outcome = name(args).and_then(|name| context.state.engine.disable(&name).map_err(failed));
    answer(context, outcome);
}

fn list(context: &mut Context<'_>, _: &[&[u8]]) {
    reply::list(&mut context.reply, &context.state.engine.list());
}

fn info(context: &mut Context<'_>, args: &[&[u8]]) {
    match name(args).and_then(|name| context.state.engine.info(&name).map_err(failed)) {
        Ok(info) => reply::info(&mut context.reply, &info),
        Err(message) => context.reply.error(&message),
    }
}

/// The reply comes when the test is over: the connection waits, see `Connection`.
fn test(context: &mut Context<'_>, args: &[&[u8]]) {
    match name(args) {
        Ok(name) => context.session.test = Some(context.state.engine.test(&name)),
        Err(message) => context.reply.error(&message),
    }
}

fn stats(context: &mut Context<'_>, args: &[&[u8]]) {
    let engine = &context.state.engine;
    match args {
        [_] => {
            let refused = context.state.counters.events_refused;
            reply::engine_stats(&mut context.reply, &engine.engine_stats(), refused);
        }
        [_, _] => {
            let outcome =
                name(args).and_then(|name| Ok((engine.stats(&name).map_err(failed)?, name)));
            match outcome {
                Ok((stats, name)) => reply::stats(&mut context.reply, &name, &stats),
                Err(message) => context.reply.error(&message),
            }
        }
        _ => context.reply.error(&super::wrong_arity("webhook.stats")),
    }
}

/// A value of W3C Trace Context, if `is_valid` says so.
fn trace_text<'a>(
    name: &str,
    value: &'a [u8],
    is_valid: fn(&str) -> bool,
) -> Result<&'a str, String> {
    let text = std::str::from_utf8(value).ok().filter(|text| is_valid(text));
    text.ok_or_else(|| format!("ERR the value of {name} is not as W3C Trace Context has it"))
}

/// Reads what `WEBHOOK.PUBLISH` was given; `database` is the connection's.
pub(crate) fn parse_publish<'a>(
    args: &'a [&'a [u8]],
    database: u32,
) -> Result<EventRef<'a>, String> {
    let kind = WebhookEvent::from_name(args[1]).ok_or_else(|| {
        let word = String::from_utf8_lossy(&args[1][..args[1].len().min(64)]);
        format!("ERR unknown event '{word}'; events are: {}", event_names())
    })?;
    let without_value =
        matches!(kind, WebhookEvent::Del | WebhookEvent::Expire | WebhookEvent::Rename);
    let value = match args[3] {
        // These events have no value; the command's grammar wants one.
        b"" if without_value => EventValue::None,
        value => EventValue::Bytes(value),
    };
    let mut event = EventRef { event: kind, key: args[2], database, value, ..EventRef::default() };
    let (pairs, rest) = args[4..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err("ERR WEBHOOK.PUBLISH: an option has no value".to_owned());
    }
    for [option, value] in pairs {
        match option.to_ascii_uppercase().as_slice() {
            b"OLD_VALUE" => event.old_value = Some(value),
            b"TTL" => event.ttl = Some(number("TTL", value)?),
            b"NEW_KEY" => event.new_key = Some(value),
            b"DB" => event.database = number("DB", value)?,
            b"TRACEPARENT" => {
                event.traceparent = Some(trace_text("TRACEPARENT", value, is_traceparent)?)
            }
            b"TRACESTATE" => {
                event.tracestate = Some(trace_text("TRACESTATE", value, is_tracestate)?)
            }
            _ => {
                // The word is not repeated: it may be part of a value that was not quoted.
                return Err("ERR unknown option of WEBHOOK.PUBLISH; options are: \
                            OLD_VALUE TTL NEW_KEY DB TRACEPARENT TRACESTATE"
                    .to_owned());
            }
        }
    }
    if event.tracestate.is_some() && event.traceparent.is_none() {
        return Err("ERR WEBHOOK.PUBLISH: TRACESTATE goes with TRACEPARENT".to_owned());
    }
    if kind == WebhookEvent::Rename && event.new_key.is_none() {
        return Err("ERR WEBHOOK.PUBLISH RENAME takes NEW_KEY".to_owned());
    }
    Ok(event)
}

fn publish(context: &mut Context<'_>, args: &[&[u8]]) {
    let outcome = parse_publish(args, context.session.database)
        .and_then(|event| context.state.publish(context.session, &event).map_err(failed));
    answer(context, outcome);
}

const HELP: &[&str] = &[
    "WEBHOOK.CREATE <name> <url> [PATTERN <glob>] [EVENTS <event> ...] [AUTH bearer <token> | \
     AUTH basic <user:password>] [HEADER <name> <value>]... [SECRET <secret>] \
     [SIGNATURES both | ferrite,standard,rfc9421] [RETRIES <n>] [RETRY_DELAY <ms>] \
     [RETRY_BACKOFF fixed|linear|exponential] [TIMEOUT <ms>] [CONCURRENCY <n>] [PIPELINE <n>] \
     [BATCH true|false] [BATCH_SIZE <n>] [BATCH_INTERVAL <ms>] \
     [ON_FULL reject|drop-oldest|wait] [COALESCE latest|none] [ORDER key|none] \
     [FORMAT ferrite|cloudevents-structured|cloudevents-binary] [SEQUENCE true|false] \
     [FINAL_STATUS <status> ... | none] [RATE <attempts per second>] [ADAPTIVE true|false] \
     [TLS_PROFILE <name>] [WHILE_DISABLED drop|keep]",
    "WEBHOOK.UPDATE <name> [URL <url>] and the options of WEBHOOK.CREATE; AUTH none, SECRET '' and \
     TLS_PROFILE '' take away; SECRET <secret> [GRACE <seconds>]: the old one signs too until then",
    "WEBHOOK.DELETE <name>",
    "WEBHOOK.LIST",
    "WEBHOOK.INFO <name>",
    "WEBHOOK.ENABLE <name>",
    "WEBHOOK.DISABLE <name>",
    "WEBHOOK.TEST <name>",
    "WEBHOOK.DELIVERIES <name> [COUNT <n>] [STATUS ok|failed|dead] [SINCE <time>]",
    "WEBHOOK.DEAD <name> [COUNT <n>] | ID <id> (its body) | CLEAR",
    "WEBHOOK.REPLAY <name> ID <id> | DEAD | SINCE <time> [UNTIL <time>], then [PATTERN <glob>] \
     [RATE <events per second>]; only dead letters can be sent again; a time is seconds, \
     milliseconds or microseconds since 1970, or RFC 3339",
    "WEBHOOK.STATS [<name>]",
    "WEBHOOK.PUBLISH <event> <key> <value> [OLD_VALUE <value>] [TTL <seconds>] [NEW_KEY <key>] \
     [DB <n>] [TRACEPARENT <text> [TRACESTATE <text>]]; the value travels as a string",
];

fn help(context: &mut Context<'_>, _: &[&[u8]]) {
    context.reply.array(HELP.len() + 1);
    HELP.iter().for_each(|line| context.reply.bulk(line));
    context.reply.bulk(format!("Events: {}", event_names()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish_of<'a>(args: &'a [&'a [u8]]) -> Result<EventRef<'a>, String> {
        parse_publish(args, 3)
    }

    #[test]
    fn published_events_carry_what_was_given() {
        let event = publish_of(&[
            b"P",
            b"rename",
            b"k",
            b"",
            b"new_key",
            b"n",
            b"TTL",
            b"9",
            b"OLD_VALUE",
            b"o",
            b"db",
            b"7",
        ]);
        let expected = EventRef {
            event: WebhookEvent::Rename,
            key: b"k",
            database: 7,
            old_value: Some(b"o"),
            ttl: Some(9),
            new_key: Some(b"n"),
            ..EventRef::default()
        };
        assert_eq!(event, Ok(expected));
        let set = publish_of(&[b"P", b"SET", b"k", b""]).unwrap();
        assert_eq!((set.value, set.database), (EventValue::Bytes(b""), 3));
    }

    #[test]
    fn bad_events_are_refused() {
        for (args, wanted) in [
            (vec![b"P".as_slice(), b"GET", b"k", b"v"], "unknown event 'GET'; events are: SET"),
            (vec![b"P", b"SET", b"k", b"v", b"TTL"], "has no value"),
            (vec![b"P", b"SET", b"k", b"v", b"TTL", b"-1"], "value of TTL"),
            (vec![b"P", b"SET", b"k", b"v", b"X", b"1"], "unknown option"),
            (vec![b"P", b"RENAME", b"k", b"v"], "takes NEW_KEY"),
            (vec![b"P", b"SET", b"k", b"v", b"TRACEPARENT", b"00\r\n"], "value of TRACEPARENT"),
            (vec![b"P", b"SET", b"k", b"v", b"TRACESTATE", b"a=1"], "goes with TRACEPARENT"),
        ] {
            let message = publish_of(&args).unwrap_err();
            assert!(message.contains(wanted), "{message}");
        }
    }

    #[test]
    fn numbers_do_not_take_a_sign() {
        assert_eq!(super::super::parse_number::<u32>(b"+1"), None);
        assert_eq!(super::super::parse_number::<u32>(b"1"), Some(1));
    }

    #[test]
    fn help_names_every_option() {
        for option in crate::server::webhook_option_names() {
            let mut words =
                super::HELP.iter().flat_map(|line| line.split(|c: char| "[] ".contains(c)));
            assert!(words.any(|word| word == option), "HELP lacks {option}");
        }
    }
}
