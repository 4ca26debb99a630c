//! A receiver of webhooks for tests: thread per connection, on loopback, answers as it is told.
#![allow(dead_code, clippy::unwrap_used)]

pub mod audited;
pub mod pipelined;
pub mod scratch;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// How long tests wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub connection: usize,
    pub head: Vec<String>,
    pub body: Vec<u8>,
    pub began: Instant,
    pub ended: Instant,
    pub status: u16,
}

impl Arrival {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// What to do with a request.
#[derive(Clone, Debug)]
pub enum Answer {
    /// This status, after this long.
    Status(u16, Duration),
    /// These bytes, then go on.
    Raw(Vec<u8>),
    /// These bytes, then close.
    RawThenClose(Vec<u8>),
    /// Close without an answer.
    Close,
    /// Do not answer for this long, then close.
    Hang(Duration),
}

impl Answer {
    pub fn ok() -> Answer {
        Answer::Status(200, Duration::ZERO)
    }
}

type Script = dyn Fn(usize, &Arrival) -> Answer + Send + Sync;

#[derive(Default)]
struct Seen {
    arrivals: Mutex<Vec<Arrival>>,
    changed: Condvar,
}

/// A running receiver.
pub struct Receiver {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    connections: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    streams: Arc<Mutex<HashMap<usize, TcpStream>>>,
}

impl Receiver {
    /// Answers 200 to everything.
    pub fn start() -> Receiver {
        Receiver::scripted(|_, _| Answer::ok())
    }

    /// Answers as `script` says; it gets the number of the request, from 0, and the request.
    pub fn scripted(
        script: impl Fn(usize, &Arrival) -> Answer + Send + Sync + 'static,
    ) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Receiver::on(listener, script)
    }

    pub fn on(
        listener: TcpListener,
        script: impl Fn(usize, &Arrival) -> Answer + Send + Sync + 'static,
    ) -> Receiver {
        let receiver = Receiver {
            address: listener.local_addr().unwrap(),
            seen: Arc::default(),
            connections: Arc::default(),
            stopping: Arc::default(),
            streams: Arc::default(),
        };
        let script: Arc<Script> = Arc::new(script);
        let requests = Arc::new(AtomicUsize::new(0));
        let (seen, connections) = (receiver.seen.clone(), receiver.connections.clone());
        let (stopping, streams) = (receiver.stopping.clone(), receiver.streams.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopping.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let connection = connections.fetch_add(1, Ordering::Relaxed);
                streams.lock().unwrap().insert(connection, stream.try_clone().unwrap());
                let (script, seen, requests) = (script.clone(), seen.clone(), requests.clone());
                let streams = streams.clone();
                std::thread::spawn(move || {
                    let _ = serve(connection, stream, &*script, &seen, &requests);
                    streams.lock().unwrap().remove(&connection);
                });
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub fn arrivals(&self) -> Vec<Arrival> {
        self.seen.arrivals.lock().unwrap().clone()
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Closes every open connection.
    pub fn drop_connections(&self) {
        for (_, stream) in self.streams.lock().unwrap().drain() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Waits until `done` holds for what has arrived.
    pub fn wait_until(&self, done: impl Fn(&[Arrival]) -> bool) -> Vec<Arrival> {
        let deadline = Instant::now() + PATIENCE;
        let mut arrivals = self.seen.arrivals.lock().unwrap();
        while !done(&arrivals) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited in vain; {} requests arrived", arrivals.len());
            arrivals = self.seen.changed.wait_timeout(arrivals, left).unwrap().0;
        }
        arrivals.clone()
    }

    pub fn wait_for(&self, count: usize) -> Vec<Arrival> {
        self.wait_until(|arrivals| arrivals.len() >= count)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
    }
}

/// Reads one request; `None` when the peer has closed.
pub fn read_request(reader: &mut impl BufRead) -> Option<(Vec<String>, Vec<u8>)> {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        head.push(line);
    }
    let length = head.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn serve(
    connection: usize,
    mut stream: TcpStream,
    script: &Script,
    seen: &Seen,
    requests: &AtomicUsize,
) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    while let Some((head, body)) = read_request(&mut reader) {
        let now = Instant::now();
        let mut arrival = Arrival { connection, head, body, began: now, ended: now, status: 0 };
        let answer = script(requests.fetch_add(1, Ordering::Relaxed), &arrival);
        let (bytes, close) = match answer {
            Answer::Status(status, delay) => {
                std::thread::sleep(delay);
                arrival.status = status;
                (format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes(), false)
            }
            Answer::Raw(bytes) => (bytes, false),
            Answer::RawThenClose(bytes) => (bytes, true),
            Answer::Close => (Vec::new(), true),
            Answer::Hang(delay) => {
                std::thread::sleep(delay);
                (Vec::new(), true)
            }
        };
        arrival.ended = Instant::now();
        seen.arrivals.lock().unwrap().push(arrival);
        seen.changed.notify_all();
        stream.write_all(&bytes).ok()?;
        if close {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            return None;
        }
    }
    None
}

/// ORD-1, DEL-1, DEL-3: `keys` keys had the values 0 to `versions` - 1 in this order. Every one
/// succeeded, in order, never two of a key at a time, and with one body for all of its attempts.
pub fn assert_in_order(arrivals: &[Arrival], keys: usize, versions: usize) {
    let mut by_key: HashMap<String, Vec<_>> = HashMap::new();
    let mut bodies = HashMap::new();
    for arrival in arrivals {
        let json = arrival.json();
        let body = bodies.entry(json["id"].to_string()).or_insert_with(|| arrival.body.clone());
        assert_eq!(*body, arrival.body, "the body is the same on every attempt");
        by_key.entry(json["key"].to_string()).or_default().push((arrival, json));
    }
    assert_eq!((by_key.len(), bodies.len()), (keys, keys * versions));
    for (key, mut arrivals) in by_key {
        arrivals.sort_by_key(|(arrival, _)| arrival.began);
        for pair in arrivals.windows(2) {
            assert!(pair[0].0.ended <= pair[1].0.began, "{key}: two at a time");
        }
        let succeeded: Vec<String> = arrivals
            .iter()
            .filter(|(arrival, _)| arrival.status == 200)
            .map(|(_, json)| json["data"]["value"].as_str().unwrap().to_owned())
            .collect();
        let in_order: Vec<String> = (0..versions).map(|version| version.to_string()).collect();
        assert_eq!(succeeded, in_order, "{key}");
    }
}

/// Runs a future on this thread: an executor other than the engine's.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// Waits until `done`, looking again and again.
pub fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
