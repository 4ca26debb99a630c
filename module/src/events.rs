//! From the server's notifications to events.
//!
//! An event is given to the engine while the server's thread stands at the change, so that what
//! is read then is what the change wrote. Two kinds take two notifications: a string that is set
//! with a time to live (`set`, `expire`), and a rename (`rename_from`, `rename_to`). The first is
//! kept until the second, or until anything else happens.

use crate::host::{Key, NotifiedKey, Server, Words};
use crate::words::{self, Shape, UnderWay};
use ferrite::webhooks::{
    Admission, EventRef, EventValue, WebhookError, WebhookEvent, WebhookManager, WhenFull,
};

/// What becomes of events on their way to the engine.
pub struct Events {
    manager: WebhookManager,
    /// Values larger than this are left out.
    value_bytes_max: usize,
    under_way: UnderWay,
    held: Held,
    renaming: Option<(u32, Vec<u8>)>,
    /// Holds the value that is read; kept for the next.
    value: Vec<u8>,
    /// Events that the engine did not take: too large, or its rings were full.
    pub refused: u64,
}

/// A string that was set, until it is known whether it expires. Its buffers are kept.
#[derive(Default)]
struct Held {
    holds: bool,
    database: u32,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
    ttl: Option<u64>,
}

/// What a notification is about.
enum Kind {
    Event(WebhookEvent),
    RenameFrom,
    RenameTo,
    Expire,
    Nothing,
}

fn kind_of(name: &[u8]) -> Kind {
    Kind::Event(match name {
        b"set" | b"append" | b"incrby" | b"incrbyfloat" | b"setrange" | b"setbit" | b"pfadd" => {
            WebhookEvent::Set
        }
        b"del" | b"evicted" => WebhookEvent::Del,
        b"expired" => WebhookEvent::Expire,
        b"lpush" => WebhookEvent::LPush,
        b"rpush" => WebhookEvent::RPush,
        b"hset" | b"hincrby" | b"hincrbyfloat" => WebhookEvent::HSet,
        b"sadd" => WebhookEvent::SAdd,
        b"zadd" | b"zincr" => WebhookEvent::ZAdd,
        b"xadd" => WebhookEvent::XAdd,
        b"rename_from" => return Kind::RenameFrom,
        b"rename_to" => return Kind::RenameTo,
        b"expire" => return Kind::Expire,
        _ => return Kind::Nothing,
    })
}

impl Events {
    /// Events for `manager`.
    pub fn new(manager: WebhookManager, value_bytes_max: usize) -> Self {
        Events {
            manager,
            value_bytes_max,
            under_way: UnderWay::default(),
            held: Held::default(),
            renaming: None,
            value: Vec::new(),
            refused: 0,
        }
    }

    /// A command is about to run, or to be kept for `EXEC`.
    pub fn command_begins(&mut self, words: &Words<'_>) {
        self.let_go();
        self.under_way.clear();
        let word = |index: usize| words.get(index);
        let Some(plan) = words::plan(words.count(), word) else { return };
        if self.manager.wants(plan.event, word(plan.key)) {
            self.under_way.keep(&plan, self.value_bytes_max, word);
        }
    }

    /// Forgets what is half known: what happens now is not for this server to tell.
    pub fn forget(&mut self) {
        self.held.holds = false;
        self.renaming = None;
        self.under_way.clear();
    }

    /// Gives the string that is held to the engine.
    pub fn let_go(&mut self) {
        if !std::mem::take(&mut self.held.holds) {
            return;
        }
        let event = EventRef {
            event: WebhookEvent::Set,
            key: &self.held.key,
            database: self.held.database,
            value: self.held.value.as_deref().map_or(EventValue::None, EventValue::Bytes),
            ttl: self.held.ttl,
            ..EventRef::default()
        };
        self.refused += offer(&self.manager, &event);
    }

    /// Something happened to `key`.
    pub fn notification(&mut self, server: &Server<'_>, name: &[u8], key: &NotifiedKey<'_>) {
        let kind = kind_of(name);
        if self.held.holds {
            let is_it = matches!(kind, Kind::Expire)
                && self.held.key == key.bytes
                && self.held.database == server.database();
            if is_it {
                self.held.ttl = server.open(key).and_then(|key| ttl_of(&key));
            }
            self.let_go();
        }
        match kind {
            Kind::Event(event) if self.manager.wants(event, key.bytes) => {
                self.happened(server, event, key);
            }
            Kind::RenameFrom if self.manager.wants(WebhookEvent::Rename, key.bytes) => {
                self.renaming = Some((server.database(), key.bytes.to_vec()));
            }
            Kind::RenameTo => self.renamed(server, key),
            _ => {}
        }
    }

    fn renamed(&mut self, server: &Server<'_>, new_key: &NotifiedKey<'_>) {
        let Some((database, key)) = self.renaming.take() else { return };
        let event = EventRef {
            event: WebhookEvent::Rename,
            key: &key,
            database,
            ttl: server.open(new_key).and_then(|key| ttl_of(&key)),
            new_key: Some(new_key.bytes),
            ..EventRef::default()
        };
        self.refused += offer(&self.manager, &event);
    }

