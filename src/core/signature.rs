//! Signatures of requests (PAY-3).
//!
//! A SECRET yields up to three, see [`Signatures`]. What is its key:
//!
//! | SECRET | `X-Ferrite-Signature` | Standard Webhooks | RFC 9421 |
//! |---|---|---|---|
//! | text | HMAC with the text | `v1`: HMAC with the text | `hmac-sha256` with the text |
//! | `whsec_` and base64 | HMAC with the text, `whsec_` included | `v1`: HMAC with the decoded bytes | `hmac-sha256` with the decoded bytes |
//! | `whsk_` and base64 | none: a receiver has only the public key | `v1a`: Ed25519 | `ed25519` |
//!
//! **Rotation.** While the grace of an old secret lasts, `webhook-signature` lists a signature of
//! each secret, the newest first, and so does `Signature`; a receiver takes whichever it can
//! verify. `X-Ferrite-Signature` has room for one value, and receivers compare it with one secret.
//! It is of the *oldest* secret in force: a receiver that has not changed yet goes on verifying
//! until the grace is over, and the header changes at one known moment. A receiver that holds
//! both secrets meanwhile notices nothing.

mod kinds;
mod secret;

pub use kinds::Signatures;
pub use secret::SecretError;

use super::http::message_signature::{self, Covered};
use super::json;
use ring::digest::SHA256_OUTPUT_LEN;
use ring::hmac::{Context, Key, Tag};
use secret::{Keys, Secret};
use std::fmt;

/// An old secret that still signs.
#[derive(Clone)]
struct Retired {
    secret: Secret,
    /// It signs before this second since 1970.
    until_unix_seconds: u64,
}

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The id of the event; must not contain a dot.
    pub id_text: &'a [u8],
    /// The time of this attempt.
    pub unix_seconds: u64,
    /// The body as it is sent.
    pub body: &'a [u8],
    /// What RFC 9421 covers of the head.
    pub covered: Covered<'a>,
}

/// The keys of a webhook, prepared for signing. `Debug` shows nothing of them (SEC-3).
#[derive(Clone)]
pub struct SigningKey {
    secret: Secret,
    wanted: Signatures,
    /// The newest first.
    retired: Vec<Retired>,
}

impl SigningKey {
    /// The keys of the secret `text`.
    pub fn new(text: &str) -> Result<SigningKey, SecretError> {
        let secret = Secret::parse(text)?;
        Ok(SigningKey { secret, wanted: Signatures::BOTH, retired: Vec::new() })
    }

    /// The same keys, for the signatures that are wanted.
    #[must_use]
    pub fn only(self, wanted: Signatures) -> SigningKey {
        SigningKey { wanted, ..self }
    }

    /// Signs with an older secret too, before the second `until_unix_seconds`. Secrets are added
    /// from the newest to the oldest.
    pub fn also(mut self, text: &str, until_unix_seconds: u64) -> Result<SigningKey, SecretError> {
        self.retired.push(Retired { secret: Secret::parse(text)?, until_unix_seconds });
        Ok(self)
    }

    /// Whether any of the wanted signatures can be made: a private key makes no Ferrite signature.
    pub fn can_sign(&self) -> bool {
        matches!(self.secret.keys, Keys::Shared { .. }) || self.wanted != Signatures::FERRITE
    }

    /// The public key (`whpk_...`) that receivers verify with, when the secret is a private key.
    pub fn public_key_text(&self) -> Option<String> {
        self.secret.public_key_text()
    }

    /// Names the key in signatures of RFC 9421 (`keyid`): 16 hex digits that tell nothing of it.
    pub fn key_id(&self) -> String {
        String::from_utf8_lossy(&self.secret.key_id).into_owned()
    }

    /// Appends the header lines of all wanted signatures, each with CRLF before it.
    pub fn write_lines(&self, out: &mut Vec<u8>, message: &Message<'_>) {
        let has_one_secret = self.retired.is_empty() && !self.wanted.has(Signatures::RFC9421);
        let Keys::Shared { ferrite, standard } = &self.secret.keys else {
            return self.write_rare_lines(out, message);
        };
        if !has_one_secret {
            return self.write_rare_lines(out, message);
        }
        if self.wanted.has(Signatures::FERRITE) {
            out.extend_from_slice(FERRITE_LINE);
            write_ferrite(ferrite, message.body, out);
        }
        if self.wanted.has(Signatures::STANDARD) {
            write_standard_beginning(out, message);
            write_v1(standard, message, out);
        }
    }

