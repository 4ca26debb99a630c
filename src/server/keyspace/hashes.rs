//! Hashes.

use std::borrow::Cow;

use super::arguments::{integer, parse_float};
use super::commands::Outcome;
use super::counters::{add_decimals, add_to_text};
use super::error::CommandError;
use super::session::{Added, Missing, Session};
use super::strings::bulk_or_null;
use super::value::Hash;
use crate::server::reply::Reply;

/// Sets all fields; how many of them are new.
fn set_fields(session: &mut Session<'_>, args: &[&[u8]]) -> Result<usize, CommandError> {
    let (pairs, []) = args[2..].as_chunks::<2>() else { return Err(CommandError::Arity) };
    let created = session.write(args[1], Missing::Create, |hash: &mut Hash| {
        let before = hash.len();
        for [field, value] in pairs {
            hash.insert(field, value.to_vec());
        }
        let written = pairs.iter().map(|[field, value]| (*field, Cow::Borrowed(*value)));
        Ok((hash.len() - before, Some(Added::Fields(written.collect()))))
    })?;
    Ok(created.unwrap_or(0))
}

pub(super) fn hset(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let created = set_fields(session, args)?;
    reply.integer(created as i64);
    Ok(())
}

pub(super) fn hmset(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    set_fields(session, args)?;
    reply.ok();
    Ok(())
}

pub(super) fn hsetnx(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let (field, value) = (args[2], args[3]);
    let set = session.write(args[1], Missing::Create, |hash: &mut Hash| {
        if hash.contains(field) {
            return Ok((false, None));
        }
        hash.insert(field, value.to_vec());
        Ok((true, Some(Added::Fields(vec![(field, Cow::Borrowed(value))]))))
    })?;
    reply.integer(i64::from(set == Some(true)));
    Ok(())
}

pub(super) fn hincrby(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let amount = integer(args[3])?;
    let field = args[2];
    let sum = session.write(args[1], Missing::Create, |hash: &mut Hash| {
        let sum = add_to_text(hash.get(field).map(Vec::as_slice), amount)?;
        let text = sum.to_string().into_bytes();
        hash.insert(field, text.clone());
        Ok((sum, Some(Added::Fields(vec![(field, Cow::Owned(text))]))))
    })?;
    reply.integer(sum.unwrap_or(0));
    Ok(())
}

pub(super) fn hincrbyfloat(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    let (field, amount) = (args[2], args[3]);
    if !parse_float(amount).ok_or(CommandError::NotFloat)?.is_finite() {
        return Err(CommandError::IncrementNotFinite);
    }
    let sum = session.write(args[1], Missing::Create, |hash: &mut Hash| {
        let before = hash.get(field).map_or(&b"0"[..], Vec::as_slice);
        parse_float(before).ok_or(CommandError::HashNotFloat)?;
        let sum = add_decimals(before, amount).ok_or(CommandError::NotFinite)?.into_bytes();
        hash.insert(field, sum.clone());
        Ok((sum.clone(), Some(Added::Fields(vec![(field, Cow::Owned(sum))]))))
    })?;
    bulk_or_null(reply, sum);
    Ok(())
}

pub(super) fn hget(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let hash = session.read::<Hash>(args[1])?;
    bulk_or_null(reply, hash.and_then(|hash| hash.get(args[2])));
    Ok(())
}

pub(super) fn hmget(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let hash = session.read::<Hash>(args[1])?;
    reply.array(args.len() - 2);
    for field in &args[2..] {
        bulk_or_null(reply, hash.and_then(|hash| hash.get(field)));
    }
    Ok(())
}

pub(super) fn hgetall(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let hash = session.read::<Hash>(args[1])?;
    reply.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        reply.bulk(field);
        reply.bulk(value);
    }
    Ok(())
}

pub(super) fn hkeys(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let hash = session.read::<Hash>(args[1])?;
    reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::keys).for_each(|field| reply.bulk(field));
    Ok(())
}

pub(super) fn hvals(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let hash = session.read::<Hash>(args[1])?;
    reply.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(_, value)| reply.bulk(value));
    Ok(())
}

pub(super) fn hlen(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let length = session.read::<Hash>(args[1])?.map_or(0, Hash::len);
    reply.integer(length as i64);
    Ok(())
}

pub(super) fn hexists(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let found = session.read::<Hash>(args[1])?.is_some_and(|hash| hash.contains(args[2]));
    reply.integer(i64::from(found));
    Ok(())
}

pub(super) fn hstrlen(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let value = session.read::<Hash>(args[1])?.and_then(|hash| hash.get(args[2]));
    reply.integer(value.map_or(0, Vec::len) as i64);
    Ok(())
}

pub(super) fn hdel(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let removed = session.write(args[1], Missing::Skip, |hash: &mut Hash| {
        Ok((args[2..].iter().filter(|field| hash.remove(field).is_some()).count(), None))
    })?;
    reply.integer(removed.unwrap_or(0) as i64);
    Ok(())
}
