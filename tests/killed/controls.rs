//! Stories that were never lived: a good one, and one for each way to break a rule, which must be
//! found.

use crate::books::{LogContents, Seen, Story, Webhook, Writes};
use crate::rules::{Broken, judge};
use ferrite::base::id::EventId;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

const KEY: u32 = 7;

/// Event n of the key, made in life n / 3.
fn id(number: usize) -> EventId {
    EventId { boot: 100 + number as u64 / 3, sequence: number as u64 }
}

/// Requests of one webhook, one after the other: life, number, status.
fn requests(began: Instant, list: &[(usize, usize, u16)]) -> Vec<Seen> {
    let request = |(at, (life, number, status)): (usize, &(usize, usize, u16))| {
        let began = began + Duration::from_millis(at as u64 * 10);
        Seen {
            life: *life,
            key: KEY,
            number: *number,
            id: id(*number),
            body_hash: *number as u64,
            attempt: 1,
            began,
            ended: began + Duration::from_millis(5),
            status: *status,
        }
    };
    list.iter().enumerate().map(request).collect()
}

fn log(boot: u64, pending: [&[usize]; 2], dead: &[usize]) -> Option<LogContents> {
    let ids = |numbers: &[usize]| -> HashSet<EventId> { numbers.iter().copied().map(id).collect() };
    Some(LogContents {
        boots: vec![boot],
        pending: [(1, ids(pending[0])), (2, ids(pending[1]))].into(),
        webhooks: [1, 2].into(),
        events: ids(pending[0]).union(&ids(pending[1])).copied().collect(),
        dead: dead.iter().map(|number| (2, id(*number))).collect(),
    })
}

/// Six writes in two lives; the reply to the third was cut off, and the fifth was never taken. The
/// first webhook gets two events again whose answers were not noted. The second one gives up event
/// 1, and gets event 3 after a failure.
fn good() -> Story {
    let began = Instant::now();
    let first = [(0, 0, 200), (0, 1, 200), (0, 2, 200), (1, 1, 200), (1, 2, 200), (1, 3, 200)];
    let second = [(0, 0, 200), (0, 1, 500), (0, 1, 0), (0, 2, 200), (1, 3, 500), (1, 3, 200)];
    let webhook = |name: &str, list: &[_], last: &[_], dead: &[usize]| {
        let list: Vec<_> = list.iter().chain(last).copied().collect();
        Webhook {
            name: name.to_owned(),
            seen: requests(began, &list),
            dead: dead.iter().copied().map(id).collect(),
            attempts_max: None,
        }
    };
    let last = [(1, 5, 200)];
    Story {
        writes: HashMap::from([(
            KEY,
            Writes { answered: vec![true, true, false, true, false, true] },
        )]),
        webhooks: vec![webhook("a", &first, &last, &[]), webhook("b", &second, &last, &[1])],
        logs: vec![log(100, [&[1, 2], &[]], &[1]), log(101, [&[], &[]], &[1])],
    }
}

/// What is found once the story is changed.
fn found(change: impl FnOnce(&mut Story)) -> BTreeMap<Broken, usize> {
    let mut story = good();
    change(&mut story);
    judge(&story).broken.into_iter().map(|(kind, (count, _))| (kind, count)).collect()
}

fn found_is(kind: Broken, change: impl FnOnce(&mut Story)) {
    let found = found(change);
    assert_eq!(found.keys().copied().collect::<Vec<_>>(), [kind], "{found:?}");
}

#[test]
fn a_good_story_breaks_no_rule() {
    let verdict = judge(&good());
    assert!(verdict.broken.is_empty(), "{verdict}");
    assert_eq!((verdict.answered_writes, verdict.unanswered_writes), (4, 2));
    assert_eq!((verdict.requests, verdict.delivered), (14, 9));
    assert_eq!((verdict.dead, verdict.duplicates), (1, 2));
}

