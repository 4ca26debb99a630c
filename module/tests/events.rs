//! The ten events on a real redis-server, beside those of `ferrite serve`.
#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../tests/support/mod.rs"]
mod support;

use common::{Ferrite, Redis, Resp};
use serde_json::{Value, json};
use std::time::Duration;
use support::{Receiver, eventually};

/// The commands of one key, so that its events have an order.
const KEYS: &[&[&str]] = &[
    &["SET s:1 a", "SET s:1 b EX 100", "SET s:1 c KEEPTTL", "SET s:1 d", "DEL s:1"],
    &["SET s:2 1", "INCR s:2", "DECRBY s:2 5", "INCRBYFLOAT s:2 0.5", "APPEND s:2 x", "GETDEL s:2"],
    &["SETEX s:3 50 a", "PSETEX s:3 70000 b", "SETRANGE s:3 1 yy", "GETSET s:3 c", "UNLINK s:3"],
    &[
        "SETNX s:4 a",
        "SETNX s:4 b",
        "SET s:4 c NX",
        "SET s:4 d XX GET",
        "EXPIRE s:4 9",
        "EXPIRE s:4 -1",
    ],
    &["MSET s:5 a s:5 b", "MSETNX s:5 x", "GETEX s:5 EX 30", "PERSIST s:5", "INCR s:5"],
    &["RPUSH l:1 a b", "LPUSH l:1 c d", "LPUSHX l:1 e", "RPUSHX l:9 x", "LTRIM l:1 1 0"],
    &["HSET h:1 f v g w", "HSET h:1 f v", "HSETNX h:1 f x", "HSETNX h:1 n 5", "HINCRBY h:1 n 2"],
    &["HMSET h:2 f 1", "HINCRBYFLOAT h:2 f 0.25", "EXPIRE h:2 100", "HSET h:2 g 2", "HDEL h:2 f g"],
    &["SADD m:1 a b", "SADD m:1 a", "SADD m:1 c", "SREM m:1 a b c"],
    &[
        "ZADD z:1 1 a 2.5 b",
        "ZADD z:1 GT 0 a",
        "ZADD z:1 GT CH 7 a",
        "ZINCRBY z:1 1.5 b",
        "ZREM z:1 a b",
    ],
    &["ZADD z:2 NX 1 a", "ZADD z:2 INCR 5 a", "ZADD z:2 inf b", "ZPOPMIN z:2", "ZPOPMAX z:2"],
    &[
        "XADD x:1 1-1 f v g w",
        "XADD x:1 MAXLEN 1 1-2 f v f again",
        "EXPIRE x:1 60",
        "XADD x:1 2-* k v",
    ],
    &["SET r:1 v EX 100", "RENAME r:1 r:2", "RENAMENX r:2 r:1", "SET r:1 w"],
    &["SET b:1 \u{fffd}", "SADD s:1 oops", "LPUSH b:1 oops", "HSET b:1 a", "SET b:1"],
];

/// What is compared: not the ids, the times and the clients.
fn told(receiver: &Receiver, key: &str) -> Vec<Value> {
    let arrivals = receiver.arrivals();
    let jsons = arrivals.iter().map(support::Arrival::json);
    jsons
        .filter(|json| json["key"] == key)
        .map(|json| json!([json["event"], json["key"], json["database"], json["data"]]))
        .collect()
}

/// Runs all commands; the events of each key, in order, when the last has arrived.
fn events_of(client: &mut Resp) -> Vec<(String, Vec<Value>)> {
    let receiver = Receiver::start();
    client.ok(&format!("WEBHOOK.CREATE w {}", receiver.url()));
    for line in KEYS.iter().flat_map(|lines| lines.iter()) {
        client.line(line);
    }
    eventually_delivered(client, &receiver);
    let keys = KEYS.iter().map(|lines| lines[0].split(' ').nth(1).unwrap()).chain(["r:2"]);
    keys.map(|key| (key.to_owned(), told(&receiver, key))).collect()
}

