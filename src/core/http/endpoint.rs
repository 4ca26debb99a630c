//! Endpoint URLs.
//!
//! One parser (WHATWG, the `url` crate) feeds everything: what is checked against a policy, what
//! is resolved and connected to, and what the request says. Two parsers that read one URL
//! differently are how such checks are evaded, so spellings on which parsers disagree (white
//! space, backslashes, user names, missing slashes) are refused before it sees them.

use crate::base::limits::URL_BYTES_MAX;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use url::{Host, Url};

const HOST_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// Why a URL can't be an endpoint. The URL is not repeated: it may hold a secret.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It is too long.
    #[error("the URL is longer than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// It holds white space, a control character or a backslash.
    #[error("the URL contains white space, a control character or a backslash")]
    ForbiddenCharacter,
    /// It does not start with `http://` or `https://`.
    #[error("the URL does not start with http:// or https://")]
    Scheme,
    /// It holds a user name or password.
    #[error("the URL contains a user name or '@'; use AUTH basic instead")]
    UserInfo,
    /// It holds a `#`.
    #[error("the URL contains a fragment ('#'), which is never sent")]
    Fragment,
    /// Its port is 0, or not a port.
    #[error("the URL's port is not a number from 1 to 65535")]
    Port,
    /// Its host is missing, or neither an address nor a name that DNS could hold.
    #[error("the URL's host is neither an IP address nor a valid name")]
    Host,
    /// It is not a URL for another reason.
    #[error("not a valid URL")]
    Invalid,
}

/// What makes two endpoints share connections.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct EndpointKey {
    /// Whether TLS is spoken.
    pub secure: bool,
    /// Name or address, as [`Endpoint::host`] gives it.
    pub host: Arc<str>,
    /// The port.
    pub port: u16,
}

/// Where a webhook sends to, in canonical form.
///
/// `Debug` leaves out path and query, where many services put a secret (SEC-3).
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    key: EndpointKey,
    address: Option<IpAddr>,
    authority: Box<str>,
    path_and_query: Box<str>,
}

impl Endpoint {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Endpoint, EndpointError> {
        check_spelling(text)?;
        let url = Url::parse(text).map_err(explain)?;
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(EndpointError::Scheme),
        };
        let port = url.port_or_known_default().filter(|port| *port != 0);
        let port = port.ok_or(EndpointError::Port)?;
        let (host, address) = match url.host().ok_or(EndpointError::Host)? {
            Host::Domain(name) => (canonical_name(name)?.to_owned(), None),
            Host::Ipv4(address) => (address.to_string(), Some(IpAddr::V4(address))),
            Host::Ipv6(address) => (address.to_string(), Some(IpAddr::V6(address))),
        };
        let bracketed = match address {
            Some(IpAddr::V6(_)) => format!("[{host}]"),
            _ => host.clone(),
        };
        // `Url` has dropped a port that is the scheme's own.
        let authority = match url.port() {
            Some(port) => format!("{bracketed}:{port}"),
            None => bracketed,
        };
        let path_and_query = match url.query() {
            Some(query) => format!("{}?{query}", url.path()),
            None => url.path().to_owned(),
        };
        let printable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable(&authority) || !printable(&path_and_query) {
            return Err(EndpointError::Invalid);
        }
        Ok(Endpoint {
            key: EndpointKey { secure, host: host.into(), port },
            address,
            authority: authority.into(),
            path_and_query: path_and_query.into(),
        })
    }

    /// Whether TLS is spoken.
    pub fn secure(&self) -> bool {
        self.key.secure
    }

    /// The name to resolve and to offer in the TLS handshake: ASCII, lower case, no dot at the
    /// end. Or the address, an IPv6 one without brackets.
    pub fn host(&self) -> &str {
        &self.key.host
    }

    /// The address, when the URL holds one instead of a name.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// The port; never 0.
    pub fn port(&self) -> u16 {
        self.key.port
    }

    /// The value of the `Host` header: without the port when it is the scheme's own.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The request target: starts with `/`, printable ASCII only.
    pub fn path_and_query(&self) -> &str {
        &self.path_and_query
    }

    /// What makes two endpoints share connections.
    pub fn key(&self) -> &EndpointKey {
        &self.key
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.key.secure { "https" } else { "http" };
        write!(formatter, "Endpoint({scheme}://{}/…)", self.authority)
    }
}

