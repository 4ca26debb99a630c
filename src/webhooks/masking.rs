//! Answers that repeat a secret: some endpoints echo what they were sent (SEC-3).

use crate::registry::{Auth, Settings};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const MASK: &str = "********";
/// Shorter values are no secrets worth the name, and would mask ordinary text.
const SECRET_BYTES_MIN: usize = 4;

/// What a webhook sends that nobody is to be shown.
pub(super) struct Masking {
    secrets: Vec<String>,
}

impl Masking {
    /// The secrets of a webhook, as it is now.
    pub(super) fn of(settings: &Settings) -> Masking {
        let mut secrets: Vec<String> = match &settings.auth {
            Auth::None => Vec::new(),
            Auth::Bearer(token) => vec![token.clone()],
            Auth::Basic(user, password) => {
                vec![STANDARD.encode(format!("{user}:{password}")), password.clone()]
            }
        };
        secrets.extend(settings.headers.iter().map(|(_, value)| value.clone()));
        secrets.extend(settings.secret.clone());
        let query = settings.url.split_once('?').map_or("", |(_, query)| query);
        let value = |parameter: &str| parameter.rsplit('=').next().unwrap_or("").to_owned();
        secrets.extend(query.split('&').map(value));
        secrets.retain(|secret| secret.len() >= SECRET_BYTES_MIN);
        // Those that hold another one come first.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Masking { secrets }
    }

    /// An answer as it may be shown. It may have been cut within a secret.
    pub(super) fn apply(&self, answer: &mut Vec<u8>) {
        if self.secrets.is_empty() || answer.is_empty() {
            return;
        }
        let mut text = String::from_utf8_lossy(answer).into_owned();
        for secret in &self.secrets {
            text = text.replace(secret, MASK);
        }
        let cut = self.secrets.iter().find_map(|secret| {
            let begins =
                |bytes: &usize| secret.get(..*bytes).is_some_and(|part| text.ends_with(part));
            (SECRET_BYTES_MIN..secret.len()).rev().find(begins)
        });
        if let Some(bytes) = cut {
            text.truncate(text.len() - bytes);
            text.push_str(MASK);
        }
        *answer = text.into_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secrets: &[&str], answer: &str) -> String {
        let secrets = secrets.iter().map(|secret| (*secret).to_owned()).collect();
        let mut bytes = answer.as_bytes().to_vec();
        Masking { secrets }.apply(&mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn secrets_and_beginnings_at_the_end_are_masked() {
        let secrets = ["hunter2hunter2", "hunter2", "pässword"];
        for (answer, shown) in [
            ("plain", "plain"),
            ("a hunter2 b hunter2hunter2 c", "a ******** b ******** c"),
            ("cut: hunte", "cut: ********"),
            ("cut: hun", "cut: hun"),
            ("cut: pässw", "cut: ********"),
            ("pässword!", "********!"),
        ] {
            assert_eq!(masked(&secrets, answer), shown);
        }
        assert_eq!(masked(&[], "hunter2"), "hunter2");
    }
}
