//! Reads a log that nobody has open, with the code of `ferrite log dump`.

use crate::books::LogContents;
use ferrite::base::id::EventId;
use ferrite::log::Directory;
use std::collections::HashSet;
use std::path::Path;

/// What the log of a server's directory holds; `None` if there is none.
pub fn read(data: &Path) -> Option<LogContents> {
    let disk = Directory::inspect(&data.join("log")).ok()?;
    let mut text = Vec::new();
    ferrite::log::dump(&disk, &mut text).unwrap();
    (!text.is_empty()).then(|| parse(std::str::from_utf8(&text).unwrap()))
}

fn parse(text: &str) -> LogContents {
    let mut log = LogContents::default();
    // An ack comes after its event, except where cleaning has moved the event behind it.
    let mut finished = HashSet::new();
    for line in text.lines() {
        if let Some((_, header)) = line.split_once(" boot=") {
            log.boots.push(u64::from_str_radix(&header[..16], 16).unwrap());
            continue;
        }
        let mut words = line.split_ascii_whitespace().skip(2);
        match words.next() {
            Some("event") => {
                let id = EventId::from_text(words.next().unwrap().as_bytes()).unwrap();
                log.events.insert(id);
                let (_, rest) = line.split_once("webhooks=[").unwrap();
                let (numbers, _) = rest.split_once(']').unwrap();
                for number in numbers.split(", ").map(|number| number.parse().unwrap()) {
                    log.webhooks.insert(number);
                    log.pending.entry(number).or_default().insert(id);
                }
            }
            // Kept, but not to be sent.
            Some("dead") => {
                for mark in words {
                    let (id, number) = read_mark(mark);
                    log.dead.insert((number, id));
                    finished.insert((id, number));
                }
            }
            Some("acks") => {
                for mark in words {
                    let (id, number) = read_mark(mark);
                    if mark.ends_with("=dead") {
                        log.dead.insert((number, id));
                    }
                    finished.insert((id, number));
                }
            }
            _ => {}
        }
    }
    for (id, number) in finished {
        if let Some(pending) = log.pending.get_mut(&number) {
            pending.remove(&id);
        }
    }
    log
}

/// The event and the webhook of `event/webhook=value`.
fn read_mark(mark: &str) -> (EventId, u64) {
    let (id, rest) = mark.split_once('/').unwrap();
    let (number, _) = rest.split_once('=').unwrap();
    (EventId::from_text(id.as_bytes()).unwrap(), number.parse().unwrap())
}

#[test]
fn what_is_unfinished_is_read_from_a_dump() {
    let id = |sequence| EventId { boot: 7, sequence };
    let text = format!(
        "00000001.log boot=0000000000000007 first_lsn=1 previous_end=0 workers=2\n\
         \x20       64 1 event {} set database=0 at_us=1 webhooks=[1, 2] body_bytes=9 key=k:1\n\
         \x20      128 2 event {} set database=0 at_us=1 webhooks=[2] body_bytes=9 key=k:2\n\
         \x20      256 3 acks {}/2=delivered\n\
         \x20      280 4 dead {}/1=3\n\
         \x20      300 5 attempts {}/2=3\n",
        id(1),
        id(2),
        id(1),
        id(1),
        id(2)
    );
    let log = parse(&text);
    assert_eq!((&log.boots[..], log.events.len()), (&[7][..], 2));
    assert!(log.pending[&1].is_empty());
    assert_eq!(log.dead, [(1, id(1))].into());
    assert_eq!(log.pending[&2], [id(2)].into());
}
