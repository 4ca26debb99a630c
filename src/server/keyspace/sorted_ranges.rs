//! Sorted sets by rank, by score and by name.

use std::sync::Arc;

use super::arguments::{index_range, integer, is_word, parse_float};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::Session;
use super::value::SortedSet;
use crate::server::reply::Reply;

/// Scores from `low` to `high`.
#[derive(Clone, Copy, Debug)]
struct ScoreRange {
    low: f64,
    low_excluded: bool,
    high: f64,
    high_excluded: bool,
}

impl ScoreRange {
    fn parse(low: &[u8], high: &[u8]) -> Result<ScoreRange, CommandError> {
        let bound = |text: &[u8]| {
            let (excluded, number) = match text {
                [b'(', number @ ..] => (true, number),
                number => (false, number),
            };
            parse_float(number).map(|score| (score, excluded)).ok_or(CommandError::ScoreBound)
        };
        let ((low, low_excluded), (high, high_excluded)) = (bound(low)?, bound(high)?);
        Ok(ScoreRange { low, low_excluded, high, high_excluded })
    }

    /// The members with scores in the range, lowest first.
    fn of(self, set: &SortedSet) -> impl Iterator<Item = (&Arc<[u8]>, f64)> {
        set.ranked_from(self.low)
            .skip_while(move |(_, score)| self.low_excluded && *score == self.low)
            .take_while(move |(_, score)| {
                *score < self.high || *score == self.high && !self.high_excluded
            })
    }
}

/// One end of a lexicographic range.
#[derive(Clone, Copy, Debug)]
enum LexBound<'a> {
    /// `-`
    Least,
    /// `+`
    Greatest,
    /// `[text` or `(text`
    Text(&'a [u8], bool),
}

impl<'a> LexBound<'a> {
    fn parse(text: &'a [u8]) -> Result<LexBound<'a>, CommandError> {
        match text {
            b"-" => Ok(LexBound::Least),
            b"+" => Ok(LexBound::Greatest),
            [b'[', text @ ..] => Ok(LexBound::Text(text, false)),
            [b'(', text @ ..] => Ok(LexBound::Text(text, true)),
            _ => Err(CommandError::LexBound),
        }
    }

    /// Whether `member` is not below this bound.
    fn allows_from(self, member: &[u8]) -> bool {
        match self {
            LexBound::Least => true,
            LexBound::Greatest => false,
            LexBound::Text(text, excluded) => member > text || member == text && !excluded,
        }
    }

    /// Whether `member` is not above this bound.
    fn allows_to(self, member: &[u8]) -> bool {
        match self {
            LexBound::Least => false,
            LexBound::Greatest => true,
            LexBound::Text(text, excluded) => member < text || member == text && !excluded,
        }
    }
}

/// What the two bounds of a range are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum By {
    #[default]
    Rank,
    Score,
    Lex,
}

/// A range of members as a command asks for it.
#[derive(Clone, Copy, Debug)]
struct RangeQuery {
    by: By,
    reversed: bool,
    with_scores: bool,
    limit: Option<(i64, i64)>,
}

impl RangeQuery {
    fn new(by: By, reversed: bool) -> RangeQuery {
        RangeQuery { by, reversed, with_scores: false, limit: None }
    }

    /// Reads the options after the bounds; `free` when they may also say what the bounds are.
    fn parse(mut self, mut args: &[&[u8]], free: bool) -> Result<RangeQuery, CommandError> {
        while let [word, rest @ ..] = args {
            args = rest;
            match args {
                _ if is_word(word, "WITHSCORES") => self.with_scores = true,
                [offset, count, rest @ ..] if is_word(word, "LIMIT") => {
                    self.limit = Some((integer(offset)?, integer(count)?));
                    args = rest;
                }
                _ if free && is_word(word, "REV") => self.reversed = true,
                _ if free && is_word(word, "BYSCORE") => self.by = By::Score,
                _ if free && is_word(word, "BYLEX") => self.by = By::Lex,
                _ => return Err(CommandError::Syntax),
            }
        }
        if self.limit.is_some() && self.by == By::Rank {
            return Err(CommandError::LimitWithoutBy);
        }
        if self.with_scores && self.by == By::Lex {
            return Err(CommandError::LexWithScores);
        }
        Ok(self)
    }

