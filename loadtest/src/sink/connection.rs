//! One connection: the fast path that only counts, and the careful one that checks, records and
//! misbehaves.

use super::checks::Seen;
use super::control;
use super::faults::Fate;
use super::framing::{self, BODY_BYTES_MAX, FramingError, HEAD_BYTES_MAX, Head, Skipper};
use super::server::Thread;
use super::transport::{Handle, READ_BYTES, Transport, read_some};
use monoio::io::AsyncWriteRentExt;
use monoio::net::TcpStream;
use std::io;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// Answers that the fast path writes at once.
const OKS: usize = 1024;
static MANY_OKS: LazyLock<Vec<u8>> = LazyLock::new(|| OK.repeat(OKS));
/// Answers wait for others of the same read up to this many bytes.
const OUT_BYTES: usize = 64 * 1024;
/// An incomplete request is not kept beyond this.
const BUFFER_BYTES_MAX: usize = 2 * BODY_BYTES_MAX + HEAD_BYTES_MAX;

/// Serves a connection until its end.
pub(super) async fn serve(thread: Rc<Thread>, mut stream: TcpStream, handle: Handle, number: u64) {
    let mut buffer = Vec::new();
    if thread.shared.options.is_plain() && !count_plain(&thread, &mut stream, &mut buffer).await {
        return;
    }
    let session = match &thread.shared.tls {
        Some(settings) => match settings.accept() {
            Ok(session) => Some(session),
            Err(_) => return,
        },
        None => None,
    };
    let slow_reads = thread.shared.options.faults.slow_reads;
    let seed = thread.shared.options.seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut connection = Connection {
        transport: Transport::new(stream, handle, session, slow_reads),
        dice: fastrand::Rng::with_seed(seed),
        read_at_us: thread.shared.clock.now_us(),
        thread,
        buffer,
        consumed: 0,
        out: Vec::new(),
        waiting: Vec::new(),
        served: 0,
        continued: false,
    };
    // An error is the peer's going away: there is nobody to tell.
    let _ = connection.run().await;
    connection.give_up_waiting();
}

/// The fast path: one read for many requests, one write for their answers, nothing allocated.
/// Says whether something came that it cannot take; that is in `buffer` then.
async fn count_plain(thread: &Thread, stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    let mut skipper = Skipper::new(thread.shared.options.count_events);
    loop {
        let free = READ_BYTES - buffer.len().min(HEAD_BYTES_MAX);
        if !matches!(read_some(stream, buffer, free).await, Ok(read) if read > 0) {
            return false;
        }
        let skipped = skipper.skip(buffer);
        buffer.drain(..skipped.consumed);
        thread.counters.requests.add(skipped.complete);
        thread.counters.events.add(skipped.events);
        thread.counters.answered(200, skipped.complete);
        let mut answers = skipped.complete as usize;
        while answers > 0 {
            let now = answers.min(OKS);
            let written = stream.write_all(&MANY_OKS[..now * OK.len()]).await;
            if written.0.is_err() {
                return false;
            }
            answers -= now;
        }
        if skipped.stopped {
            return true;
        }
    }
}

/// The careful path.
struct Connection {
    thread: Rc<Thread>,
    transport: Transport,
    dice: fastrand::Rng,
    buffer: Vec<u8>,
    /// Bytes at the front of the buffer that are done with.
    consumed: usize,
    /// When the buffer was last added to.
    read_at_us: u64,
    /// Answers that are not written yet, and what they answer.
    out: Vec<u8>,
    waiting: Vec<(Seen, u16)>,
    served: u64,
    /// Whether `100 Continue` was said for the request that is coming.
    continued: bool,
}

/// A whole request.
struct Frame {
    head: Head,
    /// The content of a chunked body.
    chunked: Option<Vec<u8>>,
    /// Bytes of head and body.
    bytes: usize,
}

#[derive(PartialEq)]
enum Then {
    Continue,
    Close,
}

impl Connection {
    async fn run(&mut self) -> io::Result<()> {
        loop {
            match self.next_frame() {
                Ok(Some(frame)) => {
                    if self.take(frame).await? == Then::Close {
                        return self.flush().await;
                    }
                    if self.out.len() > OUT_BYTES {
                        self.flush().await?;
                    }
                }
                Ok(None) => {
                    self.flush().await?;
                    self.buffer.drain(..self.consumed);
                    self.consumed = 0;
                    if self.transport.read(&mut self.buffer).await? == 0 {
                        return Ok(());
                    }
                    self.read_at_us = self.thread.shared.clock.now_us();
                }
                Err(error) => {
                    self.thread.counters.malformed.add(1);
                    write_answer(&mut self.out, error.status(), &Answer::last());
                    self.flush().await?;
                    return Ok(());
                }
            }
        }
    }

