//! The metrics: the text is what Prometheus reads, and the numbers are what happened.

#![allow(clippy::unwrap_used)]

mod support;

#[path = "metrics/documents.rs"]
mod documents;
#[path = "metrics/exposition.rs"]
mod exposition;

use exposition::{Scrape, parse};
use ferrite::webhooks::{
    Admission, EngineState, EventRef, EventValue, Failure, WebhookConfig, WebhookManager,
    WebhookOptions, WhenFull,
};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;
use support::audited::{Audited, audited};
use support::{Answer, Receiver, block_on, eventually};

fn start(workers: usize, edit: impl FnOnce(&mut WebhookConfig)) -> Audited {
    let mut config = WebhookConfig::default();
    config.workers.workers = workers;
    edit(&mut config);
    audited(config)
}

fn create(manager: &WebhookManager, name: &str, url: &str, pattern: &str, retries: u32) {
    let options = WebhookOptions {
        pattern: Some(pattern.to_owned()),
        retries,
        retry_delay_ms: Some(1),
        ..WebhookOptions::default()
    };
    block_on(manager.create(name, url, options)).unwrap();
}

fn offer(manager: &WebhookManager, key: &str) -> Admission {
    let event =
        EventRef { key: key.as_bytes(), value: EventValue::Bytes(b"value"), ..EventRef::default() };
    manager.offer(&event, WhenFull::Drop).unwrap()
}

fn scrape(manager: &WebhookManager) -> Scrape {
    let mut text = String::new();
    manager.metrics().write_prometheus(&mut text);
    parse(&text)
}

fn latencies(scrape: &Scrape, webhook: &str, stage: &str) -> (u64, f64) {
    let value = |suffix: &str| {
        let name = format!("ferrite_webhook_latency_seconds_{suffix}");
        scrape.value(&name, &[("webhook", webhook), ("stage", stage)])
    };
    (value("count") as u64, value("sum"))
}

fn failures(scrape: &Scrape, webhook: &str) -> Vec<(String, u64)> {
    let samples = &scrape.family("ferrite_webhook_failures_total").samples;
    let of_webhook = samples.iter().filter(|sample| sample.labels["webhook"] == webhook);
    of_webhook
        .filter(|sample| sample.value > 0.0)
        .map(|sample| (sample.labels["cause"].clone(), sample.value as u64))
        .collect()
}

