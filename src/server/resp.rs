//! Reads requests: arrays of bulk strings, and inline commands.
//!
//! The parser is incremental. It keeps offsets into the caller's buffer, never bytes, and never
//! looks at a byte twice, however small the pieces in which the bytes come. What a request may
//! cost is bounded by [`RequestLimits`] before the bytes are there.

use memchr::memchr;

/// Longest inline command, and longest line that announces a count or a length.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Most arguments of a client that has not authenticated.
const UNAUTHENTICATED_ARGUMENTS_MAX: usize = 10;
/// Longest argument of a client that has not authenticated.
const UNAUTHENTICATED_BULK_BYTES_MAX: usize = 16 * 1024;
/// Argument lists longer than this are freed after use.
const ARGUMENTS_KEPT_MAX: usize = 1024;
/// Unquoted inline arguments longer than this are freed after use.
const SCRATCH_BYTES_KEPT_MAX: usize = 4 * 1024;

/// What a request may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestLimits {
    /// Most arguments.
    pub arguments_max: usize,
    /// Longest argument, in bytes.
    pub bulk_bytes_max: usize,
    /// Whether the client has authenticated, or need not; others get much less.
    pub authenticated: bool,
}

/// The bytes are not a request. The client gets this as an error, then the connection is closed:
/// what follows cannot be told apart any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// An inline command is longer than 64 KiB.
    #[error("too big inline request")]
    InlineTooBig,
    /// The line that announces the number of arguments is longer than 64 KiB.
    #[error("too big mbulk count string")]
    CountLineTooBig,
    /// The number of arguments is not a number, or over the limit.
    #[error("invalid multibulk length")]
    Count,
    /// The line that announces the length of an argument is longer than 64 KiB.
    #[error("too big bulk count string")]
    BulkLineTooBig,
    /// Not the start of an argument.
    #[error("expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// The length of an argument is not a number, over the limit, or not kept.
    #[error("invalid bulk length")]
    BulkLength,
    /// An inline command has a quote that is not closed, or closed within a word.
    #[error("unbalanced quotes in request")]
    Quotes,
    /// More arguments than a client may send before it authenticates.
    #[error("unauthenticated multibulk length")]
    UnauthenticatedCount,
    /// A longer argument than a client may send before it authenticates.
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulk,
}

/// What [`RequestParser::parse`] found at the front of the buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Not yet a whole request: call again when there is more.
    Incomplete,
    /// So many bytes that ask for nothing (an empty line or array): drop them.
    Empty(usize),
    /// A request of so many bytes: use its arguments, then drop them.
    Request(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// At the first byte of a request.
    Start,
    /// Before the line that announces the length of an argument.
    BulkLine,
    /// Before an argument of this length.
    Bulk(usize),
}

/// An incremental parser of requests. See the module.
#[derive(Debug)]
pub struct RequestParser {
    phase: Phase,
    /// Where the current line or argument starts.
    position: usize,
    /// No line end before this.
    scanned: usize,
    /// Arguments that are still to come.
    missing: usize,
    arguments: Vec<(usize, usize)>,
    /// Inline arguments with their quotes resolved; unused by arrays.
    scratch: Vec<u8>,
    inline: bool,
}

impl Default for RequestParser {
    fn default() -> Self {
        RequestParser {
            phase: Phase::Start,
            position: 0,
            scanned: 0,
            missing: 0,
            arguments: Vec::new(),
            scratch: Vec::new(),
            inline: false,
        }
    }
}

impl RequestParser {
    /// Looks for a request at the front of `input`. After [`Step::Incomplete`] the next `input`
    /// must start with the same bytes; after the others, the bytes they name must be gone.
    pub fn parse(&mut self, input: &[u8], limits: &RequestLimits) -> Result<Step, ProtocolError> {
        if self.phase == Phase::Start {
            let Some(&first) = input.first() else { return Ok(Step::Incomplete) };
            if first != b'*' {
                return self.parse_inline(input);
            }
            match self.parse_count(input, limits)? {
                None => return Ok(Step::Incomplete),
                Some(0) => return Ok(Step::Empty(self.finish())),
                Some(count) => self.missing = count,
            }
            self.clear_arguments();
            self.inline = false;
            self.phase = Phase::BulkLine;
        }
        self.parse_bulks(input, limits)
    }