    /// As [`SigningKey::write_lines`], for private keys, while secrets rotate, and for RFC 9421.
    #[cold]
    fn write_rare_lines(&self, out: &mut Vec<u8>, message: &Message<'_>) {
        let oldest =
            self.in_force(message.unix_seconds).fold(None, |oldest, secret| match &secret.keys {
                Keys::Shared { ferrite, .. } => Some(ferrite),
                Keys::Pair(_) => oldest,
            });
        if self.wanted.has(Signatures::FERRITE)
            && let Some(ferrite) = oldest
        {
            out.extend_from_slice(FERRITE_LINE);
            write_ferrite(ferrite, message.body, out);
        }
        if self.wanted.has(Signatures::STANDARD) {
            write_standard_beginning(out, message);
            for (index, secret) in self.in_force(message.unix_seconds).enumerate() {
                if index > 0 {
                    out.push(b' ');
                }
                match &secret.keys {
                    Keys::Shared { standard, .. } => write_v1(standard, message, out),
                    Keys::Pair(pair) => {
                        let mut text = Vec::with_capacity(message.body.len() + 64);
                        standard_parts(message, |part| text.extend_from_slice(part));
                        out.extend_from_slice(b"v1a,");
                        json::write_base64(out, pair.sign(&text).as_ref());
                    }
                }
            }
        }
        if self.wanted.has(Signatures::RFC9421) {
            let secrets = self.in_force(message.unix_seconds);
            message_signature::write_lines(out, message, || {
                secrets.clone().map(|secret| secret as &dyn message_signature::Signer)
            });
        }
    }

    /// The secrets that sign at that time, the newest first.
    fn in_force(&self, unix_seconds: u64) -> impl Iterator<Item = &Secret> + Clone {
        let retired = self.retired.iter();
        let in_grace = retired.filter(move |retired| unix_seconds < retired.until_unix_seconds);
        std::iter::once(&self.secret).chain(in_grace.map(|retired| &retired.secret))
    }

    /// Appends the value of `X-Ferrite-Signature` with the newest secret: `sha256=` and 64 hex
    /// digits. Nothing, if the secret is a private key.
    pub fn write_ferrite(&self, body: &[u8], out: &mut Vec<u8>) {
        if let Keys::Shared { ferrite, .. } = &self.secret.keys {
            write_ferrite(ferrite, body, out);
        }
    }

    /// Appends the value of `webhook-signature` with the newest secret, if it is a shared one:
    /// `v1,` and the base64 of the signature. The message is `id_text` (which must not contain a
    /// dot), the time of this attempt and `body`.
    pub fn write_standard(
        &self,
        id_text: &[u8],
        unix_seconds: u64,
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        if let Keys::Shared { standard, .. } = &self.secret.keys {
            let covered = Covered::default();
            write_v1(standard, &Message { id_text, unix_seconds, body, covered }, out);
        }
    }
}

