//! Webhooks and counters as rows: JSON with a version.
//!
//! A new field gets a default, which is what rows from before it mean. What older versions must
//! not misunderstand gets a new [`VERSION`]; they refuse it.

use crate::core::dead_letters::DeadTally;
use crate::core::event::{EventMask, WebhookEvent};
use crate::core::format::Format;
use crate::core::kept::{KeptCounters, KeptLedger};
use crate::core::ledger::{Tally, WebhookStatus};
use crate::core::on_full::OnFull;
use crate::core::retry::{RetryBackoff, RetryPolicy};
use crate::core::signature::Signatures;
use crate::core::while_disabled::WhileDisabled;
use crate::registry::{Auth, KeptWebhook, RetiredSecret, Settings};
use serde::{Deserialize, Serialize};

/// The version of the rows that are written.
pub const VERSION: u32 = 1;

/// Why a row cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RowError {
    /// It has a newer version: this one.
    Newer(u32),
    /// It is not what was written; says why, without its contents.
    Wrong(String),
}

#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(default)]
struct WebhookRow {
    version: u32,
    name: String,
    url: String,
    pattern: String,
    events: Vec<String>,
    bearer: Option<String>,
    basic: Option<(String, String)>,
    headers: Vec<(String, String)>,
    secret: Option<String>,
    retired: Vec<(String, u64)>,
    signatures: String,
    retries: u32,
    retry_delay_ms: u64,
    retry_backoff: String,
    backoff_multiplier: f64,
    max_retry_delay_ms: u64,
    retry_jitter: f64,
    timeout_ms: u64,
    concurrency: u32,
    pipeline: u32,
    batch: bool,
    batch_size: u32,
    batch_interval_ms: u64,
    on_full: String,
    coalesce: bool,
    ordered: bool,
    format: String,
    sequence: bool,
    final_statuses: Vec<u16>,
    rate: u32,
    adaptive: bool,
    tls_profile: Option<String>,
    while_disabled: String,
    created_at_us: u64,
    status: String,
    status_since_us: Option<u64>,
}

/// What a field that is missing means. Name and URL have to be there.
impl Default for WebhookRow {
    fn default() -> Self {
        WebhookRow {
            version: VERSION,
            name: String::new(),
            url: String::new(),
            pattern: "*".to_owned(),
            events: names(EventMask::ALL),
            bearer: None,
            basic: None,
            headers: Vec::new(),
            secret: None,
            retired: Vec::new(),
            signatures: Signatures::default().name().to_owned(),
            retries: 3,
            retry_delay_ms: 1000,
            retry_backoff: RetryBackoff::default().name().to_owned(),
            backoff_multiplier: 2.0,
            max_retry_delay_ms: 60_000,
            retry_jitter: 0.1,
            timeout_ms: 5000,
            concurrency: 64,
            pipeline: 1,
            batch: false,
            batch_size: 1,
            batch_interval_ms: 1000,
            on_full: OnFull::default().name().to_owned(),
            coalesce: false,
            ordered: true,
            format: Format::default().name().to_owned(),
            sequence: false,
            final_statuses: Vec::new(),
            rate: 0,
            adaptive: false,
            tls_profile: None,
            while_disabled: WhileDisabled::default().name().to_owned(),
            created_at_us: 0,
            status: ACTIVE.to_owned(),
            status_since_us: None,
        }
    }
}

const ACTIVE: &str = "active";

/// Short names, which do not change when replies do.
const STATUSES: [(&str, WebhookStatus); 5] = [
    (ACTIVE, WebhookStatus::Active),
    ("disabled", WebhookStatus::Disabled),
    ("gone", WebhookStatus::Gone),
    ("refused", WebhookStatus::Refused),
    ("failing", WebhookStatus::Failing),
];

fn names(events: EventMask) -> Vec<String> {
    events.iter().map(|event| event.name().to_owned()).collect()
}

