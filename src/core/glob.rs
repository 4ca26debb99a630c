//! Redis's glob patterns, over bytes.
//!
//! What a pattern means is what Redis 7 on x86-64 makes of it, quirks included:
//!
//! - `*` is any run of bytes, `?` any one byte, `\x` the byte x, `[...]` one byte of a class.
//! - A class ends at the first unescaped `]`, or with the pattern. `^` negates it, `!` does not.
//! - Ranges compare *signed* bytes, and are swapped when reversed: `[\x01-\xff]` is ff, 00, 01.
//! - The empty key matches the empty pattern and the pattern `*`, and no other, not even `**`.
//! - A pattern with more than 1000 runs of stars before its last element matches nothing.
//!
//! A pattern is kept as *pieces*: what stands between its stars. The first piece has to match
//! where the key begins, the last where it ends, and each piece between them is looked for from
//! the left after the piece before it: the leftmost place leaves the most room for the rest, so
//! no choice ever has to be taken back (R. Cox, "Glob Matching Can Be Simple And Fast Too", 2017).

use std::ops::Range;

use memchr::memmem;

use crate::base::limits;

/// One element of a pattern that takes exactly one byte of the key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element {
    /// This byte.
    Byte(u8),
    /// Any byte.
    Any,
    /// A byte of the class with this number; see [`Glob::class`].
    Class(u32),
}

/// A set of bytes, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ByteSet([u64; 4]);

impl ByteSet {
    /// Whether `byte` is in the set.
    #[inline]
    pub fn contains(&self, byte: u8) -> bool {
        self.0[usize::from(byte >> 6)] >> (byte & 63) & 1 == 1
    }

    /// The bytes in the set, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(|&byte| self.contains(byte))
    }

    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte >> 6)] |= 1 << (byte & 63);
    }

    /// Adds the bytes from `first` to `last` in the order of *signed* bytes, whichever is less.
    fn insert_range(&mut self, first: u8, last: u8) {
        let (first, last) = (first.cast_signed(), last.cast_signed());
        for byte in first.min(last)..=first.max(last) {
            self.insert(byte.cast_unsigned());
        }
    }

    fn inverted(&self) -> ByteSet {
        ByteSet(self.0.map(|word| !word))
    }

    fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }
}

/// A parsed pattern.
///
/// ```
/// use ferrite::core::glob::Glob;
///
/// let glob = Glob::parse(b"order:*:items");
/// assert!(glob.matches(b"order:1:items"));
/// assert!(!glob.matches(b"order:items"));
/// ```
#[derive(Clone, Debug)]
pub struct Glob {
    /// All elements in order, without the stars.
    elements: Box<[Element]>,
    /// Parallel to `elements`: the byte of each `Element::Byte`, for comparing runs at once.
    bytes: Box<[u8]>,
    classes: Box<[ByteSet]>,
    /// What stands between the stars; one more than there are runs of stars, so never empty.
    /// Pieces between two stars are not empty; the first and the last may be.
    pieces: Box<[Piece]>,
    /// The pattern is the one byte `*`, which alone takes the empty key.
    lone_star: bool,
    /// Nothing can match: an empty class, or more stars than Redis follows.
    never: bool,
}

/// A run of elements without a star among them.
#[derive(Clone, Debug)]
struct Piece {
    start: u32,
    end: u32,
    /// All elements are `Element::Byte`.
    literal: bool,
}

impl Piece {
    fn range(&self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    fn len(&self) -> usize {
        (self.end - self.start) as usize
    }
}

impl Glob {
    /// Parses a pattern. Every sequence of bytes is one; takes time linear in its length.
    ///
    /// There is no bound on the length here: commands that take a pattern have their own
    /// ([`limits::PATTERN_BYTES_MAX`] for webhooks).
    pub fn parse(pattern: &[u8]) -> Glob {
        let mut parser = Parser { rest: pattern, ..Parser::default() };
        while let Some((&byte, rest)) = parser.rest.split_first() {
            parser.rest = rest;
            match (byte, rest.first()) {
                (b'*', _) => parser.take_stars(),
                (b'?', _) => parser.elements.push(Element::Any),
                (b'[', _) => parser.take_class(),
                (b'\\', Some(&escaped)) => {
                    parser.elements.push(Element::Byte(escaped));
                    parser.rest = &rest[1..];
                }
                _ => parser.elements.push(Element::Byte(byte)),
            }
        }
        parser.finish(pattern == b"*")
    }

