//! Receivers that answer for ever, by drops or in floods: each costs its webhook one attempt, and
//! the engine neither time beyond the deadline nor memory (DEL-5).

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::base::limits::{
    INTERIM_RESPONSES_MAX, RESPONSE_BODY_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX,
};
use ferrite::webhooks::{Failure, WebhookConfig, WebhookOptions, WebhookTrigger};
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::audited::{Audited, audited};
use support::{Receiver, block_on, eventually, read_request};

/// What one end of loopback may hold of what the other has not read: far less than this.
const SOCKET_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What a receiver says to a request: the beginning, then the rest again and again, with pauses,
/// until the engine has closed the connection.
#[derive(Clone, Copy)]
struct Talk {
    begin: &'static [u8],
    again: &'static [u8],
    pause_ms: u64,
}

/// Pauses between drops: a small part of any timeout here.
const DROP_MS: u64 = 5;

struct Talker {
    url: String,
    /// Bytes it could write, over all connections.
    written: Arc<AtomicUsize>,
    /// Connections that it has seen end.
    ended: Arc<AtomicUsize>,
}

impl Talker {
    fn start(talk: Talk) -> Talker {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let (written, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let talker = Talker { url, written: written.clone(), ended: ended.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (written, ended) = (written.clone(), ended.clone());
                std::thread::spawn(move || {
                    let _: Option<()> = speak(stream, talk, &written);
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        talker
    }
}

fn speak(mut stream: TcpStream, talk: Talk, written: &AtomicUsize) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    read_request(&mut reader)?;
    stream.write_all(talk.begin).ok()?;
    loop {
        stream.write_all(talk.again).ok()?;
        written.fetch_add(talk.again.len(), Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(talk.pause_ms));
    }
}

fn manager() -> Audited {
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    audited(config)
}

/// Lets one event go to the talker; says how it ended. Meanwhile and after, another webhook gets
/// its events, and the connection to the talker is closed.
fn ends(talk: Talk, timeout_ms: u64) -> (Option<Failure>, Option<u16>, usize) {
    let manager = manager();
    let (talker, good) = (Talker::start(talk), Receiver::start());
    let options =
        WebhookOptions { retries: 0, timeout_ms: Some(timeout_ms), ..WebhookOptions::default() };
    block_on(manager.create("bad", &talker.url, options)).unwrap();
    block_on(manager.create("good", &good.url(), WebhookOptions::default())).unwrap();
    let trigger = || {
        let trigger = WebhookTrigger { key: "k".to_owned(), ..WebhookTrigger::default() };
        block_on(manager.trigger(trigger)).unwrap();
    };
    trigger();
    good.wait_for(1);
    eventually("it is finished", || manager.stats("bad").unwrap().deliveries == 1);
    eventually("the connection is closed", || talker.ended.load(Ordering::Relaxed) == 1);
    let record = manager.deliveries("bad", 1).unwrap().remove(0);
    // The next one gets a new connection, and the same end.
    trigger();
    good.wait_for(2);
    eventually("the second is finished", || manager.stats("bad").unwrap().deliveries == 2);
    eventually("the second is closed", || talker.ended.load(Ordering::Relaxed) == 2);
    assert_eq!(manager.deliveries("bad", 1).unwrap()[0].failure, record.failure);
    (record.failure, record.status, talker.written.load(Ordering::Relaxed) / 2)
}

const PATIENT_MS: u64 = 60_000;
const SHORT_MS: u64 = 150;

fn drips(begin: &'static [u8], again: &'static [u8]) -> Talk {
    Talk { begin, again, pause_ms: DROP_MS }
}

fn floods(begin: &'static [u8], again: &'static [u8]) -> Talk {
    Talk { begin, again, pause_ms: 0 }
}

/// However lively the drops are, the deadline is for the whole response.
#[test]
fn what_drips_in_times_out() {
    for talk in [drips(b"HTTP/1.1 200 OK\r\nX: ", b"y"), drips(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")]
    {
        let (failure, _, _) = ends(talk, SHORT_MS);
        assert_eq!(failure, Some(Failure::Timeout), "{}", talk.begin.escape_ascii());
    }
}

/// A head that is complete is the answer. What drips in behind it costs the connection.
#[test]
fn the_status_of_a_dripping_body_stands() {
    for talk in [
        drips(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"y"),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\ny\r\n"),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"y"),
        drips(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        drips(b"HTTP/1.1 200 OK\r\n\r\n", b"y"),
    ] {
        let (failure, status, _) = ends(talk, SHORT_MS);
        assert_eq!((failure, status), (None, Some(200)), "{}", talk.begin.escape_ascii());
    }
}

/// A head without an end fails long before the deadline.
#[test]
fn endless_heads_are_given_up() {
    let interim = (INTERIM_RESPONSES_MAX as usize + 1) * b"HTTP/1.1 102 Processing\r\n\r\n".len();
    for (talk, bytes_max) in [
        (floods(b"HTTP/1.1 200 OK\r\nX: ", &[b'y'; 1024]), RESPONSE_HEAD_BYTES_MAX),
        (floods(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"), RESPONSE_HEAD_BYTES_MAX),
        (floods(b"HTTP/1.1 200 ", &[b'y'; 1024]), RESPONSE_HEAD_BYTES_MAX),
        (floods(b"", b"HTTP/1.1 102 Processing\r\n\r\n"), interim),
        (floods(b"HTTP/1.1 100 Continue\r\nX: ", &[b'y'; 1024]), RESPONSE_HEAD_BYTES_MAX),
    ] {
        let (failure, _, written) = ends(talk, PATIENT_MS);
        assert_eq!(failure, Some(Failure::ResponseTooLarge), "{}", talk.begin.escape_ascii());
        assert!(written <= bytes_max + SOCKET_BYTES_MAX, "{written} bytes were taken");
    }
}

/// The status of an endless body stands; only the connection is lost, and little of it is read.
#[test]
fn the_status_of_an_endless_body_stands() {
    for talk in [
        floods(b"HTTP/1.1 200 OK\r\n\r\n", &[b'y'; 4096]),
        floods(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n", &[b'y'; 4096]),
        floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"4\r\nyyyy\r\n"),
        floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFF\r\n", &[b'y'; 4096]),
        floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", &[b'y'; 1024]),
        floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
    ] {
        let (failure, status, written) = ends(talk, PATIENT_MS);
        assert_eq!((failure, status), (None, Some(200)), "{}", talk.begin.escape_ascii());
        let most = RESPONSE_BODY_BYTES_MAX as usize + SOCKET_BYTES_MAX;
        assert!(written <= most, "{written} bytes were taken");
    }
}

/// A receiver that goes on talking after its answer.
#[test]
fn bytes_that_nobody_asked_for_end_the_connection() {
    let complete = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (failure, status, written) = ends(floods(complete, complete), PATIENT_MS);
    assert_eq!((failure, status), (None, Some(200)));
    assert!(written <= SOCKET_BYTES_MAX);
}
