//! Published libraries as receivers: Standard Webhooks, CloudEvents and HTTP Message Signatures,
//! in node and in python.

use crate::server::{Ferrite, Reply, Resp, client_libraries, run, test_file};
use crate::support::{Arrival, Receiver};
use serde_json::{Value, json};
use std::process::Command;

const WHSEC: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
/// RFC 8032, section 7.1, TEST 2: seed and public key.
const WHSK: &str =
    "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs9QBfD6EOJWpK3CqdNG368nJgszy7ElozAzVXxKvRmDA==";
const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Makes a webhook with `options` and sends it one event; gives the request.
fn request_of(client: &mut Resp, receiver: &Receiver, options: &str) -> Arrival {
    let before = receiver.arrivals().len();
    client.ok(&format!("WEBHOOK.CREATE w {}?a=b%20c {options}", receiver.url()));
    publish(client);
    receiver.wait_for(before + 1).remove(before)
}

fn publish(client: &mut Resp) {
    client.ok(&format!(
        "WEBHOOK.PUBLISH SET user:ä%1 Alice TRACEPARENT {TRACEPARENT} TRACESTATE a=1"
    ));
}

fn text_field(client: &mut Resp, field: &str) -> String {
    match client.line("WEBHOOK.INFO w").field(field) {
        Reply::Bulk(text) => String::from_utf8(text.clone()).unwrap(),
        other => panic!("{field}: {other:?}"),
    }
}

fn case(receiver: &Receiver, name: &str, arrival: &Arrival, wanted: Value) -> Value {
    let fields = arrival.head[1..].iter().filter_map(|line| line.split_once(": "));
    let headers: serde_json::Map<String, Value> =
        fields.map(|(name, value)| (name.to_lowercase(), value.into())).collect();
    let body = super::languages::base64(&arrival.body);
    let url = format!("{}?a=b%20c", receiver.url());
    json!({"name": name, "url": url, "headers": headers, "body": body, "wanted": wanted})
}

#[test]
fn published_libraries_accept_what_is_sent() {
    let (ferrite, receiver) = (Ferrite::start(&[]), Receiver::start());
    let mut client = ferrite.client();
    let mut cases = Vec::new();
    for secret in [WHSEC, "mysecretkey"] {
        let options = format!("SECRET {secret} SIGNATURES both,rfc9421");
        let arrival = request_of(&mut client, &receiver, &options);
        let key_id = text_field(&mut client, "key_id");
        let wanted = json!([
            {"kind": "ferrite", "secret": secret},
            {"kind": "standard", "secret": secret},
            {"kind": "rfc9421", "secret": secret, "keyId": key_id},
        ]);
        cases.push(case(&receiver, "shared secret", &arrival, wanted));
        client.ok("WEBHOOK.DELETE w");
    }

    let options = format!("SECRET {WHSK} SIGNATURES standard,rfc9421");
    let arrival = request_of(&mut client, &receiver, &options);
    let (key, key_id) = (text_field(&mut client, "public_key"), text_field(&mut client, "key_id"));
    let wanted = json!([
        {"kind": "standardPublic", "key": key},
        {"kind": "rfc9421", "key": key, "keyId": key_id},
    ]);
    cases.push(case(&receiver, "private key", &arrival, wanted));
    client.ok("WEBHOOK.DELETE w");

    // While a secret rotates, whoever has either one accepts.
    let options = format!("SECRET {WHSEC} SIGNATURES both,rfc9421");
    request_of(&mut client, &receiver, &options);
    let old_key_id = text_field(&mut client, "key_id");
    client.ok("WEBHOOK.UPDATE w SECRET another GRACE 600");
    let count = receiver.arrivals().len();
    publish(&mut client);
    let arrival = receiver.wait_for(count + 1).remove(count);
    let key_id = text_field(&mut client, "key_id");
    assert_ne!(key_id, old_key_id);
    let wanted = json!([
        {"kind": "ferrite", "secret": WHSEC},
        {"kind": "standard", "secret": "another"},
        {"kind": "standard", "secret": WHSEC},
        {"kind": "rfc9421", "secret": "another", "keyId": key_id, "rotating": true},
        {"kind": "rfc9421", "secret": WHSEC, "keyId": old_key_id, "rotating": true},
    ]);
    cases.push(case(&receiver, "rotation", &arrival, wanted));
    assert_eq!(client.line("WEBHOOK.INFO w").field("old_secrets"), &Reply::Integer(1));
    client.ok("WEBHOOK.DELETE w");

    for format in ["cloudevents-structured", "cloudevents-binary"] {
        let options = format!("FORMAT {format} SECRET {WHSEC} SIGNATURES both,rfc9421");
        let arrival = request_of(&mut client, &receiver, &options);
        let key_id = text_field(&mut client, "key_id");
        let attributes = json!({
            "specversion": "1.0",
            "source": "/ferrite/0",
            "type": "io.ferrite.key.set",
            "subject": "user:ä%1",
            "partitionkey": "user:ä%1",
            "traceparent": TRACEPARENT,
            "tracestate": "a=1",
        });
        let wanted = json!([
            {"kind": "cloudevent", "attributes": attributes, "value": "Alice"},
            {"kind": "ferrite", "secret": WHSEC},
            {"kind": "standard", "secret": WHSEC},
            {"kind": "rfc9421", "secret": WHSEC, "keyId": key_id},
        ]);
        cases.push(case(&receiver, format, &arrival, wanted));
        client.ok("WEBHOOK.DELETE w");
    }

    let input = Value::Array(cases).to_string();
    let mut node = Command::new("node");
    node.arg(test_file("node/formats.js")).env("NODE_PATH", client_libraries("node_modules"));
    let output = run("node", node, input.as_bytes());
    assert!(output.ends_with("all passed\n"), "{output}");
    let mut python = Command::new("python3");
    python.arg(test_file("python/formats.py"));
    python.env("PYTHONPATH", client_libraries("python")).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = run("python3", python, input.as_bytes());
    assert!(output.ends_with("all passed\n"), "{output}");
}
