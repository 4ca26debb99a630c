//! `WEBHOOK.DELIVERIES`, `WEBHOOK.DEAD` and `WEBHOOK.REPLAY`.

use super::Context;
use super::time_argument::moment;
use super::webhook::{failed, name};
use super::webhook_options::{number, text};
use super::webhook_reply as reply;
use crate::webhooks::{DeliveryFilter, DeliveryOutcome, ReplayOf, ReplayRequest};

/// Deliveries, and dead letters, that are shown unless told.
const SHOWN_DEFAULT: usize = 10;

const DELIVERIES_USAGE: &str = "ERR WEBHOOK.DELIVERIES takes a name and [COUNT <n>] \
                                [STATUS ok|failed|dead] [SINCE <time>]";
const DEAD_USAGE: &str = "ERR WEBHOOK.DEAD takes a name and [COUNT <n>], ID <id>, or CLEAR";
const REPLAY_USAGE: &str = "ERR WEBHOOK.REPLAY takes a name and ID <id>, DEAD, or SINCE <time> \
                            [UNTIL <time>]; then [PATTERN <glob>] [RATE <events per second>]";

/// Puts the value of an option that may be given once.
fn put<T>(place: &mut Option<T>, value: T, usage: &str) -> Result<(), String> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(usage.to_owned()),
    }
}

/// The options of a command: words, each with its value.
fn pairs<'a>(
    args: &'a [&'a [u8]],
    usage: &str,
) -> Result<impl Iterator<Item = (String, &'a [u8])>, String> {
    let (pairs, rest) = args.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(usage.to_owned());
    }
    let word = |word: &[u8]| String::from_utf8_lossy(word).to_ascii_uppercase();
    Ok(pairs.iter().map(move |[option, value]| (word(option), *value)))
}

fn parse_deliveries(args: &[&[u8]]) -> Result<DeliveryFilter, String> {
    let (mut count, mut outcome, mut since) = (None, None, None);
    for (option, value) in pairs(args, DELIVERIES_USAGE)? {
        match option.as_str() {
            "COUNT" => put(&mut count, number("COUNT", value)?, DELIVERIES_USAGE)?,
            "STATUS" => {
                let status =
                    DeliveryOutcome::from_name(value).ok_or("ERR STATUS is ok, failed or dead")?;
                put(&mut outcome, status, DELIVERIES_USAGE)?;
            }
            "SINCE" => put(&mut since, moment("SINCE", value)?.first_us, DELIVERIES_USAGE)?,
            _ => return Err(DELIVERIES_USAGE.to_owned()),
        }
    }
    Ok(DeliveryFilter { count: count.unwrap_or(SHOWN_DEFAULT), outcome, since_us: since })
}

pub(super) fn deliveries(context: &mut Context<'_>, args: &[&[u8]]) {
    let outcome = (|| {
        let filter = parse_deliveries(&args[2..])?;
        context.state.engine.deliveries(&name(args)?, &filter).map_err(failed)
    })();
    match outcome {
        Ok(records) => reply::deliveries(&mut context.reply, &records),
        Err(message) => context.reply.error(&message),
    }
}

/// What `WEBHOOK.DEAD` is to do.
#[derive(PartialEq, Eq, Debug)]
enum Dead {
    Show(usize),
    Body(String),
    Clear,
}

fn parse_dead(args: &[&[u8]]) -> Result<Dead, String> {
    match args {
        [] => Ok(Dead::Show(SHOWN_DEFAULT)),
        [word] if word.eq_ignore_ascii_case(b"CLEAR") => Ok(Dead::Clear),
        [word, count] if word.eq_ignore_ascii_case(b"COUNT") => {
            Ok(Dead::Show(number("COUNT", count)?))
        }
        [word, id] if word.eq_ignore_ascii_case(b"ID") => Ok(Dead::Body(text("ID", id)?)),
        _ => Err(DEAD_USAGE.to_owned()),
    }
}

pub(super) fn dead(context: &mut Context<'_>, args: &[&[u8]]) {
    let (engine, reply) = (&context.state.engine, &mut context.reply);
    let outcome = (|| {
        let (name, what) = (name(args)?, parse_dead(&args[2..])?);
        match what {
            Dead::Show(count) => engine
                .dead_letters(&name, count)
                .map(|letters| reply::dead_letters(reply, &letters)),
            Dead::Body(id) => engine.dead_letter_body(&name, &id).map(|body| reply.bulk(body)),
            Dead::Clear => {
                engine.clear_dead_letters(&name).map(|cleared| reply.integer(cleared as i64))
            }
        }
        .map_err(failed)
    })();
    if let Err(message) = outcome {
        context.reply.error(&message);
    }
}

