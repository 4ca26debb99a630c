//! The key that rows are encrypted with.

use super::error::DefinitionsError;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const KEY_BYTES: usize = 32;
/// No key is written in more characters, blanks included.
const FILE_BYTES_MAX: u64 = 1024;

/// A key. `Debug` shows nothing of it (SEC-3).
pub struct RowKey(LessSafeKey);

impl fmt::Debug for RowKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("RowKey(********)")
    }
}

impl RowKey {
    /// Reads a key file: 32 bytes, as 64 hexadecimal digits or base64.
    ///
    /// # Errors
    /// [`DefinitionsError::KeyFile`], also when others than its owner may read it.
    pub fn read(path: &Path) -> Result<RowKey, DefinitionsError> {
        let wrong = |what: String| DefinitionsError::KeyFile { file: path.to_owned(), what };
        let file = std::fs::File::open(path).map_err(|error| wrong(error.to_string()))?;
        let metadata = file.metadata().map_err(|error| wrong(error.to_string()))?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(wrong(format!(
                "others may read it or change it (mode {mode:04o}): chmod 600 it, and consider \
                 whether it is still a secret"
            )));
        }
        let mut text = String::new();
        file.take(FILE_BYTES_MAX)
            .read_to_string(&mut text)
            .map_err(|error| wrong(error.to_string()))?;
        RowKey::parse(text.trim()).ok_or_else(|| {
            wrong(
                "it must hold 32 bytes as 64 hexadecimal digits or as base64; \
                 `openssl rand -hex 32` makes some"
                    .to_owned(),
            )
        })
    }

    fn parse(text: &str) -> Option<RowKey> {
        let bytes = match text.len() {
            64 => from_hex(text)?,
            _ => {
                let config = GeneralPurposeConfig::new()
                    .with_decode_padding_mode(DecodePaddingMode::Indifferent);
                GeneralPurpose::new(&STANDARD, config).decode(text).ok()?
            }
        };
        if bytes.len() != KEY_BYTES {
            return None;
        }
        Some(RowKey(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &bytes).ok()?)))
    }

    /// Encrypts `plain`, which can then be opened under the same `name` only; `None`: the system
    /// gave no randomness.
    pub(super) fn seal(&self, name: &[u8], plain: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(unique, Aad::from(name), &mut sealed).ok()?;
        Some([&nonce[..], &sealed].concat())
    }

    /// What was sealed under `name`; `None`: with another key, under another name, or changed.
    pub(super) fn open(&self, name: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = sealed.to_vec();
        let plain = self.0.open_in_place(nonce, Aad::from(name), &mut bytes).ok()?;
        Some(plain.to_vec())
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    pairs.iter().map(|[high, low]| Some((digit(*high)? * 16 + digit(*low)?) as u8)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
    const BASE64: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn hexadecimal_and_base64_are_the_same_key() {
        let sealed = RowKey::parse(HEX).unwrap().seal(b"1", b"plain").unwrap();
        for text in [BASE64, BASE64.trim_end_matches('=')] {
            let key = RowKey::parse(text).unwrap();
            assert_eq!(key.open(b"1", &sealed).as_deref(), Some(&b"plain"[..]));
        }
        for text in ["", "00", &HEX[1..], &format!("{HEX}00"), &HEX.replace('a', "g"), "é", "AAEC"]
        {
            assert!(RowKey::parse(text).is_none(), "{text}");
        }
        assert_eq!(format!("{:?}", RowKey::parse(HEX)), "Some(RowKey(********))");
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_only_and_unchanged() {
        let key = RowKey::parse(HEX).unwrap();
        let sealed = key.seal(b"1", b"plain").unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"plain"));
        assert_ne!(sealed, key.seal(b"1", b"plain").unwrap());
        assert_eq!(key.open(b"2", &sealed), None);
        assert_eq!(RowKey::parse(&HEX.replace('0', "1")).unwrap().open(b"1", &sealed), None);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(b"1", &changed), None, "{at}");
            assert_eq!(key.open(b"1", &sealed[..at]), None, "{at}");
        }
    }
}
