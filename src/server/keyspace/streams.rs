//! Streams.

use std::collections::BTreeMap;
use std::fmt;

use super::arguments::{integer, is_word, parse_integer};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::{Added, Changed, Missing, Session};
use super::strings::bulk_or_null;
use super::trimming::{Trim, TrimOptions};
use super::value::Kind;
use crate::server::reply::Reply;

/// The id of an entry: milliseconds since 1970, and a number among those of the millisecond.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct StreamId {
    ms: u64,
    sequence: u64,
}

impl StreamId {
    const ZERO: StreamId = StreamId { ms: 0, sequence: 0 };
    const MAX: StreamId = StreamId { ms: u64::MAX, sequence: u64::MAX };

    /// The id after this one.
    fn next(self) -> Option<StreamId> {
        match self.sequence.checked_add(1) {
            Some(sequence) => Some(StreamId { sequence, ..self }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, sequence: 0 }),
        }
    }

    /// The id before this one.
    fn previous(self) -> Option<StreamId> {
        match self.sequence.checked_sub(1) {
            Some(sequence) => Some(StreamId { sequence, ..self }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, sequence: u64::MAX }),
        }
    }

    /// Reads `ms` or `ms-sequence`; a sequence that is left out is `sequence`.
    fn parse(text: &[u8], sequence: u64) -> Result<StreamId, CommandError> {
        let mut parts = text.splitn(2, |&byte| byte == b'-');
        let ms = parts.next().and_then(parse_unsigned).ok_or(CommandError::InvalidStreamId)?;
        let sequence = match parts.next() {
            Some(part) => parse_unsigned(part).ok_or(CommandError::InvalidStreamId)?,
            None => sequence,
        };
        Ok(StreamId { ms, sequence })
    }

    /// Reads an id, or `-` and `+` for the least and the greatest.
    pub(super) fn parse_bound(text: &[u8], sequence: u64) -> Result<StreamId, CommandError> {
        match text {
            b"-" => Ok(StreamId::ZERO),
            b"+" => Ok(StreamId::MAX),
            _ => StreamId::parse(text, sequence),
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.ms, self.sequence)
    }
}

fn parse_unsigned(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Fields with their values, in order; a field may occur twice.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A log of entries.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    pub(super) entries: BTreeMap<StreamId, Fields>,
    last: StreamId,
}

/// The id that `XADD` asks for.
#[derive(Clone, Copy, Debug)]
enum NewId {
    /// `*`
    Now,
    /// `ms-*`
    At(u64),
    /// An id.
    Exactly(StreamId),
}

impl NewId {
    fn parse(text: &[u8]) -> Result<NewId, CommandError> {
        match text.strip_suffix(b"-*") {
            _ if text == b"*" => Ok(NewId::Now),
            Some(ms) => parse_unsigned(ms).map(NewId::At).ok_or(CommandError::InvalidStreamId),
            None => StreamId::parse(text, 0).map(NewId::Exactly),
        }
    }

    /// The id in a stream whose last one is `last`.
    fn resolve(self, last: StreamId, now_ms: u64) -> Result<StreamId, CommandError> {
        if last == StreamId::MAX {
            return Err(CommandError::StreamExhausted);
        }
        let id = match self {
            NewId::Now if now_ms > last.ms => Some(StreamId { ms: now_ms, sequence: 0 }),
            NewId::Now => last.next(),
            NewId::At(ms) if ms == last.ms => {
                last.sequence.checked_add(1).map(|sequence| StreamId { ms, sequence })
            }
            NewId::At(ms) => Some(StreamId { ms, sequence: 0 }),
            NewId::Exactly(id) => Some(id),
        };
        id.filter(|id| *id > last).ok_or(CommandError::StreamIdTooSmall)
    }
}

pub(super) fn xadd(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let (options, rest) = TrimOptions::parse(&args[2..], true)?;
    let [id, fields @ ..] = rest else { return Err(CommandError::Arity) };
    let id = NewId::parse(id)?;
    let (fields, []) = fields.as_chunks::<2>() else { return Err(CommandError::Arity) };
    // The id is judged before the count of fields, and the options before both.
    if fields.is_empty() {
        return Err(CommandError::Arity);
    }
    let trim = options.checked(true)?;
    if matches!(id, NewId::Exactly(StreamId::ZERO)) {
        return Err(CommandError::StreamIdZero);
    }
    let missing = if options.keep_missing { Missing::Skip } else { Missing::Create };
    let now_ms = session.now_ms;
    let added = session
        .write(args[1], missing, |stream: &mut Stream| append(stream, id, fields, trim, now_ms))?;
    bulk_or_null(reply, added.map(|id| id.to_string()));
    Ok(())
}

fn append<'a>(
    stream: &mut Stream,
    id: NewId,
    fields: &[[&'a [u8]; 2]],
    trim: Option<Trim>,
    now_ms: u64,
) -> Changed<'a, StreamId> {
    let id = id.resolve(stream.last, now_ms)?;
    let stored = fields.iter().map(|[field, value]| (field.to_vec(), value.to_vec())).collect();
    stream.entries.insert(id, stored);
    stream.last = id;
    if let Some(trim) = trim {
        trim.apply(stream);
    }
    let fields = fields.iter().map(|[field, value]| (*field, *value)).collect();
    Ok((id, Some(Added::Entry(id, fields))))
}

pub(super) fn xlen(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let length = session.read::<Stream>(args[1])?.map_or(0, |stream| stream.entries.len());
    reply.integer(length as i64);
    Ok(())
}

