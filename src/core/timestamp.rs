//! Dates as text, from and to seconds since 1970. Years beyond 9999 are clamped: neither form has
//! room for them.

const SECONDS_PER_DAY: u64 = 24 * 60 * 60;
/// 9999-12-31T23:59:59Z.
const UNIX_SECONDS_MAX: u64 = 253_402_300_799;
const MONTHS: [&[u8; 3]; 12] = [
    b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];
const WEEKDAYS: [&[u8; 3]; 7] = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"];
const WEEKDAYS_IN_FULL: [&[u8]; 7] =
    [b"Monday", b"Tuesday", b"Wednesday", b"Thursday", b"Friday", b"Saturday", b"Sunday"];

/// Writes times in RFC 3339, and remembers the text of the last second: most times that are
/// written one after the other lie in the same one.
#[derive(Clone, Debug)]
pub struct TimeWriter {
    unix_seconds: u64,
    text: [u8; 27],
}

impl TimeWriter {
    /// A writer that remembers the first second of 1970.
    pub const fn new() -> TimeWriter {
        TimeWriter { unix_seconds: 0, text: *b"1970-01-01T00:00:00.000000Z" }
    }

    /// Appends a time given in microseconds since 1970 as RFC 3339 in UTC:
    /// `2024-01-15T10:30:00.123456Z`.
    pub fn write_us(&mut self, out: &mut Vec<u8>, unix_us: u64) {
        let unix_us = unix_us.min(UNIX_SECONDS_MAX * 1_000_000 + 999_999);
        let unix_seconds = unix_us / 1_000_000;
        if unix_seconds != self.unix_seconds {
            put_seconds(&mut self.text, unix_seconds);
            self.unix_seconds = unix_seconds;
        }
        let us = (unix_us % 1_000_000) as u32;
        put_two(&mut self.text, 20, us / 10_000);
        put_two(&mut self.text, 22, us / 100 % 100);
        put_two(&mut self.text, 24, us % 100);
        out.extend_from_slice(&self.text);
    }
}

impl Default for TimeWriter {
    fn default() -> Self {
        TimeWriter::new()
    }
}

/// Appends a time given in seconds since 1970 as RFC 3339 in UTC: `2024-01-15T10:30:00Z`.
pub fn write_rfc3339_seconds(out: &mut Vec<u8>, unix_seconds: u64) {
    let mut text = *b"0000-00-00T00:00:00Z";
    put_seconds(&mut text, unix_seconds.min(UNIX_SECONDS_MAX));
    out.extend_from_slice(&text);
}

/// Reads an HTTP date. Gives seconds since 1970; a date before that is 0.
///
/// All three forms of RFC 9110 section 5.6.7 are read, as it requires:
/// `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` (a year below 70 is one of
/// this century) and `Sun Nov  6 08:49:37 1994`. The name of the day is not checked against the
/// date.
pub fn parse_http_date(text: &[u8]) -> Option<u64> {
    match text.len() {
        29 => parse_fixdate(text.try_into().ok()?),
        24 => parse_fixdate(&from_asctime(text.try_into().ok()?)),
        _ => parse_fixdate(&from_rfc850(text)?),
    }
}

/// `Sun Nov  6 08:49:37 1994` in the form that senders must use; nonsense stays nonsense.
fn from_asctime(text: &[u8; 24]) -> [u8; 29] {
    let mut date = *b"..., .. ... .... ........ GMT";
    date[..3].copy_from_slice(&text[..3]);
    date[5..7].copy_from_slice(&text[8..10]);
    if date[5] == b' ' {
        date[5] = b'0';
    }
    date[8..11].copy_from_slice(&text[4..7]);
    date[12..16].copy_from_slice(&text[20..]);
    date[17..25].copy_from_slice(&text[11..19]);
    // What stands between the parts.
    if [3, 7, 10, 19].iter().any(|at| text[*at] != b' ') {
        date[3] = b'.';
    }
    date
}

