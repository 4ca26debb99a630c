//! Moments as commands take them.

/// Numbers below are seconds: later than the year 5000.
const MILLISECONDS_FROM: u64 = 100_000_000_000;
/// Numbers below are milliseconds.
const MICROSECONDS_FROM: u64 = 100_000_000_000_000;

/// A moment as far as it was told: a whole second has a first and a last microsecond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Moment {
    /// Its first microsecond since 1970.
    pub first_us: u64,
    /// Its last one.
    pub last_us: u64,
}

impl Moment {
    fn new(first_us: u64, length_us: u64) -> Self {
        Moment { first_us, last_us: first_us.saturating_add(length_us - 1) }
    }
}

/// Reads seconds, milliseconds or microseconds since 1970, told apart by their size, or RFC 3339
/// (`2026-01-31T10:00:00Z`, any offset, any fraction).
pub(super) fn moment(name: &str, value: &[u8]) -> Result<Moment, String> {
    read(value).ok_or_else(|| {
        format!(
            "ERR value of {name} is no time: give seconds, milliseconds or microseconds since \
             1970, or RFC 3339 as in 2026-01-31T10:00:00Z"
        )
    })
}

fn read(value: &[u8]) -> Option<Moment> {
    if let Some(number) = super::parse_number::<u64>(value) {
        let length_us = if number < MILLISECONDS_FROM {
            1_000_000
        } else if number < MICROSECONDS_FROM {
            1000
        } else {
            1
        };
        return Some(Moment::new(number.checked_mul(length_us)?, length_us));
    }
    let text = std::str::from_utf8(value).ok()?;
    let time: jiff::Timestamp = text.parse().ok()?;
    let length_us = if text.contains('.') { 1 } else { 1_000_000 };
    Some(Moment::new(u64::try_from(time.as_microsecond()).ok()?, length_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_moment_can_be_told_in_many_ways() {
        let second = Moment { first_us: 1_705_312_800_000_000, last_us: 1_705_312_800_999_999 };
        for text in ["1705312800", "2024-01-15T10:00:00Z", "2024-01-15T11:00:00+01:00"] {
            assert_eq!(read(text.as_bytes()), Some(second), "{text}");
        }
        for (text, first_us, last_us) in [
            ("1705312800123", 1_705_312_800_123_000, 1_705_312_800_123_999),
            ("1705312800123456", 1_705_312_800_123_456, 1_705_312_800_123_456),
            ("2024-01-15T10:00:00.5Z", 1_705_312_800_500_000, 1_705_312_800_500_000),
            ("0", 0, 999_999),
        ] {
            assert_eq!(read(text.as_bytes()), Some(Moment { first_us, last_us }), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "yesterday",
            "2024-01-15",
            "2024-01-15T10:00:00",
            "-5",
            "1e9",
            "1960-01-01T00:00:00Z",
            "2024-13-01T00:00:00Z",
        ] {
            let message = moment("SINCE", text.as_bytes()).unwrap_err();
            assert!(message.starts_with("ERR value of SINCE is no time"), "{text}: {message}");
        }
    }
}