#[test]
fn an_event_that_never_came_is_lost() {
    found_is(Broken::Lost, |story| _ = story.webhooks[0].seen.pop());
    // It came, but was not answered 2xx.
    found_is(Broken::Lost, |story| story.webhooks[1].seen.last_mut().unwrap().status = 500);
    // It was given up, and is no dead letter.
    let kinds = found(|story| story.webhooks[1].dead.clear());
    assert!(kinds.contains_key(&Broken::Lost), "{kinds:?}");
    // An event without a reply may be missing.
    assert!(
        found(|story| {
            story.webhooks.iter_mut().for_each(|webhook| webhook.seen.retain(|s| s.number != 2));
        })
        .is_empty()
    );
    // But not for one webhook alone.
    assert!(!found(|story| story.webhooks[1].seen.retain(|s| s.number != 2)).is_empty());
}

#[test]
fn an_event_before_its_turn_is_found() {
    // Two change places within a life.
    let kinds = found(|story| {
        let seen = &mut story.webhooks[0].seen;
        let (one, other) = (seen[1].clone(), seen[2].clone());
        (seen[1].number, seen[1].id, seen[1].body_hash) = (other.number, other.id, other.body_hash);
        (seen[2].number, seen[2].id, seen[2].body_hash) = (one.number, one.id, one.body_hash);
    });
    assert_eq!(kinds.keys().copied().collect::<Vec<_>>(), [Broken::Order]);
    // A life begins with an event although the one before it has not succeeded.
    found_is(Broken::Order, |story| {
        story.webhooks[1].seen[3].status = 500;
        story.writes.get_mut(&KEY).unwrap().answered[2] = false;
    });
    // The same within a life.
    found_is(Broken::Order, |story| {
        story.webhooks[0].seen[1].status = 500;
        story.webhooks[0].seen[1].attempt = 2;
    });
    // But the next one comes when it is given up, also if the log forgets that.
    let given_up = found(|story| {
        let webhook = &mut story.webhooks[0];
        webhook.attempts_max = Some(1);
        webhook.seen[2].status = 500;
        webhook.seen[3].status = 500;
        webhook.dead.insert(id(1));
    });
    assert!(given_up.is_empty(), "{given_up:?}");
    // What comes again leaves one out.
    found_is(Broken::Order, |story| _ = story.webhooks[0].seen.remove(4));
    // A later event of the last life came before the one that it had left.
    found_is(Broken::Order, |story| {
        let later = story.webhooks[0].seen.iter_mut().skip(3);
        for (seen, number) in later.zip([3, 1, 2, 5]) {
            (seen.number, seen.id, seen.body_hash) = (number, id(number), number as u64);
        }
    });
}

#[test]
fn two_at_a_time_are_found() {
    found_is(Broken::Overlap, |story| {
        let seen = &mut story.webhooks[0].seen;
        seen[1].began = seen[0].began + Duration::from_millis(1);
    });
}

#[test]
fn what_comes_again_without_need_is_found() {
    // It was finished in the log.
    found_is(Broken::Again, |story| {
        story.logs[0].as_mut().unwrap().pending.get_mut(&1).unwrap().remove(&id(2));
    });
    // It was answered 2xx in the same life.
    found_is(Broken::Again, |story| {
        let seen = &mut story.webhooks[0].seen;
        let again = seen[5].clone();
        (seen[6].number, seen[6].id, seen[6].body_hash) = (again.number, again.id, again.body_hash);
        story.writes.get_mut(&KEY).unwrap().answered[5] = false;
        story.webhooks[1].seen.pop();
    });
}

#[test]
fn ids_and_bodies_that_are_not_one_are_found() {
    found_is(Broken::Body, |story| story.webhooks[1].seen[0].body_hash = 99);
    let kinds = found(|story| {
        story.webhooks.iter_mut().flat_map(|webhook| &mut webhook.seen).for_each(|seen| {
            if seen.number == 5 {
                seen.id = id(0);
            }
        });
    });
    assert!(kinds.contains_key(&Broken::Id), "{kinds:?}");
    found_is(Broken::Id, |story| {
        story.webhooks[1].seen.last_mut().unwrap().id = EventId { boot: 101, sequence: 77 };
    });
    found_is(Broken::Boot, |story| story.logs[1].as_mut().unwrap().boots = vec![99]);
}

#[test]
fn what_nobody_wrote_is_found() {
    found_is(Broken::Unknown, |story| _ = story.writes.get_mut(&KEY).unwrap().answered.pop());
}
