//! The generator against small servers of the standard library.

#![allow(clippy::unwrap_used)]

use ferrite_loadtest_raw::{RawOptions, Signing, drive};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Serves each connection of a listener on a thread of its own.
fn serve(serve_one: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve_one = Arc::new(serve_one);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, serve_one) = (stream.unwrap(), Arc::clone(&serve_one));
            thread::spawn(move || serve_one(stream));
        }
    });
    address
}

fn request() -> Vec<u8> {
    let signature = "0".repeat(64);
    let body = "{\"key\":\"order:1\"}";
    format!(
        "POST /hook HTTP/1.1\r\nHost: sink\r\nSignature: sha256={signature}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn options(address: SocketAddr, connections: usize, pipeline: usize) -> RawOptions {
    let request = request();
    RawOptions { address, connections, pipeline, request, signing: None, seconds: 0.2 }
}

/// Reads `length` bytes; `false` at the end.
fn read_all(stream: &mut TcpStream, buffer: &mut [u8]) -> bool {
    stream.read_exact(buffer).is_ok()
}

#[test]
fn what_was_counted_is_what_arrived() {
    let arrived = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&arrived);
    let address = serve(move |mut stream| {
        let mut buffer = request();
        while read_all(&mut stream, &mut buffer) {
            assert_eq!(buffer, request());
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.write_all(ANSWER);
        }
    });
    let report = drive(&options(address, 3, 1), &AtomicBool::new(false)).unwrap();
    assert!(report.requests > 3);
    assert_eq!(report.requests, arrived.load(Ordering::SeqCst));
    assert!(report.seconds >= 0.2);
}

#[test]
fn pipelined_answers_may_be_cut_anywhere() {
    const DEPTH: usize = 16;
    let cut_at = AtomicU64::new(1);
    let address = serve(move |mut stream| {
        stream.set_nodelay(true).unwrap();
        let mut buffer = request().repeat(DEPTH);
        while read_all(&mut stream, &mut buffer) {
            let answers = ANSWER.repeat(DEPTH);
            let cut = cut_at.fetch_add(7, Ordering::SeqCst) as usize % answers.len();
            let _ = stream.write_all(&answers[..cut]);
            thread::yield_now();
            let _ = stream.write_all(&answers[cut..]);
        }
    });
    let report = drive(&options(address, 2, DEPTH), &AtomicBool::new(false)).unwrap();
    assert!(report.requests >= 2 * DEPTH as u64);
    assert_eq!(report.requests % DEPTH as u64, 0);
}

#[test]
fn every_request_is_signed() {
    let (secret, wrong) = (b"secret".to_vec(), Arc::new(AtomicU64::new(0)));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
    let body_at = request().len() - 17;
    let signature_at = body_at - 4 - "Content-Length: 17".len() - 2 - 64;
    let counter = Arc::clone(&wrong);
    let address = serve(move |mut stream| {
        let mut buffer = request();
        while read_all(&mut stream, &mut buffer) {
            let tag = ring::hmac::sign(&key, &buffer[body_at..]);
            let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
            if &buffer[signature_at..signature_at + 64] != digits.as_bytes() {
                counter.fetch_add(1, Ordering::SeqCst);
            }
            let _ = stream.write_all(ANSWER);
        }
    });
    for pipeline in [1, 4] {
        let length = request().len();
        let signing = Signing { secret: secret.clone(), signature_at, body: body_at..length };
        let options = RawOptions { signing: Some(signing), ..options(address, 2, pipeline) };
        assert!(drive(&options, &AtomicBool::new(false)).unwrap().requests > 0);
    }
    assert_eq!(wrong.load(Ordering::SeqCst), 0);
}

#[test]
fn a_server_that_closes_is_an_error() {
    let address = serve(|mut stream| {
        let mut buffer = request();
        for _ in 0..3 {
            read_all(&mut stream, &mut buffer);
            let _ = stream.write_all(ANSWER);
        }
    });
    let options = RawOptions { seconds: 60.0, ..options(address, 2, 1) };
    let error = drive(&options, &AtomicBool::new(false)).unwrap_err();
    let kinds = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(kinds.contains(&error.kind()), "{error:?}");
}

#[test]
fn one_answer_too_many_is_an_error() {
    let address = serve(|mut stream| {
        let mut buffer = request();
        while read_all(&mut stream, &mut buffer) {
            let _ = stream.write_all(&ANSWER.repeat(2));
        }
    });
    let error = drive(&options(address, 1, 1), &AtomicBool::new(false)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error:?}");
}

#[test]
fn it_stops_when_it_is_told_to() {
    let address = serve(|mut stream| {
        let mut buffer = request();
        while read_all(&mut stream, &mut buffer) {
            let _ = stream.write_all(ANSWER);
        }
    });
    let options = RawOptions { seconds: 3600.0, ..options(address, 4, 1) };
    drive(&options, &AtomicBool::new(true)).unwrap();
}

#[test]
fn options_that_cannot_be_are_refused() {
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let signing = Some(Signing { secret: Vec::new(), signature_at: usize::MAX, body: 0..1 });
    for wrong in [
        options(address, 0, 1),
        options(address, 1, 0),
        RawOptions { request: Vec::new(), ..options(address, 1, 1) },
        RawOptions { seconds: f64::NAN, ..options(address, 1, 1) },
        RawOptions { signing, ..options(address, 1, 1) },
    ] {
        let error = drive(&wrong, &AtomicBool::new(false)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{wrong:?}");
    }
}

#[test]
fn writes_larger_than_the_kernel_takes_at_once_arrive_whole() {
    const DEPTH: usize = 64;
    let body: Vec<u8> = (0..100_000_u32).map(|number| (number % 251) as u8).collect();
    let head = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len());
    let large = [head.as_bytes(), &body].concat();
    let (expected, intact) = (large.clone(), Arc::new(AtomicU64::new(0)));
    let counter = Arc::clone(&intact);
    let address = serve(move |mut stream| {
        let mut buffer = expected.clone();
        while read_all(&mut stream, &mut buffer) {
            counter.fetch_add(u64::from(buffer == expected), Ordering::SeqCst);
            let _ = stream.write_all(ANSWER);
        }
    });
    let options = RawOptions { request: large, ..options(address, 2, DEPTH) };
    let report = drive(&options, &AtomicBool::new(true)).unwrap();
    assert_eq!(report.requests, 2 * DEPTH as u64);
    assert_eq!(report.requests, intact.load(Ordering::SeqCst));
}

#[test]
fn a_server_that_is_silent_is_an_error_at_the_end() {
    let address = serve(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let error = drive(&options(address, 2, 1), &AtomicBool::new(true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error:?}");
}