    /// Whether `key` matches, as for `KEYS`: exactly Redis's answer.
    ///
    /// Takes no memory, and time at most (length of the key) x (length of the pattern); linear
    /// in the key alone when all pieces between stars are literal.
    pub fn matches(&self, key: &[u8]) -> bool {
        let (first, last) = (&self.pieces[0], &self.pieces[self.pieces.len() - 1]);
        if self.never || key.len() < self.elements.len() {
            return false;
        }
        if self.pieces.len() == 1 {
            return key.len() == first.len() && self.piece_matches(first, key);
        }
        if key.is_empty() {
            return self.lone_star;
        }
        let (head, rest) = key.split_at(first.len());
        let (mut rest, tail) = rest.split_at(rest.len() - last.len());
        if !self.piece_matches(first, head) || !self.piece_matches(last, tail) {
            return false;
        }
        for piece in &self.pieces[1..self.pieces.len() - 1] {
            match self.find_piece(piece, rest) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        true
    }

    /// Whether the pattern is nothing but stars, one or more.
    pub fn is_stars_only(&self) -> bool {
        self.elements.is_empty() && self.pieces.len() > 1
    }

    /// Whether no key at all can match.
    pub fn is_never(&self) -> bool {
        self.never
    }

    /// Whether the pattern is one literal: it has no star, no `?` and no class.
    pub fn is_exact(&self) -> bool {
        self.pieces.len() == 1 && self.pieces[0].literal
    }

    /// Whether the pattern is a literal and one run of stars after it.
    pub fn is_prefix(&self) -> bool {
        self.pieces.len() == 2 && self.pieces[0].literal && self.pieces[1].len() == 0
    }

    /// Whether the pattern is one run of stars and a literal after it.
    pub fn is_suffix(&self) -> bool {
        self.pieces.len() == 2 && self.pieces[1].literal && self.pieces[0].len() == 0
    }

    /// The bytes that every matching key begins with.
    pub fn literal_prefix(&self) -> &[u8] {
        let first = self.pieces[0].range();
        let length = self.elements[first.clone()].iter().take_while(|e| e.is_byte()).count();
        &self.bytes[first.start..first.start + length]
    }

    /// The bytes that every matching key ends with.
    pub fn literal_suffix(&self) -> &[u8] {
        let last = self.pieces[self.pieces.len() - 1].range();
        let length = self.elements[last.clone()].iter().rev().take_while(|e| e.is_byte()).count();
        &self.bytes[last.end - length..last.end]
    }

    /// The runs of elements between the stars, in order: one more than there are runs of stars.
    pub fn pieces(&self) -> impl ExactSizeIterator<Item = &[Element]> {
        self.pieces.iter().map(|piece| &self.elements[piece.range()])
    }

    /// The class that an [`Element::Class`] of this pattern names.
    pub fn class(&self, number: u32) -> &ByteSet {
        &self.classes[number as usize]
    }

    /// Whether `piece` matches all of `part`, which is as long as the piece.
    #[inline]
    fn piece_matches(&self, piece: &Piece, part: &[u8]) -> bool {
        debug_assert_eq!(piece.len(), part.len());
        if piece.literal {
            return self.bytes[piece.range()] == *part;
        }
        self.elements[piece.range()].iter().zip(part).all(|(element, &byte)| match *element {
            Element::Byte(wanted) => wanted == byte,
            Element::Any => true,
            Element::Class(number) => self.classes[number as usize].contains(byte),
        })
    }

    /// Where `piece` occurs first in `rest`.
    fn find_piece(&self, piece: &Piece, rest: &[u8]) -> Option<usize> {
        debug_assert!(piece.len() > 0);
        if piece.literal {
            return memmem::find(rest, &self.bytes[piece.range()]);
        }
        rest.windows(piece.len()).position(|window| self.piece_matches(piece, window))
    }
}

impl Element {
    fn is_byte(&self) -> bool {
        matches!(self, Element::Byte(_))
    }
}

/// What has been read of a pattern.
#[derive(Default)]
struct Parser<'a> {
    rest: &'a [u8],
    elements: Vec<Element>,
    classes: Vec<ByteSet>,
    /// Where in `elements` each run of stars stands.
    stars: Vec<u32>,
    never: bool,
}

impl Parser<'_> {
    /// Takes what follows a star: more stars mean the same as one.
    fn take_stars(&mut self) {
        let run = self.rest.iter().take_while(|&&byte| byte == b'*').count();
        self.rest = &self.rest[run..];
        self.stars.push(self.elements.len() as u32);
    }

