//! All keys of the configuration. To add one, add its row.
//!
//! A row needs its field in `WebhookConfig` (or `ServerSettings`), whose default is the key's. A
//! bound gets a name in `base/limits.rs`. Everything else follows: see the module above.

use super::place::{Place, Range};
use super::{LOG_LEVELS, limits};
use crate::server::settings::ServerSettings;
use crate::webhooks::Fsync;
use Place::{Float, Integer, List, Switch, Table, Text};
use Range::{Any, Integers, Items, Numbers, OneOf, Secret};

/// A section of the file and its keys.
pub struct Section {
    /// What stands between the brackets.
    pub name: &'static str,
    /// What it is about.
    pub text: &'static str,
    /// Its keys, in the order of the file of defaults.
    pub keys: &'static [Key],
}

/// One key.
pub struct Key {
    /// Its name within its section.
    pub name: &'static str,
    /// What its value may be.
    pub range: Range,
    /// The unit of a number; empty for none.
    pub unit: &'static str,
    /// The field it stands for; its default is the field's.
    pub place: fn(&mut ServerSettings) -> Place<'_>,
    /// What it means, in whole sentences.
    pub text: &'static str,
    /// A value, as TOML, for a key that has none by default.
    pub example: &'static str,
}

const fn key(
    name: &'static str,
    range: Range,
    unit: &'static str,
    place: fn(&mut ServerSettings) -> Place<'_>,
    text: &'static str,
) -> Key {
    Key { name, range, unit, place, text, example: "" }
}

impl Key {
    /// For a key without default.
    const fn example(self, example: &'static str) -> Key {
        Key { example, ..self }
    }

    /// Whether its value must not be shown.
    pub fn is_secret(&self) -> bool {
        self.range == Secret
    }
}

/// The section of this name.
pub fn section(name: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.name == name)
}

/// All keys with their sections.
pub fn all() -> impl Iterator<Item = (&'static Section, &'static Key)> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)))
}

/// Most addresses that can be listened on.
pub const BIND_MAX: usize = 16;

const CONNECTIONS: Range = Integers(1, limits::CONNECTIONS_MAX);
const DELAYS_MS: Range = Integers(0, limits::RETRY_DELAY_MS_MAX);
const NO_END: u64 = u64::MAX;

/// The table.
pub const SECTIONS: &[Section] = &[
    Section { name: "server", text: "The RESP server.", keys: SERVER },
    Section { name: "webhooks", text: "All webhooks together.", keys: WEBHOOKS },
    Section {
        name: "webhooks.delivery",
        text: "How deliveries are made, unless a webhook says otherwise.",
        keys: DELIVERY,
    },
    Section { name: "webhooks.queue", text: "How much may wait.", keys: QUEUE },
    Section {
        name: "webhooks.security",
        text: "What endpoints are allowed and trusted.",
        keys: SECURITY,
    },
    Section {
        name: "webhooks.workers",
        text: "The engine's threads and connections.",
        keys: WORKERS,
    },
];

const SERVER: &[Key] = &[
    key(
        "bind",
        Items(1, BIND_MAX),
        "",
        |s| List(&mut s.bind),
        "Addresses to listen on; one may be written without brackets.",
    ),
    key(
        "port",
        Integers(0, 65_535),
        "",
        |s| Integer(&mut s.port),
        "Port for RESP clients; 0 lets the system choose.",
    ),
    key(
        "admin_port",
        Integers(0, 65_535),
        "",
        |s| Integer(&mut s.admin_port),
        "Port for GET /metrics (Prometheus), /healthz and /readyz.",
    )
    .example("9100"),
    key(
        "requirepass",
        Secret,
        "",
        |s| Text(&mut s.requirepass),
        "Password that clients must give.",
    )
    .example("\"...\""),
    key(
        "databases",
        Integers(1, 65_536),
        "",
        |s| Integer(&mut s.databases),
        "Number of databases.",
    ),
    key(
        "maxclients",
        Integers(1, 1_000_000),
        "",
        |s| Integer(&mut s.maxclients),
        "Most clients connected at once.",
    ),
    key(
        "timeout",
        Integers(0, NO_END),
        "seconds",
        |s| Integer(&mut s.timeout_seconds),
        "Clients that sent nothing for so long are disconnected; 0 is never.",
    ),
    key(
        "shutdown_timeout_ms",
        Integers(0, NO_END),
        "milliseconds",
        |s| Integer(&mut s.shutdown_timeout_ms),
        "How long an orderly stop waits for pending deliveries.",
    ),
    key(
        "log_level",
        OneOf(&LOG_LEVELS),
        "",
        |s| Text(&mut s.log_level),
        "The least severe level that is logged. RUST_LOG, if it is a level, wins.",
    ),
];

