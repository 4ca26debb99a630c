//! A disk that is full: by its bound, and really.

use crate::answers::{can_mount, in_own_mounts, segments};
use crate::load::{StopAtEnd, command};
use crate::receiver::{Habit, Receiver};
use crate::server::{Ferrite, Reply, Resp};
use crate::serving::{Party, end_in_order, fresh_directory, make_webhooks, serve};
use crate::support::eventually;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const KEYS: usize = 10;
const VALUE_BYTES: usize = 500;
/// What the whole log may take, and one of its files.
const DISK_BYTES_MAX: u64 = 1024 * 1024;
const SMALL: &str = "persistence = true\nmax_pending = 50\nsegment_bytes = 16384\n\
                     max_disk_bytes = 1048576";
const SEGMENT_BYTES: u64 = 16384;
/// Where new events take the place of old ones, the log may be full for a moment: then a few are
/// told that they are not safe.
const NOT_DURABLE_MAX: usize = 100;
/// Seconds that a full log may last here: one event is dropped in each.
const WAITS_MAX: usize = 40;
/// Lines about the full disk and dropped events: at most so many, however many events there are.
const LINES_MAX: usize = 30;

/// One writer: the numbers of its keys go up by one.
#[derive(Default)]
struct Replies {
    ok: AtomicUsize,
    /// Told that the event is not durable.
    not_durable: AtomicUsize,
}

impl Replies {
    fn all(&self) -> usize {
        self.ok.load(Ordering::Relaxed) + self.not_durable.load(Ordering::Relaxed)
    }
}

/// Writes until it is told to stop; returns how many writes were sent, all of which were answered.
fn write(port: u16, replies: &Replies, stop: &AtomicBool) -> usize {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut bytes = Vec::new();
        for key in 0..KEYS {
            let value = format!("{} {:x<VALUE_BYTES$}", sent / KEYS, "");
            command(&mut bytes, &["WEBHOOK.PUBLISH", "SET", &format!("k:{key}"), &value]);
            sent += 1;
        }
        stream.write_all(&bytes).unwrap();
        for _ in 0..KEYS {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap() == 0 {
                return sent;
            }
            match line.as_str() {
                "+OK\r\n" => replies.ok.fetch_add(1, Ordering::Relaxed),
                _ if line.starts_with("-NOTDURABLE") => {
                    replies.not_durable.fetch_add(1, Ordering::Relaxed)
                }
                _ => panic!("{line}"),
            };
        }
    }
    sent
}

fn party(name: &'static str, options: String) -> Party {
    let lasting = "RETRIES 1000 RETRY_DELAY 5 RETRY_BACKOFF fixed TIMEOUT 30000";
    let options = format!("{lasting}{options}").leak();
    Party { name, options, receiver: Receiver::start(Habit::Healthy, 0) }
}

/// Different events that arrived.
fn arrived(receiver: &Receiver) -> usize {
    receiver.seen().iter().map(|seen| seen.id).collect::<HashSet<_>>().len()
}

