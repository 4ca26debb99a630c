//! The user documentation, command by command, typed with redis-cli.

use crate::server::Ferrite;
use crate::support::{Answer, Arrival, Receiver, eventually};
use std::time::Duration;

fn events(arrivals: &[Arrival]) -> Vec<(String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let jsons = arrivals.iter().map(Arrival::json);
    jsons.map(|json| (text(&json["event"]), text(&json["key"]))).collect()
}

/// Creates a webhook with the documentation's own words, points it to `receiver`, and lets
/// `writes` happen.
fn create(ferrite: &Ferrite, receiver: &Receiver, command: &str, writes: &[&str]) {
    assert_eq!(ferrite.cli(command), "OK", "{command}");
    let name = command.split_ascii_whitespace().nth(1).unwrap();
    let update = format!("WEBHOOK.UPDATE {name} URL {}", receiver.url());
    assert_eq!(ferrite.cli(&update), "OK");
    for write in writes {
        assert!(!ferrite.cli(write).contains("ERR"), "{write}");
    }
}

#[test]
fn the_quick_start_and_what_manages_webhooks() {
    let ferrite = Ferrite::start(&[]);
    let receiver = Receiver::start();
    let ok = |command: &str| assert_eq!(ferrite.cli(command), "OK", "{command}");
    ok("WEBHOOK.CREATE order-updates https://api.example.com/webhook \
        PATTERN 'order:*' EVENTS SET DEL");
    // redis-cli prints names and values on lines of their own when it writes to a program.
    assert_eq!(
        ferrite.cli("WEBHOOK.LIST"),
        "name\norder-updates\nurl\nhttps://api.example.com/webhook\npattern\norder:*\nevents\nSET\n\
         DEL\nstatus\nactive"
    );
    assert_eq!(
        ferrite.cli("--no-raw WEBHOOK.LIST").lines().next().unwrap(),
        "1)  1) \"name\"",
        "as people see it"
    );
    ok(&format!("WEBHOOK.UPDATE order-updates URL {}", receiver.url()));
    assert!(ferrite.cli("WEBHOOK.TEST order-updates").starts_with("result\nsuccess\nerror\n\n"));
    assert_eq!(receiver.wait_for(1)[0].json()["event"], "TEST");
    ok("SET order:1 Alice");
    ok("SET user:1 nobody");
    ok("SET order:1 Bob EX 3600");
    assert_eq!(ferrite.cli("DEL order:1"), "1");
    let arrivals = receiver.wait_for(4);
    let data: Vec<_> = arrivals[1..].iter().map(|arrival| arrival.json()["data"].clone()).collect();
    assert_eq!(data[0], serde_json::json!({"value": "Alice", "old_value": null, "ttl": null}));
    assert_eq!(data[1], serde_json::json!({"value": "Bob", "old_value": "Alice", "ttl": 3600}));
    assert_eq!(data[2]["old_value"], "Bob");
    let json = arrivals[1].json();
    assert!(json["id"].as_str().unwrap().starts_with("evt_"));
    assert_eq!((&json["event"], &json["database"]), (&"SET".into(), &0.into()));
    assert!(json["metadata"]["client_id"].as_str().unwrap().starts_with("conn:"));
    assert_eq!(json["metadata"]["source_ip"], "127.0.0.1");

    eventually("it is counted", || {
        ferrite.cli("WEBHOOK.STATS").contains("successful_deliveries\n3\n")
    });
    let stats = ferrite.cli("WEBHOOK.STATS");
    let first: Vec<&str> = stats.lines().step_by(2).take(7).collect();
    assert_eq!(
        first.join(" "),
        "total_webhooks active_webhooks total_deliveries successful_deliveries \
         failed_deliveries pending_deliveries avg_latency_ms"
    );
    let info = ferrite.cli("WEBHOOK.INFO order-updates");
    assert!(info.starts_with("name\norder-updates\nurl\nhttp://127.0.0.1:"), "{info}");
    assert!(info.contains("\npattern\norder:*\nevents\nSET\nDEL\nstatus\nactive\ncreated_at\n20"));
    assert!(info.contains("\ndeliveries\n3\nfailures\n0\nlast_delivery\n20"), "{info}");
    let deliveries = ferrite.cli("WEBHOOK.DELIVERIES order-updates COUNT 10");
    assert_eq!(deliveries.matches("http_status\n200\n").count(), 3, "{deliveries}");
    assert_eq!(
        ferrite.cli("WEBHOOK.DELIVERIES order-updates COUNT 1").matches("http_status").count(),
        1
    );

    ok("WEBHOOK.UPDATE order-updates EVENTS SET DEL EXPIRE");
    ok("WEBHOOK.UPDATE order-updates PATTERN 'order:v2:*'");
    ok("SET order:1 old-pattern");
    ok("SET order:v2:1 new-pattern");
    assert_eq!(receiver.wait_for(5)[4].json()["key"], "order:v2:1");
    ok("WEBHOOK.DISABLE order-updates");
    assert!(ferrite.cli("WEBHOOK.INFO order-updates").contains("\nstatus\ndisabled\n"));
    ok("SET order:v2:1 while-disabled");
    ok("WEBHOOK.ENABLE order-updates");
    ok("SET order:v2:1 enabled");
    assert_eq!(receiver.wait_for(6)[5].json()["data"]["value"], "enabled");
    ok("WEBHOOK.UPDATE order-updates URL https://new.example.com/webhook");
    assert!(ferrite.cli("WEBHOOK.LIST").contains("\nhttps://new.example.com/webhook\n"));
    ok("WEBHOOK.DELETE order-updates");
    assert_eq!(ferrite.cli("WEBHOOK.LIST"), "");
    let gone = ferrite.cli("WEBHOOK.INFO order-updates");
    assert_eq!(gone, "NOWEBHOOK no such webhook 'order-updates'");
    assert_eq!(receiver.arrivals().len(), 6);
}

