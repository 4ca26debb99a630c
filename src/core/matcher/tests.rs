use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::core::glob::tests::{redis_matches, vectors};

const SET: WebhookEvent = WebhookEvent::Set;

/// What a webhook's pattern means: Redis's answer, but stars only match every key.
fn webhook_matches(pattern: &[u8], key: &[u8]) -> bool {
    let stars_only = !pattern.is_empty() && pattern.iter().all(|&byte| byte == b'*');
    stars_only || redis_matches(pattern, key)
}

fn matcher<T: AsRef<[u8]>>(patterns: &[T]) -> Matcher {
    let entries: Vec<MatcherEntry<'_>> = (0..)
        .zip(patterns)
        .map(|(slot, pattern)| MatcherEntry {
            slot,
            pattern: pattern.as_ref(),
            events: EventMask::ALL,
        })
        .collect();
    Matcher::build(&entries).unwrap()
}

fn found(matcher: &Matcher, event: WebhookEvent, key: &[u8]) -> Vec<u32> {
    let mut out = vec![u32::MAX, 7];
    matcher.find(event, key, &mut out);
    assert_eq!(out[..2], [u32::MAX, 7], "what was in the list stays");
    let found = out.split_off(2);
    assert!(found.is_sorted_by(|a, b| a < b), "ascending, each once: {found:?}");
    assert_eq!(matcher.matches_any(event, key), !found.is_empty(), "{}", key.escape_ascii());
    found
}

fn check<T: AsRef<[u8]>>(patterns: &[T], keys: &[Vec<u8>]) {
    let matcher = matcher(patterns);
    for key in keys {
        let expected: Vec<u32> = (0..)
            .zip(patterns)
            .filter(|(_, pattern)| webhook_matches(pattern.as_ref(), key))
            .map(|(slot, _)| slot)
            .collect();
        let mut patterns_text = String::new();
        for pattern in patterns.iter().take(20) {
            write!(patterns_text, " {}", pattern.as_ref().escape_ascii()).unwrap();
        }
        let what = format!("key {} patterns{patterns_text}", key.escape_ascii());
        assert_eq!(found(&matcher, SET, key), expected, "{what}");
    }
}

#[test]
fn redis_itself_agrees_about_all_patterns_at_once_and_each_alone() {
    let vectors = vectors();
    let all: Vec<&[u8]> = vectors.patterns.iter().map(|(pattern, _)| &pattern[..]).collect();
    let together = matcher(&all);
    for key in &vectors.keys {
        let found_together = found(&together, SET, key);
        for (slot, (pattern, matched)) in (0u32..).zip(&vectors.patterns) {
            let stars_only = !pattern.is_empty() && pattern.iter().all(|&byte| byte == b'*');
            let expected = stars_only || matched.contains(key);
            let what = format!("{} {}", pattern.escape_ascii(), key.escape_ascii());
            assert_eq!(found_together.contains(&slot), expected, "{what}");
            assert_eq!(matcher(&[pattern]).matches_any(SET, key), expected, "{what}");
        }
    }
}

/// Bytes that mean something in a pattern, bytes that must not, and few others, so that random
/// keys match random patterns.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        6 => prop::sample::select(&b"ab"[..]),
        6 => prop::sample::select(&b"*?[]^-\\"[..]),
        1 => prop::sample::select(&b"\x00\x01\x0a\x7f\x80\xff:!"[..]),
    ]
}

/// Globs as people write them, and sequences of bytes as nobody does.
fn pattern() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => vec(prop::sample::select(&b"ab"[..]), 0..4),
        2 => Just(b"*".to_vec()),
        1 => Just(b"?".to_vec()),
        1 => Just(b"[a-b]".to_vec()),
        1 => Just(b"[^a]".to_vec()),
    ];
    prop_oneof![vec(byte(), 0..10), vec(piece, 0..6).prop_map(|pieces| pieces.concat())]
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![vec(byte(), 0..8), vec(prop::sample::select(&b"ab"[..]), 0..12)]
}

/// The same cases in every run, so that a failure is a failure for everybody.
fn fixed_cases(cases: u32) -> ProptestConfig {
    let rng_seed = RngSeed::Fixed(u64::from(cases));
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..ProptestConfig::default() }
}

fn event() -> impl Strategy<Value = WebhookEvent> {
    prop::sample::select(&WebhookEvent::ALL[..])
}

