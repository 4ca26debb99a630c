//! The waiting, without an engine: what it offers is answered by hand, or by a log.

use super::{Round, Waiters};
use crate::core::event::WebhookEvent;
use crate::core::journal::{LogEvent, StoredEvent};
use crate::inbox::Room;
use crate::log::{AnswerWaiters, DurableLog, Fsync, LogConfig, LogError};
use crate::webhooks::WebhookError;
use crate::webhooks::block_on::block_on;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};

const FULL: LogError = LogError::Full { used: 2, limit: 1 };

fn waiters() -> Arc<Waiters> {
    Arc::new(Waiters::new(Arc::default()))
}

/// A round that has offered `offered` events.
fn round(waiters: &Arc<Waiters>, offered: u64) -> Round {
    let waiter = waiters.enter().unwrap();
    Round { waiters: Some(waiters.clone()), waiter, offered, failed: 0, hurried: false }
}

fn look(round: &mut Round) -> Poll<Result<(), WebhookError>> {
    round.poll(&mut Context::from_waker(Waker::noop()))
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_round_is_over_when_all_its_events_are_answered_and_wakes_once() {
    let waiters = waiters();
    let (mut one, mut other) = (round(&waiters, 3), round(&waiters, 1));
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    // Answers may come before anybody looks.
    waiters.answer_one(one.waiter, Ok(()));
    assert_eq!(one.poll(&mut context), Poll::Pending);
    waiters.answer(&[one.waiter, other.waiter], Ok(()));
    assert_eq!(look(&mut other), Poll::Ready(Ok(())));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
    waiters.answer_one(one.waiter, Ok(()));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    assert_eq!(one.poll(&mut context), Poll::Ready(Ok(())));
    // The next round counts anew.
    one.offered = 1;
    assert_eq!(one.poll(&mut context), Poll::Pending);
    waiters.answer_one(one.waiter, Ok(()));
    assert_eq!(one.poll(&mut context), Poll::Ready(Ok(())));
    assert_eq!(wakes.0.load(Ordering::SeqCst), 2);
    // With nothing offered there is nothing to wait for; nobody is told of what nobody waits for.
    assert_eq!(look(&mut one), Poll::Ready(Ok(())));
    waiters.answer_one(0, Ok(()));
    waiters.answer(&[77], Ok(()));
}

#[test]
fn the_first_error_is_told_with_the_number_of_failures_and_only_to_its_round() {
    let waiters = waiters();
    let (mut one, mut other) = (round(&waiters, 4), round(&waiters, 1));
    waiters.answer(&[one.waiter, one.waiter], Err(&FULL));
    waiters.answer(&[one.waiter], Err(&LogError::Abandoned));
    waiters.answer(&[one.waiter, other.waiter], Ok(()));
    let Poll::Ready(Err(error)) = look(&mut one) else { panic!("not told") };
    assert_eq!(error, WebhookError::NotDurable(FULL.to_string()));
    assert!(error.to_string().contains("max_disk_bytes"), "{error}");
    assert_eq!(one.failed, 3);
    assert_eq!(look(&mut other), Poll::Ready(Ok(())));
    one.offered = 1;
    waiters.answer_one(one.waiter, Ok(()));
    assert_eq!((look(&mut one), one.failed), (Poll::Ready(Ok(())), 0));
}

#[test]
fn a_place_is_not_given_to_another_before_late_answers_have_come() {
    let waiters = waiters();
    let late = round(&waiters, 2);
    let number = late.waiter;
    waiters.answer_one(number, Ok(()));
    drop(late);
    // The answer that is still to come must not be taken for another's.
    let mut next = round(&waiters, 1);
    assert_ne!(next.waiter, number);
    waiters.answer_one(number, Err(&FULL));
    assert_eq!(look(&mut next), Poll::Pending);
    let mut third = round(&waiters, 1);
    assert_eq!(third.waiter, number, "the place is used again");
    assert_eq!(look(&mut third), Poll::Pending);
    waiters.answer(&[third.waiter, next.waiter], Ok(()));
    assert_eq!(look(&mut third), Poll::Ready(Ok(())));
    assert_eq!(look(&mut next), Poll::Ready(Ok(())));
    // Without outstanding answers it is free at once.
    drop(third);
    assert_eq!(waiters.enter(), Some(number));
}

#[test]
fn one_more_than_may_wait_waits_for_a_place() {
    let room = Arc::new(Room::default());
    let waiters = Arc::new(Waiters::with_places(2, room.clone()));
    let (first, second) = (round(&waiters, 0), round(&waiters, 1));
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut context = Context::from_waker(&waker);
    for leaver in [first, second] {
        let number = leaver.waiter;
        assert_eq!(room.poll(&mut context, || waiters.enter()), Poll::Pending);
        let before = wakes.0.load(Ordering::SeqCst);
        let outstanding = leaver.offered > 0;
        drop(leaver);
        if outstanding {
            assert_eq!(wakes.0.load(Ordering::SeqCst), before);
            waiters.answer_one(number, Ok(()));
        }
        assert_eq!(wakes.0.load(Ordering::SeqCst), before + 1);
        assert_eq!(room.poll(&mut context, || waiters.enter()), Poll::Ready(number));
    }
}

#[test]
fn the_end_of_the_engine_ends_all_waiting() {
    let waiters = waiters();
    let mut answered = round(&waiters, 1);
    waiters.answer_one(answered.waiter, Ok(()));
    let mut waiting = round(&waiters, 2);
    waiters.answer_one(waiting.waiter, Ok(()));
    let ender = {
        let waiters = waiters.clone();
        std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(5));
            waiters.close();
        })
    };
    let outcome = block_on(std::future::poll_fn(|context| waiting.poll(context)));
    assert_eq!((outcome, waiting.failed), (Err(WebhookError::ShutDown), 1));
    ender.join().unwrap();
    assert_eq!(look(&mut answered), Poll::Ready(Ok(())), "what was answered stays so");
    // An event that slipped in is told as well, and its answer hurts nobody.
    waiting.offered = 1;
    assert_eq!(look(&mut waiting), Poll::Ready(Err(WebhookError::ShutDown)));
    waiters.answer_one(waiting.waiter, Ok(()));
    drop(waiting);
}

