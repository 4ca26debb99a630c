//! The counts that are accepted, and whether new ones are within them.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A count may be above its baseline by this much. Compilers and the C library move counts a
/// little; a change that costs less than this cannot be told from them.
const MORE_ALLOWED_PERCENT: f64 = 3.0;
/// A count that is below its baseline by more than this asks for a new baseline: otherwise what
/// was won could be lost again unnoticed.
const LESS_NOTICED_PERCENT: f64 = 3.0;

const HEADER: &str = "\
# Instructions per operation, by architecture: what scripts/instructions compares with.
# Written by `scripts/instructions --accept`; docs/CONTRIBUTING.md says when.

";

/// Counts by scenario.
pub type Counts = BTreeMap<String, u64>;

/// The accepted counts of all architectures.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Baseline {
    architectures: BTreeMap<String, Accepted>,
}

/// The accepted counts of one architecture.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// The versions of what made them.
    counted_with: String,
    counts: Counts,
}

impl Baseline {
    /// Reads the file's text.
    pub fn parse(text: &str) -> Result<Baseline, toml::de::Error> {
        toml::from_str(text)
    }

    /// The file's text.
    pub fn to_text(&self) -> String {
        let body = toml::to_string(self).unwrap_or_default();
        format!("{HEADER}{body}")
    }

    /// What is accepted on `architecture`: nothing, if it has no baseline yet.
    pub fn of(&self, architecture: &str) -> Accepted {
        self.architectures.get(architecture).cloned().unwrap_or_default()
    }

    /// Takes in new counts. `all`: they are all there are, older ones go.
    pub fn accept(&mut self, architecture: &str, tools: &str, counts: Counts, all: bool) {
        let accepted = self.architectures.entry(architecture.to_owned()).or_default();
        if all {
            accepted.counts.clear();
            accepted.counted_with = tools.to_owned();
        }
        accepted.counts.extend(counts);
    }
}

impl Accepted {
    /// What may explain a difference beside the code: other tools.
    pub fn hint(&self, tools: &str, failed: bool) -> Option<String> {
        let other = !self.counted_with.is_empty() && self.counted_with != tools;
        (failed && other).then(|| {
            format!("the baseline was counted with {}; that alone may be why", self.counted_with)
        })
    }
}

/// How a scenario stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    More,
    Less,
    /// It has no baseline. This fails: a ratchet that lets through what it does not know holds
    /// nothing.
    Unknown,
}

#[derive(Debug)]
struct Row {
    name: String,
    before: Option<u64>,
    now: u64,
}

impl Row {
    fn percent(&self) -> Option<f64> {
        let before = self.before?.max(1) as f64;
        Some((self.now as f64 - before) / before * 100.0)
    }

    fn verdict(&self) -> Verdict {
        match self.percent() {
            None => Verdict::Unknown,
            Some(percent) if percent > MORE_ALLOWED_PERCENT => Verdict::More,
            Some(percent) if percent < -LESS_NOTICED_PERCENT => Verdict::Less,
            Some(_) => Verdict::Same,
        }
    }
}

/// New counts beside the accepted ones.
#[derive(Debug)]
pub struct Comparison {
    rows: Vec<Row>,
}

impl Comparison {
    /// Puts them side by side.
    pub fn new(accepted: Accepted, counts: &Counts) -> Comparison {
        let row = |(name, &now): (&String, &u64)| Row {
            name: name.clone(),
            before: accepted.counts.get(name).copied(),
            now,
        };
        Comparison { rows: counts.iter().map(row).collect() }
    }

    /// Whether no scenario takes more than it may.
    pub fn passes(&self) -> bool {
        !self.any(Verdict::More) && !self.any(Verdict::Unknown)
    }

    fn any(&self, verdict: Verdict) -> bool {
        self.rows.iter().any(|row| row.verdict() == verdict)
    }

    /// What to do about it.
    pub fn advice(&self) -> String {
        let mut advice = String::new();
        if self.any(Verdict::More) {
            advice += "instructions: FAILED: more instructions than the baseline allows. If they \
                       are worth it: scripts/instructions --accept, and say in the commit what \
                       they buy\n";
        }
        if self.any(Verdict::Unknown) {
            advice += "instructions: FAILED: no baseline here for some: scripts/instructions \
                       --accept\n";
        }
        if self.any(Verdict::Less) {
            advice += "instructions: some take less than the baseline: hold it with \
                       scripts/instructions --accept\n";
        }
        advice
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{:32} {:>9} {:>9} {:>8}", "scenario", "baseline", "now", "change")?;
        for row in &self.rows {
            let before = row.before.map_or("-".to_owned(), |before| before.to_string());
            let percent = row.percent().map_or("-".to_owned(), |percent| format!("{percent:+.1}%"));
            let remark = match row.verdict() {
                Verdict::Same => "",
                Verdict::More => "  MORE",
                Verdict::Less => "  less",
                Verdict::Unknown => "  NO BASELINE",
            };
            writeln!(out, "{:32} {before:>9} {:>9} {percent:>8}{remark}", row.name, row.now)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(list: &[(&str, u64)]) -> Counts {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    }

    fn compare(before: u64, now: u64) -> Comparison {
        let mut baseline = Baseline::default();
        baseline.accept("x", "rustc 1", counts(&[("step", before), ("other", 500)]), true);
        Comparison::new(baseline.of("x"), &counts(&[("step", now), ("other", 500)]))
    }

    #[test]
    fn more_than_three_percent_more_fails_and_names_the_scenario() {
        assert!(compare(1000, 1030).passes());
        let comparison = compare(1000, 1031);
        assert!(!comparison.passes());
        let text = comparison.to_string();
        let row = text.lines().find(|line| line.starts_with("step")).unwrap();
        let words: Vec<_> = row.split_whitespace().collect();
        assert_eq!(words, ["step", "1000", "1031", "+3.1%", "MORE"]);
        assert!(comparison.advice().contains("--accept"), "{}", comparison.advice());
    }

    #[test]
    fn what_was_won_passes_and_asks_to_be_held() {
        assert_eq!(compare(1000, 970).advice(), "");
        let comparison = compare(1000, 969);
        assert!(comparison.passes());
        assert!(comparison.advice().contains("take less"), "{}", comparison.advice());
    }

    #[test]
    fn a_scenario_or_an_architecture_without_baseline_fails() {
        let mut baseline = Baseline::default();
        baseline.accept("x", "rustc 1", counts(&[("step", 1000)]), true);
        let now = counts(&[("step", 1000), ("new", 1)]);
        assert!(!Comparison::new(baseline.of("x"), &now).passes());
        assert!(!Comparison::new(baseline.of("y"), &counts(&[("step", 1000)])).passes());
    }

    #[test]
    fn the_file_says_what_was_accepted() {
        let mut baseline = Baseline::default();
        baseline.accept("x", "rustc 1", counts(&[("step", 1000), ("gone", 7)]), true);
        baseline.accept("x", "rustc 2", counts(&[("step", 900)]), true);
        baseline.accept("x", "rustc 3", counts(&[("more", 5)]), false);
        let read = Baseline::parse(&baseline.to_text()).unwrap();
        assert_eq!(read, baseline);
        assert_eq!(read.of("x").counts, counts(&[("more", 5), ("step", 900)]));
        assert!(read.of("x").hint("rustc 9", true).unwrap().contains("rustc 2"));
        assert_eq!(read.of("x").hint("rustc 2", true), None);
        assert_eq!(read.of("x").hint("rustc 9", false), None);
    }
}
