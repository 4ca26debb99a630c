//! Definitions over restarts, reloads and replication, and who sends events.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../tests/support/mod.rs"]
mod support;

use common::{Redis, Resp};
use std::time::Duration;
use support::{Answer, Receiver, eventually};

/// Two webhooks, with everything that is hard to keep.
fn create(client: &mut Resp, url: &str) {
    client.ok(&format!(
        "WEBHOOK.CREATE full {url} PATTERN k* EVENTS SET DEL AUTH bearer tok HEADER X-A b \
         SECRET first BATCH true BATCH_SIZE 7 RETRIES 2 FINAL_STATUS 404 ORDER none"
    ));
    client.ok("WEBHOOK.UPDATE full SECRET second GRACE 1000");
    client.ok(&format!("WEBHOOK.CREATE off {url}"));
    client.ok("WEBHOOK.DISABLE off");
}

/// What the webhooks are, but for times and counters.
fn described(client: &mut Resp) -> String {
    let info = ["full", "off"].map(|name| client.line(&format!("WEBHOOK.INFO {name}")));
    let mut lines: Vec<&str> = info.iter().flat_map(|text| text.split("\r\n")).collect();
    for times in ["created_at", "status_since", "old_secrets_until", "window"] {
        if let Some(at) = lines.iter().position(|line| *line == times) {
            lines.drain(at..at + 3);
        }
        if let Some(at) = lines.iter().rposition(|line| *line == times) {
            lines.drain(at..at + 3);
        }
    }
    lines.join("\n")
}

/// The secret signs: a receiver can tell.
fn signatures(client: &mut Resp, receiver: &Receiver) -> usize {
    let before = receiver.arrivals().len();
    client.line("SET k1 v");
    let arrivals = receiver.wait_for(before + 1);
    assert_eq!(arrivals[before].header("Authorization"), Some("Bearer tok"));
    assert_eq!(arrivals[before].header("X-A"), Some("b"));
    arrivals[before].header("webhook-signature").unwrap().split(' ').count()
}

#[test]
fn definitions_survive_a_restart_in_the_dump() {
    let (mut redis, receiver) = (Redis::start(&[]), Receiver::start());
    let mut client = redis.client();
    create(&mut client, &receiver.url());
    let before = described(&mut client);
    assert!(before.contains("old_secrets"), "{before}");
    client.ok("SAVE");
    redis.kill();
    redis.start_again();
    let mut client = redis.client();
    assert_eq!(described(&mut client), before);
    assert_eq!(signatures(&mut client, &receiver), 2, "of both secrets");
}

#[test]
fn definitions_survive_in_the_append_only_file_without_and_with_a_rewrite() {
    let options = ["--appendonly", "yes", "--appendfsync", "always"];
    let (mut redis, receiver) = (Redis::start(&options), Receiver::start());
    let mut client = redis.client();
    create(&mut client, &receiver.url());
    let before = described(&mut client);
    client.ok("SET k0 v");
    redis.kill();
    redis.start_again();
    let mut client = redis.client();
    assert_eq!(described(&mut client), before);
    // Replaying the file told nobody of its writes.
    std::thread::sleep(Duration::from_millis(100));
    let told = receiver.arrivals().len();
    assert!(told <= 1, "{told}");
    client.line("BGREWRITEAOF");
    let redis_log = || redis.log();
    eventually("it is rewritten", || redis_log().contains("Background AOF rewrite finished"));
    client.ok("WEBHOOK.CREATE later http://127.0.0.1:1/");
    redis.kill();
    redis.start_again();
    let mut client = redis.client();
    assert_eq!(described(&mut client), before);
    assert!(client.line("WEBHOOK.LIST").contains("later"));
    assert_eq!(signatures(&mut client, &receiver), 2);
}

#[test]
fn a_reload_keeps_webhooks_and_what_is_pending() {
    let (redis, receiver) = (
        Redis::start(&[]),
        Receiver::scripted(|number, _| match number {
            0 => Answer::Status(503, Duration::ZERO),
            _ => Answer::ok(),
        }),
    );
    let mut client = redis.client();
    client.ok(&format!("WEBHOOK.CREATE w {} RETRY_DELAY 300", receiver.url()));
    client.ok("SET a 1");
    receiver.wait_for(1);
    client.ok("DEBUG RELOAD");
    client.ok("FLUSHALL");
    assert!(client.line("WEBHOOK.LIST").contains("$1\r\nw\r\n"));
    // Loading was no event, and the retry that was pending comes.
    let arrivals = receiver.wait_for(2);
    assert_eq!(arrivals[0].body, arrivals[1].body);
    client.ok("SET b 1");
    assert_eq!(receiver.wait_for(3)[2].json()["key"], "b");
    // What came after the dump was written is not in it.
    client.ok("SAVE");
    client.ok("WEBHOOK.CREATE after http://127.0.0.1:1/");
    client.ok("DEBUG RELOAD NOSAVE");
    assert!(!client.line("WEBHOOK.LIST").contains("after"));
}

