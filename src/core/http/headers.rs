//! Request header fields that users configure: checked once, kept as the bytes that are sent.
//!
//! These checks are what keeps configuration from writing anything else into a request head than
//! the field it names (SEC-2).

use crate::base::limits::{CUSTOM_HEADER_BYTES_MAX, CUSTOM_HEADERS_MAX, SECRET_BYTES_MAX};
use crate::core::json;
use std::fmt;

/// Names that the engine sets itself, or that would change how the request is framed or read.
const RESERVED_NAMES: [&str; 15] = [
    "Connection",
    "Content-Length",
    "Content-Type",
    "Expect",
    "Host",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Content-Digest",
    "Signature",
    "Signature-Input",
    "traceparent",
    "tracestate",
];
const RESERVED_PREFIXES: [&str; 4] = ["Proxy-", "X-Ferrite-", "webhook-", "ce-"];

/// Why a configured header or credential is not acceptable. Values are never repeated: they may
/// be secrets.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// There are too many headers.
    #[error("more than {CUSTOM_HEADERS_MAX} headers")]
    TooMany,
    /// They are too long together.
    #[error("the headers are longer than {CUSTOM_HEADER_BYTES_MAX} bytes together")]
    TooLong,
    /// A name is empty or holds a character that names of headers can't.
    #[error("a header's name may only contain letters, digits and !#$%&'*+-.^_`|~")]
    Name,
    /// The name is not for users to set.
    #[error("header '{0}' is set by the engine and can't be configured")]
    Reserved(String),
    /// The same name twice.
    #[error("header '{0}' is given twice")]
    Duplicate(String),
    /// The value of the header named holds a control character.
    #[error("the value of header '{0}' contains a control character")]
    Value(String),
    /// Both AUTH and a header `Authorization`.
    #[error("header 'Authorization' can't be combined with AUTH")]
    AuthorizationTwice,
    /// The bearer token is empty or holds a character that tokens can't.
    #[error("a bearer token may only contain letters, digits and -._~+/, then any number of '='")]
    BearerToken,
    /// The user of basic credentials holds a colon.
    #[error("the user of AUTH basic must not contain a colon")]
    BasicUser,
    /// Basic credentials hold a control character.
    #[error("the credentials of AUTH basic contain a control character")]
    BasicControl,
    /// The credentials are too long.
    #[error("the credentials are longer than {SECRET_BYTES_MAX} bytes")]
    CredentialsTooLong,
}

/// The value of an `Authorization` header. `Debug` shows nothing of it (SEC-3).
#[derive(Clone, PartialEq, Eq)]
pub struct Authorization {
    value: Box<[u8]>,
}

impl Authorization {
    /// `Bearer <token>`; the token must be a `b64token` of RFC 6750 section 2.1.
    pub fn bearer(token: &str) -> Result<Authorization, HeaderError> {
        check_credentials_length(token.len())?;
        let body = token.trim_end_matches('=');
        let allowed = |byte: u8| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
        };
        if body.is_empty() || !body.bytes().all(allowed) {
            return Err(HeaderError::BearerToken);
        }
        Ok(Authorization { value: format!("Bearer {token}").into_bytes().into() })
    }

    /// `Basic <base64 of user:password>` (RFC 7617, in UTF-8).
    pub fn basic(user: &str, password: &str) -> Result<Authorization, HeaderError> {
        check_credentials_length(user.len() + password.len() + 1)?;
        if user.contains(':') {
            return Err(HeaderError::BasicUser);
        }
        if user.chars().chain(password.chars()).any(char::is_control) {
            return Err(HeaderError::BasicControl);
        }
        let mut value = b"Basic ".to_vec();
        json::write_base64(&mut value, format!("{user}:{password}").as_bytes());
        Ok(Authorization { value: value.into() })
    }

    /// The value of the header.
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

impl fmt::Debug for Authorization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Authorization(********)")
    }
}

