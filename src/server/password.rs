//! The password that clients give with `AUTH`.

use ring::hmac;
use std::fmt;

/// A password, kept as a keyed hash. Comparing takes the same time for every wrong guess.
pub struct Password {
    key: hmac::Key,
    tag: hmac::Tag,
}

impl Password {
    /// Hashes `text` under a key of this process.
    pub fn new(text: &str) -> Self {
        let seeds = [crate::base::random::seed(), crate::base::random::seed()];
        let key_bytes: Vec<u8> = seeds.iter().flat_map(|seed| seed.to_ne_bytes()).collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key_bytes);
        let tag = hmac::sign(&key, text.as_bytes());
        Password { key, tag }
    }

    /// Whether `guess` is the password.
    pub fn matches(&self, guess: &[u8]) -> bool {
        hmac::verify(&self.key, guess, self.tag.as_ref()).is_ok()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password(********)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_password_matches() {
        let password = Password::new("hunter2");
        assert!(password.matches(b"hunter2"));
        assert!(!password.matches(b"hunter") && !password.matches(b""));
        assert_eq!(format!("{password:?}"), "Password(********)");
    }
}
