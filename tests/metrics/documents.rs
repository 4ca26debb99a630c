//! The documents name the metrics that there are: `METRICS.md`, the rules, and the dashboard.

use super::exposition::Scrape;
use super::{create, offer, scrape, start};
use crate::support::scratch::Scratch;
use crate::support::{Answer, Receiver, eventually};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

pub fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

/// With at least one sample of everything.
fn full_scrape() -> Scrape {
    let receiver = Receiver::scripted(|number, _| match number {
        0 => Answer::ok(),
        _ => Answer::Raw(
            b"HTTP/1.1 503 Wait\r\nRetry-After: 1000\r\nContent-Length: 0\r\n\r\n".to_vec(),
        ),
    });
    let scratch = Scratch::new("metrics");
    let manager = start(1, |config| {
        config.queue.persistence = true;
        config.queue.data_dir = scratch.path().join("data");
    });
    create(&manager, "w", &receiver.url(), "*", 0);
    let _ = offer(&manager, "k");
    eventually("it is delivered", || manager.stats("w").unwrap().delivered == 1);
    let _ = offer(&manager, "k");
    eventually("it is asked to wait", || manager.info("w").unwrap().retry_after_until_us.is_some());
    scrape(&manager)
}

/// Name, type, and labels of each family.
fn families(scrape: &Scrape) -> BTreeMap<String, (String, BTreeSet<String>)> {
    let labels = |samples: &[super::exposition::Sample]| {
        samples.iter().flat_map(|sample| sample.labels.keys().cloned()).collect()
    };
    let of = |family: &super::exposition::Family| {
        assert!(!family.samples.is_empty(), "{} has no sample", family.name);
        (family.name.clone(), (family.kind.clone(), labels(&family.samples)))
    };
    scrape.families.iter().map(of).collect()
}

#[test]
fn the_table_lists_what_a_scrape_has() {
    let in_backticks = |cell: &str| -> BTreeSet<String> {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let mut documented = BTreeMap::new();
    for line in read("METRICS.md").lines().filter(|line| line.starts_with("| `ferrite_")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [name, kind, labels, unit, meaning] = cells[..] else { panic!("{line}") };
        let name = name.trim_matches('`').to_owned();
        assert!(!unit.is_empty() && !meaning.is_empty(), "{line}");
        assert_eq!(unit == "seconds", name.contains("_seconds"), "{line}");
        let known = documented.insert(name, (kind.to_owned(), in_backticks(labels)));
        assert!(known.is_none(), "twice: {line}");
    }
    assert_eq!(documented, families(&full_scrape()));
}

/// Every word of the query that begins like one of our metrics is one, and every label that it
/// names, or groups by, is one of some metric of it.
fn check_query(query: &str, scrape: &Scrape) {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let samples: Vec<_> = scrape.families.iter().flat_map(|family| &family.samples).collect();
    let words = || query.split(|c| !is_word(c)).filter(|word| !word.is_empty());
    let names: BTreeSet<&str> = words().filter(|word| word.starts_with("ferrite_")).collect();
    assert!(!names.is_empty(), "{query} asks for no metric");
    for name in &names {
        assert!(samples.iter().any(|sample| sample.name == *name), "{query}: no {name}");
    }
    let grouped = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
    let grouped = grouped.flat_map(|group| group.split(',').map(str::trim));
    let matched = query.split(['{', ',']).skip(1).filter_map(|rest| {
        let word = rest.trim_start().split(|c| !is_word(c)).next()?;
        let behind = rest.trim_start().strip_prefix(word)?;
        behind.starts_with(['=', '!']).then_some(word)
    });
    for label in grouped.chain(matched) {
        let has = |sample: &&super::exposition::Sample| {
            names.contains(sample.name.as_str()) && sample.labels.contains_key(label)
        };
        let of_prometheus = ["job", "instance"].contains(&label);
        assert!(of_prometheus || samples.iter().any(has), "{query}: no label {label}");
    }
}

#[test]
fn the_rules_ask_for_metrics_that_there_are() {
    let (rules, scrape) = (read("prometheus-rules.yml"), full_scrape());
    let after = |key: &'static str| {
        rules.lines().filter_map(move |line| {
            line.trim_start().trim_start_matches("- ").strip_prefix(key).map(str::trim)
        })
    };
    let queries: Vec<&str> = after("expr:").collect();
    queries.iter().for_each(|query| check_query(query, &scrape));
    let alerts: Vec<&str> = after("alert:").collect();
    assert_eq!(queries.len(), alerts.len(), "an expression is written in one line");
    // The rule of the specification, as it is written there.
    let place = alerts.iter().position(|alert| *alert == "WebhookFailureRate").unwrap();
    assert_eq!(queries[place], "rate(ferrite_webhook_failures_total[5m]) > 0.1");
    for alert in [
        "WebhookDeadLetters",
        "WebhookLag",
        "WebhookBreakerOpen",
        "WebhookQueueFull",
        "WebhookWorkerRestarted",
    ] {
        assert!(alerts.contains(&alert), "{alert}");
    }
}

/// Every `expr` and `query` in a dashboard.
fn queries_in(value: &serde_json::Value, found: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                match field {
                    serde_json::Value::String(text) if name == "expr" => found.push(text.clone()),
                    field => queries_in(field, found),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| queries_in(item, found)),
        _ => {}
    }
}

#[test]
fn the_dashboard_asks_for_metrics_that_there_are() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("grafana-dashboard.json")).unwrap();
    let scrape = full_scrape();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        let mut queries = Vec::new();
        queries_in(panel, &mut queries);
        assert!(panel["type"] == "row" || !queries.is_empty(), "{panel}");
        queries.iter().for_each(|query| check_query(query, &scrape));
        let place = &panel["gridPos"];
        let (x, width) = (place["x"].as_u64().unwrap(), place["w"].as_u64().unwrap());
        assert!(x + width <= 24, "{panel}");
    }
    let variable = dashboard["templating"]["list"].as_array().unwrap();
    let variable = variable.iter().find(|variable| variable["name"] == "webhook").unwrap();
    let query = variable["query"].as_str().unwrap();
    check_query(query.strip_prefix("label_values(").unwrap(), &scrape);
}