fn log_state(client: &RefCell<Resp>) -> String {
    let stats = client.borrow_mut().line("WEBHOOK.STATS");
    match stats.field("log_state") {
        Reply::Bulk(text) => String::from_utf8(text.clone()).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn metrics(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

fn disk_bytes(directory: &Path) -> u64 {
    segments(directory).iter().filter_map(|path| path.metadata().ok()).map(|file| file.len()).sum()
}

/// The numbers of each key that arrived never go back.
fn assert_ascending(receiver: &Receiver) {
    let mut latest: HashMap<u32, usize> = HashMap::new();
    for seen in receiver.seen().iter().filter(|seen| seen.is_2xx()) {
        let before = latest.insert(seen.key, seen.number);
        assert!(before.is_none_or(|before| before < seen.number), "{before:?}, then {seen:?}");
    }
}

/// Fills the disk while one endpoint is gone, and lets it return.
fn fill_and_return(policy: &str, drops: usize) {
    let directory = fresh_directory(&format!("full-{policy}-{drops}"));
    let parties = [party("gone", format!(" ON_FULL {policy}")), party("there", String::new())];
    let [gone, there] = [&parties[0].receiver, &parties[1].receiver];
    gone.set_gone(true);
    let mut command = serve(&directory, 2, SMALL);
    command.args(["--admin-port", "0"]);
    let mut server = Ferrite::spawn(command);
    let admin_port = server.wait_for_admin_port();
    make_webhooks(&server, &parties, false);
    let client = RefCell::new(server.client());
    let counter = |webhook: &str, field: &str| client.borrow_mut().counter(webhook, field) as usize;
    let (replies, stop) = (Replies::default(), AtomicBool::new(false));
    let port = server.port;
    let sent = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(port, &replies, &stop));
        let _stop = StopAtEnd(&stop);
        eventually("the log is full", || log_state(&client) == "full");
        let metrics = metrics(admin_port);
        assert!(metrics.contains("\nferrite_log_full 1\n"), "{metrics}");
        match policy {
            // Nobody gets an answer any more.
            "wait" => eventually("the writer waits", || {
                let before = replies.all();
                std::thread::sleep(std::time::Duration::from_millis(300));
                replies.all() == before
            }),
            _ => eventually("events are dropped", || counter("gone", "dropped") > drops),
        }
        // No event is taken beyond the bound; what ends deliveries is still written down.
        let (used, most) = (disk_bytes(&directory), DISK_BYTES_MAX + SEGMENT_BYTES);
        assert!(used <= most, "{used} bytes");
        gone.set_gone(false);
        if policy == "wait" {
            let before = replies.all();
            eventually("the writer goes on", || replies.all() > before + 100);
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    for party in &parties {
        eventually("nothing is pending", || counter(party.name, "pending") == 0);
    }
    eventually("the log has room", || log_state(&client) == "ok");
    // Everything is counted: delivered, or dropped.
    let (delivered, dropped) = (counter("gone", "delivered"), counter("gone", "dropped"));
    assert_eq!((delivered, delivered + dropped), (arrived(gone), sent), "{policy}");
    assert_eq!(counter("gone", "triggered"), sent);
    match policy {
        // The server's clients wait for a second, then an event is dropped, so that others get through.
        "wait" => assert!(dropped <= WAITS_MAX, "{dropped} dropped"),
        _ => assert!(dropped > drops, "{dropped} dropped"),
    }
    println!("{policy}: {sent} sent, {dropped} dropped, {:?} not durable", replies.not_durable);
    // The other one had no part in it.
    assert_eq!((arrived(there), counter("there", "dropped")), (sent, 0));
    let not_durable = replies.not_durable.load(Ordering::Relaxed);
    assert!(not_durable <= NOT_DURABLE_MAX, "{not_durable} of {sent}");
    parties.iter().for_each(|party| assert_ascending(&party.receiver));
    let last = gone.seen().iter().map(|seen| seen.number).max();
    if policy == "drop-oldest" {
        assert_eq!(last, Some(sent / KEYS - 1), "the newest was dropped");
    }
    let log = server.log();
    let about = log.lines().filter(|line| line.contains("full")).count();
    assert!((1..LINES_MAX).contains(&about), "{about} lines:\n{log}");
    end_in_order(&mut server);
    std::fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn a_full_log_turns_away_what_is_new() {
    fill_and_return("reject", 500);
}

#[test]
fn a_full_log_drops_what_is_oldest() {
    fill_and_return("drop-oldest", 500);
}

#[test]
fn a_full_log_lets_writers_wait() {
    fill_and_return("wait", 0);
}

/// What the others write and finish must not stay on the disk for the sake of a backlog.
#[test]
fn others_go_on_while_a_backlog_fills_the_log() {
    fill_and_return("reject", 4000);
}

/// A device without room, in a mount of its own: deliveries go on, nobody is told that his event is
/// safe, and all is well once there is room.
#[test]
fn a_device_without_room_is_told_and_outlived() {
    if !can_mount() {
        return;
    }
    let directory = fresh_directory("no-space");
    let data = directory.join("data");
    std::fs::create_dir(&data).unwrap();
    let parties = [party("gone", String::new()), party("there", String::new())];
    let [gone, there] = [&parties[0].receiver, &parties[1].receiver];
    gone.set_gone(true);
    // Something else fills the device until there is to be room.
    let script = format!(
        "mount -t tmpfs -o size=4m tmpfs '{0}' && head -c 2500000 /dev/zero > '{0}/filling' || exit
         (while [ ! -e '{1}/room' ]; do sleep 0.05; done; rm '{0}/filling') &
         exec \"$0\" \"$@\"",
        data.display(),
        directory.display()
    );
    let queue = "persistence = true\nmax_pending = 100000\nsegment_bytes = 65536";
    let mut server = Ferrite::spawn(in_own_mounts(&script, &serve(&directory, 2, queue)));
    make_webhooks(&server, &parties, false);
    let client = RefCell::new(server.client());
    let pending = |name: &str| client.borrow_mut().counter(name, "pending");
    let (replies, stop) = (Replies::default(), AtomicBool::new(false));
    let port = server.port;
    let sent = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(port, &replies, &stop));
        let _stop = StopAtEnd(&stop);
        eventually("nothing is durable any more", || log_state(&client) == "failed");
        let stats = client.borrow_mut().line("WEBHOOK.STATS");
        let Reply::Bulk(trouble) = stats.field("log_trouble").clone() else { panic!("{stats:?}") };
        let trouble = String::from_utf8(trouble).unwrap();
        assert!(trouble.contains("no room left on the device"), "{trouble}");
        eventually("writers are told", || replies.not_durable.load(Ordering::Relaxed) > 0);
        let before = there.count();
        eventually("deliveries go on", || there.count() > before + 100);
        std::fs::write(directory.join("room"), "").unwrap();
        eventually("it is tried again", || log_state(&client) == "ok");
        let before = replies.ok.load(Ordering::Relaxed);
        eventually("events are safe again", || replies.ok.load(Ordering::Relaxed) > before + 100);
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    gone.set_gone(false);
    for party in &parties {
        eventually("nothing is pending", || pending(party.name) == 0);
        assert_ascending(&party.receiver);
    }
    // All of it was in memory: it was delivered, safe or not.
    assert_eq!((arrived(gone), arrived(there)), (sent, sent));
    let log = server.log();
    let about = log.lines().filter(|line| line.contains("no room left")).count();
    assert!((1..LINES_MAX).contains(&about), "{about} lines:\n{log}");
    end_in_order(&mut server);
    std::fs::remove_dir_all(&directory).unwrap();
}
