//! One automaton for many globs: it reads a key once, whatever the number of patterns.
//!
//! Three forms, from the fastest to the one that always works:
//!
//! 1. *eager*: all states computed when it is built, if they fit a small limit;
//! 2. *lazy*: each thread computes the states that its keys lead to and remembers a bounded
//!    number of them (K. Thompson, "Regular Expression Search Algorithm", 1968);
//! 3. one pattern after the other, when the patterns are too many to describe as one automaton
//!    or a thread has computed too many states of late: some pattern sets have exponentially many
//!    states, and keys can be made that lead to a new one with every byte.
//!
//! A step of the lazy form that has to be computed costs as much as trying many patterns: it may
//! visit every state of the description. So a key may have only so many of them computed that
//! their visits stay within a bound, and a thread has an allowance of them that grows slowly with
//! the keys it matches. That bounds the time per key for any set of patterns and any sequence of
//! keys; a thread comes to know the states of a large set over many keys.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::hybrid;
use regex_automata::nfa::thompson::{self, NFA, Transition};
use regex_automata::util::look::Look;
use regex_automata::util::primitives::{PatternID, StateID};
use regex_automata::util::start;
use regex_automata::{Anchored, MatchKind};

use crate::base::limits;
use crate::core::glob::{Element, Glob};

/// An automaton. Immutable; what threads compute on the way is kept per thread.
#[derive(Debug)]
pub struct Automaton {
    form: Form,
    /// The group that each pattern of the automaton belongs to.
    groups: Box<[u32]>,
}

#[derive(Debug)]
enum Form {
    Eager { dfa: Box<dense::DFA<Vec<u32>>>, start: StateID },
    Lazy { dfa: Box<hybrid::dfa::DFA>, id: u64, steps_per_key: u32 },
    OneByOne,
}

impl Automaton {
    /// Builds the automaton for the patterns of `groups`, which are indexes into `globs`.
    /// Never fails: the worst set ends up in the third form.
    pub fn build(globs: &[Glob], groups: Vec<u32>) -> Automaton {
        let form = Form::of(globs, &groups).unwrap_or(Form::OneByOne);
        Automaton { form, groups: groups.into_boxed_slice() }
    }

    /// Visits each group whose pattern `key` matches, in no particular order, until `visit` says
    /// that it has seen enough. Returns whether it did. `globs` are those it was built from.
    #[inline]
    pub fn walk(&self, globs: &[Glob], key: &[u8], mut visit: impl FnMut(u32) -> bool) -> bool {
        let mut visit_pattern = |pattern: PatternID| visit(self.groups[pattern]);
        let answer = match &self.form {
            Form::Eager { dfa, start } => Some(walk_eager(dfa, *start, key, &mut visit_pattern)),
            Form::Lazy { dfa, id, steps_per_key } => with_kept(*id, dfa, |kept| {
                walk_lazy(dfa, kept, *steps_per_key, key, &mut visit_pattern)
            }),
            Form::OneByOne => None,
        };
        answer.unwrap_or_else(|| {
            self.groups.iter().any(|&group| globs[group as usize].matches(key) && visit(group))
        })
    }
}

impl Form {
    /// `None` if one pattern after the other is best, or all there is.
    fn of(globs: &[Glob], groups: &[u32]) -> Option<Form> {
        if groups.len() <= limits::MATCHER_TRIED_MAX {
            return None;
        }
        let nfa = nfa(groups.iter().map(|&group| &globs[group as usize])).ok()?;
        if groups.len() <= limits::MATCHER_EAGER_PATTERNS_MAX
            && let Some(eager) = eager(&nfa)
        {
            return Some(eager);
        }
        let steps_per_key = limits::MATCHER_VISITS_PER_KEY_MAX / (nfa.states().len() as u32).max(1);
        let config = hybrid::dfa::Config::new()
            .match_kind(MatchKind::All)
            .cache_capacity(limits::MATCHER_CACHE_BYTES_MAX);
        let dfa = hybrid::dfa::Builder::new().configure(config).build_from_nfa(nfa).ok()?;
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        // At least one, so that a thread gets to know the states that its keys lead to.
        Some(Form::Lazy { dfa: Box::new(dfa), id, steps_per_key: steps_per_key.max(1) })
    }
}

fn eager(nfa: &NFA) -> Option<Form> {
    let config = dense::Config::new()
        .match_kind(MatchKind::All)
        .start_kind(StartKind::Anchored)
        .accelerate(false)
        .dfa_size_limit(Some(limits::MATCHER_EAGER_BYTES_MAX))
        .determinize_size_limit(Some(limits::MATCHER_EAGER_BYTES_MAX));
    let dfa = dense::Builder::new().configure(config).build_from_nfa(nfa).ok()?;
    let start = dfa.start_state(&start::Config::new().anchored(Anchored::Yes)).ok()?;
    Some(Form::Eager { dfa: Box::new(dfa), start })
}

