//! Checks the signatures of requests, written from their descriptions and not with the sender's
//! code: an error of the sender must not be repeated here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac::{HMAC_SHA256, Key};

/// A Standard Webhooks timestamp may be this far off.
const TOLERANCE_SECONDS: u64 = 300;

/// The signature headers of a request.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SignatureHeaders<'a> {
    /// `X-Ferrite-Signature`.
    pub(super) ferrite: Option<&'a [u8]>,
    /// `webhook-id`.
    pub(super) id: Option<&'a [u8]>,
    /// `webhook-timestamp`.
    pub(super) timestamp: Option<&'a [u8]>,
    /// `webhook-signature`.
    pub(super) standard: Option<&'a [u8]>,
}

/// The keys that a secret stands for.
#[derive(Debug)]
pub(super) struct SignatureCheck {
    ferrite: Key,
    standard: Key,
}

/// A secret that begins with `whsec_` and does not go on with base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a secret that starts with whsec_ must go on with padded base64")]
pub(super) struct SecretError;

impl SignatureCheck {
    pub(super) fn new(secret: &str) -> Result<Self, SecretError> {
        let standard = match secret.strip_prefix("whsec_") {
            Some(encoded) => STANDARD.decode(encoded).map_err(|_| SecretError)?,
            None => secret.as_bytes().to_vec(),
        };
        Ok(SignatureCheck {
            ferrite: Key::new(HMAC_SHA256, secret.as_bytes()),
            standard: Key::new(HMAC_SHA256, &standard),
        })
    }

    /// Whether the request is signed, and every kind of signature it has is right.
    pub(super) fn is_right(
        &self,
        headers: &SignatureHeaders<'_>,
        body: &[u8],
        unix_seconds: u64,
    ) -> bool {
        let ferrite = headers.ferrite.map(|signature| self.is_ferrite_right(signature, body));
        let any_standard = headers.id.or(headers.timestamp).or(headers.standard).is_some();
        let standard =
            any_standard.then(|| self.is_standard_right(headers, body, unix_seconds) == Some(true));
        (ferrite.is_some() || standard.is_some())
            && ferrite.unwrap_or(true)
            && standard.unwrap_or(true)
    }

    /// `sha256=` and the lower-case hex digits of the body's HMAC.
    fn is_ferrite_right(&self, signature: &[u8], body: &[u8]) -> bool {
        let tag = signature.strip_prefix(b"sha256=").and_then(unhex);
        tag.is_some_and(|tag| ring::hmac::verify(&self.ferrite, body, &tag).is_ok())
    }

    /// One of the `v1,` signatures is the HMAC of id, timestamp and body, and the time is near.
    fn is_standard_right(
        &self,
        headers: &SignatureHeaders<'_>,
        body: &[u8],
        unix_seconds: u64,
    ) -> Option<bool> {
        let (id, timestamp) = (headers.id?, headers.timestamp?);
        let signed_at: u64 = std::str::from_utf8(timestamp).ok()?.parse().ok()?;
        let message = [id, b".", timestamp, b".", body].concat();
        let any = headers.standard?.split(|byte| *byte == b' ').any(|item| {
            let tag = item.strip_prefix(b"v1,").and_then(|text| STANDARD.decode(text).ok());
            tag.is_some_and(|tag| ring::hmac::verify(&self.standard, &message, &tag).is_ok())
        });
        Some(any && !id.contains(&b'.') && signed_at.abs_diff(unix_seconds) <= TOLERANCE_SECONDS)
    }
}

/// The bytes that lower-case hex digits stand for.
fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the two descriptions.
    const BODY: &[u8] = br#"{"id":"evt_1","timestamp":"2024-01-15T10:30:00.123456Z","event":"SET","key":"user:123","database":0,"data":{"value":"Alice","old_value":"Bob","ttl":3600},"metadata":{"client_id":"conn:456","source_ip":"192.168.1.100"}}"#;
    const FERRITE: &[u8] =
        b"sha256=17db73881ab23afe29bca56dd28928d60352abf5832af44a60ccbdd9c0349453";
    const STANDARD_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const STANDARD_BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;

    fn standard() -> SignatureHeaders<'static> {
        SignatureHeaders {
            ferrite: None,
            id: Some(b"msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
            timestamp: Some(b"1649367553"),
            standard: Some(b"v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
        }
    }

    #[test]
    fn the_ferrite_signature() {
        let check = SignatureCheck::new("mysecretkey").unwrap();
        let right = SignatureHeaders { ferrite: Some(FERRITE), ..SignatureHeaders::default() };
        assert!(check.is_right(&right, BODY, 0));
        assert!(!check.is_right(&right, b"{}", 0));
        let upper = FERRITE.to_ascii_uppercase();
        let upper = SignatureHeaders { ferrite: Some(&upper), ..right };
        assert!(!check.is_right(&upper, BODY, 0));
        assert!(!check.is_right(&SignatureHeaders::default(), BODY, 0), "not signed at all");
        assert!(!SignatureCheck::new("other").unwrap().is_right(&right, BODY, 0));
    }

    #[test]
    fn the_standard_webhooks_signature() {
        let check = SignatureCheck::new(STANDARD_SECRET).unwrap();
        let right = |headers, now| check.is_right(&headers, STANDARD_BODY, now);
        assert!(right(standard(), 1_649_367_553));
        assert!(right(standard(), 1_649_367_553 + TOLERANCE_SECONDS));
        assert!(!right(standard(), 1_649_367_554 + TOLERANCE_SECONDS), "too old");
        let rotated = [b"v1,AAAA v1a,x ".as_slice(), standard().standard.unwrap()].concat();
        assert!(right(SignatureHeaders { standard: Some(&rotated), ..standard() }, 1_649_367_553));
        for broken in [
            SignatureHeaders { id: Some(b"msg_other"), ..standard() },
            SignatureHeaders { id: None, ..standard() },
            SignatureHeaders { timestamp: Some(b"1649367554"), ..standard() },
            SignatureHeaders { standard: None, ..standard() },
            SignatureHeaders { ferrite: Some(FERRITE), ..standard() },
        ] {
            assert!(!right(broken, 1_649_367_553), "{broken:?}");
        }
    }

    #[test]
    fn a_secret_that_is_not_base64_is_refused() {
        assert!(SignatureCheck::new("whsec_???").is_err());
    }
}
