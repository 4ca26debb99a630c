//! Where each group of webhooks goes when a matcher is built.

use std::collections::HashMap;

use super::Group;
use super::trie::{End, Literal, Role};
use crate::base::limits;
use crate::core::glob::Glob;

/// Where each group goes. Groups are named by their index; a group that nothing can match is in
/// none of the lists.
#[derive(Default)]
pub struct Plan<'a> {
    /// Groups that match every key.
    pub every: Vec<u32>,
    /// What the trie of prefixes is made of.
    pub prefixes: Vec<Literal<'a>>,
    /// What the trie of suffixes is made of.
    pub suffixes: Vec<Literal<'a>>,
    /// Groups for the automaton.
    pub automaton: Vec<u32>,
}

impl<'a> Plan<'a> {
    /// Decides for `globs`, each the pattern of the group with the same index.
    pub fn of(globs: &'a [Glob], groups: &[Group]) -> Plan<'a> {
        let mut plan = Plan::default();
        let mut open = Vec::new();
        for (glob, (index, group)) in globs.iter().zip((0..).zip(groups)) {
            let literal = |text, role| Literal { text, role, group: index, events: group.events };
            if glob.is_never() {
                continue;
            } else if glob.is_stars_only() {
                plan.every.push(index);
            } else if glob.is_exact() {
                plan.prefixes.push(literal(glob.literal_prefix(), Role::Whole));
            } else if glob.is_prefix() {
                plan.prefixes.push(literal(glob.literal_prefix(), Role::Affix));
            } else if glob.is_suffix() {
                plan.suffixes.push(literal(glob.literal_suffix(), Role::Affix));
            } else {
                open.push(index);
            }
        }
        plan.place_open(globs, groups, &open);
        plan
    }

    /// Places the groups whose pattern no trie can decide alone: at the end of the pattern where
    /// fewer others have the same literal, or in the automaton if they are many there too.
    fn place_open(&mut self, globs: &'a [Glob], groups: &[Group], open: &[u32]) {
        let mut sharing: HashMap<(End, &[u8]), usize> = HashMap::new();
        for glob in open.iter().map(|&index| &globs[index as usize]) {
            *sharing.entry((End::Front, glob.literal_prefix())).or_default() += 1;
            *sharing.entry((End::Back, glob.literal_suffix())).or_default() += 1;
        }
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for &index in open {
            let glob = &globs[index as usize];
            let events = groups[index as usize].events;
            let literal = |text| Literal { text, role: Role::Tried, group: index, events };
            let (prefix, suffix) = (glob.literal_prefix(), glob.literal_suffix());
            let fewer_at_back = sharing[&(End::Back, suffix)] < sharing[&(End::Front, prefix)];
            if prefix.is_empty() && suffix.is_empty() {
                self.automaton.push(index);
            } else if prefix.is_empty() || !suffix.is_empty() && fewer_at_back {
                back.push(literal(suffix));
            } else {
                front.push(literal(prefix));
            }
        }
        let front = self.keep_few(End::Front, front);
        self.prefixes.extend(front);
        let back = self.keep_few(End::Back, back);
        self.suffixes.extend(back);
    }

    /// Returns the literals that stay in a trie, so that no key has more than
    /// [`limits::MATCHER_TRIED_MAX`] patterns to try there; the others go to the automaton.
    ///
    /// A key that has a literal also has all literals that are prefixes of it, so they count too.
    fn keep_few(&mut self, end: End, mut literals: Vec<Literal<'a>>) -> Vec<Literal<'a>> {
        literals.sort_by(|a, b| end.order(a.text, b.text));
        let mut chain: Vec<&[u8]> = Vec::new();
        literals.retain(|&Literal { text, group, .. }| {
            while chain.last().is_some_and(|above| !end.has(text, above)) {
                chain.pop();
            }
            let stays = chain.len() < limits::MATCHER_TRIED_MAX;
            if stays {
                chain.push(text);
            } else {
                self.automaton.push(group);
            }
            stays
        });
        literals
    }
}