/// Describes the globs as one nondeterministic automaton: a chain of states for each, with a loop
/// where a star stands.
fn nfa<'a>(globs: impl Iterator<Item = &'a Glob>) -> Result<NFA, thompson::BuildError> {
    let mut builder = thompson::Builder::new();
    builder.set_utf8(false);
    builder.set_size_limit(Some(limits::MATCHER_NFA_BYTES_MAX))?;
    let mut starts = Vec::new();
    for glob in globs {
        builder.start_pattern()?;
        let start = builder.add_empty()?;
        add_glob(&mut builder, glob, start)?;
        builder.finish_pattern(start)?;
        starts.push(start);
    }
    let start = builder.add_union(starts)?;
    builder.build(start, start)
}

fn add_glob(
    builder: &mut thompson::Builder,
    glob: &Glob,
    start: StateID,
) -> Result<(), thompson::BuildError> {
    let mut last = start;
    for (index, piece) in glob.pieces().enumerate() {
        if index > 0 {
            let fork = builder.add_union(Vec::new())?;
            let any = builder.add_range(any_byte(fork))?;
            let next = builder.add_empty()?;
            builder.patch(last, fork)?;
            builder.patch(fork, any)?;
            builder.patch(fork, next)?;
            last = next;
        }
        for element in piece {
            let next = builder.add_empty()?;
            let state = add_element(builder, glob, *element, next)?;
            builder.patch(last, state)?;
            last = next;
        }
    }
    // The end is asked for explicitly, so that no state before the end of the key counts as a
    // match: the loops below then have one rare case per byte, not two.
    let matched = builder.add_match()?;
    let end = builder.add_look(matched, Look::End)?;
    builder.patch(last, end)
}

fn add_element(
    builder: &mut thompson::Builder,
    glob: &Glob,
    element: Element,
    next: StateID,
) -> Result<StateID, thompson::BuildError> {
    match element {
        Element::Byte(byte) => builder.add_range(Transition { start: byte, end: byte, next }),
        Element::Any => builder.add_range(any_byte(next)),
        Element::Class(number) => {
            let mut transitions: Vec<Transition> = Vec::new();
            for byte in glob.class(number).iter() {
                match transitions.last_mut() {
                    Some(last) if last.end.checked_add(1) == Some(byte) => last.end = byte,
                    _ => transitions.push(Transition { start: byte, end: byte, next }),
                }
            }
            builder.add_sparse(transitions)
        }
    }
}

fn any_byte(next: StateID) -> Transition {
    Transition { start: 0, end: u8::MAX, next }
}

#[inline]
fn walk_eager(
    dfa: &dense::DFA<Vec<u32>>,
    start: StateID,
    key: &[u8],
    visit: &mut impl FnMut(PatternID) -> bool,
) -> bool {
    let mut state = start;
    for &byte in key {
        state = dfa.next_state(state, byte);
        if dfa.is_dead_state(state) {
            return false;
        }
    }
    state = dfa.next_eoi_state(state);
    dfa.is_match_state(state)
        && (0..dfa.match_len(state)).any(|index| visit(dfa.match_pattern(state, index)))
}

/// `None` if the thread's allowance of computed steps, or that of one key, is used up.
#[inline]
fn walk_lazy(
    dfa: &hybrid::dfa::DFA,
    kept: &mut Kept,
    mut steps_per_key: u32,
    key: &[u8],
    visit: &mut impl FnMut(PatternID) -> bool,
) -> Option<bool> {
    kept.keys = kept.keys.wrapping_add(1);
    if kept.keys.is_multiple_of(KEYS_PER_STEP) {
        kept.steps_left = (kept.steps_left + 1).min(limits::MATCHER_STEPS_COMPUTED_MAX);
    }
    let cache = &mut kept.cache;
    let mut state = dfa.start_state(cache, &start::Config::new().anchored(Anchored::Yes)).ok()?;
    for &byte in key {
        if state.is_dead() {
            return Some(false);
        }
        let next = dfa.next_state_untagged(cache, state, byte);
        state = if next.is_unknown() {
            steps_per_key = steps_per_key.checked_sub(1)?;
            kept.steps_left = kept.steps_left.checked_sub(1)?;
            dfa.next_state(cache, state, byte).ok()?
        } else {
            next
        };
    }
    if state.is_dead() {
        return Some(false);
    }
    state = dfa.next_eoi_state(cache, state).ok()?;
    let matches = if state.is_match() { dfa.match_len(cache, state) } else { 0 };
    Some((0..matches).any(|index| visit(dfa.match_pattern(cache, state, index))))
}

/// The states of one automaton that a thread has computed.
struct Kept {
    automaton: u64,
    cache: hybrid::dfa::Cache,
    /// How many more steps may be computed now.
    steps_left: u32,
    /// Keys matched, for refilling `steps_left`.
    keys: u32,
}

