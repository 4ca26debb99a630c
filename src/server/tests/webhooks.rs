//! The WEBHOOK commands, and events on their way to the engine.

use super::*;
use crate::webhooks::{
    DeliveryFilter, DeliveryOutcome, Failure, ReplayOf, ReplayRequest, WebhookAuth, WebhookEvent,
};
use std::time::Instant;

#[test]
fn the_specification_s_commands() {
    let server = TestServer::start();
    let mut client = server.client();
    let ok = "+OK\r\n";
    client.ask(
        "WEBHOOK.CREATE order-updates https://api.example.com/webhook PATTERN 'order:*' EVENTS \
         SET DEL",
        ok,
    );
    client.ask(
        "WEBHOOK.LIST",
        "*1\r\n*10\r\n$4\r\nname\r\n$13\r\norder-updates\r\n$3\r\nurl\r\n\
         $31\r\nhttps://api.example.com/webhook\r\n$7\r\npattern\r\n$7\r\norder:*\r\n\
         $6\r\nevents\r\n*2\r\n$3\r\nSET\r\n$3\r\nDEL\r\n$6\r\nstatus\r\n$6\r\nactive\r\n",
    );
    let info = client.answer("webhook.info order-updates");
    let mut at = 0;
    for wanted in [
        "name",
        "url",
        "pattern",
        "events",
        "status",
        "created_at",
        "2024-01-15T10:00:00Z",
        "deliveries",
        ":7",
        "failures",
        ":3",
        "last_delivery",
        "2024-01-15T10:29:55Z",
        "auth",
    ] {
        let found = info[at..].find(&format!("{wanted}\r\n"));
        at += found.unwrap_or_else(|| panic!("{wanted} after {at} in {info}"));
    }
    client.ask("WEBHOOK.UPDATE order-updates URL https://new.example.com/webhook", ok);
    client.ask("WEBHOOK.UPDATE order-updates EVENTS SET DEL EXPIRE", ok);
    client.ask("WEBHOOK.UPDATE order-updates PATTERN 'order:v2:*'", ok);
    client.ask("WEBHOOK.DISABLE order-updates", ok);
    assert!(client.answer("WEBHOOK.LIST").contains("disabled"));
    client.ask("WEBHOOK.ENABLE order-updates", ok);
    let deliveries = client.answer("WEBHOOK.DELIVERIES order-updates COUNT 10");
    assert!(deliveries.starts_with("*2\r\n*"), "{deliveries}");
    assert!(deliveries.contains("\r\n$2\r\nid\r\n$5\r\nevt_2\r\n"), "{deliveries}");
    assert!(deliveries.contains("$11\r\nhttp-status\r\n"), "{deliveries}");
    client.ask("WEBHOOK.DELETE order-updates", ok);
    client.ask("WEBHOOK.LIST", "*0\r\n");
    let updates = &server.engine.state().updates;
    assert_eq!(updates[0].url.as_deref(), Some("https://new.example.com/webhook"));
    let events = [WebhookEvent::Set, WebhookEvent::Del, WebhookEvent::Expire];
    assert_eq!(updates[1].events.as_deref(), Some(events.as_slice()));
    assert_eq!(updates[2].pattern.as_deref(), Some("order:v2:*"));
}

#[test]
fn creation_takes_every_option() {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask("WEBHOOK.CREATE a https://x/h AUTH bearer mytoken123", "+OK\r\n");
    client.ask("WEBHOOK.CREATE b https://x/h HEADER X-API-Key mysecretkey SECRET s", "+OK\r\n");
    client.ask(
        "WEBHOOK.CREATE c https://x/h RETRIES 5 RETRY_DELAY 1000 RETRY_BACKOFF exponential",
        "+OK\r\n",
    );
    let state = server.engine.state();
    assert_eq!(state.webhooks["a"].1.auth, Some(WebhookAuth::Bearer("mytoken123".to_owned())));
    assert_eq!(state.webhooks["b"].1.headers, [("X-API-Key".into(), "mysecretkey".into())]);
    assert_eq!(state.webhooks["c"].1.retries, 5);
}