const WEBHOOKS: &[Key] = &[
    key(
        "enabled",
        Any,
        "",
        |s| Switch(&mut s.webhooks.enabled),
        "false: events pass by, and nothing is sent.",
    ),
    key(
        "max_webhooks",
        Integers(1, limits::WEBHOOKS_MAX),
        "",
        |s| Integer(&mut s.webhooks.max_webhooks),
        "Most webhooks that may exist.",
    ),
    key(
        "max_batch_size",
        Integers(1, limits::BATCH_SIZE_MAX as u64),
        "events",
        |s| Integer(&mut s.webhooks.max_batch_size),
        "Most events in one batch.",
    ),
    key(
        "batch_interval_ms",
        Integers(1, limits::BATCH_INTERVAL_MS_MAX),
        "milliseconds",
        |s| Integer(&mut s.webhooks.batch_interval_ms),
        "Longest time an event waits for its batch to fill.",
    ),
];

const DELIVERY: &[Key] = &[
    key(
        "timeout_ms",
        Integers(1, limits::TIMEOUT_MS_MAX),
        "milliseconds",
        |s| Integer(&mut s.webhooks.delivery.timeout_ms),
        "One deadline for a whole exchange: resolve, connect, TLS, request and response.",
    ),
    key(
        "max_retries",
        Integers(0, limits::RETRIES_MAX as u64),
        "",
        |s| Integer(&mut s.webhooks.delivery.max_retries),
        "Attempts after the first.",
    ),
    key(
        "retry_delay_ms",
        DELAYS_MS,
        "milliseconds",
        |s| Integer(&mut s.webhooks.delivery.retry_delay_ms),
        "Delay before the first retry.",
    ),
    key(
        "backoff_multiplier",
        Numbers(1.0, limits::BACKOFF_MULTIPLIER_MAX),
        "",
        |s| Float(&mut s.webhooks.delivery.backoff_multiplier),
        "Each further delay is so many times the one before (RETRY_BACKOFF exponential).",
    ),
    key(
        "max_retry_delay_ms",
        DELAYS_MS,
        "milliseconds",
        |s| Integer(&mut s.webhooks.delivery.max_retry_delay_ms),
        "No delay is longer than this.",
    ),
    key(
        "retry_jitter",
        Numbers(0.0, 1.0),
        "",
        |s| Float(&mut s.webhooks.delivery.retry_jitter),
        "Each delay is lengthened by a random part of up to this fraction of it.",
    ),
    key(
        "concurrency",
        Integers(1, limits::CONCURRENCY_MAX as u64),
        "deliveries",
        |s| Integer(&mut s.webhooks.delivery.concurrency),
        "Deliveries of one webhook in flight at once, divided among the workers.",
    ),
    key(
        "max_retry_after_ms",
        DELAYS_MS,
        "milliseconds",
        |s| Integer(&mut s.webhooks.delivery.max_retry_after_ms),
        "A longer Retry-After of an endpoint (429, 503) counts as this.",
    ),
    key(
        "breaker_failures",
        Integers(0, u32::MAX as u64),
        "",
        |s| Integer(&mut s.webhooks.delivery.breaker_failures),
        "So many failures in a row open an endpoint's circuit breaker: nothing is sent to it, and \
         no attempt is burnt, until one delivery finds out that it is back. 0 is never.",
    ),
    key(
        "breaker_open_ms",
        Integers(1, limits::RETRY_DELAY_MS_MAX),
        "milliseconds",
        |s| Integer(&mut s.webhooks.delivery.breaker_open_ms),
        "How long a breaker stays open at first; twice as long each time that delivery fails.",
    ),
    key(
        "breaker_open_max_ms",
        Integers(1, limits::RETRY_DELAY_MS_MAX),
        "milliseconds",
        |s| Integer(&mut s.webhooks.delivery.breaker_open_max_ms),
        "A breaker never stays open for longer, apart from up to a fifth that chance adds.",
    ),
    key(
        "auto_disable_after_ms",
        Integers(0, NO_END),
        "milliseconds",
        |s| Integer(&mut s.webhooks.delivery.auto_disable_after_ms),
        "A webhook is disabled after nothing but failures for this long; 0 is never.",
    ),
];

