//! The server goes on: hung receivers, hostile arguments, unloading, secrets, ends.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../tests/support/mod.rs"]
mod support;

use common::{Ferrite, Redis, Resp, module};
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Answer, Receiver, eventually};

/// The replies of a server to the same lines.
fn replies(client: &mut Resp, lines: &[String]) -> Vec<String> {
    lines.iter().map(|line| client.line(line)).collect()
}

#[test]
fn replies_are_those_of_the_server_of_this_project_in_both_protocols() {
    let (redis, ferrite) = (Redis::start(&[]), Ferrite::start());
    let receiver = Receiver::start();
    let mut lines: Vec<String> = [
        "WEBHOOK.CREATE w https://example.com/h EVENTS SET DEL PATTERN a* SECRET s RATE 5",
        "WEBHOOK.CREATE w https://example.com/h",
        "WEBHOOK.CREATE",
        "WEBHOOK.CREATE x",
        "WEBHOOK.CREATE x notaurl",
        "WEBHOOK.CREATE x https://example.com BOGUS 1",
        "WEBHOOK.CREATE x https://example.com EVENTS",
        "WEBHOOK.CREATE x https://example.com SECRET whsk_!",
        "WEBHOOK.CREATE x http://169.254.169.254/",
        "WEBHOOK.UPDATE w RETRIES 4 FORMAT cloudevents-binary",
        "WEBHOOK.UPDATE no RETRIES 4",
        "WEBHOOK.UPDATE w",
        "WEBHOOK.DISABLE w",
        "WEBHOOK.ENABLE w",
        "WEBHOOK.LIST",
        "WEBHOOK.LIST x",
        "WEBHOOK.INFO no",
        "WEBHOOK.INFO",
        "WEBHOOK.STATS",
        "WEBHOOK.STATS w",
        "WEBHOOK.STATS w w",
        "WEBHOOK.DELIVERIES w COUNT 5 STATUS ok",
        "WEBHOOK.DELIVERIES w COUNT x",
        "WEBHOOK.DEAD w",
        "WEBHOOK.DEAD w ID evt_1",
        "WEBHOOK.DEAD w CLEAR",
        "WEBHOOK.REPLAY w DEAD",
        "WEBHOOK.REPLAY w ID evt_1",
        "WEBHOOK.REPLAY w",
        "WEBHOOK.PUBLISH SET k v TTL 5",
        "WEBHOOK.PUBLISH GET k v",
        "WEBHOOK.PUBLISH SET k",
        "WEBHOOK.TEST no",
        "WEBHOOK.HELP",
        "WEBHOOK.HELP x",
    ]
    .map(str::to_owned)
    .to_vec();
    lines.push(format!("WEBHOOK.CREATE t {} RETRIES 0", receiver.url()));
    let before_delete = ["WEBHOOK.DELETE w", "WEBHOOK.DELETE w", "WEBHOOK.DELETE t"];
    lines.extend(before_delete.map(str::to_owned));
    for hello in ["PING", "HELLO 3"] {
        let (mut one, mut other) = (redis.client(), ferrite.client());
        one.line(hello);
        other.line(hello);
        let (ours, theirs) = (replies(&mut one, &lines), replies(&mut other, &lines));
        for ((line, ours), theirs) in lines.iter().zip(ours).zip(theirs) {
            assert_eq!(ours, theirs, "{hello}: {line}");
        }
        // What has times and ids in it has the same form.
        let test = [format!("WEBHOOK.CREATE t {}", receiver.url())];
        assert_eq!(replies(&mut one, &test), replies(&mut other, &test));
        for line in ["WEBHOOK.TEST t", "WEBHOOK.INFO t"] {
            assert_eq!(shape(&one.line(line)), shape(&other.line(line)), "{hello}: {line}");
        }
        one.ok("WEBHOOK.DELETE t");
        other.ok("WEBHOOK.DELETE t");
    }
}

/// A reply without what differs from one time to the next: the names stay.
fn shape(reply: &str) -> Vec<String> {
    let is_name = |line: &str| {
        line.starts_with(|mark: char| "*%~".contains(mark))
            || line.starts_with(char::is_lowercase)
                && !line.contains(':')
                && !line.starts_with("evt_")
    };
    reply.split("\r\n").filter(|line| is_name(line)).map(str::to_owned).collect()
}

