//! Medians, ratios, and what they say about the targets.

use crate::result::{ComparisonResult, PeerResult};
use std::fmt::Write;

/// The whole pipeline, signed, beside wrk's bare POST.
const P1_WRK: f64 = 1.5;
/// The whole pipeline, signed, beside the raw generator.
const P1_RAW: f64 = 0.85;
/// Signed deliveries per second and core with 16 requests in a pipeline.
const P2_PER_SECOND: f64 = 1_000_000.0;

/// A sink that runs for more of the time than this is the limit itself.
const SINK_BUSY_MAX: f64 = 0.97;
/// A sink that waits for its core for more of the time than this has it not to itself.
const SINK_HELD_UP_MAX: f64 = 0.03;

/// The median; 0 of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match (sorted.len(), sorted.len() / 2) {
        (0, _) => 0.0,
        (length, middle) if length % 2 == 1 => sorted[middle],
        (_, middle) => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The median of the ratios of each round: what drifts between rounds has no part in it.
pub(crate) fn ratio(peer: &PeerResult, base: &PeerResult) -> Option<f64> {
    let rounds = peer.rates.iter().zip(&base.rates).filter(|(_, base)| **base > 0.0);
    let ratios: Vec<f64> = rounds.map(|(rate, base)| rate / base).collect();
    (!ratios.is_empty()).then(|| median(&ratios))
}

/// Everything that a comparison says, as text.
pub(super) fn text(result: &ComparisonResult) -> String {
    let mut text = String::new();
    let machine = &result.machine;
    let _ = writeln!(text, "{}, {} cores, {}", machine.processor, machine.cores, machine.kernel);
    let rounds = result.peers.iter().map(|peer| peer.rates.len()).max().unwrap_or_default();
    let _ =
        writeln!(text, "{}; {rounds} rounds of {} s each, in turns", result.cores, result.seconds);
    let _ = writeln!(
        text,
        "requests per second as the sink counts them; x: median of each round's ratio\n"
    );
    table(&mut text, result);
    for (name, reason) in &result.absent {
        let _ = writeln!(text, "absent: {name}: {reason}");
    }
    warnings(&mut text, result);
    text.push('\n');
    verdicts(&mut text, result);
    text
}

fn table(text: &mut String, result: &ComparisonResult) {
    let width = result.peers.iter().map(|peer| peer.name.len()).max().unwrap_or_default();
    let (wrk, raw) = (find(result, "wrk"), find(result, "raw"));
    let _ = writeln!(
        text,
        "{:width$}  {:>9}  {:>21}  {:>6}  {:>6}  {:>9}  notes",
        "peer", "median", "min..max", "x wrk", "x raw", "sink busy"
    );
    for peer in &result.peers {
        let spread = peer
            .rates
            .iter()
            .fold((f64::INFINITY, 0.0_f64), |(low, high), rate| (low.min(*rate), high.max(*rate)));
        let times = |base: Option<&PeerResult>| {
            base.and_then(|base| ratio(peer, base)).map_or("-".to_owned(), |x| format!("{x:.2}"))
        };
        let _ = writeln!(
            text,
            "{:width$}  {:>9.0}  {:>21}  {:>6}  {:>6}  {:>9}  {}",
            peer.name,
            peer.median,
            format!("{:.0}..{:.0}", spread.0, spread.1),
            times(wrk),
            times(raw),
            peer.sink_busy.map_or("-".to_owned(), |part| format!("{:.0} %", part * 100.0)),
            peer.notes
        );
    }
}

/// What makes the rates doubtful.
fn warnings(text: &mut String, result: &ComparisonResult) {
    let over = |value: fn(&PeerResult) -> Option<f64>, bound: f64| {
        let peers = result.peers.iter().filter(|peer| value(peer).is_some_and(|part| part > bound));
        peers.map(|peer| peer.name.as_str()).collect::<Vec<&str>>().join(", ")
    };
    let held_up = over(|peer| peer.sink_held_up, SINK_HELD_UP_MAX);
    if !held_up.is_empty() {
        let _ = writeln!(
            text,
            "doubtful: something else used the sink's core, so rates are too low: {held_up}"
        );
    }
    let busy = over(|peer| peer.sink_busy, SINK_BUSY_MAX);
    if !busy.is_empty() {
        let _ = writeln!(text, "doubtful: the sink was the limit, not the sender: {busy}");
    }
}

