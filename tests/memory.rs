//! What memory deliveries and connections take: a shard in steady traffic allocates nothing, and
//! what waits, or idles, takes no more than the design allows (P6).
//!
//! `cargo test --test memory -- --nocapture` prints the numbers.

#![allow(clippy::unwrap_used)]

#[path = "../benches/support/mod.rs"]
mod by_hand;
mod support;

use by_hand::{OK, Rig, SECRET, UNAVAILABLE, UNIX_US, event};
use ferrite::base::id::EventId;
use ferrite::core::packed::{Stamp, pack, unpack};
use ferrite::core::payload::write_event;
use ferrite::webhooks::{Admission, WebhookConfig, WebhookManager, WebhookOptions, WhenFull};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};
use support::{PATIENCE, block_on, eventually};

// P6, the targets of the design.
/// Bytes of a pending delivery beside its payload.
const PENDING_BYTES_MAX: u64 = 200;
/// Bytes of an idle connection without TLS.
const IDLE_CONNECTION_BYTES_MAX: usize = 8 * 1024;

#[test]
fn a_shard_in_steady_traffic_allocates_nothing() {
    for secret in [None, Some(SECRET)] {
        let mut rig = Rig::new(secret, 3);
        // Buffers grow, tables come into being, and the delivery log fills.
        (0..1000).for_each(|_| rig.deliver(OK));
        let measured = allocation_counter::measure(|| (0..1000).for_each(|_| rig.deliver(OK)));
        assert_eq!(measured.count_total, 0, "in 1000 deliveries: {measured:?}");
    }
}

/// The body that each delivery of `Rig` has.
fn payload_bytes() -> u64 {
    let stamp =
        Stamp { key_hash: 0, generation: 1, may_drop: false, timestamp_us: UNIX_US, waiter: 0 };
    let (mut packed, mut body) = (Vec::new(), Vec::new());
    pack(&event(b"order:123"), &stamp, &mut packed);
    write_event(&mut body, EventId { boot: 1, sequence: 0 }, "SET", &unpack(&packed).unwrap());
    body.len() as u64
}

/// Bytes that each of `count` deliveries takes beside its payload.
fn bytes_per_pending(count: u64, mut add: impl FnMut()) -> u64 {
    let measured = allocation_counter::measure(|| (0..count).for_each(|_| add()));
    let bytes = measured.bytes_current as u64 / count;
    println!("{count} pending: {bytes} bytes each, {} of them payload", payload_bytes());
    bytes.saturating_sub(payload_bytes())
}

#[test]
fn a_pending_delivery_takes_little_beside_its_payload() {
    const PENDING: u64 = 100_000;
    let mut rig = Rig::new(None, 3);
    // One of them is on its way for ever, the others wait behind it.
    let waiting = bytes_per_pending(PENDING, || rig.take_in());
    assert_eq!(rig.pending() as u64, PENDING);
    let mut rig = Rig::new(None, 3);
    let failed = bytes_per_pending(PENDING, || rig.deliver(UNAVAILABLE));
    assert_eq!(rig.pending() as u64, PENDING);
    println!(
        "beside the payload: {waiting} bytes waiting to be sent, {failed} waiting for a retry; \
         the target is {PENDING_BYTES_MAX}"
    );
    assert!(waiting <= PENDING_BYTES_MAX && failed <= PENDING_BYTES_MAX);
}

/// Takes connections in, and answers nobody before as many as wanted have asked. One thread and
/// one buffer: this process's memory grows by the engine's connections, not by these.
fn answer_together(listener: &TcpListener, connections: usize) -> Vec<TcpStream> {
    listener.set_nonblocking(true).unwrap();
    let mut streams: Vec<TcpStream> = Vec::with_capacity(connections);
    let mut asked = vec![false; connections];
    let mut buffer = [0; 4096];
    let deadline = Instant::now() + PATIENCE;
    while asked.contains(&false) {
        assert!(Instant::now() < deadline, "{} connections came", streams.len());
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true).unwrap();
                streams.push(stream);
                continue;
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        for (stream, asked) in streams.iter_mut().zip(&mut asked) {
            if !*asked && stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                *asked = true;
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // The requests are small, and loopback delivers them whole.
    streams.iter_mut().for_each(|stream| stream.write_all(OK).unwrap());
    streams
}

/// What this process has of private memory, in bytes. The resident part of it is about the same,
/// but depends on whether the system uses huge pages.
fn private_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn deliver_together(manager: &WebhookManager, name: &str, connections: usize) -> Vec<TcpStream> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let options = WebhookOptions {
        pattern: Some(format!("{name}:*")),
        concurrency: Some(connections as u32),
        ..WebhookOptions::default()
    };
    block_on(manager.create(name, &format!("http://{address}/"), options)).unwrap();
    for index in 0..connections {
        let key = format!("{name}:{index}");
        let offered = manager.offer(&event(key.as_bytes()), WhenFull::Refuse);
        assert_eq!(offered, Ok(Admission::Accepted));
    }
    let streams = answer_together(&listener, connections);
    eventually("all is delivered", || manager.stats(name).unwrap().delivered == connections as u64);
    streams
}

/// Alone in its process (see below): what other tests allocate would be taken for connections.
#[test]
#[ignore = "run by an_idle_connection_takes_little, in a process of its own"]
fn idle_connections_in_this_process() {
    // Both ends are in this process, and many machines allow it 1024 open files.
    const CONNECTIONS: usize = 200;
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.workers.max_connections_per_endpoint = CONNECTIONS;
    let manager = WebhookManager::start(config).unwrap();
    // After these there are the threads' own memory, and the buffers of as many events.
    let _first = deliver_together(&manager, "first", CONNECTIONS);
    let before = private_bytes();
    let _second = deliver_together(&manager, "second", CONNECTIONS);
    let bytes = private_bytes().saturating_sub(before) / CONNECTIONS;
    println!(
        "{bytes} bytes per idle connection, driver {}; the target is {}",
        manager.driver().unwrap(),
        IDLE_CONNECTION_BYTES_MAX
    );
    assert!(bytes > 0 && bytes <= IDLE_CONNECTION_BYTES_MAX, "{bytes} bytes");
}

#[test]
fn an_idle_connection_takes_little() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "idle_connections_in_this_process", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
