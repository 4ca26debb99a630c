//! Bodies in chunks (RFC 9112 section 7.1), read as the bytes come.
//!
//! Extensions and trailer fields are passed over. Line ends must be CRLF: a chunk that is framed
//! in any other way may end where another reader sees it go on.

use crate::base::limits::{CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX};

/// Sizes of chunks have at most 15 hex digits, so that they never overflow.
const SIZE_DIGITS_MAX: u8 = 15;

/// The framing is broken, or a limit of it is passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkedError;

/// Where in a chunked body the reader is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkedReader {
    state: State,
    /// Bytes of the present chunk-size line, or of all trailer lines.
    line_bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// In the digits of a chunk's size.
    Size { size: u64, digits: u8 },
    /// After the digits: white space, or the extensions.
    Extensions { size: u64, begun: bool },
    /// The CR of a chunk-size line was read.
    SizeEnd { size: u64 },
    /// In the data of a chunk.
    Data { left: u64 },
    /// After the data: its CR is next.
    DataCr,
    /// Its LF is next.
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    /// In a trailer line.
    Trailer,
    /// The CR of a trailer line was read.
    TrailerEnd,
    /// The CR of the last, empty line was read.
    LastLf,
    /// The body is complete.
    Done,
}

impl ChunkedReader {
    /// At the start of a body.
    pub fn new() -> ChunkedReader {
        ChunkedReader { state: State::Size { size: 0, digits: 0 }, line_bytes: 0 }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads from `input` up to the end of the body, hands what is data to `on_data`, and says how
    /// many bytes were read.
    pub fn read(
        &mut self,
        input: &[u8],
        mut on_data: impl FnMut(&[u8]),
    ) -> Result<usize, ChunkedError> {
        let mut used = 0;
        while let Some(byte) = input.get(used)
            && self.state != State::Done
        {
            if let State::Data { left } = self.state {
                let take = left.min((input.len() - used) as u64);
                on_data(&input[used..used + take as usize]);
                used += take as usize;
                self.state = match left - take {
                    0 => State::DataCr,
                    left => State::Data { left },
                };
            } else {
                self.state = self.step(*byte)?;
                used += 1;
            }
        }
        Ok(used)
    }

    /// The state after a byte that is not data.
    fn step(&mut self, byte: u8) -> Result<State, ChunkedError> {
        let limit = match self.state {
            State::TrailerStart | State::Trailer | State::TrailerEnd | State::LastLf => {
                TRAILER_BYTES_MAX
            }
            _ => CHUNK_LINE_BYTES_MAX,
        };
        self.line_bytes += 1;
        if self.line_bytes > limit {
            return Err(ChunkedError);
        }
        Ok(match (self.state, byte) {
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
                if digits < SIZE_DIGITS_MAX =>
            {
                State::Size { size: size << 4 | hex(byte), digits: digits + 1 }
            }
            (State::Size { size, digits: 1.. }, b' ' | b'\t') => {
                State::Extensions { size, begun: false }
            }
            (State::Size { size, digits: 1.. }, b';') => State::Extensions { size, begun: true },
            (State::Size { size, digits: 1.. }, b'\r') => State::SizeEnd { size },
            (State::Extensions { size, .. }, b'\r') => State::SizeEnd { size },
            (State::Extensions { size, .. }, b';') => State::Extensions { size, begun: true },
            (State::Extensions { .. }, b' ' | b'\t') => self.state,
            (State::Extensions { begun: true, .. }, 0x21..=0x7e | 0x80..) => self.state,
            (State::SizeEnd { size }, b'\n') => {
                self.line_bytes = 0;
                if size == 0 { State::TrailerStart } else { State::Data { left: size } }
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.line_bytes = 0;
                State::Size { size: 0, digits: 0 }
            }
            (State::TrailerStart, b'\r') => State::LastLf,
            (State::Trailer, b'\r') => State::TrailerEnd,
            (State::TrailerStart | State::Trailer, b'\t' | 0x20..=0x7e | 0x80..) => State::Trailer,
            (State::TrailerEnd, b'\n') => State::TrailerStart,
            (State::LastLf, b'\n') => State::Done,
            _ => return Err(ChunkedError),
        })
    }
}

impl Default for ChunkedReader {
    fn default() -> Self {
        ChunkedReader::new()
    }
}

fn hex(digit: u8) -> u64 {
    u64::from(match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, and how many bytes the body took; `Ok(None)` when it is not complete.
    fn read_in(body: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, ChunkedError> {
        let (mut reader, mut data, mut used) = (ChunkedReader::new(), Vec::new(), 0);
        for input in body.chunks(piece) {
            used += reader.read(input, |part| data.extend_from_slice(part))?;
        }
        Ok(reader.is_done().then_some((data, used)))
    }

    fn read(body: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ChunkedError> {
        let whole = read_in(body, body.len().max(1));
        for piece in 1..body.len().min(40) {
            assert_eq!(read_in(body, piece), whole, "in pieces of {piece}: {body:?}");
        }
        whole
    }

    #[test]
    fn bodies_that_are_read() {
        let table: [(&str, &str, &str); 9] = [
            ("0\r\n\r\n", "", ""),
            ("3\r\nabc\r\n0\r\n\r\n", "abc", ""),
            ("3\r\nabc\r\n0\r\n\r\nHTTP/1.1", "abc", "HTTP/1.1"),
            ("00003\r\nabc\r\n000\r\n\r\n", "abc", ""),
            ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", ""),
            ("3;a=b;c=\"d e\"\r\nabc\r\n0;x\r\n\r\n", "abc", ""),
            ("3 \t;a\r\nabc\r\n0  \r\n\r\n", "abc", ""),
            ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", ""),
            ("0\r\nA: b\r\nExpires: \t\r\n\r\nrest", "", "rest"),
        ];
        for (body, data, rest) in table {
            let expected = (data.as_bytes().to_vec(), body.len() - rest.len());
            assert_eq!(read(body.as_bytes()), Ok(Some(expected)), "{body:?}");
        }
    }

    #[test]
    fn every_beginning_is_incomplete() {
        let body = b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n";
        for end in 0..body.len() {
            assert_eq!(read(&body[..end]), Ok(None), "cut at {end}");
        }
    }

    #[test]
    fn bodies_that_are_refused() {
        for body in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x3\r\n",
            " 3\r\n",
            ";a\r\n",
            "3\n",
            "3\r3",
            "3 4\r\n",
            "3\r\nabcd",
            "3\r\nabc\n",
            "3\r\nabc\r0",
            "0\r\n\n",
            "0\r\n\rx",
            "0\r\nA: b\n",
            "0\r\nA: b\rc",
            "3;\0\r\n",
            "3;a\n",
            "0\r\nA:\0",
            "1000000000000000\r\n",
        ] {
            assert_eq!(read(body.as_bytes()), Err(ChunkedError), "{body:?}");
        }
    }

    #[test]
    fn lines_have_limits() {
        let extension = |bytes: usize| format!("3;{}\r\n", "x".repeat(bytes - 4));
        assert_eq!(read(extension(CHUNK_LINE_BYTES_MAX).as_bytes()), Ok(None));
        assert_eq!(read(extension(CHUNK_LINE_BYTES_MAX + 1).as_bytes()), Err(ChunkedError));
        let trailer = |bytes: usize| format!("0\r\n{}\r\n\r\n", "x".repeat(bytes - 4));
        assert!(read(trailer(TRAILER_BYTES_MAX).as_bytes()).is_ok_and(|read| read.is_some()));
        assert_eq!(read(trailer(TRAILER_BYTES_MAX + 1).as_bytes()), Err(ChunkedError));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(TRAILER_BYTES_MAX / 6 + 1));
        assert_eq!(read(trailers.as_bytes()), Err(ChunkedError));
    }
}