    /// Takes a class; its `[` has been read.
    fn take_class(&mut self) {
        let negated = self.rest.first() == Some(&b'^');
        if negated {
            self.rest = &self.rest[1..];
        }
        let mut set = ByteSet::default();
        // The order of the arms is the grammar: an escape never starts a range, `]` always ends
        // the class, and the third byte of a range is taken raw, even if it is `]` or `\`.
        self.rest = loop {
            match *self.rest {
                [] => break &[],
                [b'\\', escaped, ref rest @ ..] => {
                    set.insert(escaped);
                    self.rest = rest;
                }
                [b']', ref rest @ ..] => break rest,
                [first, b'-', last, ref rest @ ..] => {
                    set.insert_range(first, last);
                    self.rest = rest;
                }
                [byte, ref rest @ ..] => {
                    set.insert(byte);
                    self.rest = rest;
                }
            }
        };
        let set = if negated { set.inverted() } else { set };
        self.push_set(set);
    }

    fn push_set(&mut self, set: ByteSet) {
        let element = match set.len() {
            256 => Element::Any,
            1 => Element::Byte(set.iter().next().unwrap_or_default()),
            0 => {
                self.never = true;
                Element::Any
            }
            _ => self.class_element(set),
        };
        self.elements.push(element);
    }

    /// The element for `set`; equal sets that are close to each other are kept once.
    fn class_element(&mut self, set: ByteSet) -> Element {
        let recent = self.classes.len().saturating_sub(CLASSES_COMPARED);
        let known = self.classes[recent..].iter().position(|old| *old == set);
        let number = known.map_or(self.classes.len(), |position| recent + position);
        if known.is_none() {
            self.classes.push(set);
        }
        Element::Class(number as u32)
    }

    fn finish(self, lone_star: bool) -> Glob {
        let length = self.elements.len() as u32;
        let last_is_star = self.stars.last() == Some(&length);
        let followed = self.stars.len() - usize::from(last_is_star);
        let starts = std::iter::once(0).chain(self.stars.iter().copied());
        let ends = self.stars.iter().copied().chain(std::iter::once(length));
        let pieces = starts
            .zip(ends)
            .map(|(start, end)| Piece {
                start,
                end,
                literal: self.elements[start as usize..end as usize].iter().all(Element::is_byte),
            })
            .collect();
        let bytes = self.elements.iter().map(|element| match *element {
            Element::Byte(byte) => byte,
            Element::Any | Element::Class(_) => 0,
        });
        Glob {
            bytes: bytes.collect(),
            elements: self.elements.into_boxed_slice(),
            classes: self.classes.into_boxed_slice(),
            pieces,
            lone_star,
            never: self.never || followed > limits::GLOB_STARS_FOLLOWED_MAX,
        }
    }
}

