//! DUR-3: an endpoint that is down for hours costs disk, not memory; when it returns, all comes in
//! order, and nobody else notices.

use crate::books::{Story, Webhook, Writes};
use crate::load::{StopAtEnd, command};
use crate::receiver::{Habit, Receiver};
use crate::rules::judge;
use crate::server::Ferrite;
use crate::serving::{Party, end_in_order, fresh_directory, make_webhooks, serve};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What the queue may take, beside what the server takes without one.
const MEMORY_MAX: u64 = 64 << 20;
/// The key that the other webhook wants.
const PROBED: u32 = 1_000_000;
/// Between two events for the other webhook.
const PROBE_EVERY: Duration = Duration::from_millis(5);
/// What comes before the endpoint goes down: the server has warmed up.
const WARM_UP: usize = 2000;
/// Writes that wait for their replies.
const TOGETHER: usize = 200;
/// A backlog may take this long.
const PATIENCE: Duration = Duration::from_secs(600);

struct Backlog {
    events: usize,
    keys: usize,
    value_bytes: usize,
    queue: &'static str,
    /// 0: as fast as the server takes them.
    events_per_second: u32,
}

/// What was measured.
struct Measured {
    story: Story,
    /// By how much the server's memory grew at most.
    growth: u64,
}

const DOWN: &str = "EVENTS SET RETRIES 1000 RETRY_DELAY 20 RETRY_BACKOFF fixed TIMEOUT 30000";
const OTHER: &str = "EVENTS HSET RETRIES 1000 RETRY_DELAY 20 RETRY_BACKOFF fixed TIMEOUT 30000";

impl Backlog {
    fn run(&self, name: &str) -> Measured {
        let directory = fresh_directory(name);
        let party =
            |name, options| Party { name, options, receiver: Receiver::start(Habit::Healthy, 0) };
        let parties = [party("down", DOWN), party("other", OTHER)];
        let down = &parties[0].receiver;
        let mut server = Ferrite::spawn(serve(&directory, 2, self.queue));
        make_webhooks(&server, &parties, false);
        let mut writer = Writer::new(&server, self);
        writer.write(WARM_UP);
        wait_until(|| down.count() >= WARM_UP);
        let memory_before = server.resident_bytes();
        let (stop, memory_max) = (AtomicBool::new(false), AtomicU64::new(0));
        let (phases, probes) = std::thread::scope(|scope| {
            let probing = scope.spawn(|| probe(server.port, &stop));
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    memory_max.fetch_max(server.resident_bytes(), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let _stop = StopAtEnd(&stop);
            let mut phases = Vec::new();
            let mut phase = |name, work: &mut dyn FnMut()| {
                let began = Instant::now();
                work();
                phases.push((name, began, Instant::now()));
            };
            phase("before", &mut || writer.write(self.events / 4));
            phase("", &mut || wait_until(|| down.count() >= writer.written));
            down.set_gone(true);
            phase("while it is down", &mut || writer.write(self.events));
            down.set_gone(false);
            phase("while it catches up", &mut || wait_until(|| down.count() >= writer.written));
            stop.store(true, Ordering::Relaxed);
            (phases, probing.join().unwrap())
        });
        let growth = memory_max.into_inner().saturating_sub(memory_before);
        wait_until(|| parties[1].receiver.count() >= probes.len());
        tell(&phases, &probes, &parties[1].receiver, growth);
        end_in_order(&mut server);
        parties.iter().for_each(|party| party.receiver.end_life());
        std::fs::remove_dir_all(&directory).unwrap();
        Measured { story: writer.story(down), growth }
    }
}

/// Events of `keys` keys in turn, each with its number.
struct Writer {
    stream: TcpStream,
    replies: BufReader<TcpStream>,
    keys: usize,
    fill: String,
    written: usize,
    /// For that many writes.
    pause: Duration,
}

impl Writer {
    fn new(server: &Ferrite, backlog: &Backlog) -> Writer {
        let stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        let replies = BufReader::new(stream.try_clone().unwrap());
        let fill = "x".repeat(backlog.value_bytes);
        let pause = match backlog.events_per_second {
            0 => Duration::ZERO,
            rate => Duration::from_secs(TOGETHER as u64) / rate,
        };
        Writer { stream, replies, keys: backlog.keys, fill, written: 0, pause }
    }

