//! The head of a response: the few facts in it that matter to a sender.

use super::response::{DeliveryWish, ResponseError, RetryAfter};
use crate::base::limits::{HEAD_MEMO_BYTES_MAX, RESPONSE_HEADERS_MAX};
use crate::core::timestamp;
use std::fmt;
use std::mem::MaybeUninit;

/// How every response that is read begins.
const PREFIX: &[u8] = b"HTTP/1.";

/// What a complete head says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) keep_alive: bool,
    pub(super) retry_after: Option<RetryAfter>,
    pub(super) framing: Framing,
    pub(super) wish: Option<DeliveryWish>,
}

/// Where the body ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// After this many bytes.
    Length(u64),
    /// Where its chunks say.
    Chunked,
    /// Where the connection does.
    UntilClose,
}

/// Whether `bytes` can be the beginning of a response. Tells at the first bytes of a banner in
/// another protocol, which may never send what would end a head.
pub(super) fn can_begin(bytes: &[u8]) -> bool {
    let common = bytes.len().min(PREFIX.len());
    bytes[..common] == PREFIX[..common]
}

/// The last head that was read, to recognise it when it comes again: an endpoint's answers are
/// alike byte by byte, but for the `Date` of some, which changes once a second. What a head says
/// follows from its bytes alone, so one that is equal says the same.
#[derive(Default)]
pub struct HeadMemo {
    bytes: Vec<u8>,
    head: Option<Head>,
    /// Heads in a row that were not the remembered one.
    misses: u32,
}

/// After so many of them, an endpoint whose heads all differ has only every so-manieth remembered.
const MISSES_MAX: u32 = 16;

impl fmt::Debug for HeadMemo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Heads are the endpoint's and may hold what is not for logs.
        formatter.debug_tuple("HeadMemo").field(&self.head).finish()
    }
}

impl HeadMemo {
    /// As [`parse`].
    pub(super) fn parse(&mut self, bytes: &[u8]) -> Result<Option<(Head, usize)>, ResponseError> {
        if let Some(head) = self.head
            && bytes.starts_with(&self.bytes)
        {
            self.misses = 0;
            return Ok(Some((head, self.bytes.len())));
        }
        let parsed = parse(bytes)?;
        if let Some((head, length)) = parsed
            && length <= HEAD_MEMO_BYTES_MAX
        {
            self.remember(&bytes[..length], head);
        }
        Ok(parsed)
    }

    fn remember(&mut self, bytes: &[u8], head: Head) {
        self.misses = self.misses.wrapping_add(1);
        if self.misses < MISSES_MAX || self.misses.is_multiple_of(MISSES_MAX) {
            self.bytes.clear();
            self.bytes.extend_from_slice(bytes);
            self.head = Some(head);
        }
    }
}

/// Where the first head in `bytes` ends: after an empty line. Looks at line ends from `from` on.
/// As RFC 9112 section 2.2 allows, a lone LF counts as the end of a line.
pub(super) fn end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &bytes[from..]).find_map(|at| {
        let next = from + at + 1;
        match &bytes[next..] {
            [b'\n', ..] => Some(next + 1),
            [b'\r', b'\n', ..] => Some(next + 2),
            _ => None,
        }
    })
}

/// Reads the head at the beginning of `bytes`, and says how long it is; `None` when it does not
/// end in them.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, ResponseError> {
    if !can_begin(bytes) {
        return Err(ResponseError::NotHttp);
    }
    let mut headers = [const { MaybeUninit::uninit() }; RESPONSE_HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut headers,
    );
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(ResponseError::TooManyHeaders),
        Err(_) => return Err(ResponseError::Head),
    };
    let (Some(version), Some(status)) = (response.version, response.code) else {
        return Err(ResponseError::Head);
    };
    if status < 100 {
        return Err(ResponseError::Head);
    }
    let mut fields = Fields::default();
    for header in response.headers.iter() {
        fields.note(header.name, header.value);
    }
    Ok(Some((fields.conclude(status, version == 1)?, length)))
}

