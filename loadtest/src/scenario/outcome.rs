//! What comes of a scenario: a table, a file, an exit code.

use super::{ScenarioError, io};
use crate::result::{Finding, Machine, ResultFile, ScenarioResult, Series};
use std::path::Path;
use std::process::ExitCode;

/// The verdict over a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// All held.
    Passed,
    /// Something is broken.
    Failed,
    /// Nothing is broken, as far as could be told; but something could not.
    Inconclusive,
}

/// The exit code of [`Outcome::Inconclusive`]; 2 is that of wrong options.
const INCONCLUSIVE_CODE: u8 = 3;

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> ExitCode {
        match outcome {
            Outcome::Passed => ExitCode::SUCCESS,
            Outcome::Failed => ExitCode::FAILURE,
            Outcome::Inconclusive => ExitCode::from(INCONCLUSIVE_CODE),
        }
    }
}

/// Judges by the findings: one that is broken breaks all.
pub(super) fn outcome(findings: &[Finding]) -> Outcome {
    if findings.iter().any(|finding| !finding.holds && !finding.inconclusive) {
        Outcome::Failed
    } else if findings.iter().any(|finding| finding.inconclusive) {
        Outcome::Inconclusive
    } else {
        Outcome::Passed
    }
}

/// Prints the findings and writes the result.
pub(super) fn conclude(
    label: &str,
    findings: Vec<Finding>,
    series: Vec<Series>,
    json: Option<&Path>,
) -> Result<Outcome, ScenarioError> {
    let outcome = outcome(&findings);
    print!("{}", table(label, &findings, outcome));
    if let Some(path) = json {
        let result = ScenarioResult {
            label: label.to_owned(),
            machine: Machine::here(),
            passed: outcome == Outcome::Passed,
            inconclusive: outcome == Outcome::Inconclusive,
            findings,
            series,
        };
        let text = serde_json::to_vec_pretty(&ResultFile::Scenario(result));
        let written =
            text.map_err(std::io::Error::other).and_then(|text| std::fs::write(path, text));
        written.map_err(io("the result"))?;
    }
    Ok(outcome)
}

fn table(label: &str, findings: &[Finding], outcome: Outcome) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding {
            Finding { inconclusive: true, .. } => "unknown",
            Finding { holds: true, .. } => "holds  ",
            _ => "BROKEN ",
        };
        let found = finding.found.replace('\n', "\n         ");
        text.push_str(&format!("{mark}  {}\n         {found}\n", finding.what));
    }
    let verdict = match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
        Outcome::Inconclusive => "inconclusive",
    };
    text + &format!("{label}: {verdict}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_breaks_all_and_what_is_unknown_is_no_pass() {
        let (good, bad) = (Finding::new("a", "1", true), Finding::new("b", "2\n3", false));
        let unknown = Finding::unknown("c", "4");
        let of = |findings: &[&Finding]| {
            outcome(&findings.iter().map(|one| (*one).clone()).collect::<Vec<_>>())
        };
        assert_eq!(of(&[&good, &good]), Outcome::Passed);
        assert_eq!(of(&[&good, &bad, &unknown]), Outcome::Failed);
        assert_eq!(of(&[&good, &unknown]), Outcome::Inconclusive);
        assert_eq!(
            table("soak", &[good, bad, unknown], Outcome::Failed),
            "holds    a\n         1\nBROKEN   b\n         2\n         3\n\
             unknown  c\n         4\nsoak: FAILED\n"
        );
    }
}
