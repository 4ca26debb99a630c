//! Who waits for an event is told by the writer: once, not before the promise holds, and whatever
//! becomes of the event (DUR-1).

use super::disk::{Failing, RecordingDisk};
use super::thread::{GatedDisk, config, event, found_in, on, wait_until};
use ferrite::log::{AnswerWaiters, Appender, DurableLog, Fsync, LogConfig, LogError, Pressure};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Waiter n waits for event n; when it is told, the disk is looked at.
struct Recorder {
    disk: RecordingDisk,
    fsync: Fsync,
    boot: u64,
    told: Mutex<Vec<(u32, Result<(), LogError>)>>,
    /// Those that were told `Ok` although the promise did not hold.
    betrayed: Mutex<Vec<u32>>,
}

impl Recorder {
    fn new(disk: &RecordingDisk, log: &DurableLog, fsync: Fsync) -> Arc<Recorder> {
        let (told, betrayed) = (Mutex::default(), Mutex::default());
        Arc::new(Recorder { disk: disk.clone(), fsync, boot: log.boot(), told, betrayed })
    }

    fn told(&self) -> Vec<(u32, Result<(), LogError>)> {
        self.told.lock().unwrap().clone()
    }

    fn wait_for(&self, count: usize) {
        wait_until("answers to waiters", || self.told.lock().unwrap().len() >= count);
    }
}

impl AnswerWaiters for Recorder {
    fn answer(&self, waiters: &[u32], result: Result<(), &LogError>) {
        if result.is_ok() {
            let history = self.disk.history();
            let end = history.ops().len();
            let files = match self.fsync {
                Fsync::Always => history.powerless(end, &mut || false),
                Fsync::EverySecond | Fsync::No => history.killed(end, 0),
            };
            let found = found_in(&files);
            let missing = |waiter: &&u32| {
                !found.iter().any(|id| id.boot == self.boot && id.sequence == u64::from(**waiter))
            };
            self.betrayed.lock().unwrap().extend(waiters.iter().filter(missing));
        }
        let told = waiters.iter().map(|waiter| (*waiter, result.map_err(Clone::clone)));
        self.told.lock().unwrap().extend(told);
    }
}

fn add(appender: &mut Appender, number: u32) {
    let id = appender.id(u64::from(number));
    appender.event(&event(id, b"{}", &[1]), number).unwrap();
}

fn opened(fsync: Fsync) -> (RecordingDisk, DurableLog, Arc<Recorder>, Appender) {
    let disk = RecordingDisk::default();
    let log = on(&disk, &config(fsync, 1));
    let recorder = Recorder::new(&disk, &log, fsync);
    log.answer_with(recorder.clone());
    let appender = log.appender(0).unwrap();
    (disk, log, recorder, appender)
}

#[test]
fn each_is_told_once_and_the_promise_holds_by_then() {
    for fsync in [Fsync::Always, Fsync::EverySecond, Fsync::No] {
        let (_disk, _log, recorder, mut appender) = opened(fsync);
        for number in 1..=20 {
            add(&mut appender, number);
            if number % 3 == 0 {
                appender.flush().unwrap();
            }
        }
        // Nobody waits for this one.
        appender.event(&event(appender.id(21), b"{}", &[1]), 0).unwrap();
        appender.flush().unwrap();
        recorder.wait_for(20);
        let told = recorder.told();
        assert_eq!(told, (1..=20).map(|number| (number, Ok(()))).collect::<Vec<_>>());
        assert!(recorder.betrayed.lock().unwrap().is_empty(), "{fsync:?}");
    }
}

/// Negative controls: an answer before the write, and a disk that only says that it has synced.
#[test]
fn an_answer_that_comes_too_early_is_noticed() {
    let (_disk, _log, recorder, mut appender) = opened(Fsync::No);
    add(&mut appender, 1);
    recorder.answer_one(1, Ok(()));
    assert_eq!(*recorder.betrayed.lock().unwrap(), [1]);
    let (disk, _log, recorder, mut appender) = opened(Fsync::Always);
    disk.lie(super::disk::Lies { sync: true, sync_directory: false });
    add(&mut appender, 1);
    appender.flush().unwrap();
    recorder.wait_for(1);
    assert_eq!(*recorder.betrayed.lock().unwrap(), [1]);
}

