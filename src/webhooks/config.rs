//! Configuration of the engine. The names are those of the specification's TOML.

use super::Fsync;
use crate::base::limits;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Configuration of a [`WebhookManager`](super::WebhookManager).
#[derive(Clone, PartialEq, Debug)]
pub struct WebhookConfig {
    /// `false`: events pass by ([`Admission::Unmatched`](super::Admission::Unmatched)), nothing is
    /// sent.
    pub enabled: bool,
    /// Most webhooks that may exist.
    pub max_webhooks: usize,
    /// Most events in one batch.
    pub max_batch_size: usize,
    /// Longest time an event waits for its batch to fill, in milliseconds.
    pub batch_interval_ms: u64,
    /// How deliveries are made, unless a webhook says otherwise.
    pub delivery: DeliveryConfig,
    /// How much may wait.
    pub queue: QueueConfig,
    /// What endpoints are allowed and trusted.
    pub security: SecurityConfig,
    /// The engine's threads and connections.
    pub workers: WorkerConfig,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        WebhookConfig {
            enabled: true,
            max_webhooks: limits::WEBHOOKS_MAX_DEFAULT,
            max_batch_size: limits::BATCH_SIZE_DEFAULT as usize,
            batch_interval_ms: 1000,
            delivery: DeliveryConfig::default(),
            queue: QueueConfig::default(),
            security: SecurityConfig::default(),
            workers: WorkerConfig::default(),
        }
    }
}

/// How deliveries are made, unless a webhook says otherwise.
#[derive(Clone, PartialEq, Debug)]
pub struct DeliveryConfig {
    /// One deadline for the whole exchange: resolve, connect, TLS, request and response.
    pub timeout_ms: u64,
    /// Attempts after the first.
    pub max_retries: u32,
    /// Delay before the first retry.
    pub retry_delay_ms: u64,
    /// Each further delay is this many times the one before (`RETRY_BACKOFF exponential`).
    pub backoff_multiplier: f64,
    /// No delay is longer than this.
    pub max_retry_delay_ms: u64,
    /// Each delay is lengthened by a random part of up to this fraction of it; 0 to 1.
    pub retry_jitter: f64,
    /// Deliveries of one webhook in flight at once. Divided among the workers; each has at least
    /// one, so that with more workers than this the sum is the number of workers.
    pub concurrency: u32,
    /// A longer `Retry-After` counts as this, in milliseconds; up to 24 hours.
    pub max_retry_after_ms: u64,
    /// Failures in a row (not reached, no answer in time, 5xx) that open the circuit breaker of
    /// an endpoint, in each worker for itself; 0: it never opens. While it is open nothing is sent
    /// there, and no delivery loses an attempt; then one delivery finds out whether the endpoint
    /// is back.
    pub breaker_failures: u32,
    /// How long a breaker stays open at first, in milliseconds; twice as long each time that the
    /// endpoint was not back, and lengthened by a random part of up to a fifth.
    pub breaker_open_ms: u64,
    /// How long a breaker stays open at most, before the random part, in milliseconds.
    pub breaker_open_max_ms: u64,
    /// A webhook is disabled, with its queue kept, by the first attempt that fails after nothing
    /// but failures for this long, in milliseconds; 0: never.
    pub auto_disable_after_ms: u64,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        DeliveryConfig {
            timeout_ms: 5000,
            max_retries: 3,
            retry_delay_ms: 1000,
            backoff_multiplier: 2.0,
            max_retry_delay_ms: 60_000,
            retry_jitter: 0.1,
            concurrency: 64,
            max_retry_after_ms: limits::RETRY_AFTER_MS_DEFAULT,
            breaker_failures: limits::BREAKER_FAILURES_DEFAULT,
            breaker_open_ms: limits::BREAKER_OPEN_MS_DEFAULT,
            breaker_open_max_ms: limits::BREAKER_OPEN_MS_MAX_DEFAULT,
            auto_disable_after_ms: 0,
        }
    }
}

/// How much may wait.
#[derive(Clone, PartialEq, Debug)]
pub struct QueueConfig {
    /// Pending deliveries of one webhook; at this bound [`OnFull`](super::OnFull) says what
    /// happens.
    pub max_pending: usize,
    /// Events in each worker's ring.
    pub ring_events: usize,
    /// Whether webhooks and accepted events survive the process; see
    /// [`data_dir`](QueueConfig::data_dir) and [`fsync`](QueueConfig::fsync).
    pub persistence: bool,
    /// Dead letters kept per webhook, with their bodies; the oldest is forgotten. 0 keeps none.
    pub max_dead: usize,
    /// Bodies and keys of one webhook's dead letters together, in bytes; the oldest is forgotten.
    pub max_dead_bytes: usize,
    /// The directory of what survives the process (`persistence`); made, for its owner only, if it
    /// is not there. One process may have it at a time.
    pub data_dir: PathBuf,
    /// What an accepted event survives.
    pub fsync: Fsync,
    /// A segment of the log ends when it is this long, in bytes.
    pub segment_bytes: u64,
    /// All segments of the log together, in bytes; no event is taken beyond it.
    pub max_disk_bytes: u64,
    /// A file with 32 bytes, as 64 hexadecimal digits or base64, that nobody but its owner may
    /// read: with it, what is kept of webhooks is encrypted (AES-256-GCM). `None`: it is not.
    pub secrets_key_file: Option<PathBuf>,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            max_pending: limits::PENDING_MAX_DEFAULT,
            ring_events: limits::RING_EVENTS_DEFAULT,
            persistence: false,
            max_dead: limits::DEAD_LETTERS_MAX_DEFAULT,
            max_dead_bytes: limits::DEAD_LETTER_BYTES_MAX_DEFAULT,
            data_dir: PathBuf::from("ferrite-data"),
            fsync: Fsync::default(),
            segment_bytes: limits::LOG_SEGMENT_BYTES_DEFAULT,
            max_disk_bytes: limits::LOG_DISK_BYTES_DEFAULT,
            secrets_key_file: None,
        }
    }
}

