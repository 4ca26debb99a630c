//! Responses, read as the bytes come.
//!
//! # What decides a delivery
//!
//! The status line does. Once the head of the final response is complete and sound, the response
//! has been given: whatever is wrong with its body (cut short, over-long, broken chunks) only
//! costs the connection, which is not used again. The endpoint has said that it took the event
//! or that it did not, and asking again would not change what it did. Before that point
//! everything that is wrong is an error, and so is a head that does not say clearly where its
//! body ends (RFC 9112 section 6.3 has such a response discarded).

use super::chunked::ChunkedReader;
pub use super::response_head::HeadMemo;
use super::response_head::{self, Framing, Head};
use crate::base::limits::{
    INTERIM_RESPONSES_MAX, RESPONSE_BODY_BYTES_MAX, RESPONSE_HEAD_BYTES_MAX, RESPONSE_HEADERS_MAX,
    RESPONSE_SNIPPET_BYTES_MAX,
};
use crate::core::failure::Failure;
use std::fmt;

/// A head that comes in pieces is gathered in a buffer; one that grew larger than this is freed
/// afterwards, so that an idle connection stays small.
const HEAD_BUFFER_KEPT_BYTES_MAX: usize = 1024;

/// A complete response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status, 200 to 999.
    pub status: u16,
    /// Whether the connection can carry another request.
    pub keep_alive: bool,
    /// When the endpoint wants to hear again, if it says so.
    pub retry_after: Option<RetryAfter>,
    /// What it says in `webhook-delivery`.
    pub wish: Option<DeliveryWish>,
}

/// What an endpoint can ask for in the response header `webhook-delivery` (an addition to
/// Standard Webhooks that is proposed there). The greater one goes further.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DeliveryWish {
    /// `abort-message`: never again this delivery.
    AbortMessage,
    /// `disable`: nothing more for this webhook.
    Disable,
}

/// Stands where no final head was read yet.
const NO_RESPONSE: Response =
    Response { status: 0, keep_alive: false, retry_after: None, wish: None };

/// The two forms of `Retry-After`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RetryAfter {
    /// After this many seconds.
    Seconds(u64),
    /// At this time, in seconds since 1970.
    UnixSeconds(u64),
}

/// Why there is no response.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The peer closed before a final head was complete.
    #[error("closed before the response head was complete")]
    Closed,
    /// What came does not begin like HTTP/1.
    #[error("not an HTTP/1 response")]
    NotHttp,
    /// The head breaks the rules of HTTP/1.1.
    #[error("the response head is malformed")]
    Head,
    /// `Content-Length` is not a number, or several numbers.
    #[error("the response has an invalid or conflicting Content-Length")]
    ContentLength,
    /// 101, which was not asked for.
    #[error("the response switches protocols")]
    SwitchingProtocols,
    /// Too many interim responses.
    #[error("more than {INTERIM_RESPONSES_MAX} interim responses")]
    TooManyInterim,
    /// The head is too long.
    #[error("the response head is longer than {RESPONSE_HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    /// The head has too many fields.
    #[error("the response has more than {RESPONSE_HEADERS_MAX} header fields")]
    TooManyHeaders,
}

impl ResponseError {
    /// The stable name of the failure.
    pub fn failure(self) -> Failure {
        match self {
            ResponseError::Closed => Failure::Closed,
            ResponseError::NotHttp
            | ResponseError::Head
            | ResponseError::ContentLength
            | ResponseError::SwitchingProtocols => Failure::MalformedResponse,
            ResponseError::TooManyInterim
            | ResponseError::HeadTooLong
            | ResponseError::TooManyHeaders => Failure::ResponseTooLarge,
        }
    }
}

/// Reads the responses of one connection, one after the other.
///
/// A response that arrives whole is read where it is, without a copy. What arrives in pieces
/// leaves at most `RESPONSE_HEAD_BYTES_MAX` bytes here while its head is incomplete.
pub struct ResponseReader {
    state: State,
    /// The beginning of a head that is not complete.
    head: Vec<u8>,
    started: bool,
    interim_responses: u32,
    /// What the final head said; means something only after it.
    response: Response,
    /// Bytes of the body, framing included.
    body_bytes: u64,
    snippet: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    Body(Body),
    Done,
    Failed(ResponseError),
}

