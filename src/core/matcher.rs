//! Which webhooks want an event of a key: all their patterns compiled into one structure.
//!
//! Patterns with the same text are one *group*. A group goes where matching it is cheapest:
//!
//! - nothing but stars: matches every key;
//! - a literal, `prefix*` or `*suffix`: into a trie, which decides alone;
//! - other patterns that begin or end with a literal: into the trie too, which proposes them to
//!   be tried, as long as few share that literal;
//! - the rest: into one automaton.
//!
//! A key is walked through the trie of prefixes, the trie of suffixes and the automaton, each of
//! which may be empty. No step takes more than a time fixed by the pattern set, so matching is
//! linear in the key for any set; see `automaton` for what bounds the automaton.

mod automaton;
mod plan;
mod trie;

use std::collections::BTreeMap;

use thiserror::Error;

use self::automaton::Automaton;
use self::plan::Plan;
use self::trie::{End, Outcomes, Trie};
use crate::base::limits;
use crate::core::event::{EventMask, WebhookEvent};
use crate::core::glob::Glob;

/// A pattern to match, and whose it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MatcherEntry<'a> {
    /// The webhook's slot.
    pub slot: u32,
    /// Its pattern: a Redis glob, except that a pattern of stars only matches every key, the
    /// empty one too.
    pub pattern: &'a [u8],
    /// The events it wants.
    pub events: EventMask,
}

/// Why a pattern is not accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum PatternError {
    /// The pattern is longer than [`limits::PATTERN_BYTES_MAX`].
    #[error("pattern of {bytes} bytes is longer than {max}", max = limits::PATTERN_BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// Why a matcher cannot be built.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum MatcherError {
    /// A pattern is not accepted.
    #[error("webhook slot {slot}: {source}")]
    Pattern {
        /// Whose pattern.
        slot: u32,
        /// What is wrong with it.
        source: PatternError,
    },
    /// All different patterns together are longer than [`limits::MATCHER_TEXT_BYTES_MAX`].
    #[error("all patterns together are longer than {max} bytes", max = limits::MATCHER_TEXT_BYTES_MAX)]
    TooMuchText,
}

/// Checks a pattern as it comes from a user. Every sequence of bytes that is not too long is one.
pub fn validate_pattern(pattern: &[u8]) -> Result<(), PatternError> {
    if pattern.len() > limits::PATTERN_BYTES_MAX {
        return Err(PatternError::TooLong { bytes: pattern.len() });
    }
    Ok(())
}

/// The compiled patterns of all webhooks. Immutable, so that all threads share one.
#[derive(Debug)]
pub struct Matcher {
    /// The events that any webhook wants.
    events: EventMask,
    /// Groups that match every key.
    every: Box<[u32]>,
    every_events: EventMask,
    prefixes: Trie,
    suffixes: Trie,
    automaton: Automaton,
    automaton_events: EventMask,
    groups: Box<[Group]>,
    /// Parallel to `groups`.
    globs: Box<[Glob]>,
    members: Box<[Member]>,
}

/// The webhooks with the same pattern.
#[derive(Clone, Copy, Debug)]
struct Group {
    members_start: u32,
    members_len: u32,
    /// The events that any member wants.
    events: EventMask,
}

#[derive(Clone, Copy, Debug)]
struct Member {
    slot: u32,
    events: EventMask,
}

impl Matcher {
    /// Compiles the patterns of all webhooks.
    pub fn build(entries: &[MatcherEntry<'_>]) -> Result<Matcher, MatcherError> {
        let by_text = group_by_text(entries)?;
        let globs: Box<[Glob]> = by_text.keys().map(|text| Glob::parse(text)).collect();
        let (groups, members) = lay_out(by_text.into_values());
        let plan = Plan::of(&globs, &groups);
        let events_of = |chosen: &[u32]| {
            chosen
                .iter()
                .fold(EventMask::NONE, |all, &group| all.union(groups[group as usize].events))
        };
        Ok(Matcher {
            events: groups.iter().fold(EventMask::NONE, |all, group| all.union(group.events)),
            every_events: events_of(&plan.every),
            every: plan.every.into_boxed_slice(),
            prefixes: Trie::build(End::Front, &plan.prefixes),
            suffixes: Trie::build(End::Back, &plan.suffixes),
            automaton_events: events_of(&plan.automaton),
            automaton: Automaton::build(&globs, plan.automaton),
            globs,
            groups,
            members,
        })
    }

    /// Whether any webhook wants `event` of `key`.
    #[inline]
    pub fn matches_any(&self, event: WebhookEvent, key: &[u8]) -> bool {
        if !self.events.contains(event) {
            return false;
        }
        if self.every_events.contains(event) {
            return true;
        }
        let mut seen = |outcomes: Outcomes<'_>| {
            outcomes.affix_events.contains(event)
                || outcomes.whole_events.contains(event)
                || outcomes.tried.iter().any(|&group| self.is_tried_match(group, event, key))
        };
        self.prefixes.walk(event, key, &mut seen)
            || self.suffixes.walk(event, key, &mut seen)
            || self.automaton_events.contains(event)
                && self
                    .automaton
                    .walk(&self.globs, key, |group| self.group(group).events.contains(event))
    }

