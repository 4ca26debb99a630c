//! What clients write arrives: in order, whole, and when it expires.

use crate::server::{Ferrite, Reply};
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
