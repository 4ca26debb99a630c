//! Whole runs, over sockets: what they say must be what happened.
#![allow(clippy::unwrap_used)]

use ferrite::server::serve::{Server, StopHandle};
use ferrite::server::settings::ServerSettings;
use ferrite::webhooks::{WebhookConfig, WebhookManager};
use ferrite_loadtest::history::{Accounts, HistoryLine};
use ferrite_loadtest::result::{ResultFile, RunResult};
use ferrite_loadtest::run::{self, Options, RunError, Setting, Silent, Target};
use ferrite_loadtest::sink::{self, Faults, Sink};
use ferrite_loadtest::verify::{self, Rules};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::NamedTempFile;

/// A run of a second. The machine of a test may be busy: no lag makes it void.
fn options() -> Options {
    Options {
        seconds: 1,
        warmup_seconds: 0,
        drain_seconds: 30,
        lag_limit_us: u64::MAX,
        keys: 100,
        ..Options::default()
    }
}

/// Each key's sequences must be 0, 1, 2, ... in the order of the lines. Returns how many events
/// there are, and the accounts.
fn read_history(path: &Path) -> (u64, Vec<HistoryLine>) {
    let (mut next, mut accounts) = (HashMap::<String, u64>::new(), Vec::new());
    for line in std::fs::read_to_string(path).unwrap().lines() {
        match serde_json::from_str(line).unwrap() {
            HistoryLine::Accepted { key, sequence, .. } => {
                let next = next.entry(key).or_default();
                assert_eq!(sequence, *next, "{line}");
                *next += 1;
            }
            line => accounts.push(line),
        }
    }
    (next.values().sum(), accounts)
}

