//! Clients of the RESP port that mean no good: `tests/data/hostile-requests.toml`, with Redis's own
//! answers beside ours, and long random streams made from it.
//!
//! The random run takes seconds. `FERRITE_HOSTILE_SECONDS=600` makes it long, and
//! `FERRITE_HOSTILE_SEED=7` another one; run it with `--nocapture` for its figures.

#![allow(clippy::unwrap_used)]

#[path = "hostile_requests/corpus.rs"]
mod corpus;
#[path = "hostile_requests/resp.rs"]
mod resp;
#[path = "support/server.rs"]
mod server;
mod support;

use corpus::{Known, Script};
use ferrite::base::random::Random;
use resp::whole_replies;
use server::{Ferrite, Reply, Resp};
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, Receiver};

/// What the server's memory may grow by in a random run.
const GROWTH_MAX: u64 = 256 * 1024 * 1024;
/// Connections that a random run leaves open, each in the middle of something.
const LEFT_OPEN_MAX: usize = 50;

/// What came back on a connection, and how it ended.
struct Talk {
    reply: Vec<u8>,
    was_reset: bool,
}

/// Sends bytes, ends the sending side, and reads until the server closes.
fn talk(port: u16, bytes: &[u8]) -> Talk {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    // The server may close before it has read all.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut reply = Vec::new();
    let was_reset = match stream.read_to_end(&mut reply) {
        Ok(_) => false,
        Err(error) => {
            let hangs = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            assert!(!hangs, "the server does not close after {}", bytes.escape_ascii());
            true
        }
    };
    Talk { reply, was_reset }
}

/// A Redis server of our own, without persistence.
struct Redis {
    child: Child,
    port: u16,
}

impl Redis {
    fn start() -> Redis {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--dir", &std::env::temp_dir().to_string_lossy()])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: install it (Debian: redis-server) for this test");
        let redis = Redis { child, port };
        support::eventually("redis-server listens", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(300)].escape_ascii().to_string()
}