#[test]
fn errors_have_their_prefixes() {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask("WEBHOOK.INFO x", "-NOWEBHOOK no such webhook 'x'\r\n");
    client.ask("WEBHOOK.TEST x", "-NOWEBHOOK no such webhook 'x'\r\n");
    client.ask("WEBHOOK.STATS x", "-NOWEBHOOK no such webhook 'x'\r\n");
    client.ask("WEBHOOK.CREATE a https://x/", "+OK\r\n");
    client.ask("WEBHOOK.CREATE a https://x/", "-WEBHOOKEXISTS webhook 'a' exists already\r\n");
    assert!(client.answer("WEBHOOK.CREATE b http://denied/").starts_with("-WEBHOOKDENIED host"));
    client.ask("WEBHOOK.CREATE b https://x/", "+OK\r\n");
    client.ask("WEBHOOK.CREATE c https://x/", "+OK\r\n");
    assert!(client.answer("WEBHOOK.CREATE d https://x/").starts_with("-WEBHOOKLIMIT limit of 3"));
    client
        .ask("WEBHOOK.CREATE d", "-ERR wrong number of arguments for 'webhook.create' command\r\n");
    assert!(client.answer("WEBHOOK.CREATE d https://x/ EVENTS FOO").starts_with("-ERR unknown"));
    assert!(client.answer("WEBHOOK.CREATE d https://x/ BATCH maybe").contains("true or false"));
    assert!(client.answer("WEBHOOK.DELIVERIES a COUNT x").starts_with("-ERR value of COUNT"));
}

#[test]
fn secrets_appear_in_no_reply() {
    let server = TestServer::start();
    let mut client = server.client();
    let mut seen = String::new();
    for command in [
        "WEBHOOK.CREATE a https://x/ AUTH bearer hunter2 HEADER X-Key hunter2 SECRET hunter2",
        "WEBHOOK.CREATE a https://x/ SECRET hunter2",
        "WEBHOOK.CREATE b https://x/ SECRET my hunter2",
        "WEBHOOK.CRATE a https://x/ SECRET hunter2",
        "webhok.create a https://x/ SECRET hunter2",
        "WEBHOOK.UPDATE a AUTH basic hunter2",
        "WEBHOOK.UPDATE a AUTH hunter2 EVENTS SET",
        "WEBHOOK.LIST",
        "WEBHOOK.INFO a",
        "WEBHOOK.DELIVERIES a",
        "CLIENT LIST",
        "CLIENT INFO",
        "INFO",
        "SLOWLOG GET",
        "CONFIG GET *",
    ] {
        seen += &client.answer(command);
    }
    assert!(!seen.contains("hunter2"), "{seen}");
}

#[test]
fn statistics_come_in_the_specification_s_order() {
    let server = TestServer::start();
    let mut client = server.client();
    let stats = client.answer("WEBHOOK.STATS");
    let expected = "$14\r\ntotal_webhooks\r\n:0\r\n$15\r\nactive_webhooks\r\n:0\r\n\
         $16\r\ntotal_deliveries\r\n:7\r\n$21\r\nsuccessful_deliveries\r\n:4\r\n\
         $17\r\nfailed_deliveries\r\n:3\r\n$18\r\npending_deliveries\r\n:2\r\n\
         $14\r\navg_latency_ms\r\n:150\r\n";
    assert!(stats.contains(expected), "{stats}");
    client.answer("HELLO 3");
    assert!(client.answer("WEBHOOK.STATS").starts_with('%'));
    assert!(client.answer("WEBHOOK.HELP").starts_with('*'));
}

#[test]
fn deliveries_are_filtered_and_dead_ones_shown_cleared_and_replayed() {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask("WEBHOOK.CREATE a https://x/ WHILE_DISABLED keep", "+OK\r\n");
    client.answer("WEBHOOK.DELIVERIES a STATUS dead SINCE 2024-01-15T10:00:00Z COUNT 1");
    let filter = DeliveryFilter {
        count: 1,
        outcome: Some(DeliveryOutcome::Dead),
        since_us: Some(1_705_312_800_000_000),
    };
    assert_eq!(server.engine.state().filters, [filter]);
    let dead = client.answer("WEBHOOK.DEAD a COUNT 1");
    assert!(dead.starts_with("*1\r\n*20\r\n$2\r\nid\r\n"), "{dead}");
    assert!(dead.contains("$6\r\nreason\r\n$15\r\nretries used up\r\n"), "{dead}");
    client.ask("WEBHOOK.DEAD a ID evt_3", "$13\r\nbody of evt_3\r\n");
    client.ask("WEBHOOK.DEAD a CLEAR", ":2\r\n");
    client.ask("WEBHOOK.REPLAY a DEAD RATE 7", ":2\r\n");
    let request = ReplayRequest { per_second: Some(7), ..ReplayRequest::new(ReplayOf::Dead) };
    assert_eq!(server.engine.state().replays, [request]);
    client.ask(
        "WEBHOOK.REPLAY a ID evt_7",
        "-NOTKEPT event evt_7 is not kept: without the durable log only dead letters can be sent \
         again, delivered events are not kept\r\n",
    );
    assert!(client.answer("WEBHOOK.REPLAY a ALL").starts_with("-ERR WEBHOOK.REPLAY takes"));
    assert!(client.answer("WEBHOOK.DEAD a FOO").starts_with("-ERR WEBHOOK.DEAD takes"));
    assert!(client.answer("WEBHOOK.DEAD b").starts_with("-NOWEBHOOK"));
    let info = client.answer("WEBHOOK.INFO a");
    assert!(info.ends_with("$14\r\nwhile_disabled\r\n$4\r\nkeep\r\n"), "{info}");
    assert!(info.contains("$12\r\ndead_letters\r\n:2\r\n"), "{info}");
    client.answer("HELLO 3");
    assert!(client.answer("WEBHOOK.DEAD a COUNT 1").starts_with("*1\r\n%10\r\n"));
}

