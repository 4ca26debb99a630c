//! Times as people read them.

/// `unix_us` (microseconds since 1970) as RFC 3339 in UTC, whole seconds.
pub fn rfc3339_seconds(unix_us: u64) -> String {
    let seconds = unix_us / 1_000_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date_of(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a day counted from 1970-01-01.
///
/// Counts in years that start in March, so that the leap day is the last day of its year and the
/// lengths of the months before it follow one line: (153 * month + 2) / 5 days.
fn date_of(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_BEFORE_1970: u64 = 719_468; // from 0000-03-01
    const DAYS_OF_400_YEARS: u64 = 146_097;
    let days = days_since_1970 + DAYS_BEFORE_1970;
    let (era, of_era) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let (month, years) =
        if month_from_march < 10 { (month_from_march + 3, 0) } else { (month_from_march - 9, 1) };
    (era * 400 + year_of_era + years, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_specification_s_example() {
        assert_eq!(rfc3339_seconds(1_705_312_800_999_999), "2024-01-15T10:00:00Z");
        assert_eq!(rfc3339_seconds(0), "1970-01-01T00:00:00Z");
    }

    proptest! {
        #[test]
        fn agrees_with_jiff(seconds in 0u64..253_402_300_799) {
            let expected = jiff::Timestamp::from_second(seconds as i64).unwrap().to_string();
            prop_assert_eq!(rfc3339_seconds(seconds * 1_000_000), expected);
        }
    }
}