/// The row of a webhook.
///
/// # Errors
/// None that is known.
pub fn write_webhook(webhook: &KeptWebhook) -> Result<Vec<u8>, RowError> {
    let settings = webhook.settings.clone();
    let (bearer, basic) = match settings.auth {
        Auth::None => (None, None),
        Auth::Bearer(token) => (Some(token), None),
        Auth::Basic(user, password) => (None, Some((user, password))),
    };
    let retired = settings.retired.into_iter();
    let RetryPolicy { retries, delay_ms, backoff, multiplier, delay_ms_max, jitter } =
        settings.retry;
    // One that is held is kept with the status that it had.
    let status = STATUSES.iter().find(|(_, status)| *status == webhook.ledger.status);
    let row = WebhookRow {
        version: VERSION,
        name: webhook.name.clone(),
        url: settings.url,
        pattern: settings.pattern,
        events: names(settings.events),
        bearer,
        basic,
        headers: settings.headers,
        secret: settings.secret,
        retired: retired.map(|retired| (retired.text, retired.until_unix_seconds)).collect(),
        signatures: settings.signatures.name().to_owned(),
        retries,
        retry_delay_ms: delay_ms,
        retry_backoff: backoff.name().to_owned(),
        backoff_multiplier: multiplier,
        max_retry_delay_ms: delay_ms_max,
        retry_jitter: jitter,
        timeout_ms: settings.timeout_ms,
        concurrency: settings.concurrency,
        pipeline: settings.pipeline,
        batch: settings.batch,
        batch_size: settings.batch_size,
        batch_interval_ms: settings.batch_interval_ms,
        on_full: settings.on_full.name().to_owned(),
        coalesce: settings.coalesce,
        ordered: settings.ordered,
        format: settings.format.name().to_owned(),
        sequence: settings.sequence,
        final_statuses: settings.final_statuses,
        rate: settings.rate,
        adaptive: settings.adaptive,
        tls_profile: settings.tls_profile,
        while_disabled: settings.while_disabled.name().to_owned(),
        created_at_us: webhook.created_at_us,
        status: status.map_or(ACTIVE, |(name, _)| name).to_owned(),
        status_since_us: webhook.ledger.status_since_us,
    };
    write(&row)
}

