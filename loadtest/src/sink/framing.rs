//! Where requests end, as far as a sink must understand them.

use memchr::{memchr, memchr_iter};

/// The head of a request must end within this many bytes.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Bodies are no longer than this.
pub(super) const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The size line of a chunk.
const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// Requests under this path are for the sink itself.
const CONTROL_PREFIX: &[u8] = b"/sink/";

/// What the head of a request says about its frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    /// Bytes of the head, the empty line included.
    pub(super) head_bytes: usize,
    /// `Content-Length`.
    pub(super) body_bytes: usize,
    /// `Transfer-Encoding: chunked`.
    pub(super) chunked: bool,
    /// `Connection: close`, or HTTP/1.0.
    pub(super) close: bool,
    /// `Expect: 100-continue`.
    pub(super) expects_continue: bool,
    /// It is a question to the sink itself.
    pub(super) control: bool,
}

impl Head {
    /// Whether the fast path can take it: nothing but a body of a known length.
    pub(super) fn is_plain(&self) -> bool {
        !(self.chunked | self.close | self.expects_continue | self.control)
    }
}

/// Why bytes are no request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum FramingError {
    HeadTooLarge,
    BodyTooLarge,
    BadHead,
    BadChunk,
}

impl FramingError {
    pub(super) fn status(self) -> u16 {
        match self {
            FramingError::HeadTooLarge => 431,
            FramingError::BodyTooLarge => 413,
            FramingError::BadHead | FramingError::BadChunk => 400,
        }
    }
}

/// The head at the front of `bytes`; `None`: it is not complete yet.
///
/// Each line is looked at once: its first byte tells whether it can be one that matters.
pub(super) fn head(bytes: &[u8]) -> Result<Option<Head>, FramingError> {
    let mut found = Head::default();
    let mut lines = memchr_iter(b'\n', bytes);
    let Some(mut line_end) = lines.next() else { return incomplete(bytes) };
    request_line(&bytes[..line_end], &mut found)?;
    for next_end in lines {
        let line = &bytes[line_end + 1..next_end];
        line_end = next_end;
        match line.first() {
            None => return complete(found, line_end),
            Some(b'\r') if line.len() == 1 => return complete(found, line_end),
            Some(b'c' | b'C' | b't' | b'T' | b'e' | b'E') => field(line, &mut found)?,
            Some(_) => {}
        }
    }
    incomplete(bytes)
}

fn complete(mut found: Head, line_end: usize) -> Result<Option<Head>, FramingError> {
    found.head_bytes = line_end + 1;
    if found.head_bytes > HEAD_BYTES_MAX {
        return Err(FramingError::HeadTooLarge);
    }
    Ok(Some(found))
}

fn incomplete(bytes: &[u8]) -> Result<Option<Head>, FramingError> {
    if bytes.len() > HEAD_BYTES_MAX { Err(FramingError::HeadTooLarge) } else { Ok(None) }
}

fn request_line(line: &[u8], found: &mut Head) -> Result<(), FramingError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let target = memchr(b' ', line).ok_or(FramingError::BadHead)? + 1;
    found.control = line[target..].starts_with(CONTROL_PREFIX);
    if line.ends_with(b" HTTP/1.1") {
        return Ok(());
    }
    found.close = true;
    if line.ends_with(b" HTTP/1.0") { Ok(()) } else { Err(FramingError::BadHead) }
}

/// Takes notice of a header line that may matter.
fn field(line: &[u8], found: &mut Head) -> Result<(), FramingError> {
    let Some(colon) = memchr(b':', line) else { return Err(FramingError::BadHead) };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.eq_ignore_ascii_case(b"content-length") {
        let digits = std::str::from_utf8(value).ok().filter(|text| !text.starts_with('+'));
        let length = digits.and_then(|text| text.parse().ok()).ok_or(FramingError::BadHead)?;
        if length > BODY_BYTES_MAX {
            return Err(FramingError::BodyTooLarge);
        }
        found.body_bytes = length;
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        found.chunked = value.eq_ignore_ascii_case(b"chunked");
    } else if name.eq_ignore_ascii_case(b"connection") {
        found.close |= value.eq_ignore_ascii_case(b"close");
    } else if name.eq_ignore_ascii_case(b"expect") {
        found.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
    }
    Ok(())
}