/// Runs `work` with this thread's states of the automaton `id`.
///
/// A thread that owns its states needs no lock for them. They are found by number because the
/// automaton may be gone before the thread is; what is left of it then makes room for its
/// successor.
#[inline]
fn with_kept<T>(
    id: u64,
    dfa: &hybrid::dfa::DFA,
    work: impl FnOnce(&mut Kept) -> Option<T>,
) -> Option<T> {
    CACHES.with_borrow_mut(|caches| {
        if caches.first().is_none_or(|kept| kept.automaton != id) {
            bring_to_front(caches, id, dfa);
        }
        work(&mut caches[0])
    })
}

#[cold]
fn bring_to_front(caches: &mut Vec<Kept>, id: u64, dfa: &hybrid::dfa::DFA) {
    let position = caches.iter().position(|kept| kept.automaton == id).unwrap_or_else(|| {
        caches.truncate(limits::MATCHER_CACHES_PER_THREAD_MAX - 1);
        let cache = dfa.create_cache();
        let steps_left = limits::MATCHER_STEPS_COMPUTED_MAX;
        caches.push(Kept { automaton: id, cache, steps_left, keys: 0 });
        caches.len() - 1
    });
    caches[..=position].rotate_right(1);
}

thread_local! {
    /// The latest used first.
    static CACHES: RefCell<Vec<Kept>> = const { RefCell::new(Vec::new()) };
}

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// A thread's allowance of computed steps grows by one with this many keys.
const KEYS_PER_STEP: u32 = 4;

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What is left of this thread's allowance for the automaton used last.
    pub(in super::super) fn steps_left() -> u32 {
        CACHES.with_borrow(|caches| caches[0].steps_left)
    }

    fn automaton(patterns: &[String]) -> (Vec<Glob>, Automaton) {
        let globs: Vec<Glob> = patterns.iter().map(|p| Glob::parse(p.as_bytes())).collect();
        let groups = (0..globs.len() as u32).collect();
        let automaton = Automaton::build(&globs, groups);
        (globs, automaton)
    }

    fn words(count: usize) -> Vec<String> {
        (0..count).map(|index| format!("*w{index}-*")).collect()
    }

    #[test]
    fn the_form_follows_from_the_size() {
        let form = |patterns: &[String]| automaton(patterns).1.form;
        assert!(matches!(form(&words(limits::MATCHER_TRIED_MAX)), Form::OneByOne));
        assert!(matches!(form(&words(limits::MATCHER_TRIED_MAX + 1)), Form::Eager { .. }));
        assert!(matches!(form(&words(1000)), Form::Lazy { .. }));
        let exponential: Vec<String> = (0..8).map(|i| format!("*{i}{}*", "?".repeat(20))).collect();
        assert!(matches!(form(&exponential), Form::Lazy { .. }));
        let huge: Vec<String> =
            (0..2000).map(|index| format!("*{index}{}*", "[a-x]".repeat(200))).collect();
        assert!(matches!(form(&huge), Form::OneByOne));
    }

    #[test]
    fn one_key_has_few_steps_computed_in_a_large_set() {
        let patterns: Vec<String> = (0..5000).map(|i| format!("*a?a?{i}*a*b*")).collect();
        let (globs, large) = automaton(&patterns);
        let Form::Lazy { steps_per_key, .. } = &large.form else { panic!("{:?}", large.form) };
        assert_eq!(*steps_per_key, 1, "it has more states than one key may visit");
        let key = b"abaXa17-abacaabaXa4711aab";
        let (mut before, mut found) = (limits::MATCHER_STEPS_COMPUTED_MAX, Vec::new());
        for _ in 0..100 {
            found.clear();
            large.walk(&globs, key, |group| {
                found.push(group);
                false
            });
            let left = steps_left();
            assert!(before.saturating_sub(left) <= 1, "{before} before, {left} left");
            before = left;
        }
        found.sort_unstable();
        let one_by_one = (0..5000).filter(|&group| globs[group as usize].matches(key));
        assert_eq!(found, one_by_one.collect::<Vec<u32>>());
        assert!(!found.is_empty());
    }

    #[test]
    fn a_thread_remembers_few_automatons_and_no_more_states_than_allowed() {
        let all: Vec<(Vec<Glob>, Automaton)> = (100..110).map(|n| automaton(&words(n))).collect();
        for round in 0..2000 {
            let (globs, automaton) = &all[round % 10];
            let key = format!("{round}w{}-{round}", round % 100);
            let mut found = Vec::new();
            automaton.walk(globs, key.as_bytes(), |group| {
                found.push(group as usize);
                false
            });
            assert_eq!(found, [round % 100]);
            CACHES.with_borrow(|caches| {
                assert!(caches.len() <= limits::MATCHER_CACHES_PER_THREAD_MAX);
                let bytes = |kept: &Kept| kept.cache.memory_usage();
                assert!(caches.iter().all(|k| bytes(k) <= limits::MATCHER_CACHE_BYTES_MAX));
            });
        }
    }
}
