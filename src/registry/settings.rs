//! What a webhook is told, checked and compiled.

use super::RegistryConfig;
use super::rotation::RetiredSecret;
use crate::base::id::WebhookId;
use crate::base::limits;
use crate::core::address_policy::Forbidden;
use crate::core::event::EventMask;
use crate::core::format::Format;
use crate::core::http::endpoint::Endpoint;
use crate::core::http::headers::{Authorization, CustomHeaders};
use crate::core::http::proxy::Proxy;
use crate::core::http::request::RequestHead;
use crate::core::ledger::Ledger;
use crate::core::matcher::validate_pattern;
use crate::core::on_full::OnFull;
use crate::core::retry::RetryPolicy;
use crate::core::shard::Target;
use crate::core::signature::Signatures;
use crate::core::snapshot::{BatchPolicy, Definition};
use crate::core::while_disabled::WhileDisabled;
use std::fmt;
use std::sync::Arc;

/// How a webhook proves itself. `Debug` shows no secret (SEC-3).
#[derive(Clone, PartialEq, Eq)]
pub enum Auth {
    /// Not at all.
    None,
    /// With a token.
    Bearer(String),
    /// With a user's name and password.
    Basic(String, String),
}

impl Auth {
    /// The name of the kind.
    pub const fn name(&self) -> &'static str {
        match self {
            Auth::None => "none",
            Auth::Bearer(_) => "bearer",
            Auth::Basic(..) => "basic",
        }
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Everything a webhook is told, with the defaults filled in. `Debug` shows no secret (SEC-3).
#[derive(Clone, PartialEq)]
pub struct Settings {
    /// Where to.
    pub url: String,
    /// Which keys.
    pub pattern: String,
    /// Which events.
    pub events: EventMask,
    /// How it proves itself.
    pub auth: Auth,
    /// Further request headers.
    pub headers: Vec<(String, String)>,
    /// Signs every body.
    pub secret: Option<String>,
    /// Which signatures it sends then.
    pub signatures: Signatures,
    /// Secrets from before, which still sign; the newest first.
    pub retired: Vec<RetiredSecret>,
    /// When and how often a failed delivery is tried again.
    pub retry: RetryPolicy,
    /// One deadline for the whole exchange.
    pub timeout_ms: u64,
    /// Deliveries in flight at once.
    pub concurrency: u32,
    /// Requests that one connection may carry at once.
    pub pipeline: u32,
    /// Whether many deliveries go in one request.
    pub batch: bool,
    /// Most deliveries in a batch.
    pub batch_size: u32,
    /// Longest time that a delivery waits for its batch to fill, in milliseconds.
    pub batch_interval_ms: u64,
    /// What is done when its queue is full.
    pub on_full: OnFull,
    /// Only the newest pending event of a key is kept.
    pub coalesce: bool,
    /// Whether the events of a key wait for each other.
    pub ordered: bool,
    /// The form of the bodies.
    pub format: Format,
    /// Whether events are numbered in headers.
    pub sequence: bool,
    /// Statuses that are not tried again.
    pub final_statuses: Vec<u16>,
    /// Attempts per second; 0: no limit.
    pub rate: u32,
    /// Whether the concurrency adapts to the endpoint's latency.
    pub adaptive: bool,
    /// The TLS profile, by name; `None` for the configuration's own.
    pub tls_profile: Option<String>,
    /// What becomes of events while it is disabled.
    pub while_disabled: WhileDisabled,
}

impl fmt::Debug for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Settings")
            .field("pattern", &self.pattern)
            .field("events", &self.events)
            .field("auth", &self.auth)
            .field("retry", &self.retry)
            .finish_non_exhaustive()
    }
}

/// Why a setting is not acceptable.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// The name is empty, too long, or has characters that would confuse people or logs.
    #[error(
        "the name must have 1 to {} printable characters and no spaces",
        limits::NAME_BYTES_MAX
    )]
    Name,
    /// The host is not in `allowed_hosts`.
    #[error("host '{0}' is not allowed (allowed_hosts)")]
    HostDenied(String),
    /// The URL leads to an address that webhooks may not lead to.
    #[error(transparent)]
    AddressForbidden(Forbidden),
    /// The configuration has no TLS profile of that name.
    #[error("no TLS profile '{0}' in the configuration")]
    TlsProfile(String),
    /// A number is outside its range.
    #[error("{name} must be between {min} and {max}")]
    Range {
        /// Which.
        name: &'static str,
        /// The least.
        min: u64,
        /// The most.
        max: u64,
    },
    /// Another setting; says which and why.
    #[error("{0}")]
    Invalid(String),
}

pub(super) fn invalid(error: impl fmt::Display) -> SettingsError {
    SettingsError::Invalid(error.to_string())
}

pub(super) fn check_name(name: &str) -> Result<(), SettingsError> {
    let printable = name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if name.is_empty() || name.len() > limits::NAME_BYTES_MAX || !printable {
        return Err(SettingsError::Name);
    }
    Ok(())
}

fn check_range(name: &'static str, value: u64, min: u64, max: u64) -> Result<(), SettingsError> {
    if value < min || value > max {
        return Err(SettingsError::Range { name, min, max });
    }
    Ok(())
}

fn forbidden(reason: Forbidden) -> SettingsError {
    match reason {
        Forbidden::Host(host) => SettingsError::HostDenied(host),
        other => SettingsError::AddressForbidden(other),
    }
}

/// The profile called `name`, if it matters: all webhooks of a plain endpoint share connections.
fn tls_profile(
    name: Option<&str>,
    endpoint: &Endpoint,
    config: &RegistryConfig,
) -> Result<Option<Arc<str>>, SettingsError> {
    let Some(name) = name else { return Ok(None) };
    let profile = config.tls_profiles.get(name);
    let profile = profile.ok_or_else(|| SettingsError::TlsProfile(name.to_owned()))?;
    Ok(endpoint.secure().then(|| profile.clone()))
}

