//! Scripts of commands with their replies and events, and hostile arguments.

mod events;
mod hostile;
mod replies;

use std::fmt::Write;

use super::*;
use crate::webhooks::EventValue;

/// Where virtual time begins.
const START_MS: u64 = 1_700_000_000_000;

/// Keeps events as text: `SET k v old=… ttl=… db=…`.
#[derive(Default)]
struct Events(Vec<String>);

impl MutationSink for Events {
    fn mutation(&mut self, event: &EventRef<'_>) {
        self.0.push(event_text(event));
    }
}

fn event_text(event: &EventRef<'_>) -> String {
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let pairs = |pairs: &[(&[u8], &[u8])]| {
        let shown = pairs.iter().map(|(left, right)| format!("{}={}", show(left), show(right)));
        shown.collect::<Vec<_>>().join(",")
    };
    let mut text = format!("{} {}", event.event, show(event.key));
    let value = match event.value {
        EventValue::None => String::new(),
        EventValue::Bytes(bytes) => format!(" {}", show(bytes)),
        EventValue::Items(items) => {
            format!(" [{}]", items.iter().map(|item| show(item)).collect::<Vec<_>>().join(","))
        }
        EventValue::Pairs(all) => format!(" {{{}}}", pairs(all)),
        EventValue::Scored(all) => format!(" <{}>", pairs(all)),
        EventValue::Entry { id, fields } => format!(" {}:{{{}}}", show(id), pairs(fields)),
    };
    text.push_str(&value);
    if let Some(old) = event.old_value {
        write!(text, " old={}", show(old)).unwrap();
    }
    if let Some(ttl) = event.ttl {
        write!(text, " ttl={ttl}").unwrap();
    }
    if let Some(new_key) = event.new_key {
        write!(text, " to={}", show(new_key)).unwrap();
    }
    if event.database != 0 {
        write!(text, " db={}", event.database).unwrap();
    }
    text
}

/// A keyspace with a clock.
struct Script {
    keyspace: Keyspace,
    now_ms: u64,
    database: u32,
    resp3: bool,
}

impl Script {
    fn new() -> Script {
        Script { keyspace: Keyspace::new(16), now_ms: START_MS, database: 0, resp3: false }
    }

    fn run(&mut self, args: &[&[u8]]) -> (Vec<u8>, Vec<String>) {
        let (mut out, mut events) = (Vec::new(), Events::default());
        let mut reply = Reply::new(&mut out, self.resp3);
        let known =
            self.keyspace.execute(self.now_ms, &mut self.database, args, &mut reply, &mut events);
        assert_eq!(known, !out.is_empty());
        (out, events.0)
    }

    /// Runs a command (words; `''` is an empty one) and compares its reply, with `|` for CRLF, and
    /// its events.
    #[track_caller]
    fn check(&mut self, command: &str, reply: &str, events: &[&str]) {
        let args: Vec<&[u8]> = command
            .split(' ')
            .map(|word| if word == "''" { b"".as_slice() } else { word.as_bytes() })
            .collect();
        let (out, seen) = self.run(&args);
        let out = String::from_utf8_lossy(&out).replace("\r\n", "|");
        assert_eq!(out.strip_suffix('|').unwrap_or(&out), reply, "{command}");
        assert_eq!(seen, events, "{command}");
    }

    /// As [`check`](Self::check), with both protocol versions; only for commands that change
    /// nothing.
    #[track_caller]
    fn check_both(&mut self, command: &str, resp2: &str, resp3: &str) {
        self.check(command, resp2, &[]);
        self.resp3 = true;
        self.check(command, resp3, &[]);
        self.resp3 = false;
    }
}

#[test]
fn the_table_is_sorted_and_complete() {
    assert!(COMMANDS.is_sorted_by(|left, right| left.name < right.name));
    for spec in COMMANDS {
        let (found, _) = commands::find(spec.name.to_ascii_uppercase().as_bytes()).unwrap();
        assert_eq!(found, spec);
    }
    assert!(commands::find(b"nosuch").is_none());
    assert!(commands::find(&[b'x'; 100]).is_none());
}
