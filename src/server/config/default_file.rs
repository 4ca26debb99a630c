//! The file of defaults, and the reference in `docs/CONFIGURATION.md`, made from the table.

use super::environment::variable;
use super::keys::{Key, SECTIONS, Section};
use super::place::{Place, Range};
use crate::server::settings::ServerSettings;
use std::fmt::Write as _;

/// Longest line of a comment.
const COLUMNS: usize = 96;

/// A file with every key at its default, and what each means.
pub fn default_file() -> String {
    let mut file = "# Ferrite Webhooks: every key with its default. \
                    A key that is left out has its default too.\n\
                    # Later wins: this file, the environment (the names in capitals), the command line.\n"
        .to_owned();
    let mut settings = ServerSettings::default();
    for section in SECTIONS {
        let _ = write!(file, "\n# {}\n[{}]\n", section.text, section.name);
        for key in section.keys {
            let facts = Facts::of(section, key, &mut settings);
            file.push('\n');
            comment(&mut file, key.text);
            comment(&mut file, &facts.range);
            comment(&mut file, &format!("Default: {}. {}", facts.default_text(), facts.variable));
            let _ = match &facts.default {
                Some(value) => writeln!(file, "{} = {value}", key.name),
                None => writeln!(file, "# {} = {}", key.name, key.example),
            };
        }
    }
    file
}

/// The tables of `docs/CONFIGURATION.md`.
pub fn reference() -> String {
    let mut text = String::new();
    let mut settings = ServerSettings::default();
    for section in SECTIONS {
        let _ = write!(
            text,
            "### `[{}]`\n\n{}\n\n| key | value | default | meaning | variable |\n|---|---|---|---|---|\n",
            section.name, section.text
        );
        for key in section.keys {
            let facts = Facts::of(section, key, &mut settings);
            let default = facts
                .default
                .as_ref()
                .map_or_else(|| "none".to_owned(), |value| format!("`{value}`"));
            let _ = writeln!(
                text,
                "| `{}` | {} | {default} | {} | `{}` |",
                key.name, facts.range, key.text, facts.variable
            );
        }
        text.push('\n');
    }
    text
}

/// What is said about a key.
struct Facts {
    /// Its type, range and unit.
    range: String,
    /// As TOML.
    default: Option<String>,
    variable: String,
}

impl Facts {
    fn of(section: &Section, key: &Key, defaults: &mut ServerSettings) -> Facts {
        let place = (key.place)(defaults);
        let mut range = place.wanted(key.range);
        // `true` is written so, also at the start of a sentence.
        if !matches!(place, Place::Switch(_)) {
            range[..1].make_ascii_uppercase();
        }
        let unit = if key.unit.is_empty() { "" } else { "; unit: " };
        Facts {
            range: format!("{range}{unit}{}.", key.unit),
            default: place.toml().filter(|_| key.range != Range::Secret),
            variable: variable(section, key),
        }
    }

    fn default_text(&self) -> &str {
        self.default.as_deref().unwrap_or("none")
    }
}

/// Writes `text` as lines of a comment.
fn comment(file: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        if width > 0 && width + 1 + word.len() <= COLUMNS {
            file.push(' ');
            width += 1 + word.len();
        } else {
            if width > 0 {
                file.push('\n');
            }
            file.push_str("# ");
            width = 2 + word.len();
        }
        file.push_str(word);
    }
    file.push('\n');
}
