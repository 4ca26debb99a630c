//! A trie of byte strings in which runs without a branch are one node (D. Morrison, "PATRICIA",
//! 1968), walked once for a key from its beginning or, for suffixes, from its end.
//!
//! The nodes lie level by level, so the children of a node are neighbours and the bytes they
//! branch by are one short run of memory, searched with one vector comparison.

use std::cmp::Ordering;

use memchr::memchr;

use crate::core::event::{EventMask, WebhookEvent};

/// From which end of the key literals are compared.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// From the first byte on: literals are prefixes.
    Front,
    /// From the last byte backwards: literals are suffixes.
    Back,
}

impl End {
    /// The order of literals in which each comes before those that it is a part of.
    pub fn order(self, one: &[u8], other: &[u8]) -> Ordering {
        match self {
            End::Front => one.cmp(other),
            End::Back => one.iter().rev().cmp(other.iter().rev()),
        }
    }

    /// Whether `text` begins (or ends) with `literal`.
    pub fn has(self, text: &[u8], literal: &[u8]) -> bool {
        match self {
            End::Front => text.starts_with(literal),
            End::Back => text.ends_with(literal),
        }
    }

    /// How many bytes the literals `one` and `other` share from this end on.
    fn shared_len(self, one: &[u8], other: &[u8]) -> usize {
        match self {
            End::Front => one.iter().zip(other).take_while(|(a, b)| a == b).count(),
            End::Back => {
                one.iter().rev().zip(other.iter().rev()).take_while(|(a, b)| a == b).count()
            }
        }
    }

    /// The part of `text` from `depth` bytes on, up to `to` bytes, counted from this end.
    fn part(self, text: &[u8], depth: usize, to: usize) -> &[u8] {
        match self {
            End::Front => &text[depth..to],
            End::Back => &text[text.len() - to..text.len() - depth],
        }
    }
}

/// What it means for a key to have a literal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Role {
    /// The key matches.
    Affix,
    /// The key matches if the literal is all of it.
    Whole,
    /// The key has to be tried against the whole pattern.
    Tried,
}

/// A literal to build a trie from.
#[derive(Clone, Copy, Debug)]
pub struct Literal<'a> {
    /// The prefix or suffix.
    pub text: &'a [u8],
    /// What having it means.
    pub role: Role,
    /// The group of webhooks concerned, an index into the matcher's groups.
    pub group: u32,
    /// The events the group wants.
    pub events: EventMask,
}

/// The trie. Immutable.
#[derive(Debug)]
pub struct Trie {
    end: End,
    /// `nodes[0]` is the root, which has no label.
    nodes: Box<[Node]>,
    /// Parallel to `nodes`: the byte that leads to the node.
    first_bytes: Box<[u8]>,
    labels: Box<[u8]>,
    /// The groups of all nodes: for each node first those in the role of affix, then the others.
    groups: Box<[u32]>,
}

/// The outcomes at one node, by role.
#[derive(Clone, Copy, Debug)]
pub struct Outcomes<'a> {
    /// Groups that match.
    pub affix: &'a [u32],
    /// The events any of `affix` wants.
    pub affix_events: EventMask,
    /// Groups that match because the key ends here; empty if it does not.
    pub whole: &'a [u32],
    /// The events any of `whole` wants.
    pub whole_events: EventMask,
    /// Groups whose pattern has to be tried.
    pub tried: &'a [u32],
}

#[derive(Clone, Debug, Default)]
struct Node {
    label_start: u32,
    label_len: u32,
    children_start: u32,
    children_len: u32,
    groups_start: u32,
    affix_len: u32,
    whole_len: u32,
    tried_len: u32,
    affix_events: EventMask,
    whole_events: EventMask,
    /// The events that any group of this node or below wants.
    all_events: EventMask,
}

impl Trie {
    /// Builds a trie in time linear in the bytes of the literals, beside sorting them.
    pub fn build(end: End, literals: &[Literal<'_>]) -> Trie {
        Builder::new(end, literals).build()
    }

    /// Visits the outcomes of each literal that `key` begins (or ends) with, shortest first, until
    /// `visit` says that it has seen enough. Returns whether it did.
    #[inline]
    pub fn walk(
        &self,
        event: WebhookEvent,
        key: &[u8],
        mut visit: impl FnMut(Outcomes<'_>) -> bool,
    ) -> bool {
        let mut node = &self.nodes[0];
        let mut rest = key;
        while node.all_events.contains(event) {
            if node.has_outcomes() && visit(self.outcomes(node, rest.is_empty())) {
                return true;
            }
            let next = match self.end {
                End::Front => rest.first(),
                End::Back => rest.last(),
            };
            let Some(child) = next.and_then(|&byte| self.child(node, byte)) else { return false };
            let label = self.label(child);
            let stripped = match self.end {
                End::Front => rest.strip_prefix(label),
                End::Back => rest.strip_suffix(label),
            };
            let Some(stripped) = stripped else { return false };
            rest = stripped;
            node = child;
        }
        false
    }

    #[inline]
    fn child(&self, node: &Node, byte: u8) -> Option<&Node> {
        let start = node.children_start as usize;
        let siblings = &self.first_bytes[start..start + node.children_len as usize];
        let position = match siblings {
            // Most nodes have one; a call for it would cost more than the answer.
            [only] => (*only == byte).then_some(0),
            _ => memchr(byte, siblings),
        };
        position.map(|position| &self.nodes[start + position])
    }

    #[inline]
    fn label(&self, node: &Node) -> &[u8] {
        let start = node.label_start as usize;
        &self.labels[start..start + node.label_len as usize]
    }

    #[inline]
    fn outcomes(&self, node: &Node, at_end: bool) -> Outcomes<'_> {
        let rest = &self.groups[node.groups_start as usize..];
        let (affix, rest) = rest.split_at(node.affix_len as usize);
        let (whole, rest) = rest.split_at(node.whole_len as usize);
        Outcomes {
            affix,
            affix_events: node.affix_events,
            whole: if at_end { whole } else { &[] },
            whole_events: if at_end { node.whole_events } else { EventMask::NONE },
            tried: &rest[..node.tried_len as usize],
        }
    }
}

impl Node {
    #[inline]
    fn has_outcomes(&self) -> bool {
        self.affix_len + self.whole_len + self.tried_len > 0
    }
}

struct Builder<'a> {
    end: End,
    /// In the order of [`End::order`].
    literals: Vec<Literal<'a>>,
    nodes: Vec<Node>,
    /// Parallel to `nodes`.
    spans: Vec<Span>,
    first_bytes: Vec<u8>,
    labels: Vec<u8>,
    groups: Vec<u32>,
}

