//! Signatures of bodies (PAY-3).
//!
//! A SECRET yields two, with two keys. The Ferrite signature covers the body, and its key is the
//! text of the secret as it stands. The Standard Webhooks signature covers id, time of the
//! attempt and body; its key is what follows `whsec_`, decoded from base64, or else the text.

use super::json;
use crate::base::limits::SECRET_BYTES_MAX;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA256_OUTPUT_LEN;
use ring::hmac::{Context, HMAC_SHA256, Key, Tag};
use std::fmt;

const STANDARD_SECRET_PREFIX: &str = "whsec_";

/// Which of the two signatures a webhook with a SECRET sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Signatures {
    /// Both.
    #[default]
    Both,
    /// `X-Ferrite-Signature` only: half the cost of signing.
    Ferrite,
    /// The headers of Standard Webhooks only.
    Standard,
}

impl Signatures {
    /// The name in commands and replies.
    pub const fn name(self) -> &'static str {
        match self {
            Signatures::Both => "both",
            Signatures::Ferrite => "ferrite",
            Signatures::Standard => "standard",
        }
    }

    /// What is called `name`, in any case.
    pub fn from_name(name: &[u8]) -> Option<Signatures> {
        [Signatures::Both, Signatures::Ferrite, Signatures::Standard]
            .into_iter()
            .find(|known| name.eq_ignore_ascii_case(known.name().as_bytes()))
    }
}

/// Why a SECRET is not acceptable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is nothing in it (or nothing after `whsec_`).
    #[error("the secret is empty")]
    Empty,
    /// It is too long.
    #[error("the secret is longer than {SECRET_BYTES_MAX} bytes")]
    TooLong,
    /// It starts with `whsec_`, but no padded base64 follows.
    #[error("a secret that starts with whsec_ must go on with padded base64")]
    NotBase64,
}

/// The keys that one SECRET yields, prepared for signing. `Debug` shows nothing of them (SEC-3).
#[derive(Clone)]
pub struct SigningKey {
    ferrite: Key,
    standard: Key,
    wanted: Signatures,
}

impl SigningKey {
    /// The keys of the secret `text`.
    pub fn new(text: &str) -> Result<SigningKey, SecretError> {
        if text.len() > SECRET_BYTES_MAX {
            return Err(SecretError::TooLong);
        }
        let decoded;
        let standard = match text.strip_prefix(STANDARD_SECRET_PREFIX) {
            Some(encoded) => {
                decoded = STANDARD.decode(encoded).map_err(|_| SecretError::NotBase64)?;
                decoded.as_slice()
            }
            None => text.as_bytes(),
        };
        if standard.is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(SigningKey {
            ferrite: Key::new(HMAC_SHA256, text.as_bytes()),
            standard: Key::new(HMAC_SHA256, standard),
            wanted: Signatures::Both,
        })
    }

    /// The same keys, for the signatures that are wanted.
    #[must_use]
    pub fn only(self, wanted: Signatures) -> SigningKey {
        SigningKey { wanted, ..self }
    }

    /// Which signatures are wanted.
    pub fn wanted(&self) -> Signatures {
        self.wanted
    }

    /// Appends the value of `X-Ferrite-Signature`: `sha256=` and 64 hex digits.
    pub fn write_ferrite(&self, body: &[u8], out: &mut Vec<u8>) {
        let tag = ring::hmac::sign(&self.ferrite, body);
        out.extend_from_slice(b"sha256=");
        write_hex(out, &tag);
    }

    /// Appends the value of `webhook-signature`: `v1,` and the base64 of the signature. The
    /// message is `id_text` (which must not contain a dot), the time of this attempt and `body`.
    pub fn write_standard(
        &self,
        id_text: &[u8],
        unix_seconds: u64,
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        debug_assert!(!id_text.contains(&b'.'), "a dot would make the signed text ambiguous");
        out.extend_from_slice(b"v1,");
        json::write_base64(out, self.standard_tag(id_text, unix_seconds, body).as_ref());
    }

    fn standard_tag(&self, id_text: &[u8], unix_seconds: u64, body: &[u8]) -> Tag {
        let mut context = Context::with_key(&self.standard);
        context.update(id_text);
        context.update(b".");
        context.update(itoa::Buffer::new().format(unix_seconds).as_bytes());
        context.update(b".");
        context.update(body);
        context.sign()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey(********)")
    }
}

/// Appends the hex digits of a tag.
fn write_hex(out: &mut Vec<u8>, tag: &Tag) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut hex = [0; 2 * SHA256_OUTPUT_LEN];
    for (place, byte) in hex.chunks_exact_mut(2).zip(tag.as_ref()) {
        place[0] = DIGITS[usize::from(byte >> 4)];
        place[1] = DIGITS[usize::from(byte & 15)];
    }
    out.extend_from_slice(&hex);
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"id":"evt_1","timestamp":"2024-01-15T10:30:00.123456Z","event":"SET","key":"user:123","database":0,"data":{"value":"Alice","old_value":"Bob","ttl":3600},"metadata":{"client_id":"conn:456","source_ip":"192.168.1.100"}}"#;

    fn ferrite(secret: &str, body: &[u8]) -> String {
        let mut out = Vec::new();
        SigningKey::new(secret).unwrap().write_ferrite(body, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn standard(secret: &str, id: &str, unix_seconds: u64, body: &[u8]) -> String {
        let mut out = Vec::new();
        let key = SigningKey::new(secret).unwrap();
        key.write_standard(id.as_bytes(), unix_seconds, body, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_ferrite_signature_has_its_vector() {
        assert_eq!(
            ferrite("mysecretkey", BODY),
            "sha256=17db73881ab23afe29bca56dd28928d60352abf5832af44a60ccbdd9c0349453"
        );
    }

    #[test]
    fn the_standard_signature_has_its_vector() {
        assert_eq!(
            standard(
                "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
                "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
                1_649_367_553,
                br#"{"email":"test@example.com","username":"test_user"}"#,
            ),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn only_whsec_is_decoded_and_only_for_the_standard_signature() {
        // `AAAA` decodes to three zero bytes.
        let zeros = standard("\0\0\0", "m", 1, b"b");
        assert_eq!(standard("whsec_AAAA", "m", 1, b"b"), zeros);
        assert_ne!(standard("AAAA", "m", 1, b"b"), zeros);
        assert_ne!(ferrite("whsec_AAAA", b"b"), ferrite("\0\0\0", b"b"));
    }

    #[test]
    fn secrets_that_can_sign_nothing_are_refused() {
        let too_long = "x".repeat(SECRET_BYTES_MAX + 1);
        for (secret, error) in [
            ("", SecretError::Empty),
            ("whsec_", SecretError::Empty),
            ("whsec_!", SecretError::NotBase64),
            ("whsec_AAA", SecretError::NotBase64),
            (&too_long, SecretError::TooLong),
        ] {
            assert_eq!(SigningKey::new(secret).err(), Some(error), "{secret}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = SigningKey::new("whsec_AAAA").unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(********)");
    }
}
