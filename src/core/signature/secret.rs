//! What a SECRET's text means.

use crate::base::limits::SECRET_BYTES_MAX;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::sync::Arc;

const SHARED_PREFIX: &str = "whsec_";
const PRIVATE_PREFIX: &str = "whsk_";
const PUBLIC_PREFIX: &str = "whpk_";
const SEED_BYTES: usize = 32;

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
    /// It starts with `whsk_`, but no Ed25519 key follows.
    #[error(
        "a secret that starts with whsk_ must go on with padded base64 of an Ed25519 key: \
         its 32-byte seed, or the seed and the 32-byte public key that belongs to it"
    )]
    NotPrivateKey,
    /// It starts with `whpk_`.
    #[error("a public key (whpk_) cannot sign; the secret is the private key (whsk_)")]
    PublicKey,
}

/// The keys that one secret yields.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "one per webhook, and the large one is the usual")]
pub(super) enum Keys {
    /// A secret that the receiver has too: HMAC-SHA256.
    Shared {
        /// Of the Ferrite signature: the text as it stands.
        ferrite: Key,
        /// Of the others: what follows `whsec_`, decoded; or else the text.
        standard: Key,
    },
    /// A private key, whose public key the receiver has: Ed25519.
    Pair(Arc<Ed25519KeyPair>),
}

/// A secret, ready to sign.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) keys: Keys,
    /// Names the key and tells nothing of it: the `keyid` of RFC 9421.
    pub(super) key_id: [u8; 16],
}

impl Secret {
    pub(super) fn parse(text: &str) -> Result<Secret, SecretError> {
        if text.len() > SECRET_BYTES_MAX {
            return Err(SecretError::TooLong);
        }
        if text.starts_with(PUBLIC_PREFIX) {
            return Err(SecretError::PublicKey);
        }
        if let Some(encoded) = text.strip_prefix(PRIVATE_PREFIX) {
            let pair = parse_pair(encoded).ok_or(SecretError::NotPrivateKey)?;
            let key_id = key_id_of(digest(&SHA256, pair.public_key().as_ref()).as_ref());
            return Ok(Secret { keys: Keys::Pair(Arc::new(pair)), key_id });
        }
        let decoded;
        let standard = match text.strip_prefix(SHARED_PREFIX) {
            Some(encoded) => {
                decoded = STANDARD.decode(encoded).map_err(|_| SecretError::NotBase64)?;
                decoded.as_slice()
            }
            None => text.as_bytes(),
        };
        if standard.is_empty() {
            return Err(SecretError::Empty);
        }
        let (ferrite, standard) =
            (Key::new(HMAC_SHA256, text.as_bytes()), Key::new(HMAC_SHA256, standard));
        let key_id = key_id_of(ring::hmac::sign(&standard, b"key id").as_ref());
        Ok(Secret { keys: Keys::Shared { ferrite, standard }, key_id })
    }

    /// The public key, as receivers are given it.
    pub(super) fn public_key_text(&self) -> Option<String> {
        match &self.keys {
            Keys::Shared { .. } => None,
            Keys::Pair(pair) => {
                Some(format!("{PUBLIC_PREFIX}{}", STANDARD.encode(pair.public_key().as_ref())))
            }
        }
    }
}

fn parse_pair(encoded: &str) -> Option<Ed25519KeyPair> {
    let bytes = STANDARD.decode(encoded).ok()?;
    let (seed, public) = bytes.split_at_checked(SEED_BYTES)?;
    match public {
        [] => Ed25519KeyPair::from_seed_unchecked(seed).ok(),
        public => Ed25519KeyPair::from_seed_and_public_key(seed, public).ok(),
    }
}

fn key_id_of(hash: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    for (place, byte) in id.chunks_exact_mut(2).zip(hash) {
        place.copy_from_slice(&super::hex_of(*byte));
    }
    id
}