/// Refuses what the parser would silently repair or accept.
fn check_spelling(text: &str) -> Result<(), EndpointError> {
    if text.len() > URL_BYTES_MAX {
        return Err(EndpointError::TooLong);
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(EndpointError::ForbiddenCharacter);
    }
    let (scheme, rest) = text.split_once("://").ok_or(EndpointError::Scheme)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(EndpointError::Scheme);
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty() {
        return Err(EndpointError::Host);
    }
    if authority.contains('@') {
        return Err(EndpointError::UserInfo);
    }
    // "host:" means the default port to the parser; nobody writes that on purpose.
    if authority.ends_with(':') {
        return Err(EndpointError::Port);
    }
    if rest.contains('#') {
        return Err(EndpointError::Fragment);
    }
    Ok(())
}

fn explain(error: url::ParseError) -> EndpointError {
    use url::ParseError;
    match error {
        ParseError::InvalidPort => EndpointError::Port,
        ParseError::EmptyHost
        | ParseError::IdnaError
        | ParseError::InvalidIpv4Address
        | ParseError::InvalidIpv6Address
        | ParseError::InvalidDomainCharacter => EndpointError::Host,
        _ => EndpointError::Invalid,
    }
}

/// The name without the dot that may end it: with the dot it would be another name to the TLS
/// handshake and to lists of allowed hosts.
fn canonical_name(name: &str) -> Result<&str, EndpointError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label_is_valid = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    match name.len() <= HOST_BYTES_MAX && name.split('.').all(label_is_valid) {
        true => Ok(name),
        false => Err(EndpointError::Host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_become_canonical() {
        // URL, secure, host, port, authority, target
        let table = [
            ("http://example.com", false, "example.com", 80, "example.com", "/"),
            ("HTTPS://EXAMPLE.com:443/a/../b", true, "example.com", 443, "example.com", "/b"),
            ("https://example.com:80/", true, "example.com", 80, "example.com:80", "/"),
            (
                "http://example.com.:8080?a=b",
                false,
                "example.com",
                8080,
                "example.com:8080",
                "/?a=b",
            ),
            (
                "http://bücher.example/ü?ü",
                false,
                "xn--bcher-kva.example",
                80,
                "xn--bcher-kva.example",
                "/%C3%BC?%C3%BC",
            ),
            ("http://[::1]:9000/h", false, "::1", 9000, "[::1]:9000", "/h"),
            ("http://[2001:DB8:0::1]/", false, "2001:db8::1", 80, "[2001:db8::1]", "/"),
            ("http://0x7f.1/", false, "127.0.0.1", 80, "127.0.0.1", "/"),
            ("http://127.0.0.1.:81/", false, "127.0.0.1", 81, "127.0.0.1:81", "/"),
            ("http://a_b.example/?", false, "a_b.example", 80, "a_b.example", "/?"),
            ("http://localhost/%0d%0aX:%20y", false, "localhost", 80, "localhost", "/%0d%0aX:%20y"),
            ("http://h/\"<>'?\"<>'", false, "h", 80, "h", "/%22%3C%3E'?%22%3C%3E%27"),
        ];
        for (url, secure, host, port, authority, target) in table {
            let endpoint = Endpoint::parse(url).expect(url);
            assert_eq!((endpoint.secure(), endpoint.port()), (secure, port), "{url}");
            assert_eq!((endpoint.host(), endpoint.authority()), (host, authority), "{url}");
            assert_eq!(endpoint.path_and_query(), target, "{url}");
        }
    }

    #[test]
    fn urls_that_are_refused() {
        let too_long = format!("http://example.com/{}", "a".repeat(URL_BYTES_MAX));
        let long_label = format!("http://{}.example/", "a".repeat(64));
        let long_name = format!("http://{}example/", "abcdefg.".repeat(32));
        let table = [
            (too_long.as_str(), EndpointError::TooLong),
            ("", EndpointError::Scheme),
            ("example.com/hook", EndpointError::Scheme),
            ("ftp://example.com/", EndpointError::Scheme),
            ("http:example.com", EndpointError::Scheme),
            ("http:/example.com", EndpointError::Scheme),
            ("http:///example.com", EndpointError::Host),
            (" http://example.com", EndpointError::ForbiddenCharacter),
            ("http://example.com/a\r\nb", EndpointError::ForbiddenCharacter),
            ("http://example.com/a\tb", EndpointError::ForbiddenCharacter),
            ("http://example.com/\0", EndpointError::ForbiddenCharacter),
            ("http://example.com/\u{85}", EndpointError::ForbiddenCharacter),
            ("http:\\\\example.com", EndpointError::ForbiddenCharacter),
            ("http://example.com\\@evil.example/", EndpointError::ForbiddenCharacter),
            ("http://user:pass@example.com/", EndpointError::UserInfo),
            ("http://@example.com/", EndpointError::UserInfo),
            ("http://example.com/#", EndpointError::Fragment),
            ("http://example.com#a", EndpointError::Fragment),
            ("http://example.com:0/", EndpointError::Port),
            ("http://example.com:65536/", EndpointError::Port),
            ("http://example.com:x/", EndpointError::Port),
            ("http://example.com:/", EndpointError::Port),
            ("http://?", EndpointError::Host),
            ("http://./", EndpointError::Host),
            ("http://example.com../", EndpointError::Host),
            ("http://a..b/", EndpointError::Host),
            ("http://a!b.example/", EndpointError::Host),
            ("http://a%00b.example/", EndpointError::Host),
            ("http://1.2.3.256/", EndpointError::Host),
            ("http://[::1/", EndpointError::Host),
            ("http://[::1%25eth0]/", EndpointError::Host),
            (&long_label, EndpointError::Host),
            (&long_name, EndpointError::Host),
        ];
        for (url, error) in table {
            assert_eq!(Endpoint::parse(url), Err(error), "{url}");
        }
    }

    #[test]
    fn an_at_sign_in_path_or_query_is_no_user() {
        let endpoint = Endpoint::parse("http://example.com/@a?b=@c").unwrap();
        assert_eq!(endpoint.path_and_query(), "/@a?b=@c");
    }

    #[test]
    fn one_place_has_one_key() {
        let key = |url: &str| Endpoint::parse(url).unwrap().key().clone();
        assert_eq!(key("http://EXAMPLE.com./a"), key("http://example.com:80/b?c"));
        assert_ne!(key("http://example.com:443/"), key("https://example.com/"));
        assert_ne!(key("http://example.com:81/"), key("http://example.com/"));
    }

    #[test]
    fn debug_leaves_out_path_and_query() {
        let endpoint = Endpoint::parse("https://example.com/services/T0/secret?token=t").unwrap();
        assert_eq!(format!("{endpoint:?}"), "Endpoint(https://example.com/…)");
    }

    proptest! {
        #[test]
        fn nothing_unprintable_comes_through(rest in "(?s:.{0,60})") {
            if let Ok(endpoint) = Endpoint::parse(&format!("http://example.com/{rest}")) {
                prop_assert!(endpoint.path_and_query().bytes().all(|b| b.is_ascii_graphic()));
                prop_assert!(endpoint.path_and_query().starts_with('/'));
            }
            if let Ok(endpoint) = Endpoint::parse(&format!("http://{rest}")) {
                prop_assert!(endpoint.authority().bytes().all(|b| b.is_ascii_graphic()));
            }
        }
    }
}