/// `Sunday, 06-Nov-94 08:49:37 GMT` in the form that senders must use.
fn from_rfc850(text: &[u8]) -> Option<[u8; 29]> {
    let comma = text.iter().position(|byte| *byte == b',')?;
    let (day, rest) = text.split_at(comma);
    WEEKDAYS_IN_FULL.iter().find(|name| **name == day)?;
    let rest: &[u8; 24] = rest.try_into().ok()?;
    let mut date = *b"..., .. ... .... ........ GMT";
    date[..3].copy_from_slice(&day[..3]);
    date[5..7].copy_from_slice(&rest[2..4]);
    date[8..11].copy_from_slice(&rest[5..8]);
    date[12..14].copy_from_slice(if rest[9] < b'7' { b"20" } else { b"19" });
    date[14..16].copy_from_slice(&rest[9..11]);
    date[17..25].copy_from_slice(&rest[12..20]);
    let is_separated = rest[1] == b' ' && rest[4] == b'-' && rest[8] == b'-' && rest[11] == b' ';
    (is_separated && rest[20..] == *b" GMT").then_some(date)
}

/// Reads `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_fixdate(text: &[u8; 29]) -> Option<u64> {
    let separators = [(3, b','), (4, b' '), (7, b' '), (11, b' '), (16, b' '), (19, b':')];
    let separated = separators.iter().all(|(at, byte)| text[*at] == *byte);
    if !separated || text[22] != b':' || &text[25..] != b" GMT" {
        return None;
    }
    WEEKDAYS.iter().position(|day| day[..] == text[..3])?;
    let month = MONTHS.iter().position(|month| month[..] == text[8..11])? as u64 + 1;
    let (day, year) = (decimal(&text[5..7])?, decimal(&text[12..16])?);
    let (hour, minute, second) =
        (decimal(&text[17..19])?, decimal(&text[20..22])?, decimal(&text[23..25])?);
    // 60 is a leap second.
    if day < 1 || day > days_in_month(year, month) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let Some(days) = days_from_civil(year, month, day) else { return Some(0) };
    Some(days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second)
}

/// Fills in `0000-00-00T00:00:00` at the front of `text`.
fn put_seconds(text: &mut [u8], unix_seconds: u64) {
    let (year, month, day) = civil_from_days(unix_seconds / SECONDS_PER_DAY);
    let (year, second) = (year as u32, (unix_seconds % SECONDS_PER_DAY) as u32);
    put_two(text, 0, year / 100);
    put_two(text, 2, year % 100);
    put_two(text, 5, month as u32);
    put_two(text, 8, day as u32);
    put_two(text, 11, second / 3600);
    put_two(text, 14, second / 60 % 60);
    put_two(text, 17, second % 60);
}

/// Writes the two digits of a number below 100.
fn put_two(text: &mut [u8], at: usize, number: u32) {
    text[at] = b'0' + (number / 10) as u8;
    text[at + 1] = b'0' + (number % 10) as u8;
}

fn decimal(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |number, digit| match digit {
        b'0'..=b'9' => Some(number * 10 + u64::from(digit - b'0')),
        _ => None,
    })
}

