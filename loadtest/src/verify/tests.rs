//! Negative controls: each way to break a promise is caught, and by its name. And whatever a
//! correct sender may do passes.

use super::*;
use crate::history::BatchEvent;
use proptest::prelude::*;

/// What becomes of one attempt.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Ok,
    Failed,
    /// The answer does not come in time; the receiver notices after this long.
    TimedOut(u64),
}

/// One event of one key: the outcomes of its attempts, until one is `Ok`.
type Attempts = Vec<Outcome>;

/// The histories of a correct sender: on each path, each key's events one after the other.
fn correct(paths: &[&str], keys: &[Vec<Attempts>]) -> Vec<HistoryLine> {
    let mut lines = Vec::new();
    for (key, events) in keys.iter().enumerate() {
        for sequence in 0..events.len() as u64 {
            lines.push(HistoryLine::Accepted { key: format!("k:{key}"), sequence, at_us: 0 });
        }
    }
    let triggered = lines.len() as u64;
    for (number, path) in paths.iter().enumerate() {
        let mut dead = 0;
        for (key, events) in keys.iter().enumerate() {
            let mut now_us = key as u64;
            for (sequence, attempts) in events.iter().enumerate() {
                let mut is_dead = true;
                for (attempt, outcome) in attempts.iter().enumerate() {
                    let arrived_us = now_us;
                    now_us += 10;
                    let (status, answered_us) = match outcome {
                        Outcome::Ok => (Some(200), now_us),
                        Outcome::Failed => (Some(500), now_us),
                        Outcome::TimedOut(noticed_us) => (None, now_us + noticed_us),
                    };
                    lines.push(HistoryLine::Request(Request {
                        path: (*path).to_owned(),
                        id: format!("evt_{number}_{key}_{sequence}"),
                        attempt: attempt as u32 + 1,
                        key: format!("k:{key}"),
                        sequence: Some(sequence as u64),
                        body_hash: (key * 1000 + sequence) as u64,
                        signature: Some(true),
                        arrived_us,
                        answered_us,
                        status,
                        events: Vec::new(),
                    }));
                    if status == Some(200) {
                        is_dead = false;
                        break;
                    }
                }
                dead += u64::from(is_dead);
            }
        }
        lines.push(HistoryLine::Accounts(Accounts {
            webhook: path.rsplit('/').next().unwrap().to_owned(),
            triggered,
            delivered: triggered - dead,
            dead,
            dropped: 0,
            cancelled: 0,
            pending: 0,
            signed: true,
            replayed: 0,
            coalesced: 0,
        }));
    }
    lines
}

/// Two keys with three events each on two paths; one event needs a second attempt.
fn example() -> Vec<HistoryLine> {
    let ok = vec![Outcome::Ok];
    let retried = vec![Outcome::Failed, Outcome::Ok];
    let keys = [vec![ok.clone(), retried, ok.clone()], vec![ok; 3]];
    correct(&["/a", "/b"], &keys)
}

fn judged(lines: Vec<HistoryLine>) -> Verdict {
    check(lines, Rules::default())
}

/// The kinds that are found.
fn kinds(lines: Vec<HistoryLine>) -> Vec<Kind> {
    judged(lines).findings.iter().map(|finding| finding.kind).collect()
}

/// Changes the first request on `/a` that is the attempt of the event.
fn change(
    lines: &mut [HistoryLine],
    event: (&str, u64, u32),
    change: impl FnOnce(&mut HistoryLine),
) {
    let is_it = |line: &&mut HistoryLine| match &**line {
        HistoryLine::Request(Request { path, key, sequence, attempt, .. }) => {
            path == "/a" && (key.as_str(), sequence.unwrap(), *attempt) == event
        }
        _ => false,
    };
    change(lines.iter_mut().find(is_it).unwrap());
}

macro_rules! set {
    ($lines:expr, $event:expr, $($field:ident = $value:expr),+) => {
        change(&mut $lines, $event, |line| {
            let HistoryLine::Request(Request { $($field),+, .. }) = line else { unreachable!() };
            $(*$field = $value;)+
        })
    };
}

