//! A whole comparison, and the times after idleness, against a small sink in this process.

#![allow(clippy::unwrap_used)]

use ferrite_loadtest::compare::{self, Error, Message, Options};
use ferrite_loadtest::idle;
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Counts and answers; one thread per connection, one request at a time on each.
fn sink() -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let counter = Arc::clone(&counter);
            thread::spawn(move || answer(stream.unwrap(), &counter));
        }
    });
    (address, requests)
}

fn answer(mut stream: TcpStream, requests: &AtomicU64) {
    while let Ok(message) = Message::read(&mut stream) {
        let body = if message.start().starts_with("GET /sink/stats ") {
            format!("{{\"requests\":{}}}", requests.load(Ordering::SeqCst))
        } else {
            requests.fetch_add(1, Ordering::SeqCst);
            String::new()
        };
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}");
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn options(peers: &[&str]) -> (Options, Arc<AtomicU64>) {
    let (address, requests) = sink();
    let options = Options {
        rounds: 2,
        seconds: 0.2,
        unpinned: true,
        connections: 4,
        peers: peers.iter().map(|name| (*name).to_owned()).collect(),
        sink: Some(address),
        ..Options::default()
    };
    (options, requests)
}

#[test]
fn engine_and_raw_are_compared() {
    let (options, requests) = options(&["engine", "raw", "engine-signed", "raw-signed"]);
    let result = compare::compare(&options).unwrap();
    assert_eq!(result.absent, []);
    let names: Vec<&str> = result.peers.iter().map(|peer| peer.name.as_str()).collect();
    assert_eq!(names, options.peers);
    for peer in &result.peers {
        assert_eq!(peer.rates.len(), 2, "{peer:?}");
        assert!(peer.rates.iter().all(|rate| *rate > 0.0), "{peer:?}");
    }
    let in_measured_parts: f64 = result.peers.iter().flat_map(|peer| &peer.rates).sum();
    assert!(in_measured_parts * 0.2 < requests.load(Ordering::SeqCst) as f64);
}

#[cfg(feature = "peers")]
#[test]
fn the_client_loops_are_compared() {
    let (options, _) = options(&["hyper", "reqwest"]);
    let result = compare::compare(&options).unwrap();
    assert_eq!(result.absent, []);
    assert!(result.peers.iter().all(|peer| peer.median > 0.0), "{:?}", result.peers);
}

#[test]
fn a_peer_that_fails_is_left_out_and_named() {
    let (options, _) = options(&["raw"]);
    let custom = vec!["broken = echo cannot connect".to_owned()];
    let result = compare::compare(&Options { custom, ..options }).unwrap();
    assert_eq!(result.peers.len(), 1);
    let (name, reason) = &result.absent[0];
    assert_eq!(name, "broken");
    assert!(reason.contains("failed in round 1") && reason.contains("cannot connect"), "{reason}");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let (options, _) = options(&["raw"]);
    let endless = Options { seconds: f64::INFINITY, ..options };
    assert!(matches!(compare::compare(&endless), Err(Error::Usage(_))));
}

#[test]
fn single_deliveries_are_timed_beside_bare_round_trips() {
    let (address, requests) = sink();
    let options = idle::Options { turns: 3, unpinned: true, ..idle::Options::default() };
    let times = idle::measure(&options, address).unwrap();
    assert_eq!((times.engine.len(), times.bare.len()), (3, 3));
    assert!(times.engine.iter().chain(&times.bare).all(|time| !time.is_zero()), "{times:?}");
    // Three turns of each side open connections and are left out.
    assert_eq!(requests.load(Ordering::SeqCst), 12);
}
