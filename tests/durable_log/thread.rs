//! The writer's thread, its workers and its readers, on real files and on disks that tell.

use crate::disk::{Failing, Files, RecordingDisk};
use ferrite::base::id::EventId;
use ferrite::core::event::WebhookEvent;
use ferrite::log::{
    Appender, Directory, Disk, DiskFile, DurableLog, Finish, Fsync, LogConfig, LogError, LogEvent,
    Mark, Pressure, QueueFull, StoredEvent,
};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let name = format!("ferrite-log-{:016x}", ferrite::base::random::seed());
        Folder(std::env::temp_dir().join(name))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn config(fsync: Fsync, workers: usize) -> LogConfig {
    LogConfig { fsync, segment_bytes: 64 * 1024, disk_bytes_max: 1 << 30, workers }
}

pub fn on(disk: &RecordingDisk, config: &LogConfig) -> DurableLog {
    DurableLog::open_on(Arc::new(disk.clone()), config, &mut |_| {}).unwrap()
}

pub fn event<'a>(id: EventId, body: &'a [u8], targets: &'a [u64]) -> LogEvent<'a> {
    let (kind, key) = (WebhookEvent::Set, b"key".as_slice());
    LogEvent { id, kind, database: 0, timestamp_us: 1, key, body, targets }
}

fn mark(id: EventId, target: u16, webhook: u64) -> Mark {
    Mark { id, webhook, target, value: Finish::Delivered as u16 }
}

pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Appends one event and waits for its answer.
fn append(appender: &mut Appender, number: u64, body: &[u8], targets: &[u64]) -> EventId {
    let id = appender.id(number);
    let ticket = appender.event(&event(id, body, targets), 0).unwrap();
    appender.flush().unwrap();
    wait_until("answer", || appender.answered() >= ticket);
    assert!(appender.failures().is_empty());
    id
}

/// The ids that an engine would find in `files`.
pub fn found_in(files: &Files) -> Vec<EventId> {
    let log = on(&RecordingDisk::with(files), &config(Fsync::No, 2));
    read_all(&log)
}

fn read_all(log: &DurableLog) -> Vec<EventId> {
    let (mut scan, mut stored, mut ids) = (log.reader().scan(), StoredEvent::default(), Vec::new());
    while scan.next(&mut stored).unwrap() {
        ids.push(stored.id);
    }
    ids
}

#[test]
fn an_answer_means_what_fsync_says() {
    for fsync in [Fsync::Always, Fsync::EverySecond, Fsync::No] {
        let disk = RecordingDisk::default();
        let log = on(&disk, &config(fsync, 2));
        let mut appender = log.appender(1).unwrap();
        for number in 0..20 {
            let id = append(&mut appender, number, b"{}", &[7]);
            let history = disk.history();
            let at = history.ops().len();
            assert_eq!(found_in(&history.killed(at, 0)).last(), Some(&id), "{fsync:?}");
            let synced = found_in(&history.powerless(at, &mut || false)).contains(&id);
            if fsync == Fsync::Always {
                assert!(synced);
            }
        }
        if fsync == Fsync::EverySecond {
            let history = || disk.history();
            wait_until("the sync of every second", || {
                let history = history();
                found_in(&history.powerless(history.ops().len(), &mut || false)).len() == 20
            });
        }
        if fsync == Fsync::No {
            assert_eq!(log.status().counters.syncs, 0);
        }
    }
}

/// A disk whose writes and syncs wait for a gate.
#[derive(Clone)]
pub struct GatedDisk(RecordingDisk, Arc<(Mutex<bool>, Condvar)>);

struct GatedFile(Box<dyn DiskFile>, Arc<(Mutex<bool>, Condvar)>);

impl GatedDisk {
    pub fn new() -> GatedDisk {
        GatedDisk(RecordingDisk::default(), Arc::new((Mutex::new(true), Condvar::new())))
    }

    pub fn open_gate(&self, open: bool) {
        *self.1.0.lock().unwrap() = open;
        self.1.1.notify_all();
    }
}

impl Disk for GatedDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(GatedFile(self.0.create(name)?, self.1.clone())))
    }
    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(GatedFile(self.0.open(name)?, self.1.clone())))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn sync_directory(&self) -> io::Result<()> {
        self.0.sync_directory()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.0.path(name)
    }
}

impl GatedFile {
    fn pass(&self) {
        let mut open = self.1.0.lock().unwrap();
        while !*open {
            open = self.1.1.wait(open).unwrap();
        }
    }
}

impl DiskFile for GatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.pass();
        self.0.write_at(bytes, offset)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.truncate(length)
    }
    fn length(&self) -> io::Result<u64> {
        self.0.length()
    }
}