fn delivered(line: &HistoryLine) -> u64 {
    match line {
        HistoryLine::Accounts(Accounts {
            triggered,
            delivered,
            dead,
            dropped,
            pending,
            signed,
            ..
        }) => {
            assert_eq!((triggered, *dead, *dropped, *pending), (delivered, 0, 0, 0), "{line:?}");
            assert!(signed);
            *delivered
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_closed_loop_delivers_what_it_offers_to_those_that_match() {
    let history = NamedTempFile::new().unwrap();
    let options = Options {
        webhooks: 3,
        matching: Some(2),
        endpoints: 2,
        secret: Some("secret".to_owned()),
        backlog: Some(20),
        generators: 2,
        zipf: Some(1.1),
        history: Some(history.path().to_owned()),
        ..options()
    };
    let result = run::measure(&options, &mut Silent).unwrap();
    assert_eq!(result.void, None);
    assert!(result.events > 0 && result.full > 0, "{result:?}");
    // Without warming up, every event is measured, and each at both webhooks.
    assert_eq!(result.latency.unwrap().count, 2 * result.events);
    assert_eq!((result.failed_attempts, result.dead, result.dropped), (0, 0, 0));
    assert!(result.generator_lag.is_none());
    assert_eq!(result.per_tenth.len(), 10);
    assert_eq!(result.per_tenth.iter().sum::<u64>(), result.deliveries);
    assert_eq!(result.settings["secret"], "(set)");
    let (events, accounts) = read_history(history.path());
    assert_eq!(events, result.events);
    let deliveries: Vec<u64> = accounts.iter().map(delivered).collect();
    assert_eq!(deliveries, [events, events, 0]);
}

#[test]
fn both_histories_of_a_run_against_a_bad_receiver_pass() {
    let (sender, receiver) = (NamedTempFile::new().unwrap(), NamedTempFile::new().unwrap());
    let sink = Sink::start(sink::Options {
        verify_secret: Some("secret".to_owned()),
        history: Some(receiver.path().to_owned()),
        faults: Faults {
            errors: vec!["503:0.1".parse().unwrap()],
            resets: Some("0.02".parse().unwrap()),
            ..Faults::default()
        },
        ..sink::Options::default()
    })
    .unwrap();
    let options = Options {
        urls: vec![sink.url("/hook")],
        webhooks: 2,
        rate: Some(500),
        secret: Some("secret".to_owned()),
        retries: Some(1000),
        retry_delay_ms: Some(1),
        history: Some(sender.path().to_owned()),
        ..options()
    };
    let result = run::measure(&options, &mut Silent).unwrap();
    assert_eq!(result.void, None);
    assert!(result.failed_attempts > 0 && result.latency.is_none(), "{result:?}");
    assert!(sink.flush());
    let verdict = verify::check_files(&[sender.path(), receiver.path()], Rules::default()).unwrap();
    assert!(verdict.passed, "{verdict}");
    assert_eq!((verdict.accepted, verdict.paths), (500, 2));
    sink.stop().unwrap();
}

#[test]
fn an_open_loop_offers_what_its_rate_says_and_tells_its_lag() {
    for poisson in [false, true] {
        let options = Options { rate: Some(400), poisson, generators: 2, ..options() };
        let result = run::measure(&options, &mut Silent).unwrap();
        assert_eq!(result.void, None);
        // Exponential gaps: within five standard deviations.
        let off = if poisson { 5 * 20 } else { 0 };
        assert!(result.events.abs_diff(400) <= off, "{} events", result.events);
        assert_eq!(result.generator_lag.unwrap().count, result.events);
        assert_eq!(result.latency.unwrap().count, result.events);
    }
}

#[test]
fn a_run_with_more_lag_than_allowed_is_void() {
    let options = Options { rate: Some(400), lag_limit_us: 0, ..options() };
    let result = run::measure(&options, &mut Silent).unwrap();
    let reason = result.void.unwrap();
    assert!(reason.contains("late") && !reason.contains(';'), "{reason}");
}

#[test]
fn a_run_whose_events_are_refused_and_not_delivered_is_void() {
    // Accepts by its backlog, and answers nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options {
        urls: vec![format!("http://{}/", silent.local_addr().unwrap())],
        rate: Some(1000),
        backlog: Some(50),
        drain_seconds: 0,
        ..options()
    };
    let result = run::measure(&options, &mut Silent).unwrap();
    assert!(result.full > 0 && result.events + result.full == 1000, "{result:?}");
    assert!(result.latency.is_none());
    let reason = result.void.unwrap();
    for part in ["refused", "not over", "nothing was delivered"] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[test]
fn one_by_one_times_each_delivery_after_idleness() {
    let result = run::measure(&Options { latency: true, ..options() }, &mut Silent).unwrap();
    assert_eq!(result.void, None);
    assert!(result.events > 3 && result.events == result.deliveries, "{result:?}");
    // The first three opened the connection.
    assert_eq!(result.latency.unwrap().count, result.events - 3);
    assert_eq!(result.connections_opened, 1);
}

#[test]
fn a_sweep_that_is_not_possible_is_said_before_anything_runs() {
    let refused = run::sweep(&options(), Setting::ValueBytes, &[100, 1]);
    assert!(matches!(refused, Err(RunError::Options(_))), "{refused:?}");
    for wrong in ["", "rate", "rate=", "rate=x", "colour=1"] {
        assert!(wrong.parse::<run::Sweep>().is_err(), "{wrong}");
    }
}

#[test]
fn a_slow_rate_lasts_as_long_as_it_was_told() {
    let result = run::measure(&Options { rate: Some(1), ..options() }, &mut Silent).unwrap();
    assert_eq!((result.events, result.per_tenth.len()), (1, 10));
}

#[test]
fn results_are_written_and_void_ones_are_an_error_all_the_same() {
    let json = NamedTempFile::new().unwrap();
    let mut command = run::Command {
        options: Options { rate: Some(100), ..options() },
        sweep: None,
        json: Some(json.path().to_owned()),
    };
    run::run(&command).unwrap();
    let read = || serde_json::from_slice(&std::fs::read(json.path()).unwrap()).unwrap();
    let ResultFile::Run(result) = read() else { panic!("no run") };
    assert_eq!((result.events, result.void), (100, None));
    command.options.lag_limit_us = 0;
    command.sweep = Some("webhooks=1,2".parse().unwrap());
    assert!(run::run(&command).unwrap_err().to_string().contains("2 runs are void"));
    let ResultFile::Sweep(result) = read() else { panic!("no sweep") };
    assert_eq!(result.setting, "webhooks");
    let deliveries = |(value, run): &(u64, RunResult)| {
        assert_eq!(run.settings["webhooks"], value.to_string());
        (*value, run.latency.as_ref().unwrap().count)
    };
    assert_eq!(result.points.iter().map(deliveries).collect::<Vec<_>>(), [(1, 100), (2, 200)]);
}

#[test]
fn what_cannot_be_run_is_refused_with_a_reason() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = |address: SocketAddr| format!("redis://{address}").parse::<Target>().unwrap();
    for (options, reason) in [
        (Options { matching: Some(2), ..options() }, "--matching"),
        (Options { pace: run::Loop::Open, ..options() }, "--rate"),
        (Options { zipf: Some(f64::NAN), ..options() }, "--zipf"),
        (Options { core: vec![100_000], ..options() }, "core"),
        (Options { sink_core: Some(100_000), ..options() }, "core"),
        (Options { generator_core: vec![100_000], ..options() }, "core"),
        (Options { pipeline: Some(0), ..options() }, "pipeline"),
        (Options { target: server(nobody), workers: Some(2), ..options() }, "--workers"),
        (Options { target: server(nobody), ..options() }, "ferrite serve"),
        (Options { urls: vec!["nonsense".to_owned()], ..options() }, "url"),
        (Options { history: Some("/nowhere/at/all".into()), ..options() }, "/nowhere"),
    ] {
        let error = run::measure(&options, &mut Silent).unwrap_err().to_string();
        assert!(error.to_lowercase().contains(reason), "{error} does not name {reason}");
    }
}

/// A server within the test.
struct InProcess {
    address: SocketAddr,
    manager: WebhookManager,
    stop: StopHandle,
    thread: JoinHandle<()>,
}

impl InProcess {
    fn start(password: Option<&str>) -> InProcess {
        let mut config = WebhookConfig::default();
        config.workers.workers = 1;
        let manager = WebhookManager::start(config).unwrap();
        let settings = ServerSettings {
            port: 0,
            requirepass: password.map(str::to_owned),
            ..ServerSettings::default()
        };
        let (sender, receiver) = std::sync::mpsc::channel();
        let engine = manager.clone();
        let thread = std::thread::spawn(move || {
            let server = Server::bind(settings, Box::new(engine)).unwrap();
            sender.send((server.address(), server.stop_handle())).unwrap();
            server.run().unwrap();
        });
        let (address, stop) = receiver.recv().unwrap();
        InProcess { address, manager, stop, thread }
    }

    fn stop(self) {
        self.stop.stop();
        self.thread.join().unwrap();
    }
}

#[test]
fn a_server_is_driven_and_left_as_it_was_found() {
    let server = InProcess::start(Some("pass"));
    for rate in [None, Some(500)] {
        let history = NamedTempFile::new().unwrap();
        let options = Options {
            target: format!("redis://:pass@{}", server.address).parse().unwrap(),
            webhooks: 2,
            matching: Some(1),
            secret: Some("secret".to_owned()),
            generators: 2,
            rate,
            history: Some(history.path().to_owned()),
            ..options()
        };
        assert!(!format!("{:?} {}", options.target, options.settings()["target"]).contains("pass"));
        let result = run::measure(&options, &mut Silent).unwrap();
        assert_eq!(result.void, None);
        assert!(result.events > 0);
        assert!(rate.is_none_or(|rate| result.events == rate), "{} events", result.events);
        assert_eq!(result.latency.unwrap().count, result.events);
        let (events, accounts) = read_history(history.path());
        assert_eq!(events, result.events);
        assert_eq!(accounts.iter().map(delivered).collect::<Vec<_>>(), [events, 0]);
        assert!(server.manager.list().is_empty());
    }
    let mut client = TcpStream::connect(server.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    client.write_all(b"AUTH pass\r\nDBSIZE\r\n").unwrap();
    let mut answer = [0; 9];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"+OK\r\n:0\r\n");
    server.stop();
}

#[test]
fn after_an_error_the_server_has_no_webhook_of_the_run() {
    let server = InProcess::start(None);
    let options = Options {
        target: format!("redis://{}", server.address).parse().unwrap(),
        webhooks: 2,
        // The second is refused.
        urls: vec!["http://127.0.0.1:9/".to_owned(), "nonsense".to_owned()],
        ..options()
    };
    let error = run::measure(&options, &mut Silent).unwrap_err();
    assert!(matches!(error, RunError::Refused { command: "WEBHOOK.CREATE", .. }), "{error}");
    assert!(server.manager.list().is_empty());
    server.stop();
}