/// Waits until nothing is pending: an event of a key of its own is the last.
fn eventually_delivered(client: &mut Resp, receiver: &Receiver) {
    let lasts = |seen: &[support::Arrival]| {
        seen.iter().filter(|arrival| arrival.json()["key"] == "the:last").count()
    };
    let before = lasts(&receiver.arrivals());
    client.ok("SET the:last v");
    receiver.wait_until(|seen| lasts(seen) > before);
    let client = std::cell::RefCell::new(client);
    eventually("all is delivered", || {
        client.borrow_mut().counter("WEBHOOK.STATS", "pending_deliveries") == 0
    });
}

/// An event as the module tells it: without the old value, which the server does not tell it.
fn without_old_value(mut event: Value) -> Value {
    event[3]["old_value"] = Value::Null;
    event
}

#[test]
fn events_are_told_as_the_server_of_this_project_tells_them() {
    let (redis, ferrite) = (Redis::start(&[]), Ferrite::start());
    let (of_redis, of_ferrite) = (events_of(&mut redis.client()), events_of(&mut ferrite.client()));
    for ((key, redis), (_, ferrite)) in of_redis.into_iter().zip(of_ferrite) {
        let ferrite: Vec<Value> = ferrite.into_iter().map(without_old_value).collect();
        let text =
            |events: &[Value]| events.iter().map(Value::to_string).collect::<Vec<_>>().join("\n");
        assert!(!redis.is_empty(), "{key}");
        assert_eq!(text(&redis), text(&ferrite), "{key}");
    }
}

#[test]
fn what_moves_between_lists_and_sets_is_told() {
    let (redis, receiver) = (Redis::start(&[]), Receiver::start());
    let (mut client, mut waiting) = (redis.client(), redis.client());
    client.ok(&format!("WEBHOOK.CREATE w {} EVENTS LPUSH RPUSH SADD", receiver.url()));
    client.line("RPUSH from a b c");
    client.line("LMOVE from to LEFT RIGHT");
    client.line("LMOVE to to RIGHT LEFT");
    client.line("RPOPLPUSH from to");
    client.line("SADD one m n");
    client.line("SMOVE one other m");
    // This one waits; what it gets when something is pushed is known to be moved, but not what.
    waiting.send(&["BLMOVE", "empty", "to", "LEFT", "LEFT", "0"]);
    std::thread::sleep(Duration::from_millis(50));
    client.line("RPUSH empty x");
    waiting.read();
    eventually("all is delivered", || receiver.arrivals().len() == 8);
    let values = |key: &str| -> Vec<Value> {
        told(&receiver, key).iter().map(|event| json!([event[0], event[3]["value"]])).collect()
    };
    let to = [json!(["RPUSH", ["a"]]), json!(["LPUSH", ["a"]]), json!(["LPUSH", ["c"]])];
    assert_eq!(values("to")[..3], to);
    assert_eq!(values("to")[3], json!(["LPUSH", null]));
    assert_eq!(values("empty"), [json!(["RPUSH", ["x"]])]);
    assert_eq!(values("other"), [json!(["SADD", ["m"]])]);
}

/// Where the two differ, and that it is as the documentation says.
#[test]
fn members_that_were_there_before_are_told_too() {
    let (redis, receiver) = (Redis::start(&[]), Receiver::start());
    let mut client = redis.client();
    client.ok(&format!("WEBHOOK.CREATE w {}", receiver.url()));
    client.line("SADD m a b");
    client.line("SADD m b c");
    client.line("ZADD z 1 a");
    client.line("ZADD z 1 a 2 b");
    let arrivals = receiver.wait_for(4);
    let of = |key: &str| -> Vec<Value> {
        let jsons = arrivals.iter().map(support::Arrival::json);
        jsons.filter(|json| json["key"] == key).map(|json| json["data"]["value"].clone()).collect()
    };
    assert_eq!(of("m"), [json!(["a", "b"]), json!(["b", "c"])]);
    let both = json!([{"member": "a", "score": "1"}, {"member": "b", "score": "2"}]);
    assert_eq!(of("z")[1], both);
}

