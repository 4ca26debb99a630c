//! Clients that mean no good: the server goes on, for everyone else, within bounded memory.

use crate::server::{Ferrite, Reply, Resp};
use crate::support::Receiver;
use ferrite::base::random::Random;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// What the server's memory may grow by.
const GROWTH_MAX: u64 = 256 * 1024 * 1024;

/// A server, a receiver, and a good client that keeps an eye on both.
struct Watch {
    ferrite: Ferrite,
    receiver: Receiver,
    client: Resp,
    writes: usize,
    resident: u64,
}

impl Watch {
    fn start() -> Watch {
        let (ferrite, receiver) = (Ferrite::start(&[]), Receiver::start());
        let mut client = ferrite.client();
        client.ok(&format!("WEBHOOK.CREATE good {} PATTERN good:*", receiver.url()));
        let resident = ferrite.resident_bytes();
        Watch { ferrite, receiver, client, writes: 0, resident }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.ferrite.port)).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes, ends the sending side, and reads until the server has closed.
    fn torture(&self, bytes: &[u8]) {
        let mut stream = self.connect();
        // The server may close before it has read all.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let outcome = stream.read_to_end(&mut Vec::new());
        if let Err(error) = outcome {
            let timed_out = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut]
                .contains(&error.kind());
            assert!(!timed_out, "the server does not close");
        }
    }

    /// A new client and the old one are answered, and a delivery arrives.
    fn check(&mut self) {
        let pong = Reply::Simple("PONG".to_owned());
        assert_eq!(self.client.line("PING"), pong);
        assert_eq!(self.ferrite.client().line("PING"), pong);
        self.client.ok(&format!("SET good:{} {}", self.writes, self.writes));
        self.writes += 1;
        self.receiver.wait_for(self.writes);
        let grown = self.ferrite.resident_bytes().saturating_sub(self.resident);
        assert!(grown < GROWTH_MAX, "memory has grown by {grown} bytes");
    }
}

#[test]
fn random_streams() {
    const WORDS: [&[u8]; 26] = [
        b"*",
        b"$",
        b":",
        b"\r\n",
        b"\n",
        b"0",
        b"3",
        b"-1",
        b"99999999999999999999",
        b"\"",
        b"'",
        b"\\x",
        b"\0",
        b" ",
        b"k",
        b"MULTI\r\n",
        b"EXEC\r\n",
        b"CLIENT LIST\r\n",
        b"HELLO 3\r\n",
        b"COMMAND DOCS\r\n",
        b"SET k v PX 1\r\n",
        b"LPUSH l a b c\r\n",
        b"XADD s * f v\r\n",
        b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
        b"WEBHOOK.INFO good\r\n",
        b"WEBHOOK.STATS\r\n",
    ];
    let mut watch = Watch::start();
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut bytes = Vec::new();
        for _ in 0..random.below(200) {
            match random.below(4) {
                0 => bytes.extend_from_slice(&random.next_u64().to_ne_bytes()),
                _ => bytes.extend_from_slice(WORDS[random.below(WORDS.len() as u64) as usize]),
            }
        }
        watch.torture(&bytes);
        if seed % 50 == 0 {
            watch.check();
        }
    }
    watch.check();
}

#[test]
fn huge_announcements() {
    let mut watch = Watch::start();
    let mut held = Vec::new();
    for bytes in [
        "*1000000\r\n".to_owned(),
        "*1048576\r\n$500000000\r\n".to_owned(),
        "*2\r\n$3\r\nGET\r\n$512000000\r\nabc".to_owned(),
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000000\r\n".to_owned(),
        format!("*1000000\r\n{}", "$1\r\na\r\n".repeat(1000)),
        "a".repeat(60_000),
        format!("*{}", "1".repeat(60_000)),
        format!("*1\r\n${}", "1".repeat(60_000)),
        "*9223372036854775807\r\n".to_owned(),
        "*-9223372036854775808\r\n".to_owned(),
        "*1\r\n$9223372036854775807\r\n".to_owned(),
        "*1\r\n$18446744073709551616\r\n".to_owned(),
    ] {
        for _ in 0..20 {
            let mut stream = watch.connect();
            let _ = stream.write_all(bytes.as_bytes());
            held.push(stream);
        }
        watch.check();
    }
    drop(held);
    watch.check();
}

#[test]
fn half_open_clients_and_slow_drips() {
    let mut watch = Watch::start();
    let mut silent = Vec::new();
    for index in 0..200 {
        let mut stream = watch.connect();
        match index % 4 {
            0 => {}
            1 => stream.write_all(b"*3\r\n$3\r\nSET\r\n$1\r\n").unwrap(),
            2 => stream.write_all(b"PI").unwrap(),
            _ => {
                // It asks, and neither reads nor closes.
                stream.write_all(&b"COMMAND DOCS\r\n".repeat(20)).unwrap();
                stream.shutdown(Shutdown::Write).unwrap();
            }
        }
        silent.push(stream);
    }
    watch.check();
    // All commands come byte by byte, at the same time, and are understood.
    let mut drips: Vec<Resp> = (0..20).map(|_| watch.ferrite.client()).collect();
    for byte in b"*3\r\n$3\r\nSET\r\n$4\r\ndrip\r\n$5\r\nvalue\r\n" {
        for drip in &mut drips {
            drip.stream.write_all(&[*byte]).unwrap();
        }
        assert_eq!(watch.client.line("PING"), Reply::Simple("PONG".to_owned()));
    }
    for drip in &mut drips {
        assert_eq!(drip.read(), Reply::ok());
    }
    watch.check();
    drop(silent);
    watch.check();
}

#[test]
fn a_client_that_never_reads() {
    let mut watch = Watch::start();
    watch.client.ok(&format!("SET big {}", "x".repeat(1024 * 1024)));
    let mut greedy = watch.connect();
    greedy.set_nonblocking(true).unwrap();
    // 2000 replies of a megabyte, had the server no bound.
    let flood = b"GET big\r\n".repeat(2000);
    let _ = greedy.write_all(&flood);
    for _ in 0..20 {
        watch.check();
    }
}