    /// An event that some webhook wants.
    fn happened(&mut self, server: &Server<'_>, event: WebhookEvent, key: &NotifiedKey<'_>) {
        let mut told =
            EventRef { event, key: key.bytes, database: server.database(), ..EventRef::default() };
        let shape = self.under_way.take(event, key.bytes);
        match (event, shape) {
            (WebhookEvent::Del | WebhookEvent::Expire | WebhookEvent::Rename, _) => {
                self.refused += offer(&self.manager, &told);
            }
            (WebhookEvent::Set, Some(Shape::Text)) => {
                let value = self.under_way.words().next();
                told.value = value.map_or(EventValue::None, EventValue::Bytes);
                self.refused += offer(&self.manager, &told);
            }
            (WebhookEvent::Set, shape) => self.string_was_set(server, key, shape),
            (event, shape) => {
                let opened = server.open(key);
                told.ttl = opened.as_ref().and_then(ttl_of);
                let refused = with_value(event, shape, &self.under_way, opened.as_ref(), |value| {
                    offer(&self.manager, &EventRef { value, ..told })
                });
                self.refused += refused;
            }
        }
    }

    /// A string was set: it is held until it is clear whether it expires.
    fn string_was_set(&mut self, server: &Server<'_>, key: &NotifiedKey<'_>, shape: Option<Shape>) {
        self.value.clear();
        let known = match (shape, self.under_way.words().next()) {
            (Some(_), Some(text)) => {
                self.value.extend_from_slice(text);
                true
            }
            _ => server.read_string(key, self.value_bytes_max, &mut self.value),
        };
        // With TextThenExpire it is the time to live of the string before.
        let ttl = match shape {
            Some(Shape::TextThenExpire) => None,
            _ => server.open(key).and_then(|key| ttl_of(&key)),
        };
        let held = &mut self.held;
        held.holds = true;
        held.database = server.database();
        held.key.clear();
        held.key.extend_from_slice(key.bytes);
        if known {
            std::mem::swap(held.value.get_or_insert_default(), &mut self.value);
        } else {
            held.value = None;
        }
        held.ttl = ttl;
        if shape == Some(Shape::TextKeepingTtl) {
            self.let_go();
        }
    }
}

/// The seconds that a key has left, rounded up.
fn ttl_of(key: &Key<'_>) -> Option<u64> {
    key.ttl_ms().map(|left| left.div_ceil(1000))
}

/// Gives an event to the engine; 1 if it was not taken.
fn offer(manager: &WebhookManager, event: &EventRef<'_>) -> u64 {
    match manager.offer(event, WhenFull::DropNow) {
        Ok(Admission::Accepted | Admission::Unmatched) => 0,
        Err(WebhookError::EventTooLarge { .. }) if event.value != EventValue::None => {
            // Better the news without the value than no news.
            offer(manager, &EventRef { value: EventValue::None, ..*event })
        }
        Ok(Admission::Full) | Err(_) => 1,
    }
}

/// Calls `give` with what was added to a collection, or with no value where that is not known.
fn with_value(
    event: WebhookEvent,
    shape: Option<Shape>,
    under_way: &UnderWay,
    key: Option<&Key<'_>>,
    give: impl FnOnce(EventValue<'_>) -> u64,
) -> u64 {
    let words = || under_way.words().collect::<Vec<_>>();
    match (event, shape) {
        (WebhookEvent::XAdd, _) => match key.and_then(Key::last_entry) {
            Some((id, fields)) => {
                let fields: Vec<_> = fields.iter().map(|(f, v)| (&f[..], &v[..])).collect();
                give(EventValue::Entry { id: id.as_bytes(), fields: &fields })
            }
            None => give(EventValue::None),
        },
        (_, Some(Shape::Items)) => give(EventValue::Items(&words())),
        (_, Some(Shape::Pairs)) => {
            let words = words();
            let (pairs, _) = words.as_chunks::<2>();
            let pairs: Vec<_> = pairs.iter().map(|[field, value]| (*field, *value)).collect();
            give(EventValue::Pairs(&pairs))
        }
        (_, Some(Shape::Fields)) => {
            let values = pairs_with(under_way, |field| key?.hash_field(field));
            give(EventValue::Pairs(&borrowed(&values)))
        }
        (_, Some(Shape::Members)) => {
            let scores = pairs_with(under_way, |member| {
                Some(ferrite::server::reply::format_double(key?.score(member)?).into_bytes())
            });
            give(EventValue::Scored(&borrowed(&scores)))
        }
        (_, Some(Shape::Moved)) => {
            let place = if event == WebhookEvent::LPush { 0 } else { -1 };
            match key.and_then(|key| key.list_item(place)) {
                Some(item) => give(EventValue::Items(&[&item])),
                None => give(EventValue::None),
            }
        }
        _ => give(EventValue::None),
    }
}

/// The words, each with what `find` finds for it.
fn pairs_with(
    under_way: &UnderWay,
    find: impl Fn(&[u8]) -> Option<Vec<u8>>,
) -> Vec<(&[u8], Vec<u8>)> {
    under_way.words().filter_map(|word| Some((word, find(word)?))).collect()
}

fn borrowed<'a>(pairs: &'a [(&'a [u8], Vec<u8>)]) -> Vec<(&'a [u8], &'a [u8])> {
    pairs.iter().map(|(name, value)| (*name, &value[..])).collect()
}