#[test]
fn transactions_scripts_and_functions_are_told_of() {
    let (redis, receiver) = (Redis::start(&[]), Receiver::start());
    let mut client = redis.client();
    client.ok(&format!("WEBHOOK.CREATE w {}", receiver.url()));
    client.line("MULTI");
    for line in ["SET t:1 a", "RPUSH t:2 x", "INCR t:3", "XADD t:4 1-1 f v", "SET t:5 v EX 50"] {
        assert_eq!(client.line(line), "+QUEUED\r\n");
    }
    assert!(client.line("EXEC").starts_with("*5\r\n"));
    let script = "redis.call('SET','l:1','a') redis.call('LPUSH','l:2','x','y') return 1";
    assert_eq!(client.ask(&["EVAL", script, "0"]), ":1\r\n");
    let library = "#!lua name=lib\nredis.register_function('f', function(keys) \
                   return redis.call('HSET', keys[1], 'f', 'v') end)";
    client.ask(&["FUNCTION", "LOAD", library]);
    assert_eq!(client.line("FCALL f 1 f:1"), ":1\r\n");
    // A transaction that is given up, and one that a watched key stops, are no events.
    client.line("MULTI");
    client.line("SET t:9 no");
    client.ok("DISCARD");
    client.ok("WATCH t:1");
    redis.client().ok("SET t:1 changed");
    client.line("MULTI");
    client.line("SET t:9 no");
    assert_eq!(client.line("EXEC"), "*-1\r\n");
    eventually_delivered(&mut client, &receiver);
    let value = |key: &str| {
        let events = told(&receiver, key);
        assert_eq!(events.len(), 1, "{key}: {events:?}");
        (events[0][3]["value"].clone(), events[0][3]["ttl"].clone())
    };
    assert_eq!(told(&receiver, "t:1").len(), 2);
    // What was pushed is not known within a transaction.
    assert_eq!(value("t:2"), (Value::Null, Value::Null));
    assert_eq!(value("t:3"), (json!("1"), Value::Null));
    assert_eq!(value("t:4").0, json!({"id": "1-1", "fields": [["f", "v"]]}));
    assert_eq!(value("t:5"), (json!("v"), json!(50)));
    assert_eq!(value("l:1").0, "a");
    assert_eq!(value("l:2").0, json!(["x", "y"]));
    assert_eq!(value("f:1").0, json!([["f", "v"]]));
    assert!(told(&receiver, "t:9").is_empty());
}

#[test]
fn what_was_queued_is_not_taken_for_what_happens() {
    let (redis, receiver) = (Redis::start(&[]), Receiver::start());
    let (mut one, mut other) = (redis.client(), redis.client());
    one.ok(&format!("WEBHOOK.CREATE w {}", receiver.url()));
    one.line("RPUSH src b");
    // This one stands at the server when the other's transaction runs.
    other.line("MULTI");
    other.line("LPUSH k queued");
    one.line("LPUSH k pushed");
    one.line("LMOVE src k RIGHT LEFT");
    // The last words that were seen are those of another client's transaction.
    let mut third = redis.client();
    third.line("MULTI");
    third.line("LPUSH k third");
    other.line("EXEC");
    third.ok("DISCARD");
    eventually_delivered(&mut one, &receiver);
    let values: Vec<Value> =
        told(&receiver, "k").iter().map(|event| event[3]["value"].clone()).collect();
    assert_eq!(values, [json!(["pushed"]), json!(["b"]), Value::Null]);
}

#[test]
fn expiry_and_eviction_are_told_of() {
    let (redis, receiver) = (Redis::start(&["--hz", "100"]), Receiver::start());
    let mut client = redis.client();
    client.ok(&format!("WEBHOOK.CREATE w {} EVENTS EXPIRE DEL", receiver.url()));
    client.ok("SET gone v PX 20");
    let arrivals = receiver.wait_for(1);
    let json = arrivals[0].json();
    assert_eq!((&json["event"], &json["key"]), (&json!("EXPIRE"), &json!("gone")));
    assert_eq!(json["data"], json!({"value": null, "old_value": null, "ttl": null}));
    // A key that is found expired, too, though the server has not looked for it.
    client.ok("DEBUG SET-ACTIVE-EXPIRE 0");
    client.ok("SET found v PX 1");
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(client.line("GET found"), "$-1\r\n");
    assert_eq!(receiver.wait_for(2)[1].json()["key"], "found");

    for number in 0..20 {
        client.ok(&format!("SET evict:{number} {}", "x".repeat(10_000)));
    }
    client.ok("CONFIG SET maxmemory-policy allkeys-random");
    client.ok("CONFIG SET maxmemory 1000000");
    client.line(&format!("SET more {}", "x".repeat(20_000)));
    let evicted = receiver.wait_for(3)[2].json();
    assert_eq!((&evicted["event"], &evicted["data"]["value"]), (&json!("DEL"), &Value::Null));
}

