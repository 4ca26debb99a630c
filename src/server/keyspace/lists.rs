//! Lists.

use super::arguments::{index_range, integer, is_word, positive};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::{Added, Missing, Session};
use super::strings::bulk_or_null;
use super::value::List;
use crate::server::reply::Reply;

/// One end of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Head,
    Tail,
}

fn push(
    session: &mut Session<'_>,
    args: &[&[u8]],
    end: End,
    missing: Missing,
    reply: &mut Reply<'_>,
) -> Outcome {
    let items = &args[2..];
    let length = session.write(args[1], missing, |list: &mut List| {
        for item in items {
            match end {
                End::Head => list.push_front(item.to_vec()),
                End::Tail => list.push_back(item.to_vec()),
            }
        }
        let added = match end {
            End::Head => Added::Head(items),
            End::Tail => Added::Tail(items),
        };
        Ok((list.len(), Some(added)))
    })?;
    reply.integer(length.unwrap_or(0) as i64);
    Ok(())
}

pub(super) fn lpush(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    push(session, args, End::Head, Missing::Create, reply)
}

pub(super) fn rpush(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    push(session, args, End::Tail, Missing::Create, reply)
}

pub(super) fn lpushx(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    push(session, args, End::Head, Missing::Skip, reply)
}

pub(super) fn rpushx(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    push(session, args, End::Tail, Missing::Skip, reply)
}

fn pop(session: &mut Session<'_>, args: &[&[u8]], end: End, reply: &mut Reply<'_>) -> Outcome {
    let count = match args.get(2) {
        Some(_) if args.len() > 3 => return Err(CommandError::Arity),
        Some(count) => Some(positive(count)?),
        None => None,
    };
    let popped = session.write(args[1], Missing::Skip, |list: &mut List| {
        let take = count.unwrap_or(1).min(list.len());
        let items: Vec<_> = match end {
            End::Head => list.drain(..take).collect(),
            End::Tail => list.drain(list.len() - take..).rev().collect(),
        };
        Ok((items, None))
    })?;
    match (popped, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.null_array(),
        (Some(items), None) => bulk_or_null(reply, items.first()),
        (Some(items), Some(_)) => {
            reply.array(items.len());
            items.iter().for_each(|item| reply.bulk(item));
        }
    }
    Ok(())
}

pub(super) fn lpop(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    pop(session, args, End::Head, reply)
}

pub(super) fn rpop(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    pop(session, args, End::Tail, reply)
}

pub(super) fn llen(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let length = session.read::<List>(args[1])?.map_or(0, List::len);
    reply.integer(length as i64);
    Ok(())
}

pub(super) fn lrange(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    let Some(list) = session.read::<List>(args[1])? else {
        reply.array(0);
        return Ok(());
    };
    let range = index_range(start, stop, list.len());
    reply.array(range.len());
    list.range(range).for_each(|item| reply.bulk(item));
    Ok(())
}

/// The position that an index names; negative ones count from the tail.
fn position(list: &List, index: i64) -> Option<usize> {
    match usize::try_from(index) {
        Ok(position) => (position < list.len()).then_some(position),
        Err(_) => list.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?),
    }
}

pub(super) fn lindex(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    // The key comes before the index, as in Redis: a missing one hides a bad index.
    let Some(list) = session.read::<List>(args[1])? else {
        reply.null();
        return Ok(());
    };
    let found = position(list, integer(args[2])?).and_then(|position| list.get(position));
    bulk_or_null(reply, found);
    Ok(())
}

pub(super) fn lset(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    session
        .write(args[1], Missing::Skip, |list: &mut List| {
            let index = integer(args[2])?;
            let item = position(list, index).and_then(|position| list.get_mut(position));
            *item.ok_or(CommandError::IndexOutOfRange)? = args[3].to_vec();
            Ok(((), None))
        })?
        .ok_or(CommandError::NoSuchKey)?;
    reply.ok();
    Ok(())
}

pub(super) fn linsert(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let after = is_word(args[2], "AFTER");
    if !after && !is_word(args[2], "BEFORE") {
        return Err(CommandError::Syntax);
    }
    let length = session.write(args[1], Missing::Skip, |list: &mut List| {
        let Some(pivot) = list.iter().position(|item| item == args[3]) else {
            return Ok((-1, None));
        };
        list.insert(pivot + usize::from(after), args[4].to_vec());
        Ok((list.len() as i64, None))
    })?;
    reply.integer(length.unwrap_or(0));
    Ok(())
}

pub(super) fn lrem(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let count = integer(args[2])?;
    let limit = match count {
        0 => usize::MAX,
        count => usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX),
    };
    let removed = session.write(args[1], Missing::Skip, |list: &mut List| {
        let mut removed = 0;
        let mut keep = |item: &Vec<u8>| {
            let matches = removed < limit && item == args[3];
            removed += usize::from(matches);
            !matches
        };
        if count < 0 {
            let mut kept: List = std::mem::take(list).into_iter().rev().filter(keep).collect();
            kept.make_contiguous().reverse();
            *list = kept;
        } else {
            list.retain(&mut keep);
        }
        Ok((removed, None))
    })?;
    reply.integer(removed.unwrap_or(0) as i64);
    Ok(())
}

pub(super) fn ltrim(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let (start, stop) = (integer(args[2])?, integer(args[3])?);
    session.write(args[1], Missing::Skip, |list: &mut List| {
        let range = index_range(start, stop, list.len());
        list.truncate(range.end);
        list.drain(..range.start);
        Ok(((), None))
    })?;
    reply.ok();
    Ok(())
}
