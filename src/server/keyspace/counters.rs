//! Numbers in strings, and the decimal arithmetic that hashes share.

use super::arguments::{integer, parse_float, parse_integer};
use super::commands::Outcome;
use super::error::CommandError;
use super::session::{Lifetime, Session};
use crate::server::reply::Reply;

pub(super) fn incr(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    add(session, args[1], 1, reply)
}

pub(super) fn decr(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    add(session, args[1], -1, reply)
}

pub(super) fn incrby(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    add(session, args[1], integer(args[2])?, reply)
}

pub(super) fn decrby(session: &mut Session<'_>, args: &[&[u8]], reply: &mut Reply<'_>) -> Outcome {
    let amount = integer(args[2])?.checked_neg().ok_or(CommandError::DecrementOverflow)?;
    add(session, args[1], amount, reply)
}

fn add(session: &mut Session<'_>, key: &[u8], amount: i64, reply: &mut Reply<'_>) -> Outcome {
    let before = match session.peek(key) {
        Some(entry) => integer(entry.value.text().ok_or(CommandError::WrongType)?)?,
        None => 0,
    };
    let sum = before.checked_add(amount).ok_or(CommandError::Overflow)?;
    session.set_text(key, sum.to_string().into_bytes(), Lifetime::Kept);
    reply.integer(sum);
    Ok(())
}

pub(super) fn incrbyfloat(
    session: &mut Session<'_>,
    args: &[&[u8]],
    reply: &mut Reply<'_>,
) -> Outcome {
    let before = match session.peek(args[1]) {
        Some(entry) => entry.value.text().ok_or(CommandError::WrongType)?,
        None => b"0",
    };
    // The value in the store is judged first.
    parse_float(before).ok_or(CommandError::NotFloat)?;
    parse_float(args[2]).ok_or(CommandError::NotFloat)?;
    let sum = add_decimals(before, args[2]).ok_or(CommandError::NotFinite)?;
    session.set_text(args[1], sum.clone().into_bytes(), Lifetime::Kept);
    reply.bulk(sum);
    Ok(())
}

/// Digits after the point that sums keep.
const FRACTION_DIGITS: usize = 17;
/// Digits before the point up to which sums are exact.
const WHOLE_DIGITS_MAX: usize = 20;

/// The sum of two numbers in plain decimal notation, with at most 17 digits after the point;
/// `None` when it is not finite.
///
/// Redis adds in the 80-bit format of x86 and rounds to 17 digits, so that 0.1 + 0.2 is 0.3. The
/// sum here is exact as long as both numbers have the usual size, which gives the same text and,
/// from about a hundred on, one without the noise of the 80-bit format.
pub(super) fn add_decimals(left: &[u8], right: &[u8]) -> Option<String> {
    if let (Some(left), Some(right)) = (fixed_point(left), fixed_point(right)) {
        return Some(trimmed(&fixed_point_text(left + right)));
    }
    let sum = parse_float(left)? + parse_float(right)?;
    sum.is_finite().then(|| trimmed(&format!("{sum:.FRACTION_DIGITS$}")))
}

/// A number in plain notation in units of 10^-17; `None` when it is written otherwise, too large,
/// or too fine.
fn fixed_point(text: &[u8]) -> Option<i128> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let point = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let (whole, fraction) = digits.split_at(point);
    let fraction = fraction.get(1..).unwrap_or_default();
    if whole.len() > WHOLE_DIGITS_MAX || fraction.len() > FRACTION_DIGITS {
        return None;
    }
    let padding = std::iter::repeat_n(&b'0', FRACTION_DIGITS - fraction.len());
    let mut number = 0i128;
    for digit in whole.iter().chain(fraction).chain(padding) {
        if !digit.is_ascii_digit() {
            return None;
        }
        number = number * 10 + i128::from(digit - b'0');
    }
    Some(if negative { -number } else { number })
}

fn fixed_point_text(number: i128) -> String {
    let unit = 10u128.pow(FRACTION_DIGITS as u32);
    let (whole, fraction) = (number.unsigned_abs() / unit, number.unsigned_abs() % unit);
    let sign = if number < 0 { "-" } else { "" };
    format!("{sign}{whole}.{fraction:0FRACTION_DIGITS$}")
}

/// A decimal text without the zeros at its end, and without the sign of zero.
fn trimmed(text: &str) -> String {
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// The sum of an integer in a text (none counts as 0) and `amount`.
pub(super) fn add_to_text(text: Option<&[u8]>, amount: i64) -> Result<i64, CommandError> {
    let before = match text {
        Some(text) => parse_integer(text).ok_or(CommandError::HashNotInteger)?,
        None => 0,
    };
    before.checked_add(amount).ok_or(CommandError::Overflow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_add_exactly() {
        for (left, right, sum) in [
            ("0.1", "0.2", Some("0.3")),
            ("10.50", "0.1", Some("10.6")),
            ("5.0e3", "2.0e2", Some("5200")),
            ("-1.5", "1.5", Some("0")),
            ("-0.25", "0", Some("-0.25")),
            ("1", "-3.25", Some("-2.25")),
            ("99999999999999999999", "1", Some("100000000000000000000")),
            ("0.00000000000000001", "0", Some("0.00000000000000001")),
            ("1e308", "1e308", None),
            ("inf", "-inf", None),
        ] {
            assert_eq!(add_decimals(left.as_bytes(), right.as_bytes()).as_deref(), sum, "{left}");
        }
    }
}