/// Reads the row of a webhook, without its counters.
///
/// # Errors
/// [`RowError`].
pub fn read_webhook(number: u64, bytes: &[u8]) -> Result<KeptWebhook, RowError> {
    let row: WebhookRow = read(bytes)?;
    if row.name.is_empty() || row.url.is_empty() {
        return Err(RowError::Wrong("it has no name or no URL".to_owned()));
    }
    let events = row.events.iter().map(|name| word("events", WebhookEvent::from_name, name));
    let auth = match (row.bearer, row.basic) {
        (Some(token), _) => Auth::Bearer(token),
        (None, Some((user, password))) => Auth::Basic(user, password),
        (None, None) => Auth::None,
    };
    let retired = row.retired.into_iter();
    let settings = Settings {
        url: row.url,
        pattern: row.pattern,
        events: events.collect::<Result<EventMask, RowError>>()?,
        auth,
        headers: row.headers,
        secret: row.secret,
        signatures: word("signatures", Signatures::from_name, &row.signatures)?,
        retired: retired
            .map(|(text, until_unix_seconds)| RetiredSecret { text, until_unix_seconds })
            .collect(),
        retry: RetryPolicy {
            retries: row.retries,
            delay_ms: row.retry_delay_ms,
            backoff: word("retry_backoff", RetryBackoff::from_name, &row.retry_backoff)?,
            multiplier: row.backoff_multiplier,
            delay_ms_max: row.max_retry_delay_ms,
            jitter: row.retry_jitter,
        },
        timeout_ms: row.timeout_ms,
        concurrency: row.concurrency,
        pipeline: row.pipeline,
        batch: row.batch,
        batch_size: row.batch_size,
        batch_interval_ms: row.batch_interval_ms,
        on_full: word("on_full", OnFull::from_name, &row.on_full)?,
        coalesce: row.coalesce,
        ordered: row.ordered,
        format: word("format", Format::from_name, &row.format)?,
        sequence: row.sequence,
        final_statuses: row.final_statuses,
        rate: row.rate,
        adaptive: row.adaptive,
        tls_profile: row.tls_profile,
        while_disabled: word("while_disabled", WhileDisabled::from_name, &row.while_disabled)?,
    };
    let of_name = |name: &[u8]| {
        let known = STATUSES.iter().find(|(known, _)| known.as_bytes() == name);
        known.map(|(_, status)| *status)
    };
    Ok(KeptWebhook {
        number,
        name: row.name,
        settings,
        created_at_us: row.created_at_us,
        ledger: KeptLedger {
            status: word("status", of_name, &row.status)?,
            status_since_us: row.status_since_us,
            counters: KeptCounters::default(),
        },
    })
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct CountersRow {
    version: u32,
    delivered: u64,
    dead: u64,
    dropped: u64,
    cancelled: u64,
    coalesced: u64,
    replayed: u64,
    attempts: u64,
    failed_attempts: u64,
    retries: u64,
    resent: u64,
    latency_us_sum: u64,
    dead_forgotten: u64,
    dead_cleared: u64,
    last_delivery_us: Option<u64>,
}

/// The row of a webhook's counters.
///
/// # Errors
/// None that is known.
pub fn write_counters(counters: &KeptCounters) -> Result<Vec<u8>, RowError> {
    // By name, all of them, so that a new counter is not forgotten here. Those that are not kept
    // are of what is pending, or follow from the others.
    let Tally {
        delivered,
        dead,
        dropped,
        cancelled,
        coalesced,
        replayed,
        attempts,
        failed_attempts,
        retries,
        resent,
        latency_us_sum,
        triggered: _,
        pending: _,
        in_flight: _,
        lanes_blocked: _,
        spilled: _,
    } = counters.tally;
    let DeadTally { kept: _, forgotten, cleared } = counters.dead;
    let row = CountersRow {
        version: VERSION,
        delivered,
        dead,
        dropped,
        cancelled,
        coalesced,
        replayed,
        attempts,
        failed_attempts,
        retries,
        resent,
        latency_us_sum,
        dead_forgotten: forgotten,
        dead_cleared: cleared,
        last_delivery_us: counters.last_delivery_us,
    };
    write(&row)
}

/// Reads the row of a webhook's counters.
///
/// # Errors
/// [`RowError`].
pub fn read_counters(bytes: &[u8]) -> Result<KeptCounters, RowError> {
    let row: CountersRow = read(bytes)?;
    let tally = Tally {
        delivered: row.delivered,
        dead: row.dead,
        dropped: row.dropped,
        cancelled: row.cancelled,
        coalesced: row.coalesced,
        replayed: row.replayed,
        attempts: row.attempts,
        failed_attempts: row.failed_attempts,
        retries: row.retries,
        resent: row.resent,
        latency_us_sum: row.latency_us_sum,
        ..Tally::default()
    };
    let (forgotten, cleared) = (row.dead_forgotten, row.dead_cleared);
    Ok(KeptCounters {
        tally: tally.finished(),
        dead: DeadTally { kept: 0, forgotten, cleared },
        last_delivery_us: row.last_delivery_us,
    })
}

fn write<T: Serialize>(row: &T) -> Result<Vec<u8>, RowError> {
    serde_json::to_vec(row).map_err(|error| RowError::Wrong(error.to_string()))
}

/// Reads a row whose version is not newer than ours. The complaint does not repeat what is in the
/// row, which may be a secret.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, RowError> {
    let wrong = |error: serde_json::Error| {
        RowError::Wrong(format!("it is not valid at column {}", error.column()))
    };
    let Versioned { version } = serde_json::from_slice(bytes).map_err(wrong)?;
    if version > VERSION {
        return Err(RowError::Newer(version));
    }
    serde_json::from_slice(bytes).map_err(wrong)
}