/// Checked custom headers, as the lines that are sent. `Debug` shows no value (SEC-3).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct CustomHeaders {
    lines: Vec<u8>,
    has_authorization: bool,
    has_user_agent: bool,
}

impl CustomHeaders {
    /// Checks names and values.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(
        headers: &[(N, V)],
    ) -> Result<CustomHeaders, HeaderError> {
        if headers.len() > CUSTOM_HEADERS_MAX {
            return Err(HeaderError::TooMany);
        }
        let bytes = |(name, value): &(N, V)| name.as_ref().len() + value.as_ref().len();
        if headers.iter().map(bytes).sum::<usize>() > CUSTOM_HEADER_BYTES_MAX {
            return Err(HeaderError::TooLong);
        }
        let mut checked = CustomHeaders::default();
        for (index, (name, value)) in headers.iter().enumerate() {
            let (name, value) = (name.as_ref(), value.as_ref());
            check_name(name)?;
            check_value(name, value)?;
            if headers[..index].iter().any(|(other, _)| other.as_ref().eq_ignore_ascii_case(name)) {
                return Err(HeaderError::Duplicate(name.to_owned()));
            }
            checked.has_authorization |= name.eq_ignore_ascii_case("Authorization");
            checked.has_user_agent |= name.eq_ignore_ascii_case("User-Agent");
            for part in [name, ": ", value, "\r\n"] {
                checked.lines.extend_from_slice(part.as_bytes());
            }
        }
        Ok(checked)
    }

    /// The lines, each with its CRLF.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Whether `Authorization` is among them.
    pub fn has_authorization(&self) -> bool {
        self.has_authorization
    }

    /// Whether `User-Agent` is among them, which then takes the place of the engine's.
    pub fn has_user_agent(&self) -> bool {
        self.has_user_agent
    }
}

impl fmt::Debug for CustomHeaders {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CustomHeaders({} bytes)", self.lines.len())
    }
}

fn check_credentials_length(bytes: usize) -> Result<(), HeaderError> {
    match bytes <= SECRET_BYTES_MAX {
        true => Ok(()),
        false => Err(HeaderError::CredentialsTooLong),
    }
}

/// A name must be a token of RFC 9110 section 5.6.2, and free for users to set.
fn check_name(name: &str) -> Result<(), HeaderError> {
    let is_token_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_token_byte) {
        return Err(HeaderError::Name);
    }
    let starts_with = |prefix: &str| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let reserved = RESERVED_NAMES.iter().any(|reserved| name.eq_ignore_ascii_case(reserved))
        || RESERVED_PREFIXES.into_iter().any(starts_with);
    match reserved {
        true => Err(HeaderError::Reserved(name.to_owned())),
        false => Ok(()),
    }
}

