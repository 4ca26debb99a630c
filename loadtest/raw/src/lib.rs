//! The raw request generator: one thread, one io_uring, many connections, the same bytes over and
//! over. It does nothing else, so its rate is the limit for everything that does more.
//!
//! Single issuer, deferred task work, one multishot receive per connection into provided buffers.

mod answers;
mod ring;

use ::ring::hmac;
use answers::Answers;
use ring::{Completion, Failure, Ring};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long the end waits for the answers to what was sent.
const LAST_ANSWERS_MS: u64 = 2000;
/// How often the time and the stop flag are looked at while nothing happens.
const LOOK_MS: u64 = 50;
/// Requests in one write at most.
const PIPELINE_MAX: usize = 1024;
/// Connections at most.
const CONNECTIONS_MAX: usize = 4096;
/// Length of an HMAC-SHA256 in hexadecimal.
const SIGNATURE_BYTES: usize = 64;

/// What to send.
#[derive(Clone, Debug)]
pub struct RawOptions {
    /// The receiver.
    pub address: SocketAddr,
    /// Connections.
    pub connections: usize,
    /// Requests in each write; the next write follows when all of them are answered.
    pub pipeline: usize,
    /// One whole request: head and body.
    pub request: Vec<u8>,
    /// Signs every request anew.
    pub signing: Option<Signing>,
    /// Stops by itself after this many seconds.
    pub seconds: f64,
}

/// How each request is signed: HMAC-SHA256 of its body, in hexadecimal, somewhere in its head.
#[derive(Clone, Debug)]
pub struct Signing {
    /// The key.
    pub secret: Vec<u8>,
    /// Where the 64 digits stand in the request.
    pub signature_at: usize,
    /// Where the body is in the request.
    pub body: Range<usize>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RawReport {
    /// Requests that were answered.
    pub requests: u64,
    /// The time from the first write to the last answer.
    pub seconds: f64,
}

/// Sends until the time is over or `stop` is set, on the calling thread.
///
/// # Errors
///
/// If io_uring (Linux 6.1 or later) is not to be had, the receiver cannot be reached, closes a
/// connection, or answers something but 2xx without a body.
pub fn drive(options: &RawOptions, stop: &AtomicBool) -> io::Result<RawReport> {
    check(options)?;
    let streams: io::Result<Vec<TcpStream>> =
        (0..options.connections).map(|_| connect(options.address)).collect();
    let mut generator = Generator {
        ring: Ring::new(streams?, &options.request.repeat(options.pipeline))?,
        connections: Vec::new(),
        signer: options.signing.as_ref().map(|signing| Signer::new(signing, options)),
        pipeline: options.pipeline,
        requests: 0,
        stopping: false,
    };
    generator.connections.resize_with(options.connections, Connection::default);
    generator.run(Duration::from_secs_f64(options.seconds), stop)
}

fn check(options: &RawOptions) -> io::Result<()> {
    let wrong = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    if !(1..=CONNECTIONS_MAX).contains(&options.connections) {
        return wrong("connections: 1 to 4096");
    }
    if !(1..=PIPELINE_MAX).contains(&options.pipeline) {
        return wrong("pipeline: 1 to 1024");
    }
    if options.request.is_empty() {
        return wrong("the request is empty");
    }
    if !(options.seconds >= 0.0 && options.seconds.is_finite()) {
        return wrong("seconds: 0 or more");
    }
    let length = options.request.len();
    let fits = |signing: &Signing| {
        signing.body.start <= signing.body.end
            && signing.body.end <= length
            && signing.signature_at.checked_add(SIGNATURE_BYTES).is_some_and(|end| end <= length)
    };
    if !options.signing.as_ref().is_none_or(fits) {
        return wrong("signing: body or signature are not inside the request");
    }
    Ok(())
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

struct Generator {
    ring: Ring,
    connections: Vec<Connection>,
    signer: Option<Signer>,
    pipeline: usize,
    requests: u64,
    stopping: bool,
}

#[derive(Debug, Default)]
struct Connection {
    answers: Answers,
    /// Requests that are not answered.
    unanswered: usize,
    /// Answers can be quicker than the completion of their write.
    sending: bool,
}

impl Generator {
    fn run(mut self, duration: Duration, stop: &AtomicBool) -> io::Result<RawReport> {
        let began = Instant::now();
        for connection in 0..self.connections.len() {
            self.send(connection)?;
        }
        let mut completions = Vec::new();
        let mut give_up = None;
        while self.connections.iter().any(|connection| connection.unanswered > 0) {
            self.ring.wait(Duration::from_millis(LOOK_MS), &mut completions)?;
            let now = Instant::now();
            if !self.stopping && (now - began >= duration || stop.load(Ordering::Relaxed)) {
                self.stopping = true;
                give_up = Some(now + Duration::from_millis(LAST_ANSWERS_MS));
            }
            if give_up.is_some_and(|give_up| now > give_up) {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the receiver left requests unanswered at the end",
                ));
            }
            for completion in &completions {
                self.handle(*completion)?;
            }
        }
        Ok(RawReport { requests: self.requests, seconds: began.elapsed().as_secs_f64() })
    }

    fn handle(&mut self, completion: Completion) -> io::Result<()> {
        let index = match completion {
            Completion::Sent(index) => {
                self.connections[index].sending = false;
                index
            }
            Completion::Received(index, received) => {
                let connection = &mut self.connections[index];
                let count = connection.answers.count(self.ring.received(received))?;
                self.ring.give_back(received);
                self.requests += count as u64;
                let Some(left) = connection.unanswered.checked_sub(count) else {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the receiver answered more than it was asked",
                    ));
                };
                connection.unanswered = left;
                index
            }
            Completion::Failed(Failure::Closed) => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the receiver closed a connection",
                ));
            }
            Completion::Failed(Failure::Os(code)) => {
                return Err(io::Error::from_raw_os_error(code));
            }
        };
        let connection = &self.connections[index];
        if connection.unanswered == 0 && !connection.sending && !self.stopping {
            self.send(index)?;
        }
        Ok(())
    }

    fn send(&mut self, index: usize) -> io::Result<()> {
        if let (Some(signer), Some(bytes)) = (&self.signer, self.ring.bytes_mut(index)) {
            bytes.chunks_exact_mut(signer.request_bytes).for_each(|request| signer.sign(request));
        }
        let connection = &mut self.connections[index];
        connection.unanswered = self.pipeline;
        connection.sending = true;
        self.ring.send(index)
    }
}

struct Signer {
    key: hmac::Key,
    signing: Signing,
    request_bytes: usize,
}

impl Signer {
    fn new(signing: &Signing, options: &RawOptions) -> Signer {
        Signer {
            key: hmac::Key::new(hmac::HMAC_SHA256, &signing.secret),
            signing: signing.clone(),
            request_bytes: options.request.len(),
        }
    }

    fn sign(&self, request: &mut [u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let tag = hmac::sign(&self.key, &request[self.signing.body.clone()]);
        let digits = &mut request[self.signing.signature_at..][..SIGNATURE_BYTES];
        for (pair, byte) in digits.chunks_exact_mut(2).zip(tag.as_ref()) {
            pair[0] = DIGITS[usize::from(byte >> 4)];
            pair[1] = DIGITS[usize::from(byte & 15)];
        }
    }
}
