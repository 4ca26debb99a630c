//! Results as text for people.

use crate::result::{Latency, RunResult, SweepResult};
use std::fmt::Write;

/// The quantiles that are shown.
const SHOWN: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// One run.
pub(super) fn run(result: &RunResult) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<20}{value}");
    };
    if !result.label.is_empty() {
        line("run", result.label.clone());
    }
    line("deliveries/s", format!("{:.0}", result.deliveries_per_second));
    line("deliveries", format!("{} in {:.2} s", result.deliveries, result.seconds));
    line("events accepted", result.events.to_string());
    line("latency", latency(result.latency.as_ref()));
    if result.generator_lag.is_some() {
        line("generator's lag", latency(result.generator_lag.as_ref()));
    }
    line(
        "failures",
        format!(
            "{} attempts failed, {} deliveries given up, {} dropped",
            result.failed_attempts, result.dead, result.dropped
        ),
    );
    line("no room", format!("{} times", result.full));
    line("connections opened", result.connections_opened.to_string());
    line("rings by callers", result.rings_by_callers.to_string());
    if !result.driver.is_empty() {
        line("driver", result.driver.clone());
    }
    line("cores", result.cores.clone());
    if let Some(reason) = &result.void {
        line("VOID", reason.clone());
    }
    text
}

/// The runs of a sweep, a line each.
pub(super) fn sweep(result: &SweepResult) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{:>12}{:>14}  latency", result.setting, "deliveries/s");
    for (value, run) in &result.points {
        let rate = run.deliveries_per_second;
        let _ = write!(text, "{value:>12}{rate:>14.0}  {}", latency(run.latency.as_ref()));
        let _ = match &run.void {
            None => writeln!(text),
            Some(reason) => writeln!(text, "  VOID: {reason}"),
        };
    }
    text
}

fn latency(latency: Option<&Latency>) -> String {
    let Some(latency) = latency else { return "not measured".to_owned() };
    let shown = SHOWN
        .iter()
        .filter_map(|(name, quantile)| Some(format!("{name} {}", time(latency.at(*quantile)?))));
    shown.collect::<Vec<_>>().join("  ")
}

fn time(us: f64) -> String {
    match us {
        us if us < 1000.0 => format!("{us:.1} us"),
        us if us < 1_000_000.0 => format!("{:.2} ms", us / 1000.0),
        us => format!("{:.2} s", us / 1_000_000.0),
    }
}