#[test]
fn a_test_keeps_its_client_waiting_and_nobody_else() {
    let redis = Redis::start(&[]);
    let receiver = Receiver::scripted(|_, _| Answer::Status(200, Duration::from_millis(300)));
    let (mut one, mut other) = (redis.client(), redis.client());
    one.ok(&format!("WEBHOOK.CREATE w {}", receiver.url()));
    one.send(&["WEBHOOK.TEST", "w"]);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(50) {
        assert_eq!(other.line("PING"), "+PONG\r\n");
    }
    assert!(receiver.arrivals().is_empty() || start.elapsed() > Duration::from_millis(300));
    assert!(one.read().contains("success"));
    one.line("MULTI");
    assert_eq!(one.line("WEBHOOK.TEST w"), "+QUEUED\r\n");
    assert_eq!(one.line("EXEC"), "*1\r\n-ERR Command not allowed inside a transaction\r\n");
    assert!(one.ask(&["EVAL", "return redis.call('WEBHOOK.LIST')", "0"]).starts_with('-'));
    // A client that goes while its test is under way.
    one.send(&["WEBHOOK.TEST", "w"]);
    drop(one);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(other.line("PING"), "+PONG\r\n");
}

#[test]
fn a_hung_receiver_and_a_full_queue_do_not_hold_writes_up() {
    let redis = Redis::start_with_module(&[], &["queue.max_pending", "50"]);
    let receiver = Receiver::scripted(|_, _| Answer::Hang(Duration::from_secs(60)));
    let mut client = redis.client();
    client.ok(&format!("WEBHOOK.CREATE hung {} ON_FULL wait", receiver.url()));
    for number in 0..20_000 {
        client.send(&["SET", &format!("k:{number}"), "v"]);
    }
    for _ in 0..20_000 {
        assert_eq!(client.read(), "+OK\r\n");
    }
    let told = || {
        let mut client = redis.client();
        let triggered = client.counter("WEBHOOK.STATS hung", "triggered");
        let dropped = client.counter("WEBHOOK.STATS hung", "dropped");
        let refused = client.counter("WEBHOOK.STATS", "events_refused");
        (triggered, dropped, refused)
    };
    let pending = || redis.client().counter("WEBHOOK.STATS hung", "pending");
    eventually("each of them is counted, and once", || {
        let pending = pending();
        let (triggered, dropped, refused) = told();
        (triggered + refused, pending + dropped) == (20_000, triggered) && dropped > 0
    });
    let pending = pending();
    // What was on its way when the queue became full is still taken.
    assert!(pending <= 50 + 8192, "{pending}");
}

#[test]
fn the_module_cannot_be_unloaded_and_loads_at_run_time() {
    let redis = Redis::start(&[]);
    let mut client = redis.client();
    let refusal = client.line("MODULE UNLOAD ferrite-webhooks");
    assert!(refusal.starts_with("-ERR Error unloading module"), "{refusal}");
    assert_eq!(client.line("WEBHOOK.LIST"), "*0\r\n");
    assert!(client.line("MODULE LIST").contains("ferrite-webhooks"));
    let twice = client.ask(&["MODULE", "LOAD", &module().to_string_lossy()]);
    assert!(twice.starts_with('-'), "{twice}");
    assert_eq!(client.line("WEBHOOK.LIST"), "*0\r\n");
}

#[test]
fn arguments_that_are_wrong_stop_the_server_and_say_why() {
    for (arguments, wanted) in [
        (vec!["queue.max_pending", "none"], "queue.max_pending must be"),
        (vec!["queue.max_pendin", "5"], "did you mean queue.max_pending?"),
        (vec!["config", "/no/such/file.toml"], "/no/such/file.toml"),
        (vec!["security.allowed_hosts", "a b/c"], "allowed_hosts"),
    ] {
        let folder = common::Folder::new();
        let output = Command::new("redis-server")
            .args(["--port", "0", "--unixsocket", "socket", "--save", "", "--loadmodule"])
            .arg(module())
            .args(&arguments)
            .arg("--dir")
            .arg(folder.path())
            .output()
            .expect("redis-server is missing: install it (Debian: redis-server) for this test");
        let log = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && log.contains(wanted), "{arguments:?}: {log}");
    }
}

#[test]
fn the_file_and_the_arguments_are_followed() {
    let folder = common::Folder::new();
    let file = folder.path().join("ferrite.toml");
    std::fs::write(&file, "[webhooks]\nmax_webhooks = 2\n[webhooks.delivery]\ntimeout_ms = 70\n")
        .unwrap();
    let file = file.to_string_lossy().into_owned();
    let redis = Redis::start_with_module(&[], &["config", &file, "max_webhooks", "1"]);
    let mut client = redis.client();
    client.ok("WEBHOOK.CREATE a http://127.0.0.1:1/");
    assert!(client.line("WEBHOOK.CREATE b http://127.0.0.1:1/").contains("limit of 1 webhooks"));
    assert!(client.line("WEBHOOK.INFO a").contains("timeout_ms\r\n:70\r\n"));
}