/// A value may hold printable ASCII, spaces, tabs and the bytes of UTF-8 beyond ASCII.
fn check_value(name: &str, value: &str) -> Result<(), HeaderError> {
    let allowed = |byte: u8| byte == b'\t' || (byte >= b' ' && byte != 0x7f);
    match value.bytes().all(allowed) {
        true => Ok(()),
        false => Err(HeaderError::Value(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(headers: &[(&str, &str)]) -> HeaderError {
        CustomHeaders::new(headers).unwrap_err()
    }

    #[test]
    fn lines_are_written_as_given() {
        let headers =
            CustomHeaders::new(&[("X-API-Key", "my secret\tkey"), ("x-b", ""), ("X-C", "é")])
                .unwrap();
        let expected = "X-API-Key: my secret\tkey\r\nx-b: \r\nX-C: é\r\n".as_bytes();
        assert_eq!(headers.lines(), expected);
        assert!(!headers.has_authorization() && !headers.has_user_agent());
        let headers = CustomHeaders::new(&[("AUTHORIZATION", "a"), ("user-agent", "b")]).unwrap();
        assert!(headers.has_authorization() && headers.has_user_agent());
    }

    #[test]
    fn reserved_names_are_refused_in_any_case() {
        let names = RESERVED_NAMES.into_iter().chain([
            "Proxy-Authorization",
            "proxy-connection",
            "X-Ferrite-Signature",
            "X-FERRITE-",
            "webhook-id",
            "Webhook-Signature",
        ]);
        for name in names {
            for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                assert_eq!(refused(&[(&name, "v")]), HeaderError::Reserved(name.clone()));
            }
        }
        for name in ["X-Host", "Proxy", "webhook", "X-Ferrite", "TEA", "Cookie"] {
            assert!(CustomHeaders::new(&[(name, "v")]).is_ok(), "{name}");
        }
    }

    #[test]
    fn every_byte_is_judged() {
        for character in (0..=0x100_u32).filter_map(char::from_u32) {
            let in_name =
                character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character);
            let name = format!("X{character}Y");
            assert_eq!(CustomHeaders::new(&[(&name, "v")]).is_ok(), in_name, "{character:?}");
            let in_value = character == '\t' || !character.is_ascii_control();
            let value = format!("x{character}y");
            assert_eq!(CustomHeaders::new(&[("X", &value)]).is_ok(), in_value, "{character:?}");
        }
        assert_eq!(refused(&[("", "v")]), HeaderError::Name);
        assert_eq!(refused(&[("X", "a\r\nHost: b")]), HeaderError::Value("X".to_owned()));
    }

    #[test]
    fn there_are_limits() {
        let many: Vec<(String, &str)> =
            (0..=CUSTOM_HEADERS_MAX).map(|n| (format!("X-{n}"), "v")).collect();
        assert_eq!(CustomHeaders::new(&many), Err(HeaderError::TooMany));
        assert!(CustomHeaders::new(&many[1..]).is_ok());
        let long = "v".repeat(CUSTOM_HEADER_BYTES_MAX);
        assert_eq!(refused(&[("X", &long)]), HeaderError::TooLong);
        assert!(CustomHeaders::new(&[("X", &long[1..])]).is_ok());
        assert_eq!(refused(&[("X-A", "1"), ("x-a", "2")]), HeaderError::Duplicate("x-a".into()));
    }

    #[test]
    fn credentials() {
        let value = |authorization: Result<Authorization, HeaderError>| {
            String::from_utf8(authorization.unwrap().value().to_vec()).unwrap()
        };
        assert_eq!(value(Authorization::bearer("aZ0-._~+/==")), "Bearer aZ0-._~+/==");
        for token in ["", "=", "a=b", "a b", "a\r\nb", "é", "a,b"] {
            assert_eq!(Authorization::bearer(token), Err(HeaderError::BearerToken), "{token}");
        }
        assert_eq!(
            value(Authorization::basic("Aladdin", "open sesame")),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(value(Authorization::basic("test", "123£")), "Basic dGVzdDoxMjPCow==");
        assert_eq!(value(Authorization::basic("", ":")), "Basic Ojo=");
        assert_eq!(Authorization::basic("a:b", "c"), Err(HeaderError::BasicUser));
        for password in ["a\r\n", "\0", "\u{7f}"] {
            assert_eq!(Authorization::basic("a", password), Err(HeaderError::BasicControl));
        }
        let long = "a".repeat(SECRET_BYTES_MAX + 1);
        assert_eq!(Authorization::bearer(&long), Err(HeaderError::CredentialsTooLong));
        assert_eq!(Authorization::basic("", &long[1..]), Err(HeaderError::CredentialsTooLong));
    }

    #[test]
    fn debug_and_errors_show_no_secret() {
        let authorization = Authorization::bearer("hunter2").unwrap();
        let headers = CustomHeaders::new(&[("X-Key", "hunter2")]).unwrap();
        let error = refused(&[("X-Key", "hunter2\n")]);
        for text in [format!("{authorization:?}{headers:?}{error:?}"), error.to_string()] {
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
