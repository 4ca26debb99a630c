//! What it costs to find the webhooks that want a key: all patterns compiled into one matcher,
//! against one pattern after the other and the two crates one would reach for.
//!
//! `cargo bench --bench matching`
//!
//! globset and RegexSet are left out, with the reason printed, where they do not come into being
//! within their bounds of memory.
//!
//! Each measurement goes round a list of different keys; what it reports is the time of one key.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use ferrite::core::event::{EventMask, WebhookEvent};
use ferrite::core::glob::Glob;
use ferrite::core::matcher::{Matcher, MatcherEntry};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex::bytes::{RegexSet, RegexSetBuilder};

const KEYS: usize = 256;
/// Beyond this a RegexSet is not built; the crate's own default is 10 MiB, globset's too.
const REGEXSET_BYTES_MAX: usize = 64 << 20;
const REASON_CHARS_MAX: usize = 100;

/// A set of patterns, and keys of which all or none match one of them.
struct Case {
    name: &'static str,
    patterns: Vec<String>,
    matched: Vec<Vec<u8>>,
    unmatched: Vec<Vec<u8>>,
}

fn keys(make: impl Fn(usize) -> String) -> Vec<Vec<u8>> {
    // A step that has no factor in common with the counts spreads the keys over the patterns.
    (0..KEYS).map(|index| make(index * 7919).into_bytes()).collect()
}

/// What people write: prefixes, a few exact keys, suffixes, and something in the middle.
fn friendly(count: usize) -> Case {
    let pattern = |index: usize| match index % 10 {
        0..=5 => format!("tenant{index}:order:*"),
        6 => format!("config:app{index}"),
        7 => format!("*:audit{index}"),
        8 => format!("user:*:field{index}"),
        _ => format!("tenant{index}:*:item?"),
    };
    Case {
        name: "friendly",
        patterns: (0..count).map(pattern).collect(),
        matched: keys(|number| {
            let index = number % count;
            match index % 10 {
                0..=5 => format!("tenant{index}:order:{number}"),
                6 => format!("config:app{index}"),
                7 => format!("log:{number}:audit{index}"),
                8 => format!("user:{number}:field{index}"),
                _ => format!("tenant{index}:{number}:item7"),
            }
        }),
        unmatched: keys(|number| format!("tenant{}:session:{number}", number % count)),
    }
}

/// Prefixes only, the commonest set.
fn prefixes(count: usize) -> Case {
    Case {
        name: "prefixes",
        patterns: (0..count).map(|index| format!("tenant{index}:*")).collect(),
        matched: keys(|number| format!("tenant{}:session:{number}", number % count)),
        unmatched: keys(|number| format!("session:{number}:data")),
    }
}

/// Words anywhere in the key: no trie helps, one automaton has to look for all of them.
fn words(count: usize) -> Case {
    Case {
        name: "words",
        patterns: (0..count).map(|index| format!("*:word{index}:*")).collect(),
        matched: keys(|number| format!("order:{number}:word{}:x", number % count)),
        unmatched: keys(|number| format!("order:{number}:items")),
    }
}

/// Patterns that share both of their ends with many others.
fn grid(count: usize) -> Case {
    let side = (1..).find(|side| side * side >= count).unwrap_or(1);
    Case {
        name: "grid",
        patterns: (0..count)
            .map(|index| format!("space{}:*:field{}", index / side, index % side))
            .collect(),
        matched: keys(|number| {
            let index = number % count;
            format!("space{}:{number}:field{}", index / side, index % side)
        }),
        unmatched: keys(|number| format!("space{}:{number}:other", number % side)),
    }
}

/// Patterns with exponentially many states together, and keys that reach new ones all the time.
fn hostile(count: usize) -> Case {
    let letter = |number: usize| char::from(b'a' + (number % 26) as u8);
    let pattern = |index: usize| {
        let gap = "?".repeat(index / 676 + 8);
        format!("*{0}{gap}{1}*{0}*", letter(index), letter(index / 26))
    };
    let key = |number: usize, letters: usize| {
        let mut state = number as u64;
        let step = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'a' + ((state >> 33) % letters as u64) as u8)
        };
        (0..24).map(step).collect::<String>()
    };
    Case {
        name: "hostile",
        patterns: (0..count).map(pattern).collect(),
        matched: keys(|number| key(number, 26)),
        unmatched: keys(|number| key(number, 26).to_uppercase()),
    }
}

