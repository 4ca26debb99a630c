//! Scenarios with verdicts: what the engine promises, held against misbehaviour for a while.

pub mod chaos;
pub mod isolation;
mod judge;
pub mod soak;

use crate::result::{Finding, Machine, ResultFile, ScenarioResult};
use crate::run::RunError;
use crate::verify::{self, Rules, Verdict, VerifyError};
use std::io;
use std::path::{Path, PathBuf};

/// Signs the deliveries of the scenarios.
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// Why a scenario has no verdict.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The engine or the generator could not be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A history cannot be read.
    #[error(transparent)]
    History(#[from] VerifyError),
    /// A receiver or a file.
    #[error("{0}: {1}")]
    Io(&'static str, #[source] io::Error),
    /// The scenario belongs to a part of the product that this build does not have.
    #[error("not applicable: {0}")]
    NotApplicable(&'static str),
}

fn io(what: &'static str) -> impl FnOnce(io::Error) -> ScenarioError {
    move |error| ScenarioError::Io(what, error)
}

/// Judges the histories of both sides, and says it as one finding.
fn judge_histories(files: &[&Path]) -> Result<(Verdict, Finding), ScenarioError> {
    let verdict = verify::check_files(files, Rules::default())?;
    let finding = Finding {
        what: "every event delivered, in the order of its key, with one id, body and signature"
            .to_owned(),
        found: verdict.to_string().trim_end().to_owned(),
        holds: verdict.passed,
    };
    Ok((verdict, finding))
}

/// Prints the findings, writes the result, and gives whether all of them hold.
fn conclude(
    label: &str,
    findings: Vec<Finding>,
    json: Option<&PathBuf>,
) -> Result<bool, ScenarioError> {
    let passed = findings.iter().all(|finding| finding.holds);
    for finding in &findings {
        let mark = if finding.holds { "holds " } else { "BROKEN" };
        println!("{mark}  {}\n        {}", finding.what, finding.found.replace('\n', "\n        "));
    }
    println!("{label}: {}", if passed { "passed" } else { "FAILED" });
    if let Some(path) = json {
        let result =
            ScenarioResult { label: label.to_owned(), machine: Machine::here(), passed, findings };
        let text = serde_json::to_vec_pretty(&ResultFile::Scenario(result));
        let written = text.map_err(io::Error::other).and_then(|text| std::fs::write(path, text));
        written.map_err(io("the result"))?;
    }
    Ok(passed)
}