#[derive(Clone, Copy, Debug)]
enum Body {
    Length { left: u64 },
    Chunked(ChunkedReader),
    UntilClose,
}

impl ResponseReader {
    /// A reader for a new connection.
    pub fn new() -> ResponseReader {
        ResponseReader {
            state: State::Head,
            head: Vec::new(),
            started: false,
            interim_responses: 0,
            response: NO_RESPONSE,
            body_bytes: 0,
            snippet: Vec::new(),
        }
    }

    /// Forgets the response before. To be called before each request.
    pub fn reset(&mut self) {
        self.state = State::Head;
        self.head.clear();
        if self.head.capacity() > HEAD_BUFFER_KEPT_BYTES_MAX {
            self.head = Vec::new();
        }
        self.started = false;
        self.interim_responses = 0;
        self.response = NO_RESPONSE;
        self.body_bytes = 0;
        self.snippet.clear();
    }

    /// Takes bytes as they come; gives the final response once it is complete. Bytes that go
    /// beyond it take away its `keep_alive`, then or in a later call.
    pub fn read(&mut self, input: &[u8]) -> Result<Option<Response>, ResponseError> {
        let (used, response) = self.read_one(input)?;
        if response.is_none() {
            return Ok(None);
        }
        self.response.keep_alive &= used == input.len();
        Ok(Some(self.response))
    }

    /// As [`read`](Self::read), but for requests that were written one behind the other: bytes
    /// beyond the response are left to the next one. Also says how many bytes were used.
    pub fn read_one(&mut self, input: &[u8]) -> Result<(usize, Option<Response>), ResponseError> {
        self.read_next(input, None)
    }

