//! What can be wrong with a command, and the text a client gets for it.

use std::borrow::Cow;

/// Why a command was refused. Nothing was changed and nothing written when a handler returns one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum CommandError {
    /// Too few or too many arguments.
    Arity,
    /// Arguments of a subcommand, which is named.
    SubcommandArity(&'static str),
    /// A subcommand that does not exist, as the client wrote it.
    UnknownSubcommand(Vec<u8>),
    /// Options that do not exist or exclude each other.
    Syntax,
    /// The key holds another type.
    WrongType,
    /// No such key, where the command needs one.
    NoSuchKey,
    /// Not a 64-bit integer.
    NotInteger,
    /// Not a floating point number.
    NotFloat,
    /// A negative count.
    NotPositive,
    /// A count whose reply would be unreasonably large.
    OutOfRange,
    /// A cursor that is not a number.
    InvalidCursor,
    /// A time to live that is not positive or that overflows.
    InvalidExpire,
    /// `EXPIRE` with NX beside another condition.
    ExpireNxExclusive,
    /// `EXPIRE` with both GT and LT.
    ExpireGtLt,
    /// An option of `EXPIRE` that does not exist.
    UnsupportedOption(Vec<u8>),
    /// `DECRBY` by the smallest integer.
    DecrementOverflow,
    /// An integer that would leave 64 bits.
    Overflow,
    /// A float that would leave the finite numbers.
    NotFinite,
    /// An increment of a hash field that is not a finite number.
    IncrementNotFinite,
    /// A hash field that is not an integer.
    HashNotInteger,
    /// A hash field that is not a float.
    HashNotFloat,
    /// A string beyond the limit.
    StringTooLong,
    /// A negative offset.
    OffsetOutOfRange,
    /// A list index beyond the list.
    IndexOutOfRange,
    /// A database number that does not exist.
    DatabaseOutOfRange,
    /// `COPY` of a key onto itself.
    SameObject,
    /// `ZADD` with both NX and XX.
    ZaddNxXx,
    /// `ZADD` with more than one of GT, LT and NX.
    ZaddGtLtNx,
    /// `ZADD INCR` with more than one member.
    ZaddIncrPairs,
    /// Infinity minus infinity as a score.
    ScoreNotNumber,
    /// A bound of scores that is not a float.
    ScoreBound,
    /// A bound of a lexicographic range without its `[` or `(`.
    LexBound,
    /// `ZRANGE` by index with LIMIT.
    LimitWithoutBy,
    /// `ZRANGE BYLEX` with scores.
    LexWithScores,
    /// Not a stream id.
    InvalidStreamId,
    /// `XADD` of 0-0.
    StreamIdZero,
    /// `XADD` of an id that is not beyond the last one.
    StreamIdTooSmall,
    /// No id is left in the stream.
    StreamExhausted,
    /// An exclusive start with nothing after it.
    InvalidStartId,
    /// An exclusive end with nothing before it.
    InvalidEndId,
    /// A negative MAXLEN.
    NegativeMaxLen,
    /// A negative LIMIT.
    NegativeLimit,
    /// LIMIT without MAXLEN or MINID.
    LimitWithoutStrategy,
    /// `XTRIM` without MAXLEN or MINID.
    NoTrimStrategy,
    /// LIMIT without `~`.
    LimitWithoutTilde,
    /// More than one of MAXLEN and MINID.
    TwoTrimStrategies,
    /// `XREAD` with more or fewer ids than keys.
    UnbalancedStreams,
    /// `XREAD` with the id that only consumer groups know.
    GroupIdOutsideGroup,
    /// A BLOCK time that is not an integer.
    TimeoutNotInteger,
    /// A negative BLOCK time.
    TimeoutNegative,
}