fn parse_replay(args: &[&[u8]]) -> Result<ReplayRequest, String> {
    let usage = || REPLAY_USAGE.to_owned();
    let (word, rest) = args.split_first().ok_or_else(usage)?;
    let is_dead = word.eq_ignore_ascii_case(b"DEAD");
    let (mut id, mut since, mut until) = (None, None, None);
    let (mut pattern, mut per_second) = (None, None);
    for (option, value) in pairs(if is_dead { rest } else { args }, REPLAY_USAGE)? {
        match option.as_str() {
            "ID" => put(&mut id, text("ID", value)?, REPLAY_USAGE)?,
            "SINCE" => put(&mut since, moment("SINCE", value)?, REPLAY_USAGE)?,
            "UNTIL" => put(&mut until, moment("UNTIL", value)?, REPLAY_USAGE)?,
            "PATTERN" => put(&mut pattern, text("PATTERN", value)?, REPLAY_USAGE)?,
            "RATE" => put(&mut per_second, number("RATE", value)?, REPLAY_USAGE)?,
            _ => return Err(usage()),
        }
    }
    let what = match (is_dead, id, since, until) {
        (true, None, None, None) => ReplayOf::Dead,
        (false, Some(id), None, None) => ReplayOf::Id(id),
        (false, None, Some(since), until) => ReplayOf::Between {
            since_us: since.first_us,
            until_us: until.map_or(u64::MAX, |until| until.last_us),
        },
        _ => return Err(usage()),
    };
    Ok(ReplayRequest { what, pattern, per_second })
}

pub(super) fn replay(context: &mut Context<'_>, args: &[&[u8]]) {
    let outcome = (|| {
        let request = parse_replay(&args[2..])?;
        context.state.engine.replay(&name(args)?, &request).map_err(failed)
    })();
    match outcome {
        Ok(accepted) => context.reply.integer(accepted as i64),
        Err(message) => context.reply.error(&message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<&[u8]> {
        line.split_ascii_whitespace().map(str::as_bytes).collect()
    }

    #[test]
    fn deliveries_are_filtered_in_any_order() {
        let filter = parse_deliveries(&words("since 1705312800 STATUS Dead count 3"));
        let expected = DeliveryFilter {
            count: 3,
            outcome: Some(DeliveryOutcome::Dead),
            since_us: Some(1_705_312_800_000_000),
        };
        assert_eq!(filter, Ok(expected));
        assert_eq!(parse_deliveries(&[]).map(|filter| filter.count), Ok(SHOWN_DEFAULT));
        for (line, wanted) in [
            ("COUNT", "takes a name and [COUNT <n>]"),
            ("COUNT 1 COUNT 2", "takes a name and [COUNT <n>]"),
            ("COUNT x", "value of COUNT"),
            ("STATUS maybe", "STATUS is ok, failed or dead"),
            ("SINCE never", "value of SINCE is no time"),
            ("FOO 1", "takes a name and [COUNT <n>]"),
        ] {
            let message = parse_deliveries(&words(line)).unwrap_err();
            assert!(message.contains(wanted), "{line}: {message}");
        }
    }

    #[test]
    fn a_replay_is_of_one_kind() {
        let id = parse_replay(&words("ID evt_1 RATE 5"));
        let expected = ReplayRequest {
            per_second: Some(5),
            ..ReplayRequest::new(ReplayOf::Id("evt_1".to_owned()))
        };
        assert_eq!(id, Ok(expected));
        let between = parse_replay(&words("pattern a* until 1705312801 since 1705312800"));
        let what =
            ReplayOf::Between { since_us: 1_705_312_800_000_000, until_us: 1_705_312_801_999_999 };
        let expected = ReplayRequest { pattern: Some("a*".into()), ..ReplayRequest::new(what) };
        assert_eq!(between, Ok(expected));
        let dead = parse_replay(&words("dead PATTERN a*")).map(|request| request.what);
        assert_eq!(dead, Ok(ReplayOf::Dead));
        for line in [
            "",
            "ID",
            "DEAD DEAD",
            "DEAD ID a",
            "ID a SINCE 5",
            "UNTIL 5",
            "PATTERN a",
            "ID a ID b",
            "DEAD FOO 1",
        ] {
            assert_eq!(parse_replay(&words(line)), Err(REPLAY_USAGE.to_owned()), "{line}");
        }
    }
}