#[test]
fn the_numbers_are_what_happened() {
    // Everything that a name may hold and a label must escape.
    const ODD: &str = "a\"b\\c{},=\\n'é";
    const SLOW: Duration = Duration::from_millis(30);
    let receiver = Receiver::scripted(|_, arrival| {
        let failed_before = arrival.header("X-Ferrite-Attempt").is_some_and(|n| n != "1");
        match arrival.json()["key"].as_str().unwrap() {
            key if key.starts_with("slow") => Answer::Status(200, SLOW),
            key if key.starts_with("flaky") && !failed_before => {
                Answer::Status(503, Duration::ZERO)
            }
            key if key.starts_with("bad") => Answer::Status(404, Duration::ZERO),
            key if key.starts_with("rude") => Answer::Close,
            _ => Answer::ok(),
        }
    });
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let manager = start(2, |_| ());
    create(&manager, ODD, &receiver.url(), "good:*", 3);
    create(&manager, "slow", &receiver.url(), "slow:*", 3);
    create(&manager, "flaky", &receiver.url(), "flaky:*", 3);
    create(&manager, "bad", &receiver.url(), "bad:*", 2);
    create(&manager, "rude", &receiver.url(), "rude:*", 0);
    create(&manager, "refused", &format!("http://{nobody}/"), "refused:*", 1);
    for (pattern, events) in
        [("good", 20), ("slow", 2), ("flaky", 5), ("bad", 4), ("rude", 1), ("refused", 3)]
    {
        for number in 0..events {
            assert_eq!(offer(&manager, &format!("{pattern}:{number}")), Admission::Accepted);
        }
    }
    assert_eq!(offer(&manager, "nobody:wants"), Admission::Unmatched);
    eventually("all is settled", || manager.engine_stats().totals.deliveries == 35);
    let scrape = scrape(&manager);
    for (webhook, triggered, delivered, attempts, retries, dead) in [
        (ODD, 20, 20, 20, 0, 0),
        ("slow", 2, 2, 2, 0, 0),
        ("flaky", 5, 5, 10, 5, 0),
        ("bad", 4, 0, 12, 8, 4),
        ("rude", 1, 0, 1, 0, 1),
        ("refused", 3, 0, 6, 3, 3),
    ] {
        let counts = ["triggered", "deliveries", "attempts", "retries", "dead"];
        let counts = counts.map(|name| scrape.of(&format!("{name}_total"), webhook));
        assert_eq!(counts, [triggered, delivered, attempts, retries, dead], "{webhook}");
        let sum: u64 = failures(&scrape, webhook).iter().map(|(_, count)| count).sum();
        assert_eq!(sum, attempts - delivered, "{webhook}");
        // Each attempt once, each delivery's wait once, and each success once.
        assert_eq!(latencies(&scrape, webhook, "attempt").0, attempts, "{webhook}");
        assert_eq!(latencies(&scrape, webhook, "queue").0, triggered, "{webhook}");
        assert_eq!(latencies(&scrape, webhook, "total").0, delivered, "{webhook}");
        let at_rest = ["pending", "in_flight", "lanes_blocked", "lag_seconds", "queue_full"];
        assert_eq!(at_rest.map(|name| scrape.of(name, webhook)), [0; 5], "{webhook}");
        assert_eq!(scrape.of("active", webhook), 1, "{webhook}");
        assert_eq!(scrape.of("breaker_state", webhook), 0, "{webhook}");
    }
    assert_eq!(failures(&scrape, ODD), []);
    assert_eq!(failures(&scrape, "flaky"), [("http-5xx".to_owned(), 5)]);
    assert_eq!(failures(&scrape, "bad"), [("http-4xx".to_owned(), 12)]);
    assert_eq!(failures(&scrape, "rude"), [("connection-closed".to_owned(), 1)]);
    assert_eq!(failures(&scrape, "refused"), [("connect-refused".to_owned(), 6)]);
    // Every cause is there from the beginning, so that `rate` sees the first failure.
    let causes = &scrape.family("ferrite_webhook_failures_total").samples;
    assert_eq!(causes.len(), 6 * Failure::CAUSES.len());
    // The receiver takes so long; the rest of the way is shorter than its hour.
    let (attempt, total) =
        (latencies(&scrape, "slow", "attempt").1, latencies(&scrape, "slow", "total").1);
    assert!(attempt >= 2.0 * SLOW.as_secs_f64() && total >= attempt, "{attempt} {total}");
    let short: [(&str, &str); 3] = [("webhook", "slow"), ("stage", "attempt"), ("le", "0.025")];
    assert_eq!(scrape.value("ferrite_webhook_latency_seconds_bucket", &short), 0.0);
    let sum =
        |name: &str| -> f64 { scrape.family(name).samples.iter().map(|sample| sample.value).sum() };
    for (name, expected) in [
        ("ferrite_worker_events_total", 35),
        ("ferrite_worker_deliveries_total", 27),
        ("ferrite_worker_dead_total", 8),
        ("ferrite_worker_failures_total", 24),
        ("ferrite_worker_pending", 0),
        ("ferrite_worker_ring_events", 0),
        ("ferrite_worker_restarts_total", 0),
    ] {
        assert_eq!(sum(name), f64::from(expected), "{name}");
    }
    // What could not be connected to was not opened; whoever was closed on opened another.
    let opened = sum("ferrite_worker_connections_opened_total");
    assert_eq!(opened, receiver.connections() as f64);
    assert_eq!(sum("ferrite_worker_connections_reused_total"), 45.0 - opened);
    assert!(sum("ferrite_worker_connections_open") < opened);
    assert!(sum("ferrite_worker_doorbells_total") >= 1.0);
    assert!(sum("ferrite_worker_loops_total") >= 2.0);
    // A webhook that goes takes its series with it; the workers' sums stay.
    block_on(manager.delete("bad")).unwrap();
    let after = self::scrape(&manager);
    assert!(
        !after
            .families
            .iter()
            .flat_map(|family| &family.samples)
            .any(|sample| { sample.labels.get("webhook").is_some_and(|webhook| webhook == "bad") })
    );
    let dead = after.family("ferrite_worker_dead_total").samples.iter().map(|s| s.value);
    assert_eq!(dead.sum::<f64>(), 8.0);
}

