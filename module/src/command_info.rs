//! What the server is told about the WEBHOOK commands: flags, arity, arguments, keys.

use ferrite::server::hosted;
use std::ffi::{CString, c_int};

/// A command, in the server's words.
pub struct Command {
    /// Its name, in lower case.
    pub name: CString,
    /// Its flags, with spaces between them.
    pub flags: CString,
    /// The categories of access control it is in, with spaces between them.
    pub categories: CString,
    /// Words, its name included; negative for a minimum.
    pub arity: c_int,
    /// What it does.
    pub summary: CString,
    /// The version it came with.
    pub since: CString,
    /// The position of the word that says which node of a cluster it is for.
    pub key: Option<c_int>,
    /// Its arguments, for `COMMAND DOCS`.
    pub arguments: Vec<Argument>,
}

/// An argument, in the server's words.
pub struct Argument {
    /// Its name.
    pub name: CString,
    /// The word before it.
    pub token: Option<CString>,
    /// What it is.
    pub kind: &'static str,
    /// Whether it may be left out or repeated.
    pub flags: &'static [&'static str],
    /// What it consists of.
    pub parts: Vec<Argument>,
}

/// The commands that change definitions: their effect goes to replicas and files.
pub fn is_change(name: &[u8]) -> bool {
    ["webhook.create", "webhook.update", "webhook.delete", "webhook.enable", "webhook.disable"]
        .iter()
        .any(|change| name.eq_ignore_ascii_case(change.as_bytes()))
}

/// All commands.
pub fn commands() -> Vec<Command> {
    hosted::specs().into_iter().map(command).collect()
}

fn command(spec: &'static hosted::CommandSpec) -> Command {
    let is_publish = spec.name == "webhook.publish";
    Command {
        name: text(spec.name),
        flags: text(&flags(spec)),
        categories: text(&categories(spec)),
        arity: spec.arity,
        summary: text(spec.summary),
        since: text(spec.since),
        // The event's key: who publishes it should reach the node that has the key.
        key: is_publish.then_some(2),
        arguments: hosted::arguments(spec.name).iter().map(argument).collect(),
    }
}

/// The server's names of flags.
///
/// Arguments may be secrets: none of the commands is shown by `MONITOR` or `SLOWLOG`. A change of
/// definitions is a write, which a replica refuses from anyone but its primary, and which is not
/// run while the definitions are still being loaded.
fn flags(spec: &hosted::CommandSpec) -> String {
    let is_change = is_change(spec.name.as_bytes());
    let mut flags = vec!["no-monitor", "no-slowlog"];
    if is_change {
        flags.push("write");
    }
    for flag in spec.flags {
        match *flag {
            "noscript" => flags.push("deny-script"),
            "loading" if !is_change => flags.push("allow-loading"),
            "stale" if !is_change => flags.push("allow-stale"),
            "admin" | "blocking" => flags.push(flag),
            _ => {}
        }
    }
    flags.join(" ")
}

/// Those that a server gives its own commands with such flags.
fn categories(spec: &hosted::CommandSpec) -> String {
    let mut categories = vec!["admin", "dangerous", "slow"];
    if is_change(spec.name.as_bytes()) {
        categories.push("write");
    }
    if spec.flags.contains(&"blocking") {
        categories.push("blocking");
    }
    categories.join(" ")
}

fn argument(argument: &hosted::Argument) -> Argument {
    Argument {
        name: text(argument.name),
        token: Some(argument.token).filter(|token| !token.is_empty()).map(text),
        kind: argument.kind,
        flags: argument.flags,
        parts: argument.parts.iter().map(self::argument).collect(),
    }
}

/// None of these texts has a zero in it.
fn text(text: &str) -> CString {
    CString::new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_and_changes_are_writes() {
        for command in commands() {
            let (name, flags) = (command.name.to_string_lossy(), command.flags.to_string_lossy());
            for wanted in ["no-monitor", "no-slowlog", "admin", "deny-script"] {
                assert!(flags.contains(wanted), "{name}: {flags}");
            }
            let is_change = is_change(name.as_bytes());
            assert_eq!(flags.contains("write"), is_change, "{name}: {flags}");
            assert!(!(is_change && flags.contains("allow-loading")), "{name}: {flags}");
        }
    }
}