const QUEUE: &[Key] = &[
    key(
        "max_pending",
        Integers(1, NO_END),
        "deliveries",
        |s| Integer(&mut s.webhooks.queue.max_pending),
        "Pending deliveries of one webhook; what happens at this bound is said by ON_FULL.",
    ),
    key(
        "ring_events",
        Integers(2, limits::RING_EVENTS_MAX as u64),
        "events",
        |s| Integer(&mut s.webhooks.queue.ring_events),
        "Events on their way to each worker.",
    ),
    key(
        "persistence",
        Any,
        "",
        |s| Switch(&mut s.webhooks.queue.persistence),
        "Whether webhooks and accepted events survive the process, in data_dir.",
    ),
    key(
        "max_dead",
        Integers(0, NO_END),
        "dead letters",
        |s| Integer(&mut s.webhooks.queue.max_dead),
        "Deliveries that were given up, and that one webhook keeps; at this bound it forgets the \
         oldest.",
    ),
    key(
        "max_dead_bytes",
        Integers(0, NO_END),
        "bytes",
        |s| Integer(&mut s.webhooks.queue.max_dead_bytes),
        "Their bodies, header lines and keys together.",
    ),
    key(
        "data_dir",
        Any,
        "",
        |s| Text(&mut s.webhooks.queue.data_dir),
        "Directory of what survives the process (persistence); created, for its owner only, if it \
         is not there.",
    ),
    key(
        "fsync",
        OneOf(&Fsync::NAMES),
        "",
        |s| Text(&mut s.webhooks.queue.fsync),
        "An event whose trigger().await returned Ok, or whose write was answered, survives kill -9. \
         With always it also survives power loss; everysec may lose the last 1-2 s on power loss \
         only; no leaves it to the kernel.",
    ),
    key(
        "segment_bytes",
        Integers(limits::LOG_SEGMENT_BYTES_MIN, NO_END),
        "bytes",
        |s| Integer(&mut s.webhooks.queue.segment_bytes),
        "A segment of the log ends when it is so long.",
    ),
    key(
        "max_disk_bytes",
        Integers(2 * limits::LOG_SEGMENT_BYTES_MIN, NO_END),
        "bytes",
        |s| Integer(&mut s.webhooks.queue.max_disk_bytes),
        "All segments together, at least two; no event is taken beyond it.",
    ),
    key(
        "secrets_key_file",
        Any,
        "",
        |s| Text(&mut s.webhooks.queue.secrets_key_file),
        "A file with 32 bytes, as 64 hexadecimal digits or base64, that nobody but its owner may \
         read: what is kept of webhooks, their secrets included, is encrypted with it.",
    )
    .example("\"/etc/ferrite/secrets.key\""),
];

const SECURITY: &[Key] = &[
    key(
        "verify_ssl",
        Any,
        "",
        |s| Switch(&mut s.webhooks.security.verify_ssl),
        "Whether certificates of https:// endpoints are verified.",
    ),
    key(
        "allowed_hosts",
        Any,
        "",
        |s| List(&mut s.webhooks.security.allowed_hosts),
        "Hosts that webhooks may name: names, *.parent for those below it, addresses, each with or \
         without :port, networks such as 10.0.0.0/8, or * for every host. Empty allows every host. \
         An address or a network is open although it would be forbidden.",
    ),
    key(
        "ca_file",
        Any,
        "",
        |s| Text(&mut s.webhooks.security.ca_file),
        "A PEM file with further trusted roots, beside those of the system.",
    )
    .example("\"/etc/ferrite/roots.pem\""),
    key(
        "block_private",
        Any,
        "",
        |s| Switch(&mut s.webhooks.security.block_private),
        "true: webhooks lead to public addresses only, not to loopback, private and reserved ones.",
    ),
    key(
        "client_cert_file",
        Any,
        "",
        |s| Text(&mut s.webhooks.security.client_cert_file),
        "A PEM file with the certificate that is shown to endpoints that ask for one, followed by \
         those that lead to its root. Needs client_key_file.",
    )
    .example("\"/etc/ferrite/client.pem\""),
    key(
        "client_key_file",
        Any,
        "",
        |s| Text(&mut s.webhooks.security.client_key_file),
        "A PEM file with the private key of client_cert_file.",
    )
    .example("\"/etc/ferrite/client-key.pem\""),
    key(
        "tls_profiles",
        Any,
        "",
        |s| Table(&mut s.webhooks.security.tls_profiles),
        "Settings that webhooks choose by name (TLS_PROFILE) instead of verify_ssl, ca_file, \
         client_cert_file and client_key_file; each profile has these four keys.",
    )
    .example("{ lab = { verify_ssl = false } }"),
    key(
        "proxy",
        Secret,
        "",
        |s| Text(&mut s.webhooks.security.proxy),
        "The HTTP proxy that requests go through: http://host:port or \
         http://user:password@host:port, percent-encoded.",
    )
    .example("\"http://proxy.example:3128\""),
    key(
        "no_proxy",
        Any,
        "",
        |s| List(&mut s.webhooks.security.no_proxy),
        "Hosts that are reached without the proxy, written as in allowed_hosts.",
    ),
];

const WORKERS: &[Key] = &[
    key(
        "workers",
        Integers(0, limits::WORKERS_MAX as u64),
        "threads",
        |s| Integer(&mut s.webhooks.workers.workers),
        "Worker threads; 0 for one per core that the process may use.",
    ),
    key(
        "pin_cores",
        Any,
        "",
        |s| List(&mut s.webhooks.workers.pin_cores),
        "The cores to pin the workers to, in turn; empty for no pinning.",
    ),
    key(
        "max_connections_per_endpoint",
        CONNECTIONS,
        "connections",
        |s| Integer(&mut s.webhooks.workers.max_connections_per_endpoint),
        "Open connections to one endpoint, per worker.",
    ),
    key(
        "max_connections",
        CONNECTIONS,
        "connections",
        |s| Integer(&mut s.webhooks.workers.max_connections),
        "Open connections, per worker.",
    ),
    key(
        "idle_timeout_ms",
        Integers(0, NO_END),
        "milliseconds",
        |s| Integer(&mut s.webhooks.workers.idle_timeout_ms),
        "An idle connection is closed after so long.",
    ),
    key(
        "force_epoll",
        Any,
        "",
        |s| Switch(&mut s.webhooks.workers.force_epoll),
        "Use epoll even where io_uring works.",
    ),
];
