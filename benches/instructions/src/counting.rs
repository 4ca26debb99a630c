//! Counting: this program once more, under valgrind.

use crate::baseline::Counts;
use crate::scenarios::Scenario;
use std::process::Command;

/// The last line that valgrind writes: `==1== Collected : 123`.
const COLLECTED: &str = "Collected : ";

/// Why there is no count.
#[derive(Debug, thiserror::Error)]
pub enum CountError {
    /// Valgrind, or this program itself, could not be started.
    #[error("{0} cannot be started: {1}; is it installed?")]
    Start(&'static str, std::io::Error),
    /// The scenario failed, or valgrind cannot run it.
    #[error("{name} failed under valgrind:\n{output}")]
    Failed { name: &'static str, output: String },
    /// A thread that counts broke down.
    #[error("a counting thread panicked")]
    Panicked,
}

/// What counts depend on beside the code: versions, and the vector instructions by which the C
/// library and memchr choose their paths.
pub fn tools() -> Result<String, String> {
    let version = |program: &'static str| {
        let output = Command::new(program).arg("--version").output();
        let output = output.map_err(|error| CountError::Start(program, error).to_string())?;
        Ok::<_, String>(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    Ok(format!("{}, {}{}", version("rustc")?, version("valgrind")?, vectors()))
}

#[cfg(target_arch = "x86_64")]
fn vectors() -> &'static str {
    if std::is_x86_feature_detected!("avx2") { ", avx2" } else { ", no avx2" }
}

#[cfg(not(target_arch = "x86_64"))]
fn vectors() -> &'static str {
    ""
}

/// Instructions per round of each scenario. The scenarios are counted side by side: counts do not
/// depend on what else the machine does.
pub fn count(scenarios: &[&Scenario]) -> Result<Counts, CountError> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let take = || scenarios.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
    let work = || {
        let mut counts = Counts::new();
        while let Some(scenario) = take() {
            counts.insert(scenario.name.to_owned(), per_round(scenario)?);
        }
        Ok(counts)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Counts::new();
        for thread in threads {
            all.extend(thread.join().map_err(|_| CountError::Panicked)??);
        }
        Ok(all)
    })
}

/// The difference between a run and one twice as long: what is done once falls out.
fn per_round(scenario: &Scenario) -> Result<u64, CountError> {
    let rounds = scenario.rounds;
    let (once, twice) = (in_all(scenario, rounds)?, in_all(scenario, 2 * rounds)?);
    Ok((twice.saturating_sub(once) + rounds / 2) / rounds)
}

fn in_all(scenario: &Scenario, rounds: u64) -> Result<u64, CountError> {
    let itself = std::env::current_exe().map_err(|e| CountError::Start("this program", e))?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let output = valgrind.arg(itself).args(["--do", scenario.name, &rounds.to_string()]).output();
    let output = output.map_err(|error| CountError::Start("valgrind", error))?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    match collected(&text) {
        Some(count) if output.status.success() => Ok(count),
        _ => Err(CountError::Failed { name: scenario.name, output: text }),
    }
}

fn collected(output: &str) -> Option<u64> {
    let line = output.lines().rev().find(|line| line.contains(COLLECTED))?;
    line.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_found_in_what_valgrind_writes() {
        let output = "==7== Events    : Ir\n==7== Collected : 2345\n==7== \n==7== I   refs: 1\n";
        assert_eq!(collected(output), Some(2345));
        assert_eq!(collected("valgrind: fatal error"), None);
    }
}