#[test]
fn the_example_passes_in_any_order_of_its_lines() {
    let mut lines = example();
    assert_eq!(judged(lines.clone()).findings, []);
    lines.reverse();
    let verdict = judged(lines);
    assert!(verdict.passed);
    assert_eq!((verdict.accepted, verdict.requests, verdict.paths), (6, 14, 2));
    assert_eq!(verdict.notes, [""; 0]);
}

#[test]
fn a_swapped_order_is_caught() {
    let mut lines = example();
    // The second event after the third.
    set!(lines, ("k:1", 1, 1), arrived_us = 1000, answered_us = 1010);
    assert_eq!(kinds(lines), [Kind::Order]);
    // Before the first one is answered; they overlap, too.
    let mut lines = example();
    set!(lines, ("k:1", 0, 1), answered_us = 15);
    assert_eq!(kinds(lines), [Kind::Order, Kind::Overlap]);
    // While the one before waits for its second attempt.
    let mut lines = example();
    set!(lines, ("k:0", 1, 2), arrived_us = 100, answered_us = 110);
    assert_eq!(kinds(lines), [Kind::Order]);
}

#[test]
fn overlapping_attempts_of_one_event_are_caught() {
    let mut lines = example();
    set!(lines, ("k:0", 1, 1), answered_us = 21);
    assert_eq!(kinds(lines), [Kind::Overlap]);
    // After a timeout the receiver may notice late.
    let mut lines = example();
    set!(lines, ("k:0", 1, 1), answered_us = 500, status = None);
    assert_eq!(kinds(lines), []);
}

#[test]
fn a_lost_event_is_caught() {
    let is_it = |line: &HistoryLine| matches!(line, HistoryLine::Request(Request { path, key, sequence: Some(2), .. }) if path == "/a" && key == "k:1");
    let mut lines = example();
    lines.retain(|line| !is_it(line));
    assert_eq!(kinds(lines.clone()), [Kind::Lost, Kind::Overclaimed]);
    assert_eq!(judged(lines).findings[0].examples, ["/a k:1#2"]);
    // Arrived, but never answered well.
    let mut lines = example();
    set!(lines, ("k:1", 2, 1), status = Some(500));
    assert_eq!(kinds(lines), [Kind::Lost, Kind::Overclaimed]);
    // A whole path is missing.
    let mut lines = example();
    lines
        .retain(|line| !matches!(line, HistoryLine::Request(Request { path, .. }) if path == "/a"));
    assert_eq!(judged(lines).count(Kind::Overclaimed), 6);
}

#[test]
fn a_lost_event_that_the_accounts_tell_of_passes() {
    let mut lines = example();
    set!(lines, ("k:1", 2, 1), status = Some(500));
    for line in &mut lines {
        if let HistoryLine::Accounts(Accounts { webhook, delivered, dead, .. }) = line
            && webhook == "a"
        {
            (*delivered, *dead) = (5, 1);
        }
    }
    assert_eq!(kinds(lines), []);
}

#[test]
fn a_lost_event_without_any_accounts_is_caught() {
    let mut lines = example();
    lines.retain(|line| !matches!(line, HistoryLine::Accounts(Accounts { .. })));
    assert_eq!(kinds(lines.clone()), []);
    set!(lines, ("k:1", 2, 1), status = None);
    assert_eq!(kinds(lines), [Kind::Lost]);
}

#[test]
fn names_that_do_not_match_are_judged_by_their_sums() {
    let renamed = |lines: Vec<HistoryLine>| {
        lines.into_iter().map(|mut line| {
            if let HistoryLine::Accounts(Accounts { webhook, .. }) = &mut line {
                webhook.insert_str(0, "webhook-");
            }
            line
        })
    };
    assert_eq!(kinds(renamed(example()).collect()), []);
    let mut lines = example();
    set!(lines, ("k:1", 2, 1), status = None);
    assert_eq!(kinds(renamed(lines).collect()), [Kind::Lost, Kind::Overclaimed]);
}

#[test]
fn a_forged_signature_is_caught() {
    let mut lines = example();
    set!(lines, ("k:1", 2, 1), signature = Some(false));
    assert_eq!(kinds(lines), [Kind::Signature]);
    let mut lines = example();
    set!(lines, ("k:1", 2, 1), signature = None);
    let verdict = judged(lines);
    assert!(verdict.passed && verdict.notes[0].contains("not checked"), "{verdict}");
}