    /// As [`read_one`](Self::read_one), with the memory of the endpoint's last head.
    pub fn read_next(
        &mut self,
        input: &[u8],
        mut memo: Option<&mut HeadMemo>,
    ) -> Result<(usize, Option<Response>), ResponseError> {
        self.started |= !input.is_empty();
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match self.state {
                State::Head if rest.is_empty() => return Ok((used, None)),
                State::Head => match self.read_head(rest, memo.as_deref_mut()) {
                    Ok(bytes) => used += bytes,
                    Err(error) => self.state = State::Failed(error),
                },
                State::Body(body) => {
                    used += self.read_body(body, rest);
                    if let State::Body(_) = self.state {
                        return Ok((used, None));
                    }
                }
                State::Done => return Ok((used, Some(self.response))),
                State::Failed(error) => return Err(error),
            }
        }
    }

    /// The peer closed. That ends a body without other end; it is an error before the final head
    /// was complete. After that the status stands (see the module's documentation), so this is
    /// also what to ask when the time for a response is over.
    pub fn finish(&mut self) -> Result<Response, ResponseError> {
        match self.state {
            State::Head => {
                self.state = State::Failed(ResponseError::Closed);
                Err(ResponseError::Closed)
            }
            State::Failed(error) => Err(error),
            State::Body(_) | State::Done => {
                self.give_up_connection();
                Ok(self.response)
            }
        }
    }

    /// Whether any byte arrived since the last reset.
    pub fn has_started(&self) -> bool {
        self.started
    }

    /// The beginning of the body, if the status is not 2xx.
    pub fn snippet(&self) -> &[u8] {
        &self.snippet
    }

    /// Takes bytes of a head and says how many.
    ///
    /// A head that is all there is parsed where it is. Any other is gathered, and parsed once
    /// more when its end has come: not at every piece, which would cost the square of its length.
    fn read_head(
        &mut self,
        input: &[u8],
        memo: Option<&mut HeadMemo>,
    ) -> Result<usize, ResponseError> {
        if self.head.is_empty() {
            let start = &input[..input.len().min(RESPONSE_HEAD_BYTES_MAX)];
            // An error is left to be found again below, so that it does not depend on how the
            // bytes arrive whether it is seen before or after the end of the head.
            let parsed = match memo {
                Some(memo) => memo.parse(start),
                None => response_head::parse(start),
            };
            if let Ok(Some((head, bytes))) = parsed {
                self.take_head(head)?;
                return Ok(bytes);
            }
        }
        let before = self.head.len();
        let room = RESPONSE_HEAD_BYTES_MAX - before;
        self.head.extend_from_slice(&input[..input.len().min(room)]);
        // An empty line may have begun with the last two bytes that were there.
        if let Some(end) = response_head::end(&self.head, before.saturating_sub(2)) {
            let parsed = response_head::parse(&self.head[..end]);
            self.head.clear();
            let Some((head, _)) = parsed? else { return Err(ResponseError::Head) };
            self.take_head(head)?;
            return Ok(end - before);
        }
        if !response_head::can_begin(&self.head) {
            return Err(ResponseError::NotHttp);
        }
        if input.len() >= room {
            return Err(ResponseError::HeadTooLong);
        }
        Ok(input.len())
    }

    /// Goes on from a complete head to what follows it.
    fn take_head(&mut self, head: Head) -> Result<(), ResponseError> {
        if head.status == 101 {
            return Err(ResponseError::SwitchingProtocols);
        }
        if head.status < 200 {
            self.interim_responses += 1;
            return match self.interim_responses <= INTERIM_RESPONSES_MAX {
                true => Ok(()),
                false => Err(ResponseError::TooManyInterim),
            };
        }
        self.response = Response {
            status: head.status,
            keep_alive: head.keep_alive,
            retry_after: head.retry_after,
            wish: head.wish,
        };
        self.state = match head.framing {
            Framing::Length(0) => State::Done,
            Framing::Length(left) => State::Body(Body::Length { left }),
            Framing::Chunked => State::Body(Body::Chunked(ChunkedReader::new())),
            Framing::UntilClose => State::Body(Body::UntilClose),
        };
        Ok(())
    }

    /// Takes bytes of the body and says how many.
    fn read_body(&mut self, body: Body, input: &[u8]) -> usize {
        let allowed = RESPONSE_BODY_BYTES_MAX - self.body_bytes;
        let input = &input[..(input.len() as u64).min(allowed) as usize];
        let (used, next) = match body {
            Body::Length { left } => {
                let used = (input.len() as u64).min(left);
                self.keep_snippet(&input[..used as usize]);
                let next = match left - used {
                    0 => State::Done,
                    left => State::Body(Body::Length { left }),
                };
                (used as usize, next)
            }
            Body::Chunked(mut chunks) => match chunks.read(input, |data| self.keep_snippet(data)) {
                Ok(used) if chunks.is_done() => (used, State::Done),
                Ok(used) => (used, State::Body(Body::Chunked(chunks))),
                Err(_) => {
                    self.give_up_connection();
                    return input.len();
                }
            },
            Body::UntilClose => {
                self.keep_snippet(input);
                (input.len(), State::Body(body))
            }
        };
        self.state = next;
        self.body_bytes += used as u64;
        if self.body_bytes == RESPONSE_BODY_BYTES_MAX && !matches!(self.state, State::Done) {
            self.give_up_connection();
        }
        used
    }

    /// The response ends here, and the connection with it.
    fn give_up_connection(&mut self) {
        self.response.keep_alive = false;
        self.state = State::Done;
    }

    /// Takes the beginning of the body out; empty if the status is 2xx.
    pub fn take_snippet(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.snippet)
    }

    fn keep_snippet(&mut self, data: &[u8]) {
        if !matches!(self.response.status, 200..300) {
            let room = RESPONSE_SNIPPET_BYTES_MAX - self.snippet.len();
            self.snippet.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
}

impl Default for ResponseReader {
    fn default() -> Self {
        ResponseReader::new()
    }
}

impl fmt::Debug for ResponseReader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Heads and bodies are the endpoint's and may hold what is not for logs.
        formatter
            .debug_struct("ResponseReader")
            .field("state", &self.state)
            .field("started", &self.started)
            .field("response", &self.response)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
