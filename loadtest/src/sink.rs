//! A receiver that is not the bottleneck: one io_uring thread, answers 200 to every request.

use memchr::memmem;
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::{TcpListener, TcpStream};
use monoio::{IoUringDriver, RuntimeBuilder};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const READ_BYTES: usize = 64 * 1024;

/// Asks for the number of requests so far.
const STATS_REQUEST: &[u8] = b"GET /sink/stats ";

/// Serves until the process ends.
pub fn serve(address: SocketAddr, core: Option<usize>) -> io::Result<()> {
    if let Some(core) = core {
        monoio::utils::bind_to_cpu_set([core]).map_err(io::Error::other)?;
    }
    let mut builder = io_uring::IoUring::builder();
    builder.setup_single_issuer().setup_defer_taskrun();
    let mut runtime = RuntimeBuilder::<IoUringDriver>::new().uring_builder(builder).build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address)?;
        let requests = Rc::new(Cell::new(0));
        println!("sink listens on {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            let _ = stream.set_nodelay(true);
            monoio::spawn(answer(stream, Rc::clone(&requests)));
        }
    })
}

/// Answers every request of one connection; pipelined ones in one write.
async fn answer(mut stream: TcpStream, requests: Rc<Cell<u64>>) {
    let mut parser = Parser::default();
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let mut responses = Vec::new();
    loop {
        buffer.clear();
        let (read, used) = stream.read(buffer).await;
        buffer = used;
        if !matches!(read, Ok(read) if read > 0) {
            return;
        }
        responses.clear();
        if buffer.starts_with(STATS_REQUEST) {
            responses.extend_from_slice(stats(requests.get()).as_bytes());
        } else {
            let count = parser.requests(&buffer);
            requests.set(requests.get() + count as u64);
            (0..count).for_each(|_| responses.extend_from_slice(RESPONSE));
        }
        if !responses.is_empty() {
            let (written, used) = stream.write_all(responses).await;
            responses = used;
            if written.is_err() {
                return;
            }
        }
    }
}

fn stats(requests: u64) -> String {
    let body = format!("{{\"requests\":{requests}}}");
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// Counts the requests in a stream of bytes, as far as a sink must understand them.
#[derive(Debug, Default)]
struct Parser {
    /// A head that is not complete yet.
    head: Vec<u8>,
    body_left: usize,
}

impl Parser {
    /// The number of requests that `bytes` complete.
    fn requests(&mut self, mut bytes: &[u8]) -> usize {
        let mut count = 0;
        loop {
            let skipped = self.body_left.min(bytes.len());
            self.body_left -= skipped;
            bytes = &bytes[skipped..];
            if self.body_left > 0 || bytes.is_empty() {
                return count;
            }
            let Some((length, rest)) = self.take_head(bytes) else { return count };
            bytes = rest;
            if length <= bytes.len() {
                bytes = &bytes[length..];
                count += 1;
            } else {
                self.body_left = length - bytes.len();
                // Answered when the body has begun: its rest is only skipped.
                count += 1;
                return count;
            }
        }
    }

    /// The Content-Length of the head at the front, and what comes after it.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> Option<(usize, &'a [u8])> {
        if self.head.is_empty() {
            if let Some(end) = memmem::find(bytes, b"\r\n\r\n") {
                return Some((content_length(&bytes[..end]), &bytes[end + 4..]));
            }
            self.head.extend_from_slice(bytes);
            return None;
        }
        let before = self.head.len();
        self.head.extend_from_slice(bytes);
        let from = before.saturating_sub(3);
        let end = from + memmem::find(&self.head[from..], b"\r\n\r\n")?;
        let length = content_length(&self.head[..end]);
        self.head.clear();
        Some((length, &bytes[end + 4 - before..]))
    }
}

fn content_length(head: &[u8]) -> usize {
    let name = b"\r\ncontent-length:";
    let lower = memmem::find(head, b"\r\nContent-Length:")
        .or_else(|| head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name)));
    let Some(at) = lower else { return 0 };
    head[at + name.len()..]
        .iter()
        .skip_while(|byte| byte.is_ascii_whitespace())
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_however_they_are_cut() {
        let one = b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\n\r\nhello";
        let two = [&one[..], &one[..]].concat();
        for cut in 0..two.len() {
            let mut parser = Parser::default();
            let count = parser.requests(&two[..cut]) + parser.requests(&two[cut..]);
            assert_eq!(count, 2, "cut at {cut}");
        }
    }
}