#[test]
fn patterns_and_event_filters() {
    let ferrite = Ferrite::start(&[]);
    for (command, writes, wanted) in [
        (
            "WEBHOOK.CREATE my-webhook https://api.example.com/hook",
            &["SET anything 1", "LPUSH list 1"][..],
            "SET anything, LPUSH list",
        ),
        (
            "WEBHOOK.CREATE user-updates https://api.example.com/users PATTERN 'user:*'",
            &["SET order:1 1", "SET user:1 1"],
            "SET user:1",
        ),
        (
            "WEBHOOK.CREATE changes https://api.example.com/changes EVENTS SET DEL EXPIRE",
            &["RPUSH changed 1", "DEL changed", "SET changed 1"],
            "DEL changed, SET changed",
        ),
        (
            "WEBHOOK.CREATE all-changes https://example.com/hook EVENTS SET DEL EXPIRE RENAME",
            &["SET one 1", "RENAME one two", "SADD set 1", "DEL two"],
            "SET one, RENAME one, DEL two",
        ),
        (
            "WEBHOOK.CREATE users https://example.com/users PATTERN 'user:*'",
            &["SET use 1", "SET user: 1"],
            "SET user:",
        ),
        (
            "WEBHOOK.CREATE config https://example.com/config PATTERN 'config:app'",
            &["SET config:app2 1", "SET config:app 1"],
            "SET config:app",
        ),
        (
            "WEBHOOK.CREATE orders https://example.com/orders PATTERN 'order:*:items'",
            &["SET order:1 1", "RPUSH order:1:items 1"],
            "RPUSH order:1:items",
        ),
        (
            "WEBHOOK.CREATE order-created https://orders.example.com/new \\\n  \
             PATTERN 'order:*' \\\n  EVENTS SET",
            &["DEL order:1:items", "SET order:7 1"],
            "SET order:7",
        ),
        (
            "WEBHOOK.CREATE cache-invalidate https://cdn.example.com/purge \\\n  \
             PATTERN 'content:*' \\\n  EVENTS SET DEL",
            &["HSET content:h a 1", "DEL content:h", "SET content:s 1"],
            "DEL content:h, SET content:s",
        ),
        (
            "WEBHOOK.CREATE live-updates https://websocket.example.com/push \\\n  \
             PATTERN 'chat:*' \\\n  EVENTS SET LPUSH",
            &["RPUSH chat:1 a", "LPUSH chat:1 b", "SET chat:2 c"],
            "LPUSH chat:1, SET chat:2",
        ),
    ] {
        let receiver = Receiver::start();
        create(&ferrite, &receiver, command, writes);
        let mut wanted: Vec<&str> = wanted.split(", ").collect();
        let arrivals = receiver.wait_for(wanted.len());
        let found = events(&arrivals).into_iter().map(|(event, key)| format!("{event} {key}"));
        let mut found: Vec<String> = found.collect();
        // Only events of one key come in order.
        found.sort();
        wanted.sort_unstable();
        assert_eq!(found, wanted, "{command}");
        let name = command.split(' ').nth(1).unwrap();
        assert_eq!(ferrite.cli(&format!("WEBHOOK.DELETE {name}")), "OK");
    }
}

