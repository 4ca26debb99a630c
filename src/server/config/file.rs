//! Reads the file. All that is wrong with it is found, not only the first.

use super::keys::{self, Key, SECTIONS, Section};
use super::nearest::{hint, nearest};
use super::place::Value;
use crate::server::settings::ServerSettings;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Puts what `text` says into `settings`; returns what is wrong, by line.
pub(super) fn apply(text: &str, settings: &mut ServerSettings) -> Vec<(usize, String)> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { settings, problems: Vec::new() };
    for error in errors {
        // Its message may hold a part of the line, and the line may hold a secret.
        let message = error.message().replace('\n', " ");
        let start = error.span().map_or(text.len(), |span| span.start);
        reader.problems.push((start, format!("not TOML: {message}")));
    }
    if reader.problems.is_empty() {
        reader.read_table("", table.get_ref());
    }
    let mut problems = reader.problems;
    problems.sort();
    problems.into_iter().map(|(at, problem)| (line_of(text, at), problem)).collect()
}

/// The number of the line that the byte `at` is in.
fn line_of(text: &str, at: usize) -> usize {
    let before = &text.as_bytes()[..at.min(text.len())];
    memchr::memchr_iter(b'\n', before).count() + 1
}

struct Reader<'a> {
    settings: &'a mut ServerSettings,
    /// By their place in the text.
    problems: Vec<(usize, String)>,
}

impl Reader<'_> {
    /// Reads the table called `path`, which is empty for the whole file.
    fn read_table(&mut self, path: &str, table: &DeTable<'_>) {
        let section = keys::section(path);
        for (name, value) in table {
            let (name, span) = (name.get_ref().as_ref(), name.span());
            let inner = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            let key = section.and_then(|section| section.keys.iter().find(|key| key.name == name));
            if let Some(key) = key {
                self.read_key(key, value.get_ref(), span);
            } else if is_section(&inner) {
                match value.get_ref() {
                    DeValue::Table(table) => self.read_table(&inner, table),
                    _ => self.say(span, format!("[{inner}] is a section, not a value")),
                }
            } else if matches!(value.get_ref(), DeValue::Table(_)) {
                self.say(span, unknown_section(&inner));
            } else {
                self.say(span, unknown_key(name, path, section));
            }
        }
    }

    fn read_key(&mut self, key: &Key, value: &DeValue<'_>, span: Range<usize>) {
        let place = (key.place)(self.settings);
        let outcome = match read_value(value) {
            Some(value) => place.put(value, key.range),
            None => Err(format!("must be {}", place.wanted(key.range))),
        };
        if let Err(problem) = outcome {
            self.say(span, format!("`{}` {problem}", key.name));
        }
    }

    fn say(&mut self, span: Range<usize>, problem: String) {
        self.problems.push((span.start, problem));
    }
}

/// Whether a section is called so, or begins so.
fn is_section(path: &str) -> bool {
    SECTIONS.iter().any(|section| {
        section.name.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    })
}

fn unknown_section(path: &str) -> String {
    let names = || SECTIONS.iter().map(|section| section.name);
    match nearest(path, names()) {
        Some(near) => format!("unknown section [{path}]; did you mean [{near}]?"),
        None => {
            let names: Vec<String> = names().map(|name| format!("[{name}]")).collect();
            format!("unknown section [{path}]; known are {}", names.join(", "))
        }
    }
}

fn unknown_key(name: &str, path: &str, section: Option<&Section>) -> String {
    let Some(section) = section else {
        return match keys::all().find(|(_, key)| key.name == name) {
            Some((home, _)) => format!("`{name}` belongs into [{}]", home.name),
            None => format!("unknown key `{name}` outside of any section"),
        };
    };
    let hint = match keys::all().find(|(_, key)| key.name == name) {
        Some((home, _)) => format!("it belongs into [{}]", home.name),
        None => hint(name, &section.keys.iter().map(|key| key.name).collect::<Vec<_>>()),
    };
    format!("unknown key `{name}` in [{path}]; {hint}")
}

/// A value of the kinds that keys have; `None` for times and for what they are in.
fn read_value(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::Boolean(value) => Value::Switch(*value),
        DeValue::Integer(value) => {
            // What does not fit is outside every range.
            let number = i128::from_str_radix(value.as_str(), value.radix());
            Value::Integer(number.unwrap_or(i128::MAX))
        }
        DeValue::Float(value) => Value::Float(value.as_str().parse().ok()?),
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| read_value(item.get_ref()));
            Value::List(items.collect::<Option<_>>()?)
        }
        DeValue::Table(table) => {
            let entries = table.iter().map(|(name, value)| {
                Some((name.get_ref().clone().into_owned(), read_value(value.get_ref())?))
            });
            Value::Table(entries.collect::<Option<_>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}
