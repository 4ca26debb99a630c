//! Times as people read them.

use crate::core::timestamp::write_rfc3339_seconds;

/// `unix_us` (microseconds since 1970) as RFC 3339 in UTC, whole seconds.
pub fn rfc3339_seconds(unix_us: u64) -> String {
    let mut text = Vec::new();
    write_rfc3339_seconds(&mut text, unix_us / 1_000_000);
    // Digits and punctuation: nothing is ever replaced.
    String::from_utf8_lossy(&text).into_owned()
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
