//! Writes replies in RESP2 or RESP3.

/// Appends replies to a connection's output, in the protocol version that the client chose.
///
/// Each method writes one value. Aggregates write only their header: the caller then writes as
/// many values as it announced (twice as many for a map).
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    resp3: bool,
}

impl<'a> Reply<'a> {
    /// A writer to `out`.
    pub fn new(out: &'a mut Vec<u8>, resp3: bool) -> Self {
        Reply { out, resp3 }
    }

    /// Whether the client speaks RESP3.
    pub fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// Changes the protocol version of what is written from now on.
    pub fn set_resp3(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    /// `OK`.
    pub fn ok(&mut self) {
        self.simple("OK");
    }

    /// A simple string; must not contain CR or LF.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error, with its prefix (`ERR …`). Control bytes become spaces, so that nothing a client
    /// sent can break out of the line.
    pub fn error(&mut self, message: &str) {
        self.out.push(b'-');
        self.out
            .extend(message.bytes().map(|byte| if byte.is_ascii_control() { b' ' } else { byte }));
        self.out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    pub fn integer(&mut self, value: i64) {
        self.line(b':', itoa::Buffer::new().format(value).as_bytes());
    }

    /// A bulk string.
    pub fn bulk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.header(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Nothing, where RESP2 has a null bulk string.
    pub fn null(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// Nothing, where RESP2 has a null array.
    pub fn null_array(&mut self) {
        self.out.extend_from_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// An array of `count` values.
    pub fn array(&mut self, count: usize) {
        self.header(b'*', count);
    }

    /// A map of `count` pairs; a flat array in RESP2.
    pub fn map(&mut self, count: usize) {
        if self.resp3 { self.header(b'%', count) } else { self.header(b'*', count * 2) }
    }

    /// A set of `count` values; an array in RESP2.
    pub fn set(&mut self, count: usize) {
        self.header(if self.resp3 { b'~' } else { b'*' }, count);
    }

    /// A push message of `count` values; an array in RESP2.
    pub fn push(&mut self, count: usize) {
        self.header(if self.resp3 { b'>' } else { b'*' }, count);
    }

    /// A double as Redis writes it; a bulk string in RESP2.
    pub fn double(&mut self, value: f64) {
        let text = format_double(value);
        if self.resp3 { self.line(b',', text.as_bytes()) } else { self.bulk(text) }
    }

    /// Text for people; a bulk string in RESP2.
    pub fn verbatim(&mut self, text: &str) {
        if self.resp3 {
            self.header(b'=', text.len() + 4);
            self.out.extend_from_slice(b"txt:");
            self.out.extend_from_slice(text.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    fn header(&mut self, kind: u8, count: usize) {
        self.line(kind, itoa::Buffer::new().format(count).as_bytes());
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

/// A double as Redis writes it: the shortest text that reads back the same, integers without a
/// fraction, `inf`, `-inf`, `nan`.
pub fn format_double(value: f64) -> String {
    if value.is_nan() {
        "nan".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "inf".to_owned() } else { "-inf".to_owned() }
    } else if value == value.trunc() && value.abs() < 1e17 {
        format!("{}", value as i64)
    } else {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        match exponent.parse::<i32>() {
            Ok(exponent @ -5..=16) if exponent > -5 => format!("{value}"),
            Ok(exponent) if exponent < 0 => format!("{digits}e-{:02}", -exponent),
            Ok(exponent) => format!("{digits}e+{exponent:02}"),
            Err(_) => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_redis_writes_them() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (-3.5, "-3.5"),
            (0.1, "0.1"),
            (1e20, "1e+20"),
            (1.5e-7, "1.5e-07"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(format_double(value), text);
        }
    }

    #[test]
    fn errors_cannot_be_broken_out_of() {
        let mut out = Vec::new();
        Reply::new(&mut out, false).error("ERR a\r\n+OK");
        assert_eq!(out, b"-ERR a  +OK\r\n");
    }
}
