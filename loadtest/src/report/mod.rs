//! `report`: one HTML page out of result files. It holds everything it needs: no script, no
//! other file, no network. It can be opened, mailed and printed.

mod comparison;
mod format;
mod page;
mod plot;
mod runs;
mod scenario;
mod settings;
mod sweep;
mod table;

pub use page::page;

use crate::result::ResultFile;
use std::io;
use std::path::{Path, PathBuf};

/// What to read, and where to write.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Result files, in the order in which they are to be shown.
    #[arg(required = true, value_name = "RESULT.json")]
    results: Vec<PathBuf>,
    /// The page to write; what was there is replaced.
    #[arg(long, short, default_value = "report.html")]
    output: PathBuf,
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file is something else.
    #[error(
        "{} is no result file: {cause}; give the JSON files that run, compare or a scenario wrote",
        path.display()
    )]
    NotAResult {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// The page cannot be written.
    #[error("cannot write {}: {cause}; choose another place with --output", path.display())]
    Write {
        /// The page.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Reads the results, writes the page and says where it is.
pub fn report(options: &Options) -> Result<(), ReportError> {
    let results =
        options.results.iter().map(|path| read(path)).collect::<Result<Vec<ResultFile>, _>>()?;
    let path = &options.output;
    std::fs::write(path, page(&results))
        .map_err(|cause| ReportError::Write { path: path.clone(), cause })?;
    println!("{} results in {}", results.len(), path.display());
    Ok(())
}

fn read(path: &Path) -> Result<ResultFile, ReportError> {
    let text = std::fs::read_to_string(path)
        .map_err(|cause| ReportError::Read { path: path.to_owned(), cause })?;
    serde_json::from_str(&text)
        .map_err(|cause| ReportError::NotAResult { path: path.to_owned(), cause })
}