    /// The next request in the buffer, if it is whole.
    fn next_frame(&mut self) -> Result<Option<Frame>, FramingError> {
        let rest = &self.buffer[self.consumed..];
        let Some(head) = framing::head(rest)? else { return Ok(None) };
        let body = &rest[head.head_bytes..];
        let whole = if head.chunked {
            framing::chunked_body(body)?.map(|(bytes, content)| (bytes, Some(content)))
        } else {
            (body.len() >= head.body_bytes).then_some((head.body_bytes, None))
        };
        if let Some((body_bytes, chunked)) = whole {
            self.continued = false;
            return Ok(Some(Frame { head, chunked, bytes: head.head_bytes + body_bytes }));
        }
        if rest.len() > BUFFER_BYTES_MAX {
            return Err(FramingError::BodyTooLarge);
        }
        if head.expects_continue && !self.continued {
            self.continued = true;
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        Ok(None)
    }

    async fn take(&mut self, frame: Frame) -> io::Result<Then> {
        let request = &self.buffer[self.consumed..self.consumed + frame.bytes];
        self.consumed += frame.bytes;
        let (head, body) = request.split_at(frame.head.head_bytes);
        if frame.head.control {
            let (status, json) = control::answer(head, &self.thread.shared);
            let answer = Answer { body: &json, close: frame.head.close, ..Answer::default() };
            write_answer(&mut self.out, status, &answer);
            return Ok(if frame.head.close { Then::Close } else { Then::Continue });
        }
        self.thread.counters.requests.add(1);
        let body = frame.chunked.as_deref().unwrap_or(body);
        let counts_events = self.thread.shared.options.count_events;
        self.thread.counters.events.add(if counts_events { framing::events_in(body) } else { 1 });
        let seen = self.thread.look_at(head, body, self.read_at_us);
        self.served += 1;
        let faults = &self.thread.shared.options.faults;
        let fate = faults.draw_fate(&mut self.dice);
        let latency = faults.draw_latency(&mut self.dice, self.thread.shared.clock.now_us());
        self.answer(seen, fate, latency, frame.head.close).await
    }

    /// Lets one request meet its fate.
    async fn answer(
        &mut self,
        seen: Seen,
        fate: Fate,
        latency: Duration,
        mut close: bool,
    ) -> io::Result<Then> {
        if !latency.is_zero() || !matches!(fate, Fate::Answer { .. }) {
            // What was answered before must not wait with this one.
            let flushed = self.flush().await;
            if flushed.is_err() {
                self.unanswered(seen);
                return flushed.map(|()| Then::Close);
            }
            monoio::time::sleep(latency).await;
        }
        match fate {
            Fate::Answer { status, chunked } => {
                let faults = &self.thread.shared.options.faults;
                let announced = close;
                close |= faults.keep_alive.is_some_and(|requests| self.served >= requests);
                let retry_after = faults.retry_after.filter(|_| matches!(status, 429 | 503));
                let answer = Answer {
                    chunked,
                    close: announced || close && !faults.stale,
                    retry_after,
                    ..Answer::default()
                };
                write_answer(&mut self.out, status, &answer);
                self.waiting.push((seen, status));
                return Ok(if close { Then::Close } else { Then::Continue });
            }
            Fate::Reset => {
                self.transport.reset_at_end();
                self.unanswered(seen);
            }
            Fate::HalfClose => {
                self.transport.finish_writing();
                self.unanswered(seen);
                self.transport.discard().await;
            }
            Fate::Hang => {
                self.transport.discard().await;
                self.unanswered(seen);
            }
        }
        Ok(Then::Close)
    }

    /// Writes the answers that wait.
    async fn flush(&mut self) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        // The time before the peer is looked at and the answer is written: whatever the sender
        // does because of the answer, or after it gave up, it does later than this.
        let at_us = self.thread.shared.clock.now_us();
        if self.thread.shared.watches() && self.transport.peer_is_gone() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        for (seen, status) in self.waiting.drain(..) {
            self.thread.counters.answered(status, 1);
            self.thread.shared.settle(seen, Some(status), at_us);
        }
        if !self.thread.shared.write_history_first() {
            return Err(io::Error::other("the history cannot be written"));
        }
        self.transport.write_all(&mut self.out).await
    }

    fn unanswered(&self, seen: Seen) {
        self.thread.counters.unanswered.add(1);
        self.thread.shared.settle(seen, None, self.thread.shared.clock.now_us());
    }

    fn give_up_waiting(&mut self) {
        for (seen, _) in std::mem::take(&mut self.waiting) {
            self.unanswered(seen);
        }
    }
}

/// What an answer is made of.
#[derive(Default)]
struct Answer<'a> {
    body: &'a [u8],
    chunked: bool,
    close: bool,
    retry_after: Option<u64>,
}

impl Answer<'_> {
    fn last() -> Self {
        Answer { close: true, ..Answer::default() }
    }
}

fn write_answer(out: &mut Vec<u8>, status: u16, answer: &Answer<'_>) {
    use std::io::Write;
    if status == 200 && !answer.chunked && !answer.close && answer.body.is_empty() {
        return out.extend_from_slice(OK);
    }
    let reason = match status {
        200..300 => "OK",
        300..400 => "Elsewhere",
        _ => "Error",
    };
    // Writing into memory does not fail.
    let _ = write!(out, "HTTP/1.1 {status} {reason}\r\n");
    if let Some(seconds) = answer.retry_after {
        let _ = write!(out, "Retry-After: {seconds}\r\n");
    }
    if answer.close {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    if matches!(status, 204 | 304) {
        out.extend_from_slice(b"\r\n");
    } else if answer.chunked {
        let chunks = b"Transfer-Encoding: chunked\r\n\r\n4\r\ntake\r\n1\r\nn\r\n0\r\n\r\n";
        out.extend_from_slice(chunks);
    } else {
        let _ = write!(out, "Content-Length: {}\r\n\r\n", answer.body.len());
        out.extend_from_slice(answer.body);
    }
}