#[test]
fn credentials_and_secrets_go_with_the_request() {
    let ferrite = Ferrite::start(&[]);
    for (option, header, wanted) in [
        ("AUTH bearer mytoken123", "authorization", "Bearer mytoken123"),
        ("AUTH basic user:pass", "authorization", "Basic dXNlcjpwYXNz"),
        ("HEADER X-API-Key mysecretkey", "x-api-key", "mysecretkey"),
    ] {
        let receiver = Receiver::start();
        let command = format!("WEBHOOK.CREATE secure https://api.example.com/hook {option}");
        create(&ferrite, &receiver, &command, &["SET k v"]);
        assert_eq!(receiver.wait_for(1)[0].header(header), Some(wanted));
        assert_eq!(ferrite.cli("WEBHOOK.DELETE secure"), "OK");
    }
    let receiver = Receiver::start();
    let command = "WEBHOOK.CREATE secure https://api.example.com/hook SECRET mysecretkey";
    create(&ferrite, &receiver, command, &["SET k v"]);
    let arrival = receiver.wait_for(1).remove(0);
    let key = ferrite::core::signature::SigningKey::new("mysecretkey").unwrap();
    let mut signature = Vec::new();
    key.write_ferrite(&arrival.body, &mut signature);
    assert_eq!(arrival.header("x-ferrite-signature").unwrap().as_bytes(), signature);
}

#[test]
fn retries_are_made_as_configured() {
    let ferrite = Ferrite::start(&[]);
    assert_eq!(
        ferrite.cli(
            "WEBHOOK.CREATE reliable https://api.example.com/hook \\\n  RETRIES 5 \\\n  \
             RETRY_DELAY 1000 \\\n  RETRY_BACKOFF exponential"
        ),
        "OK"
    );
    let info = ferrite.cli("WEBHOOK.INFO reliable");
    let wanted = "\nretries\n5\nretry_delay_ms\n1000\nretry_backoff\nexponential\n";
    assert!(info.contains(wanted), "{info}");
    // The same, quicker.
    let receiver = Receiver::scripted(|number, _| match number {
        0..5 => Answer::Status(500, Duration::ZERO),
        _ => Answer::ok(),
    });
    assert_eq!(ferrite.cli("WEBHOOK.UPDATE reliable RETRY_DELAY 1"), "OK");
    assert_eq!(ferrite.cli(&format!("WEBHOOK.UPDATE reliable URL {}", receiver.url())), "OK");
    assert_eq!(ferrite.cli("SET k v"), "OK");
    let arrivals = receiver.wait_for(6);
    let attempts: Vec<_> =
        arrivals.iter().map(|arrival| arrival.header("x-ferrite-attempt").unwrap()).collect();
    assert_eq!(attempts, ["1", "2", "3", "4", "5", "6"]);
    eventually("it is counted", || {
        let stats = ferrite.cli("WEBHOOK.STATS reliable");
        stats.contains("\ndeliveries\n1\nfailures\n0\n")
    });
}

