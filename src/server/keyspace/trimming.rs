//! Trimming streams: the options that `XADD` and `XTRIM` share.

use super::arguments::{integer, is_word};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::{Missing, Session};
use super::streams::{Stream, StreamId};
use crate::server::reply::Reply;

/// What of a stream is to stay.
#[derive(Clone, Copy, Debug)]
enum Strategy {
    MaxLength(usize),
    LeastId(StreamId),
}

/// How to trim a stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Trim {
    strategy: Strategy,
    limit: usize,
}

impl Trim {
    /// Deletes the oldest entries; how many.
    ///
    /// `~` allows Redis to keep more than asked for; here trimming is always exact.
    pub(super) fn apply(self, stream: &mut Stream) -> usize {
        let mut removed = 0;
        while removed < self.limit
            && let Some(oldest) = stream.entries.first_entry()
            && !matches!(self.strategy, Strategy::LeastId(least) if *oldest.key() >= least)
        {
            let oldest = *oldest.key();
            if let Strategy::MaxLength(length) = self.strategy
                && stream.entries.len() <= length
            {
                break;
            }
            stream.entries.remove(&oldest);
            removed += 1;
        }
        removed
    }
}

/// The options of `XADD` and `XTRIM` as they were read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TrimOptions {
    /// NOMKSTREAM: a stream that does not exist is not created.
    pub(super) keep_missing: bool,
    strategy: Option<Strategy>,
    approximate: bool,
    limit: Option<usize>,
}

impl TrimOptions {
    /// Reads the options at the front of `args`; what follows them, which for `XTRIM` must be
    /// nothing.
    pub(super) fn parse<'a, 'b>(
        mut args: &'a [&'b [u8]],
        adding: bool,
    ) -> Result<(TrimOptions, &'a [&'b [u8]]), CommandError> {
        let mut options = TrimOptions::default();
        while let [word, rest @ ..] = args {
            match rest {
                _ if adding && is_word(word, "NOMKSTREAM") => {
                    options.keep_missing = true;
                    args = rest;
                }
                [_, ..] if is_word(word, "MAXLEN") || is_word(word, "MINID") => {
                    args = options.parse_strategy(word, rest)?;
                }
                [limit, rest @ ..] if is_word(word, "LIMIT") => {
                    let limit = usize::try_from(integer(limit)?);
                    options.limit = Some(limit.map_err(|_| CommandError::NegativeLimit)?);
                    args = rest;
                }
                _ if adding => break,
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok((options, args))
    }

    /// Reads `[=|~] threshold`; what follows.
    fn parse_strategy<'a, 'b>(
        &mut self,
        word: &[u8],
        args: &'a [&'b [u8]],
    ) -> Result<&'a [&'b [u8]], CommandError> {
        if self.strategy.is_some() {
            return Err(CommandError::TwoTrimStrategies);
        }
        let (threshold, rest) = match args {
            [b"~", threshold, rest @ ..] => {
                self.approximate = true;
                (threshold, rest)
            }
            [b"=", threshold, rest @ ..] => (threshold, rest),
            [threshold, rest @ ..] => (threshold, rest),
            [] => return Err(CommandError::Syntax),
        };
        self.strategy = Some(if is_word(word, "MAXLEN") {
            let length = usize::try_from(integer(threshold)?);
            Strategy::MaxLength(length.map_err(|_| CommandError::NegativeMaxLen)?)
        } else {
            Strategy::LeastId(StreamId::parse_bound(threshold, 0)?)
        });
        Ok(rest)
    }

    /// How to trim, once all options are known; `XADD` need not.
    pub(super) fn checked(&self, adding: bool) -> Result<Option<Trim>, CommandError> {
        let limit = match self.limit {
            Some(0) | None => usize::MAX,
            Some(limit) => limit,
        };
        match self.strategy {
            None if self.limit.is_some_and(|limit| limit > 0) => {
                Err(CommandError::LimitWithoutStrategy)
            }
            None if !adding => Err(CommandError::NoTrimStrategy),
            _ if self.limit.is_some() && !self.approximate => Err(CommandError::LimitWithoutTilde),
            strategy => Ok(strategy.map(|strategy| Trim { strategy, limit })),
        }
    }
}

pub(super) fn xtrim(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let (options, _) = TrimOptions::parse(&args[2..], false)?;
    let trim = options.checked(false)?.ok_or(CommandError::NoTrimStrategy)?;
    let removed = session
        .write(args[1], Missing::Skip, |stream: &mut Stream| Ok((trim.apply(stream), None)))?;
    reply.integer(removed.unwrap_or(0) as i64);
    Ok(())
}
