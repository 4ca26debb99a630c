//! The user documentation's quick start on a real redis-server, typed with redis-cli.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../tests/support/mod.rs"]
mod support;

use common::Redis;
use support::{Receiver, eventually};

#[test]
fn the_quick_start_works_as_typed() {
    let redis = Redis::start(&[]);
    let receiver = Receiver::start();
    let ok = |command: &str| assert_eq!(redis.cli(command), "OK", "{command}");
    ok("WEBHOOK.CREATE order-updates https://api.example.com/webhook \
        PATTERN 'order:*' EVENTS SET DEL");
    assert_eq!(
        redis.cli("WEBHOOK.LIST"),
        "name\norder-updates\nurl\nhttps://api.example.com/webhook\npattern\norder:*\nevents\nSET\n\
         DEL\nstatus\nactive"
    );
    ok(&format!("WEBHOOK.UPDATE order-updates URL {}", receiver.url()));
    assert!(redis.cli("WEBHOOK.TEST order-updates").starts_with("result\nsuccess\nerror\n\n"));
    assert_eq!(receiver.wait_for(1)[0].json()["event"], "TEST");
    ok("SET order:1 Alice");
    ok("SET user:1 nobody");
    ok("SET order:1 Bob EX 3600");
    assert_eq!(redis.cli("DEL order:1"), "1");
    let arrivals = receiver.wait_for(4);
    let data: Vec<_> = arrivals[1..].iter().map(|arrival| arrival.json()["data"].clone()).collect();
    assert_eq!(data[0], serde_json::json!({"value": "Alice", "old_value": null, "ttl": null}));
    assert_eq!(data[1], serde_json::json!({"value": "Bob", "old_value": null, "ttl": 3600}));
    assert_eq!(data[2], serde_json::json!({"value": null, "old_value": null, "ttl": null}));
    let json = arrivals[3].json();
    assert_eq!((&json["event"], &json["key"]), (&"DEL".into(), &"order:1".into()));

    eventually("it is counted", || {
        redis.cli("WEBHOOK.STATS").contains("successful_deliveries\n3\n")
    });
    let info = redis.cli("WEBHOOK.INFO order-updates");
    assert!(info.starts_with("name\norder-updates\nurl\nhttp://127.0.0.1:"), "{info}");
    assert!(info.contains("\ndeliveries\n3\nfailures\n0\nlast_delivery\n20"), "{info}");
    let deliveries = redis.cli("WEBHOOK.DELIVERIES order-updates COUNT 10");
    assert_eq!(deliveries.matches("http_status\n200\n").count(), 3, "{deliveries}");

    ok("WEBHOOK.UPDATE order-updates EVENTS SET DEL EXPIRE");
    ok("WEBHOOK.UPDATE order-updates PATTERN 'order:v2:*'");
    ok("SET order:1 old-pattern");
    ok("SET order:v2:1 new-pattern");
    assert_eq!(receiver.wait_for(5)[4].json()["key"], "order:v2:1");
    ok("WEBHOOK.DISABLE order-updates");
    ok("SET order:v2:1 while-disabled");
    ok("WEBHOOK.ENABLE order-updates");
    ok("SET order:v2:1 enabled");
    assert_eq!(receiver.wait_for(6)[5].json()["data"]["value"], "enabled");
    ok("WEBHOOK.DELETE order-updates");
    assert_eq!(redis.cli("WEBHOOK.LIST"), "");
    assert_eq!(
        redis.cli("WEBHOOK.INFO order-updates"),
        "NOWEBHOOK no such webhook 'order-updates'"
    );
    assert_eq!(receiver.arrivals().len(), 6);
}

#[test]
fn the_command_line_client_gets_hints_and_help() {
    let redis = Redis::start(&[]);
    let help = redis.cli("HELP WEBHOOK.CREATE");
    assert!(help.contains("name url [PATTERN pattern] [EVENTS SET|DEL|"), "{help}");
    let docs = redis.cli("COMMAND DOCS webhook.update webhook.replay webhook.dead webhook.publish");
    assert!(docs.contains("Changes a webhook.") && docs.contains("while-disabled"), "{docs}");
    let info = redis.cli("COMMAND INFO webhook.create webhook.test");
    for flag in ["write", "admin", "noscript", "skip_monitor", "skip_slowlog", "blocking"] {
        assert!(info.contains(flag), "{flag}: {info}");
    }
}

#[test]
fn in_a_cluster_what_is_published_goes_to_the_node_of_its_key() {
    let redis = Redis::start(&["--cluster-enabled", "yes"]);
    let receiver = Receiver::start();
    let create = format!("WEBHOOK.CREATE w {}", receiver.url());
    assert_eq!(redis.cli(&create), "OK");
    assert_eq!(redis.cli("CLUSTER ADDSLOTSRANGE 0 8191"), "OK");
    assert_eq!(redis.cli("CONFIG SET cluster-require-full-coverage no"), "OK");
    // The slot of `b` is 3300, that of `a` is 15495.
    eventually("its slots are served", || redis.cli("WEBHOOK.PUBLISH SET b v") == "OK");
    assert!(redis.cli("WEBHOOK.PUBLISH SET a v").contains("CLUSTERDOWN Hash slot not served"));
    assert_eq!(redis.cli("SET b v EX 10"), "OK");
    let arrivals = receiver.wait_for(2);
    assert_eq!(arrivals[1].json()["data"]["ttl"], 10);
}