/// The bytes that a chunked body at the front of `bytes` takes up, and its content; `None`: it is
/// not complete yet.
pub(super) fn chunked_body(bytes: &[u8]) -> Result<Option<(usize, Vec<u8>)>, FramingError> {
    let mut content = Vec::new();
    let mut at = 0;
    loop {
        let Some(line) = line_at(bytes, at)? else { return Ok(None) };
        at += line.len() + 1;
        let size = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let size = std::str::from_utf8(size).map_err(|_| FramingError::BadChunk)?;
        let size = usize::from_str_radix(size, 16).map_err(|_| FramingError::BadChunk)?;
        if size > BODY_BYTES_MAX - content.len() {
            return Err(FramingError::BodyTooLarge);
        }
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size) else { return Ok(None) };
        content.extend_from_slice(chunk);
        at += size;
        let Some(rest) = line_at(bytes, at)? else { return Ok(None) };
        if !rest.trim_ascii().is_empty() {
            return Err(FramingError::BadChunk);
        }
        at += rest.len() + 1;
    }
    // Trailers, up to the empty line.
    loop {
        let Some(line) = line_at(bytes, at)? else { return Ok(None) };
        at += line.len() + 1;
        if line.trim_ascii().is_empty() {
            return Ok(Some((at, content)));
        }
    }
}

/// The line at `at`, without its line feed.
fn line_at(bytes: &[u8], at: usize) -> Result<Option<&[u8]>, FramingError> {
    let rest = bytes.get(at..).unwrap_or_default();
    match memchr(b'\n', rest) {
        Some(end) if end <= CHUNK_LINE_BYTES_MAX => Ok(Some(&rest[..end])),
        None if rest.len() <= CHUNK_LINE_BYTES_MAX => Ok(None),
        _ => Err(FramingError::BadChunk),
    }
}

/// How many events a body carries, by its last bytes: a batch ends in `"count":<number>}`.
pub(super) fn events_in(body: &[u8]) -> u64 {
    let count = || {
        let rest = body.trim_ascii_end().strip_suffix(b"}")?.trim_ascii_end();
        let digits = rest.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let (name, number) = rest.split_at(rest.len() - digits);
        name.trim_ascii_end().strip_suffix(b":")?.trim_ascii_end().strip_suffix(b"\"count\"")?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    count().unwrap_or(1)
}

/// The last bytes of a body that comes in parts.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
}

/// `"count":` and any number, with some white space.
const TAIL_BYTES: usize = 48;

impl Tail {
    fn add(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(&part[part.len().saturating_sub(TAIL_BYTES)..]);
        self.bytes.drain(..self.bytes.len().saturating_sub(TAIL_BYTES));
    }

    /// Takes the last part.
    fn end(&mut self, part: &[u8]) -> u64 {
        self.add(part);
        let events = events_in(&self.bytes);
        self.bytes.clear();
        events
    }
}

/// Goes through the plain requests of a connection without keeping any of them.
#[derive(Debug, Default)]
pub(super) struct Skipper {
    /// Bytes of a body that are still to come.
    body_left: usize,
    /// Where events are counted: the end of what came of that body.
    tail: Option<Tail>,
}

/// What [`Skipper::skip`] found.
#[derive(PartialEq, Eq, Debug, Default)]
pub(super) struct Skipped {
    /// Requests that are complete now.
    pub(super) complete: u64,
    /// Events in them: as many, unless those in batches are counted.
    pub(super) events: u64,
    /// Bytes that are done with.
    pub(super) consumed: usize,
    /// What follows is not for the fast path: not plain, or no HTTP.
    pub(super) stopped: bool,
}

impl Skipper {
    /// One that counts the events in batches, if asked to.
    pub(super) fn new(counts_events: bool) -> Self {
        Skipper { body_left: 0, tail: counts_events.then(Tail::default) }
    }

    /// Skips all the requests in `bytes`. What was not consumed is an incomplete head (or what it
    /// stopped at), and must be at the front of the next call's bytes.
    pub(super) fn skip(&mut self, bytes: &[u8]) -> Skipped {
        let mut skipped = Skipped::default();
        if self.body_left > 0 {
            if self.body_left > bytes.len() {
                self.body_left -= bytes.len();
                self.part(bytes);
                return Skipped { consumed: bytes.len(), ..skipped };
            }
            let events = self.end(&bytes[..self.body_left]);
            skipped = Skipped { complete: 1, events, consumed: self.body_left, stopped: false };
            self.body_left = 0;
        }
        while skipped.consumed < bytes.len() {
            match head(&bytes[skipped.consumed..]) {
                Ok(None) => break,
                Ok(Some(head)) if head.is_plain() => {
                    let body = skipped.consumed + head.head_bytes;
                    let end = body + head.body_bytes;
                    if end > bytes.len() {
                        self.body_left = end - bytes.len();
                        self.part(&bytes[body..]);
                        skipped.consumed = bytes.len();
                        break;
                    }
                    skipped.consumed = end;
                    skipped.complete += 1;
                    skipped.events += self.end(&bytes[body..end]);
                }
                Ok(Some(_)) | Err(_) => {
                    skipped.stopped = true;
                    break;
                }
            }
        }
        skipped
    }