    /// The arguments of the request that `parse` just found in `input`.
    pub fn arguments<'a>(
        &'a self,
        input: &'a [u8],
    ) -> impl ExactSizeIterator<Item = &'a [u8]> + 'a {
        let bytes = if self.inline { self.scratch.as_slice() } else { input };
        self.arguments.iter().map(move |&(start, end)| &bytes[start..end])
    }

    /// How long the buffer must become for the argument under way to be whole; 0 if unknown.
    pub fn bytes_wanted(&self) -> usize {
        match self.phase {
            Phase::Bulk(length) => self.position + length + 2,
            _ => 0,
        }
    }

    fn parse_bulks(&mut self, input: &[u8], limits: &RequestLimits) -> Result<Step, ProtocolError> {
        loop {
            if self.missing == 0 {
                return Ok(Step::Request(self.finish()));
            }
            let length = match self.phase {
                Phase::Bulk(length) => length,
                _ => match self.parse_bulk_length(input, limits)? {
                    None => return Ok(Step::Incomplete),
                    Some(length) => length,
                },
            };
            self.phase = Phase::Bulk(length);
            let end = self.position + length;
            let Some(terminator) = input.get(end..end + 2) else { return Ok(Step::Incomplete) };
            if terminator != b"\r\n" {
                return Err(ProtocolError::BulkLength);
            }
            self.arguments.push((self.position, end));
            self.missing -= 1;
            self.position = end + 2;
            self.scanned = self.position;
            self.phase = Phase::BulkLine;
        }
    }

    fn parse_count(
        &mut self,
        input: &[u8],
        limits: &RequestLimits,
    ) -> Result<Option<usize>, ProtocolError> {
        let Some(line) =
            self.take_line(input, ProtocolError::CountLineTooBig, ProtocolError::Count)?
        else {
            return Ok(None);
        };
        let count = parse_integer(&line[1..]).ok_or(ProtocolError::Count)?;
        // A negative count asks for nothing, as an empty array does.
        let count = usize::try_from(count).unwrap_or(0);
        if count > limits.arguments_max {
            return Err(ProtocolError::Count);
        }
        if !limits.authenticated && count > UNAUTHENTICATED_ARGUMENTS_MAX {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        Ok(Some(count))
    }

    fn parse_bulk_length(
        &mut self,
        input: &[u8],
        limits: &RequestLimits,
    ) -> Result<Option<usize>, ProtocolError> {
        match input.get(self.position) {
            None => return Ok(None),
            Some(b'$') => {}
            Some(&other) => return Err(ProtocolError::ExpectedBulk(other)),
        }
        let Some(line) =
            self.take_line(input, ProtocolError::BulkLineTooBig, ProtocolError::BulkLength)?
        else {
            return Ok(None);
        };
        let length = parse_integer(&line[1..])
            .and_then(|length| usize::try_from(length).ok())
            .filter(|&length| length <= limits.bulk_bytes_max)
            .ok_or(ProtocolError::BulkLength)?;
        if !limits.authenticated && length > UNAUTHENTICATED_BULK_BYTES_MAX {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        Ok(Some(length))
    }

    /// The line at `position`, without its end; moves behind it.
    fn take_line<'a>(
        &mut self,
        input: &'a [u8],
        too_big: ProtocolError,
        malformed: ProtocolError,
    ) -> Result<Option<&'a [u8]>, ProtocolError> {
        let from = self.scanned.max(self.position);
        let Some(end) = memchr(b'\r', &input[from..]).map(|at| from + at) else {
            self.scanned = input.len();
            return if input.len() - self.position > LINE_BYTES_MAX {
                Err(too_big)
            } else {
                Ok(None)
            };
        };
        if end - self.position > LINE_BYTES_MAX {
            return Err(too_big);
        }
        match input.get(end + 1) {
            // The line end came in two pieces: look at its first byte again.
            None => {
                self.scanned = end;
                return Ok(None);
            }
            Some(b'\n') => {}
            Some(_) => return Err(malformed),
        }
        let line = &input[self.position..end];
        self.position = end + 2;
        self.scanned = self.position;
        Ok(Some(line))
    }

    fn parse_inline(&mut self, input: &[u8]) -> Result<Step, ProtocolError> {
        let Some(end) = memchr(b'\n', &input[self.scanned..]).map(|at| self.scanned + at) else {
            self.scanned = input.len();
            // One more byte is allowed here, for a CR whose LF is still to come.
            return if input.len() > LINE_BYTES_MAX + 1 {
                Err(ProtocolError::InlineTooBig)
            } else {
                Ok(Step::Incomplete)
            };
        };
        let line = input[..end].strip_suffix(b"\r").unwrap_or(&input[..end]);
        if line.len() > LINE_BYTES_MAX {
            return Err(ProtocolError::InlineTooBig);
        }
        self.clear_arguments();
        self.inline = true;
        split_words(line, &mut self.scratch, &mut self.arguments)?;
        self.position = end + 1;
        let consumed = self.finish();
        Ok(if self.arguments.is_empty() { Step::Empty(consumed) } else { Step::Request(consumed) })
    }

    fn clear_arguments(&mut self) {
        self.arguments.clear();
        self.arguments.shrink_to(ARGUMENTS_KEPT_MAX);
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_BYTES_KEPT_MAX);
    }

    /// Ready for the next request; returns the length of this one.
    fn finish(&mut self) -> usize {
        self.phase = Phase::Start;
        self.scanned = 0;
        std::mem::take(&mut self.position)
    }
}

