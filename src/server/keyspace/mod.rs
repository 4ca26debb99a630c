//! The embedded keyspace. A placeholder with a handful of commands.

use super::command_table::CommandSpec;
use super::reply::Reply;
use crate::webhooks::{EventRef, EventValue, WebhookEvent};
use std::collections::HashMap;

/// Hears of every change.
pub trait MutationSink {
    /// A change was made.
    fn mutation(&mut self, event: &EventRef<'_>);
}

const fn spec(
    name: &'static str,
    arity: i32,
    flags: &'static [&'static str],
    last_key: i32,
) -> CommandSpec {
    CommandSpec {
        name,
        arity,
        flags,
        first_key: if last_key == 0 { 0 } else { 1 },
        last_key,
        key_step: if last_key == 0 { 0 } else { 1 },
        group: "string",
        since: "1.0.0",
        summary: "Placeholder.",
    }
}

/// The commands of the keyspace.
pub const COMMANDS: &[CommandSpec] = &[
    spec("get", 2, &["readonly", "fast"], 1),
    spec("set", -3, &["write", "denyoom"], 1),
    spec("del", -2, &["write"], -1),
    spec("dbsize", 1, &["readonly", "fast"], 0),
];

/// The databases.
#[derive(Debug)]
pub struct Keyspace {
    databases: Vec<HashMap<Vec<u8>, (Vec<u8>, Option<u64>)>>,
}

impl Keyspace {
    /// `databases` empty databases.
    pub fn new(databases: usize) -> Self {
        Keyspace { databases: vec![HashMap::new(); databases] }
    }

    /// Runs a command; `false` when it is not one of the keyspace.
    pub fn execute(
        &mut self,
        now_ms: u64,
        database: &mut u32,
        args: &[&[u8]],
        reply: &mut Reply<'_>,
        mutations: &mut dyn MutationSink,
    ) -> bool {
        let map = &mut self.databases[*database as usize];
        match args[0].to_ascii_lowercase().as_slice() {
            b"get" => match map.get(args[1]) {
                Some((value, _)) => reply.bulk(value),
                None => reply.null(),
            },
            b"set" => {
                let ttl_ms = args
                    .get(4)
                    .and_then(|text| std::str::from_utf8(text).ok())
                    .and_then(|text| text.parse::<u64>().ok());
                map.insert(args[1].to_vec(), (args[2].to_vec(), ttl_ms.map(|ttl| now_ms + ttl)));
                mutations.mutation(&EventRef {
                    event: WebhookEvent::Set,
                    key: args[1],
                    database: *database,
                    value: EventValue::Bytes(args[2]),
                    ..EventRef::default()
                });
                reply.ok();
            }
            b"del" => {
                let mut count = 0;
                for key in &args[1..] {
                    if map.remove(*key).is_some() {
                        count += 1;
                        let event = EventRef {
                            event: WebhookEvent::Del,
                            key,
                            database: *database,
                            ..EventRef::default()
                        };
                        mutations.mutation(&event);
                    }
                }
                reply.integer(count);
            }
            b"dbsize" => reply.integer(map.len() as i64),
            _ => return false,
        }
        true
    }

    /// Removes up to `limit` keys that are due.
    pub fn expire_due(
        &mut self,
        now_ms: u64,
        limit: usize,
        mutations: &mut dyn MutationSink,
    ) -> usize {
        let mut count = 0;
        for (database, map) in self.databases.iter_mut().enumerate() {
            let due: Vec<Vec<u8>> = map
                .iter()
                .filter(|(_, (_, at))| at.is_some_and(|at| at <= now_ms))
                .map(|(key, _)| key.clone())
                .take(limit - count)
                .collect();
            for key in due {
                map.remove(&key);
                count += 1;
                mutations.mutation(&EventRef {
                    event: WebhookEvent::Expire,
                    key: &key,
                    database: database as u32,
                    ..EventRef::default()
                });
            }
        }
        count
    }

    /// When the next key is due.
    pub fn next_expiry_ms(&self) -> Option<u64> {
        self.databases.iter().flat_map(|map| map.values().filter_map(|(_, at)| *at)).min()
    }

    /// Keys in a database.
    pub fn len(&self, database: u32) -> usize {
        self.databases[database as usize].len()
    }

    /// Keys in a database that have a time to live.
    pub fn volatile_len(&self, database: u32) -> usize {
        self.databases[database as usize].values().filter(|(_, at)| at.is_some()).count()
    }
}
