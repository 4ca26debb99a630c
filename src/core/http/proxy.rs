//! An HTTP proxy on the way out, where a network allows no other.
//!
//! Requests to `https://` endpoints go through a tunnel (CONNECT, RFC 9110 section 9.3.6), end to
//! end encrypted. Requests to `http://` endpoints are forwarded: the request line has the whole
//! URL (RFC 9112 section 3.2.2). That is what proxies expect: many open tunnels to the port of
//! HTTPS only.

use super::endpoint::{Endpoint, EndpointKey};
use crate::base::limits::{
    RESPONSE_HEAD_BYTES_MAX, RESPONSE_HEADERS_MAX, SECRET_BYTES_MAX, URL_BYTES_MAX,
};
use crate::core::failure::Failure;
use crate::core::host_rules::{HostRuleError, HostRules};
use crate::core::json;
use std::fmt;
use std::net::IpAddr;

const STATUS_PROXY_AUTHENTICATION: u16 = 407;

/// Why a proxy's URL is not acceptable. The URL is not repeated: it may hold a password.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProxyError {
    /// It is not `http://`, perhaps credentials and `@`, host and perhaps port.
    #[error("proxy must be http://host:port or http://user:password@host:port")]
    Url,
    /// Its credentials cannot be sent.
    #[error(
        "the credentials in proxy must be percent-encoded UTF-8 without control characters, and \
         the user without a colon"
    )]
    Credentials,
    /// An entry of `no_proxy` is none.
    #[error("no_proxy: {0}")]
    Bypass(#[from] HostRuleError),
}

/// A proxy, and which endpoints it does not carry. `Debug` shows no credentials (SEC-3).
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: Box<str>,
    port: u16,
    /// The line with the credentials and its CRLF; empty without.
    authorization: Box<[u8]>,
    bypass: HostRules,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Proxy({}:{})", self.host, self.port)
    }
}

impl Proxy {
    /// Reads the configuration.
    ///
    /// # Errors
    /// What is wrong with the URL or the list.
    pub fn parse(url: &str, no_proxy: &[String]) -> Result<Proxy, ProxyError> {
        const SCHEME: &str = "http://";
        let scheme = url.get(..SCHEME.len()).ok_or(ProxyError::Url)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || url.len() > URL_BYTES_MAX {
            return Err(ProxyError::Url);
        }
        let authority = url[SCHEME.len()..].trim_end_matches('/');
        let (credentials, place) = match authority.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, authority),
        };
        let endpoint =
            Endpoint::parse(&format!("{SCHEME}{place}/")).map_err(|_| ProxyError::Url)?;
        if endpoint.path_and_query() != "/" || place.contains('?') {
            return Err(ProxyError::Url);
        }
        Ok(Proxy {
            host: endpoint.host().into(),
            port: endpoint.port(),
            authorization: credentials.map_or(Ok(Box::default()), authorization_line)?,
            bypass: HostRules::parse(no_proxy)?,
        })
    }

    /// The name or address of the proxy.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Whether requests to `endpoint` go through the proxy.
    pub fn carries(&self, endpoint: &EndpointKey) -> bool {
        let address = endpoint.host.parse::<IpAddr>().ok();
        !self.bypass.names(&endpoint.host, address, endpoint.port)
    }

    /// The header line with the credentials, with its CRLF; empty without any.
    pub fn authorization_line(&self) -> &[u8] {
        &self.authorization
    }

    /// Appends the request for a tunnel to `endpoint`.
    pub fn write_connect(&self, endpoint: &EndpointKey, out: &mut Vec<u8>) {
        let place = match endpoint.host.contains(':') {
            true => format!("[{}]:{}", endpoint.host, endpoint.port),
            false => format!("{}:{}", endpoint.host, endpoint.port),
        };
        for part in ["CONNECT ", &place, " HTTP/1.1\r\nHost: ", &place, "\r\n"] {
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(&self.authorization);
        out.extend_from_slice(b"\r\n");
    }
}