#[test]
fn secrets_are_in_no_log_and_no_webhook_leads_to_the_server() {
    let redis = Redis::start(&["--slowlog-log-slower-than", "0"]);
    let (mut client, mut monitor) = (redis.client(), redis.client());
    monitor.ok("MONITOR");
    client.ok("WEBHOOK.CREATE w http://127.0.0.1:1/ SECRET hunter2 AUTH bearer hunter2");
    client.line("WEBHOOK.UPDATE w SECRET hunter2 BOGUS");
    client.line("MULTI");
    client.line("WEBHOOK.UPDATE w SECRET hunter2");
    client.line("EXEC");
    client.line("WEBHOOK.CREATE w http://127.0.0.1:1/ SECRET hunter2 extra");
    assert_eq!(client.line("ECHO end"), "$3\r\nend\r\n");
    let mut seen = String::new();
    while !seen.contains("\"ECHO\"") {
        seen += &monitor.read();
    }
    let shown = [
        seen,
        client.line("SLOWLOG GET 100"),
        redis.log(),
        client.line("WEBHOOK.INFO w"),
        client.line("ACL LOG"),
        client.line("INFO everything"),
    ];
    assert!(shown.iter().all(|text| !text.contains("hunter2")), "{shown:?}");

    client.ok(&format!("WEBHOOK.UPDATE w URL http://localhost:{}/", redis.port));
    let report = client.line("WEBHOOK.TEST w");
    assert!(report.contains("failure") && report.contains("address"), "{report}");
}

#[test]
fn access_is_taken_away_by_name() {
    let redis = Redis::start(&[]);
    redis.client().ok("ACL SETUSER app on >p ~* +@all -webhook.create");
    let mut client = redis.client();
    client.ok("AUTH app p");
    assert!(client.line("WEBHOOK.CREATE w http://127.0.0.1:1/").starts_with("-NOPERM"));
    assert_eq!(client.line("WEBHOOK.LIST"), "*0\r\n");
}

#[test]
fn the_example_s_configuration_is_accepted() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/redis.conf");
    let text = std::fs::read_to_string(example).unwrap();
    let module = module().to_string_lossy().into_owned();
    let text = text.replace("/usr/lib/redis/modules/libferrite_webhooks.so", &module);
    let text = text.replace("dir /var/lib/redis\n", "").replace("port 6379\n", "");
    let folder = common::Folder::new();
    let file = folder.path().join("redis.conf");
    std::fs::write(&file, text).unwrap();
    let redis = Redis::start_with_file(&file.to_string_lossy());
    let mut client = redis.client();
    client.ok("WEBHOOK.CREATE w http://127.0.0.1:1/");
    assert!(client.line("CONFIG GET appendonly").contains("yes"));
}

#[test]
fn hostile_arguments_leave_the_server_alone() {
    let redis = Redis::start(&[]);
    let mut client = redis.client();
    client.ok("WEBHOOK.CREATE w http://127.0.0.1:1/");
    let huge = vec![b'x'; 1_000_000];
    let odd: [&[u8]; 9] =
        [b"", b"\0", b"\r\n", b"\xff\xfe", b"-1", b"99999999999999999999", b"w", b"*", &huge];
    for command in [
        "CREATE",
        "UPDATE",
        "DELETE",
        "INFO",
        "ENABLE",
        "DISABLE",
        "TEST",
        "STATS",
        "DELIVERIES",
        "DEAD",
        "REPLAY",
        "PUBLISH",
        "LIST",
        "HELP",
    ] {
        let name = format!("WEBHOOK.{command}");
        for one in odd {
            for other in odd {
                client.ask(&[name.as_bytes(), one, other]);
                client.ask(&[name.as_bytes(), one, other, b"SECRET", one, b"EVENTS", other]);
            }
        }
        let many = vec![&b"HEADER"[..]; 10_000];
        client.ask(&[&[name.as_bytes(), b"n", b"http://127.0.0.1:1/"], &many[..]].concat());
    }
    for words in [vec!["SET"], vec!["ZADD", "k"], vec!["LMOVE", "a"], vec!["HSET", "h", "f"]] {
        assert!(client.ask(&words).starts_with('-'));
    }
    client.ask(&[&b"LPUSH"[..], &huge, &huge]);
    client.ask(&[&b"SET"[..], b"\0\xff", b"\xff\0"]);
    assert_eq!(client.line("PING"), "+PONG\r\n");
}

#[test]
fn a_shutdown_under_load_delivers_what_was_accepted() {
    let receiver = Receiver::scripted(|_, _| Answer::Status(200, Duration::from_millis(1)));
    let mut redis = Redis::start(&["--appendonly", "yes"]);
    let mut client = redis.client();
    client.ok(&format!("WEBHOOK.CREATE w {}", receiver.url()));
    for number in 0..500 {
        client.send(&["SET", &format!("k:{number}"), "v"]);
    }
    for _ in 0..500 {
        assert_eq!(client.read(), "+OK\r\n");
    }
    client.send(&["BGREWRITEAOF"]);
    client.send(&["SHUTDOWN"]);
    assert!(redis.wait().success(), "{}", redis.log());
    assert_eq!(receiver.arrivals().len(), 500);
    redis.start_again();
    assert!(redis.client().line("WEBHOOK.LIST").contains("$1\r\nw\r\n"));
}