/// The header fields that matter, gathered line by line.
#[derive(Default)]
struct Fields {
    content_length: Option<u64>,
    content_length_is_invalid: bool,
    has_transfer_encoding: bool,
    /// Of the last transfer coding that was named.
    last_coding_is_chunked: bool,
    chunked_is_repeated: bool,
    close: bool,
    keep_alive: bool,
    retry_after: Option<RetryAfter>,
    wish: Option<DeliveryWish>,
}

impl Fields {
    fn note(&mut self, name: &str, value: &[u8]) {
        // The length rules out nearly every other name before a letter is compared.
        match name.len() {
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in tokens(value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            11 if name.eq_ignore_ascii_case("retry-after") => {
                self.retry_after = self.retry_after.or_else(|| parse_retry_after(value));
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                for text in value.split(|byte| *byte == b',') {
                    self.note_content_length(text.trim_ascii());
                }
            }
            16 if name.eq_ignore_ascii_case("webhook-delivery") => {
                // The one that goes further counts; words that are not known say nothing.
                self.wish = tokens(value).filter_map(parse_wish).chain(self.wish).max();
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                self.has_transfer_encoding = true;
                for coding in tokens(value) {
                    let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
                    self.chunked_is_repeated |= is_chunked && self.last_coding_is_chunked;
                    self.last_coding_is_chunked = is_chunked;
                }
            }
            _ => {}
        }
    }

    /// Equal lengths that are repeated are tolerated, as RFC 9112 section 6.3 allows.
    fn note_content_length(&mut self, text: &[u8]) {
        let length = parse_digits(text);
        let agrees =
            length.is_some() && self.content_length.is_none_or(|other| Some(other) == length);
        self.content_length_is_invalid |= !agrees;
        self.content_length = length;
    }

    /// The order of RFC 9112 section 6.3.
    fn conclude(self, status: u16, is_http_1_1: bool) -> Result<Head, ResponseError> {
        let mut keep_alive = !self.close && (is_http_1_1 || self.keep_alive);
        let framing = if matches!(status, 100..200 | 204 | 304) {
            Framing::Length(0)
        } else if self.has_transfer_encoding {
            // A peer of HTTP/1.0 can't have meant it, and one that also sends a length, or chunks
            // in chunks, or an intermediary before it, is confused about where the body ends.
            let has_length = self.content_length.is_some() || self.content_length_is_invalid;
            keep_alive &= is_http_1_1 && !has_length && !self.chunked_is_repeated;
            if self.last_coding_is_chunked { Framing::Chunked } else { Framing::UntilClose }
        } else if self.content_length_is_invalid {
            return Err(ResponseError::ContentLength);
        } else {
            self.content_length.map_or(Framing::UntilClose, Framing::Length)
        };
        keep_alive &= framing != Framing::UntilClose;
        Ok(Head { status, keep_alive, retry_after: self.retry_after, framing, wish: self.wish })
    }
}

/// The members of a comma-separated list that are not empty.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// A number of digits only; `None` when it does not fit or is not there.
fn parse_digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

fn parse_wish(word: &[u8]) -> Option<DeliveryWish> {
    match word {
        _ if word.eq_ignore_ascii_case(b"disable") => Some(DeliveryWish::Disable),
        _ if word.eq_ignore_ascii_case(b"abort-message") => Some(DeliveryWish::AbortMessage),
        _ => None,
    }
}

fn parse_retry_after(value: &[u8]) -> Option<RetryAfter> {
    let value = value.trim_ascii();
    if !value.is_empty() && value.iter().all(u8::is_ascii_digit) {
        // More seconds than fit are still a wish to be left alone.
        return Some(RetryAfter::Seconds(parse_digits(value).unwrap_or(u64::MAX)));
    }
    timestamp::parse_http_date(value).map(RetryAfter::UnixSeconds)
}
