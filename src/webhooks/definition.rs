//! A webhook's definition with everything it was told, secrets included, for hosts that keep
//! definitions themselves.

use super::{WebhookAuth, WebhookOptions, WebhookStatus};
use crate::core::event::EventMask;
use crate::registry::{Auth, Settings, Webhook};
use std::fmt;

/// What a webhook was told. `Debug` shows no secret (SEC-3).
#[derive(Clone, PartialEq)]
pub struct WebhookDefinition {
    /// Its name.
    pub name: String,
    /// Where to.
    pub url: String,
    /// Everything else, with the configuration's defaults filled in.
    pub options: WebhookOptions,
    /// Secrets from before, which still sign, the newest first, each with the second since 1970
    /// at which it ceases to.
    pub retired_secrets: Vec<(String, u64)>,
    /// Whether it is enabled.
    pub enabled: bool,
}

impl fmt::Debug for WebhookDefinition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("WebhookDefinition")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl WebhookDefinition {
    pub(super) fn of(name: String, webhook: &Webhook) -> Self {
        let settings = &webhook.settings;
        let retired = settings.retired.iter();
        WebhookDefinition {
            name,
            url: settings.url.clone(),
            options: options_of(settings),
            retired_secrets: retired
                .map(|retired| (retired.text.clone(), retired.until_unix_seconds))
                .collect(),
            enabled: match &webhook.held {
                Some(held) => held.is_enabled(),
                None => webhook.definition.ledger.status() == WebhookStatus::Active,
            },
        }
    }
}

fn options_of(settings: &Settings) -> WebhookOptions {
    WebhookOptions {
        pattern: Some(settings.pattern.clone()),
        events: match settings.events {
            EventMask::ALL => Vec::new(),
            events => events.iter().collect(),
        },
        auth: match &settings.auth {
            Auth::None => None,
            Auth::Bearer(token) => Some(WebhookAuth::Bearer(token.clone())),
            Auth::Basic(user, password) => {
                Some(WebhookAuth::Basic { user: user.clone(), password: password.clone() })
            }
        },
        headers: settings.headers.clone(),
        secret: settings.secret.clone(),
        signatures: settings.signatures,
        retries: settings.retry.retries,
        retry_delay_ms: Some(settings.retry.delay_ms),
        retry_backoff: settings.retry.backoff,
        timeout_ms: Some(settings.timeout_ms),
        concurrency: Some(settings.concurrency),
        pipeline: Some(settings.pipeline),
        batch: settings.batch,
        batch_size: Some(settings.batch_size),
        batch_interval_ms: Some(settings.batch_interval_ms),
        on_full: settings.on_full,
        coalesce: settings.coalesce,
        ordered: settings.ordered,
        format: settings.format,
        sequence: settings.sequence,
        final_statuses: settings.final_statuses.clone(),
        rate: settings.rate,
        adaptive: settings.adaptive,
        tls_profile: settings.tls_profile.clone(),
        while_disabled: settings.while_disabled,
    }
}