#[test]
fn a_body_that_changed_on_retry_is_caught() {
    let mut lines = example();
    set!(lines, ("k:0", 1, 2), body_hash = 7);
    assert_eq!(kinds(lines), [Kind::BodyChanged]);
}

#[test]
fn a_reused_id_is_caught() {
    let mut lines = example();
    set!(lines, ("k:1", 2, 1), id = "evt_0_0_0".to_owned());
    assert_eq!(kinds(lines), [Kind::IdReused]);
}

#[test]
fn attempts_that_go_back_are_caught() {
    let mut lines = example();
    set!(lines, ("k:0", 1, 1), attempt = 3);
    assert_eq!(kinds(lines), [Kind::Attempts]);
    let mut lines = example();
    set!(lines, ("k:1", 1, 1), attempt = 0);
    assert_eq!(kinds(lines), [Kind::Attempts]);
    // Sent again on a new connection: not counted.
    let mut lines = example();
    set!(lines, ("k:0", 1, 2), attempt = 1);
    assert_eq!(kinds(lines), []);
}

#[test]
fn accounts_that_do_not_add_up_are_caught() {
    for (triggered, pending) in [(7, 0), (5, 0), (6, 1), (7, 1)] {
        let mut lines = example();
        let account = lines.iter_mut().rev().find_map(|line| match line {
            HistoryLine::Accounts(Accounts { triggered, pending, .. }) => {
                Some((triggered, pending))
            }
            _ => None,
        });
        let account = account.unwrap();
        (*account.0, *account.1) = (triggered, pending);
        assert_eq!(kinds(lines), [Kind::Accounts], "{triggered} {pending}");
    }
}

#[test]
fn a_dead_one_that_was_replayed_and_delivered_adds_up() {
    for (replays, wanted) in [(1, vec![]), (0, vec![Kind::Accounts])] {
        let mut lines = example();
        for line in &mut lines {
            if let HistoryLine::Accounts(Accounts { dead, replayed, .. }) = line {
                (*dead, *replayed) = (*dead + 1, replays);
                break;
            }
        }
        assert_eq!(kinds(lines), wanted);
    }
}

#[test]
fn an_event_that_nobody_accepted_is_caught() {
    let mut lines = example();
    lines.retain(
        |line| !matches!(line, HistoryLine::Accepted { key, sequence: 2, .. } if key == "k:1"),
    );
    let verdict = judged(lines);
    assert_eq!((verdict.count(Kind::Unknown), verdict.count(Kind::Accounts)), (2, 2));
    let mut lines = example();
    set!(lines, ("k:1", 2, 1), sequence = None);
    assert!(kinds(lines).contains(&Kind::Unknown));
}

#[test]
fn an_event_that_was_accepted_twice_is_caught() {
    let mut lines = example();
    let again = lines[0].clone();
    lines.push(again);
    assert!(kinds(lines).contains(&Kind::AcceptedTwice));
}

#[test]
fn with_patterns_a_path_need_not_see_every_key() {
    let mut lines = example();
    lines.retain(|line| !matches!(line, HistoryLine::Request(Request { path, key, .. }) if path == "/a" && key == "k:1"));
    for line in &mut lines {
        if let HistoryLine::Accounts(Accounts { webhook, triggered, delivered, .. }) = line
            && webhook == "a"
        {
            (*triggered, *delivered) = (3, 3);
        }
    }
    assert!(!judged(lines.clone()).passed);
    let rules = Rules { patterns: true };
    assert_eq!(check(lines.clone(), rules).findings, []);
    set!(lines, ("k:0", 2, 1), status = Some(500));
    assert_eq!(check(lines, rules).count(Kind::Lost), 1);
}

#[test]
fn examples_are_few_and_all_are_counted() {
    let mut lines = example();
    lines.retain(|line| !matches!(line, HistoryLine::Request(Request { .. })));
    let verdict = judged(lines);
    assert_eq!((verdict.count(Kind::Overclaimed), verdict.findings[0].examples.len()), (12, 5));
    let text = verdict.to_string();
    assert!(
        text.starts_with("FAILED: 6 events accepted, 0 requests on 0 paths\nDEL-1: "),
        "{text}"
    );
}

