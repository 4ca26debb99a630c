//! Retries that wait, up to a million of them: what one more costs, and one that fires.
//!
//! `cargo bench --bench timers`
//!
//! A million failed deliveries, each of a key of its own, take about 1 GB. They are made once.

#![allow(missing_docs, reason = "criterion's macros make functions without")]

mod support;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ferrite::base::limits::RETRIES_MAX;
use support::{Rig, UNAVAILABLE};

/// How many deliveries wait for their retry.
const WAITING: [usize; 3] = [1, 1000, 1_000_000];

fn timers(criterion: &mut Criterion) {
    for waiting in WAITING {
        let mut group = criterion.benchmark_group(format!("timers/{waiting} waiting"));
        group.throughput(Throughput::Elements(1));
        // The number of those that wait stays the same while it is measured.
        let mut rig: Option<Rig> = None;
        group.bench_function("one fires, is sent, and fails again", |bencher| {
            let rig = rig.get_or_insert_with(|| filled(waiting, RETRIES_MAX));
            bencher.iter(|| {
                rig.retry(UNAVAILABLE);
                if rig.pending() < waiting {
                    // It has used up its retries.
                    rig.deliver(UNAVAILABLE);
                }
            });
        });
        drop(rig.take());
        group.bench_function("one more fails, and the oldest fires and is given up", |bencher| {
            let rig = rig.get_or_insert_with(|| filled(waiting, 1));
            bencher.iter(|| {
                rig.deliver(UNAVAILABLE);
                rig.retry(UNAVAILABLE);
            });
        });
        group.finish();
    }
}

fn filled(waiting: usize, retries: u32) -> Rig {
    let mut rig = Rig::new(None, retries);
    for _ in 0..waiting {
        rig.deliver(UNAVAILABLE);
    }
    assert_eq!(rig.pending(), waiting);
    rig
}

criterion_group!(benches, timers);
criterion_main!(benches);