#[test]
fn the_server_gives_the_replies_of_the_corpus_and_so_does_redis() {
    let (ferrite, redis) = (Ferrite::start(&[]), Redis::start());
    let scripts = corpus::load();
    let names: HashSet<&str> = scripts.iter().map(|script| script.name.as_str()).collect();
    assert!(scripts.len() >= 150 && names.len() == scripts.len(), "{}", scripts.len());
    let mut wrong = Vec::new();
    let mut judge = |script: &Script, who: &str, got: &Talk| {
        if !script.is_reply(&got.reply) {
            let (got, wanted) = (shown(&got.reply), script.wanted());
            wrong.push(format!("{}: {who} says {got}, not {wanted}", script.name));
        }
    };
    for script in &scripts {
        talk(ferrite.port, b"FLUSHALL\r\n");
        let ours = talk(ferrite.port, &script.bytes());
        judge(script, "ferrite", &ours);
        assert!(!shown(&ours.reply).contains("hunter2"), "{}", script.name);
        if script.redis == Known::Same {
            talk(redis.port, b"FLUSHALL\r\n");
            judge(script, "redis", &talk(redis.port, &script.bytes()));
        }
        let has_reason = script.why.as_ref().is_some_and(|why| why.len() > 10);
        assert_eq!(has_reason, script.redis == Known::Differs, "{}", script.name);
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The same bytes in pieces: the replies must not depend on where they are cut.
#[test]
fn the_replies_do_not_depend_on_how_the_bytes_come() {
    let ferrite = Ferrite::start(&[]);
    let mut wrong = Vec::new();
    for script in corpus::load() {
        let bytes = script.bytes();
        // HTTP is dropped with all that its piece asked for, so here the piece matters.
        if bytes.len() > 200 || script.name.starts_with("protocol: HTTP") {
            continue;
        }
        talk(ferrite.port, b"FLUSHALL\r\n");
        let mut stream = TcpStream::connect(("127.0.0.1", ferrite.port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for byte in bytes {
            // It may have closed, after an error.
            if stream.write_all(&[byte]).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(Shutdown::Write);
        let mut reply = Vec::new();
        // A reset may have thrown the reply away, or a part of it.
        let was_reset = stream.read_to_end(&mut reply).is_err();
        if !was_reset && !script.is_reply(&reply) {
            wrong.push(format!("{}: {}, not {}", script.name, shown(&reply), script.wanted()));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

/// Makes streams of bytes that are nearly requests.
struct Mutator {
    random: Random,
    scripts: Vec<Vec<u8>>,
}

impl Mutator {
    fn new(seed: u64) -> Mutator {
        // What stops the server, locks the test out of it, or asks for a value of 512 MiB (which
        // is allowed) is not for a random run.
        let harmful = ["SHUTDOWN", "CONFIG", "SETRANGE", "64 KiB", "megabyte", "ten thousand"];
        let scripts = corpus::load().into_iter();
        let scripts =
            scripts.filter(|script| !harmful.iter().any(|word| script.name.contains(word)));
        Mutator { random: Random::new(seed), scripts: scripts.map(|s| s.bytes()).collect() }
    }

    fn below(&mut self, end: usize) -> usize {
        self.random.below(end as u64) as usize
    }

    fn stream(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..=self.below(12) {
            let script = self.below(self.scripts.len());
            let mut piece = self.scripts[script].clone();
            match self.below(8) {
                0 => piece.truncate(self.below(piece.len() + 1)),
                1 => {
                    let from = self.below(piece.len() + 1);
                    piece.drain(..from);
                }
                2 if !piece.is_empty() => {
                    let at = self.below(piece.len());
                    piece[at] = self.random.next_u64() as u8;
                }
                3 if !piece.is_empty() => {
                    let at = self.below(piece.len());
                    piece[at] ^= 1 << self.below(8);
                }
                4 => {
                    let (from, to) = (self.below(piece.len() + 1), self.below(piece.len() + 1));
                    let again = piece[from.min(to)..from.max(to)].to_vec();
                    piece.splice(from..from, again);
                }
                5 => piece.extend_from_slice(&self.random.next_u64().to_le_bytes()),
                _ => {}
            }
            bytes.extend_from_slice(&piece);
        }
        bytes
    }
}

/// A server, a receiver, and a good client that keeps an eye on both.
struct Watch {
    ferrite: Ferrite,
    receiver: Receiver,
    client: Resp,
    writes: usize,
    resident_before: u64,
    resident_most: u64,
}

impl Watch {
    fn start() -> Watch {
        let (ferrite, receiver) = (Ferrite::start(&[]), Receiver::start());
        let mut client = ferrite.client();
        client.ok(&format!("WEBHOOK.CREATE watch {} PATTERN watch:*", receiver.url()));
        let resident = ferrite.resident_bytes();
        Watch {
            ferrite,
            receiver,
            client,
            writes: 0,
            resident_before: resident,
            resident_most: resident,
        }
    }

    /// The good client is answered, its write is delivered, and memory is bounded.
    fn check(&mut self) {
        assert_eq!(self.client.line("PING"), Reply::Simple("PONG".to_owned()));
        self.client.ok("FLUSHALL");
        self.delete_strangers();
        self.client.ok(&format!("SET watch:{} v", self.writes));
        self.writes += 1;
        self.receiver.wait_for(self.writes);
        self.resident_most = self.resident_most.max(self.ferrite.resident_bytes());
        let grown = self.resident_most.saturating_sub(self.resident_before);
        assert!(grown < GROWTH_MAX, "memory has grown by {grown} bytes");
    }
}

impl Watch {
    /// Webhooks that the streams have made: what is pending for them may be much, and is allowed.
    fn delete_strangers(&mut self) {
        let Reply::Array(webhooks) = self.client.line("WEBHOOK.LIST") else { panic!("no list") };
        for webhook in webhooks {
            let Reply::Bulk(name) = webhook.field("name") else { panic!("{webhook:?}") };
            if name != b"watch" {
                assert_eq!(self.client.ask(&[b"WEBHOOK.DELETE".as_slice(), name]), Reply::ok());
            }
        }
    }
}

#[test]
fn a_long_random_run_neither_stops_nor_fills_the_server() {
    let seconds = number("FERRITE_HOSTILE_SECONDS", 4);
    let seed = number("FERRITE_HOSTILE_SEED", 1);
    let mut mutator = Mutator::new(seed);
    let mut watch = Watch::start();
    let mut left_open = std::collections::VecDeque::new();
    let (mut streams, mut sent, mut received, mut resets) = (0_u64, 0_u64, 0_u64, 0_u64);
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(seconds) {
        let bytes = mutator.stream();
        streams += 1;
        sent += bytes.len() as u64;
        if mutator.below(20) == 0 {
            // In the middle of something, and neither read nor closed.
            let mut stream = TcpStream::connect(("127.0.0.1", watch.ferrite.port)).unwrap();
            stream.set_write_timeout(Some(PATIENCE)).unwrap();
            let _ = stream.write_all(&bytes);
            left_open.push_back(stream);
            if left_open.len() > LEFT_OPEN_MAX {
                left_open.pop_front();
            }
        } else {
            let Talk { reply, was_reset } = talk(watch.ferrite.port, &bytes);
            received += reply.len() as u64;
            resets += u64::from(was_reset);
            let whole = whole_replies(&reply);
            assert!(
                was_reset || whole == Some(reply.len()),
                "seed {seed}, stream {streams}: after {} came {}",
                bytes.escape_ascii(),
                reply.escape_ascii()
            );
        }
        if streams % 200 == 0 {
            watch.check();
        }
    }
    drop(left_open);
    watch.check();
    println!(
        "seed {seed}, {} s: {streams} streams, {sent} bytes sent, {received} bytes of replies, \
         {resets} resets, {} writes delivered beside them; resident {} KiB before, {} KiB at most",
        started.elapsed().as_secs(),
        watch.writes,
        watch.resident_before / 1024,
        watch.resident_most / 1024,
    );
}
