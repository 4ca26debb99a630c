//! What clients write arrives: in order, whole, and when it expires.

use crate::server::{Ferrite, Reply};
use crate::support::pipelined::{Habit, Pipelined};
use crate::support::{Answer, Receiver, assert_in_order, eventually};
use std::cell::RefCell;
use std::time::Duration;

#[test]
fn order_holds_from_client_to_bad_receiver() {
    const KEYS: usize = 100;
    const VERSIONS: usize = 30;
    let ferrite = Ferrite::start(&[]);
    let receiver = Receiver::scripted(|number, _| match number {
        n if n % 5 == 3 => Answer::Status(500, Duration::ZERO),
        n if n % 61 == 30 => Answer::Status(200, Duration::from_millis(20)),
        1000 => Answer::Status(200, Duration::from_millis(500)),
        _ => Answer::ok(),
    });
    let mut client = ferrite.client();
    client.ok(&format!("WEBHOOK.CREATE all {} RETRIES 30 RETRY_DELAY 2", receiver.url()));
    for version in 0..VERSIONS {
        for key in 0..KEYS {
            client.send(&["SET", &format!("k:{key}"), &version.to_string()]);
        }
        for _ in 0..KEYS {
            assert_eq!(client.read(), Reply::ok());
        }
    }
    let client = RefCell::new(client);
    eventually("all is delivered", || {
        client.borrow_mut().counter("all", "delivered") == (KEYS * VERSIONS) as i64
    });
    let stats = client.borrow_mut().line("WEBHOOK.STATS all");
    for (field, wanted) in [("failures", 0), ("dropped", 0), ("pending", 0)] {
        assert_eq!(stats.field(field).integer(), wanted, "{field}");
    }
    assert!(stats.field("failed_attempts").integer() >= (KEYS * VERSIONS / 5) as i64);
    assert_in_order(&receiver.arrivals(), KEYS, VERSIONS);
}

#[test]
fn a_key_that_expires_is_told() {
    let ferrite = Ferrite::start(&[]);
    let receiver = Receiver::start();
    let mut client = ferrite.client();
    client.ok(&format!("WEBHOOK.CREATE w {} EVENTS EXPIRE", receiver.url()));
    client.ok("SET k lived PX 50");
    // Nobody asks for the key: it expires all the same.
    let json = receiver.wait_for(1)[0].json();
    assert_eq!((&json["event"], &json["key"]), (&"EXPIRE".into(), &"k".into()));
    assert_eq!(json["data"]["old_value"], "lived");
    assert_eq!(json["data"]["value"], serde_json::Value::Null);
    assert_eq!(client.line("GET k"), Reply::Null);
}

/// `PIPELINE`, from the command to a receiver that ends its connections in the middle.
#[test]
fn requests_are_pipelined_when_a_client_says_so() {
    const KEYS: usize = 20;
    const VERSIONS: usize = 10;
    let ferrite = Ferrite::start(&[]);
    let receiver = Pipelined::start(Habit { together: 1, per_connection: 5 }, |stream| stream);
    let url = format!("http://127.0.0.1:{}/hook", receiver.port);
    let mut client = ferrite.client();
    client.ok(&format!("WEBHOOK.CREATE w {url} RETRIES 0"));
    assert_eq!(client.line("WEBHOOK.INFO w").field("pipeline"), &Reply::Integer(1));
    client.ok("WEBHOOK.UPDATE w PIPELINE 16");
    assert_eq!(client.line("WEBHOOK.INFO w").field("pipeline"), &Reply::Integer(16));
    for version in 0..VERSIONS {
        for key in 0..KEYS {
            client.send(&["SET", &format!("k:{key}"), &version.to_string()]);
        }
        for _ in 0..KEYS {
            assert_eq!(client.read(), Reply::ok());
        }
    }
    let client = RefCell::new(client);
    let wanted = (KEYS * VERSIONS) as i64;
    eventually("all is delivered", || client.borrow_mut().counter("w", "delivered") == wanted);
    assert_eq!(client.borrow_mut().counter("w", "attempts"), wanted);
    assert!(receiver.arrivals().len() > KEYS * VERSIONS, "some were read and not answered");
    receiver.assert_in_order(KEYS, VERSIONS);
}

#[test]
fn pipelines_out_of_range_are_refused_with_the_range() {
    let ferrite = Ferrite::start(&[]);
    let mut client = ferrite.client();
    client.ok("WEBHOOK.CREATE w http://127.0.0.1:1/ PIPELINE 128");
    for command in ["UPDATE w", "CREATE other http://127.0.0.1:1/"] {
        for refused in ["0", "129", "-1", "x", "99999999999"] {
            let line = format!("WEBHOOK.{command} PIPELINE {refused}");
            let Reply::Error(message) = client.line(&line) else { panic!("{line} is refused") };
            assert!(message.to_lowercase().contains("pipeline"), "{line}: {message}");
            let has_range = message.contains("between 1 and 128");
            assert!(has_range || !["0", "129"].contains(&refused), "{line}: {message}");
        }
    }
    assert_eq!(client.line("WEBHOOK.INFO w").field("pipeline"), &Reply::Integer(128));
    assert!(matches!(client.line("WEBHOOK.INFO other"), Reply::Error(_)));
}
