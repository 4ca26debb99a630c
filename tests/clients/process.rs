//! The process: its options, its end, and what it says when it cannot start.

use crate::server::{Ferrite, Reply, ferrite};
use crate::support::{Answer, Receiver};
use std::path::PathBuf;
use std::time::Duration;

/// The documentation's configuration.
const SAMPLE: &str = include_str!("../data/specification.toml");

fn file(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn sigterm_delivers_what_is_pending_and_ends_well() {
    let receiver = Receiver::scripted(|_, _| Answer::Status(200, Duration::from_millis(5)));
    let mut ferrite = Ferrite::start(&[]);
    let mut client = ferrite.client();
    client.ok(&format!("WEBHOOK.CREATE w {} CONCURRENCY 4", receiver.url()));
    for index in 0..300 {
        client.send(&["SET", &format!("k:{index}"), "v"]);
    }
    for _ in 0..300 {
        assert_eq!(client.read(), Reply::ok());
    }
    assert!(receiver.arrivals().len() < 300, "nothing is pending, so this shows nothing");
    ferrite.signal("TERM");
    let status = ferrite.wait();
    assert_eq!(status.code(), Some(0), "{}", ferrite.log());
    assert_eq!(receiver.arrivals().len(), 300);
}

#[test]
fn a_second_sigterm_ends_it_at_once() {
    let receiver = Receiver::scripted(|_, _| Answer::Hang(Duration::from_secs(60)));
    let path = file("long-stop.toml", "[server]\nshutdown_timeout_ms = 3600000\n");
    let mut ferrite = Ferrite::start(&["--config", &path]);
    let mut client = ferrite.client();
    client.ok(&format!("WEBHOOK.CREATE w {} TIMEOUT 600000", receiver.url()));
    client.ok("SET k v");
    crate::support::eventually("the receiver has it", || receiver.connections() > 0);
    ferrite.signal("TERM");
    crate::support::eventually("it has noticed", || ferrite.log().contains("stopping"));
    assert!(ferrite.is_running(), "it waits for what is pending");
    ferrite.signal("TERM");
    assert_eq!(ferrite.wait().code(), Some(128 + 15));
}

#[test]
fn the_documentation_s_configuration_is_accepted() {
    let path = file("sample.toml", SAMPLE);
    let directory = format!("{}/sample-data", env!("CARGO_TARGET_TMPDIR"));
    let _ = std::fs::remove_dir_all(&directory);
    let ferrite = Ferrite::start(&["--config", &path, "--data-dir", &directory]);
    assert_eq!(ferrite.client().line("PING"), Reply::Simple("PONG".to_owned()));
}

#[test]
fn the_start_line_names_the_driver_in_use() {
    let path = file("epoll.toml", "[webhooks.workers]\nforce_epoll = true\n");
    let ferrite = Ferrite::start(&["--config", &path]);
    let log = ferrite.log();
    assert!(log.contains("2 workers, driver epoll (configured)"), "{log}");
    let receiver = Receiver::start();
    let mut client = ferrite.client();
    client.ok(&format!("WEBHOOK.CREATE w {}", receiver.url()));
    client.ok("SET k v");
    receiver.wait_for(1);
}

#[test]
fn what_stops_the_start_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let unknown = file("unknown.toml", "[webhooks.delivery]\ntimeout_msec = 5\n");
    let bad = file("bad.toml", "[webhooks.delivery]\nmax_retries = -1\n");
    let bounds = file("bounds.toml", "[webhooks.delivery]\nbackoff_multiplier = 0.5\n");
    for (args, parts) in [
        (["--port", &port], ["cannot listen on 127.0.0.1:", "in use"]),
        (["--config", &unknown], ["unknown key `timeout_msec`", "did you mean `timeout_ms`?"]),
        (["--config", &bad], ["bad.toml:2: ", "`max_retries`"]),
        (["--config", &bounds], ["`backoff_multiplier`", "from 1 to 1000"]),
        (["--config", "/no/such/file"], ["/no/such/file", "No such file"]),
        (["--workers", "100000"], ["--workers", "100000"]),
        (["--port", "x"], ["--port", "x"]),
        (["--bind", "nowhere"], ["--bind", "'nowhere' is not an IP address"]),
        (["--log-level", "loud"], ["--log-level", "loud"]),
        (["--prot", "1"], ["--prot", "--port"]),
    ] {
        // A free port for those that fail for another reason, should they not fail.
        let port = if args[0] == "--config" { &["--port", "0"][..] } else { &[] };
        let output = ferrite().arg("serve").args(port).args(args).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {complaint}");
        assert_eq!(complaint.trim_end().lines().count(), 1, "{args:?}: {complaint}");
        assert!(complaint.starts_with("ferrite: "), "{args:?}: {complaint}");
        for part in parts {
            assert!(complaint.contains(part), "{args:?}: {complaint}");
        }
    }
}

