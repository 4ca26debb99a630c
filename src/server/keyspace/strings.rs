//! Strings.

use super::arguments::{STRING_BYTES_MAX, Time, Unit, index_range, integer};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::{Lifetime, Session};
use super::set_options::SetOptions;
use super::value::Text;
use crate::server::reply::Reply;

/// Writes a string that may not exist.
pub(super) fn bulk_or_null(reply: &mut Reply<'_>, text: Option<impl AsRef<[u8]>>) {
    match text {
        Some(text) => reply.bulk(text),
        None => reply.null(),
    }
}

pub(super) fn get(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    bulk_or_null(reply, session.read::<Text>(args[1])?);
    Ok(())
}

pub(super) fn mget(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    reply.array(args.len() - 1);
    for key in &args[1..] {
        bulk_or_null(reply, session.read::<Text>(key).ok().flatten());
    }
    Ok(())
}

pub(super) fn strlen(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let length = session.read::<Text>(args[1])?.map_or(0, Vec::len);
    reply.integer(length as i64);
    Ok(())
}

pub(super) fn getrange(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    let text = session.read::<Text>(args[1])?.map_or(&[][..], |text| text);
    // Both negative and in the wrong order is nothing; otherwise an end before the string is its
    // first byte.
    let stop = if stop < 0 && !(start < 0 && start > stop) {
        stop.max(-i64::try_from(text.len()).unwrap_or(i64::MAX))
    } else {
        stop
    };
    reply.bulk(text.get(index_range(start, stop, text.len())).unwrap_or_default());
    Ok(())
}

pub(super) fn set(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let options = SetOptions::of_set(&args[3..])?;
    let lifetime = options.lifetime(session.now_ms)?;
    let key = args[1];
    let before = if options.get { session.read::<Text>(key)?.cloned() } else { None };
    let allowed = options.condition.allows(session.exists(key));
    if allowed {
        session.set_text(key, args[2].to_vec(), lifetime);
    }
    match (options.get, allowed) {
        (true, _) => bulk_or_null(reply, before),
        (false, true) => reply.ok(),
        (false, false) => reply.null(),
    }
    Ok(())
}

pub(super) fn setnx(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let missing = !session.exists(args[1]);
    if missing {
        session.set_text(args[1], args[2].to_vec(), Lifetime::Endless);
    }
    reply.integer(i64::from(missing));
    Ok(())
}

pub(super) fn setex(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    set_for(session, args, Unit::Seconds, reply)
}

pub(super) fn psetex(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    set_for(session, args, Unit::Milliseconds, reply)
}

fn set_for(
    session: &mut Session<'_>,
    args: &[&[u8]],
    unit: Unit,
    reply: &mut Reply<'_>,
) -> Outcome {
    let time = Time { text: args[2], unit, absolute: false };
    let deadline = time.positive_unix_ms(session.now_ms)?;
    session.set_text(args[1], args[3].to_vec(), Lifetime::Until(deadline));
    reply.ok();
    Ok(())
}

pub(super) fn getset(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let before = session.read::<Text>(args[1])?.cloned();
    session.set_text(args[1], args[2].to_vec(), Lifetime::Endless);
    bulk_or_null(reply, before);
    Ok(())
}

pub(super) fn getdel(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let found = session.read::<Text>(args[1])?;
    bulk_or_null(reply, found);
    session.remove(args[1]);
    Ok(())
}

pub(super) fn getex(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let options = SetOptions::of_getex(&args[2..])?;
    let Some(text) = session.read::<Text>(args[1])?.cloned() else {
        reply.null();
        return Ok(());
    };
    if let Some(deadline) = options.deadline(session.now_ms)? {
        session.set_deadline(args[1], deadline);
    }
    reply.bulk(text);
    Ok(())
}

pub(super) fn mset(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    set_pairs(session, &args[1..])?;
    reply.ok();
    Ok(())
}

pub(super) fn msetnx(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let pairs = &args[1..];
    if !pairs.len().is_multiple_of(2) {
        return Err(CommandError::Arity);
    }
    let all_missing = !pairs.iter().step_by(2).any(|key| session.exists(key));
    if all_missing {
        set_pairs(session, pairs)?;
    }
    reply.integer(i64::from(all_missing));
    Ok(())
}

fn set_pairs(session: &mut Session<'_>, pairs: &[&[u8]]) -> Outcome {
    let (pairs, []) = pairs.as_chunks::<2>() else { return Err(CommandError::Arity) };
    for [key, value] in pairs {
        session.set_text(key, value.to_vec(), Lifetime::Endless);
    }
    Ok(())
}

/// The string at `key` to be changed and set again, empty when there is none.
fn text_to_change(
    session: &mut Session<'_>,
    key: &[u8],
    length: impl FnOnce(usize) -> Option<usize>,
) -> Result<Text, CommandError> {
    let text = match session.peek(key) {
        Some(entry) => entry.value.text().ok_or(CommandError::WrongType)?,
        None => &[],
    };
    match length(text.len()) {
        Some(length) if length <= STRING_BYTES_MAX => {
            let mut copy = Vec::with_capacity(length);
            copy.extend_from_slice(text);
            Ok(copy)
        }
        _ => Err(CommandError::StringTooLong),
    }
}

pub(super) fn append(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let (key, more) = (args[1], args[2]);
    let mut text = text_to_change(session, key, |length| length.checked_add(more.len()))?;
    text.extend_from_slice(more);
    reply.integer(text.len() as i64);
    session.set_text(key, text, Lifetime::Kept);
    Ok(())
}

pub(super) fn setrange(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    let (key, patch) = (args[1], args[3]);
    let offset = usize::try_from(integer(args[2])?).map_err(|_| CommandError::OffsetOutOfRange)?;
    if patch.is_empty() {
        return strlen_uncounted(session, key, reply);
    }
    let end = offset.checked_add(patch.len()).ok_or(CommandError::StringTooLong)?;
    let mut text = text_to_change(session, key, |length| Some(length.max(end)))?;
    if text.len() < end {
        text.resize(end, 0);
    }
    text[offset..end].copy_from_slice(patch);
    reply.integer(text.len() as i64);
    session.set_text(key, text, Lifetime::Kept);
    Ok(())
}

/// What `SETRANGE` of nothing answers.
fn strlen_uncounted(session: &mut Session<'_>, key: &[u8], reply: &mut Reply<'_>) -> Outcome {
    let length = match session.peek(key) {
        Some(entry) => entry.value.text().ok_or(CommandError::WrongType)?.len(),
        None => 0,
    };
    reply.integer(length as i64);
    Ok(())
}