impl message_signature::Signer for Secret {
    fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    fn algorithm(&self) -> &'static str {
        match self.keys {
            Keys::Shared { .. } => "hmac-sha256",
            Keys::Pair(_) => "ed25519",
        }
    }

    fn write_base64(&self, text: &[u8], out: &mut Vec<u8>) {
        match &self.keys {
            Keys::Shared { standard, .. } => {
                json::write_base64(out, ring::hmac::sign(standard, text).as_ref());
            }
            Keys::Pair(pair) => json::write_base64(out, pair.sign(text).as_ref()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SigningKey(********)")
    }
}

const FERRITE_LINE: &[u8] = b"\r\nX-Ferrite-Signature: ";

fn write_ferrite(key: &Key, body: &[u8], out: &mut Vec<u8>) {
    let tag = ring::hmac::sign(key, body);
    out.extend_from_slice(b"sha256=");
    write_hex(out, &tag);
}

fn write_standard_beginning(out: &mut Vec<u8>, message: &Message<'_>) {
    out.extend_from_slice(b"\r\nwebhook-id: ");
    out.extend_from_slice(message.id_text);
    out.extend_from_slice(b"\r\nwebhook-timestamp: ");
    json::write_u64(out, message.unix_seconds);
    out.extend_from_slice(b"\r\nwebhook-signature: ");
}

fn write_v1(key: &Key, message: &Message<'_>, out: &mut Vec<u8>) {
    let mut context = Context::with_key(key);
    standard_parts(message, |part| context.update(part));
    out.extend_from_slice(b"v1,");
    json::write_base64(out, context.sign().as_ref());
}

/// What Standard Webhooks signs, part by part.
fn standard_parts(message: &Message<'_>, mut add: impl FnMut(&[u8])) {
    debug_assert!(!message.id_text.contains(&b'.'), "a dot would make the signed text ambiguous");
    add(message.id_text);
    add(b".");
    add(itoa::Buffer::new().format(message.unix_seconds).as_bytes());
    add(b".");
    add(message.body);
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

fn hex_of(byte: u8) -> [u8; 2] {
    [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]
}

/// Appends the hex digits of a tag.
fn write_hex(out: &mut Vec<u8>, tag: &Tag) {
    let mut hex = [0; 2 * SHA256_OUTPUT_LEN];
    for (place, byte) in hex.chunks_exact_mut(2).zip(tag.as_ref()) {
        place.copy_from_slice(&hex_of(*byte));
    }
    out.extend_from_slice(&hex);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::SECRET_BYTES_MAX;
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use ring::signature::{ED25519, UnparsedPublicKey};

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
            ("whsk_", SecretError::NotPrivateKey),
            ("whsk_AAAA", SecretError::NotPrivateKey),
            ("whpk_AAAA", SecretError::PublicKey),
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

    /// RFC 8032, section 7.1, TEST 2.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";

    fn bytes(hex: &str) -> Vec<u8> {
        let digits = (0..hex.len()).step_by(2);
        digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    fn private_key() -> String {
        format!("whsk_{}", STANDARD.encode([bytes(SEED), bytes(PUBLIC)].concat()))
    }

    fn message(unix_seconds: u64) -> Message<'static> {
        Message { id_text: b"m", unix_seconds, body: b"b", covered: Covered::default() }
    }

    fn lines(key: &SigningKey, unix_seconds: u64) -> Vec<String> {
        let mut out = Vec::new();
        key.write_lines(&mut out, &message(unix_seconds));
        let text = String::from_utf8(out).unwrap();
        text.split("\r\n").skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn a_private_key_makes_v1a_and_no_ferrite_signature() {
        let key = SigningKey::new(&private_key()).unwrap();
        let lines = lines(&key, 7);
        assert_eq!(lines[..2], ["webhook-id: m", "webhook-timestamp: 7"]);
        assert_eq!(lines.len(), 3);
        let signature = lines[2].strip_prefix("webhook-signature: v1a,").unwrap();
        let public = UnparsedPublicKey::new(&ED25519, bytes(PUBLIC));
        public.verify(b"m.7.b", &STANDARD.decode(signature).unwrap()).unwrap();
        let public_text = format!("whpk_{}", STANDARD.encode(bytes(PUBLIC)));
        assert_eq!(key.public_key_text(), Some(public_text));
        let seed_alone = format!("whsk_{}", STANDARD.encode(bytes(SEED)));
        assert_eq!(self::lines(&SigningKey::new(&seed_alone).unwrap(), 7), lines);
        assert!(key.can_sign() && !key.only(Signatures::FERRITE).can_sign());
    }

    #[test]
    fn a_private_key_and_another_public_key_are_refused() {
        let text = format!("whsk_{}", STANDARD.encode([bytes(SEED), bytes(SEED)].concat()));
        assert_eq!(SigningKey::new(&text).err(), Some(SecretError::NotPrivateKey));
    }

    #[test]
    fn old_secrets_sign_until_their_grace_is_over() {
        let key = SigningKey::new("new").unwrap();
        let key = key.also("old", 20).unwrap().also("oldest", 10).unwrap();
        let expected = |at: u64, ferrite_with: &str, standard_with: &[&str]| {
            let standard: Vec<String> =
                standard_with.iter().map(|secret| standard(secret, "m", at, b"b")).collect();
            vec![
                format!("X-Ferrite-Signature: {}", ferrite(ferrite_with, b"b")),
                "webhook-id: m".to_owned(),
                format!("webhook-timestamp: {at}"),
                format!("webhook-signature: {}", standard.join(" ")),
            ]
        };
        assert_eq!(lines(&key, 9), expected(9, "oldest", &["new", "old", "oldest"]));
        assert_eq!(lines(&key, 10), expected(10, "old", &["new", "old"]));
        assert_eq!(lines(&key, 20), expected(20, "new", &["new"]));
    }

    #[test]
    fn a_shared_secret_can_be_followed_by_a_private_key() {
        let key = SigningKey::new(&private_key()).unwrap().also("old", 20).unwrap();
        let during = lines(&key, 19);
        assert_eq!(during[0], format!("X-Ferrite-Signature: {}", ferrite("old", b"b")));
        let (first, second) = during[3].rsplit_once(' ').unwrap();
        assert!(first.starts_with("webhook-signature: v1a,"));
        assert_eq!(second, standard("old", "m", 19, b"b"));
        assert_eq!(lines(&key, 20).len(), 3);
    }
}
