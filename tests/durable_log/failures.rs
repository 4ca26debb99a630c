//! The disk fails: what was promised holds, what is refused is said, and the log goes on as soon
//! as it can.

use crate::disk::{Failing, RecordingDisk, by_chance};
use crate::model::{Run, SEGMENT_BYTES, Stop, config, open, read_all};
use ferrite::base::random::Random;
use ferrite::log::{Disk, LogError, Store};
use std::sync::Arc;

const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// Some steps on a disk that fails; what is refused is refused.
fn steps(run: &mut Run, random: &mut Random, count: u64) {
    for _ in 0..count {
        match random.below(10) {
            0..6 => {
                let bytes = [5, 300, 1500][random.below(3) as usize];
                let _ = run.append(random.below(2) as usize, bytes, 1 + random.below(2) as usize);
            }
            6 => run.ack(random.below(5) as usize),
            7 => _ = run.sync(),
            8 => run.upkeep(),
            _ => _ = run.store().retry(),
        }
    }
}

fn judge_everywhere(run: &Run, random: &mut Random, tell: &str) {
    let history = run.disk.history();
    for _ in 0..12 {
        let at = random.below(history.ops().len() as u64 + 1) as usize;
        let problem = run.judge(at, Stop::Killed, &history.killed(at, 0)).err();
        assert_eq!(problem, None, "{tell}, killed at {at}");
        let of_four = random.below(5);
        let files = history.powerless(at, &mut by_chance(random, of_four));
        let problem = run.judge(at, Stop::Powerless, &files).err();
        assert_eq!(problem, None, "{tell}, powerless at {at}");
    }
    let at = history.ops().len();
    let problem = run.judge(at, Stop::Powerless, &history.powerless(at, &mut || false)).err();
    assert_eq!(problem, None, "{tell}, powerless at the end");
}

#[test]
fn after_one_failure_anywhere_the_log_goes_on_and_keeps_its_promises() {
    for seed in 0..40 {
        for after in 0..40 {
            let mut random = Random::new(seed);
            let mut run = Run::new(RecordingDisk::default(), seed);
            run.disk.fail(Some(Failing { after, count: 1, code: EIO }));
            steps(&mut run, &mut random, 25);
            run.disk.fail(None);
            let tell = format!("seed {seed}, failure after {after}");
            run.store().retry().unwrap();
            run.append(0, 20, 1).unwrap();
            run.sync().unwrap();
            assert_eq!(run.store().counters().records_lost, 0, "{tell}");
            judge_everywhere(&run, &mut random, &tell);
        }
    }
}

#[test]
fn while_the_disk_fails_for_long_events_are_refused_and_nothing_promised_is_lost() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut run = Run::new(RecordingDisk::default(), seed);
        let (after, count) = (random.below(30) as usize, 1 + random.below(30) as usize);
        run.disk.fail(Some(Failing { after, count, code: EIO }));
        steps(&mut run, &mut random, 40);
        run.disk.fail(None);
        run.store().retry().unwrap();
        assert!(run.store().trouble().is_none());
        run.append(0, 20, 1).unwrap();
        run.sync().unwrap();
        judge_everywhere(&run, &mut random, &format!("seed {seed}, {after}, {count}"));
    }
}

#[test]
fn a_failed_sync_moves_what_was_not_synced_to_a_new_segment() {
    let mut run = Run::new(RecordingDisk::default(), 1);
    run.append(0, 10, 1).unwrap();
    run.sync().unwrap();
    run.append(1, 20, 2).unwrap();
    run.append(0, 30, 1).unwrap();
    run.ack(1);
    run.disk.fail(Some(Failing { after: 0, count: 1, code: EIO }));
    run.sync().unwrap();
    let counters = run.store().counters();
    assert_eq!((counters.write_errors, counters.records_lost), (1, 0));
    // All of it is there after a loss of power, although the first segment's sync has failed.
    let history = run.disk.history();
    let at = history.ops().len();
    let files = history.powerless(at, &mut || false);
    assert_eq!(files.len(), 2);
    run.judge(at, Stop::Powerless, &files).unwrap();
}

#[test]
fn a_sync_that_succeeds_after_one_that_failed_proves_nothing_on_this_disk() {
    let disk = RecordingDisk::default();
    let file = disk.create("x").unwrap();
    disk.sync_directory().unwrap();
    file.write_at(b"lost", 0).unwrap();
    disk.fail(Some(Failing { after: 0, count: 1, code: EIO }));
    file.sync().unwrap_err();
    file.sync().unwrap();
    let history = disk.history();
    let files = history.powerless(history.ops().len(), &mut || false);
    assert!(files["x"].is_empty());
}