impl Settings {
    /// What is said of one event in headers cannot be said of a batch.
    fn check_form(&self) -> Result<(), SettingsError> {
        if self.batch && self.format == Format::CloudEventsBinary {
            return Err(invalid(
                "FORMAT cloudevents-binary and BATCH do not go together: the attributes are \
                 headers of one event; use cloudevents-structured",
            ));
        }
        if self.batch && self.sequence {
            return Err(invalid(
                "SEQUENCE and BATCH do not go together: the numbers are headers of one event",
            ));
        }
        Ok(())
    }

    /// Checks everything and compiles it.
    pub(super) fn compile(
        &self,
        name: &str,
        id: WebhookId,
        number: u64,
        since_generation: u64,
        ledger: Arc<Ledger>,
        config: &RegistryConfig,
    ) -> Result<Definition, SettingsError> {
        check_range("retries", self.retry.retries.into(), 0, limits::RETRIES_MAX.into())?;
        check_range("retry_delay_ms", self.retry.delay_ms, 0, limits::RETRY_DELAY_MS_MAX)?;
        check_range("timeout_ms", self.timeout_ms, 1, limits::TIMEOUT_MS_MAX)?;
        check_range("concurrency", self.concurrency.into(), 1, limits::CONCURRENCY_MAX.into())?;
        check_range("pipeline", self.pipeline.into(), 1, limits::PIPELINE_MAX.into())?;
        check_range("batch_size", self.batch_size.into(), 1, config.batch_size_max.into())?;
        check_range("batch_interval_ms", self.batch_interval_ms, 0, limits::BATCH_INTERVAL_MS_MAX)?;
        if self.coalesce && !self.ordered {
            return Err(SettingsError::Invalid(
                "COALESCE latest and ORDER none exclude each other: without order there is no latest"
                    .to_owned(),
            ));
        }
        self.check_form()?;
        check_range("rate", self.rate.into(), 0, limits::RATE_MAX.into())?;
        validate_pattern(self.pattern.as_bytes()).map_err(invalid)?;
        let endpoint = Endpoint::parse(&self.url).map_err(invalid)?;
        config.addresses.check_endpoint(&endpoint).map_err(forbidden)?;
        let tls_profile = tls_profile(self.tls_profile.as_deref(), &endpoint, config)?;
        let authorization = match &self.auth {
            Auth::None => None,
            Auth::Bearer(token) => Some(Authorization::bearer(token).map_err(invalid)?),
            Auth::Basic(user, password) => {
                Some(Authorization::basic(user, password).map_err(invalid)?)
            }
        };
        let headers = CustomHeaders::new(&self.headers).map_err(invalid)?;
        // Through a tunnel, requests are as they are without a proxy.
        let forwards = |proxy: &&Proxy| !endpoint.secure() && proxy.carries(endpoint.key());
        let proxy = config.proxy.as_deref().filter(forwards);
        let head = RequestHead::through(proxy, &endpoint, authorization.as_ref(), &headers)
            .map_err(invalid)?;
        let signing = self.signing_key()?;
        Ok(Definition {
            id,
            number,
            name: name.to_owned(),
            target: Target { endpoint: endpoint.key().clone(), tls_profile },
            head,
            signing,
            retry: self.retry,
            timeout_ms: self.timeout_ms,
            concurrency: self.concurrency,
            pipeline: self.pipeline,
            batch: self.batch.then_some(BatchPolicy {
                events_max: self.batch_size,
                interval_ms: self.batch_interval_ms,
                bytes_max: limits::BATCH_BYTES_MAX,
            }),
            on_full: self.on_full,
            coalesce: self.coalesce,
            ordered: self.ordered,
            format: self.format,
            sequence: self.sequence,
            since_generation,
            ledger,
            final_statuses: check_final_statuses(&self.final_statuses)?,
            rate: self.rate,
            adaptive: self.adaptive,
            while_disabled: self.while_disabled,
        })
    }
}

/// Only failures can be final, and 410 disables the webhook.
fn check_final_statuses(statuses: &[u16]) -> Result<Box<[u16]>, SettingsError> {
    for status in statuses {
        match status {
            410 => return Err(invalid("410 cannot be a final status: it disables the webhook")),
            200..=299 => return Err(invalid("2xx cannot be a final status: it is success")),
            300..=599 => {}
            _ => return Err(invalid("a final status must be between 300 and 599")),
        }
    }
    let mut statuses = statuses.to_vec();
    statuses.sort_unstable();
    statuses.dedup();
    if statuses.len() > limits::FINAL_STATUSES_MAX {
        return Err(invalid(format!("at most {} final statuses", limits::FINAL_STATUSES_MAX)));
    }
    Ok(statuses.into_boxed_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_that_are_retried_can_be_final() {
        let check = |statuses: &[u16]| check_final_statuses(statuses).map(Vec::from);
        assert_eq!(check(&[422, 400, 422]), Ok(vec![400, 422]));
        assert_eq!(check(&[]), Ok(vec![]));
        for status in [0, 100, 199, 200, 204, 299, 410, 600, 999] {
            assert!(check(&[400, status]).is_err(), "{status}");
        }
    }

    #[test]
    fn names_are_one_printable_word() {
        assert_eq!(check_name("order-updates"), Ok(()));
        for name in ["", "a b", "a\nb", "a\u{0}", &"x".repeat(limits::NAME_BYTES_MAX + 1)] {
            assert_eq!(check_name(name), Err(SettingsError::Name), "{name:?}");
        }
    }
}
