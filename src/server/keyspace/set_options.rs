//! The options of `SET` and `GETEX`.

use super::arguments::{Time, is_word};
use super::error::CommandError;
use super::session::Lifetime;

/// When a string may be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Condition {
    #[default]
    Always,
    /// NX.
    IfMissing,
    /// XX.
    IfExists,
}

impl Condition {
    /// Whether the condition holds for a key that exists or doesn't.
    pub(super) fn allows(self, exists: bool) -> bool {
        match self {
            Condition::Always => true,
            Condition::IfMissing => !exists,
            Condition::IfExists => exists,
        }
    }
}

/// What an option says about the time to live.
#[derive(Clone, Copy, Debug)]
enum Expiry<'a> {
    At(Time<'a>),
    Keep,
    Persist,
}

/// The options of `SET` or `GETEX`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SetOptions<'a> {
    /// NX or XX.
    pub(super) condition: Condition,
    /// Whether the value before is asked for.
    pub(super) get: bool,
    expiry: Option<Expiry<'a>>,
}

impl<'a> SetOptions<'a> {
    /// Reads the options of `SET`.
    pub(super) fn of_set(args: &[&'a [u8]]) -> Result<SetOptions<'a>, CommandError> {
        SetOptions::parse(args, true)
    }

    /// Reads the options of `GETEX`.
    pub(super) fn of_getex(args: &[&'a [u8]]) -> Result<SetOptions<'a>, CommandError> {
        SetOptions::parse(args, false)
    }

    fn parse(mut args: &[&'a [u8]], set: bool) -> Result<SetOptions<'a>, CommandError> {
        let mut options = SetOptions::default();
        while let [word, rest @ ..] = args {
            args = rest;
            if set && is_word(word, "NX") && options.condition != Condition::IfExists {
                options.condition = Condition::IfMissing;
            } else if set && is_word(word, "XX") && options.condition != Condition::IfMissing {
                options.condition = Condition::IfExists;
            } else if set && is_word(word, "GET") {
                options.get = true;
            } else if set && is_word(word, "KEEPTTL") {
                options.set_expiry(Expiry::Keep)?;
            } else if !set && is_word(word, "PERSIST") {
                options.set_expiry(Expiry::Persist)?;
            } else if let [text, rest @ ..] = args
                && let Some(time) = Time::from_option(word, text)
            {
                args = rest;
                options.set_expiry(Expiry::At(time))?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// One kind of time to live may be given; when it is repeated, the last one counts.
    fn set_expiry(&mut self, expiry: Expiry<'a>) -> Result<(), CommandError> {
        let compatible = match (self.expiry, expiry) {
            (None, _)
            | (Some(Expiry::Keep), Expiry::Keep)
            | (Some(Expiry::Persist), Expiry::Persist) => true,
            (Some(Expiry::At(first)), Expiry::At(second)) => {
                (first.unit, first.absolute) == (second.unit, second.absolute)
            }
            _ => false,
        };
        if !compatible {
            return Err(CommandError::Syntax);
        }
        self.expiry = Some(expiry);
        Ok(())
    }

    /// How long the string lives that `SET` sets.
    pub(super) fn lifetime(&self, now_ms: u64) -> Result<Lifetime, CommandError> {
        match self.expiry {
            None | Some(Expiry::Persist) => Ok(Lifetime::Endless),
            Some(Expiry::Keep) => Ok(Lifetime::Kept),
            Some(Expiry::At(time)) => time.positive_unix_ms(now_ms).map(Lifetime::Until),
        }
    }

    /// The deadline that `GETEX` sets; the outer `None` leaves it alone.
    pub(super) fn deadline(&self, now_ms: u64) -> Result<Option<Option<i64>>, CommandError> {
        match self.expiry {
            None | Some(Expiry::Keep) => Ok(None),
            Some(Expiry::Persist) => Ok(Some(None)),
            Some(Expiry::At(time)) => {
                let deadline = time.positive_unix_ms(now_ms)?;
                Ok(Some(Some(i64::try_from(deadline).unwrap_or(i64::MAX))))
            }
        }
    }
}