/// Five events of two keys, the first three twice (the first attempt failed), in batches.
fn batches() -> Vec<HistoryLine> {
    let of = |key: &str, sequence: u64| BatchEvent {
        id: format!("evt_{key}_{sequence}"),
        key: key.to_owned(),
        sequence: Some(sequence),
    };
    let batch = |id: &str, attempt, at_us, status, events: &[BatchEvent]| {
        HistoryLine::Request(Request {
            path: "/a".to_owned(),
            id: id.to_owned(),
            attempt,
            body_hash: at_us / 1000,
            arrived_us: at_us,
            answered_us: at_us + 10,
            status: Some(status),
            events: events.to_vec(),
            ..Request::default()
        })
    };
    let first = [of("k", 0), of("l", 0), of("k", 1)];
    let accepted = |(key, sequence): (&str, u64)| HistoryLine::Accepted {
        key: key.to_owned(),
        sequence,
        at_us: 0,
    };
    let mut lines: Vec<HistoryLine> =
        [("k", 0), ("l", 0), ("k", 1), ("k", 2), ("l", 1)].map(accepted).into();
    lines.extend([
        batch("batch_1", 1, 1000, 503, &first),
        batch("batch_1", 2, 1100, 200, &first),
        batch("batch_2", 1, 2000, 200, &[of("k", 2), of("l", 1)]),
        HistoryLine::Accounts(Accounts {
            webhook: "a".to_owned(),
            triggered: 5,
            delivered: 5,
            ..Accounts::default()
        }),
    ]);
    lines
}

/// The same with one request changed: 0 and 1 are the attempts of the first batch, 2 is the second.
fn batches_with(number: usize, change: impl FnOnce(&mut Request)) -> Vec<Kind> {
    let mut lines = batches();
    let mut requests = lines.iter_mut().filter_map(|line| match line {
        HistoryLine::Request(request) => Some(request),
        _ => None,
    });
    change(requests.nth(number).unwrap());
    kinds(lines)
}

#[test]
fn the_events_of_a_batch_count_like_single_ones() {
    let verdict = judged(batches());
    assert!(verdict.passed, "{verdict}");
    assert_eq!((verdict.sums.answered, verdict.requests, verdict.duplicates), (5, 3, 0));
    // One is missing in the second batch.
    let lost = batches_with(2, |batch| batch.events.truncate(1));
    assert_eq!(lost, [Kind::Lost, Kind::Overclaimed]);
    let unknown = batches_with(2, |batch| batch.events[1].sequence = None);
    assert_eq!(unknown, [Kind::Lost, Kind::Overclaimed, Kind::Unknown]);
}

#[test]
fn the_order_within_and_between_batches_is_judged() {
    assert_eq!(batches_with(1, |batch| batch.events.reverse()), [Kind::Order, Kind::IdReused]);
    // The second batch comes before the first one is answered.
    let early = |batch: &mut Request| (batch.arrived_us, batch.body_hash) = (1050, 1);
    assert_eq!(batches_with(2, |batch| (early)(batch)), [Kind::Order, Kind::Overlap]);
    // The first one comes again, after the second.
    let late = |batch: &mut Request| (batch.arrived_us, batch.answered_us) = (3000, 3010);
    assert_eq!(batches_with(1, |batch| (late)(batch)), [Kind::Order]);
}

#[test]
fn the_ids_and_the_bytes_of_a_batch_are_judged() {
    assert_eq!(batches_with(1, |batch| batch.body_hash = 9), [Kind::BodyChanged]);
    let reused = batches_with(2, |batch| batch.id = "batch_1".to_owned());
    assert_eq!(reused, [Kind::IdReused, Kind::Attempts]);
    let same = |batch: &mut Request| batch.events[0].id = "evt_l_0".to_owned();
    assert_eq!(batches_with(2, same), [Kind::IdReused]);
    // A batch that is put together anew for its retry.
    let other = |batch: &mut Request| drop(batch.events.pop());
    let found = batches_with(1, other);
    assert!(found.contains(&Kind::IdReused), "{found:?}");
}

#[test]
fn what_was_answered_twice_is_counted_and_no_breach() {
    let mut lines = example();
    set!(lines, ("k:0", 1, 1), status = Some(200));
    let verdict = judged(lines);
    assert_eq!((verdict.passed, verdict.duplicates), (true, 1));
    assert!(verdict.to_string().contains("1 deliveries were answered 2xx again"), "{verdict}");
}

