//! Counts the instructions of the hot parts under valgrind, and fails when one of them takes
//! noticeably more than the baseline says. Wall time is too noisy for that on machines that do
//! other things too; instructions are the same every time. `scripts/instructions` calls it.

mod baseline;
mod counting;
mod scenarios;
#[path = "../../support/mod.rs"]
mod support;

use baseline::{Baseline, Comparison};
use scenarios::SCENARIOS;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: scripts/instructions [--accept] [SCENARIO...]
  no option    count, and fail where there are more instructions than the baseline allows
  --accept     count, and write the counts into the baseline
  SCENARIO     only these, e.g. shard_step_plain";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        // Under valgrind.
        ["--do", name, rounds] => do_scenario(name, rounds).map(|()| true),
        ["--accept", ref names @ ..] => ratchet(names, true),
        ref names => ratchet(names, false),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("instructions: {message}");
            ExitCode::FAILURE
        }
    }
}

fn do_scenario(name: &str, rounds: &str) -> Result<(), String> {
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).ok_or(USAGE)?;
    (scenario.run)(rounds.parse().map_err(|_| USAGE)?);
    Ok(())
}

/// The baseline's file: beside the package, wherever the program is called from.
fn baseline_path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../instructions.toml"))
}

/// Counts and compares. `false`: something has become slower.
fn ratchet(names: &[&str], accept: bool) -> Result<bool, String> {
    if let Some(unknown) = names.iter().find(|name| !SCENARIOS.iter().any(|s| s.name == **name)) {
        let known: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        return Err(format!("no scenario '{unknown}'\n{USAGE}\nscenarios: {}", known.join(", ")));
    }
    let tools = counting::tools()?;
    println!("instructions: {tools}, {}", std::env::consts::ARCH);
    let wanted = |name: &str| names.is_empty() || names.contains(&name);
    let scenarios: Vec<_> = SCENARIOS.iter().filter(|scenario| wanted(scenario.name)).collect();
    let counts = counting::count(&scenarios).map_err(|error| error.to_string())?;

    let path = baseline_path();
    let text = match std::fs::read_to_string(&path) {
        Err(error) if accept && error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|error| format!("the baseline cannot be read: {error}"))?,
    };
    let mut baseline = Baseline::parse(&text).map_err(|error| error.to_string())?;
    let comparison = Comparison::new(baseline.of(std::env::consts::ARCH), &counts);
    print!("{comparison}");
    if accept {
        baseline.accept(std::env::consts::ARCH, &tools, counts, names.is_empty());
        std::fs::write(&path, baseline.to_text())
            .map_err(|error| format!("the baseline cannot be written: {error}"))?;
        println!("instructions: accepted; commit benches/instructions.toml and say why");
        return Ok(true);
    }
    if let Some(hint) = baseline.of(std::env::consts::ARCH).hint(&tools, !comparison.passes()) {
        println!("instructions: {hint}");
    }
    print!("{}", comparison.advice());
    Ok(comparison.passes())
}
