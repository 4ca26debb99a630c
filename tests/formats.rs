//! Signatures, forms of the body, numbers and traces, on real sockets.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{
    Format, Signatures, WebhookConfig, WebhookError, WebhookEvent, WebhookManager, WebhookOptions,
    WebhookTrigger, WebhookUpdate,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use support::audited::{Audited, audited};
use support::{Answer, Arrival, Receiver, block_on, eventually};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// RFC 8032, section 7.1, TEST 2.
const PRIVATE_KEY: &str =
    "whsk_TM0Imyj/ltqdtsNG7BFOD1uKMZ81q6Yk2oz27U+4pvs9QBfD6EOJWpK3CqdNG368nJgszy7ElozAzVXxKvRmDA==";

fn manager(workers: usize) -> Audited {
    let mut config = WebhookConfig::default();
    config.workers.workers = workers;
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    audited(config)
}

fn set(key: &str) -> WebhookTrigger {
    WebhookTrigger {
        event: WebhookEvent::Set,
        key: key.to_owned(),
        value: Some(b"Alice".to_vec()),
        ..WebhookTrigger::default()
    }
}

fn create(manager: &WebhookManager, receiver: &Receiver, options: WebhookOptions) {
    block_on(manager.create("w", &receiver.url(), options)).unwrap();
}

/// The stream and the number of a header's value.
fn number(arrival: &Arrival, header: &str) -> (String, u64) {
    let (stream, number) = arrival.header(header).unwrap().split_once(':').unwrap();
    (stream.to_owned(), number.parse().unwrap())
}

/// What a receiver can prove: over all workers, the numbers of each stream are contiguous but for
/// the events that were given up, and so are those of each key, in order.
#[test]
fn a_receiver_can_prove_that_nothing_is_missing() {
    const KEYS: usize = 20;
    const EACH: usize = 10;
    // One key is refused, always.
    let receiver = Receiver::scripted(|_, arrival| match arrival.json()["key"] == "key:7" {
        true => Answer::Status(400, Duration::ZERO),
        false => Answer::ok(),
    });
    let manager = manager(3);
    let options = WebhookOptions {
        sequence: true,
        retries: 1,
        retry_delay_ms: Some(1),
        ..WebhookOptions::default()
    };
    create(&manager, &receiver, options);
    for _ in 0..EACH {
        for key in 0..KEYS {
            block_on(manager.trigger(set(&format!("key:{key}")))).unwrap();
        }
    }
    eventually("all are finished", || {
        manager.stats("w").unwrap().deliveries == (KEYS * EACH) as u64
    });
    let mut by_stream: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    let mut by_key: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let mut of_id: BTreeMap<String, (String, u64)> = BTreeMap::new();
    for arrival in receiver.arrivals() {
        let json = arrival.json();
        let (stream, n) = number(&arrival, "X-Ferrite-Sequence");
        let told = of_id.entry(json["id"].as_str().unwrap().to_owned());
        assert_eq!(*told.or_insert((stream.clone(), n)), (stream.clone(), n), "on every attempt");
        let (key_stream, of_key) = number(&arrival, "X-Ferrite-Key-Sequence");
        assert_eq!(key_stream, format!("{stream}.0"));
        if arrival.status == 200 {
            assert!(by_stream.entry(stream).or_default().insert(n));
            by_key.entry(json["key"].as_str().unwrap().to_owned()).or_default().push(of_key);
        }
    }
    assert_eq!(by_stream.len(), 3, "one stream for each worker: {by_stream:?}");
    let last: u64 = of_id
        .values()
        .fold(BTreeMap::new(), |mut last, (stream, n)| {
            let known: &mut u64 = last.entry(stream).or_default();
            *known = (*known).max(*n);
            last
        })
        .values()
        .sum();
    assert_eq!(last, (KEYS * EACH) as u64, "every event has a number");
    let missing = last - by_stream.values().map(|seen| seen.len() as u64).sum::<u64>();
    assert_eq!(missing, EACH as u64, "those of the key that was refused");
    assert_eq!(by_key.len(), KEYS - 1);
    for (key, numbers) in by_key {
        assert_eq!(numbers, (1..=EACH as u64).collect::<Vec<_>>(), "{key}");
    }
}

#[test]
fn numbers_are_only_sent_when_asked_for() {
    let receiver = Receiver::start();
    let manager = manager(1);
    create(&manager, &receiver, WebhookOptions::default());
    block_on(manager.trigger(set("a"))).unwrap();
    // An event is numbered, or not, when its worker takes it in.
    receiver.wait_for(1);
    let update = WebhookUpdate { sequence: Some(true), ..WebhookUpdate::default() };
    block_on(manager.update("w", update)).unwrap();
    assert!(manager.info("w").unwrap().sequence);
    block_on(manager.trigger(set("a"))).unwrap();
    let arrivals = receiver.wait_for(2);
    assert_eq!(arrivals[0].header("X-Ferrite-Sequence"), None);
    assert_eq!(number(&arrivals[1], "X-Ferrite-Sequence").1, 1);
}

