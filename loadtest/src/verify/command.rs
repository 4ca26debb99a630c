//! `ferrite-loadtest verify`.

use super::{Rules, Verdict, check};
use crate::history::HistoryLine;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Judge the histories of `run --history` and `sink --history`: order, delivery, ids, signatures.
/// Exit code 0: every promise was kept; 1: one was broken, or a history cannot be read.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The sender's history; several are judged as one.
    #[arg(long, required = true, value_name = "FILE")]
    pub sender: Vec<PathBuf>,
    /// The receiver's history; several are judged as one.
    #[arg(long, required = true, value_name = "FILE")]
    pub receiver: Vec<PathBuf>,
    /// Webhooks want only some of the keys (patterns): a key that a path never saw is no loss.
    #[arg(long)]
    pub patterns: bool,
    /// Print the verdict as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Why a history cannot be judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Read(PathBuf, #[source] io::Error),
    /// A line is no line of a history.
    #[error("{path}:{line}: not a line of a history: {error}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        error: serde_json::Error,
    },
}

/// The lines of a history.
///
/// # Errors
/// When it cannot be read, or a line is not what it should be.
pub fn read(path: &Path) -> Result<Vec<HistoryLine>, VerifyError> {
    let fail = |error| VerifyError::Read(path.to_owned(), error);
    let file = BufReader::new(File::open(path).map_err(fail)?);
    let parse = |(index, text): (usize, io::Result<String>)| {
        let text = text.map_err(fail)?;
        serde_json::from_str(&text).map_err(|error| VerifyError::Line {
            path: path.to_owned(),
            line: index + 1,
            error,
        })
    };
    file.lines().enumerate().map(parse).collect()
}

/// Judges the files and prints the verdict.
///
/// # Errors
/// As [`read`].
pub fn verify(options: &Options) -> Result<Verdict, VerifyError> {
    let mut lines = Vec::new();
    for path in options.sender.iter().chain(&options.receiver) {
        lines.extend(read(path)?);
    }
    let verdict = check(lines, Rules { patterns: options.patterns });
    match serde_json::to_string_pretty(&verdict) {
        Ok(json) if options.json => println!("{json}"),
        _ => print!("{verdict}"),
    }
    Ok(verdict)
}