    /// Answers the query on `args[1]` with the bounds in `args[2]` and `args[3]`.
    fn run(self, session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
        // In reverse the higher bound comes first.
        let (low, high) = if self.reversed { (args[3], args[2]) } else { (args[2], args[3]) };
        let key = args[1];
        match self.by {
            By::Rank => {
                let (start, stop) = (integer(args[2])?, integer(args[3])?);
                let set = session.read::<SortedSet>(key)?;
                let range = index_range(start, stop, set.map_or(0, SortedSet::len));
                let ranked = set.into_iter().flat_map(SortedSet::ranked);
                let (skip, take) = (range.start, range.len());
                if self.reversed {
                    self.write(ranked.rev().skip(skip).take(take), reply);
                } else {
                    self.write(ranked.skip(skip).take(take), reply);
                }
            }
            By::Score => {
                let range = ScoreRange::parse(low, high)?;
                let set = session.read::<SortedSet>(key)?;
                self.write_limited(set.into_iter().flat_map(|set| range.of(set)), reply);
            }
            By::Lex => {
                let (low, high) = (LexBound::parse(low)?, LexBound::parse(high)?);
                let set = session.read::<SortedSet>(key)?;
                let members = set
                    .into_iter()
                    .flat_map(SortedSet::ranked)
                    .skip_while(|(member, _)| !low.allows_from(member))
                    .take_while(|(member, _)| high.allows_to(member));
                self.write_limited(members, reply);
            }
        }
        Ok(())
    }

    /// Writes members that come lowest first, in the order and within the limit asked for.
    fn write_limited<'s>(
        self,
        members: impl Iterator<Item = (&'s Arc<[u8]>, f64)>,
        reply: &mut Reply<'_>,
    ) {
        let (offset, count) = self.limit.unwrap_or((0, -1));
        // A negative offset yields nothing, a negative count everything.
        let skip = usize::try_from(offset).unwrap_or(usize::MAX);
        let take = usize::try_from(count).unwrap_or(usize::MAX);
        if self.reversed {
            let members: Vec<_> = members.collect();
            self.write(members.into_iter().rev().skip(skip).take(take), reply);
        } else {
            self.write(members.skip(skip).take(take), reply);
        }
    }

    fn write<'s>(self, members: impl Iterator<Item = (&'s Arc<[u8]>, f64)>, reply: &mut Reply<'_>) {
        let members: Vec<_> = members.collect();
        let nested = self.with_scores && reply.is_resp3();
        reply.array(members.len() * if self.with_scores && !nested { 2 } else { 1 });
        for (member, score) in members {
            if nested {
                reply.array(2);
            }
            reply.bulk(member);
            if self.with_scores {
                reply.double(score);
            }
        }
    }
}

pub(super) fn zrange(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    RangeQuery::new(By::Rank, false).parse(&args[4..], true)?.run(session, args, reply)
}

pub(super) fn zrevrange(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    RangeQuery::new(By::Rank, true).parse(&args[4..], false)?.run(session, args, reply)
}

pub(super) fn zrangebyscore(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    RangeQuery::new(By::Score, false).parse(&args[4..], false)?.run(session, args, reply)
}

pub(super) fn zrevrangebyscore(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    RangeQuery::new(By::Score, true).parse(&args[4..], false)?.run(session, args, reply)
}

pub(super) fn zcount(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let range = ScoreRange::parse(args[2], args[3])?;
    let count = session.read::<SortedSet>(args[1])?.map_or(0, |set| range.of(set).count());
    reply.integer(count as i64);
    Ok(())
}

pub(super) fn zrank(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    rank(session, args, false, reply)
}

pub(super) fn zrevrank(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    rank(session, args, true, reply)
}

fn rank(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reversed: bool,
    reply: &mut Reply<'_>,
) -> Outcome {
    let with_score = match args {
        [_, _, _] => false,
        [_, _, _, word] if is_word(word, "WITHSCORE") => true,
        [_, _, _, _] => return Err(CommandError::Syntax),
        _ => return Err(CommandError::Arity),
    };
    let set = session.read::<SortedSet>(args[1])?;
    let found = set.and_then(|set| set.score(args[2]).map(|score| (set, score)));
    let Some((set, score)) = found else {
        if with_score {
            reply.null_array()
        } else {
            reply.null()
        }
        return Ok(());
    };
    let rank = set.ranked().take_while(|(member, _)| ***member != *args[2]).count();
    let rank = if reversed { set.len() - 1 - rank } else { rank };
    if with_score {
        reply.array(2);
    }
    reply.integer(rank as i64);
    if with_score {
        reply.double(score);
    }
    Ok(())
}
