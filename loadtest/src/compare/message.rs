//! HTTP messages as far as the harness must read them itself: a head, and a body of its
//! Content-Length.

use memchr::memmem;
use std::io::{self, Read};

/// A message longer than this is none of ours.
const MESSAGE_BYTES_MAX: usize = 1024 * 1024;

/// A whole message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Head and body.
    pub bytes: Vec<u8>,
    /// Where the body begins.
    pub body_at: usize,
}

impl Message {
    /// Reads one message, and nothing may follow it.
    pub fn read(stream: &mut impl Read) -> io::Result<Message> {
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        loop {
            if let Some(end) = memmem::find(&bytes, b"\r\n\r\n") {
                let message = Message { body_at: end + 4, bytes };
                let wanted = message.body_at.saturating_add(message.content_length());
                if message.bytes.len() == wanted {
                    return Ok(message);
                }
                if message.bytes.len() > wanted || wanted > MESSAGE_BYTES_MAX {
                    return Err(invalid("a message of a wrong length arrived"));
                }
                bytes = message.bytes;
            } else if bytes.len() > MESSAGE_BYTES_MAX {
                return Err(invalid("a message without an end arrived"));
            }
            match stream.read(&mut part) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => bytes.extend_from_slice(&part[..read]),
                // The end of an io_uring interrupts the thread that made it, and a read with a
                // timeout is not taken up again by itself.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The body.
    pub fn body(&self) -> &[u8] {
        &self.bytes[self.body_at..]
    }

    /// The first line.
    pub fn start(&self) -> &str {
        self.lines().next().unwrap_or_default()
    }

    /// Names and values of the header, in their order.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines().skip(1).filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name, value.trim()))
        })
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        // Only ASCII is ever sent in a head; anything else ends it.
        std::str::from_utf8(&self.bytes[..self.body_at]).unwrap_or_default().split("\r\n")
    }

    fn content_length(&self) -> usize {
        let is_length = |(name, _): &(&str, &str)| name.eq_ignore_ascii_case("content-length");
        let length = self.headers().find(is_length).and_then(|(_, value)| value.parse().ok());
        length.unwrap_or(0)
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POST: &[u8] = b"POST /a HTTP/1.1\r\nHost: b\r\ncontent-length:  3\r\n\r\nabc";

    #[test]
    fn a_message_is_read_however_it_arrives() {
        for cut in 1..POST.len() {
            let mut stream = POST[..cut].chain(&POST[cut..]);
            let message = Message::read(&mut stream).unwrap();
            assert_eq!(message.start(), "POST /a HTTP/1.1");
            assert_eq!(message.headers().collect::<Vec<_>>()[0], ("Host", "b"));
            assert_eq!(message.body(), b"abc");
        }
    }

    #[test]
    fn half_a_message_and_more_than_one_are_errors() {
        assert!(Message::read(&mut &POST[..POST.len() - 1]).is_err());
        assert!(Message::read(&mut &[POST, b"x"].concat()[..]).is_err());
        assert!(Message::read(&mut io::repeat(b'a')).is_err());
    }
}
