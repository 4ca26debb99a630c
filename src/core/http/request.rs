//! Requests: what never changes is written once per webhook, the rest is appended per attempt.

use super::endpoint::Endpoint;
use super::headers::{Authorization, CustomHeaders, HeaderError};
use super::message_signature::{self, Covered};
use super::proxy::Proxy;
use crate::core::format::ContentType;
use crate::core::json;
use crate::core::signature::{Message, SigningKey};
use std::fmt;

const USER_AGENT: &str =
    concat!("User-Agent: Ferrite-Webhooks/", env!("CARGO_PKG_VERSION"), "\r\n");
/// Room for the lines that are written per attempt.
const VARIABLE_BYTES: usize = 512;

/// What differs from one attempt to the next.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The id of the event, as text. It is taken up to the first byte that is not printable ASCII
    /// or is a dot; the engine's ids have none.
    pub id_text: &'a [u8],
    /// Counts from 1.
    pub attempt: u32,
    /// Further header lines of this event, each with CRLF before it; whoever wrote them has checked
    /// what is in them (SEC-2).
    pub lines: &'a [u8],
    /// The body. It is signed and sent as it is.
    pub body: &'a [u8],
    /// What the body is.
    pub content_type: ContentType,
    /// Signs the request, if the webhook has a SECRET.
    pub signature: Option<&'a SigningKey>,
    /// The time of this attempt, in seconds since 1970; only signed requests show it.
    pub unix_seconds: u64,
}

/// The beginning of every request of one webhook. `Debug` shows no secret (SEC-3).
#[derive(Clone, PartialEq, Eq)]
pub struct RequestHead {
    /// With `ContentType::Json`, whose text begins there.
    fixed: Box<[u8]>,
    content_type_at: usize,
    /// For RFC 9421.
    target_lines: Box<[u8]>,
}

impl RequestHead {
    /// As [`RequestHead::through`], straight to the endpoint.
    pub fn new(
        endpoint: &Endpoint,
        authorization: Option<&Authorization>,
        headers: &CustomHeaders,
    ) -> Result<RequestHead, HeaderError> {
        RequestHead::through(None, endpoint, authorization, headers)
    }

    /// Puts the parts of the head together that don't change. Everything in them was checked when
    /// it was made, so nothing but the fields named here can come of it (SEC-2). A proxy that
    /// forwards requests is told the whole URL, and its credentials.
    pub fn through(
        proxy: Option<&Proxy>,
        endpoint: &Endpoint,
        authorization: Option<&Authorization>,
        headers: &CustomHeaders,
    ) -> Result<RequestHead, HeaderError> {
        if authorization.is_some() && headers.has_authorization() {
            return Err(HeaderError::AuthorizationTwice);
        }
        let mut fixed = Vec::new();
        let (target, host) = (endpoint.path_and_query(), endpoint.authority());
        let [scheme, authority] = if proxy.is_some() { ["http://", host] } else { [""; 2] };
        for part in ["POST ", scheme, authority, target, " HTTP/1.1\r\nHost: ", host, "\r\n"] {
            fixed.extend_from_slice(part.as_bytes());
        }
        fixed.extend_from_slice(proxy.map_or(&[], Proxy::authorization_line));
        if !headers.has_user_agent() {
            fixed.extend_from_slice(USER_AGENT.as_bytes());
        }
        fixed.extend_from_slice(b"Content-Type: ");
        let content_type_at = fixed.len();
        fixed.extend_from_slice(ContentType::Json.text().as_bytes());
        fixed.extend_from_slice(b"\r\n");
        if let Some(authorization) = authorization {
            fixed.extend_from_slice(b"Authorization: ");
            fixed.extend_from_slice(authorization.value());
            fixed.extend_from_slice(b"\r\n");
        }
        fixed.extend_from_slice(headers.lines());
        let target_lines = message_signature::target_lines(endpoint).into();
        Ok(RequestHead { fixed: fixed.into(), content_type_at, target_lines })
    }

    /// The fixed part with another `Content-Type`.
    #[cold]
    fn write_fixed(&self, out: &mut Vec<u8>, content_type: ContentType) {
        let (before, rest) = self.fixed.split_at(self.content_type_at);
        let after = &rest[ContentType::Json.text().len()..];
        for part in [before, content_type.text().as_bytes(), after] {
            out.extend_from_slice(part);
        }
    }

