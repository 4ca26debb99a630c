//! A receiver that outlives the servers: it remembers each request in a few bytes, knows which
//! life of the server sent it, and can be gone for a while without losing its port.

use crate::books::Seen;
use crate::support::read_request;
use ferrite::base::id::EventId;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What a receiver does with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Habit {
    /// Answers 200 at once.
    Healthy,
    /// Takes this long for 200, in milliseconds.
    Slow(u64),
    /// Of a hundred attempts, answers some with 500, closes before some answers, and in the middle
    /// of some. Every attempt has a fate of its own.
    Failing,
    /// Answers 500 to one event in fifty, whatever the attempt.
    Deadly,
}

/// Chance, as it falls for this event and attempt; below 100.
fn fate(seed: u64, seen: &Seen, attempt: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, seen.key, seen.number, attempt).hash(&mut hasher);
    hasher.finish() % 100
}

impl Habit {
    /// The status and the bytes of the answer, and whether the connection is closed after them.
    fn answer(self, seed: u64, seen: &Seen) -> (u16, &'static [u8], bool) {
        const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        const BAD: &[u8] = b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n";
        match self {
            Habit::Failing => match fate(seed, seen, seen.attempt) {
                0..10 => (500, BAD, false),
                10..14 => (0, b"", true),
                14..17 => (0, &GOOD[..20], true),
                _ => (200, GOOD, false),
            },
            Habit::Deadly if is_deadly(seed, seen) => (500, BAD, false),
            Habit::Slow(delay_ms) => {
                std::thread::sleep(Duration::from_millis(delay_ms));
                (200, GOOD, false)
            }
            Habit::Healthy | Habit::Deadly => (200, GOOD, false),
        }
    }
}

fn is_deadly(seed: u64, seen: &Seen) -> bool {
    fate(seed, seen, 0) < 2
}

struct Shared {
    habit: Habit,
    seed: u64,
    seen: Mutex<Vec<Seen>>,
    open: Mutex<usize>,
    closed: Condvar,
    life: AtomicUsize,
    /// Gone: connections are closed as soon as they are made, and before requests are answered.
    gone: AtomicBool,
    stopping: AtomicBool,
}

/// See the module's documentation.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Receiver {
    pub fn start(habit: Habit, seed: u64) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            habit,
            seed,
            seen: Mutex::default(),
            open: Mutex::default(),
            closed: Condvar::new(),
            life: AtomicUsize::new(0),
            gone: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        });
        let served = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if served.stopping.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if served.gone.load(Ordering::Relaxed) {
                    continue;
                }
                let connection = Open::new(&served);
                std::thread::spawn(move || connection.serve(stream));
            }
        });
        Receiver { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn set_gone(&self, gone: bool) {
        self.shared.gone.store(gone, Ordering::Relaxed);
    }

    /// Waits until all that a dead server has sent was read, so that what comes next is another
    /// life's. Connections are accepted in their order, so all of its connections were accepted
    /// when one made afterwards was; then they end.
    pub fn end_life(&self) {
        let mut mark = TcpStream::connect(self.address).unwrap();
        mark.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        // A line that is no request is answered by the connection's end; so is all if it is gone.
        let _ = mark.write_all(MARK);
        let _ = mark.read(&mut [0]);
        drop(mark);
        let mut open = self.shared.open.lock().unwrap();
        let deadline = Instant::now() + crate::support::PATIENCE;
        while *open > 0 {
            assert!(Instant::now() < deadline, "{open} connections of a dead server do not end");
            open = self.shared.closed.wait_timeout(open, Duration::from_millis(100)).unwrap().0;
        }
        self.shared.life.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// Says that all connections made before were accepted.
const MARK: &[u8] = b"MARK\r\n\r\n";

/// A connection, while it is open.
struct Open {
    shared: Arc<Shared>,
}

impl Open {
    fn new(shared: &Arc<Shared>) -> Open {
        *shared.open.lock().unwrap() += 1;
        Open { shared: shared.clone() }
    }

    fn serve(self, mut stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        while let Some((head, body)) = read_request(&mut reader) {
            if head.first().is_some_and(|line| line == "MARK") {
                return None;
            }
            let mut seen = read_event(&head, &body, self.shared.life.load(Ordering::Relaxed));
            let (status, answer, close) = if self.shared.gone.load(Ordering::Relaxed) {
                (0, &b""[..], true)
            } else {
                self.shared.habit.answer(self.shared.seed, &seen)
            };
            (seen.status, seen.ended) = (status, Instant::now());
            self.shared.seen.lock().unwrap().push(seen);
            stream.write_all(answer).ok()?;
            if close {
                return None;
            }
        }
        None
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        *self.shared.open.lock().unwrap() -= 1;
        self.shared.closed.notify_all();
    }
}

/// The value is the event's number, and what fills it up behind a space.
fn read_event(head: &[String], body: &[u8], life: usize) -> Seen {
    let headers: HashMap<String, &str> = head
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let json: serde_json::Value = serde_json::from_slice(body).expect("the body is JSON");
    let id = json["id"].as_str().unwrap();
    assert_eq!(headers["x-ferrite-id"], id);
    let value = json["data"]["value"].as_str().unwrap();
    let number = value.split(' ').next().unwrap().parse().unwrap();
    let mut hasher = DefaultHasher::new();
    body.hash(&mut hasher);
    let now = Instant::now();
    Seen {
        life,
        key: json["key"].as_str().unwrap().strip_prefix("k:").unwrap().parse().unwrap(),
        number,
        id: EventId::from_text(id.as_bytes()).unwrap(),
        body_hash: hasher.finish(),
        attempt: headers["x-ferrite-attempt"].parse().unwrap(),
        began: now,
        ended: now,
        status: 0,
    }
}