#[test]
fn what_waits_shows_how_many_how_long_and_behind_what() {
    let receiver = Receiver::scripted(|_, arrival| match arrival.json()["key"].as_str().unwrap() {
        key if key.starts_with("stuck") => Answer::Status(500, Duration::ZERO),
        _ => Answer::ok(),
    });
    let manager = start(2, |config| config.queue.max_pending = 6);
    let options =
        WebhookOptions { retries: 5, retry_delay_ms: Some(3_600_000), ..WebhookOptions::default() };
    block_on(manager.create("w", &receiver.url(), options)).unwrap();
    // Two lanes, with three events each.
    for _ in 0..3 {
        for key in ["stuck:1", "stuck:2"] {
            assert_eq!(offer(&manager, key), Admission::Accepted);
        }
    }
    eventually("both lanes wait", || scrape(&manager).of("lanes_blocked", "w") == 2);
    eventually("the queue is full", || scrape(&manager).of("queue_full", "w") == 1);
    let _ = offer(&manager, "other:1");
    eventually("it is dropped", || scrape(&manager).of("dropped_total", "w") == 1);
    let first = scrape(&manager);
    assert_eq!((first.of("pending", "w"), first.of("pending_limit", "w")), (6, 6));
    assert_eq!(first.of("in_flight", "w"), 0);
    // It gets older, and no success was ever noted.
    let lag = |scrape: &Scrape| scrape.value("ferrite_webhook_lag_seconds", &[("webhook", "w")]);
    let before = lag(&first);
    eventually("the oldest is a quarter of a second old", || lag(&scrape(&manager)) > 0.25);
    assert!(before <= lag(&scrape(&manager)));
    assert!(first.family("ferrite_webhook_last_delivery_timestamp_seconds").samples.is_empty());
    // A breakdown carries over what waits, and how long it has.
    let old = lag(&scrape(&manager));
    (0..2).for_each(|worker| manager.break_worker(worker).unwrap());
    let restarts = |scrape: &Scrape| -> f64 {
        scrape.family("ferrite_worker_restarts_total").samples.iter().map(|s| s.value).sum()
    };
    eventually("both are started again", || restarts(&scrape(&manager)) == 2.0);
    let after = scrape(&manager);
    assert_eq!((after.of("lanes_blocked", "w"), after.of("pending", "w")), (2, 6));
    assert!(lag(&after) >= old, "{} after {old}", lag(&after));
    // Disabled, it says so; what waits goes on waiting.
    block_on(manager.disable("w")).unwrap();
    let after = scrape(&manager);
    assert_eq!((after.of("active", "w"), after.of("pending", "w")), (0, 6));
}

#[test]
fn a_gone_endpoint_shows_as_inactive() {
    let receiver = Receiver::scripted(|_, _| Answer::Status(410, Duration::ZERO));
    let manager = start(1, |_| ());
    create(&manager, "w", &receiver.url(), "*", 3);
    let _ = offer(&manager, "k");
    eventually("it is gone", || scrape(&manager).of("active", "w") == 0);
    let scrape = scrape(&manager);
    assert_eq!((scrape.of("pending", "w"), scrape.of("attempts_total", "w")), (1, 1));
    // It is no attempt of the delivery's, so its wait is not over.
    assert_eq!((latencies(&scrape, "w", "queue").0, latencies(&scrape, "w", "attempt").0), (0, 1));
}