#[test]
fn a_secret_is_replaced_with_a_grace() {
    let receiver = Receiver::start();
    let manager = manager(1);
    let options = WebhookOptions { secret: Some("old".to_owned()), ..WebhookOptions::default() };
    create(&manager, &receiver, options);
    let rotate = |secret: &str, grace| WebhookUpdate {
        secret: Some(Some(secret.to_owned())),
        secret_grace_seconds: grace,
        ..WebhookUpdate::default()
    };
    block_on(manager.trigger(set("a"))).unwrap();
    receiver.wait_for(1);
    block_on(manager.update("w", rotate("new", Some(3600)))).unwrap();
    let info = manager.info("w").unwrap();
    assert_eq!(info.old_secrets, 1);
    assert!(info.old_secrets_until_us.is_some());
    assert!(!format!("{info:?}").contains("old\""), "{info:?}");
    block_on(manager.trigger(set("a"))).unwrap();
    receiver.wait_for(2);
    // The same again with no grace: the old one is out at once.
    block_on(manager.update("w", rotate("new", None))).unwrap();
    assert_eq!(manager.info("w").unwrap().old_secrets, 0);
    block_on(manager.trigger(set("a"))).unwrap();
    let arrivals = receiver.wait_for(3);
    let signed = |arrival: &Arrival| {
        let list = arrival.header("webhook-signature").unwrap();
        let item = |secret: &str| {
            let key = ferrite::core::signature::SigningKey::new(secret).unwrap();
            let (id, at) = (arrival.header("webhook-id"), arrival.header("webhook-timestamp"));
            let (mut v1, mut ferrite) = (Vec::new(), Vec::new());
            let at = at.unwrap().parse().unwrap();
            key.write_standard(id.unwrap().as_bytes(), at, &arrival.body, &mut v1);
            key.write_ferrite(&arrival.body, &mut ferrite);
            let is_ferrite = arrival.header("X-Ferrite-Signature").unwrap().as_bytes() == ferrite;
            let v1 = String::from_utf8(v1).unwrap();
            (list.split(' ').position(|told| told == v1), is_ferrite)
        };
        (item("new"), item("old"))
    };
    assert_eq!(signed(&arrivals[0]), ((None, false), (Some(0), true)));
    assert_eq!(signed(&arrivals[1]), ((Some(0), false), (Some(1), true)));
    assert_eq!(signed(&arrivals[2]), ((Some(0), true), (None, false)));
}

#[test]
fn what_cannot_be_is_refused() {
    let receiver = Receiver::start();
    let manager = manager(1);
    let refused = |options: WebhookOptions, wanted: &str| {
        let error = block_on(manager.create("w", &receiver.url(), options)).unwrap_err();
        assert!(matches!(&error, WebhookError::Invalid(why) if why.contains(wanted)), "{error}");
    };
    let signed = |secret: &str, signatures| WebhookOptions {
        secret: Some(secret.to_owned()),
        signatures,
        ..WebhookOptions::default()
    };
    refused(signed("whpk_AAAA", Signatures::BOTH), "public key");
    refused(signed("whsk_AAAA", Signatures::BOTH), "Ed25519");
    refused(signed(PRIVATE_KEY, Signatures::FERRITE), "makes no X-Ferrite-Signature");
    for name in ["ce-id", "Content-Digest", "Signature", "traceparent", "Webhook-Request-Origin"] {
        let headers = vec![(name.to_owned(), "x".to_owned())];
        refused(WebhookOptions { headers, ..WebhookOptions::default() }, "set by the engine");
    }
    let batch = WebhookOptions { batch: true, ..WebhookOptions::default() };
    refused(WebhookOptions { sequence: true, ..batch.clone() }, "do not go together");
    let format = Format::CloudEventsBinary;
    refused(WebhookOptions { format, ..batch }, "do not go together");
    create(&manager, &receiver, WebhookOptions::default());
    for (update, wanted) in [
        (
            WebhookUpdate { secret_grace_seconds: Some(5), ..WebhookUpdate::default() },
            "GRACE goes with a new SECRET",
        ),
        (
            WebhookUpdate {
                secret: Some(Some("s".to_owned())),
                secret_grace_seconds: Some(u64::MAX),
                ..WebhookUpdate::default()
            },
            "GRACE must be at most",
        ),
    ] {
        let error = block_on(manager.update("w", update)).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
    }
    let info = manager.info("w").unwrap();
    assert!(!info.signed && info.old_secrets == 0, "a refused change changes nothing");
}

