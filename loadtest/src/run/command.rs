//! `ferrite-loadtest run`.

use super::options::Options;
use super::progress::Terminal;
use super::setting::Setting;
use super::{measure, sweep_with, table};
use crate::result::ResultFile;
use clap::ValueEnum;
use std::fs::File;
use std::path::PathBuf;
use std::str::FromStr;

/// What the command line says.
#[derive(Clone, Debug, clap::Args)]
pub struct Command {
    /// The run.
    #[command(flatten)]
    pub options: Options,
    /// Make the run over and over with one setting varied: connections, workers, pipeline,
    /// value_bytes, webhooks or rate.
    #[arg(long, value_name = "SETTING=VALUE,...")]
    pub sweep: Option<Sweep>,
    /// Write the result to this file, for `report`.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// A setting and its values.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sweep {
    /// The setting.
    pub setting: Setting,
    /// Its values, in the order of the runs.
    pub values: Vec<u64>,
}

impl FromStr for Sweep {
    type Err = String;

    fn from_str(text: &str) -> Result<Sweep, String> {
        let (setting, values) = text.split_once('=').ok_or("want SETTING=VALUE,VALUE,...")?;
        let value = |value: &str| {
            value.parse().map_err(|_| format!("`{value}` is not a number that is not negative"))
        };
        Ok(Sweep {
            setting: Setting::from_str(setting, true)?,
            values: values.split(',').map(value).collect::<Result<_, String>>()?,
        })
    }
}

/// Runs it and prints the result. A result that counts for nothing is an error, after it was
/// printed and written.
///
/// # Errors
/// When there is no result, it counts for nothing, or it cannot be written.
pub fn run(command: &Command) -> Result<(), Box<dyn std::error::Error>> {
    let mut progress = Terminal::default();
    let (file, voids) = match &command.sweep {
        None => {
            let result = measure(&command.options, &mut progress)?;
            print!("{}", table::run(&result));
            let voids = usize::from(result.void.is_some());
            (ResultFile::Run(result), voids)
        }
        Some(Sweep { setting, values }) => {
            let result = sweep_with(&command.options, *setting, values, &mut progress)?;
            print!("{}", table::sweep(&result));
            let voids = result.points.iter().filter(|(_, run)| run.void.is_some()).count();
            (ResultFile::Sweep(result), voids)
        }
    };
    if let Some(path) = &command.json {
        let failed =
            |reason: &dyn std::fmt::Display| format!("cannot write {}: {reason}", path.display());
        let out = File::create(path).map_err(|error| failed(&error))?;
        serde_json::to_writer_pretty(out, &file).map_err(|error| failed(&error))?;
    }
    match voids {
        0 => Ok(()),
        1 => Err("the run is void: see above".into()),
        voids => Err(format!("{voids} runs are void: see above").into()),
    }
}
