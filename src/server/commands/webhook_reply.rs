//! The WEBHOOK commands' replies. The first field names and their order are the specification's.

use crate::server::reply::Reply;
use crate::server::time_text::rfc3339_seconds;
use crate::webhooks::{
    DeadLetterRecord, DeliveryRecord, EngineStats, TestReport, WebhookError, WebhookEvent,
    WebhookInfo, WebhookStats,
};

/// Text that stands for an error in replies: its prefix tells clients what kind it is.
pub(crate) fn error_text(error: &WebhookError) -> String {
    let prefix = match error {
        WebhookError::NotFound(_) => "NOWEBHOOK",
        WebhookError::Exists(_) => "WEBHOOKEXISTS",
        WebhookError::LimitReached(_) => "WEBHOOKLIMIT",
        WebhookError::HostDenied(_) => "WEBHOOKDENIED",
        WebhookError::Disabled(_) => "WEBHOOKDISABLED",
        WebhookError::NotKept(_) => "NOTKEPT",
        _ => "ERR",
    };
    format!("{prefix} {error}")
}

/// One value of a reply's field.
enum Value<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
    Number(u64),
    Time(u64),
    Events(&'a [WebhookEvent]),
    Names(&'a [String]),
    Statuses(&'a [u16]),
    Nothing,
}

impl<'a> Value<'a> {
    fn or_nothing<T>(value: Option<T>, some: impl FnOnce(T) -> Value<'a>) -> Value<'a> {
        value.map_or(Value::Nothing, some)
    }
}

fn write_map(reply: &mut Reply<'_>, fields: &[(&str, Value<'_>)]) {
    reply.map(fields.len());
    for (name, value) in fields {
        reply.bulk(name);
        match value {
            Value::Text(text) => reply.bulk(text),
            Value::Bytes(bytes) => reply.bulk(bytes),
            Value::Number(number) => reply.integer(i64::try_from(*number).unwrap_or(i64::MAX)),
            Value::Time(unix_us) => reply.bulk(rfc3339_seconds(*unix_us)),
            Value::Events(events) => {
                reply.array(events.len());
                events.iter().for_each(|event| reply.bulk(event.name()));
            }
            Value::Names(names) => {
                reply.array(names.len());
                names.iter().for_each(|name| reply.bulk(name));
            }
            Value::Statuses(statuses) => {
                reply.array(statuses.len());
                statuses.iter().for_each(|status| reply.integer(i64::from(*status)));
            }
            Value::Nothing => reply.null(),
        }
    }
}

fn head(info: &WebhookInfo) -> [(&'static str, Value<'_>); 5] {
    [
        ("name", Value::Text(&info.name)),
        ("url", Value::Text(&info.url)),
        ("pattern", Value::Text(&info.pattern)),
        ("events", Value::Events(&info.events)),
        ("status", Value::Text(info.status.name())),
    ]
}

pub(super) fn list(reply: &mut Reply<'_>, webhooks: &[WebhookInfo]) {
    reply.array(webhooks.len());
    for info in webhooks {
        write_map(reply, &head(info));
    }
}

/// The counters beside deliveries and failures.
fn more_counters(stats: &WebhookStats) -> [(&'static str, Value<'static>); 15] {
    [
        ("triggered", Value::Number(stats.triggered)),
        ("delivered", Value::Number(stats.delivered)),
        ("pending", Value::Number(stats.pending)),
        ("in_flight", Value::Number(stats.in_flight)),
        ("dropped", Value::Number(stats.dropped)),
        ("cancelled", Value::Number(stats.cancelled)),
        ("coalesced", Value::Number(stats.coalesced)),
        ("attempts", Value::Number(stats.attempts)),
        ("failed_attempts", Value::Number(stats.failed_attempts)),
        ("avg_latency_ms", Value::Number(stats.latency_us_avg / 1000)),
        ("replayed", Value::Number(stats.replayed)),
        ("dead_letters", Value::Number(stats.dead_letters)),
        ("dead_forgotten", Value::Number(stats.dead_forgotten)),
        ("dead_cleared", Value::Number(stats.dead_cleared)),
        ("pending_on_disk", Value::Number(stats.pending_on_disk)),
    ]
}

pub(super) fn info(reply: &mut Reply<'_>, info: &WebhookInfo) {
    let stats = &info.stats;
    let mut fields = Vec::from(head(info));
    fields.extend([
        ("created_at", Value::Time(info.created_at_us)),
        ("deliveries", Value::Number(stats.deliveries)),
        ("failures", Value::Number(stats.failures)),
        ("last_delivery", Value::or_nothing(stats.last_delivery_us, Value::Time)),
        ("auth", Value::Text(info.auth)),
        ("headers", Value::Names(&info.header_names)),
        ("signed", Value::Text(if info.signed { "yes" } else { "no" })),
        ("signatures", Value::Text(info.signatures.name())),
        ("retries", Value::Number(u64::from(info.retries))),
        ("retry_delay_ms", Value::Number(info.retry_delay_ms)),
        ("retry_backoff", Value::Text(info.retry_backoff.name())),
        ("timeout_ms", Value::Number(info.timeout_ms)),
        ("concurrency", Value::Number(u64::from(info.concurrency))),
        ("pipeline", Value::Number(u64::from(info.pipeline))),
        ("batch", Value::Text(if info.batch { "yes" } else { "no" })),
        ("batch_size", Value::Number(u64::from(info.batch_size))),
        ("batch_interval_ms", Value::Number(info.batch_interval_ms)),
        ("on_full", Value::Text(info.on_full.name())),
        ("coalesce", Value::Text(if info.coalesce { "latest" } else { "none" })),
        ("order", Value::Text(if info.ordered { "key" } else { "none" })),
        ("format", Value::Text(info.format.name())),
        ("sequence", Value::Text(if info.sequence { "yes" } else { "no" })),
        ("key_id", Value::or_nothing(info.key_id.as_deref(), Value::Text)),
        ("public_key", Value::or_nothing(info.public_key.as_deref(), Value::Text)),
        ("old_secrets", Value::Number(info.old_secrets as u64)),
        ("old_secrets_until", Value::or_nothing(info.old_secrets_until_us, Value::Time)),
        ("tls_profile", Value::or_nothing(info.tls_profile.as_deref(), Value::Text)),
    ]);
    fields.extend(more_counters(stats));
    fields.extend([
        ("status_reason", Value::or_nothing(info.status_reason(), Value::Text)),
        ("status_since", Value::Time(info.status_since_us)),
        ("retry_after_until", Value::or_nothing(info.retry_after_until_us, Value::Time)),
        ("breaker", Value::Text(info.breaker.name())),
        ("final_statuses", Value::Statuses(&info.final_statuses)),
        ("rate", Value::Number(u64::from(info.rate))),
        ("adaptive", Value::Text(if info.adaptive { "yes" } else { "no" })),
        ("window", Value::Number(u64::from(info.window))),
    ]);
    fields.push(("while_disabled", Value::Text(info.while_disabled.name())));
    write_map(reply, &fields);
}

pub(super) fn stats(reply: &mut Reply<'_>, name: &str, stats: &WebhookStats) {
    let mut fields = vec![
        ("name", Value::Text(name)),
        ("deliveries", Value::Number(stats.deliveries)),
        ("failures", Value::Number(stats.failures)),
        ("last_delivery", Value::or_nothing(stats.last_delivery_us, Value::Time)),
    ];
    fields.extend(more_counters(stats));
    write_map(reply, &fields);
}

pub(super) fn engine_stats(reply: &mut Reply<'_>, stats: &EngineStats, events_refused: u64) {
    let totals = &stats.totals;
    let log = stats.log.as_ref();
    let trouble = log.and_then(|log| log.trouble.as_deref());
    write_map(
        reply,
        &[
            ("total_webhooks", Value::Number(stats.total_webhooks)),
            ("active_webhooks", Value::Number(stats.active_webhooks)),
            ("total_deliveries", Value::Number(totals.deliveries)),
            ("successful_deliveries", Value::Number(totals.delivered)),
            ("failed_deliveries", Value::Number(totals.failures)),
            ("pending_deliveries", Value::Number(totals.pending)),
            ("avg_latency_ms", Value::Number(totals.latency_us_avg / 1000)),
            ("avg_latency_us", Value::Number(totals.latency_us_avg)),
            ("triggered", Value::Number(totals.triggered)),
            ("dropped_deliveries", Value::Number(totals.dropped)),
            ("cancelled_deliveries", Value::Number(totals.cancelled)),
            ("coalesced_deliveries", Value::Number(totals.coalesced)),
            ("in_flight_deliveries", Value::Number(totals.in_flight)),
            ("attempts", Value::Number(totals.attempts)),
            ("failed_attempts", Value::Number(totals.failed_attempts)),
            ("last_delivery", Value::or_nothing(totals.last_delivery_us, Value::Time)),
            ("events_refused", Value::Number(events_refused)),
            ("connections_opened", Value::Number(stats.connections_opened)),
            ("connections_reused", Value::Number(stats.connections_reused)),
            ("worker_restarts", Value::Number(stats.worker_restarts)),
            ("replayed_deliveries", Value::Number(totals.replayed)),
            ("dead_letters", Value::Number(totals.dead_letters)),
            ("dead_letters_forgotten", Value::Number(totals.dead_forgotten)),
            ("dead_letters_cleared", Value::Number(totals.dead_cleared)),
            ("pending_on_disk", Value::Number(totals.pending_on_disk)),
            ("log_state", Value::Text(log.map_or("off", |log| log.state.name()))),
            ("log_trouble", Value::or_nothing(trouble, Value::Text)),
            ("log_disk_bytes", Value::Number(log.map_or(0, |log| log.disk_bytes))),
            ("log_disk_bytes_max", Value::Number(log.map_or(0, |log| log.disk_bytes_max))),
            ("log_unfinished", Value::Number(log.map_or(0, |log| log.unfinished))),
            ("log_write_errors", Value::Number(log.map_or(0, |log| log.write_errors))),
        ],
    );
}

pub(super) fn deliveries(reply: &mut Reply<'_>, records: &[DeliveryRecord]) {
    reply.array(records.len());
    for record in records {
        let failure = record.failure.as_ref().map(|failure| failure.name());
        let http_status = record.status.map(u64::from);
        write_map(
            reply,
            &[
                ("id", Value::Text(&record.id)),
                ("event", Value::Text(record.event.name())),
                ("key", Value::Bytes(&record.key)),
                ("status", Value::Text(record.outcome.name())),
                ("attempt", Value::Number(u64::from(record.attempt))),
                ("http_status", Value::or_nothing(http_status, Value::Number)),
                ("error", Value::or_nothing(failure, Value::Text)),
                ("latency_ms", Value::Number(record.latency_us / 1000)),
                ("latency_us", Value::Number(record.latency_us)),
                ("at", Value::Time(record.at_us)),
                ("response", Value::Text(&record.response)),
                ("batch_id", Value::or_nothing(record.batch_id.as_deref(), Value::Text)),
                ("batch_events", Value::Number(u64::from(record.batch_events))),
            ],
        );
    }
}

pub(super) fn dead_letters(reply: &mut Reply<'_>, letters: &[DeadLetterRecord]) {
    reply.array(letters.len());
    for letter in letters {
        let failure = letter.failure.as_ref().map(|failure| failure.name());
        let http_status = letter.status.map(u64::from);
        write_map(
            reply,
            &[
                ("id", Value::Text(&letter.id)),
                ("event", Value::Text(letter.event.name())),
                ("key", Value::Bytes(&letter.key)),
                ("reason", Value::Text(letter.reason.name())),
                ("attempts", Value::Number(u64::from(letter.attempts))),
                ("http_status", Value::or_nothing(http_status, Value::Number)),
                ("error", Value::or_nothing(failure, Value::Text)),
                ("body_bytes", Value::Number(letter.body_bytes as u64)),
                ("at", Value::Time(letter.at_us)),
                ("replaying", Value::Text(if letter.replaying { "yes" } else { "no" })),
            ],
        );
    }
}

/// Success and failure have the same fields, so that a program can read both alike.
pub(crate) fn test(reply: &mut Reply<'_>, outcome: &Result<TestReport, WebhookError>) {
    let report = match outcome {
        Ok(report) => report,
        Err(error) => return reply.error(&error_text(error)),
    };
    let failure = report.failure.as_ref().map(|failure| failure.name());
    let http_status = report.status.map(u64::from);
    let stage = |took_us: Option<u64>| Value::or_nothing(took_us, Value::Number);
    write_map(
        reply,
        &[
            ("result", Value::Text(if failure.is_none() { "success" } else { "failure" })),
            ("error", Value::or_nothing(failure, Value::Text)),
            ("http_status", Value::or_nothing(http_status, Value::Number)),
            ("latency_ms", Value::Number(report.latency_us / 1000)),
            ("latency_us", Value::Number(report.latency_us)),
            ("id", Value::Text(&report.id)),
            ("response", Value::Text(&report.response)),
            ("resolve_us", stage(report.stages.resolve_us)),
            ("connect_us", stage(report.stages.connect_us)),
            ("tls_us", stage(report.stages.tls_us)),
            ("first_byte_us", stage(report.stages.first_byte_us)),
        ],
    );
}