/// What endpoints are allowed and trusted.
#[derive(Clone, PartialEq, Debug)]
pub struct SecurityConfig {
    /// Whether certificates of `https://` endpoints are verified.
    pub verify_ssl: bool,
    /// Hosts that webhooks may name; empty allows every host. An entry is a name, `*.` and a name
    /// (those below it, not itself), an address, each with or without `:port`, a network such as
    /// `10.0.0.0/8`, or `*` for every host. Names are compared as the URL spells them, in
    /// canonical form. An address or a network in the list may be connected to although it is
    /// forbidden otherwise; this process's own listeners only as an address with its port.
    pub allowed_hosts: Vec<String>,
    /// A PEM file with further trusted roots, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// Whether webhooks may lead to the public Internet only: not to loopback, private and
    /// reserved addresses. Link-local addresses (those of cloud metadata services among them),
    /// multicast, broadcast and unspecified ones are forbidden in any case.
    pub block_private: bool,
    /// A PEM file with the certificate that the engine shows to endpoints that ask for one,
    /// followed by those that lead to its root. Needs `client_key_file`.
    pub client_cert_file: Option<PathBuf>,
    /// A PEM file with the private key of `client_cert_file`.
    pub client_key_file: Option<PathBuf>,
    /// Further TLS settings that webhooks may choose by name
    /// ([`WebhookOptions::tls_profile`](super::WebhookOptions::tls_profile)) instead of
    /// `verify_ssl`, `ca_file` and the client certificate of this section. Files are named only
    /// here, by who runs the engine, and not by who makes webhooks.
    pub tls_profiles: BTreeMap<String, TlsProfile>,
    /// The proxy that requests go through: `http://host:port` or `http://user:password@host:port`
    /// (credentials percent-encoded). `https://` endpoints are reached through a tunnel (CONNECT),
    /// requests to `http://` endpoints are forwarded. The proxy resolves the names of endpoints
    /// and connects to them, so that the engine does not see to which addresses: of
    /// `block_private` and the addresses that are always forbidden, only those that stand in URLs
    /// are refused, and `allowed_hosts` is compared with hosts as URLs write them. The rest is for
    /// the proxy to forbid.
    pub proxy: Option<ProxyUrl>,
    /// Hosts that are reached without the proxy; entries are written as in `allowed_hosts`.
    pub no_proxy: Vec<String>,
}

/// A proxy's URL. `Debug` shows no credentials (SEC-3).
#[derive(Clone, PartialEq, Eq)]
pub struct ProxyUrl(String);

impl<T: Into<String>> From<T> for ProxyUrl {
    fn from(url: T) -> Self {
        ProxyUrl(url.into())
    }
}

impl ProxyUrl {
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

/// The URL without its credentials.
impl fmt::Display for ProxyUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.rsplit_once('@') {
            Some((_, place)) => write!(formatter, "http://********@{place}"),
            None => formatter.write_str(&self.0),
        }
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// TLS settings that webhooks may choose by name.
#[derive(Clone, PartialEq, Debug)]
pub struct TlsProfile {
    /// Whether certificates are verified.
    pub verify_ssl: bool,
    /// A PEM file with further trusted roots, beside those of the system.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with the engine's certificate, followed by those that lead to its root.
    pub client_cert_file: Option<PathBuf>,
    /// A PEM file with the private key of `client_cert_file`.
    pub client_key_file: Option<PathBuf>,
}

impl Default for TlsProfile {
    fn default() -> Self {
        TlsProfile {
            verify_ssl: true,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
        }
    }
}

impl Default for SecurityConfig {
    fn default() -> Self {
        SecurityConfig {
            verify_ssl: true,
            allowed_hosts: Vec::new(),
            ca_file: None,
            block_private: false,
            client_cert_file: None,
            client_key_file: None,
            tls_profiles: BTreeMap::new(),
            proxy: None,
            no_proxy: Vec::new(),
        }
    }
}

/// The engine's threads and connections.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkerConfig {
    /// Worker threads; 0 for one per core that the process may use.
    pub workers: usize,
    /// The cores to pin the workers to, in turn; empty for no pinning.
    pub pin_cores: Vec<usize>,
    /// Open connections to one endpoint, per worker.
    pub max_connections_per_endpoint: usize,
    /// Open connections, per worker.
    pub max_connections: usize,
    /// An idle connection is closed after this long.
    pub idle_timeout_ms: u64,
    /// Use epoll even where io_uring works.
    pub force_epoll: bool,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        WorkerConfig {
            workers: 0,
            pin_cores: Vec::new(),
            max_connections_per_endpoint: limits::CONNECTIONS_PER_ENDPOINT_DEFAULT,
            max_connections: limits::CONNECTIONS_PER_WORKER_DEFAULT,
            idle_timeout_ms: limits::IDLE_TIMEOUT_MS_DEFAULT,
            force_epoll: false,
        }
    }
}
