//! Configuration of the engine. The names are those of the specification's TOML.

use crate::base::limits;

/// Configuration of a [`WebhookManager`](super::WebhookManager).
#[derive(Clone, PartialEq, Debug)]
pub struct WebhookConfig {
    /// `false`: events are accepted and dropped, nothing is sent.
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
        }
    }
}

/// How much may wait.
#[derive(Clone, PartialEq, Debug)]
pub struct QueueConfig {
    /// Pending deliveries of one webhook; at this bound new ones are rejected and counted.
    pub max_pending: usize,
    /// Events in each worker's ring.
    pub ring_events: usize,
    /// Whether accepted events survive the process. Not available yet: must be `false`.
    pub persistence: bool,
    /// Dead letters kept per webhook, with their bodies; the oldest is forgotten. 0 keeps none.
    pub max_dead: usize,
    /// Bodies and keys of one webhook's dead letters together, in bytes; the oldest is forgotten.
    pub max_dead_bytes: usize,
}

impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            max_pending: limits::PENDING_MAX_DEFAULT,
            ring_events: limits::RING_EVENTS_DEFAULT,
            persistence: false,
            max_dead: limits::DEAD_LETTERS_MAX_DEFAULT,
            max_dead_bytes: limits::DEAD_LETTER_BYTES_MAX_DEFAULT,
        }
    }
}

/// What endpoints are allowed and trusted.
#[derive(Clone, PartialEq, Debug)]
pub struct SecurityConfig {
    /// Whether certificates of `https://` endpoints are verified.
    pub verify_ssl: bool,
    /// Hosts that webhooks may name; empty allows every host. A host is written as a name or an
    /// address without brackets; a leading `*.` stands for any subdomain.
    pub allowed_hosts: Vec<String>,
    /// A PEM file with further trusted roots, beside those of the system.
    pub ca_file: Option<std::path::PathBuf>,
}

impl Default for SecurityConfig {
    fn default() -> Self {
        SecurityConfig { verify_ssl: true, allowed_hosts: Vec::new(), ca_file: None }
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
