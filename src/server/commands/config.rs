//! `CONFIG`: reading settings, and changing the few that can change while the server runs.

use super::{Context, OwnCommand, Subcommand, lossy, parse_number, run_subcommand};
use crate::server::command_table::CommandSpec;
use crate::server::config::keys;
use crate::server::password::Password;
use crate::server::settings::ServerSettings;
use crate::server::state::{Counters, State};

pub(crate) const COMMANDS: &[OwnCommand] = &[OwnCommand {
    spec: CommandSpec::keyless(
        "config",
        -2,
        &["admin", "noscript", "loading", "stale"],
        "server",
        "2.0.0",
        "Reads and changes settings.",
    ),
    run: |context, args| run_subcommand(context, "CONFIG", SUBCOMMANDS, args),
}];

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand { name: "GET", arity: -3, run: get },
    Subcommand { name: "SET", arity: -4, run: set },
    Subcommand { name: "RESETSTAT", arity: 2, run: reset_stat },
    Subcommand { name: "REWRITE", arity: 2, run: rewrite },
];

/// All settings that can be read. The password is not among the values.
fn settings(state: &State) -> Vec<(String, String)> {
    let server = &state.settings;
    let bind: Vec<String> = server.bind.iter().map(ToString::to_string).collect();
    let hidden = if state.password.is_some() { "********" } else { "" };
    let mut settings = vec![
        ("appendonly".to_owned(), "no".to_owned()),
        ("bind".to_owned(), bind.join(" ")),
        ("databases".to_owned(), server.databases.to_string()),
        ("maxclients".to_owned(), server.maxclients.to_string()),
        ("maxmemory".to_owned(), "0".to_owned()),
        ("maxmemory-policy".to_owned(), "noeviction".to_owned()),
        ("port".to_owned(), state.address.port().to_string()),
        ("proto-max-bulk-len".to_owned(), crate::server::connection::BULK_BYTES_MAX.to_string()),
        ("requirepass".to_owned(), hidden.to_owned()),
        ("save".to_owned(), String::new()),
        ("timeout".to_owned(), server.timeout_seconds.to_string()),
    ];
    settings.extend(webhook_settings(server));
    settings
}

/// Every key of the configuration file below `[webhooks]`, by its section and name.
fn webhook_settings(settings: &ServerSettings) -> Vec<(String, String)> {
    let mut settings = settings.clone();
    keys::all()
        .filter(|(section, key)| section.name != "server" && !key.is_secret())
        .map(|(section, key)| {
            (format!("{}.{}", section.name, key.name), (key.place)(&mut settings).text())
        })
        .collect()
}

fn get(context: &mut Context<'_>, args: &[&[u8]]) {
    let patterns: Vec<Vec<u8>> = args[2..].iter().map(|arg| arg.to_ascii_lowercase()).collect();
    let found: Vec<(String, String)> = settings(context.state)
        .into_iter()
        .filter(|(name, _)| patterns.iter().any(|pattern| glob(pattern, name.as_bytes())))
        .collect();
    context.reply.map(found.len());
    for (name, value) in found {
        context.reply.bulk(name);
        context.reply.bulk(value);
    }
}

/// Whether `text` matches `pattern`, which may hold `*` and `?`: all that setting names need.
/// Goes back only to the last `*`, so its time is at most the product of the lengths.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while at_text < text.len() {
        match pattern.get(at_pattern) {
            Some(b'*') => {
                last_star = Some((at_pattern, at_text));
                at_pattern += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[at_text] => {
                at_pattern += 1;
                at_text += 1;
            }
            _ => {
                let Some((star, matched)) = last_star else { return false };
                last_star = Some((star, matched + 1));
                at_pattern = star + 1;
                at_text = matched + 1;
            }
        }
    }
    pattern[at_pattern..].iter().all(|byte| *byte == b'*')
}

/// A change that was checked and not made yet.
enum Change {
    MaxClients(usize),
    Timeout(u64),
    Password(Option<Box<Password>>),
    Nothing,
}

fn parse_change(name: &[u8], value: &[u8]) -> Result<Change, String> {
    let name = lossy(name).to_ascii_lowercase();
    let bad_value = |why: &str| {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")
    };
    match (name.as_str(), value) {
        ("maxclients", value) => match parse_number(value) {
            Some(count @ 1..=1_000_000) => Ok(Change::MaxClients(count)),
            _ => Err(bad_value("argument must be between 1 and 1000000")),
        },
        ("timeout", value) => parse_number(value)
            .map(Change::Timeout)
            .ok_or_else(|| bad_value("argument must be a number of seconds")),
        ("requirepass", b"") => Ok(Change::Password(None)),
        ("requirepass", value) => std::str::from_utf8(value)
            .map(|text| Change::Password(Some(Box::new(Password::new(text)))))
            .map_err(|_| bad_value("argument must be UTF-8")),
        // Test suites switch persistence off; it is off.
        ("save", b"") | ("appendonly", b"no") => Ok(Change::Nothing),
        _ => Err(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'")),
    }
}

/// Either all pairs are good and take effect, or none does.
fn set(context: &mut Context<'_>, args: &[&[u8]]) {
    let (pairs, rest) = args[2..].as_chunks::<2>();
    if !rest.is_empty() {
        return context.reply.error(&super::wrong_arity("config|set"));
    }
    let changes: Result<Vec<Change>, String> =
        pairs.iter().map(|[name, value]| parse_change(name, value)).collect();
    match changes {
        Err(message) => context.reply.error(&message),
        Ok(changes) => {
            for change in changes {
                apply(context.state, change);
            }
            context.reply.ok();
        }
    }
}

fn apply(state: &mut State, change: Change) {
    match change {
        Change::MaxClients(count) => state.settings.maxclients = count,
        Change::Timeout(seconds) => state.settings.timeout_seconds = seconds,
        Change::Password(password) => state.password = password.map(|password| *password),
        Change::Nothing => {}
    }
}

fn reset_stat(context: &mut Context<'_>, _: &[&[u8]]) {
    context.state.counters = Counters::default();
    context.state.keyspace.reset_stats();
    context.reply.ok();
}

fn rewrite(context: &mut Context<'_>, _: &[&[u8]]) {
    context.reply.error("ERR the configuration file is not rewritten by this server");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_names() {
        for (pattern, text, expected) in [
            ("*", "port", true),
            ("max*clients*", "maxclients", true),
            ("p?rt", "port", true),
            ("p*t", "ports", false),
            ("", "port", false),
            ("port", "port", true),
            ("*a*a*a*b", &"a".repeat(1000), false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