#[test]
fn a_replica_has_the_webhooks_and_sends_when_it_is_promoted() {
    let (primary, replica) = (Redis::start(&[]), Redis::start(&[]));
    let receiver = Receiver::start();
    let mut client = primary.client();
    create(&mut client, &receiver.url());
    let mut other = replica.client();
    other.ok("WEBHOOK.CREATE its-own http://127.0.0.1:1/");
    other.ok(&format!("REPLICAOF 127.0.0.1 {}", primary.port));
    eventually("it is in step", || {
        replica.cli("INFO replication").contains("master_link_status:up")
    });
    // All at once when it began, one by one later on.
    client.ok(&format!("WEBHOOK.CREATE later {} PATTERN later* EVENTS SET EXPIRE", receiver.url()));
    client.ok("WEBHOOK.CREATE short http://127.0.0.1:1/");
    client.ok("WEBHOOK.DELETE short");
    let wanted = described(&mut client);
    eventually("it has them", || {
        let list = replica.cli("WEBHOOK.LIST");
        list.contains("later") && !list.contains("short") && !list.contains("its-own")
    });
    assert_eq!(described(&mut other), wanted);

    client.ok("SET later:1 v PX 50");
    receiver.wait_until(|seen| seen.iter().any(|arrival| arrival.json()["event"] == "EXPIRE"));
    eventually("it has the writes", || replica.cli("EXISTS later:1") == "0");
    let counted = |client: &mut Resp| client.counter("WEBHOOK.STATS later", "triggered");
    assert_eq!(counted(&mut client), 2);
    assert_eq!(counted(&mut other), 0);
    assert!(other.line("WEBHOOK.DELETE later").starts_with("-READONLY"));
    assert!(other.line("WEBHOOK.PUBLISH SET k v").starts_with("-READONLY"));

    // One that is a replica from its start.
    let port = primary.port.to_string();
    let second = Redis::start(&["--replicaof", "127.0.0.1", &port]);
    eventually("it has them too", || second.cli("WEBHOOK.LIST").contains("later"));
    client.ok("SET later:3 v");
    eventually("it has the write", || second.cli("EXISTS later:3") == "1");
    assert_eq!(counted(&mut second.client()), 0);
    assert_eq!(counted(&mut client), 3);
    eventually("so has the first", || replica.cli("EXISTS later:3") == "1");
    receiver.wait_until(|seen| seen.iter().any(|arrival| arrival.json()["key"] == "later:3"));

    let mut primary = primary;
    primary.kill();
    other.ok("REPLICAOF NO ONE");
    let before = receiver.arrivals().len();
    other.ok("SET later:2 v");
    let arrivals = receiver.wait_for(before + 1);
    assert_eq!(arrivals[before].json()["key"], "later:2");
    assert_eq!(counted(&mut other), 1);
    other.ok("WEBHOOK.DELETE later");
}

#[test]
fn a_definition_that_cannot_be_any_more_costs_no_data() {
    let (mut redis, receiver) = (Redis::start(&[]), Receiver::start());
    let mut client = redis.client();
    client.ok(&format!("WEBHOOK.CREATE a {}", receiver.url()));
    client.ok("SET k v");
    client.ok("SAVE");
    redis.kill();
    redis.add_module_arguments(&["security.block_private", "true"]);
    redis.start_again();
    let mut client = redis.client();
    assert_eq!(client.line("GET k"), "$1\r\nv\r\n");
    assert_eq!(client.line("WEBHOOK.LIST"), "*0\r\n");
    let log = redis.log();
    assert!(log.contains("webhook a was not restored"), "{log}");
}

#[test]
fn with_persistence_what_is_pending_survives_kill_9_and_is_sent_once_it_can_be() {
    let arguments =
        ["queue.persistence", "true", "queue.fsync", "no", "delivery.timeout_ms", "500"];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut redis = Redis::start_with_module(&[], &arguments);
    let mut client = redis.client();
    client.ok(&format!("WEBHOOK.CREATE w {url} RETRY_DELAY 100 RETRY_BACKOFF fixed RETRIES 1000"));
    for number in 0..300 {
        client.ok(&format!("SET k:{number} v"));
    }
    assert!(redis.path("ferrite-data").is_dir(), "in the server's directory");
    // The server's thread does not wait for the log: a write is answered before it is in there.
    eventually("all are written down", || {
        redis.client().counter("WEBHOOK.STATS", "log_unfinished") == 300
    });
    // The dump is from before there was a webhook: what the engine kept is newer.
    redis.kill();
    redis.start_again();
    let mut client = redis.client();
    assert!(client.line("WEBHOOK.LIST").contains("$1\r\nw\r\n"));
    client.ok("SET k:later v");
    let receiver = Receiver::on(listener, |_, _| Answer::ok());
    let arrivals = receiver.wait_until(|seen| {
        let keys: std::collections::HashSet<String> =
            seen.iter().map(|arrival| arrival.json()["key"].to_string()).collect();
        keys.len() == 301
    });
    assert!(arrivals.len() >= 301);
}

#[test]
fn with_persistence_an_older_dump_does_not_take_webhooks_away() {
    let arguments = ["queue.persistence", "true"];
    let mut redis = Redis::start_with_module(&[], &arguments);
    let mut client = redis.client();
    client.ok("WEBHOOK.CREATE old http://127.0.0.1:1/");
    client.ok("SAVE");
    client.ok("WEBHOOK.CREATE new http://127.0.0.1:1/");
    client.ok("WEBHOOK.DELETE old");
    redis.kill();
    redis.start_again();
    let list = redis.client().line("WEBHOOK.LIST");
    assert!(list.contains("new") && !list.contains("old"), "{list}");
    // Who asks for the dump gets it.
    redis.client().ok("DEBUG RELOAD NOSAVE");
    let list = redis.client().line("WEBHOOK.LIST");
    assert!(list.contains("old") && !list.contains("new"), "{list}");
}
