//! The TLS settings of the configuration, loaded from their files.

use super::{SecurityConfig, TlsProfile};
use crate::io::tls::{TlsFiles, TlsMaterial, system_roots};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Names of the profiles that webhooks may choose.
pub(super) fn tls_profile_names(security: &SecurityConfig) -> BTreeSet<Arc<str>> {
    security.tls_profiles.keys().map(|name| name.as_str().into()).collect()
}

/// Loads the configuration's own settings and those of its profiles. The error names file and
/// reason.
pub(super) fn tls_material(security: &SecurityConfig) -> Result<Vec<TlsMaterial>, String> {
    let system = system_roots();
    let own = TlsProfile {
        verify_ssl: security.verify_ssl,
        ca_file: security.ca_file.clone(),
        client_cert_file: security.client_cert_file.clone(),
        client_key_file: security.client_key_file.clone(),
    };
    let load = |name: Option<&str>, profile: &TlsProfile| {
        if !profile.verify_ssl {
            let of = name.map_or_else(String::new, |name| format!(" in TLS profile '{name}'"));
            tracing::warn!("verify_ssl is off{of}: https endpoints are not verified");
        }
        let files = TlsFiles {
            ca: profile.ca_file.as_deref(),
            client_cert: profile.client_cert_file.as_deref(),
            client_key: profile.client_key_file.as_deref(),
        };
        let material = TlsMaterial::load(name, profile.verify_ssl, &files, &system);
        material.map_err(|error| match name {
            Some(name) => format!("TLS profile '{name}': {error}"),
            None => error,
        })
    };
    let profiles = security.tls_profiles.iter();
    std::iter::once(load(None, &own))
        .chain(profiles.map(|(name, profile)| load(Some(name), profile)))
        .collect()
}