/// The second and third event of a key were answered, and come again after a kill.
fn restarted() -> Vec<HistoryLine> {
    let mut lines = example();
    lines.retain(|line| !matches!(line, HistoryLine::Accounts(_)));
    let of_lane = |line: &HistoryLine| match line {
        HistoryLine::Request(request) if request.path == "/a" && request.key == "k:1" => {
            Some(request.clone())
        }
        _ => None,
    };
    let again: Vec<Request> = lines.iter().filter_map(of_lane).skip(1).collect();
    lines.extend(again.into_iter().map(|request| {
        let (arrived_us, answered_us) = (request.arrived_us + 1000, request.answered_us + 1000);
        HistoryLine::Request(Request { arrived_us, answered_us, ..request })
    }));
    lines.push(HistoryLine::Restarted { at_us: 900 });
    lines
}

#[test]
fn after_a_restart_a_lane_may_begin_again_but_must_keep_its_order() {
    let verdict = judged(restarted());
    assert_eq!((verdict.findings, verdict.duplicates), (Vec::new(), 2));
    let mut lines = restarted();
    lines.pop();
    assert_eq!(kinds(lines), [Kind::Order], "without a restart nothing comes again");
    // They come again, the later one first.
    let mut lines = restarted();
    let at = lines.len() - 3;
    let HistoryLine::Request(request) = &mut lines[at] else { panic!() };
    (request.arrived_us, request.answered_us) = (2000, 2010);
    assert_eq!(kinds(lines), [Kind::Order]);
}

#[test]
fn what_was_not_answered_may_arrive_or_not() {
    let mut lines = restarted();
    let sequence = 2;
    let key = || "k:1".to_owned();
    lines.retain(
        |line| !matches!(line, HistoryLine::Accepted { key, sequence: 2, .. } if key == "k:1"),
    );
    assert_eq!(kinds(lines.clone()), [Kind::Unknown]);
    lines.push(HistoryLine::Unanswered { key: key(), sequence });
    assert_eq!(kinds(lines), []);
    let mut lines = restarted();
    lines.push(HistoryLine::Unanswered { key: key(), sequence: 3 });
    assert_eq!(kinds(lines), []);
}

#[test]
fn files_are_judged_side_by_side_and_a_line_that_is_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, lines: &[&HistoryLine]| {
        let text: Vec<String> =
            lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        let path = folder.path().join(name);
        std::fs::write(&path, text.concat()).unwrap();
        path
    };
    let mut lines = example();
    lines.sort_by_key(over_us);
    let requests = |line: &&&HistoryLine| matches!(line, HistoryLine::Request(_));
    let all: Vec<&HistoryLine> = lines.iter().collect();
    let receiver: Vec<&HistoryLine> = all.iter().filter(requests).copied().collect();
    let sender: Vec<&HistoryLine> = all.iter().filter(|line| !requests(line)).copied().collect();
    // The later half first, and the sender's between them: time tells.
    let (early, late) = receiver.split_at(receiver.len() / 2);
    let files = [file("late", late), file("sender", &sender), file("early", early)];
    let verdict = check_files(&files, Rules::default()).unwrap();
    assert_eq!((verdict.passed, verdict.requests), (true, 14), "{verdict}");
    assert_eq!(verdict, judged(lines.clone()));

    std::fs::write(&files[2], "{}\n").unwrap();
    let error = check_files(&files, Rules::default()).unwrap_err().to_string();
    assert!(error.contains("early:1: not a line of a history"), "{error}");
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![Just(Outcome::Ok), Just(Outcome::Failed), (0..100_u64).prop_map(Outcome::TimedOut),]
}

proptest! {
    /// Retries, timeouts that are noticed late, and dead letters are no broken promises.
    #[test]
    fn a_correct_sender_passes(
        keys in prop::collection::vec(
            prop::collection::vec(prop::collection::vec(outcome(), 1..5), 0..6),
            1..6,
        ),
        paths in 1..4_usize,
        rotation in any::<prop::sample::Index>(),
    ) {
        let mut lines = correct(&["/hooks/a", "/hooks/b", "/hooks/c"][..paths], &keys);
        let middle = rotation.index(lines.len());
        lines.rotate_left(middle);
        let verdict = judged(lines);
        prop_assert!(verdict.passed, "{verdict}");
    }
}