fn authorization_line(credentials: &str) -> Result<Box<[u8]>, ProxyError> {
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    let decoded = |text| percent_decoded(text).ok_or(ProxyError::Credentials);
    let (user, password) = (decoded(user)?, decoded(password)?);
    let has_control = user.chars().chain(password.chars()).any(char::is_control);
    if has_control || user.contains(':') || user.len() + password.len() > SECRET_BYTES_MAX {
        return Err(ProxyError::Credentials);
    }
    let mut line = b"Proxy-Authorization: Basic ".to_vec();
    json::write_base64(&mut line, format!("{user}:{password}").as_bytes());
    line.extend_from_slice(b"\r\n");
    Ok(line.into())
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, after) = rest.split_at_checked(2)?;
        let digit = |digit: u8| char::from(digit).to_digit(16);
        bytes.push(u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()?);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

/// Reads what a proxy says to CONNECT.
#[derive(Debug, Default)]
pub struct ConnectReader {
    head: Vec<u8>,
}

impl ConnectReader {
    /// Takes bytes that were read; `true`: the tunnel is open. What is in the tunnel comes after
    /// the head, and nothing may, because the endpoint waits for us to speak first.
    ///
    /// # Errors
    /// The proxy refuses, or does not speak HTTP.
    pub fn take(&mut self, bytes: &[u8]) -> Result<bool, Failure> {
        // Only where the head's end may be is it looked for, so that drips cost little.
        let from = self.head.len().saturating_sub(3);
        self.head.extend_from_slice(bytes);
        let ended = memchr::memmem::find(&self.head[from..], b"\n\r\n").is_some()
            || memchr::memmem::find(&self.head[from..], b"\n\n").is_some();
        if !ended {
            let begins_well = self.head.iter().zip(b"HTTP/1.").all(|(is, wanted)| is == wanted);
            let fits = self.head.len() <= RESPONSE_HEAD_BYTES_MAX;
            return if begins_well && fits { Ok(false) } else { Err(Failure::Proxy) };
        }
        let mut fields = [httparse::EMPTY_HEADER; RESPONSE_HEADERS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(&self.head) {
            Ok(httparse::Status::Complete(length)) if length <= RESPONSE_HEAD_BYTES_MAX => length,
            _ => return Err(Failure::Proxy),
        };
        match response.code.unwrap_or_default() {
            200..=299 if length == self.head.len() => Ok(true),
            0..=299 => Err(Failure::Proxy),
            STATUS_PROXY_AUTHENTICATION => Err(Failure::ProxyAuthentication),
            status => Err(Failure::ProxyRefused(status)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(url: &str) -> EndpointKey {
        Endpoint::parse(url).unwrap().key().clone()
    }

    fn connect(proxy: &str, url: &str) -> String {
        let mut out = Vec::new();
        Proxy::parse(proxy, &[]).unwrap().write_connect(&key(url), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_for_tunnels() {
        assert_eq!(
            connect("http://proxy.test:3128", "https://a.test/x"),
            "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\n\r\n"
        );
        assert_eq!(
            connect("HTTP://Aladdin:open%20sesame@10.0.0.1/", "https://[2a00::1]:8443/"),
            "CONNECT [2a00::1]:8443 HTTP/1.1\r\nHost: [2a00::1]:8443\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }

    #[test]
    fn a_proxy_has_a_place_and_perhaps_credentials() {
        for (url, host, port) in [
            ("http://Proxy.test:3128", "proxy.test", 3128),
            ("http://proxy.test", "proxy.test", 80),
            ("http://user@[::1]:3128/", "::1", 3128),
            ("http://user:p@ss@proxy.test", "proxy.test", 80),
        ] {
            let proxy = Proxy::parse(url, &[]).unwrap();
            assert_eq!((proxy.host(), proxy.port()), (host, port), "{url}");
        }
        for url in [
            "",
            "proxy.test:3128",
            "https://proxy.test",
            "socks5://proxy.test",
            "http://",
            "http://proxy.test/path",
            "http://proxy.test?x",
            "http://proxy.test#x",
            "http://proxy.test:0",
            "http://a b",
            "http://hunter2@",
        ] {
            assert_eq!(Proxy::parse(url, &[]), Err(ProxyError::Url), "{url}");
        }
        for credentials in ["hunter2%", "hunter2%0d%0a", "hunter2%zz", "a%3ab:c", "%ff", "%00"] {
            let error = Proxy::parse(&format!("http://{credentials}@proxy.test"), &[]).unwrap_err();
            assert_eq!(error, ProxyError::Credentials, "{credentials}");
            assert!(!error.to_string().contains("hunter2"));
        }
        let wrong = Proxy::parse("http://proxy.test", &["a b".to_owned()]).unwrap_err();
        assert!(wrong.to_string().starts_with("no_proxy: entry 1 ('a b')"), "{wrong}");
        let proxy = Proxy::parse("http://hunter2:hunter3@proxy.test", &[]).unwrap();
        assert_eq!(format!("{proxy:?}"), "Proxy(proxy.test:80)");
    }

    #[test]
    fn some_endpoints_are_not_carried() {
        let bypass = ["*.internal", "localhost:8080", "10.0.0.0/8"].map(str::to_owned);
        let proxy = Proxy::parse("http://proxy.test", &bypass).unwrap();
        for (url, carried) in [
            ("https://a.test/", true),
            ("http://a.internal/", false),
            ("http://internal/", true),
            ("http://localhost:8080/", false),
            ("http://localhost/", true),
            ("http://10.1.2.3/", false),
            ("http://11.1.2.3/", true),
        ] {
            assert_eq!(proxy.carries(&key(url)), carried, "{url}");
        }
    }

    /// What comes of an answer, whole and byte by byte.
    fn verdict(answer: &[u8]) -> Result<bool, Failure> {
        let whole = ConnectReader::default().take(answer);
        let mut reader = ConnectReader::default();
        let mut dripped = Ok(false);
        for byte in answer {
            dripped = reader.take(std::slice::from_ref(byte));
            if dripped != Ok(false) {
                break;
            }
        }
        // Bytes after the head are seen only when they come with it.
        if !answer.ends_with(b"early") {
            assert_eq!(whole, dripped, "{}", answer.escape_ascii());
        }
        whole
    }

    #[test]
    fn answers_to_connect() {
        let many =
            format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(RESPONSE_HEADERS_MAX + 1));
        let endless = format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(RESPONSE_HEAD_BYTES_MAX));
        let table: &[(&[u8], Result<bool, Failure>)] = &[
            (b"HTTP/1.1 200 Connection established\r\n\r\n", Ok(true)),
            (b"HTTP/1.0 200 OK\nVia: x\n\n", Ok(true)),
            (b"HTTP/1.1 204 \r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Ok(true)),
            (b"HTTP/1.1 200", Ok(false)),
            (b"HTTP/1.1 200 OK\r\n\r", Ok(false)),
            (b"", Ok(false)),
            (b"HTTP/1.1 200 OK\r\n\r\nearly", Err(Failure::Proxy)),
            (
                b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n",
                Err(Failure::ProxyAuthentication),
            ),
            (b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\n", Err(Failure::ProxyRefused(403))),
            (b"HTTP/1.1 302 Go\r\nLocation: http://x/\r\n\r\n", Err(Failure::ProxyRefused(302))),
            (b"HTTP/1.1 502 Bad\r\n\r\n", Err(Failure::ProxyRefused(502))),
            (b"HTTP/1.1 100 Continue\r\n\r\n", Err(Failure::Proxy)),
            (b"HTTP/2 200 OK\r\n\r\n", Err(Failure::Proxy)),
            (b"SSH-2.0-OpenSSH", Err(Failure::Proxy)),
            (b"\x15\x03\x03\x00\x02\x02\x28", Err(Failure::Proxy)),
            (b"HTTP/1.1 abc\r\n\r\n", Err(Failure::Proxy)),
            (b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", Err(Failure::Proxy)),
            (many.as_bytes(), Err(Failure::Proxy)),
            (endless.as_bytes(), Err(Failure::Proxy)),
        ];
        for (answer, wanted) in table {
            assert_eq!(verdict(answer), *wanted, "{}", answer.escape_ascii());
        }
    }
}
