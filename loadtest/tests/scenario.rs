//! The scenarios, for as short as they mean something.

#![allow(clippy::unwrap_used)]

use ferrite_loadtest::result::{Finding, ResultFile, ScenarioResult};
use ferrite_loadtest::scenario::chaos::{self, Disaster};
use ferrite_loadtest::scenario::isolation::{self, Badness};
use ferrite_loadtest::scenario::{Outcome, ScenarioError, soak};
use std::path::Path;
use std::process::Command;

fn result(json: &Path) -> ScenarioResult {
    match serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap() {
        ResultFile::Scenario(result) => result,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_soak_adds_up_and_writes_its_findings_and_figures() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("soak.json");
    let options =
        soak::Options { seconds: 3, rate: 300, json: Some(json.clone()), ..Default::default() };
    let outcome = soak::soak(&options).unwrap();
    let result = result(&json);
    // Whether anything grows cannot be told in three seconds.
    assert_ne!(outcome, Outcome::Failed, "{result:?}");
    let found = |what: &str| {
        let finding = result.findings.iter().find(|finding| finding.what.contains(what));
        finding.unwrap_or_else(|| panic!("{what}: {result:?}")).found.clone()
    };
    let sums = found("DEL-1");
    assert!(
        sums.starts_with("900 events x 3 webhooks = 2700 triggered = 2700 delivered"),
        "{sums}"
    );
    assert!(sums.contains("answered 2700 of them 2xx"), "{sums}");
    assert!(found("in the order of its key").starts_with("passed: 900 events"), "{result:?}");
    for what in ["memory", "open files", "pending deliveries"] {
        assert!(found(what).contains("in the second third"), "{result:?}");
        let series = result.series.iter().find(|series| series.name.contains(what)).unwrap();
        assert!(series.points.len() > 10 && series.across == "seconds", "{series:?}");
    }
}

fn disaster(disaster: Disaster, seconds: u64) -> Result<Outcome, ScenarioError> {
    chaos::chaos(&chaos::Options {
        disaster,
        seconds,
        rate: 200,
        program: Some(env!("CARGO_BIN_EXE_ferrite-loadtest").into()),
        ..Default::default()
    })
}

#[test]
fn resets_lose_nothing() {
    assert_eq!(disaster(Disaster::Reset, 2).unwrap(), Outcome::Passed);
}

#[test]
fn killed_receivers_get_everything_and_their_histories_tell_all_of_it() {
    assert_eq!(disaster(Disaster::Kill, 3).unwrap(), Outcome::Passed);
}

#[test]
fn what_a_stalled_receiver_reads_too_late_breaks_nothing() {
    assert_eq!(disaster(Disaster::Stall, 3).unwrap(), Outcome::Passed);
}

/// The `ferrite` program beside the harness, if it was built.
fn server() -> Option<std::path::PathBuf> {
    let path = Path::new(env!("CARGO_BIN_EXE_ferrite-loadtest")).with_file_name("ferrite");
    if !path.exists() {
        eprintln!("not shown here: {} is not built", path.display());
    }
    path.exists().then_some(path)
}

fn disaster_of_a_server(disaster: Disaster, in_memory: bool) -> Option<Outcome> {
    let options = chaos::Options {
        disaster,
        seconds: 3,
        rate: 400,
        server: Some(server()?),
        in_memory,
        ..Default::default()
    };
    Some(chaos::chaos(&options).unwrap())
}

#[test]
fn a_killed_server_loses_nothing_but_without_its_log() {
    for (in_memory, wanted) in [(false, Outcome::Passed), (true, Outcome::Failed)] {
        let Some(outcome) = disaster_of_a_server(Disaster::Server, in_memory) else { return };
        assert_eq!(outcome, wanted, "in memory: {in_memory}");
    }
}

#[test]
fn a_full_disk_is_counted_and_outlived() {
    let Some(outcome) = disaster_of_a_server(Disaster::DiskFull, false) else { return };
    assert_eq!(outcome, Outcome::Passed);
}

/// Whether the others move is a question for a quiet machine and a longer time: the quick form
/// never answers it.
#[test]
fn a_quick_isolation_measures_every_kind_and_is_inconclusive() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("isolation.json");
    let output = Command::new(env!("CARGO_BIN_EXE_ferrite-loadtest"))
        .args(["isolation", "--quick", "--rate", "50", "--json"])
        .arg(&json)
        .output()
        .unwrap();
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(3), "{table}");
    assert!(table.ends_with("isolation: inconclusive\n"), "{table}");
    let result = result(&json);
    assert!(!result.passed && result.inconclusive);
    for kind in ["none", "hung", "drip", "reset", "500"] {
        assert!(table.contains(&format!("\n{kind} ")), "{table}");
        let (judged, shown): (Vec<&Finding>, Vec<&Finding>) = result
            .findings
            .iter()
            .filter(|finding| finding.what.contains(&format!("bad endpoint: {kind};")))
            .partition(|finding| finding.what.starts_with("P8"));
        // All good ones got everything, unless the machine was too busy to tell; the bad one was bad.
        assert!(shown.iter().all(|one| one.holds || one.inconclusive), "{kind}: {table}");
        assert_eq!(shown.len(), if kind == "none" { 1 } else { 2 }, "{kind}: {table}");
        assert!(shown[1..].iter().all(|one| one.holds), "{kind}: {table}");
        assert_eq!(judged.len(), usize::from(kind != "none"));
        assert!(judged.iter().all(|finding| finding.inconclusive), "{kind}: {table}");
    }
}

#[test]
fn one_kind_of_bad_endpoint_can_be_asked_for() {
    let options = isolation::Options {
        bad: vec![Badness::Hung],
        rate: 50,
        quick: true,
        ..Default::default()
    };
    assert_eq!(isolation::isolation(&options).unwrap(), Outcome::Inconclusive);
}
