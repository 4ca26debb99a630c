//! Signing a body of a typical size, with each signature that a SECRET yields.
#![allow(clippy::unwrap_used, reason = "a benchmark that can't go on should panic")]
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ferrite::core::signature::SigningKey;
use std::hint::black_box;

fn signature(criterion: &mut Criterion) {
    let key = SigningKey::new("mysecretkey").unwrap();
    let mut out = Vec::with_capacity(128);
    for bytes in [231, 1024, 16 * 1024] {
        let body = vec![b'x'; bytes];
        let mut group = criterion.benchmark_group(format!("signature/{bytes}"));
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function("ferrite", |bencher| {
            bencher.iter(|| {
                out.clear();
                key.write_ferrite(black_box(&body), &mut out);
                black_box(&out);
            });
        });
        group.bench_function("standard", |bencher| {
            bencher.iter(|| {
                out.clear();
                let id_text = black_box(b"evt_0123456789abcdef0000000001");
                key.write_standard(id_text, 1_705_314_600, black_box(&body), &mut out);
                black_box(&out);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, signature);
criterion_main!(benches);
