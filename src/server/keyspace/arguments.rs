//! Reading arguments: numbers, words, times, ranges.

use std::ops::Range;

use super::error::CommandError;

/// Longest string value, in bytes: 512 MiB.
pub(super) const STRING_BYTES_MAX: usize = 512 * 1024 * 1024;

/// Whether `argument` is `word`, in any case.
pub(super) fn is_word(argument: &[u8], word: &str) -> bool {
    argument.eq_ignore_ascii_case(word.as_bytes())
}

/// The integer that `text` is in its only canonical form: no sign but `-`, no leading zero.
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        b"0" => text.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// An integer argument.
pub(super) fn integer(text: &[u8]) -> Result<i64, CommandError> {
    parse_integer(text).ok_or(CommandError::NotInteger)
}

/// A count that must not be negative.
pub(super) fn positive(text: &[u8]) -> Result<usize, CommandError> {
    let count = parse_integer(text).ok_or(CommandError::NotPositive)?;
    usize::try_from(count).map_err(|_| CommandError::NotPositive)
}

/// The number that `text` is: decimal, exponents and infinities, but neither NaN nor what a double
/// can't hold.
pub(super) fn parse_float(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    let named_infinity = text.bytes().any(|byte| byte.eq_ignore_ascii_case(&b'i'));
    if value.is_nan() || value.is_infinite() && !named_infinity {
        return None;
    }
    // A number that vanished was too small, unless it was zero all along.
    let mantissa = text.split(['e', 'E']).next().unwrap_or(text);
    if value == 0.0 && mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9')) {
        return None;
    }
    Some(value)
}

/// A floating point argument.
pub(super) fn float(text: &[u8]) -> Result<f64, CommandError> {
    parse_float(text).ok_or(CommandError::NotFloat)
}

/// The unit of a time argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unit {
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Milliseconds,
}

/// A time argument: its text, its unit, and whether it counts from 1970 or from now.
#[derive(Clone, Copy, Debug)]
pub(super) struct Time<'a> {
    pub(super) text: &'a [u8],
    pub(super) unit: Unit,
    pub(super) absolute: bool,
}

impl<'a> Time<'a> {
    /// The time that an option word announces: EX, PX, EXAT or PXAT.
    pub(super) fn from_option(word: &[u8], text: &'a [u8]) -> Option<Time<'a>> {
        let (unit, absolute) = match () {
            () if is_word(word, "EX") => (Unit::Seconds, false),
            () if is_word(word, "PX") => (Unit::Milliseconds, false),
            () if is_word(word, "EXAT") => (Unit::Seconds, true),
            () if is_word(word, "PXAT") => (Unit::Milliseconds, true),
            () => return None,
        };
        Some(Time { text, unit, absolute })
    }

    /// Milliseconds since 1970; may lie before 1970 when the argument was negative.
    pub(super) fn unix_ms(self, now_ms: u64) -> Result<i64, CommandError> {
        let amount = integer(self.text)?;
        let factor = if self.unit == Unit::Seconds { 1000 } else { 1 };
        let base = if self.absolute { 0 } else { i64::try_from(now_ms).unwrap_or(i64::MAX) };
        amount
            .checked_mul(factor)
            .and_then(|amount| amount.checked_add(base))
            .ok_or(CommandError::InvalidExpire)
    }

    /// Milliseconds since 1970, of an argument that must be positive.
    pub(super) fn positive_unix_ms(self, now_ms: u64) -> Result<u64, CommandError> {
        if integer(self.text)? <= 0 {
            return Err(CommandError::InvalidExpire);
        }
        u64::try_from(self.unix_ms(now_ms)?).map_err(|_| CommandError::InvalidExpire)
    }
}

/// The indexes from `start` to `stop`, both included, of something `length` long; negative ones
/// count from the end. Empty when nothing lies between them.
pub(super) fn index_range(start: i64, stop: i64, length: usize) -> Range<usize> {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_start = |index: i64| if index < 0 { (length + index).max(0) } else { index };
    let start = from_start(start);
    let stop = if stop < 0 { length + stop } else { stop.min(length - 1) };
    if start > stop || start >= length {
        return 0..0;
    }
    start as usize..stop as usize + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_form() {
        for (text, expected) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1.0", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn floats_are_read_as_redis_reads_them() {
        for (text, expected) in [
            ("1", Some(1.0)),
            ("+1.5e3", Some(1500.0)),
            (".5", Some(0.5)),
            ("inf", Some(f64::INFINITY)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("0e-400", Some(0.0)),
            ("nan", None),
            ("1e400", None),
            ("1e-400", None),
            ("", None),
            (" 1", None),
            ("1 ", None),
            ("x", None),
        ] {
            assert_eq!(parse_float(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn index_ranges_never_leave_the_length() {
        for (start, stop, length, expected) in [
            (0, -1, 3, 0..3),
            (-2, -1, 3, 1..3),
            (-100, 100, 3, 0..3),
            (2, 1, 3, 0..0),
            (3, 5, 3, 0..0),
            (0, -4, 3, 0..0),
            (0, 0, 0, 0..0),
            (i64::MIN, i64::MAX, 2, 0..2),
            (i64::MAX, i64::MIN, 2, 0..0),
        ] {
            assert_eq!(index_range(start, stop, length), expected, "{start} {stop} {length}");
        }
    }
}