#[test]
fn a_full_device_is_said_and_the_log_goes_on_when_there_is_room() {
    let mut run = Run::new(RecordingDisk::default(), 1);
    run.append(0, 100, 1).unwrap();
    run.sync().unwrap();
    run.disk.limit_room(Some(300));
    let error = run.append(0, 1000, 1).unwrap_err();
    assert!(matches!(error, LogError::NoSpace { .. }), "{error}");
    assert!(error.to_string().contains("no room left on the device"), "{error}");
    assert!(matches!(run.store().trouble(), Some(LogError::NoSpace { .. })));
    assert!(run.append(0, 1, 1).is_err(), "until it is tried again");
    assert!(run.store().retry().is_err());
    run.disk.limit_room(None);
    run.store().retry().unwrap();
    run.append(1, 1000, 1).unwrap();
    run.sync().unwrap();
    judge_everywhere(&run, &mut Random::new(1), "full");
}

#[test]
fn a_directory_that_cannot_be_written_or_is_full_is_refused_by_name() {
    let mut filled = Run::new(RecordingDisk::default(), 1);
    filled.append(0, 100, 1).unwrap();
    filled.sync().unwrap();
    for files in [Default::default(), filled.disk.files()] {
        for code in [EACCES, EROFS, ENOSPC, EIO] {
            // Also in the middle of opening.
            for after in 0..5 {
                let disk = RecordingDisk::with(&files);
                disk.fail(Some(Failing { after, count: usize::MAX, code }));
                let Err(error) = open(&disk, 2) else { continue };
                match code {
                    EACCES | EROFS => assert!(matches!(error, LogError::ReadOnly { .. })),
                    ENOSPC => assert!(matches!(error, LogError::NoSpace { .. })),
                    _ => assert!(matches!(error, LogError::Io { .. })),
                }
                assert!(error.to_string().contains("/log"), "{error}");
                // What was there is there, now or after the power was lost.
                let history = disk.history();
                let later = history.powerless(history.ops().len(), &mut || false);
                for files in [disk.files(), later] {
                    let found = read_all(&open(&RecordingDisk::with(&files), 3).unwrap()).unwrap();
                    assert_eq!(
                        found.order.len(),
                        usize::from(files.contains_key(&name(1)) && !filled_is_empty(&files))
                    );
                }
            }
        }
    }
}

fn name(id: u64) -> String {
    ferrite::log::segment::file_name(id)
}

/// Whether the first segment holds no record.
fn filled_is_empty(files: &crate::disk::Files) -> bool {
    files[&name(1)].len() <= ferrite::log::segment::SEGMENT_HEADER_BYTES
}

#[test]
fn the_bound_of_the_disk_holds_and_cleaning_and_removal_make_room_again() {
    let small = ferrite::log::StoreConfig { disk_bytes_max: 10 * SEGMENT_BYTES, ..config(1) };
    let disk = RecordingDisk::default();
    let (store, _) = Store::open(Arc::new(disk.clone()), small, &mut |_| {}).unwrap();
    let mut run = Run::new(RecordingDisk::default(), 1);
    run.disk = disk;
    run.store = Some(store);
    let mut refused = None;
    while refused.is_none() {
        match run.store().check_room(1100) {
            Ok(()) => run.append(0, 1000, 1).unwrap(),
            Err(error) => refused = Some(error),
        }
        assert!(run.store().disk_bytes() <= small.disk_bytes_max);
    }
    let error = refused.unwrap();
    assert!(matches!(error, LogError::Full { limit, .. } if limit == small.disk_bytes_max));
    assert!(error.to_string().contains("max_disk_bytes"), "{error}");
    // All but one in four are finished; the rest pins every segment.
    let mut kept = 0;
    while kept < run.unfinished().len() {
        let id = run.events[run.unfinished()[kept].0].id;
        match id.sequence.is_multiple_of(8) {
            true => kept += 1,
            false => run.ack(kept),
        }
    }
    run.upkeep();
    assert!(run.store().counters().segments_cleaned > 2);
    assert!(run.store().check_room(4000).is_ok(), "{}", run.store().disk_bytes());
    let unfinished: Vec<_> =
        run.unfinished().iter().map(|(event, _)| run.events[*event].id).collect();
    assert_eq!(read_all(run.store()).unwrap().order, unfinished);
    // When the rest is finished, the segments go.
    while !run.unfinished().is_empty() {
        run.ack(0);
    }
    run.upkeep();
    assert!(run.store().disk_bytes() <= 2 * SEGMENT_BYTES, "{}", run.store().disk_bytes());
    judge_everywhere(&run, &mut Random::new(1), "bound");
}
