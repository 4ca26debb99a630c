//! The configuration file: the specification's TOML, and a `[server]` section.

use super::settings::ServerSettings;
use crate::base::limits;
use serde::Deserialize;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Names of log levels.
pub const LOG_LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The configuration file is not acceptable; one line that names the file and the key.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct ConfigError {
    file: String,
    problem: String,
}

/// What a file says, and what has to be said about it.
#[derive(Debug)]
pub struct Loaded {
    /// The settings.
    pub settings: ServerSettings,
    /// Things that are accepted but do not work yet, for the log.
    pub warnings: Vec<String>,
}

/// Reads the file at `path`; what it does not mention keeps its default.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let file = path.display().to_string();
    let fail = |problem: String| ConfigError { file: file.clone(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    parse(&text).map_err(fail)
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct File {
    server: Server,
    webhooks: Webhooks,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Server {
    bind: Option<Bind>,
    port: Option<u16>,
    admin_port: Option<u16>,
    requirepass: Option<String>,
    databases: Option<u32>,
    maxclients: Option<usize>,
    timeout: Option<u64>,
    shutdown_timeout_ms: Option<u64>,
    log_level: Option<String>,
}

/// One address, or several.
#[derive(Deserialize)]
#[serde(untagged)]
enum Bind {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Webhooks {
    enabled: Option<bool>,
    max_webhooks: Option<usize>,
    max_batch_size: Option<usize>,
    batch_interval_ms: Option<u64>,
    delivery: Delivery,
    queue: Queue,
    security: Security,
    workers: Workers,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Delivery {
    timeout_ms: Option<u64>,
    max_retries: Option<u32>,
    retry_delay_ms: Option<u64>,
    backoff_multiplier: Option<f64>,
    max_retry_delay_ms: Option<u64>,
    retry_jitter: Option<f64>,
    concurrency: Option<u32>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Queue {
    max_pending: Option<usize>,
    ring_events: Option<usize>,
    persistence: Option<bool>,
    max_dead: Option<usize>,
    max_dead_bytes: Option<usize>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Security {
    verify_ssl: Option<bool>,
    allowed_hosts: Option<Vec<String>>,
    ca_file: Option<PathBuf>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Workers {
    workers: Option<usize>,
    pin_cores: Option<Vec<usize>>,
    max_connections_per_endpoint: Option<usize>,
    max_connections: Option<usize>,
    idle_timeout_ms: Option<u64>,
    force_epoll: Option<bool>,
}

/// Reads a file's text; the error is one line.
fn parse(text: &str) -> Result<Loaded, String> {
    let file: File = toml::from_str(text).map_err(|error| describe(text, &error))?;
    let mut settings = ServerSettings::default();
    let mut warnings = Vec::new();
    apply_server(file.server, &mut settings)?;
    apply_webhooks(file.webhooks, &mut settings, &mut warnings)?;
    Ok(Loaded { settings, warnings })
}

/// Puts `value`, if there is one, into `place`.
fn put<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Like [`put`], for values that have bounds.
fn put_within<T: PartialOrd + Display + Copy>(
    place: &mut T,
    value: Option<T>,
    key: &str,
    (least, most): (T, T),
) -> Result<(), String> {
    match value {
        // Written so that it refuses NaN too.
        Some(value) if !(value >= least && value <= most) => {
            Err(format!("{key} must be from {least} to {most}, not {value}"))
        }
        value => {
            put(place, value);
            Ok(())
        }
    }
}

fn apply_server(server: Server, settings: &mut ServerSettings) -> Result<(), String> {
    if let Some(bind) = server.bind {
        let texts = match bind {
            Bind::One(text) => text.split_ascii_whitespace().map(str::to_owned).collect(),
            Bind::Many(texts) => texts,
        };
        settings.bind = texts
            .iter()
            .map(|text| parse_bind(text).map_err(|problem| format!("server.bind: {problem}")))
            .collect::<Result<_, _>>()?;
        if settings.bind.is_empty() || settings.bind.len() > BIND_MAX {
            return Err(format!("server.bind: give 1 to {BIND_MAX} addresses"));
        }
    }
    put(&mut settings.port, server.port);
    settings.admin_port = server.admin_port;
    settings.requirepass = server.requirepass.filter(|password| !password.is_empty());
    put_within(&mut settings.databases, server.databases, "server.databases", (1, 65_536))?;
    put_within(&mut settings.maxclients, server.maxclients, "server.maxclients", (1, 1_000_000))?;
    put(&mut settings.timeout_seconds, server.timeout);
    put(&mut settings.shutdown_timeout_ms, server.shutdown_timeout_ms);
    if let Some(level) = server.log_level {
        if !LOG_LEVELS.contains(&level.as_str()) {
            let levels = LOG_LEVELS.join(", ");
            return Err(format!("server.log_level must be one of {levels}, not '{level}'"));
        }
        settings.log_level = level;
    }
    Ok(())
}

/// Most addresses that can be listened on.
pub const BIND_MAX: usize = 16;

/// An address to listen on.
pub fn parse_bind(text: &str) -> Result<IpAddr, String> {
    match text {
        "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
        text => text.parse().map_err(|_| format!("'{text}' is not an IP address")),
    }
}

fn apply_webhooks(
    webhooks: Webhooks,
    settings: &mut ServerSettings,
    warnings: &mut Vec<String>,
) -> Result<(), String> {
    let config = &mut settings.webhooks;
    put(&mut config.enabled, webhooks.enabled);
    put_within(
        &mut config.max_webhooks,
        webhooks.max_webhooks,
        "webhooks.max_webhooks",
        (1, 1_000_000),
    )?;
    put_within(
        &mut config.max_batch_size,
        webhooks.max_batch_size,
        "webhooks.max_batch_size",
        (1, 100_000),
    )?;
    put_within(
        &mut config.batch_interval_ms,
        webhooks.batch_interval_ms,
        "webhooks.batch_interval_ms",
        (1, 3_600_000),
    )?;
    apply_delivery(webhooks.delivery, &mut config.delivery)?;
    let queue = webhooks.queue;
    put_within(
        &mut config.queue.max_pending,
        queue.max_pending,
        "webhooks.queue.max_pending",
        (1, usize::MAX),
    )?;
    put_within(
        &mut config.queue.ring_events,
        queue.ring_events,
        "webhooks.queue.ring_events",
        (2, 1 << 24),
    )?;
    put(&mut config.queue.max_dead, queue.max_dead);
    put(&mut config.queue.max_dead_bytes, queue.max_dead_bytes);
    if queue.persistence == Some(true) {
        warnings.push(
            "webhooks.queue.persistence = true: the durable log is not there yet; events live in \
             memory only and are lost when the process ends"
                .to_owned(),
        );
    }
    put(&mut config.security.verify_ssl, webhooks.security.verify_ssl);
    put(&mut config.security.allowed_hosts, webhooks.security.allowed_hosts);
    config.security.ca_file = webhooks.security.ca_file;
    apply_workers(webhooks.workers, &mut config.workers)
}

fn apply_delivery(
    delivery: Delivery,
    config: &mut crate::webhooks::DeliveryConfig,
) -> Result<(), String> {
    let key = |name: &str| format!("webhooks.delivery.{name}");
    let delays = (0, limits::RETRY_DELAY_MS_MAX);
    put_within(
        &mut config.timeout_ms,
        delivery.timeout_ms,
        &key("timeout_ms"),
        (1, limits::TIMEOUT_MS_MAX),
    )?;
    put_within(
        &mut config.max_retries,
        delivery.max_retries,
        &key("max_retries"),
        (0, limits::RETRIES_MAX),
    )?;
    put_within(
        &mut config.retry_delay_ms,
        delivery.retry_delay_ms,
        &key("retry_delay_ms"),
        delays,
    )?;
    put_within(
        &mut config.backoff_multiplier,
        delivery.backoff_multiplier,
        &key("backoff_multiplier"),
        (1.0, 1000.0),
    )?;
    put_within(
        &mut config.max_retry_delay_ms,
        delivery.max_retry_delay_ms,
        &key("max_retry_delay_ms"),
        delays,
    )?;
    put_within(&mut config.retry_jitter, delivery.retry_jitter, &key("retry_jitter"), (0.0, 1.0))?;
    put_within(
        &mut config.concurrency,
        delivery.concurrency,
        &key("concurrency"),
        (1, limits::CONCURRENCY_MAX),
    )
}

fn apply_workers(
    workers: Workers,
    config: &mut crate::webhooks::WorkerConfig,
) -> Result<(), String> {
    let key = |name: &str| format!("webhooks.workers.{name}");
    put_within(&mut config.workers, workers.workers, &key("workers"), (0, limits::WORKERS_MAX))?;
    put(&mut config.pin_cores, workers.pin_cores);
    put_within(
        &mut config.max_connections_per_endpoint,
        workers.max_connections_per_endpoint,
        &key("max_connections_per_endpoint"),
        (1, 1_000_000),
    )?;
    put_within(
        &mut config.max_connections,
        workers.max_connections,
        &key("max_connections"),
        (1, 1_000_000),
    )?;
    put(&mut config.idle_timeout_ms, workers.idle_timeout_ms);
    put(&mut config.force_epoll, workers.force_epoll);
    Ok(())
}

/// One line for an error of the parser: where, which key, and the nearest known name.
fn describe(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start.min(text.len()));
    let before = text.get(..start).unwrap_or_default();
    let line_number = before.matches('\n').count() + 1;
    let line = text.lines().nth(line_number - 1).unwrap_or_default();
    let message = error.message().replace('\n', " ");
    let problem = match unknown_name(&message) {
        Some((name, known)) => {
            let nearest = nearest(name, &known).map_or_else(
                || format!("known are {}", known.join(", ")),
                |near| format!("did you mean '{near}'?"),
            );
            format!("unknown key '{name}'; {nearest}")
        }
        None => match line.split_once('=') {
            // The parser's message repeats the value, and this one is a secret.
            Some((key, _)) if key.trim() == "requirepass" => "requirepass must be a string".into(),
            Some((key, _)) => format!("{}: {message}", key.trim()),
            None => message,
        },
    };
    let section = section_of(before, line);
    format!("line {line_number}{section}: {problem}")
}

/// The section that the last line of `before` is in, for people.
fn section_of(before: &str, line: &str) -> String {
    let header = before
        .lines()
        .chain([line])
        .rfind(|line| line.trim_start().starts_with('['))
        .and_then(|line| line.trim().split(']').next().map(str::to_owned));
    header.map_or_else(String::new, |header| format!(" in {header}]"))
}

/// Takes the names out of the parser's "unknown field `x`, expected one of `a`, `b`".
fn unknown_name(message: &str) -> Option<(&str, Vec<&str>)> {
    let mut names = message.strip_prefix("unknown field ")?.split('`').skip(1).step_by(2);
    Some((names.next()?, names.collect()))
}

fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let (distance, near) = known.iter().map(|known| (edit_distance(name, known), *known)).min()?;
    (distance <= name.len().max(3) / 2).then_some(near)
}

/// How many letters must be changed, added or removed to make one word of the other.
fn edit_distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for column in 0..to.len() {
            let changed = diagonal + usize::from(letter != to[column]);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
#[path = "config_file_tests.rs"]
mod tests;
