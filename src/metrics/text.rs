//! The Prometheus text format, version 0.0.4.

use super::families::{self, Family, Kind, Value};
use super::{LATENCY_BOUNDS_US, LatencyHistogram, Metrics};

/// The media type of what [`Metrics::write_prometheus`] writes.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) fn write(metrics: &Metrics, out: &mut String) {
    let driver = match metrics.driver.as_str() {
        "" => "none",
        driver => driver,
    };
    let build = [label("version", metrics.version), label("driver", driver)].join(",");
    begin(out, families::BUILD_INFO, "gauge", families::BUILD_INFO_HELP);
    count(out, families::BUILD_INFO, &build, 1);
    let engine = [(String::new(), metrics)];
    families::ENGINE.iter().for_each(|family| simple(out, family, &engine));
    let webhooks: Vec<_> =
        metrics.webhooks.iter().map(|webhook| (label("webhook", &webhook.name), webhook)).collect();
    families::WEBHOOK.iter().for_each(|family| simple(out, family, &webhooks));
    begin(out, families::FAILURES, "counter", families::FAILURES_HELP);
    for (labels, webhook) in &webhooks {
        for (cause, failures) in webhook.failures() {
            let labels = [labels, ",", &label("cause", cause)].concat();
            count(out, families::FAILURES, &labels, failures);
        }
    }
    begin(out, families::LATENCY, "histogram", families::LATENCY_HELP);
    for (labels, webhook) in &webhooks {
        for (stage, latencies) in [
            ("queue", &webhook.queue_latency),
            ("attempt", &webhook.attempt_latency),
            ("total", &webhook.total_latency),
        ] {
            let labels = [labels, ",", &label("stage", stage)].concat();
            histogram(out, families::LATENCY, &labels, latencies);
        }
    }
    let workers: Vec<_> = metrics
        .workers
        .iter()
        .enumerate()
        .map(|(number, worker)| (label("worker", &number.to_string()), worker))
        .collect();
    families::WORKER.iter().for_each(|family| simple(out, family, &workers));
    begin(out, families::DOORBELLS, "counter", families::DOORBELLS_HELP);
    for (labels, worker) in &workers {
        for (by, rung) in
            [("caller", worker.doorbells_by_callers), ("ringer", worker.doorbells_by_ringer)]
        {
            let labels = [labels, ",", &label("by", by)].concat();
            count(out, families::DOORBELLS, &labels, rung);
        }
    }
    let log: Vec<_> = metrics.log.iter().map(|log| (String::new(), log)).collect();
    families::LOG.iter().for_each(|family| simple(out, family, &log));
}

fn begin(out: &mut String, name: &str, kind: &str, help: &str) {
    push_all(out, &["# HELP ", name, " ", help, "\n# TYPE ", name, " ", kind, "\n"]);
}

fn simple<T>(out: &mut String, family: &Family<T>, samples: &[(String, &T)]) {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    };
    begin(out, family.name, kind, family.help);
    for (labels, subject) in samples {
        match (family.read)(subject) {
            Value::Count(value) => count(out, family.name, labels, value),
            Value::Microseconds(us) => {
                push_name(out, family.name, labels);
                push_seconds(out, us);
                out.push('\n');
            }
            Value::Absent => {}
        }
    }
}

fn count(out: &mut String, name: &str, labels: &str, value: u64) {
    push_name(out, name, labels);
    out.push_str(itoa::Buffer::new().format(value));
    out.push('\n');
}

/// The buckets of the format are cumulative.
fn histogram(out: &mut String, name: &str, labels: &str, latencies: &LatencyHistogram) {
    let mut sum = 0;
    let bounds = LATENCY_BOUNDS_US.iter().map(Some).chain([None]);
    for (bound, bucket) in bounds.zip(latencies.counts) {
        sum += bucket;
        push_all(out, &[name, "_bucket{", labels, ",le=\""]);
        match bound {
            Some(&us) => push_seconds(out, us),
            None => out.push_str("+Inf"),
        }
        push_all(out, &["\"} ", itoa::Buffer::new().format(sum), "\n"]);
    }
    push_all(out, &[name, "_sum{", labels, "} "]);
    push_seconds(out, latencies.sum_us);
    push_all(out, &["\n", name, "_count{", labels, "} ", itoa::Buffer::new().format(sum), "\n"]);
}

fn push_name(out: &mut String, name: &str, labels: &str) {
    match labels {
        "" => push_all(out, &[name, " "]),
        labels => push_all(out, &[name, "{", labels, "} "]),
    }
}

/// Exactly, and as short as it can be: `0.0025`, `1.0`.
fn push_seconds(out: &mut String, us: u64) {
    let digits = (us % 1_000_000) + 1_000_000;
    let mut buffer = itoa::Buffer::new();
    let fraction = buffer.format(digits)[1..].trim_end_matches('0');
    let fraction = if fraction.is_empty() { "0" } else { fraction };
    push_all(out, &[itoa::Buffer::new().format(us / 1_000_000), ".", fraction]);
}

/// A label with its value, escaped as the format wants it.
fn label(name: &str, value: &str) -> String {
    let mut label = [name, "=\""].concat();
    for character in value.chars() {
        match character {
            '\\' => label.push_str("\\\\"),
            '"' => label.push_str("\\\""),
            '\n' => label.push_str("\\n"),
            other => label.push(other),
        }
    }
    label.push('"');
    label
}

fn push_all(out: &mut String, parts: &[&str]) {
    parts.iter().for_each(|part| out.push_str(part));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_and_short() {
        for (us, text) in [
            (0, "0.0"),
            (1, "0.000001"),
            (2_500, "0.0025"),
            (100_000, "0.1"),
            (1_000_000, "1.0"),
            (3_600_000_000, "3600.0"),
            (1_700_000_000_123_450, "1700000000.12345"),
        ] {
            let mut out = String::new();
            push_seconds(&mut out, us);
            assert_eq!(out, text);
        }
    }

    #[test]
    fn label_values_are_escaped() {
        assert_eq!(label("webhook", "a\"b\\c\nd{},=é"), "webhook=\"a\\\"b\\\\c\\nd{},=é\"");
    }
}