#[test]
fn a_failed_disk_and_a_full_log_are_told_with_the_reason() {
    let (disk, log, recorder, mut appender) = opened(Fsync::Always);
    disk.fail(Some(Failing { after: 0, count: usize::MAX, code: 28 }));
    add(&mut appender, 1);
    add(&mut appender, 2);
    appender.flush().unwrap();
    recorder.wait_for(2);
    disk.fail(None);
    wait_until("recovery", || log.pressure() == Pressure::None);
    add(&mut appender, 3);
    appender.flush().unwrap();
    recorder.wait_for(3);
    let told = recorder.told();
    assert!(matches!(told[0], (1, Err(LogError::NoSpace { .. }))), "{told:?}");
    assert!(matches!(told[1], (2, Err(LogError::NoSpace { .. }))), "{told:?}");
    assert_eq!(told[2], (3, Ok(())));

    let disk = RecordingDisk::default();
    let small = LogConfig { segment_bytes: 8192, disk_bytes_max: 65536, ..config(Fsync::No, 1) };
    let log = on(&disk, &small);
    let recorder = Recorder::new(&disk, &log, Fsync::No);
    log.answer_with(recorder.clone());
    let mut appender = log.appender(0).unwrap();
    let body = vec![b'z'; 900];
    for number in 1.. {
        let id = appender.id(u64::from(number));
        appender.event(&event(id, &body, &[1]), number).unwrap();
        appender.flush().unwrap();
        recorder.wait_for(number as usize);
        match recorder.told().pop().unwrap() {
            (_, Ok(())) => assert!(number < 100, "the bound"),
            (waiter, Err(LogError::Full { limit, .. })) => {
                assert_eq!((waiter, limit), (number, 65536));
                break;
            }
            (_, Err(error)) => panic!("{error}"),
        }
    }
    assert!(recorder.betrayed.lock().unwrap().is_empty());
}

#[test]
fn what_the_log_was_not_given_before_its_end_is_told_too() {
    let (_disk, log, recorder, mut appender) = opened(Fsync::No);
    add(&mut appender, 1);
    appender.flush().unwrap();
    log.close().unwrap();
    assert_eq!(recorder.told(), [(1, Ok(()))], "what was handed over is written first");
    // Handed over to nobody.
    add(&mut appender, 2);
    appender.flush().unwrap();
    assert_eq!(recorder.told()[1..], [(2, Err(LogError::Closed))]);
    // Not handed over at all.
    add(&mut appender, 3);
    drop(appender);
    assert_eq!(recorder.told()[2..], [(3, Err(LogError::Closed))]);
}

/// Workers that hand over while the log ends: each event is told about exactly once.
#[test]
fn nobody_is_forgotten_at_the_end() {
    for _ in 0..20 {
        let disk = RecordingDisk::default();
        let log = on(&disk, &config(Fsync::No, 1));
        let told = Arc::new(Counter::default());
        log.answer_with(told.clone());
        let mut appender = log.appender(0).unwrap();
        let worker = std::thread::spawn(move || {
            let mut number = 0;
            while !appender.is_closed() || number < 50 {
                number += 1;
                add(&mut appender, number);
                while appender.flush().is_err() {
                    std::thread::yield_now();
                }
            }
            number as usize
        });
        log.close().unwrap();
        let count = worker.join().unwrap();
        assert_eq!(told.0.load(Ordering::SeqCst), count);
    }
}

#[derive(Default)]
struct Counter(AtomicUsize);

impl AnswerWaiters for Counter {
    fn answer(&self, waiters: &[u32], _: Result<(), &LogError>) {
        self.0.fetch_add(waiters.len(), Ordering::SeqCst);
    }
}

#[test]
fn a_worker_hears_of_answers_only_when_it_wants_to_and_always_of_room() {
    let disk = GatedDisk::new();
    let log = DurableLog::open_on(Arc::new(disk.clone()), &config(Fsync::No, 2), &mut |_| {});
    let log = log.unwrap();
    let (mut appender, mut other) = (log.appender(0).unwrap(), log.appender(1).unwrap());
    let heard = Arc::new(AtomicUsize::new(0));
    let count = heard.clone();
    appender.on_answer(move || _ = count.fetch_add(1, Ordering::SeqCst));
    let append = |appender: &mut Appender, number: u64| {
        let ticket = appender.event(&event(appender.id(number), b"{}", &[1]), 0).unwrap();
        appender.flush().unwrap();
        wait_until("answer", || appender.answered() >= ticket);
    };
    append(&mut appender, 0);
    append(&mut appender, 1);
    assert_eq!(heard.load(Ordering::SeqCst), 0);
    appender.want_answer();
    // That of another worker is not the one.
    append(&mut other, 0);
    append(&mut other, 1);
    assert_eq!(heard.load(Ordering::SeqCst), 0);
    append(&mut appender, 2);
    wait_until("the wanted answer", || heard.load(Ordering::SeqCst) == 1);
    append(&mut appender, 3);
    append(&mut appender, 4);
    assert_eq!(heard.load(Ordering::SeqCst), 1, "once");
    // The other one fills the queue; who finds it full hears of room without asking.
    disk.open_gate(false);
    let body = vec![b'x'; 100_000];
    for number in 2.. {
        other.event(&event(other.id(number), &body, &[1]), 0).unwrap();
        if other.flush().is_err() {
            break;
        }
    }
    appender.event(&event(appender.id(5), b"{}", &[1]), 0).unwrap();
    assert!(appender.flush().is_err());
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    disk.open_gate(true);
    wait_until("room", || heard.load(Ordering::SeqCst) == 2);
    assert!(appender.flush().is_ok());
}