#[test]
fn a_private_key_shows_its_public_key_and_signs() {
    let receiver = Receiver::start();
    let manager = manager(1);
    let options = WebhookOptions {
        secret: Some(PRIVATE_KEY.to_owned()),
        signatures: Signatures::BOTH.and(Signatures::RFC9421),
        ..WebhookOptions::default()
    };
    create(&manager, &receiver, options);
    let info = manager.info("w").unwrap();
    assert_eq!(
        info.public_key.as_deref(),
        Some("whpk_PUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=")
    );
    assert!(!format!("{info:?}").contains(PRIVATE_KEY));
    block_on(manager.trigger(set("a"))).unwrap();
    let arrival = receiver.wait_for(1).remove(0);
    assert_eq!(arrival.header("X-Ferrite-Signature"), None);
    assert!(arrival.header("webhook-signature").unwrap().starts_with("v1a,"));
    let input = arrival.header("Signature-Input").unwrap();
    assert!(input.contains(&format!("keyid=\"{}\";alg=\"ed25519\"", info.key_id.unwrap())));
}

/// One event for webhooks of all forms: one id, and `data` is the payload, byte for byte.
#[test]
fn forms_of_one_event() {
    let receiver = Receiver::start();
    let manager = manager(1);
    let all = [Format::Ferrite, Format::CloudEventsStructured, Format::CloudEventsBinary];
    for format in all {
        let url = format!("{}?{}", receiver.url(), format.name());
        let options = WebhookOptions { format, ..WebhookOptions::default() };
        block_on(manager.create(format.name(), &url, options)).unwrap();
        assert_eq!(manager.info(format.name()).unwrap().format, format);
    }
    block_on(manager.trigger(set("user:1"))).unwrap();
    let arrivals = receiver.wait_for(3);
    let of = |format: Format| {
        let wanted = |arrival: &&Arrival| arrival.head[0].contains(&format!("?{} ", format.name()));
        arrivals.iter().find(wanted).unwrap()
    };
    let [plain, structured, binary] = all.map(of);
    assert_eq!(plain.body, binary.body);
    assert_eq!(binary.header("ce-id"), plain.json()["id"].as_str());
    assert_eq!(binary.header("ce-subject"), Some("user:1"));
    let content_type = "application/cloudevents+json; charset=utf-8";
    assert_eq!(structured.header("Content-Type"), Some(content_type));
    assert_eq!(structured.json()["id"], plain.json()["id"]);
    let data = [b",\"data\":".as_slice(), &plain.body, b"}"].concat();
    assert!(structured.body.ends_with(&data));
    // A test delivery has the webhook's form, too.
    let report = block_on(manager.test(Format::CloudEventsBinary.name())).unwrap();
    assert_eq!(report.failure, None);
    let test = receiver.wait_for(4).remove(3);
    assert_eq!(test.header("ce-type"), Some("io.ferrite.key.test"));
}

/// A batch of CloudEvents is a list of them, with the batch's id in the head.
#[test]
fn a_batch_of_cloudevents() {
    let receiver = Receiver::start();
    let manager = manager(1);
    let options = WebhookOptions {
        format: Format::CloudEventsStructured,
        batch: true,
        batch_size: Some(3),
        batch_interval_ms: Some(20_000),
        ..WebhookOptions::default()
    };
    create(&manager, &receiver, options);
    for key in ["a", "b", "a"] {
        block_on(manager.trigger(set(key))).unwrap();
    }
    let arrival = receiver.wait_for(1).remove(0);
    let content_type = "application/cloudevents-batch+json; charset=utf-8";
    assert_eq!(arrival.header("Content-Type"), Some(content_type));
    assert!(arrival.header("X-Ferrite-Id").unwrap().starts_with("batch_"));
    let json = arrival.json();
    let events = json.as_array().unwrap();
    assert_eq!(events.len(), 3);
    assert!(events.iter().all(|event| event["id"] == event["data"]["id"]));
    assert_eq!(events.iter().filter(|event| event["subject"] == "a").count(), 2);
}

#[test]
fn a_trace_is_passed_on_if_it_is_one() {
    let receiver = Receiver::start();
    let manager = manager(1);
    create(&manager, &receiver, WebhookOptions::default());
    let hostile = format!("{TRACEPARENT}\r\nX-Evil: 1");
    for (traceparent, tracestate) in [
        (Some(TRACEPARENT), Some("a=1")),
        (Some(TRACEPARENT), Some("a=1\r\nX-Evil: 1")),
        (Some(hostile.as_str()), Some("a=1")),
        (None, Some("a=1")),
    ] {
        let trigger = WebhookTrigger {
            traceparent: traceparent.map(str::to_owned),
            tracestate: tracestate.map(str::to_owned),
            ..set("a")
        };
        block_on(manager.trigger(trigger)).unwrap();
    }
    let arrivals = receiver.wait_for(4);
    let told: Vec<_> = arrivals
        .iter()
        .map(|arrival| (arrival.header("traceparent"), arrival.header("tracestate")))
        .collect();
    let parent = Some(TRACEPARENT);
    assert_eq!(told, [(parent, Some("a=1")), (parent, None), (None, None), (None, None)]);
    assert!(arrivals.iter().all(|arrival| arrival.header("X-Evil").is_none()));
}