#[test]
fn a_disk_that_stalls_fills_the_queue_and_nothing_is_lost() {
    let disk = GatedDisk::new();
    let log = DurableLog::open_on(Arc::new(disk.clone()), &config(Fsync::Always, 1), &mut |_| {})
        .unwrap();
    let mut appender = log.appender(0).unwrap();
    let notified = Arc::new(AtomicUsize::new(0));
    let counter = notified.clone();
    appender.on_answer(move || _ = counter.fetch_add(1, Ordering::Relaxed));
    disk.open_gate(false);
    let body = vec![b'x'; 1000];
    let mut ids = Vec::new();
    let ticket = loop {
        let id = appender.id(ids.len() as u64);
        let ticket = appender.event(&event(id, &body, &[1]), 0).unwrap();
        ids.push(id);
        // Never blocks, however long the disk takes.
        if appender.flush() == Err(QueueFull) {
            break ticket;
        }
        assert!(ids.len() < 100_000, "a bounded queue");
    };
    assert!(appender.answered() < ticket);
    assert!(appender.unflushed_bytes() > 1000, "kept");
    disk.open_gate(true);
    wait_until("room", || appender.flush().is_ok());
    wait_until("answers", || appender.answered() >= ticket);
    assert!(notified.load(Ordering::Relaxed) > 0);
    assert_eq!(read_all(&log), ids);
    // What had come while the disk stalled was written in few groups.
    assert!(log.status().counters.syncs < ids.len() as u64 / 10, "{:?}", log.status().counters);
}

#[test]
fn workers_append_at_once_and_each_finds_its_own_in_order() {
    const WORKERS: usize = 4;
    const EVENTS: u64 = 2000;
    let folder = Folder::new();
    let log = DurableLog::open(&folder.0, &config(Fsync::Always, WORKERS), &mut |_| {}).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let mut appender = log.appender(worker).unwrap();
            scope.spawn(move || {
                let mut ticket = 0;
                for number in 0..EVENTS {
                    let id = appender.id(number);
                    ticket = appender.event(&event(id, b"{\"a\":1}", &[1, 2]), 0).unwrap();
                    if number % 2 == 0 {
                        // Acked before its event is written: the order in the queue is kept.
                        appender.ack(&mark(id, 0, 1));
                        appender.ack(&mark(id, 1, 2));
                    }
                    if number % 16 == 0 {
                        while appender.flush().is_err() {
                            std::thread::yield_now();
                        }
                    }
                }
                while appender.flush().is_err() {
                    std::thread::yield_now();
                }
                wait_until("answers", || appender.answered() >= ticket);
                assert!(appender.failures().is_empty());
            });
        }
    });
    assert!(log.appender(0).is_none(), "given out once");
    assert!(log.appender(WORKERS).is_none());
    let status = log.status();
    assert_eq!(status.pending, WORKERS as u64 * EVENTS / 2 * 2);
    log.close().unwrap();
    drop(log);
    let log = DurableLog::open(&folder.0, &config(Fsync::No, 2), &mut |_| {}).unwrap();
    assert!(log.recovered().closed);
    assert_eq!(log.recovered().pending, status.pending);
    let ids = read_all(&log);
    assert_eq!(ids.len() as u64, WORKERS as u64 * EVENTS / 2);
    for worker in 0..WORKERS as u64 {
        let own = ids.iter().filter(|id| id.sequence % WORKERS as u64 == worker);
        let numbers: Vec<u64> = own.map(|id| id.sequence / WORKERS as u64).collect();
        assert!(numbers.is_sorted() && numbers.iter().all(|number| number % 2 == 1));
    }
}

#[test]
fn a_restart_with_other_workers_finds_everything_and_no_boot_twice() {
    let folder = Folder::new();
    let mut expected = Vec::new();
    let mut boots = Vec::new();
    for workers in [1, 3, 2, 5] {
        let log = DurableLog::open(&folder.0, &config(Fsync::No, workers), &mut |_| {}).unwrap();
        boots.push(log.boot());
        assert_eq!(read_all(&log), expected);
        let mut appenders: Vec<Appender> =
            (0..workers).map(|worker| log.appender(worker).unwrap()).collect();
        for number in 0..20 {
            for appender in &mut appenders {
                expected.push(append(appender, number, b"{}", &[1]));
            }
        }
        // Some from every earlier start are finished now.
        let finished: Vec<EventId> = expected.iter().copied().step_by(7).collect();
        for id in &finished {
            appenders[0].ack(&mark(*id, 0, 1));
        }
        appenders[0].flush().unwrap();
        expected.retain(|id| !finished.contains(id));
        wait_until("acks", || log.status().pending == expected.len() as u64);
    }
    assert!(boots.is_sorted_by(|one, next| one < next), "{boots:?}");
}

