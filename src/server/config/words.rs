//! Settings from pairs of words, as a module's arguments are.
//!
//! A key is named by its section and its name with a point between them, as
//! `webhooks.delivery.timeout_ms`; the first `webhooks.` may be left out.

use super::keys;
use super::nearest::nearest;
use crate::server::settings::ServerSettings;

/// Puts what `pairs` say into `settings`; returns what is wrong.
pub(super) fn apply(pairs: &[(&str, &str)], settings: &mut ServerSettings) -> Vec<String> {
    const OURS: &str = "webhooks.";
    let known: Vec<_> = keys::all()
        .filter(|(section, _)| section.name != "server")
        .map(|(section, key)| (format!("{}.{}", section.name, key.name), key))
        .collect();
    let mut problems = Vec::new();
    for (name, value) in pairs {
        let is_it = |known: &str| known == *name || known.strip_prefix(OURS) == Some(name);
        match known.iter().find(|(known, _)| is_it(known)) {
            Some((_, key)) => {
                if let Err(problem) = (key.place)(settings).put_text(value, key.range) {
                    problems.push(format!("module argument {name} {problem}"));
                }
            }
            None => {
                let names = || known.iter().map(|(known, _)| &known[OURS.len()..]);
                let near = nearest(name.strip_prefix(OURS).unwrap_or(name), names());
                let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                problems.push(format!("unknown module argument '{name}'{hint}"));
            }
        }
    }
    problems
}
