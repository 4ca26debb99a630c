//! Results as the harness writes them, made up: the same ones every time.

use ferrite_loadtest::result::{
    ComparisonResult, Finding, Latency, Machine, PeerResult, ResultFile, RunResult, ScenarioResult,
    SweepResult,
};
use std::collections::BTreeMap;

/// Numbers that look measured, between -1 and 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }
}

/// The machine of all samples.
pub fn machine() -> Machine {
    Machine {
        processor: "AMD EPYC 7B13 64-Core Processor".to_owned(),
        cores: 8,
        memory_bytes: 33_567_870_976,
        kernel: "Linux 6.8.0-45-generic".to_owned(),
        measured_at: "2026-03-14T09:26:53Z".to_owned(),
        version: "0.1.0".to_owned(),
    }
}

/// Quantiles that grow with every nine.
pub fn latency(median_us: f64, growth: f64) -> Latency {
    let nines = [0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 0.9999, 1.0];
    let place = [0.0, 1.0, 1.4, 2.0, 2.3, 3.0, 4.0, 5.0, 6.1];
    let value = |place: f64| (median_us * growth.powf(place - 1.0)).round();
    Latency {
        count: 1_824_310,
        mean_us: median_us * 1.2,
        quantiles: nines.into_iter().zip(place.map(value)).collect(),
    }
}

/// A run of so many seconds.
pub fn run(label: &str, rate: f64, latency: Option<Latency>, seconds: u64) -> RunResult {
    let mut noise = Noise(rate as u64);
    let per_tenth: Vec<u64> = (0..seconds * 10)
        .map(|tenth| {
            // A pause now and then, as a busy machine has it.
            let pause = if tenth % 37 == 23 { 0.72 } else { 1.0 };
            (rate / 10.0 * pause * (1.0 + 0.03 * noise.next())) as u64
        })
        .collect();
    let settings = [
        ("url", "http://127.0.0.1:9900/hook"),
        ("seconds", "30"),
        ("connections", "64"),
        ("workers", "1"),
        ("keys", "10000"),
        ("value-bytes", "100"),
        ("secret", "mysecretkey"),
    ];
    RunResult {
        label: label.to_owned(),
        machine: machine(),
        settings: settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        cores: "worker on 0, generator on 1, sink on 2".to_owned(),
        seconds: seconds as f64,
        events: per_tenth.iter().sum(),
        deliveries: per_tenth.iter().sum(),
        deliveries_per_second: rate,
        failed_attempts: 0,
        dead: 0,
        full: 1204,
        generator_lag: latency.as_ref().map(|_| self::latency(3.0, 1.6)),
        latency,
        per_tenth,
        dropped: 0,
        connections_opened: 64,
        rings_by_callers: 3,
        worker_restarts: 0,
        driver: "io_uring".to_owned(),
        void: None,
    }
}

/// Three runs, one of them void.
pub fn runs() -> Vec<ResultFile> {
    let mut late = run("open loop, 150 000/s", 121_900.0, Some(latency(1480.0, 3.1)), 30);
    late.void = Some(
        "the generator was 48 ms behind its schedule at the 99th percentile: its core is too \
         slow for this rate"
            .to_owned(),
    );
    vec![
        ResultFile::Run(run("closed loop, signed", 182_431.0, Some(latency(310.0, 1.9)), 30)),
        ResultFile::Run(run("open loop, 100 000/s", 99_998.0, Some(latency(92.0, 2.6)), 30)),
        ResultFile::Run(late),
    ]
}

/// Throughput over the connections, 1 to 1024; one point is void.
pub fn connections() -> SweepResult {
    let points = (0..=10).map(|power| {
        let connections = 1u64 << power;
        let share = connections as f64 / (connections as f64 + 14.0);
        let rate = 214_000.0 * share * (1.0 - 0.012 * f64::from(power));
        let median_us = 1e6 * connections as f64 / rate;
        let label = format!("{connections} connections");
        let mut run = run(&label, rate, Some(latency(median_us, 2.0)), 5);
        run.settings = sweep_settings("connections", connections);
        if connections == 512 {
            run.deliveries_per_second *= 0.6;
            run.void = Some("the sink's core was 100 % busy".to_owned());
        }
        (connections, run)
    });
    SweepResult {
        label: "one worker, signed".to_owned(),
        setting: "connections".to_owned(),
        points: points.collect(),
    }
}

