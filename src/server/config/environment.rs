//! Settings from environment variables.
//!
//! A key's variable is `FERRITE_`, its section and its name, in capitals, with `_` for the dots:
//! `timeout_ms` in `[webhooks.delivery]` is `FERRITE_WEBHOOKS_DELIVERY_TIMEOUT_MS`. Lists are
//! written with commas or spaces between the items.

use super::keys::{self, Key, Section};
use super::nearest::nearest;
use crate::server::settings::ServerSettings;
use std::ffi::OsString;

/// A shorter name of [`PASSWORD`], which wins over it.
const SHORT_PASSWORD: &str = "FERRITE_REQUIREPASS";
const PASSWORD: &str = "FERRITE_SERVER_REQUIREPASS";

/// The variable of a key.
pub fn variable(section: &Section, key: &Key) -> String {
    format!("FERRITE_{}_{}", section.name.replace('.', "_"), key.name).to_ascii_uppercase()
}

/// Puts what `variables` say into `settings`; returns what is wrong.
///
/// Those of other names pass by, but for those that begin like ours: they are misspelt.
pub(super) fn apply(
    variables: impl IntoIterator<Item = (OsString, OsString)>,
    settings: &mut ServerSettings,
) -> Vec<String> {
    let known: Vec<(String, &Key)> =
        keys::all().map(|(section, key)| (variable(section, key), key)).collect();
    let mut problems = Vec::new();
    let mut password = None;
    let mut is_password_set = false;
    let mut ours: Vec<(String, OsString)> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name == SHORT_PASSWORD || is_ours(name))
        .collect();
    // The order of the environment is nobody's choice.
    ours.sort();
    for (name, value) in ours {
        let Ok(value) = value.into_string() else {
            problems.push(format!("{name} is not UTF-8"));
            continue;
        };
        if name == SHORT_PASSWORD {
            password = Some(value).filter(|password| !password.is_empty());
            continue;
        }
        match known.iter().find(|(known, _)| *known == name) {
            None => problems.push(unknown(&name, &known)),
            Some((_, key)) => {
                is_password_set |= name == PASSWORD;
                if let Err(problem) = (key.place)(settings).put_text(&value, key.range) {
                    problems.push(format!("{name} {problem}"));
                }
            }
        }
    }
    if password.is_some() && !is_password_set {
        settings.requirepass = password;
    }
    problems
}

/// Whether the name begins as a section does.
fn is_ours(name: &str) -> bool {
    name.starts_with("FERRITE_WEBHOOKS_") || name.starts_with("FERRITE_SERVER_")
}

fn unknown(name: &str, known: &[(String, &Key)]) -> String {
    match nearest(name, known.iter().map(|(known, _)| known.as_str())) {
        Some(near) => format!("unknown variable {name}; did you mean {near}?"),
        None => format!("unknown variable {name}; `ferrite config --default` names all"),
    }
}