/// Many callers, whose events go through two workers into one log: whoever was told `Ok` finds its
/// events there, and nobody waits in vain. Some go away while they are waited for.
#[test]
fn many_callers_wait_for_one_log() {
    const CALLERS: u64 = 6;
    const ROUNDS: u64 = 40;
    const WORKERS: usize = 2;
    let name = format!("ferrite-commit-{:016x}", crate::base::random::seed());
    let folder = std::env::temp_dir().join(name);
    let config = LogConfig { fsync: Fsync::No, workers: WORKERS, ..LogConfig::default() };
    let log = DurableLog::open(&folder, &config, &mut |_| {}).unwrap();
    let waiters = waiters();
    log.answer_with(waiters.clone());
    let number = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let inboxes: Vec<mpsc::Sender<(u64, u32)>> = (0..WORKERS)
            .map(|worker| {
                let (sender, receiver) = mpsc::channel::<(u64, u32)>();
                let mut appender = log.appender(worker).unwrap();
                scope.spawn(move || {
                    while let Ok((number, waiter)) = receiver.recv() {
                        let (id, key) = (appender.id(number), b"k");
                        let kind = WebhookEvent::Set;
                        let event = LogEvent {
                            id,
                            kind,
                            database: 0,
                            timestamp_us: 1,
                            key,
                            body: b"{}",
                            targets: &[1],
                        };
                        appender.event(&event, waiter).unwrap();
                        while appender.flush().is_err() {
                            std::thread::yield_now();
                        }
                    }
                });
                sender
            })
            .collect();
        for caller in 0..CALLERS {
            let (inboxes, waiters) = (inboxes.clone(), waiters.clone());
            let (log, number) = (&log, &number);
            scope.spawn(move || {
                let mut group = round(&waiters, 0);
                for turn in 0..ROUNDS {
                    let mut last = (0, 0);
                    for _ in 0..=turn % 7 {
                        last = (number.fetch_add(1, Ordering::Relaxed), turn as usize % WORKERS);
                        inboxes[last.1].send((last.0, group.waiter)).unwrap();
                        group.offered += 1;
                    }
                    if (turn + caller) % 5 == 0 {
                        group = round(&waiters, 0);
                        continue;
                    }
                    let outcome = block_on(std::future::poll_fn(|context| group.poll(context)));
                    assert_eq!(outcome, Ok(()));
                    let sequence = last.0 * WORKERS as u64 + last.1 as u64;
                    let id = crate::base::id::EventId { boot: log.boot(), sequence };
                    let stored: Option<StoredEvent> = log.reader().read(id).unwrap();
                    assert!(stored.is_some(), "told before it was written");
                }
            });
        }
    });
    log.close().unwrap();
    drop(log);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(
        waiters.enter().unwrap() <= 2 * CALLERS as u32 * ROUNDS as u32 / 5,
        "places are reused"
    );
}