/// A decimal number as the protocol writes it: no plus sign, no leading zeros, no spaces.
fn parse_integer(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let canonical = match digits {
        [] => false,
        [b'0', rest @ ..] => rest.is_empty() && digits.len() == text.len(),
        _ => digits.iter().all(u8::is_ascii_digit),
    };
    if !canonical {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Splits an inline command into words. Double quotes know escapes, single quotes only `\'`.
fn split_words(
    line: &[u8],
    scratch: &mut Vec<u8>,
    words: &mut Vec<(usize, usize)>,
) -> Result<(), ProtocolError> {
    let mut rest = line;
    loop {
        let Some(begin) = rest.iter().position(|byte| !is_space(*byte)) else { return Ok(()) };
        rest = &rest[begin..];
        let start = scratch.len();
        rest = take_word(rest, scratch)?;
        words.push((start, scratch.len()));
    }
}

/// As the C language has it, whose words Redis splits.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Appends the first word of `text`; returns what comes after it.
fn take_word<'a>(mut text: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], ProtocolError> {
    loop {
        match text {
            [] => return Ok(text),
            // Vertical tabs and form feeds are passed over between words, and do not end one.
            [b' ' | b'\t' | b'\r' | b'\n', ..] => return Ok(text),
            [quote @ (b'"' | b'\''), quoted @ ..] => {
                let rest = match quote {
                    b'"' => take_double_quoted(quoted, out)?,
                    _ => take_single_quoted(quoted, out)?,
                };
                return match rest.first() {
                    Some(next) if !is_space(*next) => Err(ProtocolError::Quotes),
                    _ => Ok(rest),
                };
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                text = rest;
            }
        }
    }
}

fn take_double_quoted<'a>(
    mut text: &'a [u8],
    out: &mut Vec<u8>,
) -> Result<&'a [u8], ProtocolError> {
    loop {
        match text {
            [] | [b'\\'] => return Err(ProtocolError::Quotes),
            [b'"', rest @ ..] => return Ok(rest),
            [b'\\', b'x', high, low, rest @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                out.push(hex_digit(*high) << 4 | hex_digit(*low));
                text = rest;
            }
            [b'\\', escaped, rest @ ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                text = rest;
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                text = rest;
            }
        }
    }
}

fn take_single_quoted<'a>(
    mut text: &'a [u8],
    out: &mut Vec<u8>,
) -> Result<&'a [u8], ProtocolError> {
    loop {
        match text {
            [] => return Err(ProtocolError::Quotes),
            [b'\'', rest @ ..] => return Ok(rest),
            [b'\\', b'\'', rest @ ..] => {
                out.push(b'\'');
                text = rest;
            }
            [byte, rest @ ..] => {
                out.push(*byte);
                text = rest;
            }
        }
    }
}

fn hex_digit(digit: u8) -> u8 {
    char::from(digit).to_digit(16).unwrap_or(0) as u8
}

#[cfg(test)]
#[path = "resp_tests.rs"]
mod tests;