    /// Appends to `out` the slots of the webhooks that want `event` of `key`: ascending, each once.
    pub fn find(&self, event: WebhookEvent, key: &[u8], out: &mut Vec<u32>) {
        if !self.events.contains(event) {
            return;
        }
        let start = out.len();
        for &group in &self.every {
            self.push_slots(group, event, out);
        }
        let mut seen = |outcomes: Outcomes<'_>| {
            for &group in outcomes.affix.iter().chain(outcomes.whole) {
                self.push_slots(group, event, out);
            }
            for &group in outcomes.tried {
                if self.is_tried_match(group, event, key) {
                    self.push_slots(group, event, out);
                }
            }
            false
        };
        self.prefixes.walk(event, key, &mut seen);
        self.suffixes.walk(event, key, &mut seen);
        if self.automaton_events.contains(event) {
            self.automaton.walk(&self.globs, key, |group| {
                self.push_slots(group, event, out);
                false
            });
        }
        sort_from(out, start);
    }

    #[inline]
    fn group(&self, index: u32) -> &Group {
        &self.groups[index as usize]
    }

    #[inline]
    fn is_tried_match(&self, group: u32, event: WebhookEvent, key: &[u8]) -> bool {
        self.group(group).events.contains(event) && self.globs[group as usize].matches(key)
    }

    #[inline]
    fn push_slots(&self, group: u32, event: WebhookEvent, out: &mut Vec<u32>) {
        let group = self.group(group);
        if !group.events.contains(event) {
            return;
        }
        let start = group.members_start as usize;
        let members = &self.members[start..start + group.members_len as usize];
        out.extend(members.iter().filter(|m| m.events.contains(event)).map(|m| m.slot));
    }
}

/// Sorts what was appended from `start` on, and keeps each slot once.
#[inline]
fn sort_from(out: &mut Vec<u32>, start: usize) {
    if out.len() - start < 2 {
        return;
    }
    out[start..].sort_unstable();
    let mut kept = start;
    for index in start + 1..out.len() {
        if out[index] != out[kept] {
            kept += 1;
            out[kept] = out[index];
        }
    }
    out.truncate(kept + 1);
}

/// The entries by pattern. All patterns of stars only have the text `*`.
fn group_by_text<'a>(
    entries: &[MatcherEntry<'a>],
) -> Result<BTreeMap<&'a [u8], Vec<Member>>, MatcherError> {
    let mut by_text: BTreeMap<&[u8], Vec<Member>> = BTreeMap::new();
    let mut text_bytes = 0;
    for entry in entries {
        let MatcherEntry { slot, mut pattern, events } = *entry;
        validate_pattern(pattern).map_err(|source| MatcherError::Pattern { slot, source })?;
        if events.is_empty() {
            continue;
        }
        if !pattern.is_empty() && pattern.iter().all(|&byte| byte == b'*') {
            pattern = b"*";
        }
        let members = by_text.entry(pattern).or_default();
        if members.is_empty() {
            text_bytes += pattern.len();
        }
        members.push(Member { slot, events });
    }
    if text_bytes > limits::MATCHER_TEXT_BYTES_MAX {
        return Err(MatcherError::TooMuchText);
    }
    for members in by_text.values_mut() {
        members.sort_unstable_by_key(|member| member.slot);
    }
    Ok(by_text)
}

/// Puts the members of all groups behind one another.
fn lay_out(lists: impl Iterator<Item = Vec<Member>>) -> (Box<[Group]>, Box<[Member]>) {
    let (mut groups, mut members) = (Vec::new(), Vec::new());
    for list in lists {
        groups.push(Group {
            members_start: members.len() as u32,
            members_len: list.len() as u32,
            events: list.iter().fold(EventMask::NONE, |all, member| all.union(member.events)),
        });
        members.extend(list);
    }
    (groups.into_boxed_slice(), members.into_boxed_slice())
}

#[cfg(test)]
mod tests;