    /// Appends one whole request, head and body.
    pub fn write_request(&self, out: &mut Vec<u8>, request: &Request<'_>) {
        let id_text = safe_id(request.id_text);
        out.reserve(self.fixed.len() + VARIABLE_BYTES + request.body.len());
        match request.content_type {
            ContentType::Json => out.extend_from_slice(&self.fixed),
            other => self.write_fixed(out, other),
        }
        out.extend_from_slice(b"Content-Length: ");
        json::write_u64(out, request.body.len() as u64);
        out.extend_from_slice(b"\r\nX-Ferrite-Id: ");
        out.extend_from_slice(id_text);
        out.extend_from_slice(b"\r\nX-Ferrite-Attempt: ");
        json::write_u64(out, u64::from(request.attempt));
        if !request.lines.is_empty() {
            out.extend_from_slice(request.lines);
        }
        if let Some(key) = request.signature {
            let message = Message {
                id_text,
                unix_seconds: request.unix_seconds,
                body: request.body,
                covered: Covered {
                    target_lines: &self.target_lines,
                    content_type: request.content_type.text(),
                },
            };
            key.write_lines(out, &message);
        }
        out.extend_from_slice(b"\r\n\r\n");
        out.extend_from_slice(request.body);
    }
}

impl fmt::Debug for RequestHead {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RequestHead({} bytes)", self.fixed.len())
    }
}