/// The documentation's audit log: a hundred events in one request.
#[test]
fn the_audit_log_comes_in_batches() {
    let ferrite = Ferrite::start(&[]);
    let reply = ferrite.cli(
        "WEBHOOK.CREATE audit-log https://audit.example.com/log \\\n  \
         EVENTS SET DEL EXPIRE RENAME \\\n  BATCH true \\\n  BATCH_SIZE 100",
    );
    assert_eq!(reply, "OK");
    let receiver = Receiver::start();
    let command = "WEBHOOK.CREATE audit https://audit.example.com/log \
                   EVENTS SET DEL EXPIRE RENAME BATCH true BATCH_SIZE 2";
    create(&ferrite, &receiver, command, &["SET k v", "RENAME k n"]);
    let batch = receiver.wait_for(1)[0].json();
    assert_eq!((&batch["count"], batch["events"][0]["event"].as_str()), (&2.into(), Some("SET")));
    let rename = &batch["events"][1];
    assert_eq!((&rename["key"], &rename["data"]["new_key"]), (&"k".into(), &"n".into()));
}

#[test]
fn events_can_be_published() {
    let ferrite = Ferrite::start(&[]);
    let receiver = Receiver::start();
    create(&ferrite, &receiver, "WEBHOOK.CREATE w https://example.com/ EVENTS HSET", &[]);
    assert_eq!(ferrite.cli("WEBHOOK.PUBLISH HSET basket:7 'two apples' TTL 60"), "OK");
    let json = receiver.wait_for(1)[0].json();
    assert_eq!((&json["event"], &json["key"]), (&"HSET".into(), &"basket:7".into()));
    assert_eq!((&json["data"]["value"], &json["data"]["ttl"]), (&"two apples".into(), &60.into()));
    assert!(ferrite.cli("WEBHOOK.HELP").starts_with("WEBHOOK.CREATE <name> <url>"));
}

/// What redis-cli does beside sending commands; it ends itself where it dislikes a reply.
#[test]
fn redis_cli_s_own_modes() {
    let ferrite = Ferrite::start(&[]);
    let receiver = Receiver::start();
    let command = "WEBHOOK.CREATE w https://example.com/ PATTERN 'piped:*'";
    create(&ferrite, &receiver, command, &[]);
    let help = ferrite.cli("<<'END'\nhelp @webhook\nhelp webhook.create\nEND");
    for name in ["create", "update", "delete", "list", "info", "enable", "disable", "test"] {
        assert!(help.contains(&format!("WEBHOOK.{}", name.to_uppercase())), "{help}");
    }
    assert!(help.contains("[PATTERN pattern]"), "{help}");
    let piped = ferrite.cli("--pipe <<'END'\nSET piped:1 a\nSET piped:2 b\nEND");
    assert!(piped.contains("errors: 0, replies: 2"), "{piped}");
    receiver.wait_for(2);
    assert_eq!(ferrite.cli("--scan --pattern 'piped:*'").lines().count(), 2);
    assert!(ferrite.cli("--bigkeys").contains("Sampled 2 keys"));
    assert!(ferrite.cli("-3 WEBHOOK.INFO w").starts_with("name w\nurl http://"));
    assert!(ferrite.cli("-3 --json WEBHOOK.STATS").contains("\"total_webhooks\":1,"));
    assert!(ferrite.cli("INFO webhooks").contains("total_webhooks:1"));
}
