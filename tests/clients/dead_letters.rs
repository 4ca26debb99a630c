//! A bad night with redis-cli: what failed is found, looked at, and sent again.

use crate::server::Ferrite;
use crate::support::{Answer, Receiver, eventually};
use std::time::Duration;

#[test]
fn what_was_given_up_is_found_and_sent_again() {
    let ferrite = Ferrite::start(&[]);
    // The first two requests are the two events' only attempts.
    let receiver = Receiver::scripted(|number, _| match number {
        0 | 1 => Answer::Status(503, Duration::ZERO),
        _ => Answer::ok(),
    });
    let create = format!("WEBHOOK.CREATE orders {} RETRIES 0 WHILE_DISABLED keep", receiver.url());
    assert_eq!(ferrite.cli(&create), "OK");
    assert_eq!(ferrite.cli("SET order:1 a"), "OK");
    assert_eq!(ferrite.cli("SET order:2 b"), "OK");
    eventually("both are given up", || {
        ferrite.cli("WEBHOOK.INFO orders").contains("\ndead_letters\n2\n")
    });
    assert_eq!(ferrite.cli("SET order:3 c"), "OK");
    eventually("the third is delivered", || {
        ferrite.cli("WEBHOOK.DELIVERIES orders STATUS ok").contains("order:3")
    });
    let dead = ferrite.cli("WEBHOOK.DELIVERIES orders STATUS dead SINCE 2020-01-01T00:00:00Z");
    assert_eq!(dead.matches("\nhttp_status\n503\n").count(), 2, "{dead}");
    assert_eq!(ferrite.cli("WEBHOOK.DELIVERIES orders SINCE 4000000000"), "");

    let dead = ferrite.cli("WEBHOOK.DEAD orders");
    assert!(dead.starts_with("id\nevt_"), "{dead}");
    assert_eq!(dead.matches("\nreason\nretries used up\nattempts\n1\n").count(), 2, "{dead}");
    let id = dead.lines().nth(1).unwrap();
    let body = ferrite.cli(&format!("WEBHOOK.DEAD orders ID {id}"));
    let sent = receiver.arrivals().into_iter().find(|one| one.header("x-ferrite-id") == Some(id));
    assert_eq!(body.as_bytes(), sent.unwrap().body);
    assert_eq!(ferrite.cli(&format!("WEBHOOK.REPLAY orders ID {id}")), "1");
    assert_eq!(receiver.wait_for(4)[3].header("x-ferrite-id"), Some(id));
    eventually("it is counted", || {
        ferrite.cli("WEBHOOK.STATS orders").contains("\nreplayed\n1\ndead_letters\n1\n")
    });
    assert_eq!(
        ferrite.cli(&format!("WEBHOOK.REPLAY orders ID {id}")),
        format!(
            "NOTKEPT event {id} is not kept: without the durable log only dead letters can be \
             sent again, delivered events are not kept"
        )
    );

    assert_eq!(ferrite.cli("WEBHOOK.DISABLE orders"), "OK");
    assert_eq!(
        ferrite.cli("WEBHOOK.REPLAY orders DEAD"),
        "WEBHOOKDISABLED webhook 'orders' is disabled; enable it, then replay"
    );
    assert_eq!(ferrite.cli("SET order:4 meanwhile"), "OK");
    eventually("it waits", || ferrite.cli("WEBHOOK.INFO orders").contains("\npending\n1\n"));
    assert_eq!(ferrite.cli("WEBHOOK.ENABLE orders"), "OK");
    assert_eq!(receiver.wait_for(5)[4].json()["data"]["value"], "meanwhile");
    let replay = "WEBHOOK.REPLAY orders SINCE 1500000000 PATTERN 'order:*' RATE 1000";
    assert_eq!(ferrite.cli(replay), "1");
    receiver.wait_for(6);
    eventually("nothing is left", || ferrite.cli("WEBHOOK.DEAD orders").is_empty());
    assert_eq!(ferrite.cli("WEBHOOK.DEAD orders CLEAR"), "0");

    let test = ferrite.cli("WEBHOOK.TEST orders");
    let names: Vec<&str> = test.lines().step_by(2).skip(4).collect();
    let stages = "latency_us id response resolve_us connect_us tls_us first_byte_us";
    assert_eq!(names.join(" "), stages);
    let docs = ferrite.cli("<<'END'\nhelp webhook.replay\nEND");
    assert!(docs.contains("[PATTERN pattern] [RATE events-per-second]"), "{docs}");
}
