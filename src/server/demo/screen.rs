//! What the demo shows: plain lines, with colour where a terminal wants it.

use super::receiver::Arrival;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

/// Columns for what arrived; the verdicts stand to the right of it. The whole line has 79.
const ARRIVAL_COLUMNS: usize = 43;

/// A style, as the number that terminals know it by.
#[derive(Clone, Copy)]
pub enum Style {
    /// For titles.
    Bold = 1,
    /// For what matters less.
    Dim = 2,
    /// For what failed.
    Red = 31,
    /// For what is as it should be.
    Green = 32,
    /// For what the reader may type.
    Cyan = 36,
}

/// Standard output.
pub struct Screen {
    colour: bool,
}

impl Screen {
    /// Colours are for terminals only, and only if the user does not mind.
    pub fn new() -> Screen {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Screen { colour: io::stdout().is_terminal() && !unwanted }
    }

    /// `text` in a style.
    pub fn paint(&self, style: Style, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{}m{text}\x1b[0m", style as u8),
            false => text.to_owned(),
        }
    }

    /// Shows a line.
    pub fn line(&self, text: &str) -> io::Result<()> {
        writeln!(io::stdout(), "{text}")
    }

    /// Shows what a part of the demo is about.
    pub fn title(&self, text: &str) -> io::Result<()> {
        self.line(&format!("\n {}", self.paint(Style::Bold, text)))
    }

    /// Shows a command that is sent.
    pub fn sent(&self, words: &[String]) -> io::Result<()> {
        self.line(&format!(" {} {}", self.paint(Style::Dim, "→"), shell_words(words)))
    }

    /// Shows an arrival with what the checks say of it.
    pub fn arrived(
        &self,
        arrival: &Arrival,
        order: &str,
        took: Option<Duration>,
    ) -> io::Result<()> {
        let style = |good| if good { Style::Green } else { Style::Red };
        let signature = if arrival.verified { "signature ok" } else { "signature WRONG" };
        let took = took.map(duration_text).unwrap_or_default();
        self.line(&format!(
            " {} {} {}  {}{took:>10}",
            self.paint(Style::Dim, "←"),
            fit(&describe(arrival), ARRIVAL_COLUMNS),
            self.paint(style(arrival.verified), signature),
            self.paint(style(!order.contains("WRONG")), order),
        ))
    }
}

/// An arrival in a few words.
fn describe(arrival: &Arrival) -> String {
    let Arrival { event, key, value, old_value, .. } = arrival;
    match &arrival.new_key {
        Some(new_key) => format!("{event:<6} {key} → {new_key}"),
        None if value != "null" => format!("{event:<6} {key} {value}"),
        None if old_value != "null" => format!("{event:<6} {key} (was {old_value})"),
        None => format!("{event:<6} {key}"),
    }
}

/// `text` in exactly `columns` columns; control characters could play with the terminal.
fn fit(text: &str, columns: usize) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().count() <= columns {
        return format!("{text:<columns$}");
    }
    let start: String = text.chars().take(columns - 1).collect();
    format!("{start}…")
}

/// The words of a command as a shell, or redis-cli, would want them.
pub fn shell_words(words: &[String]) -> String {
    let plain = |word: &str| {
        let harmless = |c: char| c.is_alphanumeric() || "-_.:/=@%+,".contains(c);
        !word.is_empty() && word.chars().all(harmless)
    };
    let quoted = words.iter().map(|word| if plain(word) { word.clone() } else { quote(word) });
    quoted.collect::<Vec<_>>().join(" ")
}

fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A duration in the unit that suits it.
pub fn duration_text(duration: Duration) -> String {
    match duration.as_micros() {
        us @ 0..1000 => format!("{us} µs"),
        us @ 1000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        us @ 100_000..1_000_000 => format!("{} ms", us / 1000),
        us => format!("{:.1} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fill_their_columns() {
        assert_eq!(fit("ab", 4), "ab  ");
        assert_eq!(fit("äb\u{1b}d", 4), "äb?d");
        assert_eq!(fit("abcde", 4), "abc…");
    }

    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        let words = ["SET", "order:*", "it's", ""].map(str::to_owned);
        assert_eq!(shell_words(&words), r"SET 'order:*' 'it'\''s' ''");
    }

    #[test]
    fn durations_have_their_units() {
        for (us, text) in [(7, "7 µs"), (1500, "1.5 ms"), (150_000, "150 ms"), (2_500_000, "2.5 s")]
        {
            assert_eq!(duration_text(Duration::from_micros(us)), text);
        }
    }
}
