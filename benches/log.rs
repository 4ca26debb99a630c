//! What the durable log costs an event, beside the device's own sync.
//!
//! `cargo bench --bench log`; on another device: `FERRITE_BENCH_DIRECTORY=/mnt/disk cargo bench …`
//!
//! "append" writes 1000 events of 350-byte bodies in one group, as the writer's thread does, and
//! finishes the 1000 before, so that segments come and go. One iteration is 1000 events: what
//! criterion calls 1 ms is 1 us per event. With "fdatasync" each group is synced; most of that time
//! is the device's, which "one fdatasync" shows alone.

#![allow(missing_docs, reason = "criterion's macros make functions without")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ferrite::base::id::EventId;
use ferrite::core::event::WebhookEvent;
use ferrite::log::record::{self, Kind};
use ferrite::log::{Directory, Disk, LogEvent, Mark, Store, StoreConfig, StoredEvent};
use std::path::PathBuf;
use std::sync::Arc;

const GROUP_EVENTS: u64 = 1000;
const BODY_BYTES: usize = 350;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let parent = std::env::var_os("FERRITE_BENCH_DIRECTORY")
            .map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
        Folder(parent.join(format!("log-bench-{:016x}", ferrite::base::random::seed())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A store, and groups of events for it.
struct Rig {
    store: Store,
    body: Vec<u8>,
    records: Vec<u8>,
    marks: Vec<u8>,
    next: u64,
    _folder: Folder,
}

impl Rig {
    fn new() -> Rig {
        let folder = Folder::new();
        let config = StoreConfig {
            segment_bytes: 64 << 20,
            disk_bytes_max: 8 << 30,
            workers: 1,
            boot: 1,
            seed: 1,
        };
        let disk: Arc<dyn Disk> = Arc::new(Directory::lock(&folder.0).expect("a directory"));
        let (store, _) = Store::open(disk, config, &mut |_| {}).expect("a log");
        let (body, records, marks) = (vec![b'x'; BODY_BYTES], Vec::new(), Vec::new());
        Rig { store, body, records, marks, next: 0, _folder: folder }
    }

    /// What a worker does: the records of one group.
    fn encode(&mut self, finish: bool) {
        self.records.clear();
        self.marks.clear();
        for sequence in self.next..self.next + GROUP_EVENTS {
            let event = LogEvent {
                id: EventId { boot: self.store.boot(), sequence },
                kind: WebhookEvent::Set,
                database: 0,
                timestamp_us: sequence,
                key: b"user:profile:12345",
                body: &self.body,
                targets: &[1],
            };
            record::put_event(&mut self.records, &event);
            if finish && let Some(before) = sequence.checked_sub(GROUP_EVENTS) {
                let id = EventId { boot: self.store.boot(), sequence: before };
                record::put_mark(&mut self.marks, &Mark { id, webhook: 1, target: 0, value: 1 });
            }
        }
        self.next += GROUP_EVENTS;
        if !self.marks.is_empty() {
            record::put(&mut self.records, Kind::Acks, &self.marks);
        }
    }

    fn append(&mut self, sync: bool, finish: bool) {
        self.encode(finish);
        self.store.append(&mut self.records).expect("a disk");
        if sync {
            self.store.sync().expect("a disk");
        }
        self.store.remove_finished();
    }
}

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/append 1000 events and acks");
    group.throughput(Throughput::Elements(GROUP_EVENTS));
    group.sample_size(20);
    let mut rig = Rig::new();
    group.bench_function("fdatasync per 1000", |bencher| bencher.iter(|| rig.append(true, true)));
    group.bench_function("no sync", |bencher| bencher.iter(|| rig.append(false, true)));
    group.bench_function("encode only, the worker's part", |bencher| {
        bencher.iter(|| rig.encode(true));
    });
    group.finish();
}

fn device(criterion: &mut Criterion) {
    let folder = Folder::new();
    let disk = Directory::lock(&folder.0).expect("a directory");
    let file = disk.create("probe").expect("a file");
    let (block, mut at) = (vec![1; 400 * GROUP_EVENTS as usize], 0);
    let mut group = criterion.benchmark_group("log/the device");
    group.sample_size(20);
    for (name, bytes) in [("write and fdatasync of 4 KiB", 4096), ("of 400 KB", block.len())] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                file.write_at(&block[..bytes], at).expect("a disk");
                file.sync().expect("a disk");
                at += bytes as u64;
            });
        });
    }
    group.finish();
}

/// Reading back, as a restart and a webhook that lags do it; the file is in the page cache.
fn read(criterion: &mut Criterion) {
    let mut rig = Rig::new();
    for _ in 0..100 {
        rig.append(false, false);
    }
    let mut group = criterion.benchmark_group("log/read 100 000 events back");
    group.throughput(Throughput::Elements(100 * GROUP_EVENTS));
    group.sample_size(10);
    group.bench_function("scan", |bencher| {
        bencher.iter(|| {
            let (mut scan, mut event) = (rig.store.reader().scan(), StoredEvent::default());
            let mut count = 0;
            while scan.next(&mut event).expect("a log") {
                count += 1;
            }
            assert_eq!(count, 100 * GROUP_EVENTS);
        });
    });
    group.finish();
}

criterion_group!(benches, append, device, read);
criterion_main!(benches);