/// How many of the latest classes a new class is compared with, to keep equal ones once.
const CLASSES_COMPARED: usize = 16;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Redis's matching, written down once more as directly as possible: the set of places in
    /// the key that can be reached, byte of pattern by byte of pattern.
    pub(crate) fn redis_matches(pattern: &[u8], key: &[u8]) -> bool {
        if key.is_empty() {
            return pattern.is_empty() || pattern == b"*";
        }
        let mut reached = vec![false; key.len() + 1];
        reached[0] = true;
        let mut rest = pattern;
        let mut nesting = 0;
        while !rest.is_empty() {
            if rest[0] == b'*' {
                while rest.first() == Some(&b'*') {
                    rest = &rest[1..];
                }
                nesting += usize::from(!rest.is_empty());
                for place in 1..=key.len() {
                    reached[place] |= reached[place - 1];
                }
                continue;
            }
            let mut next = vec![false; key.len() + 1];
            for place in (0..key.len()).filter(|&place| reached[place]) {
                next[place + 1] = takes(rest, key[place]).0;
            }
            rest = takes(rest, 0).1;
            reached = next;
        }
        reached[key.len()] && nesting <= 1000
    }

    /// Whether the first element of `pattern`, not a star, takes `byte`; and what follows it.
    fn takes(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
        match pattern[0] {
            b'?' => (true, &pattern[1..]),
            b'[' => class_takes(&pattern[1..], byte),
            b'\\' if pattern.len() > 1 => (pattern[1] == byte, &pattern[2..]),
            literal => (literal == byte, &pattern[1..]),
        }
    }

    fn class_takes(class: &[u8], byte: u8) -> (bool, &[u8]) {
        let negated = class.first() == Some(&b'^');
        let mut at = usize::from(negated);
        let mut found = false;
        while at < class.len() {
            if class[at] == b'\\' && at + 1 < class.len() {
                found |= class[at + 1] == byte;
                at += 2;
            } else if class[at] == b']' {
                break;
            } else if at + 2 < class.len() && class[at + 1] == b'-' {
                let (one, other, wanted) = (class[at] as i8, class[at + 2] as i8, byte as i8);
                found |= (one <= wanted && wanted <= other) || (other <= wanted && wanted <= one);
                at += 3;
            } else {
                found |= class[at] == byte;
                at += 1;
            }
        }
        (found != negated, &class[(at + 1).min(class.len())..])
    }

    /// The verdicts of redis-server 7.0.15 on x86-64.
    pub(crate) struct Vectors {
        pub(crate) keys: Vec<Vec<u8>>,
        /// Each pattern with the keys that it matches.
        pub(crate) patterns: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
    }

    pub(crate) fn vectors() -> Vectors {
        let text = include_str!("../../tests/data/glob-vectors.json");
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let strings = |value: &serde_json::Value| -> Vec<Vec<u8>> {
            value.as_array().unwrap().iter().map(unhex).collect()
        };
        let patterns = json["vectors"].as_array().unwrap().iter();
        Vectors {
            keys: strings(&json["keys_hex"]),
            patterns: patterns
                .map(|vector| (unhex(&vector["pattern_hex"]), strings(&vector["matches_hex"])))
                .collect(),
        }
    }

    fn unhex(value: &serde_json::Value) -> Vec<u8> {
        let text = value.as_str().unwrap().as_bytes();
        text.chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    #[test]
    fn redis_itself_agrees() {
        let vectors = vectors();
        assert!(vectors.patterns.len() >= 50 && vectors.keys.len() >= 50);
        for (pattern, matched) in &vectors.patterns {
            let glob = Glob::parse(pattern);
            for key in &vectors.keys {
                let expected = matched.contains(key);
                let what = format!("{:?} {:?}", pattern.escape_ascii(), key.escape_ascii());
                assert_eq!(glob.matches(key), expected, "{what}");
                assert_eq!(redis_matches(pattern, key), expected, "the test's own oracle: {what}");
            }
        }
    }

    #[test]
    fn classes_end_where_redis_ends_them() {
        for (pattern, matched, not_matched) in [
            (&b"[abc"[..], &b"a b c"[..], &b"d ]"[..]),
            (b"[", b"", b"[ a"),
            (b"[^", b"a [ ]", b""),
            (b"[]", b"", b"] ["),
            (b"[^]", b"a ]", b""),
            (b"[\\", b"\\", b"a ["),
            (b"[\\a-z]", b"a - z", b"b \\"),
            (b"[a-]", b"] ^ _ ` a", b"- b"),
            (b"[--a]", b"- A a", b", b"),
            (b"[z-a]", b"a m z", b"- {"),
            (b"[!a]", b"! a", b"b"),
            (b"[\x01-\xff]", b"\xff \x00 \x01", b"\x02 a \xfe"),
            (b"[a-\xff]", b"\xff \x00 A a", b"b \xfe"),
            (b"\\", b"\\", b"a"),
            (b"\\*", b"*", b"a"),
        ] {
            let glob = Glob::parse(pattern);
            let matches = |key: &&[u8]| glob.matches(key);
            let split = |keys: &'static [u8]| keys.split(|&b| b == b' ').filter(|k| !k.is_empty());
            assert!(split(matched).all(|key| matches(&key)), "{}", pattern.escape_ascii());
            assert!(!split(not_matched).any(|key| matches(&key)), "{}", pattern.escape_ascii());
        }
        assert!(Glob::parse(b"[a-\\]]").matches(b"]]") && !Glob::parse(b"[a-\\]]").matches(b"]"));
    }

    #[test]
    fn more_stars_than_redis_follows_match_nothing() {
        for (stars, matches) in [(999, true), (1000, true), (1001, false), (5000, false)] {
            assert_eq!(Glob::parse(&b"*?".repeat(stars)).matches(&vec![b'a'; stars]), matches);
            let last_star_is_free = [&b"*?".repeat(stars)[..], b"*"].concat();
            assert_eq!(Glob::parse(&last_star_is_free).matches(&vec![b'a'; stars + 5]), matches);
            let runs_count_once = b"**?".repeat(stars);
            assert_eq!(Glob::parse(&runs_count_once).matches(&vec![b'a'; stars]), matches);
        }
    }

    #[test]
    fn patterns_that_once_took_redis_exponential_time_are_cheap() {
        let nested = [&b"a*".repeat(20)[..], b"b"].concat();
        assert!(!Glob::parse(&nested).matches(&[b'a'; 40]));
        assert!(!Glob::parse(&nested).matches(&vec![b'a'; 1 << 20]));
        assert!(Glob::parse(&nested).matches(&[&vec![b'a'; 1 << 20][..], b"b"].concat()));
        assert!(!Glob::parse(&b"*?".repeat(50_000)).matches(&vec![b'a'; 50_000]));
    }

    #[test]
    fn shapes_are_told_apart() {
        let glob = |text: &[u8]| Glob::parse(text);
        assert!(glob(b"*").is_stars_only() && glob(b"***").is_stars_only());
        assert!(!glob(b"").is_stars_only() && !glob(b"*?").is_stars_only());
        assert!(glob(b"").is_exact() && glob(b"a\\*[b]").is_exact() && !glob(b"a?").is_exact());
        assert!(glob(b"a**").is_prefix() && !glob(b"a?*").is_prefix() && !glob(b"a*b").is_prefix());
        assert!(glob(b"*a").is_suffix() && !glob(b"*a*").is_suffix() && !glob(b"*?a").is_suffix());
        assert!(glob(b"a[]").is_never() && glob(b"[").is_never() && !glob(b"[^").is_never());
        assert_eq!(glob(b"ab?c*x?yz").literal_prefix(), b"ab");
        assert_eq!(glob(b"ab?c*x?yz").literal_suffix(), b"yz");
        assert_eq!(glob(b"*ab*").literal_prefix(), b"");
        assert_eq!(glob(b"*ab*").literal_suffix(), b"");
    }
}