impl CommandError {
    /// The error line for `command`, whose name is in lower case.
    pub(super) fn text(&self, command: &str) -> Cow<'static, str> {
        let text = match self {
            CommandError::Arity => {
                return format!("ERR wrong number of arguments for '{command}' command").into();
            }
            CommandError::SubcommandArity(subcommand) => {
                let name = format!("{command}|{subcommand}");
                return format!("ERR wrong number of arguments for '{name}' command").into();
            }
            CommandError::UnknownSubcommand(name) => {
                let name = shown(name);
                let parent = command.to_ascii_uppercase();
                return format!("ERR unknown subcommand '{name}'. Try {parent} HELP.").into();
            }
            CommandError::InvalidExpire => {
                return format!("ERR invalid expire time in '{command}' command").into();
            }
            CommandError::UnsupportedOption(option) => {
                return format!("ERR Unsupported option {}", shown(option)).into();
            }
            CommandError::Syntax => "ERR syntax error",
            CommandError::WrongType => {
                "WRONGTYPE Operation against a key holding the wrong kind of value"
            }
            CommandError::NoSuchKey => "ERR no such key",
            CommandError::NotInteger => "ERR value is not an integer or out of range",
            CommandError::NotFloat => "ERR value is not a valid float",
            CommandError::NotPositive => "ERR value is out of range, must be positive",
            CommandError::OutOfRange => "ERR value is out of range",
            CommandError::InvalidCursor => "ERR invalid cursor",
            CommandError::ExpireNxExclusive => {
                "ERR NX and XX, GT or LT options at the same time are not compatible"
            }
            CommandError::ExpireGtLt => "ERR GT and LT options at the same time are not compatible",
            CommandError::DecrementOverflow => "ERR decrement would overflow",
            CommandError::Overflow => "ERR increment or decrement would overflow",
            CommandError::NotFinite => "ERR increment would produce NaN or Infinity",
            CommandError::IncrementNotFinite => "ERR value is NaN or Infinity",
            CommandError::HashNotInteger => "ERR hash value is not an integer",
            CommandError::HashNotFloat => "ERR hash value is not a float",
            CommandError::StringTooLong => {
                "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
            }
            CommandError::OffsetOutOfRange => "ERR offset is out of range",
            CommandError::IndexOutOfRange => "ERR index out of range",
            CommandError::DatabaseOutOfRange => "ERR DB index is out of range",
            CommandError::SameObject => "ERR source and destination objects are the same",
            CommandError::ZaddNxXx => "ERR XX and NX options at the same time are not compatible",
            CommandError::ZaddGtLtNx => {
                "ERR GT, LT, and/or NX options at the same time are not compatible"
            }
            CommandError::ZaddIncrPairs => {
                "ERR INCR option supports a single increment-element pair"
            }
            CommandError::ScoreNotNumber => "ERR resulting score is not a number (NaN)",
            CommandError::ScoreBound => "ERR min or max is not a float",
            CommandError::LexBound => "ERR min or max not valid string range item",
            CommandError::LimitWithoutBy => {
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or \
                 BYLEX"
            }
            CommandError::LexWithScores => {
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX"
            }
            CommandError::InvalidStreamId => {
                "ERR Invalid stream ID specified as stream command argument"
            }
            CommandError::StreamIdZero => "ERR The ID specified in XADD must be greater than 0-0",
            CommandError::StreamIdTooSmall => {
                "ERR The ID specified in XADD is equal or smaller than the target stream top item"
            }
            CommandError::StreamExhausted => {
                "ERR The stream has exhausted the last possible ID, unable to add more items"
            }
            CommandError::InvalidStartId => "ERR invalid start ID for the interval",
            CommandError::InvalidEndId => "ERR invalid end ID for the interval",
            CommandError::NegativeMaxLen => "ERR The MAXLEN argument must be >= 0.",
            CommandError::NegativeLimit => "ERR The LIMIT argument must be >= 0.",
            CommandError::LimitWithoutStrategy => {
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy"
            }
            CommandError::NoTrimStrategy => {
                "ERR syntax error, XTRIM must be called with a trimming strategy"
            }
            CommandError::LimitWithoutTilde => {
                "ERR syntax error, LIMIT cannot be used without the special ~ option"
            }
            CommandError::TwoTrimStrategies => {
                "ERR syntax error, MAXLEN and MINID options at the same time are not compatible"
            }
            CommandError::UnbalancedStreams => {
                "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be \
                 specified."
            }
            CommandError::GroupIdOutsideGroup => {
                "ERR The > ID can be specified only when calling XREADGROUP using the GROUP \
                 <group> <consumer> option."
            }
            CommandError::TimeoutNotInteger => "ERR timeout is not an integer or out of range",
            CommandError::TimeoutNegative => "ERR timeout is negative",
        };
        Cow::Borrowed(text)
    }
}

/// What a client wrote, short enough for an error line.
fn shown(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes.get(..128).unwrap_or(bytes))
}
