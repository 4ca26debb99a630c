//! A strict reader of the Prometheus text format, version 0.0.4: it panics at whatever Prometheus
//! would refuse, and at some things that it would only dislike.

use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: Labels,
    pub value: f64,
}

#[derive(Debug, Clone)]
pub struct Family {
    pub name: String,
    pub kind: String,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone, Default)]
pub struct Scrape {
    pub families: Vec<Family>,
}

impl Scrape {
    pub fn family(&self, name: &str) -> &Family {
        let family = self.families.iter().find(|family| family.name == name);
        family.unwrap_or_else(|| panic!("no {name}"))
    }

    /// The value of the one sample of this name with exactly these labels.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Labels =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let samples = self.families.iter().flat_map(|family| &family.samples);
        let mut found = samples.filter(|sample| sample.name == name && sample.labels == labels);
        found.next().unwrap_or_else(|| panic!("no {name} {labels:?}")).value
    }

    /// The value for a webhook, as a whole number.
    pub fn of(&self, name: &str, webhook: &str) -> u64 {
        self.value(&format!("ferrite_webhook_{name}"), &[("webhook", webhook)]) as u64
    }
}

fn is_name(name: &str, colon: bool) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
    !name.is_empty() && name.chars().all(good) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// `name="value",…}` up to the brace; gives the labels and what stands behind the brace.
fn labels(mut rest: &str) -> (Labels, &str) {
    let mut labels = Labels::new();
    loop {
        let (name, value) = rest.split_once("=\"").expect("a label has a value");
        assert!(is_name(name, false), "label {name:?}");
        let mut text = String::new();
        let mut characters = value.char_indices();
        let end = loop {
            match characters.next().expect("a value ends") {
                (end, '"') => break end,
                (_, '\\') => text.push(match characters.next().expect("an escape ends").1 {
                    'n' => '\n',
                    '\\' => '\\',
                    '"' => '"',
                    other => panic!("escape {other:?}"),
                }),
                (_, character) => text.push(character),
            }
        };
        assert!(labels.insert(name.to_owned(), text).is_none(), "label {name} stands there twice");
        rest = &value[end + 1..];
        match rest.as_bytes()[0] {
            b',' => rest = &rest[1..],
            b'}' => return (labels, &rest[1..]),
            other => panic!("{:?} behind a label", char::from(other)),
        }
    }
}

fn sample(line: &str) -> Sample {
    let name_end = line.find(['{', ' ']).expect("a sample has a value");
    let (name, rest) = line.split_at(name_end);
    assert!(is_name(name, true), "name {name:?}");
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest),
        None => (Labels::new(), rest),
    };
    let value = rest.strip_prefix(' ').expect("one space before the value");
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    assert!(value.chars().all(digits) && !value.starts_with('.'), "value {value:?}");
    Sample { name: name.to_owned(), labels, value: value.parse().expect("a number") }
}

pub fn parse(text: &str) -> Scrape {
    assert!(text.ends_with('\n'), "the last line ends");
    let mut scrape = Scrape::default();
    let (mut help, mut series) = (None, BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, text) = rest.split_once(' ').expect("help has a text");
            assert!(help.replace((name.to_owned(), text.to_owned())).is_none(), "{line}");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a type");
            let (of, help) = help.take().expect("help comes before the type");
            assert_eq!(of, name);
            assert!(is_name(name, true) && !scrape.families.iter().any(|f| f.name == name));
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(!help.trim().is_empty() && !help.contains('\\'));
            let (name, kind) = (name.to_owned(), kind.to_owned());
            scrape.families.push(Family { name, kind, samples: Vec::new() });
        } else {
            assert!(help.is_none(), "a type comes before {line}");
            let sample = sample(line);
            let family = scrape.families.last_mut().expect("a type comes before the first sample");
            let suffix = sample.name.strip_prefix(family.name.as_str());
            let suffixes: &[&str] = match family.kind.as_str() {
                "histogram" => &["_bucket", "_sum", "_count"],
                _ => &[""],
            };
            assert!(suffix.is_some_and(|s| suffixes.contains(&s)), "{line} in {}", family.name);
            let is_new = series.insert((sample.name.clone(), sample.labels.clone()));
            assert!(is_new, "twice: {line}");
            family.samples.push(sample);
        }
    }
    assert!(help.is_none());
    for family in scrape.families.iter().filter(|family| family.kind == "histogram") {
        check_histogram(family);
    }
    scrape
}

/// Buckets are cumulative and in order, the last one is for all and equals the count.
fn check_histogram(family: &Family) {
    let mut groups: BTreeMap<Labels, Vec<&Sample>> = BTreeMap::new();
    for sample in &family.samples {
        let mut labels = sample.labels.clone();
        labels.remove("le");
        groups.entry(labels).or_default().push(sample);
    }
    for (labels, samples) in groups {
        let (buckets, others): (Vec<_>, Vec<_>) =
            samples.into_iter().partition(|sample| sample.name.ends_with("_bucket"));
        let bound = |sample: &Sample| match sample.labels["le"].as_str() {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().expect("a bound"),
        };
        for pair in buckets.windows(2) {
            assert!(bound(pair[0]) < bound(pair[1]) && pair[0].value <= pair[1].value);
        }
        let last = buckets.last().expect("buckets");
        assert!(bound(last).is_infinite(), "{labels:?}");
        let names: Vec<&str> = others.iter().map(|sample| sample.name.as_str()).collect();
        assert_eq!(names, [format!("{}_sum", family.name), format!("{}_count", family.name)]);
        assert_eq!(last.value, others[1].value, "{labels:?}");
    }
}