    fn write(&mut self, count: usize) {
        let end = self.written + count;
        let mut next = Instant::now();
        while self.written < end {
            let together = TOGETHER.min(end - self.written);
            let mut bytes = Vec::new();
            for at in self.written..self.written + together {
                let key = format!("k:{}", at % self.keys);
                let value = format!("{} {}", at / self.keys, self.fill);
                command(&mut bytes, &["WEBHOOK.PUBLISH", "SET", &key, &value]);
            }
            self.stream.write_all(&bytes).unwrap();
            for _ in 0..together {
                expect_ok(&mut self.replies);
            }
            self.written += together;
            next += self.pause;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }

    fn story(&self, receiver: &Receiver) -> Story {
        let writes = |key| {
            let count = (self.written + self.keys - 1 - key) / self.keys;
            (key as u32, Writes { answered: vec![true; count] })
        };
        let webhook =
            Webhook { name: "down".to_owned(), seen: receiver.seen(), ..Webhook::default() };
        Story {
            writes: (0..self.keys).map(writes).collect(),
            webhooks: vec![webhook],
            logs: Vec::new(),
        }
    }
}

fn expect_ok(replies: &mut impl BufRead) {
    let mut line = String::new();
    replies.read_line(&mut line).unwrap();
    assert_eq!(line, "+OK\r\n");
}

/// Sends an event for the other webhook now and then; returns when each was sent.
fn probe(port: u16, stop: &AtomicBool) -> Vec<Instant> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut replies = BufReader::new(stream.try_clone().unwrap());
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut bytes = Vec::new();
        let (key, value) = (format!("k:{PROBED}"), sent.len().to_string());
        command(&mut bytes, &["WEBHOOK.PUBLISH", "HSET", &key, &value]);
        sent.push(Instant::now());
        stream.write_all(&bytes).unwrap();
        expect_ok(&mut replies);
        std::thread::sleep(PROBE_EVERY);
    }
    sent
}

fn wait_until(done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Prints what nobody can assert on a machine that others use.
fn tell(phases: &[(&str, Instant, Instant)], probes: &[Instant], other: &Receiver, growth: u64) {
    println!("memory grew by {:.1} MiB at most", growth as f64 / 1048576.0);
    let arrived: HashMap<usize, Instant> =
        other.seen().into_iter().map(|seen| (seen.number, seen.began)).collect();
    for (name, began, ended) in phases.iter().filter(|(name, ..)| !name.is_empty()) {
        let within = |sent: &&Instant| (began..ended).contains(sent);
        let mut latencies: Vec<Duration> = probes
            .iter()
            .enumerate()
            .filter(|(_, sent)| within(sent))
            .map(|(number, sent)| arrived[&number] - *sent)
            .collect();
        latencies.sort_unstable();
        let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part) as usize];
        if !latencies.is_empty() {
            println!(
                "the other webhook {name} ({:.1} s, {} events): p50 {:?}, p99 {:?}",
                (*ended - *began).as_secs_f64(),
                latencies.len(),
                at(0.5),
                at(0.99)
            );
        }
    }
}

fn costs_disk_not_memory(backlog: &Backlog, name: &str) {
    let measured = backlog.run(name);
    let verdict = judge(&measured.story);
    println!("{verdict}");
    assert!(verdict.broken.is_empty(), "{verdict}");
    assert_eq!(verdict.duplicates, 0, "{verdict}");
    assert!(measured.growth < MEMORY_MAX, "memory grew by {} bytes", measured.growth);
}

/// The figures of the issue: minutes, and a gigabyte of disk.
#[ignore = "takes minutes"]
#[test]
fn a_million_events_to_a_down_endpoint() {
    let queue = "persistence = true";
    let backlog = Backlog {
        events: 1_000_000,
        keys: 1000,
        value_bytes: 100,
        queue,
        events_per_second: 20_000,
    };
    costs_disk_not_memory(&backlog, "million");
}

/// Events that together are several times what memory is allowed.
const SMALL: Backlog = Backlog {
    events: 20_000,
    keys: 200,
    value_bytes: 8000,
    queue: DURABLE_SHORT,
    events_per_second: 0,
};
const DURABLE_SHORT: &str = "persistence = true\nmax_pending = 1000\nsegment_bytes = 8388608";

#[test]
fn a_backlog_costs_disk_not_memory() {
    costs_disk_not_memory(&SMALL, "backlog");
}

/// The negative control: held in memory, the same backlog is seen there.
#[test]
fn a_backlog_without_the_log_costs_memory() {
    let queue = "persistence = false\nmax_pending = 1000000";
    let measured = Backlog { queue, ..SMALL }.run("backlog-in-memory");
    assert!(measured.growth > 2 * MEMORY_MAX, "memory grew by {} bytes", measured.growth);
    let verdict = judge(&measured.story);
    assert!(verdict.broken.is_empty(), "{verdict}");
}
