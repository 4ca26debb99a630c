//! RESP2, as far as a run must speak it: commands are written, replies are read.

/// Longest line of a reply.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Longest string in a reply.
const BULK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most elements of an array in a reply.
const ARRAY_MAX: usize = 1 << 20;
/// Arrays within arrays.
const DEPTH_MAX: usize = 8;

/// Appends a command.
pub(crate) fn write_command(out: &mut Vec<u8>, arguments: &[&[u8]]) {
    let mut number = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(number.format(arguments.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for argument in arguments {
        out.push(b'$');
        out.extend_from_slice(number.format(argument.len()).as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(argument);
        out.extend_from_slice(b"\r\n");
    }
}

/// A reply, borrowed from the bytes it was read from.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Reply<'a> {
    /// A line: `OK`.
    Simple(&'a [u8]),
    /// An error.
    Error(&'a [u8]),
    /// A number.
    Integer(i64),
    /// A string.
    Bulk(&'a [u8]),
    /// Null, of either kind.
    Nothing,
    /// An array.
    Array(Vec<Reply<'a>>),
}

/// The bytes are no reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Malformed;

/// The reply at the front of `bytes` and its length, when all of it is there.
pub(crate) fn read(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Malformed> {
    let mut reader = Reader { bytes, at: 0 };
    Ok(reader.reply(DEPTH_MAX)?.map(|reply| (reply, reader.at)))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next reply; `None` when there is more to come.
    fn reply(&mut self, depth: usize) -> Result<Option<Reply<'a>>, Malformed> {
        let Some(line) = self.line()? else { return Ok(None) };
        let (kind, rest) = line.split_first().ok_or(Malformed)?;
        let reply = match kind {
            b'+' => Reply::Simple(rest),
            b'-' => Reply::Error(rest),
            b':' => Reply::Integer(integer(rest)?),
            b'$' => match length(rest, BULK_BYTES_MAX)? {
                None => Reply::Nothing,
                Some(length) => {
                    let end = self.at + length;
                    let Some(tail) = self.bytes.get(end..end + 2) else { return Ok(None) };
                    if tail != b"\r\n" {
                        return Err(Malformed);
                    }
                    let bulk = &self.bytes[self.at..end];
                    self.at = end + 2;
                    Reply::Bulk(bulk)
                }
            },
            b'*' => match length(rest, ARRAY_MAX)? {
                None => Reply::Nothing,
                Some(length) => {
                    let depth = depth.checked_sub(1).ok_or(Malformed)?;
                    let mut elements = Vec::new();
                    for _ in 0..length {
                        let Some(element) = self.reply(depth)? else { return Ok(None) };
                        elements.push(element);
                    }
                    Reply::Array(elements)
                }
            },
            _ => return Err(Malformed),
        };
        Ok(Some(reply))
    }

    /// The next line, without its end.
    fn line(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        let rest = &self.bytes[self.at..];
        let Some(end) = memchr::memchr(b'\r', rest) else {
            return if rest.len() > LINE_BYTES_MAX { Err(Malformed) } else { Ok(None) };
        };
        match rest.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => {
                self.at += end + 2;
                Ok(Some(&rest[..end]))
            }
            Some(_) => Err(Malformed),
        }
    }
}

fn integer(text: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Malformed)
}

/// A length; `None` for null.
fn length(text: &[u8], most: usize) -> Result<Option<usize>, Malformed> {
    match integer(text)? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).ok().filter(|length| *length <= most);
            length.map(Some).ok_or(Malformed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_when_they_are_whole_wherever_they_are_cut() {
        let bytes: &[u8] =
            b"*6\r\n+OK\r\n-ERR no\r\n:-7\r\n$4\r\na\r\nb\r\n$-1\r\n*2\r\n$0\r\n\r\n*-1\r\n";
        let whole = Reply::Array(vec![
            Reply::Simple(b"OK"),
            Reply::Error(b"ERR no"),
            Reply::Integer(-7),
            Reply::Bulk(b"a\r\nb"),
            Reply::Nothing,
            Reply::Array(vec![Reply::Bulk(b""), Reply::Nothing]),
        ]);
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes[..cut]), Ok(None), "cut at {cut}");
        }
        let followed = [bytes, b"+NEXT"].concat();
        assert_eq!(read(&followed), Ok(Some((whole, bytes.len()))));
    }

    #[test]
    fn what_is_no_reply_is_refused_and_claims_cost_nothing() {
        let deep = b"*1\r\n".repeat(DEPTH_MAX + 1);
        for bytes in [
            &b"\r\n"[..],
            b"OK\r\n",
            b":x\r\n",
            b"$-2\r\n",
            b"$99999999999\r\n",
            b"*99999999999\r\n",
            b"$1\r\nabc",
            b"+a\rb",
            &deep,
            &vec![b'+'; LINE_BYTES_MAX + 1],
        ] {
            assert_eq!(read(bytes), Err(Malformed), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn commands_are_arrays_of_strings() {
        let mut out = Vec::new();
        write_command(&mut out, &[b"SET", b"k", b"a\r\nb"]);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n");
    }
}