fn verdicts(text: &mut String, result: &ComparisonResult) {
    for name in ["engine-signed", "engine"] {
        let Some(engine) = find(result, name) else { continue };
        let part = |base: &str, target: f64| {
            let ratio = find(result, base).and_then(|base| ratio(engine, base))?;
            Some(format!("{ratio:.2} x {base} (target {target})"))
        };
        let parts: Vec<String> =
            [part("wrk", P1_WRK), part("raw", P1_RAW)].into_iter().flatten().collect();
        if !parts.is_empty() {
            let _ = writeln!(text, "P1, {name}: {}", parts.join(", "));
        }
    }
    if let Some(engine) = find(result, "engine-pipelined-signed") {
        let median = engine.median;
        let _ = write!(text, "P2, {}: {median:.0}/s (target {P2_PER_SECOND:.0})", engine.name);
        let raw = find(result, "raw-pipelined-signed");
        if let Some(ratio) = raw.and_then(|raw| ratio(engine, raw)) {
            let _ = write!(text, ", {ratio:.2} x raw-pipelined-signed");
        }
        text.push('\n');
    }
}

fn find<'a>(result: &'a ComparisonResult, name: &str) -> Option<&'a PeerResult> {
    result.peers.iter().find(|peer| peer.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, rates: &[f64]) -> PeerResult {
        let (name, rates, notes) = (name.to_owned(), rates.to_vec(), String::new());
        let (sink_busy, sink_held_up) = (None, None);
        PeerResult { median: median(&rates), name, rates, notes, sink_busy, sink_held_up }
    }

    #[test]
    fn medians_of_odd_and_even_counts() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        // The machine was half as fast in the second round: the ratio does not see it.
        let (engine, wrk) = (peer("engine", &[150.0, 75.0]), peer("wrk", &[100.0, 50.0]));
        assert_eq!(ratio(&engine, &wrk), Some(1.5));
        assert_eq!(ratio(&engine, &peer("wrk", &[])), None);
    }

    #[test]
    fn the_text_says_everything() {
        let result = ComparisonResult {
            cores: "sender on core 0, sink on core 1".to_owned(),
            seconds: 2.0,
            peers: vec![
                peer("engine-signed", &[72.0, 80.0, 64.0]),
                peer("engine-pipelined-signed", &[1_100_000.0]),
                peer("raw", &[144.0, 160.0, 128.0]),
                peer("wrk", &[100.0, 100.0, 100.0]),
            ],
            absent: vec![("oha".to_owned(), "not installed".to_owned())],
            ..ComparisonResult::default()
        };
        let text = text(&result);
        for part in [
            "sender on core 0, sink on core 1; 3 rounds of 2 s each",
            "absent: oha: not installed",
            "P1, engine-signed: 0.72 x wrk (target 1.5), 0.50 x raw (target 0.85)",
            "P2, engine-pipelined-signed: 1100000/s (target 1000000)",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
        let row = text.lines().find(|line| line.starts_with("engine-signed ")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells, ["engine-signed", "72", "64..80", "0.72", "0.50", "-"]);
        assert!(!text.contains("doubtful"), "{text}");
    }

    #[test]
    fn rates_that_the_sink_has_limited_are_doubted() {
        let busy = PeerResult { sink_busy: Some(0.99), ..peer("raw", &[1.0]) };
        let held_up =
            PeerResult { sink_busy: Some(0.6), sink_held_up: Some(0.3), ..peer("wrk", &[1.0]) };
        let peers = vec![busy, held_up, peer("engine", &[1.0])];
        let text = text(&ComparisonResult { peers, ..ComparisonResult::default() });
        assert!(text.contains("the sink was the limit, not the sender: raw\n"), "{text}");
        assert!(text.contains("so rates are too low: wrk\n"), "{text}");
    }
}
