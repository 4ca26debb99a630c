//! Keys, whatever they hold.

use super::arguments::{integer, is_word, parse_integer};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::Session;
use super::value::Value;
use crate::core::glob::Glob;
use crate::server::reply::Reply;

pub(super) fn del(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let deleted = args[1..].iter().filter(|key| session.remove(key).is_some()).count();
    reply.integer(deleted as i64);
    Ok(())
}

pub(super) fn exists(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let found = args[1..].iter().filter(|key| session.visit(key).is_some()).count();
    reply.integer(found as i64);
    Ok(())
}

pub(super) fn type_of(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    reply.simple(session.visit(args[1]).map_or("none", |entry| entry.value.type_name()));
    Ok(())
}

pub(super) fn keys(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let pattern = Glob::parse(args[1]);
    let matching: Vec<_> = session
        .table()
        .into_iter()
        .flat_map(|table| table.iter())
        .filter(|(key, entry)| session.is_live(entry) && pattern.matches(key))
        .map(|(key, _)| key)
        .collect();
    reply.array(matching.len());
    matching.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

pub(super) fn dbsize(session: &mut Session<'_>, _: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    reply.integer(session.table().map_or(0, |table| table.len()) as i64);
    Ok(())
}

pub(super) fn randomkey(session: &mut Session<'_>, _: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    super::strings::bulk_or_null(reply, session.random_key());
    Ok(())
}

pub(super) fn rename(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let (from, to) = (args[1], args[2]);
    if !session.exists(from) {
        return Err(CommandError::NoSuchKey);
    }
    if from != to {
        session.rename(from, to);
    }
    reply.ok();
    Ok(())
}

pub(super) fn renamenx(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    let (from, to) = (args[1], args[2]);
    if !session.exists(from) {
        return Err(CommandError::NoSuchKey);
    }
    let free = !session.exists(to);
    if free {
        session.rename(from, to);
    }
    reply.integer(i64::from(free));
    Ok(())
}

pub(super) fn copy(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let (from, to, source) = (args[1], args[2], session.database);
    let (mut target, mut replace) = (source, false);
    let mut options = &args[3..];
    while let [word, rest @ ..] = options {
        options = rest;
        match options {
            _ if is_word(word, "REPLACE") => replace = true,
            [number, rest @ ..] if is_word(word, "DB") => {
                options = rest;
                target = u32::try_from(integer(number)?)
                    .ok()
                    .filter(|number| *number < session.databases())
                    .ok_or(CommandError::DatabaseOutOfRange)?;
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    if source == target && from == to {
        return Err(CommandError::SameObject);
    }
    let entry = session.visit(from).cloned();
    session.database = target;
    let copied = match entry {
        Some(entry) if replace || !session.exists(to) => {
            session.put_copy(to, entry);
            true
        }
        _ => false,
    };
    reply.integer(i64::from(copied));
    Ok(())
}

pub(super) fn object(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    if !is_word(args[1], "ENCODING") {
        return Err(CommandError::UnknownSubcommand(args[1].to_vec()));
    }
    let [_, _, key] = args else { return Err(CommandError::SubcommandArity("encoding")) };
    let encoding = session.peek(key).map(|entry| encoding(&entry.value));
    super::strings::bulk_or_null(reply, encoding);
    Ok(())
}

/// Longest string that Redis keeps in one piece with its header.
const EMBEDDED_BYTES_MAX: usize = 44;
/// Most elements of a collection that Redis packs into one block, and of a set of integers.
const PACKED_ELEMENTS_MAX: usize = 128;
const INTEGER_SET_MAX: usize = 512;
/// Longest element that Redis packs.
const PACKED_ELEMENT_BYTES_MAX: usize = 64;
/// Largest list that Redis packs, in bytes.
const PACKED_LIST_BYTES_MAX: usize = 8 * 1024;

/// How Redis would store the value: clients and people know these names, even though nothing here
/// is stored that way.
fn encoding(value: &Value) -> &'static str {
    let short = |element: &[u8]| element.len() <= PACKED_ELEMENT_BYTES_MAX;
    match value {
        Value::Text(text) if parse_integer(text).is_some() => "int",
        Value::Text(text) if text.len() <= EMBEDDED_BYTES_MAX => "embstr",
        Value::Text(_) => "raw",
        Value::List(list) if list.iter().map(Vec::len).sum::<usize>() > PACKED_LIST_BYTES_MAX => {
            "quicklist"
        }
        Value::List(_) => "listpack",
        Value::Hash(hash)
            if hash.len() <= PACKED_ELEMENTS_MAX
                && hash.iter().all(|(field, value)| short(field) && short(value)) =>
        {
            "listpack"
        }
        Value::Hash(_) => "hashtable",
        Value::Set(set)
            if set.len() <= INTEGER_SET_MAX
                && set.keys().all(|member| parse_integer(member).is_some()) =>
        {
            "intset"
        }
        Value::Set(set)
            if set.len() <= PACKED_ELEMENTS_MAX && set.keys().all(|member| short(member)) =>
        {
            "listpack"
        }
        Value::Set(_) => "hashtable",
        Value::SortedSet(sorted)
            if sorted.len() <= PACKED_ELEMENTS_MAX
                && sorted.table().keys().all(|member| short(member)) =>
        {
            "listpack"
        }
        Value::SortedSet(_) => "skiplist",
        Value::Stream(_) => "stream",
    }
}

pub(super) fn flushdb(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    check_flush_mode(&args[1..])?;
    session.clear(session.database);
    reply.ok();
    Ok(())
}

pub(super) fn flushall(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    check_flush_mode(&args[1..])?;
    (0..session.databases()).for_each(|database| session.clear(database));
    reply.ok();
    Ok(())
}

/// `FLUSHDB` and `FLUSHALL` may say whether to wait; here they always do.
fn check_flush_mode(args: &[&[u8]]) -> Outcome {
    match args {
        [] => Ok(()),
        [mode] if is_word(mode, "SYNC") || is_word(mode, "ASYNC") => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}
