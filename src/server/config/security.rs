//! Places of the keys of `[webhooks.security]` that are more than a text or a list.

use super::place::{Place, TablePlace, TextPlace};
use crate::webhooks::{ProxyUrl, TlsProfile};
use std::collections::BTreeMap;

/// Empty text is none. What is shown has no credentials.
impl TextPlace for Option<ProxyUrl> {
    fn put(&mut self, text: &str) -> Result<(), String> {
        *self = (!text.is_empty()).then(|| text.into());
        Ok(())
    }
    fn get(&self) -> Option<String> {
        self.as_ref().map(ToString::to_string)
    }
}

impl TablePlace for BTreeMap<String, TlsProfile> {
    fn entry(&mut self, name: &str) -> Vec<(&'static str, Place<'_>)> {
        let profile = self.entry(name.to_owned()).or_default();
        vec![
            ("verify_ssl", Place::Switch(&mut profile.verify_ssl)),
            ("ca_file", Place::Text(&mut profile.ca_file)),
            ("client_cert_file", Place::Text(&mut profile.client_cert_file)),
            ("client_key_file", Place::Text(&mut profile.client_key_file)),
        ]
    }
    fn names(&self) -> Vec<String> {
        self.keys().cloned().collect()
    }
}
