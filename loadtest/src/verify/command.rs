//! `ferrite-loadtest verify`.

use super::{Judge, Rules, Verdict, over_us};
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

/// The lines of a history, one at a time.
///
/// # Errors
/// When it cannot be read, or a line is not what it should be.
pub fn lines(
    path: &Path,
) -> Result<impl Iterator<Item = Result<HistoryLine, VerifyError>> + use<>, VerifyError> {
    let path = path.to_owned();
    let file = File::open(&path).map_err(|error| VerifyError::Read(path.clone(), error))?;
    let parse = move |(index, text): (usize, io::Result<String>)| {
        let text = text.map_err(|error| VerifyError::Read(path.clone(), error))?;
        serde_json::from_str(&text).map_err(|error| VerifyError::Line {
            path: path.clone(),
            line: index + 1,
            error,
        })
    };
    Ok(BufReader::new(file).lines().enumerate().map(parse))
}

/// Judges the files of both sides. Receivers' files are read side by side, in the order in which
/// their requests were over.
///
/// # Errors
/// As [`lines`].
pub fn check_files(paths: &[impl AsRef<Path>], rules: Rules) -> Result<Verdict, VerifyError> {
    let mut judge = Judge::default();
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let mut lines = lines(path.as_ref())?;
        if let Some(next) = lines.next().transpose()? {
            files.push((next, lines));
        }
    }
    // What is no request comes first.
    while let Some(at) = (0..files.len()).min_by_key(|at| over_us(&files[*at].0)) {
        let (line, lines) = &mut files[at];
        match lines.next().transpose()? {
            Some(next) => judge.take(std::mem::replace(line, next)),
            None => judge.take(files.swap_remove(at).0),
        }
    }
    Ok(judge.verdict(rules))
}

/// Judges the files and prints the verdict.
///
/// # Errors
/// As [`lines`].
pub fn verify(options: &Options) -> Result<Verdict, VerifyError> {
    let paths: Vec<&PathBuf> = options.sender.iter().chain(&options.receiver).collect();
    let verdict = check_files(&paths, Rules { patterns: options.patterns })?;
    match serde_json::to_string_pretty(&verdict) {
        Ok(json) if options.json => println!("{json}"),
        _ => print!("{verdict}"),
    }
    Ok(verdict)
}
