//! A start with a large backlog: it serves and delivers at once, and does not fall behind by reading
//! the log again and again.

use crate::load::command;
use crate::receiver::{Habit, Receiver};
use crate::server::Ferrite;
use crate::serving::{Party, fresh_directory, make_webhooks, serve};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const WEBHOOKS: [&str; 5] = ["a", "b", "c", "d", "e"];
const OPTIONS: &str = "RETRIES 1000 RETRY_DELAY 5 RETRY_BACKOFF fixed TIMEOUT 30000";
const KEYS: usize = 24;
const PATIENCE: Duration = Duration::from_secs(300);

/// Writes so many events, and kills; then starts and tells how long it took until the first and the
/// last delivery.
fn restart(events: usize) -> (Duration, Duration) {
    let directory = fresh_directory("restart");
    let party =
        |name| Party { name, options: OPTIONS, receiver: Receiver::start(Habit::Healthy, 0) };
    let parties = WEBHOOKS.map(party);
    parties.iter().for_each(|party| party.receiver.set_gone(true));
    let queue = "persistence = true\nmax_pending = 1000\nsegment_bytes = 1048576";
    let mut server = Ferrite::spawn(serve(&directory, 2, queue));
    make_webhooks(&server, &parties, false);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    for first in (0..events).step_by(500) {
        let mut bytes = Vec::new();
        for at in first..first + 500 {
            let (key, value) = (format!("k:{}", at % KEYS), format!("{} x", at / KEYS));
            command(&mut bytes, &["WEBHOOK.PUBLISH", "SET", &key, &value]);
        }
        stream.write_all(&bytes).unwrap();
        for _ in 0..500 {
            let mut line = String::new();
            replies.read_line(&mut line).unwrap();
            assert_eq!(line, "+OK\r\n");
        }
    }
    server.kill();
    for party in &parties {
        party.receiver.end_life();
        party.receiver.set_gone(false);
    }
    let began = Instant::now();
    let server = Ferrite::spawn(serve(&directory, 2, queue));
    println!("serves after {:?}", began.elapsed());
    let wait = |count: usize| {
        while !parties.iter().all(|party| party.receiver.count() >= count) {
            assert!(began.elapsed() < PATIENCE, "waited in vain:\n{}", server.log());
            std::thread::sleep(Duration::from_millis(2));
        }
        began.elapsed()
    };
    let times = (wait(1), wait(events));
    for party in &parties {
        for seen in party.receiver.seen() {
            assert_eq!((seen.life, seen.attempt > 0), (1, true), "{seen:?}");
        }
    }
    drop(server);
    std::fs::remove_dir_all(&directory).unwrap();
    times
}

/// Twice the backlog takes about twice the time, not four times.
#[test]
#[ignore = "tells times"]
fn a_large_backlog_is_taken_up_at_once() {
    for events in [10_000, 20_000, 40_000] {
        let (first, last) = restart(events);
        println!("{events} events for 5 webhooks: first after {first:?}, last after {last:?}");
    }
}