#[test]
fn help_and_version_are_no_failures() {
    for arg in ["--help", "--version"] {
        let mut command = ferrite();
        let output = command.arg(arg).stdout(std::process::Stdio::piped()).output().unwrap();
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).contains("errite"));
    }
}

/// What a command says on standard output and standard error, and whether it succeeded.
fn said(command: &mut std::process::Command) -> (bool, String, String) {
    let output = command.stdout(std::process::Stdio::piped()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_configuration_is_checked_as_a_whole_without_a_start() {
    let good = file("good.toml", SAMPLE);
    let (success, output, complaints) = said(ferrite().args(["check-config", &good]));
    assert!(success && output == format!("{good}: ok\n"), "{output}{complaints}");
    assert!(complaints.is_empty(), "{complaints}");
    let odd = file("odd.toml", "[webhooks.queue]\nsecrets_key_file = \"/key\"\n");
    let (success, _, complaints) = said(ferrite().args(["check-config", &odd]));
    assert!(success && complaints.contains("warning: webhooks.queue.secrets_key_file"));

    let nowhere = format!("[webhooks.queue]\npersistence = true\ndata_dir = \"{odd}/inside\"\n");
    let nowhere = file("nowhere.toml", &nowhere);
    let (success, output, complaints) = said(ferrite().args(["check-config", &nowhere]));
    assert!(!success && output.is_empty(), "{output}");
    assert!(complaints.contains("webhooks.queue.data_dir") && complaints.contains("odd.toml"));

    let bad = file("many.toml", "[webhooks.queue]\nmax_pending = 0\nmax_pendng = 1\n");
    let mut command = ferrite();
    command.args(["check-config", &bad]).env("FERRITE_WEBHOOKS_ENABELD", "1");
    let (success, output, complaints) = said(&mut command);
    assert!(!success && output.is_empty(), "{output}{complaints}");
    let lines: Vec<&str> = complaints.lines().collect();
    assert_eq!(lines.len(), 3, "{complaints}");
    for (line, part) in
        lines.iter().zip(["many.toml:2: ", "many.toml:3: ", "FERRITE_WEBHOOKS_ENABLED?"])
    {
        assert!(line.starts_with("ferrite: ") && line.contains(part), "{line}");
    }
}

#[test]
fn the_printed_defaults_are_acceptable() {
    let (success, defaults, _) = said(ferrite().args(["config", "--default"]));
    assert!(success && defaults.contains("\ntimeout_ms = 5000\n"), "{defaults}");
    let path = file("defaults.toml", &defaults);
    let (success, _, complaints) = said(ferrite().args(["check-config", &path]));
    assert!(success && complaints.is_empty(), "{complaints}");
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let path =
        file("three.toml", "[server]\nmaxclients = 7\ntimeout = 5\n[webhooks]\nmax_webhooks = 9\n");
    let mut command = ferrite();
    command.args(["serve", "--config", &path, "--port", "0", "--workers", "1"]);
    command.env("FERRITE_SERVER_TIMEOUT", "6").env("FERRITE_WEBHOOKS_WORKERS_WORKERS", "2");
    let ferrite = Ferrite::spawn(command);
    let mut client = ferrite.client();
    for (name, value) in [
        ("maxclients", "7"),
        ("timeout", "6"),
        ("webhooks.max_webhooks", "9"),
        ("webhooks.workers.workers", "1"),
    ] {
        let pair = [name, value].map(|text| Reply::Bulk(text.as_bytes().to_vec()));
        assert_eq!(client.line(&format!("CONFIG GET {name}")), Reply::Array(pair.to_vec()));
    }
}
