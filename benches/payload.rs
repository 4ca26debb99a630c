//! Writing the body of a delivery, beside serde_json and sonic-rs on an equal struct.
//!
//! They are given id and timestamp as finished strings; the engine formats both.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on should panic")]
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ferrite::base::id::EventId;
use ferrite::core::event::{EventRef, EventValue};
use ferrite::core::packed::{Stamp, pack, unpack};
use ferrite::core::payload::write_event;
use std::hint::black_box;

#[derive(serde::Serialize)]
struct Body<'a> {
    id: &'a str,
    timestamp: &'a str,
    event: &'a str,
    key: &'a str,
    database: u32,
    data: Data<'a>,
    metadata: Metadata<'a>,
}

#[derive(serde::Serialize)]
struct Data<'a> {
    value: &'a str,
    old_value: Option<&'a str>,
    ttl: Option<u64>,
}

#[derive(serde::Serialize)]
struct Metadata<'a> {
    client_id: Option<&'a str>,
    source_ip: Option<&'a str>,
}

fn payload(criterion: &mut Criterion) {
    let order = r#"{"id":123,"items":[{"sku":"A-1","count":2}],"customer":"Zoë"}"#;
    let long = "all work and no play makes a dull value. ".repeat(100);
    let json = order.repeat(64);
    for (name, value) in
        [("small", "Alice"), ("order", order), ("clean_4k", &long), ("json_4k", &json)]
    {
        let event = EventRef {
            key: b"user:123",
            value: EventValue::Bytes(value.as_bytes()),
            old_value: Some(b"Bob"),
            ttl: Some(3600),
            client_id: Some("conn:456"),
            source_ip: Some("192.168.1.100"),
            ..EventRef::default()
        };
        let timestamp_us = 1_705_314_600_123_456;
        let mut buffer = Vec::new();
        pack(
            &event,
            &Stamp { key_hash: 0, generation: 0, may_drop: false, timestamp_us, waiter: 0 },
            &mut buffer,
        );
        let event = unpack(&buffer).unwrap();
        let id = EventId { boot: 0x0123_4567_89ab_cdef, sequence: 77 };
        let id_text = id.to_string();
        let body = Body {
            id: &id_text,
            timestamp: "2024-01-15T10:30:00.123456Z",
            event: "SET",
            key: "user:123",
            database: 0,
            data: Data { value, old_value: Some("Bob"), ttl: Some(3600) },
            metadata: Metadata { client_id: Some("conn:456"), source_ip: Some("192.168.1.100") },
        };
        let mut out = Vec::new();
        write_event(&mut out, id, "SET", &event);
        assert_eq!(out, serde_json::to_vec(&body).unwrap(), "both write the same");
        assert_eq!(out, sonic_rs::to_vec(&body).unwrap(), "so does sonic-rs");

        let mut group = criterion.benchmark_group(format!("payload/{name}"));
        group.throughput(Throughput::Bytes(out.len() as u64));
        group.bench_function("write_event", |bencher| {
            bencher.iter(|| {
                out.clear();
                write_event(&mut out, black_box(id), "SET", black_box(&event));
                black_box(&out);
            });
        });
        group.bench_function("serde_json", |bencher| {
            bencher.iter(|| {
                out.clear();
                serde_json::to_writer(&mut out, black_box(&body)).unwrap();
                black_box(&out);
            });
        });
        group.bench_function("sonic-rs", |bencher| {
            bencher.iter(|| {
                out.clear();
                sonic_rs::to_writer(&mut out, black_box(&body)).unwrap();
                black_box(&out);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, payload);
criterion_main!(benches);
