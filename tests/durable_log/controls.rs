//! The judge catches a log that breaks its rules.

use crate::disk::{Lies, RecordingDisk, by_chance};
use crate::images::random_steps;
use crate::model::{Run, Stop};
use ferrite::base::random::Random;

/// How many of some seeds are found wrong when `spoil` has changed the run.
fn caught(stop: Stop, spoil: impl Fn(&mut Run)) -> usize {
    let wrong = |seed: &u64| {
        let mut random = Random::new(*seed);
        let mut run = Run::new(RecordingDisk::default(), *seed);
        spoil(&mut run);
        random_steps(&mut run, &mut random, 30);
        let history = run.disk.history();
        (0..20).any(|_| {
            let at = random.below(history.ops().len() as u64 + 1) as usize;
            let files = match stop {
                Stop::Killed => history.killed(at, 0),
                Stop::Powerless => history.powerless(at, &mut by_chance(&mut random, 1)),
            };
            run.judge(at, stop, &files).is_err()
        })
    };
    (0..40).filter(wrong).count()
}

#[test]
fn a_log_that_keeps_its_rules_passes() {
    assert_eq!(caught(Stop::Killed, |_| {}), 0);
    assert_eq!(caught(Stop::Powerless, |_| {}), 0);
}

#[test]
fn a_log_that_does_not_sync_is_caught() {
    let lies = Lies { sync: true, sync_directory: false };
    assert!(caught(Stop::Powerless, |run| run.disk.lie(lies)) > 10);
}

#[test]
fn a_log_that_does_not_sync_the_directory_is_caught() {
    let lies = Lies { sync: false, sync_directory: true };
    assert!(caught(Stop::Powerless, |run| run.disk.lie(lies)) > 10);
}

#[test]
fn a_promise_before_the_write_is_caught() {
    assert!(caught(Stop::Killed, |run| run.promises_early = true) > 10);
}

#[test]
fn a_promise_of_the_power_without_a_sync_is_caught() {
    // What is written is taken for synced.
    let wrong = |seed: &u64| {
        let mut random = Random::new(*seed);
        let mut run = Run::new(RecordingDisk::default(), *seed);
        for _ in 0..5 {
            run.append(0, 100, 1).unwrap();
        }
        for event in &mut run.events {
            event.times.synced = event.times.written;
        }
        let history = run.disk.history();
        let at = history.ops().len();
        let files = history.powerless(at, &mut by_chance(&mut random, 1));
        run.judge(at, Stop::Powerless, &files).is_err()
    };
    assert!((0..20).filter(wrong).count() > 15);
}

/// A finished event whose segment is removed before an older one: the acks in it are lost, and the
/// older event comes back after the newer one was delivered.
#[test]
fn removing_a_segment_that_is_not_the_oldest_is_caught() {
    let mut run = Run::new(RecordingDisk::default(), 1);
    run.append(0, 3900, 2).unwrap();
    run.append(0, 3900, 1).unwrap();
    run.ack(0);
    run.append(0, 3900, 1).unwrap();
    run.sync().unwrap();
    let history = run.disk.history();
    let mut files = history.killed(history.ops().len(), 0);
    assert!(run.judge(history.ops().len(), Stop::Killed, &files).is_ok());
    files.remove("0000000000000002.segment").unwrap();
    let problem = run.judge(history.ops().len(), Stop::Killed, &files).unwrap_err();
    assert!(problem.contains("0000000000000002.segment is missing"), "{problem}");
}