fn word<T>(field: &str, from_name: impl Fn(&[u8]) -> Option<T>, name: &str) -> Result<T, RowError> {
    from_name(name.as_bytes()).ok_or_else(|| RowError::Wrong(format!("its {field} is unknown")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook() -> KeptWebhook {
        KeptWebhook {
            number: 7,
            name: "w".to_owned(),
            settings: Settings {
                url: "https://u:p@a.test/é?q".to_owned(),
                pattern: "order:[0-9]*\\\"".to_owned(),
                events: EventMask::NONE.with(WebhookEvent::XAdd).with(WebhookEvent::Del),
                auth: Auth::Basic("user".to_owned(), "pass\u{1f600}".to_owned()),
                headers: vec![("X-A".to_owned(), "b".to_owned())],
                secret: Some("whsec_c2VjcmV0".to_owned()),
                signatures: Signatures::FERRITE.and(Signatures::RFC9421),
                retired: vec![RetiredSecret { text: "old".to_owned(), until_unix_seconds: 9 }],
                retry: RetryPolicy {
                    retries: 9,
                    delay_ms: 8,
                    backoff: RetryBackoff::Linear,
                    multiplier: 1.1,
                    delay_ms_max: 7,
                    jitter: 0.1 + 0.2,
                },
                timeout_ms: 6,
                concurrency: 5,
                pipeline: 4,
                batch: true,
                batch_size: 3,
                batch_interval_ms: 2,
                on_full: OnFull::DropOldest,
                coalesce: true,
                ordered: false,
                format: Format::CloudEventsStructured,
                sequence: true,
                final_statuses: vec![400, 422],
                rate: 11,
                adaptive: true,
                tls_profile: Some("lab".to_owned()),
                while_disabled: WhileDisabled::Keep,
            },
            created_at_us: 12,
            ledger: KeptLedger {
                status: WebhookStatus::Refused,
                status_since_us: Some(13),
                counters: KeptCounters::default(),
            },
        }
    }

    #[test]
    fn everything_a_webhook_was_told_comes_back() {
        let mut webhook = webhook();
        assert_eq!(read_webhook(7, &write_webhook(&webhook).unwrap()), Ok(webhook.clone()));
        webhook.settings.auth = Auth::Bearer("token".to_owned());
        for (_, status) in STATUSES {
            webhook.ledger.status = status;
            assert_eq!(read_webhook(7, &write_webhook(&webhook).unwrap()), Ok(webhook.clone()));
        }
    }

    #[test]
    fn counters_come_back() {
        let counters = KeptCounters {
            tally: Tally {
                delivered: 1,
                dead: 2,
                dropped: 3,
                cancelled: 4,
                coalesced: 5,
                replayed: 2,
                triggered: 13,
                attempts: 7,
                failed_attempts: 8,
                retries: 9,
                resent: 10,
                latency_us_sum: u64::MAX,
                ..Tally::default()
            },
            dead: DeadTally { kept: 0, forgotten: 11, cleared: 12 },
            last_delivery_us: Some(13),
        };
        assert_eq!(read_counters(&write_counters(&counters).unwrap()), Ok(counters));
    }

    #[test]
    fn a_row_from_before_a_field_gets_its_default() {
        let row = br#"{"version":1,"name":"w","url":"http://a.test/","later":[1]}"#;
        let webhook = read_webhook(1, row).unwrap();
        assert_eq!(
            (webhook.settings.pattern.as_str(), webhook.settings.events),
            ("*", EventMask::ALL)
        );
        assert!(webhook.settings.ordered && webhook.settings.retry.retries == 3);
        assert_eq!(webhook.ledger.status, WebhookStatus::Active);
        assert_eq!(read_counters(br#"{"version":1}"#), Ok(KeptCounters::default()));
    }

    #[test]
    fn what_is_newer_or_wrong_is_refused_and_not_repeated() {
        let newer = br#"{"version":2,"name":"w","url":"http://a.test/","pattern":{}}"#;
        assert_eq!(read_webhook(1, newer), Err(RowError::Newer(2)));
        assert_eq!(read_counters(br#"{"version":2}"#), Err(RowError::Newer(2)));
        for row in [
            "",
            "{}",
            "[]",
            "null",
            r#"{"version":1}"#,
            r#"{"version":1,"name":"hunter2","url":"u","status":"hunter2"}"#,
            r#"{"version":1,"name":"w","url":"u","events":["hunter2"]}"#,
            r#"{"version":1,"name":"w","url":"u","retries":"hunter2"}"#,
            r#"{"version":1,"name":"w","url":"u","secret":"hunter2"#,
        ] {
            let error = read_webhook(1, row.as_bytes()).unwrap_err();
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }
}
