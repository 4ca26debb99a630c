//! Secrets of a webhook over time: the one in force, and those whose grace lasts.

use super::settings::{Settings, SettingsError, invalid};
use crate::base::limits::SECRETS_RETIRED_MAX;
use crate::core::signature::SigningKey;
use std::fmt;

/// A secret from before. `Debug` shows nothing of it (SEC-3).
#[derive(Clone, PartialEq, Eq)]
pub struct RetiredSecret {
    /// The secret.
    pub text: String,
    /// It signs before this second since 1970.
    pub until_unix_seconds: u64,
}

impl fmt::Debug for RetiredSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "RetiredSecret(********, until {})", self.until_unix_seconds)
    }
}

impl Settings {
    /// Puts another secret in force, or none. With a grace, the one that was in force goes on
    /// signing beside it until then, and so do those whose grace lasts, up to
    /// `SECRETS_RETIRED_MAX`. Without, only the new one signs from now on.
    pub fn change_secret(&mut self, secret: Option<String>, grace_seconds: u64, now_us: u64) {
        let now = now_us / 1_000_000;
        let old = std::mem::replace(&mut self.secret, secret);
        if grace_seconds == 0 || self.secret.is_none() {
            self.retired.clear();
            return;
        }
        let until_unix_seconds = now_us.div_ceil(1_000_000).saturating_add(grace_seconds);
        if let Some(text) = old {
            self.retired.insert(0, RetiredSecret { text, until_unix_seconds });
        }
        let current = self.secret.as_deref();
        self.retired.retain(|retired| {
            retired.until_unix_seconds > now && Some(retired.text.as_str()) != current
        });
        self.retired.truncate(SECRETS_RETIRED_MAX);
    }

    /// The keys of all secrets, prepared for signing.
    pub(super) fn signing_key(&self) -> Result<Option<SigningKey>, SettingsError> {
        let Some(secret) = &self.secret else { return Ok(None) };
        let mut key = SigningKey::new(secret).map_err(invalid)?.only(self.signatures);
        if !key.can_sign() {
            return Err(invalid(
                "a private key (whsk_) makes no X-Ferrite-Signature, because receivers have only \
                 the public key; use SIGNATURES standard or rfc9421",
            ));
        }
        for retired in &self.retired {
            key = key.also(&retired.text, retired.until_unix_seconds).map_err(invalid)?;
        }
        Ok(Some(key))
    }
}