#[test]
fn scrapes_at_the_same_time_as_traffic_are_whole() {
    const WEBHOOKS: usize = 50;
    let receiver = Receiver::start();
    let manager = start(2, |_| ());
    for number in 0..WEBHOOKS {
        create(&manager, &format!("hook-{number}"), &receiver.url(), &format!("k{number}:*"), 0);
    }
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..10).for_each(|_| drop(scrape(&manager))));
        }
        for number in 0..10 * WEBHOOKS {
            let key = format!("k{}:{number}", number % WEBHOOKS);
            assert_eq!(offer(&manager, &key), Admission::Accepted);
        }
    });
    let all = 10 * WEBHOOKS as u64;
    eventually("all is delivered", || manager.engine_stats().totals.delivered == all);
    let scrape = scrape(&manager);
    assert!((0..WEBHOOKS).all(|n| scrape.of("deliveries_total", &format!("hook-{n}")) == 10));
}

#[test]
fn a_scrape_of_a_thousand_webhooks_is_bounded() {
    /// Bytes that a webhook takes, beside its name in each line.
    const WEBHOOK_BYTES_MAX: usize = 10 * 1024;
    const LINES: usize = 114;
    let mut webhook = ferrite::webhooks::WebhookMetrics::default();
    (webhook.pending, webhook.last_delivery_us) = (u64::MAX, Some(u64::MAX));
    webhook.total_latency.counts.fill(u64::MAX >> 8);
    webhook.total_latency.sum_us = u64::MAX;
    let mut metrics = WebhookManager::new(WebhookConfig::default()).metrics();
    metrics.webhooks = vec![webhook; 1000];
    let mut name_bytes = 0;
    for (number, webhook) in metrics.webhooks.iter_mut().enumerate() {
        webhook.name = format!("{number:\"<128}");
        // Each of the signs takes two.
        name_bytes += 2 * webhook.name.len() * LINES;
    }
    let began = std::time::Instant::now();
    let mut text = String::new();
    metrics.write_prometheus(&mut text);
    println!("{} bytes in {:?}", text.len(), began.elapsed());
    assert!(text.len() < name_bytes + 1000 * WEBHOOK_BYTES_MAX, "{} bytes", text.len());
    assert_eq!(parse(&text).value("ferrite_webhooks", &[]), 1000.0);
}

#[test]
fn an_engine_without_threads_has_metrics_too() {
    let manager = audited(WebhookConfig::default());
    assert_eq!(manager.state(), EngineState::NotStarted);
    let scrape = scrape(&manager);
    assert_eq!(manager.state(), EngineState::NotStarted, "a scrape starts nothing");
    let build = &scrape.family("ferrite_build_info").samples[0];
    assert_eq!((build.value, build.labels["driver"].as_str()), (1.0, "none"));
    assert_eq!(build.labels["version"], env!("CARGO_PKG_VERSION"));
    assert!(scrape.family("ferrite_worker_ring_events").samples.is_empty());
}

/// What Prometheus itself says, where its tool is installed.
#[test]
fn promtool_finds_nothing_to_say() {
    if Command::new("promtool").arg("--version").output().is_err() {
        eprintln!("promtool is not installed: left out");
        return;
    }
    let manager = start(1, |_| ());
    create(&manager, "a\"b\\c", "http://127.0.0.1:9/", "*", 0);
    let mut text = String::new();
    manager.metrics().write_prometheus(&mut text);
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rules = documents::path("prometheus-rules.yml");
    let output = Command::new("promtool").args(["check", "rules"]).arg(rules).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
