//! Counts the answers in a stream of bytes: heads of HTTP/1.1 with a 2xx status and no body.

use memchr::memmem;
use std::io;

/// A head longer than this is no answer of a sink.
const HEAD_BYTES_MAX: usize = 4096;
const END: &[u8] = b"\r\n\r\n";
const SUCCESS: &[u8] = b"HTTP/1.1 2";

/// What one connection has received of an answer that is not complete yet.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    head: Vec<u8>,
}

impl Answers {
    /// The number of answers that `bytes` complete.
    pub(crate) fn count(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let mut count = 0;
        if !self.head.is_empty() {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let from = before.saturating_sub(END.len() - 1);
            let Some(at) = memmem::find(&self.head[from..], END) else {
                return self.unfinished();
            };
            let end = from + at + END.len();
            check(&self.head[..end])?;
            bytes = &bytes[end - before..];
            self.head.clear();
            count = 1;
        }
        while let Some(at) = memmem::find(bytes, END) {
            let (head, rest) = bytes.split_at(at + END.len());
            check(head)?;
            bytes = rest;
            count += 1;
        }
        self.head.extend_from_slice(bytes);
        self.unfinished()?;
        Ok(count)
    }

    fn unfinished(&self) -> io::Result<usize> {
        if self.head.len() > HEAD_BYTES_MAX {
            return Err(unexpected(&self.head));
        }
        Ok(0)
    }
}

/// A body would stand in front of the next head, so this finds bodies too.
fn check(head: &[u8]) -> io::Result<()> {
    if head.starts_with(SUCCESS) { Ok(()) } else { Err(unexpected(head)) }
}

fn unexpected(head: &[u8]) -> io::Error {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(&line[..line.len().min(80)]).into_owned();
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the receiver must answer 2xx without a body, and answered {line:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

    #[test]
    fn answers_are_counted_however_they_are_cut() {
        let three = ANSWER.repeat(3);
        for first in 0..three.len() {
            for second in first..three.len() {
                let mut answers = Answers::default();
                let parts = [&three[..first], &three[first..second], &three[second..]];
                let count: usize = parts.iter().map(|part| answers.count(part).unwrap()).sum();
                assert_eq!(count, 3, "cut at {first} and {second}");
            }
        }
    }

    #[test]
    fn failures_and_bodies_are_errors() {
        let mut answers = Answers::default();
        let error = answers.count(b"HTTP/1.1 503 Service Unavailable\r\n\r\n").unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
        let body = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\r\n";
        assert!(Answers::default().count(body).is_err());
    }

    #[test]
    fn an_endless_head_is_an_error() {
        let mut answers = Answers::default();
        let error = (0..HEAD_BYTES_MAX).find_map(|_| answers.count(b"HTTP/1.1 200").err());
        assert!(error.is_some());
        assert!(answers.head.len() <= HEAD_BYTES_MAX + 12);
    }
}
