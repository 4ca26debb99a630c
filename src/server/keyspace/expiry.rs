//! Times to live.

use super::arguments::{Time, Unit, is_word};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::Session;
use crate::server::reply::Reply;

/// When `EXPIRE` and its kin may change a deadline.
#[derive(Clone, Copy, Debug, Default)]
struct ExpireConditions {
    if_none: bool,
    if_some: bool,
    if_greater: bool,
    if_less: bool,
}

impl ExpireConditions {
    fn parse(args: &[&[u8]]) -> Result<ExpireConditions, CommandError> {
        let mut conditions = ExpireConditions::default();
        for option in args {
            match () {
                () if is_word(option, "NX") => conditions.if_none = true,
                () if is_word(option, "XX") => conditions.if_some = true,
                () if is_word(option, "GT") => conditions.if_greater = true,
                () if is_word(option, "LT") => conditions.if_less = true,
                () => return Err(CommandError::UnsupportedOption(option.to_vec())),
            }
        }
        let ExpireConditions { if_none, if_some, if_greater, if_less } = conditions;
        if if_none && (if_some || if_greater || if_less) {
            return Err(CommandError::ExpireNxExclusive);
        }
        if if_greater && if_less {
            return Err(CommandError::ExpireGtLt);
        }
        Ok(conditions)
    }

    /// Whether the deadline may become `new`; a key without one lives for ever.
    fn allow(self, current: Option<u64>, new: i64) -> bool {
        let current = current.map(|deadline| i64::try_from(deadline).unwrap_or(i64::MAX));
        !(self.if_none && current.is_some()
            || self.if_some && current.is_none()
            || self.if_greater && current.is_none_or(|current| new <= current)
            || self.if_less && current.is_some_and(|current| new >= current))
    }
}

fn set_deadline(
    session: &mut Session<'_>,
    args: &[&[u8]],
    unit: Unit,
    absolute: bool,
    reply: &mut Reply<'_>,
) -> Outcome {
    let conditions = ExpireConditions::parse(&args[3..])?;
    let deadline = Time { text: args[2], unit, absolute }.unix_ms(session.now_ms)?;
    let allowed =
        session.peek(args[1]).is_some_and(|entry| conditions.allow(entry.deadline, deadline));
    if allowed {
        session.set_deadline(args[1], Some(deadline));
    }
    reply.integer(i64::from(allowed));
    Ok(())
}

pub(super) fn expire(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    set_deadline(session, args, Unit::Seconds, false, reply)
}

pub(super) fn pexpire(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    set_deadline(session, args, Unit::Milliseconds, false, reply)
}

pub(super) fn expireat(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    set_deadline(session, args, Unit::Seconds, true, reply)
}

pub(super) fn pexpireat(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    set_deadline(session, args, Unit::Milliseconds, true, reply)
}

pub(super) fn persist(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let volatile = session.peek(args[1]).is_some_and(|entry| entry.deadline.is_some());
    if volatile {
        session.set_deadline(args[1], None);
    }
    reply.integer(i64::from(volatile));
    Ok(())
}

/// Writes what `time` makes of a key's deadline: -2 without the key, -1 without a deadline.
fn write_time(
    session: &mut Session<'_>,
    key: &[u8],
    reply: &mut Reply<'_>,
    time: impl FnOnce(u64, u64) -> u64,
) -> Outcome {
    let now_ms = session.now_ms;
    let answer = match session.visit(key).map(|entry| entry.deadline) {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline)) => i64::try_from(time(deadline, now_ms)).unwrap_or(i64::MAX),
    };
    reply.integer(answer);
    Ok(())
}

pub(super) fn ttl(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    // Rounded to the nearest second, as Redis does; events round up.
    write_time(session, args[1], reply, |deadline, now_ms| (deadline - now_ms + 500) / 1000)
}

pub(super) fn pttl(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    write_time(session, args[1], reply, |deadline, now_ms| deadline - now_ms)
}

pub(super) fn expiretime(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    write_time(session, args[1], reply, |deadline, _| (deadline + 500) / 1000)
}

pub(super) fn pexpiretime(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    write_time(session, args[1], reply, |deadline, _| deadline)
}