/// Throughput over the workers, 1 to 8, without latencies.
pub fn workers() -> SweepResult {
    let points = [(1, 182.0), (2, 355.0), (3, 521.0), (4, 664.0), (6, 903.0), (8, 1044.0)];
    let points = points.map(|(workers, thousands)| {
        let mut run = run(&format!("{workers} workers"), thousands * 1e3, None, 5);
        run.settings = sweep_settings("workers", workers);
        (workers, run)
    });
    SweepResult {
        label: "256 connections".to_owned(),
        setting: "workers".to_owned(),
        points: points.into(),
    }
}

fn sweep_settings(setting: &str, value: u64) -> BTreeMap<String, String> {
    let mut settings: BTreeMap<String, String> =
        [("seconds", "5"), ("keys", "10000"), ("value-bytes", "100")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
    settings.insert(setting.to_owned(), value.to_string());
    settings
}

/// Six senders in five rounds.
pub fn comparison() -> ComparisonResult {
    let peers = [
        ("raw", 301_200.0, "writes the same bytes again and again; parses nothing"),
        ("wrk", 231_700.0, "fixed request from memory; parses responses"),
        ("engine", 182_400.0, "builds the body, signs it, keeps the order of keys"),
        ("engine, pipelined 16", 268_900.0, "as above; 16 requests under way per connection"),
        ("reqwest on tokio, current thread", 38_600.0, "signs"),
        ("python aiohttp", 5_140.0, "signs"),
    ];
    let mut noise = Noise(7);
    let peers = peers.map(|(name, median, notes)| {
        let mut rates: Vec<f64> =
            (0..4).map(|_| (median * (1.0 + 0.06 * noise.next())).round()).collect();
        rates.insert(2, median);
        PeerResult {
            name: name.to_owned(),
            rates,
            median,
            notes: notes.to_owned(),
            ..PeerResult::default()
        }
    });
    ComparisonResult {
        label: "one core each, 64 connections".to_owned(),
        machine: machine(),
        cores: "sender on 0, sink on 1".to_owned(),
        seconds: 5.0,
        peers: peers.into(),
        absent: vec![("oha".to_owned(), "the program is not installed".to_owned())],
    }
}

/// One scenario that held, and one that did not.
pub fn scenarios() -> Vec<ScenarioResult> {
    let finding = |what: &str, found: &str, holds| Finding::new(what, found, holds);
    let scenario = |label: &str, findings: Vec<Finding>| ScenarioResult {
        label: label.to_owned(),
        machine: machine(),
        passed: findings.iter().all(|finding| finding.holds),
        findings,
        ..ScenarioResult::default()
    };
    vec![
        scenario(
            "chaos",
            vec![
                finding("Every accepted event is accounted for", "1 204 331 of 1 204 331", true),
                finding("Order of each key", "no inversion in 10 000 keys", true),
                finding("Signatures", "all 1 311 870 requests right", true),
            ],
        ),
        scenario(
            "isolation",
            vec![
                finding("Throughput beside a hanging receiver", "97.8 % of that without", true),
                finding("p99 beside a hanging receiver", "41 ms, at most 10 ms allowed", false),
            ],
        ),
    ]
}

/// Every kind of result.
pub fn all() -> Vec<ResultFile> {
    let mut all = runs();
    all.push(ResultFile::Sweep(connections()));
    all.push(ResultFile::Sweep(workers()));
    all.push(ResultFile::Comparison(comparison()));
    all.extend(scenarios().into_iter().map(ResultFile::Scenario));
    all
}
