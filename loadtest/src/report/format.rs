//! Numbers as people read them.

/// Between the groups of three digits: thin and not broken at the end of a line.
const THIN_SPACE: char = '\u{202f}';

/// With three significant digits at most, without zeros at the end.
fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if decimals == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// For plots: `950`, `182 k`, `1.25 M`.
pub fn short(value: f64) -> String {
    for (size, unit) in [(1e9, "G"), (1e6, "M"), (1e3, "k")] {
        if value.abs() >= 0.9995 * size {
            return format!("{}{THIN_SPACE}{unit}", three_digits(value / size));
        }
    }
    three_digits(value)
}

/// For tables: all digits in groups, `182 431`.
pub fn whole(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(THIN_SPACE);
        }
        text.push(digit);
    }
    if value <= -0.5 { format!("\u{2212}{text}") } else { text }
}

/// A time that is given in microseconds: `85 µs`, `1.2 ms`, `3 s`.
pub fn time_us(us: f64) -> String {
    for (size, unit) in [(1e6, "s"), (1e3, "ms")] {
        if us >= 0.9995 * size {
            return format!("{}{THIN_SPACE}{unit}", three_digits(us / size));
        }
    }
    format!("{}{THIN_SPACE}µs", three_digits(us))
}

/// `15.6 GiB`.
pub fn memory(bytes: u64) -> String {
    for (size, unit) in [(1u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes >= size {
            return format!("{}{THIN_SPACE}{unit}", three_digits(bytes as f64 / size as f64));
        }
    }
    format!("{bytes}{THIN_SPACE}bytes")
}

/// A quantile as a percentile: `50`, `99.9`.
pub fn percentile(quantile: f64) -> String {
    if quantile >= 1.0 {
        return "max".to_owned();
    }
    let text = format!("{:.7}", quantile * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A factor: `0.71×`.
pub fn ratio(value: f64) -> String {
    match value {
        small if small < 0.0995 => format!("{small:.3}×"),
        small if small < 9.995 => format!("{small:.2}×"),
        large => format!("{}×", three_digits(large)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        assert_eq!(short(0.0), "0");
        assert_eq!(short(182_431.0), "182\u{202f}k");
        assert_eq!(short(999_999.0), "1\u{202f}M");
        assert_eq!(short(2500.0), "2.5\u{202f}k");
        assert_eq!(whole(1_182_431.4), "1\u{202f}182\u{202f}431");
        assert_eq!(whole(-1000.0), "\u{2212}1\u{202f}000");
        assert_eq!(time_us(85.0), "85\u{202f}µs");
        assert_eq!(time_us(999.9), "1\u{202f}ms");
        assert_eq!(time_us(12_345.0), "12.3\u{202f}ms");
        assert_eq!(time_us(2e6), "2\u{202f}s");
        assert_eq!(memory(16 << 30), "16\u{202f}GiB");
        assert_eq!(percentile(0.5), "50");
        assert_eq!(percentile(0.9999), "99.99");
        assert_eq!(percentile(1.0), "max");
        assert_eq!(ratio(0.7123), "0.71×");
        assert_eq!(ratio(0.0123), "0.012×");
        assert_eq!(ratio(12.34), "12.3×");
    }
}
