//! Sorted sets: members and their scores.

use super::arguments::{float, is_word, positive};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::{Added, Changed, Missing, Session};
use super::value::SortedSet;
use crate::server::reply::Reply;

/// The options of `ZADD`.
#[derive(Clone, Copy, Debug, Default)]
struct AddOptions {
    if_missing: bool,
    if_exists: bool,
    if_greater: bool,
    if_less: bool,
    count_changed: bool,
    increment: bool,
}

impl AddOptions {
    /// Reads the options at the front of `args`; what follows them.
    fn parse<'a, 'b>(mut args: &'a [&'b [u8]]) -> (AddOptions, &'a [&'b [u8]]) {
        let mut options = AddOptions::default();
        while let [word, rest @ ..] = args {
            match () {
                () if is_word(word, "NX") => options.if_missing = true,
                () if is_word(word, "XX") => options.if_exists = true,
                () if is_word(word, "GT") => options.if_greater = true,
                () if is_word(word, "LT") => options.if_less = true,
                () if is_word(word, "CH") => options.count_changed = true,
                () if is_word(word, "INCR") => options.increment = true,
                () => break,
            }
            args = rest;
        }
        (options, args)
    }

    fn check(&self, members: usize) -> Result<(), CommandError> {
        let exclusive = [self.if_missing, self.if_greater, self.if_less];
        if self.if_missing && self.if_exists {
            Err(CommandError::ZaddNxXx)
        } else if exclusive.into_iter().filter(|set| *set).count() > 1 {
            Err(CommandError::ZaddGtLtNx)
        } else if self.increment && members > 1 {
            Err(CommandError::ZaddIncrPairs)
        } else {
            Ok(())
        }
    }

    /// The score a member gets; `None` when the options leave it alone.
    fn score(&self, before: Option<f64>, given: f64) -> Result<Option<f64>, CommandError> {
        let Some(before) = before else {
            return Ok((!self.if_exists).then_some(given));
        };
        if self.if_missing {
            return Ok(None);
        }
        let score = if self.increment { before + given } else { given };
        if score.is_nan() {
            return Err(CommandError::ScoreNotNumber);
        }
        let refused = self.if_greater && score <= before || self.if_less && score >= before;
        Ok((!refused).then_some(score))
    }
}

/// What adding members did.
#[derive(Clone, Copy, Debug, Default)]
struct AddResult {
    added: usize,
    changed: usize,
    /// The score of the last member, unless it was left alone.
    score: Option<f64>,
}

/// Adds members or changes their scores.
fn add_members<'a>(
    set: &mut SortedSet,
    options: AddOptions,
    members: &[(f64, &'a [u8])],
) -> Changed<'a, AddResult> {
    let mut result = AddResult::default();
    let mut written = Vec::new();
    for &(given, member) in members {
        let before = set.score(member);
        result.score = options.score(before, given)?;
        let Some(score) = result.score.filter(|score| before != Some(*score)) else { continue };
        set.insert(member, score);
        written.push((member, score));
        result.added += usize::from(before.is_none());
        result.changed += 1;
    }
    Ok((result, (!written.is_empty()).then_some(Added::Scores(written))))
}

fn add(
    session: &mut Session<'_>,
    key: &[u8],
    options: AddOptions,
    members: &[(f64, &[u8])],
    reply: &mut Reply<'_>,
) -> Outcome {
    let missing = if options.if_exists { Missing::Skip } else { Missing::Create };
    let result = session
        .write(key, missing, |set: &mut SortedSet| add_members(set, options, members))?
        .unwrap_or_default();
    if options.increment {
        double_or_null(reply, result.score);
    } else {
        let count = if options.count_changed { result.changed } else { result.added };
        reply.integer(count as i64);
    }
    Ok(())
}

/// Writes a score that may not exist.
pub(super) fn double_or_null(reply: &mut Reply<'_>, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

pub(super) fn zadd(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let (options, pairs) = AddOptions::parse(&args[2..]);
    let (pairs, []) = pairs.as_chunks::<2>() else { return Err(CommandError::Syntax) };
    if pairs.is_empty() {
        return Err(CommandError::Syntax);
    }
    options.check(pairs.len())?;
    let members: Vec<_> = pairs
        .iter()
        .map(|[score, member]| Ok((float(score)?, *member)))
        .collect::<Result<_, CommandError>>()?;
    add(session, args[1], options, &members, reply)
}

pub(super) fn zincrby(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let options = AddOptions { increment: true, ..AddOptions::default() };
    add(session, args[1], options, &[(float(args[2])?, args[3])], reply)
}

pub(super) fn zrem(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let removed = session.write(args[1], Missing::Skip, |set: &mut SortedSet| {
        Ok((args[2..].iter().filter(|member| set.remove(member).is_some()).count(), None))
    })?;
    reply.integer(removed.unwrap_or(0) as i64);
    Ok(())
}

pub(super) fn zscore(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let set = session.read::<SortedSet>(args[1])?;
    double_or_null(reply, set.and_then(|set| set.score(args[2])));
    Ok(())
}

pub(super) fn zmscore(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let set = session.read::<SortedSet>(args[1])?;
    reply.array(args.len() - 2);
    for member in &args[2..] {
        double_or_null(reply, set.and_then(|set| set.score(member)));
    }
    Ok(())
}

pub(super) fn zcard(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let count = session.read::<SortedSet>(args[1])?.map_or(0, SortedSet::len);
    reply.integer(count as i64);
    Ok(())
}

pub(super) fn zpopmin(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    pop(session, args, false, reply)
}

pub(super) fn zpopmax(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    pop(session, args, true, reply)
}

fn pop(session: &mut Session<'_>, args: &[&[u8]], highest: bool, reply: &mut Reply<'_>) -> Outcome {
    let count = match args {
        [_, _] => None,
        [_, _, count] => Some(positive(count)?),
        _ => return Err(CommandError::Syntax),
    };
    let popped = session.write(args[1], Missing::Skip, |set: &mut SortedSet| {
        let mut popped = Vec::new();
        while popped.len() < count.unwrap_or(1)
            && let Some(member) = set.extreme(highest)
            && let Some(score) = set.remove(&member)
        {
            popped.push((member, score));
        }
        Ok((popped, None))
    })?;
    let popped = popped.unwrap_or_default();
    // With a count RESP3 nests each pair; without one there is at most one pair, never nested.
    let nested = count.is_some() && reply.is_resp3();
    reply.array(popped.len() * if nested { 1 } else { 2 });
    for (member, score) in &popped {
        if nested {
            reply.array(2);
        }
        reply.bulk(member);
        reply.double(*score);
    }
    Ok(())
}
