//! The words of the command that is about to run.
//!
//! A notification says which key changed and how, but not what was pushed or set. The words say
//! it. They are copied, and only when some webhook wants the event that the command will cause;
//! the notification then takes them if they are of its event and its key.

use ferrite::webhooks::WebhookEvent;

/// Longest name of a command that is looked for here.
const NAME_BYTES_MAX: usize = 12;

/// What the words after the key mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// One: the string that is set, for ever.
    Text,
    /// One: the string that is set; the key keeps its time to live.
    TextKeepingTtl,
    /// One: the string that is set; the notification `expire` comes right after.
    TextThenExpire,
    /// Items of a list, or members of a set.
    Items,
    /// Fields and values by turns.
    Pairs,
    /// Fields; their values are in the hash.
    Fields,
    /// Members; their scores are in the sorted set.
    Members,
    /// None: one item went to the head or the tail of the list, and is there.
    Moved,
}

/// What a command will cause, as far as its words tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The event.
    pub event: WebhookEvent,
    /// The position of the key.
    pub key: usize,
    /// What the words mean.
    pub shape: Shape,
    /// The position of the first of them.
    pub first: usize,
    /// The position after the last.
    pub end: usize,
    /// Their distance.
    pub step: usize,
}

/// What the command of `count` words will cause; `word` gives one of them. `None` for commands
/// whose words are not needed.
pub fn plan<'a>(count: usize, word: impl Fn(usize) -> &'a [u8]) -> Option<Plan> {
    use Shape::*;
    use WebhookEvent::*;
    let name = word(0);
    let mut lower = [0; NAME_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let plan = |event, key, shape, first, end, step| {
        // A command with too few words will be refused by the server.
        (count >= end && first < end || shape == Moved && count > key).then_some(Plan {
            event,
            key,
            shape,
            first,
            end,
            step,
        })
    };
    match &*lower {
        b"set" if count == 3 => plan(Set, 1, Text, 2, 3, 1),
        b"set" => plan(Set, 1, set_shape(count, word), 2, 3, 1),
        b"setex" | b"psetex" => plan(Set, 1, TextThenExpire, 3, 4, 1),
        b"setnx" | b"getset" => plan(Set, 1, Text, 2, 3, 1),
        b"lpush" | b"lpushx" => plan(LPush, 1, Items, 2, count, 1),
        b"rpush" | b"rpushx" => plan(RPush, 1, Items, 2, count, 1),
        b"lmove" | b"blmove" => {
            let event = if word(4).eq_ignore_ascii_case(b"left") { LPush } else { RPush };
            plan(event, 2, Moved, 0, 0, 1)
        }
        b"rpoplpush" | b"brpoplpush" => plan(LPush, 2, Moved, 0, 0, 1),
        b"hset" | b"hmset" | b"hsetnx" if count.is_multiple_of(2) => {
            plan(HSet, 1, Pairs, 2, count, 1)
        }
        b"hincrby" | b"hincrbyfloat" => plan(HSet, 1, Fields, 2, 3, 1),
        b"sadd" => plan(SAdd, 1, Items, 2, count, 1),
        b"smove" => plan(SAdd, 2, Items, 3, 4, 1),
        b"zincrby" => plan(ZAdd, 1, Members, 3, 4, 1),
        b"zadd" => {
            let options = (2..count).take_while(|index| is_zadd_option(word(*index))).count();
            let scores = 2 + options;
            if !(count - scores).is_multiple_of(2) {
                return None;
            }
            plan(ZAdd, 1, Members, scores + 1, count, 2)
        }
        _ => None,
    }
}

/// What the options of `SET` say about the time to live.
fn set_shape<'a>(count: usize, word: impl Fn(usize) -> &'a [u8]) -> Shape {
    let has = |option: &[u8]| (3..count).any(|index| word(index).eq_ignore_ascii_case(option));
    if [b"EX".as_slice(), b"PX", b"EXAT", b"PXAT"].into_iter().any(has) {
        Shape::TextThenExpire
    } else if has(b"KEEPTTL") {
        Shape::TextKeepingTtl
    } else {
        Shape::Text
    }
}

fn is_zadd_option(word: &[u8]) -> bool {
    [b"NX".as_slice(), b"XX", b"GT", b"LT", b"CH", b"INCR"]
        .into_iter()
        .any(|option| word.eq_ignore_ascii_case(option))
}

/// The words of the command under way, as far as they are wanted. Its buffers are kept.
#[derive(Default)]
pub struct UnderWay {
    what: Option<(WebhookEvent, Shape)>,
    bytes: Vec<u8>,
    /// Where each part of `bytes` ends: the key, then the words.
    ends: Vec<usize>,
}