/// Year, month (1 to 12) and day of the month of a day counted from 1970-01-01.
///
/// Algorithm: `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
/// Years are counted from March, so that the leap day is the last day of a year; 400 years (an
/// era) always have 146 097 days; 719 468 days lie between 0000-03-01 and 1970-01-01.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// The inverse of [`civil_from_days`], by the same source; `None` before 1970.
fn days_from_civil(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year.checked_sub(u64::from(month <= 2))?;
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

fn days_in_month(year: u64, month: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros(unix_us: u64) -> String {
        let mut out = Vec::new();
        TimeWriter::new().write_us(&mut out, unix_us);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_writer_that_remembers_its_second_writes_what_a_new_one_does() {
        let mut writer = TimeWriter::new();
        for unix_us in [0_u64, 1, 999_999, 1_000_000, 1_705_314_600_123_456, 1_705_314_600_999_999]
        {
            for unix_us in [unix_us, unix_us + 5, unix_us.saturating_sub(7)] {
                let mut out = Vec::new();
                writer.write_us(&mut out, unix_us);
                assert_eq!(String::from_utf8(out).unwrap(), micros(unix_us));
            }
        }
    }

    fn seconds(unix_seconds: u64) -> String {
        let mut out = Vec::new();
        write_rfc3339_seconds(&mut out, unix_seconds);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_times() {
        assert_eq!(micros(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(micros(1_705_314_600_123_456), "2024-01-15T10:30:00.123456Z");
        assert_eq!(micros(951_782_400_000_001), "2000-02-29T00:00:00.000001Z");
        assert_eq!(micros(u64::MAX), "9999-12-31T23:59:59.999999Z");
        assert_eq!(seconds(1_705_314_600), "2024-01-15T10:30:00Z");
        assert_eq!(seconds(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn every_day_is_as_jiff_has_it() {
        for day in 0..=UNIX_SECONDS_MAX / SECONDS_PER_DAY {
            let second = day * SECONDS_PER_DAY;
            let date = jiff::civil::date(1970, 1, 1)
                .checked_add(jiff::Span::new().days(day as i64))
                .unwrap();
            let (year, month, of_month) = civil_from_days(day);
            let civil = (date.year() as u64, date.month() as u64, date.day() as u64);
            assert_eq!((year, month, of_month), civil, "day {day} second {second}");
            assert_eq!(days_from_civil(year, month, of_month), Some(day));
        }
    }

    #[test]
    fn http_dates_that_are_read() {
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Thu, 29 Feb 2024 23:59:60 GMT", 1_709_251_200),
            ("Sat, 01 Jan 1600 00:00:00 GMT", 0),
            ("Sat, 01 Jan 0000 00:00:00 GMT", 0),
            ("Sunday, 06-Nov-94 08:49:37 GMT", 784_111_777),
            ("Thursday, 01-Jan-70 00:00:00 GMT", 0),
            ("Sunday, 31-Jan-27 00:00:00 GMT", 1_801_353_600),
            ("Sun Nov  6 08:49:37 1994", 784_111_777),
            ("Sun Nov 16 08:49:37 1994", 784_975_777),
        ] {
            assert_eq!(parse_http_date(text.as_bytes()), Some(expected), "{text}");
        }
    }

    #[test]
    fn http_dates_that_are_refused() {
        for text in [
            "",
            "120",
            "Sunday, 06-Nov-1994 08:49:37 GMT",
            "Sunday, 06 Nov 94 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 UTC",
            "Sunday, 06-Nov-94-08:49:37 GMT",
            "Sunday, 06-Nov-x4 08:49:37 GMT",
            "Sunday, 31-Feb-94 08:49:37 GMT",
            "Someday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06-Nov-94 08:49:37 GMT",
            ", 06-Nov-94 08:49:37 GMT",
            "Sun Nov 6 08:49:37 1994",
            "Sun Nov  6 08:49:37 94",
            "Sun-Nov  6 08:49:37 1994",
            "Sun Nov  6 08:49:37-1994",
            "Sun Nov  0 08:49:37 1994",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "sun, 06 Nov 1994 08:49:37 GMT",
            "Sun, 06 nov 1994 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 31 Nov 1994 08:49:37 GMT",
            "Sun, 29 Feb 2023 08:49:37 GMT",
            "Sun, 29 Feb 2100 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:49:37 GMT",
            "Sun, 06 Nov 1994 08:60:37 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, +6 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 08.49.37 GMT",
        ] {
            assert_eq!(parse_http_date(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn microseconds_are_as_jiff_has_them(unix_us in 0..=253_402_207_200_999_999_u64) {
            let time = jiff::Timestamp::from_microsecond(unix_us as i64).unwrap();
            prop_assert_eq!(micros(unix_us), format!("{time:.6}"));
            let second = jiff::Timestamp::from_second((unix_us / 1_000_000) as i64).unwrap();
            prop_assert_eq!(seconds(unix_us / 1_000_000), second.to_string());
        }

        #[test]
        fn http_dates_are_as_jiff_writes_them(unix_seconds in 0..=253_402_207_200_u64) {
            let time = jiff::Timestamp::from_second(unix_seconds as i64).unwrap();
            let text = time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            prop_assert_eq!(parse_http_date(text.as_bytes()), Some(unix_seconds));
        }

        #[test]
        fn no_text_panics(text: Vec<u8>, long: [[u8; 29]; 1], short: [u8; 24]) {
            parse_http_date(&text);
            parse_http_date(&long[0]);
            parse_http_date(&short);
            parse_http_date(&[b"Sunday,".as_slice(), &long[0][..23]].concat());
        }
    }
}
