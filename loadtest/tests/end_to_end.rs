//! The real engine against a sink that misbehaves: the histories of both sides pass.

#![allow(clippy::unwrap_used)]

use ferrite::webhooks::{
    WebhookConfig, WebhookEvent, WebhookManager, WebhookOptions, WebhookTrigger,
};
use ferrite_loadtest::history::{Accounts, HistoryLine};
use ferrite_loadtest::sink::{Faults, Options, Sink};
use ferrite_loadtest::verify::{self, Rules};
use ferrite_loadtest::wait::wait;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

#[track_caller]
fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn folder(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("ferrite-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn engine(workers: usize) -> WebhookManager {
    let mut config = WebhookConfig::default();
    config.workers.workers = workers;
    config.security.verify_ssl = false;
    WebhookManager::start(config).unwrap()
}

fn signed(retries: u32) -> WebhookOptions {
    WebhookOptions {
        secret: Some(SECRET.to_owned()),
        retries,
        retry_delay_ms: Some(1),
        timeout_ms: Some(300),
        ..WebhookOptions::default()
    }
}

/// Triggers `rounds` events of each key, and says what was accepted.
fn trigger(manager: &WebhookManager, keys: u64, rounds: u64) -> Vec<HistoryLine> {
    let mut accepted = Vec::new();
    for sequence in 0..rounds {
        for key in 0..keys {
            let key = format!("k:{key}");
            let event = WebhookTrigger {
                event: WebhookEvent::Set,
                key: key.clone(),
                value: Some(format!("#{sequence}#{}", "v".repeat(50)).into_bytes()),
                ..WebhookTrigger::default()
            };
            wait(manager.trigger(event)).unwrap();
            accepted.push(HistoryLine::Accepted { key, sequence, at_us: 0 });
        }
    }
    accepted
}

fn accounts(manager: &WebhookManager) -> Vec<HistoryLine> {
    let accounts = manager.list().into_iter().map(|info| {
        HistoryLine::Accounts(Accounts {
            webhook: info.name,
            triggered: info.stats.triggered,
            delivered: info.stats.delivered,
            dead: info.stats.failures,
            dropped: info.stats.dropped,
            cancelled: info.stats.cancelled,
            replayed: info.stats.replayed,
            coalesced: info.stats.coalesced,
            pending: info.stats.pending,
            signed: info.signed,
        })
    });
    accounts.collect()
}

/// Runs two webhooks against a sink with these faults, and judges the histories.
fn judge(name: &str, options: Options, retries: u32) -> (verify::Verdict, Sink) {
    let folder = folder(name);
    let history = folder.join("receiver");
    let sink = Sink::start(Options {
        cores: vec![0, 0],
        verify_secret: Some(SECRET.to_owned()),
        verify_order: true,
        history: Some(history.clone()),
        ..options
    })
    .unwrap();
    let manager = engine(2);
    for webhook in ["a", "b"] {
        let url = sink.url(&format!("/hooks/{webhook}"));
        wait(manager.create(webhook, &url, signed(retries))).unwrap();
    }
    let mut lines = trigger(&manager, 40, 15);
    // Events that are still in the rings are counted nowhere yet.
    let wanted = 2 * lines.len() as u64;
    eventually("nothing is pending", || {
        let totals = manager.engine_stats().totals;
        totals.triggered == wanted && totals.pending == 0
    });
    lines.extend(accounts(&manager));
    wait(manager.shutdown(PATIENCE));
    assert!(sink.flush());
    lines.extend(verify::lines(&history).unwrap().map(Result::unwrap));
    std::fs::remove_dir_all(folder).unwrap();
    (verify::check(lines, Rules::default()), sink)
}

/// All that a receiver may do, but hang (a timeout each would take long).
fn bad_receiver() -> Faults {
    Faults {
        latency: Some("exponential:1ms".parse().unwrap()),
        errors: vec!["500:0.1".parse().unwrap(), "503:0.05".parse().unwrap()],
        resets: Some("0.03".parse().unwrap()),
        half_closes: Some("0.02".parse().unwrap()),
        chunked: Some("0.3".parse().unwrap()),
        keep_alive: Some(20),
        stale: true,
        ..Faults::default()
    }
}

#[test]
fn the_engine_keeps_its_promises_to_a_bad_receiver() {
    let options = Options { faults: bad_receiver(), ..Options::default() };
    let (verdict, sink) = judge("bad", options, 1000);
    assert!(verdict.passed, "{verdict}");
    assert_eq!((verdict.accepted, verdict.paths), (600, 2));
    let stats = sink.stop().unwrap();
    assert_eq!((stats.bad_signatures, stats.bad_order, stats.unordered), (0, 0, 0));
    assert!(stats.answered[&500] > 0 && stats.unanswered > 0, "{stats:?}");
}

#[test]
fn dead_letters_and_timeouts_are_accounted_for() {
    let faults = Faults {
        errors: vec!["500:0.4".parse().unwrap()],
        hangs: Some("0.01".parse().unwrap()),
        ..Faults::default()
    };
    let (verdict, sink) = judge("dead", Options { faults, ..Options::default() }, 1);
    assert!(verdict.passed, "{verdict}");
    let stats = sink.stop().unwrap();
    assert!(stats.bad_order > 0, "dead letters look so to the sink alone: {stats:?}");
}

#[test]
fn tls_is_spoken() {
    let (verdict, sink) = judge("tls", Options { tls: true, ..Options::default() }, 5);
    assert!(verdict.passed, "{verdict}");
    assert!(sink.certificate_pem().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(sink.stop().unwrap().answered[&200], 1200);
}

#[test]
fn a_wrong_secret_is_noticed() {
    let sink =
        Sink::start(Options { verify_secret: Some("other".to_owned()), ..Options::default() });
    let sink = sink.unwrap();
    let manager = engine(1);
    wait(manager.create("a", &sink.url("/a"), signed(0))).unwrap();
    trigger(&manager, 5, 2);
    eventually("all have arrived", || sink.stats().answered.get(&200) == Some(&10));
    assert_eq!(sink.stats().bad_signatures, 10);
}
