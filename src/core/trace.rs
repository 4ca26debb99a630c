//! W3C Trace Context that an event carries, passed on to the receiver: checked strictly, because it
//! goes into request heads (SEC-2).

use crate::base::limits::{TRACESTATE_BYTES_MAX, TRACESTATE_MEMBERS_MAX};

/// The trace that an event belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Trace<'a> {
    /// Version, trace id, parent id and flags.
    pub traceparent: &'a str,
    /// What tracing systems add.
    pub tracestate: Option<&'a str>,
}

const TRACEPARENT_BYTES: usize = 55;

/// Whether `text` is a `traceparent`: two, 32, 16 and two lower-case hex digits with dashes
/// between them; neither id only zeros, version not ff.
pub fn is_traceparent(text: &str) -> bool {
    let is_hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &str, digits| is_hex(part, digits) && part.bytes().any(|byte| byte != b'0');
    let mut parts = text.split('-');
    let mut next = || parts.next().unwrap_or_default();
    let (version, trace, parent, flags) = (next(), next(), next(), next());
    text.len() == TRACEPARENT_BYTES
        && is_hex(version, 2)
        && version != "ff"
        && is_id(trace, 32)
        && is_id(parent, 16)
        && is_hex(flags, 2)
}

/// Whether `text` is a `tracestate`: up to 32 members `key=value` with commas between them, in at
/// most `TRACESTATE_BYTES_MAX` bytes of printable ASCII.
pub fn is_tracestate(text: &str) -> bool {
    text.len() <= TRACESTATE_BYTES_MAX
        && text.split(',').count() <= TRACESTATE_MEMBERS_MAX
        && text.split(',').all(|member| {
            let member = member.trim_matches([' ', '\t']);
            member.split_once('=').is_some_and(|(key, value)| is_key(key) && is_value(value))
        })
}

fn is_key(key: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_later = |byte: u8| is_first(byte) || b"_-*/@".contains(&byte);
    key.bytes().next().is_some_and(is_first) && key.bytes().all(is_later) && key.len() <= 256
}

fn is_value(value: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, b' '..=b'~') && !b",=".contains(&byte);
    (1..=256).contains(&value.len()) && value.bytes().all(allowed)
}

impl<'a> Trace<'a> {
    /// The trace, as far as it is valid: as W3C wants it, a bad `traceparent` makes the event one
    /// without a trace, and a bad `tracestate` alone is left out.
    pub fn checked(traceparent: &'a str, tracestate: Option<&'a str>) -> Option<Trace<'a>> {
        is_traceparent(traceparent).then_some(Trace {
            traceparent,
            tracestate: tracestate.filter(|text| is_tracestate(text)),
        })
    }

    /// Appends the header lines, each with CRLF before it.
    pub fn write_lines(&self, out: &mut Vec<u8>) {
        for (name, value) in
            [("traceparent", Some(self.traceparent)), ("tracestate", self.tracestate)]
        {
            let Some(value) = value else { continue };
            for part in ["\r\n", name, ": ", value] {
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_exactly_that() {
        assert!(is_traceparent(PARENT));
        assert!(is_traceparent(&PARENT.replacen("00", "cc", 1)));
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0\n",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nX: y",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
            "00-0af7651916cd43dd8448eb211c80319cb7ad6b7169203331--01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-é",
        ] {
            assert!(!is_traceparent(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_tracestate_is_a_list_of_members() {
        for good in ["a=1", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "1a@b-c_d*e/f=x y , z=~"] {
            assert!(is_tracestate(good), "{good:?}");
        }
        let (many, long) = (vec!["a=1"; 33].join(","), format!("a={}", "x".repeat(300)));
        for bad in ["", "a", "a=", "=b", "A=1", "a=b=c", "a=1,", "a=1\r\nX: y", "a=é", &many, &long]
        {
            assert!(!is_tracestate(bad), "{bad:?}");
        }
    }

    #[test]
    fn what_is_invalid_is_left_out() {
        assert_eq!(Trace::checked("nonsense", Some("a=1")), None);
        let trace = Trace::checked(PARENT, Some("a\r\nb")).unwrap();
        assert_eq!(trace.tracestate, None);
        let mut out = Vec::new();
        Trace { tracestate: Some("a=1"), ..trace }.write_lines(&mut out);
        let expected = format!("\r\ntraceparent: {PARENT}\r\ntracestate: a=1");
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