proptest! {
    #![proptest_config(fixed_cases(256))]

    #[test]
    fn one_pattern_is_matched_as_redis_does(pattern in pattern(), keys in vec(key(), 40)) {
        let glob = Glob::parse(&pattern);
        for key in &keys {
            prop_assert_eq!(glob.matches(key), redis_matches(&pattern, key));
        }
    }

    #[test]
    fn few_patterns_are_matched_as_one_by_one(
        patterns in vec(pattern(), 0..12),
        keys in vec(key(), 20),
    ) {
        check(&patterns, &keys);
    }

    #[test]
    fn each_webhook_gets_only_its_events(
        entries in vec((0..30u32, pattern(), vec(event(), 0..4)), 0..30),
        keys in vec((event(), key()), 20),
    ) {
        let masks: Vec<EventMask> =
            entries.iter().map(|(_, _, events)| events.iter().copied().collect()).collect();
        let matcher_entries: Vec<MatcherEntry<'_>> = entries
            .iter()
            .zip(&masks)
            .map(|((slot, pattern, _), events)| MatcherEntry {
                slot: *slot,
                pattern,
                events: *events,
            })
            .collect();
        let matcher = Matcher::build(&matcher_entries).unwrap();
        for (event, key) in &keys {
            let wanted = matcher_entries
                .iter()
                .filter(|e| e.events.contains(*event) && webhook_matches(e.pattern, key));
            let expected: std::collections::BTreeSet<u32> = wanted.map(|e| e.slot).collect();
            let expected: Vec<u32> = expected.into_iter().collect();
            prop_assert_eq!(found(&matcher, *event, key), expected);
        }
    }
}

proptest! {
    #![proptest_config(fixed_cases(24))]

    #[test]
    fn many_patterns_are_matched_as_one_by_one(
        patterns in vec(pattern(), 100..400),
        keys in vec(key(), 40),
    ) {
        check(&patterns, &keys);
    }
}

#[test]
fn no_patterns_match_nothing_and_stars_match_the_empty_key_too() {
    let none = matcher::<&[u8]>(&[]);
    assert!(found(&none, SET, b"").is_empty() && found(&none, SET, b"a").is_empty());
    let stars = matcher(&[&b"*"[..], b"", b"***", b"?*", b"**"]);
    assert_eq!(found(&stars, SET, b""), [0, 1, 2, 4]);
    assert_eq!(found(&stars, SET, b"a"), [0, 2, 3, 4]);
}

#[test]
fn patterns_that_are_too_long_or_too_many_are_refused() {
    let longest = vec![b'a'; limits::PATTERN_BYTES_MAX];
    let too_long = vec![b'*'; limits::PATTERN_BYTES_MAX + 1];
    assert_eq!(validate_pattern(&longest), Ok(()));
    let source = PatternError::TooLong { bytes: too_long.len() };
    assert_eq!(validate_pattern(&too_long), Err(source));
    let entry = MatcherEntry { slot: 3, pattern: &too_long, events: EventMask::ALL };
    let error = Matcher::build(&[entry]).unwrap_err();
    assert_eq!(error, MatcherError::Pattern { slot: 3, source });
    assert_eq!(error.to_string(), "webhook slot 3: pattern of 1025 bytes is longer than 1024");

    let many: Vec<Vec<u8>> = (0..=limits::MATCHER_TEXT_BYTES_MAX / limits::PATTERN_BYTES_MAX)
        .map(|index| format!("{index:0>width$}", width = limits::PATTERN_BYTES_MAX).into_bytes())
        .collect();
    let entries: Vec<MatcherEntry<'_>> = many
        .iter()
        .map(|pattern| MatcherEntry { slot: 0, pattern, events: EventMask::ALL })
        .collect();
    assert_eq!(Matcher::build(&entries).unwrap_err(), MatcherError::TooMuchText);
    Matcher::build(&entries[1..]).unwrap();
}

/// Patterns that, determinized together, have exponentially many states, and keys that lead to
/// as many of those as possible.
fn hostile_patterns(count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|index| {
            let (first, second, gap) = (index % 26, index / 26 % 26, index / 676);
            let letter = |number: usize| b'a' + number as u8;
            let mut pattern = vec![b'*', letter(first)];
            pattern.extend(b"?".repeat(gap + 1));
            pattern.extend([letter(second), b'*', letter(first), b'*']);
            pattern
        })
        .collect()
}

fn hostile_keys(count: usize, length: usize) -> Vec<Vec<u8>> {
    let mut state = 1u64;
    let mut letter = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        b'a' + ((state >> 33) % 26) as u8
    };
    (0..count).map(|_| (0..length).map(|_| letter()).collect()).collect()
}

#[test]
fn ten_thousand_hostile_patterns_stay_within_bounds_and_match() {
    let patterns = hostile_patterns(10_000);
    check(&patterns, &hostile_keys(6, 24));
}

#[test]
fn keys_that_always_lead_to_new_states_use_up_the_allowance_and_match() {
    let patterns = hostile_patterns(300);
    check(&patterns, &hostile_keys(400, 24));
    let kept = automaton::tests::steps_left();
    assert!(kept < 100, "the allowance was meant to be used up: {kept}");
}