/// The literals that go through a node.
#[derive(Clone, Copy)]
struct Span {
    first: usize,
    end: usize,
    /// How many bytes stand above the node's label.
    depth: usize,
}

impl<'a> Builder<'a> {
    fn new(end: End, literals: &[Literal<'a>]) -> Builder<'a> {
        let mut literals = literals.to_vec();
        literals.sort_unstable_by(|a, b| {
            end.order(a.text, b.text).then((a.role, a.group).cmp(&(b.role, b.group)))
        });
        Builder {
            end,
            spans: vec![Span { first: 0, end: literals.len(), depth: 0 }],
            literals,
            nodes: vec![Node::default()],
            first_bytes: vec![0],
            labels: Vec::new(),
            groups: Vec::new(),
        }
    }

    fn build(mut self) -> Trie {
        let mut index = 0;
        while index < self.nodes.len() {
            let span = self.spans[index];
            // The root keeps an empty label even if all literals begin alike: it is where the
            // walk starts, with no byte compared yet.
            let depth = if index == 0 { 0 } else { self.shared_depth(span) };
            self.set_label(index, span, depth);
            let below = self.set_outcomes(index, span, depth);
            self.add_children(index, Span { first: below, end: span.end, depth });
            index += 1;
        }
        Trie {
            end: self.end,
            nodes: self.nodes.into_boxed_slice(),
            first_bytes: self.first_bytes.into_boxed_slice(),
            labels: self.labels.into_boxed_slice(),
            groups: self.groups.into_boxed_slice(),
        }
    }

    /// How far all literals of `span` agree: as far as the first and the last, since all between
    /// them are in order.
    fn shared_depth(&self, span: Span) -> usize {
        self.end.shared_len(self.literals[span.first].text, self.literals[span.end - 1].text)
    }

    fn set_label(&mut self, index: usize, span: Span, depth: usize) {
        let node = &mut self.nodes[index];
        node.label_start = self.labels.len() as u32;
        node.label_len = (depth - span.depth) as u32;
        if depth > span.depth {
            let text = self.literals[span.first].text;
            self.labels.extend(self.end.part(text, span.depth, depth));
        }
    }

    /// Gives the node the literals that end at `depth`; returns where the longer ones begin.
    fn set_outcomes(&mut self, index: usize, span: Span, depth: usize) -> usize {
        let literals = &self.literals[span.first..span.end];
        let node = &mut self.nodes[index];
        node.groups_start = self.groups.len() as u32;
        let here = literals.iter().take_while(|literal| literal.text.len() == depth).count();
        for literal in &literals[..here] {
            self.groups.push(literal.group);
            match literal.role {
                Role::Affix => {
                    node.affix_len += 1;
                    node.affix_events = node.affix_events.union(literal.events);
                }
                Role::Whole => {
                    node.whole_len += 1;
                    node.whole_events = node.whole_events.union(literal.events);
                }
                Role::Tried => node.tried_len += 1,
            }
        }
        let all = literals.iter().fold(EventMask::NONE, |all, literal| all.union(literal.events));
        node.all_events = all;
        span.first + here
    }

    /// Appends one node for each byte that the literals of `span` go on with.
    fn add_children(&mut self, index: usize, span: Span) {
        let start = self.nodes.len();
        let next_byte =
            |literal: &Literal<'_>| self.end.part(literal.text, span.depth, span.depth + 1)[0];
        let literals = &self.literals[span.first..span.end];
        let mut first = span.first;
        for same in literals.chunk_by(|a, b| next_byte(a) == next_byte(b)) {
            self.first_bytes.push(next_byte(&same[0]));
            self.spans.push(Span { first, end: first + same.len(), depth: span.depth });
            self.nodes.push(Node::default());
            first += same.len();
        }
        self.nodes[index].children_start = start as u32;
        self.nodes[index].children_len = (self.nodes.len() - start) as u32;
    }
}