fn build(patterns: &[String]) -> Matcher {
    let entries: Vec<MatcherEntry<'_>> = (0..)
        .zip(patterns)
        .map(|(slot, pattern)| MatcherEntry {
            slot,
            pattern: pattern.as_bytes(),
            events: EventMask::ALL,
        })
        .collect();
    Matcher::build(&entries).expect("the patterns are short")
}

/// The two crates one would reach for, as far as they can be built.
struct Peers {
    globset: Option<GlobSet>,
    regexset: Option<RegexSet>,
}

impl Peers {
    fn build(case: &Case) -> Peers {
        Peers {
            globset: or_say_why(case, "globset", globset(&case.patterns)),
            regexset: or_say_why(case, "regex-set", regexset(&case.patterns)),
        }
    }
}

fn or_say_why<T, E: std::fmt::Display>(case: &Case, peer: &str, built: Result<T, E>) -> Option<T> {
    built
        .inspect_err(|error| {
            let reason = error.to_string();
            // An error of these crates may repeat all of the patterns.
            let reason: String = reason.chars().take(REASON_CHARS_MAX).collect();
            println!("{}/{}: no {peer}: {reason}", case.name, case.patterns.len());
        })
        .ok()
}

fn globset(patterns: &[String]) -> Result<GlobSet, globset::Error> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(GlobBuilder::new(pattern).literal_separator(false).build()?);
    }
    builder.build()
}

fn regexset(patterns: &[String]) -> Result<RegexSet, regex::Error> {
    let translate = |pattern: &String| {
        let text = regex::escape(pattern).replace(r"\*", ".*").replace(r"\?", ".");
        format!("^{text}$")
    };
    RegexSetBuilder::new(patterns.iter().map(translate))
        .unicode(false)
        .dot_matches_new_line(true)
        .size_limit(REGEXSET_BYTES_MAX)
        .build()
}

fn matching(criterion: &mut Criterion) {
    for make in [friendly, prefixes, words, grid, hostile] {
        for count in [15, 100, 1000, 10_000] {
            let case = make(count);
            let (matcher, peers) = (build(&case.patterns), Peers::build(&case));
            measure(criterion, &case, "unmatched", &matcher, &peers);
            measure(criterion, &case, "matched", &matcher, &peers);
        }
    }
}

fn measure(criterion: &mut Criterion, case: &Case, kind: &str, matcher: &Matcher, peers: &Peers) {
    let keys = if kind == "matched" { &case.matched } else { &case.unmatched };
    let count = case.patterns.len();
    let globs: Vec<Glob> = case.patterns.iter().map(|p| Glob::parse(p.as_bytes())).collect();
    let mut group = criterion.benchmark_group(format!("{}/{count}/{kind}", case.name));
    group.sample_size(20);
    group.warm_up_time(std::time::Duration::from_millis(300));
    group.measurement_time(std::time::Duration::from_millis(600));

    let mut bench = |name: &str, work: &mut dyn FnMut(&[u8])| {
        let mut round = keys.iter().cycle();
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| {
                if let Some(key) = round.next() {
                    work(black_box(key));
                }
            });
        });
    };
    let event = WebhookEvent::Set;
    let mut found: Vec<u32> = Vec::with_capacity(count);
    bench("matches_any", &mut |key| {
        black_box(matcher.matches_any(event, key));
    });
    bench("find", &mut |key| {
        found.clear();
        matcher.find(event, key, &mut found);
        black_box(&found);
    });
    bench("one-by-one", &mut |key| {
        found.clear();
        found.extend((0..).zip(&globs).filter(|(_, glob)| glob.matches(key)).map(|(slot, _)| slot));
        black_box(&found);
    });
    if let Some(globset) = &peers.globset {
        let mut indexes: Vec<usize> = Vec::with_capacity(count);
        bench("globset", &mut |key| {
            let path = std::path::Path::new(std::str::from_utf8(key).unwrap_or_default());
            globset.matches_into(path, &mut indexes);
            black_box(&indexes);
        });
    }
    if let Some(regexset) = &peers.regexset {
        bench("regex-set", &mut |key| {
            black_box(regexset.matches(key).matched_any());
        });
    }
    group.finish();
}

fn building(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build/1000");
    group.sample_size(10);
    group.measurement_time(std::time::Duration::from_millis(600));
    for make in [friendly, prefixes, words, grid, hostile] {
        let case = make(1000);
        group.bench_function(case.name, |bencher| {
            bencher.iter_batched(|| (), |()| build(&case.patterns), BatchSize::PerIteration);
        });
    }
    group.finish();
}

criterion_group!(benches, matching, building);
criterion_main!(benches);