#[test]
fn values_over_the_limit_are_left_out_and_others_are_not_changed_by_reading() {
    let redis = Redis::start_with_module(&[], &["max_value_bytes", "100"]);
    let (mut client, receiver) = (redis.client(), Receiver::start());
    client.ok(&format!("WEBHOOK.CREATE w {}", receiver.url()));
    let (long, short) = ("x".repeat(101), "y".repeat(100));
    client.ok(&format!("SET long {long}"));
    client.ok(&format!("SET short {short}"));
    client.line(&format!("RPUSH list {long}"));
    client.line("SET number 5");
    client.line("INCR number");
    client.line("APPEND text abc");
    eventually_delivered(&mut client, &receiver);
    assert_eq!(told(&receiver, "long")[0][3]["value"], Value::Null);
    assert_eq!(told(&receiver, "short")[0][3]["value"], json!(short));
    assert_eq!(told(&receiver, "list")[0][3]["value"], Value::Null);
    assert_eq!(told(&receiver, "number")[1][3]["value"], "6");
    assert_eq!(client.line("OBJECT ENCODING number"), "$3\r\nint\r\n");
}

#[test]
fn other_databases_are_named() {
    let (redis, receiver) = (Redis::start(&[]), Receiver::start());
    let mut client = redis.client();
    client.ok(&format!("WEBHOOK.CREATE w {}", receiver.url()));
    client.ok("SELECT 5");
    client.ok("SET k v EX 10");
    client.line("WEBHOOK.PUBLISH SET p v");
    eventually_delivered(&mut client, &receiver);
    assert_eq!(told(&receiver, "k")[0][2], 5);
    assert_eq!(told(&receiver, "k")[0][3]["ttl"], 10);
    assert_eq!(told(&receiver, "p")[0][2], 5);
}

#[test]
fn other_writes_are_told_or_not_as_documented() {
    let (redis, receiver) = (Redis::start(&[]), Receiver::start());
    let mut client = redis.client();
    client.ok(&format!("WEBHOOK.CREATE w {}", receiver.url()));
    for line in ["SETBIT b:1 1 1", "BITFIELD b:1 SET u8 0 65", "BITOP NOT b:2 b:1", "PFADD b:3 a"] {
        client.line(line);
    }
    client.line("GEOADD g:1 13.4 52.5 Berlin");
    eventually_delivered(&mut client, &receiver);
    let values = |key: &str| -> Vec<Value> {
        told(&receiver, key).iter().map(|event| json!([event[0], event[3]["value"]])).collect()
    };
    assert_eq!(values("b:1"), [json!(["SET", "@"]), json!(["SET", "A"])]);
    assert_eq!((values("b:2").len(), values("b:3").len()), (1, 1));
    assert_eq!(values("g:1"), [json!(["ZADD", null])]);

    client.line("RPUSH l:1 a b");
    client.line("SADD m:1 a");
    eventually_delivered(&mut client, &receiver);
    let before = receiver.arrivals().len();
    for line in [
        "COPY l:1 l:2",
        "LSET l:1 0 x",
        "LINSERT l:1 BEFORE b y",
        "SUNIONSTORE m:2 m:1",
        "SORT l:1 ALPHA STORE l:3",
        "MOVE l:2 1",
        "EXPIRE l:1 100",
        "PERSIST l:1",
        "SWAPDB 0 1",
        "SWAPDB 0 1",
        "FLUSHDB",
        "GET nothing",
    ] {
        assert!(!client.line(line).starts_with('-'), "{line}");
    }
    client.ok("SET the:last v");
    let arrivals = receiver.wait_for(before + 1);
    assert_eq!(arrivals[before].json()["key"], "the:last");
}