#[test]
fn a_test_holds_up_its_own_client_only() {
    let server = TestServer::start();
    let (mut client, mut other) = (server.client(), server.client());
    client.ask("WEBHOOK.CREATE a https://x/", "+OK\r\n");
    client.send("WEBHOOK.TEST a\r\nPING behind\r\n");
    for _ in 0..20 {
        other.ask("PING", "+PONG\r\n");
    }
    client.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(client.socket.read(&mut [0; 1]).is_err(), "answered before the test was over");
    client.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    server.engine.end_tests(None);
    client.expect("*22\r\n$6\r\nresult\r\n$7\r\nsuccess\r\n$5\r\nerror\r\n$-1\r\n");
    client.expect("$11\r\nhttp_status\r\n:200\r\n$10\r\nlatency_ms\r\n:12\r\n");
    client.expect(
        "$10\r\nlatency_us\r\n:12345\r\n$2\r\nid\r\n$5\r\nevt_1\r\n$8\r\nresponse\r\n$0\r\n\r\n",
    );
    client
        .expect("$10\r\nresolve_us\r\n$-1\r\n$10\r\nconnect_us\r\n:250\r\n$6\r\ntls_us\r\n$-1\r\n");
    assert!(client.answer("").ends_with("$6\r\nbehind\r\n"));
    server.engine.end_tests(Some(Failure::ConnectRefused));
    client.send("WEBHOOK.TEST a\r\n");
    client.expect(
        "*22\r\n$6\r\nresult\r\n$7\r\nfailure\r\n$5\r\nerror\r\n$15\r\nconnect-refused\r\n",
    );
}

#[test]
fn a_client_that_leaves_during_its_test_is_forgotten() {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask("WEBHOOK.CREATE a https://x/", "+OK\r\n");
    client.send("WEBHOOK.TEST a\r\n");
    drop(client);
    server.engine.end_tests(None);
    server.client().ask("PING", "+PONG\r\n");
}

#[test]
fn writes_and_publications_reach_the_engine_with_their_client() {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask("SELECT 2", "+OK\r\n");
    client.ask("SET k v", "+OK\r\n");
    client.ask("DEL k missing", ":1\r\n");
    client.ask("WEBHOOK.PUBLISH hset key value DB 5", "+OK\r\n");
    assert!(client.answer("WEBHOOK.PUBLISH GET key value").starts_with("-ERR unknown event"));
    let expected = [
        "SET k v db2 conn:1 127.0.0.1",
        "DEL k - db2 conn:1 127.0.0.1",
        "HSET key value db5 conn:1 127.0.0.1",
    ];
    assert_eq!(server.engine.state().events, expected);
}

#[test]
fn keys_expire_within_milliseconds() {
    let server = TestServer::start();
    let mut client = server.client();
    let started = Instant::now();
    client.ask("SET k v PX 150", "+OK\r\n");
    while server.engine.state().events.len() < 2 {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(145) && took < Duration::from_millis(400), "{took:?}");
    assert_eq!(server.engine.state().events[1], "EXPIRE k - db0 - -");
}

#[test]
fn a_write_is_answered_only_when_its_event_was_accepted() {
    let server = TestServer::start();
    let mut client = server.client();
    server.engine.state().full = true;
    client.send("SET k v\r\n");
    client.socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(client.socket.read(&mut [0; 1]).is_err(), "answered before the event was accepted");
    client.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(server.engine.state().events.is_empty());
    server.engine.state().full = false;
    client.expect("+OK\r\n");
    assert_eq!(server.engine.state().events.len(), 1);
    assert!(client.answer("INFO webhooks").contains("event_waits:1\r\n"));
}

#[test]
fn refused_events_are_counted() {
    let server = TestServer::start();
    let mut client = server.client();
    client.ask("SET huge v", "+OK\r\n");
    assert!(client.answer("INFO webhooks").contains("events_refused:1\r\n"));
    assert!(client.answer("WEBHOOK.PUBLISH SET huge v").starts_with("-ERR event of 2 bytes"));
}