/// The longest beginning of `text` that can break neither a header line nor, with a dot, the text
/// that the Standard Webhooks signature covers.
fn safe_id(text: &[u8]) -> &[u8] {
    let harmful = |byte: u8| !byte.is_ascii_graphic() | (byte == b'.');
    // Without leaving the loop early, the compiler looks at many bytes at once.
    if !text.iter().fold(false, |any, &byte| any | harmful(byte)) {
        return text;
    }
    let end = text.iter().position(|&byte| harmful(byte));
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::signature::Signatures;
    use proptest::prelude::*;

    const NO_HEADERS: [(&str, &str); 0] = [];

    fn written(head: &RequestHead, request: &Request<'_>) -> String {
        let mut out = b"before".to_vec();
        head.write_request(&mut out, request);
        String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_owned()
    }

    #[test]
    fn a_plain_request() {
        let endpoint = Endpoint::parse("http://example.com:8080/hook?a=b").unwrap();
        let headers = CustomHeaders::new(&NO_HEADERS).unwrap();
        let head = RequestHead::new(&endpoint, None, &headers).unwrap();
        let request = Request {
            id_text: b"evt_1",
            attempt: 1,
            body: b"{}",
            lines: b"",
            content_type: ContentType::Json,
            signature: None,
            unix_seconds: 7,
        };
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            written(&head, &request),
            format!(
                "POST /hook?a=b HTTP/1.1\r\nHost: example.com:8080\r\n\
                 User-Agent: Ferrite-Webhooks/{version}\r\nContent-Type: application/json\r\n\
                 Content-Length: 2\r\nX-Ferrite-Id: evt_1\r\nX-Ferrite-Attempt: 1\r\n\r\n{{}}"
            )
        );
    }

    #[test]
    fn a_request_with_everything() {
        let endpoint = Endpoint::parse("https://[::1]/").unwrap();
        let headers = CustomHeaders::new(&[("X-Key", "k"), ("User-Agent", "u")]).unwrap();
        let authorization = Authorization::bearer("t").unwrap();
        let head = RequestHead::new(&endpoint, Some(&authorization), &headers).unwrap();
        let key = SigningKey::new("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let request = Request {
            id_text: b"msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            attempt: 3,
            body: br#"{"email":"test@example.com","username":"test_user"}"#,
            lines: b"",
            content_type: ContentType::Json,
            signature: Some(&key),
            unix_seconds: 1_649_367_553,
        };
        let mut ferrite = Vec::new();
        key.write_ferrite(request.body, &mut ferrite);
        assert_eq!(
            written(&head, &request),
            format!(
                "POST / HTTP/1.1\r\nHost: [::1]\r\nContent-Type: application/json\r\n\
                 Authorization: Bearer t\r\nX-Key: k\r\nUser-Agent: u\r\nContent-Length: 51\r\n\
                 X-Ferrite-Id: msg_27UH4WbU6Z5A5EzD8u03UvzRbpk\r\nX-Ferrite-Attempt: 3\r\n\
                 X-Ferrite-Signature: {}\r\n\
                 webhook-id: msg_27UH4WbU6Z5A5EzD8u03UvzRbpk\r\nwebhook-timestamp: 1649367553\r\n\
                 webhook-signature: v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=\r\n\r\n\
                 {{\"email\":\"test@example.com\",\"username\":\"test_user\"}}",
                String::from_utf8(ferrite).unwrap()
            )
        );
    }

    #[test]
    fn a_proxy_is_told_the_whole_url_and_its_credentials() {
        let endpoint = Endpoint::parse("http://example.com:8080/hook?a=b").unwrap();
        let headers = CustomHeaders::new(&NO_HEADERS).unwrap();
        let proxy = Proxy::parse("http://u:p@proxy.test", &[]).unwrap();
        let head = RequestHead::through(Some(&proxy), &endpoint, None, &headers).unwrap();
        let text = String::from_utf8(head.fixed.to_vec()).unwrap();
        assert!(
            text.starts_with(
                "POST http://example.com:8080/hook?a=b HTTP/1.1\r\nHost: example.com:8080\r\n\
                 Proxy-Authorization: Basic dTpw\r\nUser-Agent: "
            ),
            "{text}"
        );
    }

    #[test]
    fn the_signatures_that_are_not_wanted_are_left_out() {
        let endpoint = Endpoint::parse("http://example.com/").unwrap();
        let head =
            RequestHead::new(&endpoint, None, &CustomHeaders::new(&NO_HEADERS).unwrap()).unwrap();
        for (wanted, ferrite, standard) in [
            (Signatures::BOTH, true, true),
            (Signatures::FERRITE, true, false),
            (Signatures::STANDARD, false, true),
        ] {
            let key = SigningKey::new("secret").unwrap().only(wanted);
            let text = written(
                &head,
                &Request {
                    id_text: b"evt_1",
                    attempt: 1,
                    body: b"{}",
                    lines: b"",
                    content_type: ContentType::Json,
                    signature: Some(&key),
                    unix_seconds: 7,
                },
            );
            assert_eq!(text.contains("X-Ferrite-Signature: sha256="), ferrite, "{wanted:?}");
            for name in ["webhook-id: ", "webhook-timestamp: ", "webhook-signature: v1,"] {
                assert_eq!(text.contains(name), standard, "{wanted:?} {name}");
            }
        }
    }

    #[test]
    fn authorization_comes_from_one_place() {
        let endpoint = Endpoint::parse("http://example.com").unwrap();
        let headers = CustomHeaders::new(&[("authorization", "x")]).unwrap();
        let bearer = Authorization::bearer("t").unwrap();
        assert!(RequestHead::new(&endpoint, None, &headers).is_ok());
        let error = RequestHead::new(&endpoint, Some(&bearer), &headers);
        assert_eq!(error, Err(HeaderError::AuthorizationTwice));
    }

    #[test]
    fn ids_end_where_they_would_do_harm() {
        for (id, kept) in [("a\r\nb", "a"), ("\nb", ""), ("a b", "a"), ("é", ""), ("a.b", "a")] {
            assert_eq!(safe_id(id.as_bytes()), kept.as_bytes());
        }
    }

    /// Texts that are likely to be accepted, and likely to do harm if they are.
    fn hostile_text() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9/?=.:@ \\-]{0,12}(\r\n|\n|\r|\0|\t|\u{7f}|\u{85}|é|%0d%0a|)[a-zA-Z: /]{0,12}"
    }

    proptest! {
        // SEC-2. A head that any server reads is exactly the lines that were meant, so it is
        // read back here the strictest way: split at CRLF, no other control byte anywhere.
        #[test]
        fn configuration_writes_nothing_but_its_own_fields(
            path in hostile_text(),
            headers in proptest::collection::vec((hostile_text(), hostile_text()), 0..4),
            token in hostile_text(),
            (user, password) in (hostile_text(), hostile_text()),
            secret in hostile_text(),
            id in hostile_text(),
        ) {
            let Ok(endpoint) = Endpoint::parse(&format!("http://example.com/{path}")) else {
                return Ok(());
            };
            let headers: Vec<(String, String)> = headers
                .into_iter()
                .filter(|header| CustomHeaders::new(std::slice::from_ref(header)).is_ok())
                .collect();
            let custom = CustomHeaders::new(&headers).unwrap_or_default();
            let authorization = Authorization::bearer(&token)
                .or_else(|_| Authorization::basic(&user, &password))
                .ok()
                .filter(|_| !custom.has_authorization());
            let key = SigningKey::new(&secret).ok();
            let head = RequestHead::new(&endpoint, authorization.as_ref(), &custom).unwrap();
            let mut out = Vec::new();
            head.write_request(&mut out, &Request {
                id_text: id.as_bytes(),
                attempt: 1,
                body: b"BODY",
                lines: b"",
                content_type: ContentType::Json,
                signature: key.as_ref(),
                unix_seconds: 1,
            });
            let text = String::from_utf8(out).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            prop_assert_eq!(body, "BODY");
            let lines: Vec<&str> = head.split("\r\n").collect();
            let harmless = |line: &&str| line.bytes().all(|b| b == b'\t' || (b >= 0x20 && b != 0x7f));
            prop_assert!(lines.iter().all(harmless));
            let custom_lines = custom.lines().iter().filter(|byte| **byte == b'\n').count();
            let expected = 7 + custom_lines - usize::from(custom.has_user_agent())
                + usize::from(authorization.is_some())
                + if key.is_some() { 4 } else { 0 };
            prop_assert_eq!(lines.len(), expected, "{}", head);
            prop_assert_eq!(lines[0].split(' ').count(), 3);
        }
    }
}