pub(super) fn xdel(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let removed = session.write(args[1], Missing::Skip, |stream: &mut Stream| {
        // All ids are judged before the first entry goes.
        let ids = args[2..].iter().map(|id| StreamId::parse(id, 0));
        let ids: Vec<_> = ids.collect::<Result<_, CommandError>>()?;
        Ok((ids.iter().filter(|id| stream.entries.remove(id).is_some()).count(), None))
    })?;
    reply.integer(removed.unwrap_or(0) as i64);
    Ok(())
}

pub(super) fn xrange(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    range(session, args, (args[2], args[3]), false, reply)
}

pub(super) fn xrevrange(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    range(session, args, (args[3], args[2]), true, reply)
}

/// Reads a bound of a range; whether it is excluded.
fn interval_bound(text: &[u8], sequence: u64) -> Result<(StreamId, bool), CommandError> {
    match text {
        [b'(', id @ ..] if !id.is_empty() => Ok((StreamId::parse(id, sequence)?, true)),
        _ => Ok((StreamId::parse_bound(text, sequence)?, false)),
    }
}

fn range(
    session: &mut Session<'_>,
    args: &[&[u8]],
    (start, end): (&[u8], &[u8]),
    reversed: bool,
    reply: &mut Reply<'_>,
) -> Outcome {
    let start = match interval_bound(start, 0)? {
        (id, true) => id.next().ok_or(CommandError::InvalidStartId)?,
        (id, false) => id,
    };
    let end = match interval_bound(end, u64::MAX)? {
        (id, true) => id.previous().ok_or(CommandError::InvalidEndId)?,
        (id, false) => id,
    };
    let mut count = None;
    let mut options = &args[4..];
    while let [word, number, rest @ ..] = options
        && is_word(word, "COUNT")
    {
        count = Some(usize::try_from(integer(number)?).unwrap_or(0));
        options = rest;
    }
    if !options.is_empty() {
        return Err(CommandError::Syntax);
    }
    let Some(stream) = session.read::<Stream>(args[1])? else {
        reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        reply.null_array();
    } else if start > end {
        reply.array(0);
    } else {
        let entries = stream.entries.range(start..=end);
        let count = count.unwrap_or(usize::MAX);
        if reversed {
            write_entries(entries.rev().take(count), reply);
        } else {
            write_entries(entries.take(count), reply);
        }
    }
    Ok(())
}

fn write_entries<'s>(
    entries: impl Iterator<Item = (&'s StreamId, &'s Fields)>,
    reply: &mut Reply<'_>,
) {
    let entries: Vec<_> = entries.collect();
    reply.array(entries.len());
    for (id, fields) in entries {
        reply.array(2);
        reply.bulk(id.to_string());
        reply.array(fields.len() * 2);
        for (field, value) in fields {
            reply.bulk(field);
            reply.bulk(value);
        }
    }
}

/// What `XREAD` asks for: the entries after an id, per key.
struct ReadQuery<'a> {
    count: usize,
    keys: &'a [&'a [u8]],
    ids: &'a [&'a [u8]],
}

impl<'a> ReadQuery<'a> {
    fn parse(mut args: &'a [&'a [u8]]) -> Result<ReadQuery<'a>, CommandError> {
        let mut count = usize::MAX;
        while let [word, rest @ ..] = args {
            match rest {
                [number, rest @ ..] if is_word(word, "COUNT") => {
                    // Nothing and less than nothing mean everything.
                    count = match integer(number)? {
                        number if number <= 0 => usize::MAX,
                        number => usize::try_from(number).unwrap_or(usize::MAX),
                    };
                    args = rest;
                }
                [time, rest @ ..] if is_word(word, "BLOCK") => match parse_integer(time) {
                    None => return Err(CommandError::TimeoutNotInteger),
                    Some(time) if time < 0 => return Err(CommandError::TimeoutNegative),
                    Some(_) => args = rest,
                },
                [_, ..] if is_word(word, "STREAMS") => {
                    if rest.len() % 2 != 0 {
                        return Err(CommandError::UnbalancedStreams);
                    }
                    let (keys, ids) = rest.split_at(rest.len() / 2);
                    return Ok(ReadQuery { count, keys, ids });
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Err(CommandError::Syntax)
    }
}

/// `XREAD` never waits: when there is nothing to read, it says so at once, also with BLOCK.
pub(super) fn xread(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let query = ReadQuery::parse(&args[1..])?;
    let mut results = Vec::new();
    for (key, id) in query.keys.iter().zip(query.ids) {
        let stream = session.read::<Stream>(key)?;
        let after = match *id {
            b"$" => stream.map_or(StreamId::ZERO, |stream| stream.last),
            b">" => return Err(CommandError::GroupIdOutsideGroup),
            id => StreamId::parse(id, 0)?,
        };
        let last = stream.and_then(|stream| stream.entries.last_key_value());
        if let (Some(from), Some((last, _))) = (after.next(), last)
            && from <= *last
        {
            results.push((*key, from));
        }
    }
    write_streams(session, &results, query.count, reply);
    Ok(())
}

fn write_streams(
    session: &mut Session<'_>,
    results: &[(&[u8], StreamId)],
    count: usize,
    reply: &mut Reply<'_>,
) {
    if results.is_empty() {
        return reply.null_array();
    }
    let nested = !reply.is_resp3();
    if nested {
        reply.array(results.len())
    } else {
        reply.map(results.len())
    }
    for (key, from) in results {
        if nested {
            reply.array(2);
        }
        reply.bulk(key);
        let stream = session.peek(key).and_then(|entry| <Stream as Kind>::of(&entry.value));
        let entries = stream.into_iter().flat_map(|stream| stream.entries.range(*from..));
        write_entries(entries.take(count), reply);
    }
}