impl UnderWay {
    /// Forgets the command.
    pub fn clear(&mut self) {
        self.what = None;
    }

    /// Keeps the words of a command; nothing if they are more than `bytes_max`.
    pub fn keep<'a>(&mut self, plan: &Plan, bytes_max: usize, word: impl Fn(usize) -> &'a [u8]) {
        self.what = None;
        self.bytes.clear();
        self.ends.clear();
        self.put(word(plan.key));
        let key_bytes = self.bytes.len();
        for index in (plan.first..plan.end).step_by(plan.step) {
            self.put(word(index));
            if self.bytes.len() - key_bytes > bytes_max {
                return;
            }
        }
        self.what = Some((plan.event, plan.shape));
    }

    fn put(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.ends.push(self.bytes.len());
    }

    /// What the words mean, if they are of this event and this key. They are taken but once.
    pub fn take(&mut self, event: WebhookEvent, key: &[u8]) -> Option<Shape> {
        let (of, shape) = self.what?;
        let is_it = of == event && self.ends.first().is_some_and(|end| self.bytes[..*end] == *key);
        if !is_it {
            return None;
        }
        self.what = None;
        Some(shape)
    }

    /// The words that were taken.
    pub fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.ends.windows(2).map(|ends| &self.bytes[ends[0]..ends[1]])
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn lossy(word: &[u8]) -> String {
        String::from_utf8_lossy(word).into_owned()
    }

    fn kept(line: &str) -> Option<(WebhookEvent, Shape, String)> {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let word = |index: usize| words.get(index).copied().unwrap_or_default();
        let plan = plan(words.len(), word)?;
        let mut under_way = UnderWay::default();
        under_way.keep(&plan, 1000, word);
        let shape = under_way.take(plan.event, b"k")?;
        let words: Vec<_> = under_way.words().map(lossy).collect();
        assert_eq!(under_way.take(plan.event, b"k"), None, "taken twice");
        Some((plan.event, shape, words.join(" ")))
    }

    #[test]
    fn the_words_of_commands_are_found() {
        use Shape::*;
        use WebhookEvent::*;
        for (line, event, shape, words) in [
            ("SET k v", Set, Text, "v"),
            ("set k v NX GET", Set, Text, "v"),
            ("set k v px 100", Set, TextThenExpire, "v"),
            ("set k v KEEPTTL", Set, TextKeepingTtl, "v"),
            ("SETEX k 10 v", Set, TextThenExpire, "v"),
            ("GETSET k v", Set, Text, "v"),
            ("LPUSH k a b", LPush, Items, "a b"),
            ("rpushx k a", RPush, Items, "a"),
            ("LMOVE s k LEFT RIGHT", RPush, Moved, ""),
            ("rpoplpush s k", LPush, Moved, ""),
            ("HSET k f v g w", HSet, Pairs, "f v g w"),
            ("HINCRBYFLOAT k f 1.5", HSet, Fields, "f"),
            ("SADD k a b", SAdd, Items, "a b"),
            ("SMOVE s k m", SAdd, Items, "m"),
            ("ZADD k GT CH 1 a 2 b", ZAdd, Members, "a b"),
            ("ZINCRBY k 1 a", ZAdd, Members, "a"),
        ] {
            assert_eq!(kept(line), Some((event, shape, words.to_owned())), "{line}");
        }
    }

    #[test]
    fn what_will_be_refused_or_is_not_needed_is_left_alone() {
        for line in [
            "GET k",
            "SET k",
            "HSET k f",
            "ZADD k 1",
            "ZADD k NX 1",
            "LPUSH k",
            "XADD k * f v",
            "averyverylongname k v",
            "",
            "SET",
            "LMOVE s",
        ] {
            assert_eq!(kept(line), None, "{line}");
        }
    }

    #[test]
    fn words_are_only_for_their_event_and_key() {
        let words: [&[u8]; 3] = [b"LPUSH", b"k", b"a"];
        let word = |index: usize| words[index];
        let plan = plan(3, word).unwrap();
        let mut under_way = UnderWay::default();
        under_way.keep(&plan, 1000, word);
        assert_eq!(under_way.take(WebhookEvent::RPush, b"k"), None);
        assert_eq!(under_way.take(WebhookEvent::LPush, b"kk"), None);
        under_way.clear();
        assert_eq!(under_way.take(WebhookEvent::LPush, b"k"), None);
        under_way.keep(&plan, 0, word);
        assert_eq!(under_way.take(WebhookEvent::LPush, b"k"), None, "too long");
    }
}
