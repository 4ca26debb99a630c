//! Answers that repeat a secret: some endpoints echo what they were sent (SEC-3).

use super::ProxyUrl;
use crate::core::http::proxy::Proxy;
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
    /// The secrets of a webhook, as it is now, and of the proxy: an error page of the proxy may
    /// repeat what it was sent.
    pub(super) fn of(settings: &Settings, proxy: Option<&ProxyUrl>) -> Masking {
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
        secrets.extend(proxy.into_iter().flat_map(proxy_secrets));
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

/// The proxy's credentials as they are sent, and the password.
fn proxy_secrets(url: &ProxyUrl) -> Vec<String> {
    let Ok(proxy) = Proxy::parse(url.text(), &[]) else { return Vec::new() };
    let line = String::from_utf8_lossy(proxy.authorization_line()).into_owned();
    let Some(token) = line.split_ascii_whitespace().last() else { return Vec::new() };
    let decoded = STANDARD.decode(token).unwrap_or_default();
    let decoded = String::from_utf8_lossy(&decoded).into_owned();
    let password = decoded.split_once(':').map(|(_, password)| password.to_owned());
    [Some(token.to_owned()), password].into_iter().flatten().collect()
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
    fn the_proxy_s_credentials_are_secrets() {
        let url = ProxyUrl::from("http://me:p%40ssword@proxy.test:3128");
        assert_eq!(proxy_secrets(&url), ["bWU6cEBzc3dvcmQ=", "p@ssword"]);
        assert!(proxy_secrets(&ProxyUrl::from("http://proxy.test:3128")).is_empty());
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