    /// A part of a body that goes on.
    fn part(&mut self, part: &[u8]) {
        if let Some(tail) = &mut self.tail {
            tail.add(part);
        }
    }

    /// The last part of a body: how many events it carries.
    fn end(&mut self, part: &[u8]) -> u64 {
        self.tail.as_mut().map_or(1, |tail| tail.end(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip_all(pieces: &[&[u8]]) -> (u64, bool) {
        let (mut skipper, mut buffer, mut complete) = (Skipper::default(), Vec::new(), 0);
        for piece in pieces {
            buffer.extend_from_slice(piece);
            let skipped = skipper.skip(&buffer);
            complete += skipped.complete;
            buffer.drain(..skipped.consumed);
            if skipped.stopped {
                return (complete, true);
            }
        }
        (complete, false)
    }

    #[test]
    fn requests_are_counted_however_they_are_cut() {
        let one = b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 5\r\n\r\nhello";
        let two = [&one[..], &one[..]].concat();
        for cut in 0..two.len() {
            assert_eq!(skip_all(&[&two[..cut], &two[cut..]]), (2, false), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = two.chunks(1).collect();
        assert_eq!(skip_all(&bytes), (2, false));
    }

    #[test]
    fn events_of_batches_are_counted_however_they_are_cut() {
        let request =
            |body: &str| format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let events = [request(r#"{"events":[{},{}],"count":12}"#), request(r#"{"key":"a"}"#)];
        let bytes = events.concat().repeat(2).into_bytes();
        for cut in 0..bytes.len() {
            for (counts, wanted) in [(true, 26), (false, 4)] {
                let mut skipper = Skipper::new(counts);
                let first = skipper.skip(&bytes[..cut]);
                let second = skipper.skip(&bytes[first.consumed..]);
                assert_eq!(first.complete + second.complete, 4, "cut at {cut}");
                assert_eq!(first.events + second.events, wanted, "cut at {cut}");
            }
        }
    }

    #[test]
    fn only_a_batch_has_a_count() {
        for (body, events) in [
            (r#"{"events":[],"count":100}"#, 100),
            (r#"{"events":[], "count" : 7 } "#, 7),
            (r#"{"count":0}"#, 0),
            (r#"{"data":{"count":5}}"#, 1),
            (r#"{"count":5,"key":"k"}"#, 1),
            (r#"{"count":}"#, 1),
            (r#"{"discount":5}"#, 1),
            ("5}", 1),
            ("", 1),
        ] {
            assert_eq!(events_in(body.as_bytes()), events, "{body}");
        }
    }

    #[test]
    fn a_request_is_complete_when_its_body_is() {
        let one = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello";
        for end in 0..one.len() {
            assert_eq!(skip_all(&[&one[..end]]), (0, false), "{end} bytes");
        }
    }

    #[test]
    fn what_is_not_plain_stops_the_fast_path() {
        let plain = "POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nok";
        for other in [
            "GET /sink/stats HTTP/1.1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nConnection: close\r\n\r\n",
            "POST / HTTP/1.0\r\n\r\n",
            "POST / HTTP/1.1\r\nExpect: 100-continue\r\n\r\n",
            "nonsense\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        ] {
            let bytes = [plain, other].concat();
            assert_eq!(skip_all(&[bytes.as_bytes()]), (1, true), "{other}");
        }
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let long = vec![b'a'; HEAD_BYTES_MAX + 1];
        assert_eq!(head(&long), Err(FramingError::HeadTooLarge));
        let huge = b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n";
        assert_eq!(head(huge), Err(FramingError::BodyTooLarge));
        let chunk = b"ffffffffffff\r\n";
        assert_eq!(chunked_body(chunk), Err(FramingError::BodyTooLarge));
    }

    #[test]
    fn chunked_bodies_are_put_together() {
        let body = b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: t\r\n\r\nnext";
        let end = body.len() - 4;
        assert_eq!(chunked_body(body), Ok(Some((end, b"hello world".to_vec()))));
        for cut in 0..end {
            assert_eq!(chunked_body(&body[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(chunked_body(b"x\r\n"), Err(FramingError::BadChunk));
        assert_eq!(chunked_body(b"1\r\nab\r\n"), Err(FramingError::BadChunk));
    }
}