#[test]
fn a_second_engine_on_the_directory_is_refused() {
    let folder = Folder::new();
    let log = DurableLog::open(&folder.0, &config(Fsync::No, 1), &mut |_| {}).unwrap();
    let second = DurableLog::open(&folder.0, &config(Fsync::No, 1), &mut |_| {});
    let error = second.err().unwrap();
    assert!(matches!(&error, LogError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert!(Directory::inspect(&folder.0).is_err());
    drop(log);
    drop(DurableLog::open(&folder.0, &config(Fsync::No, 1), &mut |_| {}).unwrap());
}

#[test]
fn settings_and_events_that_cannot_be_are_refused() {
    let disk = RecordingDisk::default();
    let opened = |config: LogConfig| {
        DurableLog::open_on(Arc::new(disk.clone()), &config, &mut |_| {}).err().unwrap()
    };
    let good = config(Fsync::No, 1);
    for wrong in [
        LogConfig { segment_bytes: 100, ..good },
        LogConfig { disk_bytes_max: 100_000, ..good },
        LogConfig { workers: 0, ..good },
        LogConfig { workers: 100_000, ..good },
    ] {
        assert!(matches!(opened(wrong), LogError::Invalid(_)));
    }
    let log = on(&disk, &config(Fsync::No, 2));
    let mut appender = log.appender(1).unwrap();
    let good = appender.id(3);
    for wrong in
        [EventId { boot: good.boot - 1, ..good }, EventId { sequence: good.sequence + 1, ..good }]
    {
        assert!(matches!(appender.event(&event(wrong, b"", &[1]), 0), Err(LogError::Invalid(_))));
    }
    let many = vec![1; 70_000];
    let refused = appender.event(&event(good, b"", &many), 0);
    assert!(matches!(refused, Err(LogError::TooLarge { targets: 70_000, .. })));
    assert_eq!(appender.unflushed_bytes(), 0);
}

/// A webhook that lags reads what it has missed, in order, while others go on writing.
#[test]
fn a_webhook_that_lags_catches_up_from_the_log() {
    let folder = Folder::new();
    let log = DurableLog::open(&folder.0, &config(Fsync::No, 1), &mut |_| {}).unwrap();
    let mut appender = log.appender(0).unwrap();
    let body = vec![b'y'; 500];
    let (slow, fast) = (5, 6);
    let from = append(&mut appender, 0, &body, &[slow, fast]);
    let (mut scan, mut stored) = (log.reader().scan_from(from).only(slow), StoredEvent::default());
    let (mut next_read, mut next_written) = (0, 1);
    while next_read < 3000 {
        if next_written < 3000 {
            for _ in 0..7 {
                let id = appender.id(next_written);
                // One in three is for the slow one.
                let targets: &[u64] = if next_written % 3 == 0 { &[fast, slow] } else { &[fast] };
                appender.event(&event(id, &body, targets), 0).unwrap();
                appender.ack(&mark(id, 0, fast));
                next_written += 1;
            }
            wait_until("room", || appender.flush().is_ok());
        }
        while scan.next(&mut stored).unwrap() {
            assert_eq!(stored.id, appender.id(next_read));
            assert_eq!((&stored.body, stored.targets.len()), (&body, 1));
            let target = stored.targets[0];
            assert_eq!((target.webhook, target.target), (slow, u16::from(next_read > 0)));
            appender.ack(&mark(stored.id, target.target, slow));
            next_read += 3;
        }
    }
    appender.ack(&mark(from, 1, fast));
    wait_until("room", || appender.flush().is_ok());
    wait_until("acks", || log.status().pending == 0);
    // The backlog was many segments; they go with it.
    wait_until("removal", || log.status().counters.segments_removed > 5);
    wait_until("removal", || log.status().segments <= 2);
    assert!(!scan.next(&mut stored).unwrap());
}

#[test]
fn a_single_event_is_read_again_by_its_id_with_its_attempts() {
    let disk = RecordingDisk::default();
    let log = on(&disk, &config(Fsync::No, 1));
    let mut appender = log.appender(0).unwrap();
    let ids: Vec<EventId> = (0..300)
        .map(|number| append(&mut appender, number, format!("{number}").as_bytes(), &[1, 2, 3]))
        .collect();
    appender.ack(&mark(ids[200], 1, 2));
    appender.attempts(&Mark { value: 4, ..mark(ids[200], 2, 3) });
    appender.flush().unwrap();
    wait_until("ack", || log.status().pending == 899);
    for log in [log, on(&RecordingDisk::with(&disk.files()), &config(Fsync::No, 1))] {
        let stored = log.reader().read(ids[200]).unwrap().unwrap();
        assert_eq!(stored.body, b"200");
        let targets: Vec<_> = stored
            .targets
            .iter()
            .map(|target| (target.target, target.webhook, target.attempts))
            .collect();
        assert_eq!(targets, [(0, 1, 0), (2, 3, 4)]);
        assert_eq!((log.reader().pending_of(1), log.reader().pending_of(2)), (300, 299));
        assert!(log.reader().read(EventId { boot: 1, sequence: 0 }).unwrap().is_none());
    }
}

#[test]
fn a_full_log_says_so_before_it_is_and_takes_events_again() {
    let disk = RecordingDisk::default();
    let small = LogConfig { segment_bytes: 8192, disk_bytes_max: 65536, ..config(Fsync::No, 1) };
    let log = on(&disk, &small);
    let mut appender = log.appender(0).unwrap();
    let (body, mut ids) = (vec![b'z'; 900], Vec::new());
    while appender.pressure() == Pressure::None {
        ids.push(append(&mut appender, ids.len() as u64, &body, &[1]));
    }
    assert_eq!(log.pressure(), Pressure::Full);
    assert!(log.status().disk_bytes < 65536, "there is room for what is under way");
    // Who does not listen is refused in the end, with the bound.
    let refused = loop {
        let id = appender.id(ids.len() as u64);
        let ticket = appender.event(&event(id, &body, &[1]), 0).unwrap();
        appender.flush().unwrap();
        wait_until("answer", || appender.answered() >= ticket);
        match appender.failures().pop() {
            Some(failure) => break (failure.0 == ticket).then_some(failure.1),
            None => ids.push(id),
        }
    };
    assert!(matches!(refused, Some(LogError::Full { limit: 65536, .. })), "{refused:?}");
    assert_eq!(log.status().batches_refused_full, 1);
    assert!(log.status().disk_bytes <= 65536);
    assert_eq!(read_all(&log), ids);
    for id in &ids {
        appender.ack(&mark(*id, 0, 1));
    }
    appender.flush().unwrap();
    wait_until("room", || appender.pressure() == Pressure::None);
    append(&mut appender, 1000, &body, &[1]);
}

#[test]
fn a_disk_that_fails_is_told_to_the_worker_and_the_log_recovers_by_itself() {
    let disk = RecordingDisk::default();
    let log = on(&disk, &config(Fsync::Always, 1));
    let mut appender = log.appender(0).unwrap();
    let first = append(&mut appender, 0, b"{}", &[1]);
    disk.fail(Some(Failing { after: 0, count: usize::MAX, code: 5 }));
    let ticket = appender.event(&event(appender.id(1), b"{}", &[1]), 0).unwrap();
    appender.flush().unwrap();
    wait_until("answer", || appender.answered() >= ticket);
    let failures = appender.failures();
    assert!(matches!(&failures[..], [(at, LogError::Io { .. })] if *at == ticket), "{failures:?}");
    wait_until("pressure", || log.pressure() == Pressure::Failed);
    assert!(log.status().trouble.is_some());
    disk.fail(None);
    // Nobody needs to do anything.
    wait_until("recovery", || log.pressure() == Pressure::None);
    let last = append(&mut appender, 2, b"{}", &[1]);
    let history = disk.history();
    let found = found_in(&history.powerless(history.ops().len(), &mut || false));
    assert_eq!(found, [first, last]);
}

/// Recovery and reading take memory by the number of events, not by their size.
#[test]
fn a_large_log_is_recovered_and_read_in_little_memory() {
    const EVENTS: u64 = 20_000;
    let folder = Folder::new();
    let large = LogConfig { segment_bytes: 8 << 20, ..config(Fsync::No, 1) };
    let log = DurableLog::open(&folder.0, &large, &mut |_| {}).unwrap();
    let mut appender = log.appender(0).unwrap();
    let body = vec![b'b'; 2000];
    for number in 0..EVENTS {
        appender.event(&event(appender.id(number), &body, &[1]), 0).unwrap();
        while appender.flush().is_err() {
            std::thread::yield_now();
        }
    }
    drop(appender);
    drop(log);
    let (mut told, mut count) = (Vec::new(), 0);
    let used = allocation_counter::measure(|| {
        let log = DurableLog::open(&folder.0, &large, &mut |progress| told.push(progress)).unwrap();
        let (mut scan, mut stored) = (log.reader().scan(), StoredEvent::default());
        while scan.next(&mut stored).unwrap() {
            count += 1;
        }
    });
    assert_eq!(count, EVENTS);
    // 40 MB of bodies.
    assert!(used.bytes_max < 2 << 20, "{} bytes", used.bytes_max);
    assert!(told.len() > 5, "progress is told: {}", told.len());
    let last = told.last().unwrap();
    assert_eq!((last.events, last.pending, last.bytes), (EVENTS, EVENTS, last.bytes_total));
    assert!(told.iter().is_sorted_by_key(|progress| progress.bytes));
}
