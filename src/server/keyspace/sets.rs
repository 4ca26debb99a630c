//! Sets.

use std::sync::Arc;

use super::arguments::{integer, positive};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::{Added, Missing, Session};
use super::strings::bulk_or_null;
use super::value::Set;
use crate::base::random::Random;
use crate::server::reply::Reply;

/// Most members that `SRANDMEMBER` repeats in one reply.
const REPEATED_MEMBERS_MAX: u64 = 1024 * 1024;

pub(super) fn sadd(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let added = session.write(args[1], Missing::Create, |set: &mut Set| {
        let new: Vec<_> =
            args[2..].iter().copied().filter(|member| set.insert(member, ()).is_none()).collect();
        Ok((new.len(), (!new.is_empty()).then_some(Added::Members(new))))
    })?;
    reply.integer(added.unwrap_or(0) as i64);
    Ok(())
}

pub(super) fn srem(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let removed = session.write(args[1], Missing::Skip, |set: &mut Set| {
        Ok((args[2..].iter().filter(|member| set.remove(member).is_some()).count(), None))
    })?;
    reply.integer(removed.unwrap_or(0) as i64);
    Ok(())
}

pub(super) fn smembers(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    let set = session.read::<Set>(args[1])?;
    reply.set(set.map_or(0, Set::len));
    set.into_iter().flat_map(Set::keys).for_each(|member| reply.bulk(member));
    Ok(())
}

pub(super) fn sismember(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    let found = session.read::<Set>(args[1])?.is_some_and(|set| set.contains(args[2]));
    reply.integer(i64::from(found));
    Ok(())
}

pub(super) fn smismember(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    let set = session.read::<Set>(args[1])?;
    reply.array(args.len() - 2);
    for member in &args[2..] {
        reply.integer(i64::from(set.is_some_and(|set| set.contains(member))));
    }
    Ok(())
}

pub(super) fn scard(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let count = session.read::<Set>(args[1])?.map_or(0, Set::len);
    reply.integer(count as i64);
    Ok(())
}

/// `count` different members, in no particular order.
fn sample(set: &Set, count: usize, random: &mut Random) -> Vec<Arc<[u8]>> {
    let mut members: Vec<_> = set.keys().cloned().collect();
    let count = count.min(members.len());
    for index in 0..count {
        let other = index + random.below((members.len() - index) as u64) as usize;
        members.swap(index, other);
    }
    members.truncate(count);
    members
}

pub(super) fn spop(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let count = match args {
        [_, _] => None,
        [_, _, count] => Some(positive(count)?),
        _ => return Err(CommandError::Syntax),
    };
    let mut random = Random::new(session.random().next_u64());
    let popped = session.write(args[1], Missing::Skip, |set: &mut Set| {
        let members = match count {
            None => set.random_key(&mut random).cloned().into_iter().collect(),
            Some(count) => sample(set, count, &mut random),
        };
        for member in &members {
            set.remove(member);
        }
        Ok((members, None))
    })?;
    let members = popped.unwrap_or_default();
    match count {
        None => bulk_or_null(reply, members.first()),
        Some(_) => {
            reply.set(members.len());
            members.iter().for_each(|member| reply.bulk(member));
        }
    }
    Ok(())
}

pub(super) fn srandmember(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    let count = match args {
        [_, _] => None,
        [_, _, count] => Some(integer(count)?),
        _ => return Err(CommandError::Syntax),
    };
    // A negative count asks for so many members, the same ones again if need be.
    let repeats = count.is_some_and(|count| count < 0);
    let wanted = count.unwrap_or(1).unsigned_abs();
    if repeats && wanted > REPEATED_MEMBERS_MAX {
        return Err(CommandError::OutOfRange);
    }
    let mut random = Random::new(session.random().next_u64());
    let set = session.read::<Set>(args[1])?;
    let members: Vec<_> = match set {
        None => Vec::new(),
        Some(set) if repeats || count.is_none() => {
            (0..wanted).filter_map(|_| set.random_key(&mut random).cloned()).collect()
        }
        Some(set) => sample(set, usize::try_from(wanted).unwrap_or(usize::MAX), &mut random),
    };
    match count {
        None => bulk_or_null(reply, members.first()),
        Some(_) => {
            reply.array(members.len());
            members.iter().for_each(|member| reply.bulk(member));
        }
    }
    Ok(())
}
