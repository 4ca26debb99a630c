//! The configuration: where settings come from, in which order, and what is said about them.
//!
//! Later wins: the defaults, the file (TOML), the environment, the command line. [`keys`] is the
//! table of all keys; the parser, its complaints, the names in the environment, the file of
//! defaults, `CONFIG GET` and `docs/CONFIGURATION.md` are made from it.

mod default_file;
mod environment;
mod file;
pub mod keys;
mod nearest;
mod place;
mod queue;
mod security;
mod words;

pub use default_file::{default_file, reference};
pub use environment::variable;

use super::settings::ServerSettings;
use crate::base::limits;
use std::ffi::OsString;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

/// Names of log levels.
pub const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// What is wrong with a configuration, all of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// One line each: the file and its line, or the variable, and what to do.
    pub problems: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// What file and environment say, and what has to be said about it.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: ServerSettings,
    /// What is accepted but is hardly what was meant, for the log.
    pub warnings: Vec<String>,
}

/// The defaults, changed by the file at `path` if there is one, then by `variables`.
pub fn load(
    path: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<Loaded, ConfigError> {
    load_with_words(path, variables, &[])
}

/// As [`load`], and then changed by pairs of a key and its value, as a module's arguments are.
pub fn load_with_words(
    path: Option<&Path>,
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    words: &[(&str, &str)],
) -> Result<Loaded, ConfigError> {
    let mut settings = ServerSettings::default();
    let mut problems = Vec::new();
    if let Some(path) = path {
        let name = path.display();
        match std::fs::read_to_string(path) {
            Err(error) => problems.push(format!("{name}: {error}")),
            Ok(text) => problems.extend(
                file::apply(&text, &mut settings)
                    .into_iter()
                    .map(|(line, problem)| format!("{name}:{line}: {problem}")),
            ),
        }
    }
    problems.extend(environment::apply(variables, &mut settings));
    problems.extend(words::apply(words, &mut settings));
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    let warnings = queue::warnings(&settings.webhooks.queue);
    Ok(Loaded { settings, warnings })
}

/// An address to listen on.
pub fn parse_bind(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        text => text.parse().map_err(|_| format!("'{text}' is not an IP address")),
    }
}

#[cfg(test)]
mod tests;
