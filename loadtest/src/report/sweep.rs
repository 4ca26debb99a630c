//! Sweeps: throughput and latency over one setting.

use super::plot::{Axis, LinePlot, Series, Stroke};
use super::settings::{common, settings};
use super::table::{NOTHING, figure, numbers, void};
use super::{format, page::Named};
use crate::result::{RunResult, SweepResult};
use maud::{Markup, html};

/// Twice as much of these is ideally twice as fast: they get a linear axis and the ideal line.
const IDEALLY_LINEAR: [&str; 2] = ["workers", "threads"];

/// The quantiles that are drawn, and their names.
const QUANTILES: [(f64, &str); 2] = [(0.5, "p50"), (0.99, "p99")];

/// The section of one sweep.
pub fn section(index: usize, sweep: &Named<'_, SweepResult>) -> Markup {
    let result = sweep.result;
    let mut points: Vec<&(u64, RunResult)> = result.points.iter().collect();
    points.sort_by_key(|(value, _)| *value);
    let runs = || points.iter().map(|(_, run)| run);
    let mut shared = common(runs().map(|run| &run.settings));
    shared.remove(&result.setting);
    let cores = points.first().map_or("", |(_, run)| run.cores.as_str());
    let same_cores = runs().all(|run| run.cores == cores);
    let id = format!("sweep-{}", index + 1);
    html! {
        section id=(id) {
            h2 { "Sweep over " (result.setting) ": " (sweep.name) }
            @if points.is_empty() {
                p class="absent" { "It has no points." }
            } @else {
                div class="figures" {
                    (throughput(&id, &result.setting, &points))
                    (latency(&id, &result.setting, &points))
                }
            }
            @for (value, run) in &points {
                @if let Some(reason) = &run.void {
                    (void(&format!("{} {value}: {reason}", result.setting)))
                }
            }
            (settings(&shared, if same_cores { cores } else { "differ from point to point" }))
            @if !same_cores {
                ul class="cores" {
                    @for (value, run) in &points {
                        li { (result.setting) " " (value) ": " (run.cores) }
                    }
                }
            }
        }
    }
}

fn axis(setting: &str, points: &[&(u64, RunResult)]) -> Axis {
    let values = || points.iter().map(|(value, _)| *value);
    let (min, max) = (values().min().unwrap_or(0), values().max().unwrap_or(0));
    // Zero has no place on a logarithmic axis.
    if IDEALLY_LINEAR.contains(&setting) || min == 0 {
        Axis::counts_from_zero(setting, max)
    } else {
        Axis::powers_of_two(setting, min, max)
    }
}

/// What counts as one line, and what does not as crosses.
fn series(
    name: &str,
    style: usize,
    setting: &str,
    points: &[&(u64, RunResult)],
    value: impl Fn(&RunResult) -> Option<f64>,
    text: fn(f64) -> String,
) -> Vec<Series> {
    let of = |void: bool, name: String, stroke| {
        let chosen: Vec<(f64, f64)> = points
            .iter()
            .filter(|(_, run)| run.void.is_some() == void)
            .filter_map(|(at, run)| Some((*at as f64, value(run)?)))
            .collect();
        let named = chosen.iter().map(|(at, value)| format!("{} at {setting} {at}", text(*value)));
        Series { name, style, stroke, names: named.collect(), points: chosen }
    };
    let mut both = vec![
        of(false, name.to_owned(), Stroke::Measured),
        of(true, format!("{name}, void"), Stroke::Void),
    ];
    both.retain(|series| !series.points.is_empty());
    both
}

fn throughput(id: &str, setting: &str, points: &[&(u64, RunResult)]) -> Markup {
    let rate = |run: &RunResult| Some(run.deliveries_per_second);
    let mut lines = series("measured", 0, setting, points, rate, format::short);
    let first = points.iter().find(|(at, run)| *at > 0 && run.void.is_none());
    if let Some((at, run)) = first
        && IDEALLY_LINEAR.contains(&setting)
    {
        let each = run.deliveries_per_second / *at as f64;
        lines.push(Series {
            name: format!("ideal: in proportion to {setting} {at}"),
            style: 0,
            stroke: Stroke::Ideal,
            points: points.iter().map(|(at, _)| (*at as f64, each * *at as f64)).collect(),
            names: Vec::new(),
        });
    }
    let fastest = lines.iter().flat_map(|line| &line.points).map(|(_, rate)| *rate);
    let plot = LinePlot {
        id: format!("{id}-throughput"),
        title: format!("Throughput over {setting}"),
        description: format!(
            "Deliveries per second at {} values of {setting}, from {} to {}.",
            points.len(),
            points.first().map_or(0, |(at, _)| *at),
            points.last().map_or(0, |(at, _)| *at)
        ),
        x: axis(setting, points),
        y: Axis::from_zero("deliveries/s", fastest.fold(0.0, f64::max)),
        series: lines,
    };
    figure(&plot.title, &plot.render(), &all_numbers(setting, points))
}

fn latency(id: &str, setting: &str, points: &[&(u64, RunResult)]) -> Markup {
    let lines: Vec<Series> = QUANTILES
        .iter()
        .enumerate()
        .flat_map(|(style, (quantile, name))| {
            let value = |run: &RunResult| run.latency.as_ref()?.at(*quantile);
            series(name, style, setting, points, value, format::time_us)
        })
        .collect();
    if lines.is_empty() {
        return html! {};
    }
    let plot = LinePlot {
        id: format!("{id}-latency"),
        title: format!("Latency over {setting}"),
        description: format!(
            "Median and 99th percentile of the latency in microseconds \
                              (logarithmic) over {setting}."
        ),
        x: axis(setting, points),
        y: Axis::times(
            "latency (logarithmic)",
            lines.iter().flat_map(|line| &line.points).map(|(_, us)| *us),
        ),
        series: lines,
    };
    figure(&plot.title, &plot.render(), &all_numbers(setting, points))
}

fn all_numbers(setting: &str, points: &[&(u64, RunResult)]) -> Markup {
    let mut head = vec![setting.to_owned(), "Deliveries/s".to_owned()];
    head.extend(QUANTILES.iter().map(|(_, name)| format!("{name}, µs")));
    head.extend(["Failed attempts".to_owned(), "Counts".to_owned()]);
    let row = |(at, run): &&(u64, RunResult)| {
        let mut row = vec![at.to_string(), format::whole(run.deliveries_per_second)];
        row.extend(QUANTILES.iter().map(|(quantile, _)| {
            let value = run.latency.as_ref().and_then(|latency| latency.at(*quantile));
            value.map_or(NOTHING.to_owned(), format::whole)
        }));
        row.push(format::whole(run.failed_attempts as f64));
        row.push(if run.void.is_some() { "void".to_owned() } else { "yes".to_owned() });
        row
    };
    numbers(&head, &points.iter().map(row).collect::<Vec<_>>())
}
