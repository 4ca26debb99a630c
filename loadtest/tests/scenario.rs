//! The scenarios, for as short as they mean something.

#![allow(clippy::unwrap_used)]

use ferrite_loadtest::result::ResultFile;
use ferrite_loadtest::scenario::chaos::{self, Disaster};
use ferrite_loadtest::scenario::{ScenarioError, isolation, soak};

#[test]
fn a_soak_passes_and_writes_its_findings() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("soak.json");
    let options = soak::Options { seconds: 3, rate: 300, pipeline: 4, json: Some(json.clone()) };
    assert!(soak::soak(&options).unwrap());
    let ResultFile::Scenario(result) =
        serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap()
    else {
        panic!("no scenario")
    };
    assert!(result.passed && result.findings.len() == 4, "{result:?}");
    assert!(result.findings[1].found.contains("900 events accepted"), "{result:?}");
}

fn disaster(disaster: Disaster, seconds: u64) -> Result<bool, ScenarioError> {
    chaos::chaos(&chaos::Options {
        disaster,
        seconds,
        rate: 200,
        pipeline: 16,
        program: Some(env!("CARGO_BIN_EXE_ferrite-loadtest").into()),
        json: None,
    })
}

#[test]
fn resets_lose_nothing() {
    assert!(disaster(Disaster::Reset, 2).unwrap());
}

#[test]
fn killed_receivers_get_everything() {
    assert!(disaster(Disaster::Kill, 3).unwrap());
}

#[test]
fn scenarios_of_the_durable_log_say_that_there_is_none() {
    for kind in [Disaster::Server, Disaster::DiskFull] {
        assert!(matches!(disaster(kind, 1), Err(ScenarioError::NotApplicable(_))));
    }
}

/// Whether the others move is a question for a quiet machine.
#[test]
fn isolation_measures_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("isolation.json");
    let options = isolation::Options {
        endpoints: 5,
        bad: isolation::Badness::Hang,
        rate: 50,
        rounds: 1,
        seconds: 1,
        json: Some(json.clone()),
    };
    isolation::isolation(&options).unwrap();
    let text = std::fs::read_to_string(json).unwrap();
    assert!(text.contains("p50") && text.contains("p99 moved by"), "{text}");
    assert!(!text.contains("NaN"), "{text}");
}
