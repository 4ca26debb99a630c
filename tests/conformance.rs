//! `docs/CONFORMANCE.md` tells the truth: every test it names exists, and everything that has to
//! have a row has one. And the specification's Rust example, run.

#![allow(clippy::unwrap_used)]
#![cfg(feature = "server")]

mod support;

use ferrite::server::config::keys;
use ferrite::webhooks::{
    WebhookAuth, WebhookConfig, WebhookEvent, WebhookManager, WebhookOptions, WebhookTrigger,
};
use std::collections::{HashMap, HashSet};
use support::{Receiver, eventually};

const DOCUMENT: &str = include_str!("../docs/CONFORMANCE.md");

fn source(path: &str) -> Option<String> {
    std::fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).ok()
}

/// What stands between backticks in `text`.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The rows of all tables: what, and what shows it.
fn rows() -> Vec<(&'static str, &'static str)> {
    let cells = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows: Vec<_> = cells.filter_map(|cells| cells.rsplit_once(" | ")).collect();
    assert!(rows.len() > 80, "{}", rows.len());
    rows
}

/// All names that have a row.
fn named() -> HashSet<&'static str> {
    rows().into_iter().flat_map(|(what, _)| quoted(what)).collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let mut sources: HashMap<&str, String> = HashMap::new();
    let mut count = 0;
    for name in quoted(DOCUMENT).filter(|name| name.contains(".rs::")) {
        let (path, function) = name.split_once("::").unwrap();
        let text = sources.entry(path).or_insert_with(|| source(path).unwrap_or_default());
        // In a macro of properties the attribute stands above too.
        let definition = format!("fn {function}(");
        let at = text.find(&definition).unwrap_or_else(|| panic!("{name} does not exist"));
        let before = &text[text[..at].rfind("#[").unwrap_or(0)..at];
        assert!(before.contains("test]"), "{name} is no test");
        count += 1;
    }
    assert!(count > 150, "{count}");
}

#[test]
fn every_row_names_a_test_or_says_that_there_is_none() {
    for (what, tests) in rows() {
        if what.chars().all(|c| "- |".contains(c)) || tests == "shown by" {
            continue;
        }
        let is_shown = quoted(tests).next().is_some() && quoted(tests).all(|t| t.contains(".rs::"));
        assert!(is_shown || tests == "not there yet", "{what}: {tests}");
    }
}

#[test]
fn every_command_option_and_key_has_a_row() {
    let named = named();
    let missing: Vec<String> = ferrite::server::command_names()
        .into_iter()
        .chain(ferrite::server::webhook_option_names().into_iter().map(str::to_owned))
        .chain(keys::all().map(|(section, key)| format!("{}.{}", section.name, key.name)))
        .filter(|name| !named.contains(name.as_str()))
        .collect();
    assert!(missing.is_empty(), "no row in docs/CONFORMANCE.md: {}", missing.join(", "));
}

#[test]
fn every_failure_and_every_method_of_the_manager_has_a_row() {
    let named = named();
    let failures = source("src/core/failure.rs").unwrap();
    let failures = failures.lines().filter_map(|line| {
        let (_, name) = line.trim().strip_prefix("Failure::")?.split_once(" => \"")?;
        name.strip_suffix("\",").map(str::to_owned)
    });
    let manager = source("src/webhooks/manager.rs").unwrap();
    let methods = manager.lines().filter_map(|line| {
        let line = line.strip_prefix("    pub ")?;
        let line = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
        Some(format!("WebhookManager::{}", line.split(['(', '<']).next()?))
    });
    let wanted: Vec<String> = failures.chain(methods).collect();
    assert!(wanted.len() > 30, "{wanted:?}");
    for name in wanted {
        assert!(named.contains(name.as_str()), "no row in docs/CONFORMANCE.md: {name}");
    }
}

/// The specification's example, with the import that it leaves out, and another URL.
async fn example(manager: &WebhookManager, url: &str) -> Result<(), Box<dyn std::error::Error>> {
    // Create webhook
    manager
        .create(
            "order-updates",
            url,
            WebhookOptions {
                pattern: Some("order:*".to_string()),
                events: vec![WebhookEvent::Set, WebhookEvent::Del],
                auth: Some(WebhookAuth::Bearer("token123".to_string())),
                retries: 3,
                ..Default::default()
            },
        )
        .await?;

    // Trigger webhook (called internally by Ferrite)
    manager
        .trigger(WebhookTrigger {
            event: WebhookEvent::Set,
            key: "order:123".to_string(),
            value: Some(b"order data".to_vec()),
            ..Default::default()
        })
        .await?;

    // Get statistics
    let stats = manager.stats("order-updates")?;
    println!("Deliveries: {}, Failures: {}", stats.deliveries, stats.failures);

    Ok(())
}

#[tokio::test]
async fn the_specification_s_rust_example_delivers() {
    let receiver = Receiver::start();
    let manager = WebhookManager::new(WebhookConfig::default());
    example(&manager, &receiver.url()).await.unwrap();
    let arrival = receiver.wait_for(1).remove(0);
    assert_eq!(arrival.header("authorization"), Some("Bearer token123"));
    let json = arrival.json();
    assert_eq!((&json["key"], &json["data"]["value"]), (&"order:123".into(), &"order data".into()));
    eventually("it is counted", || manager.stats("order-updates").unwrap().deliveries == 1);
}
