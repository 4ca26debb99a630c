//! Runs: latency by percentile, throughput over time, and what each run was.

use super::plot::{Axis, LinePlot, Series, Stroke, scale};
use super::settings::settings;
use super::table::{NOTHING, figure, numbers, void};
use super::{format, page::Named};
use crate::result::{Latency, RunResult};
use maud::{Markup, html};

/// A line over time has at most this many points; each is the mean of several tenths beyond.
const TIME_POINTS_MAX: usize = 400;

/// The section of all runs.
pub fn section(runs: &[Named<'_, RunResult>]) -> Markup {
    html! {
        section id="runs" {
            h2 { "Runs" }
            div class="figures" {
                (latency(runs))
                (throughput(runs))
            }
            (summary(runs))
            @for run in runs {
                article {
                    h3 { (run.name) }
                    @if let Some(reason) = &run.result.void { (void(reason)) }
                    (settings(&run.result.settings, &run.result.cores))
                }
            }
        }
    }
}

fn stroke(run: &RunResult) -> Stroke {
    if run.void.is_some() { Stroke::VoidLine } else { Stroke::Measured }
}

fn legend(run: &Named<'_, RunResult>) -> String {
    if run.result.void.is_some() { format!("{} (void)", run.name) } else { run.name.clone() }
}

fn latency(runs: &[Named<'_, RunResult>]) -> Markup {
    let measured: Vec<(usize, &Named<'_, RunResult>, &Latency)> = runs
        .iter()
        .enumerate()
        .filter_map(|(style, run)| Some((style, run, run.result.latency.as_ref()?)))
        .filter(|(_, _, latency)| !latency.quantiles.is_empty())
        .collect();
    if measured.is_empty() {
        return html! { p class="absent" { "No run measured latencies." } };
    }
    let all = || measured.iter().flat_map(|(_, _, latency)| &latency.quantiles);
    let x = Axis::percentiles("percentile", all().map(|(quantile, _)| *quantile));
    let end = x.ticks.last().map_or(0.0, |(end, _)| *end);
    let series = measured.iter().map(|(style, run, latency)| {
        let place = |quantile: f64| scale::nines(quantile).unwrap_or(end);
        let name = |(quantile, us): &(f64, f64)| {
            format!("{} at {}", format::time_us(*us), format::percentile(*quantile))
        };
        Series {
            name: legend(run),
            style: *style,
            stroke: stroke(run.result),
            points: latency.quantiles.iter().map(|(at, us)| (place(*at), *us)).collect(),
            names: latency.quantiles.iter().map(name).collect(),
        }
    });
    let plot = LinePlot {
        id: "runs-latency".to_owned(),
        title: "Latency by percentile".to_owned(),
        description: format!(
            "Lines for {} runs: the latency in microseconds (logarithmic) that a percentage of \
             the deliveries stayed below; each further nine takes the same room, the maximum \
             stands behind the end of the scale.",
            measured.len()
        ),
        x,
        y: Axis::times("latency (logarithmic)", all().map(|(_, us)| *us)),
        series: series.collect(),
    };
    figure(&plot.title, &plot.render(), &latency_numbers(&measured))
}

fn latency_numbers(measured: &[(usize, &Named<'_, RunResult>, &Latency)]) -> Markup {
    let mut quantiles: Vec<f64> = measured
        .iter()
        .flat_map(|(_, _, latency)| latency.quantiles.iter().map(|(quantile, _)| *quantile))
        .collect();
    quantiles.sort_unstable_by(f64::total_cmp);
    quantiles.dedup();
    let mut head = vec!["Percentile (values in µs)".to_owned()];
    head.extend(measured.iter().map(|(_, run, _)| legend(run)));
    let row = |quantile: &f64| {
        let cell = |latency: &Latency| {
            let found = latency.quantiles.iter().find(|(at, _)| at == quantile);
            found.map_or(NOTHING.to_owned(), |(_, us)| format::whole(*us))
        };
        let mut row = vec![format::percentile(*quantile)];
        row.extend(measured.iter().map(|(_, _, latency)| cell(latency)));
        row
    };
    let whole = |name: &str, value: fn(&Latency) -> f64| {
        let mut row = vec![name.to_owned()];
        row.extend(measured.iter().map(|(_, _, latency)| format::whole(value(latency))));
        row
    };
    let mut rows: Vec<_> = quantiles.iter().map(row).collect();
    rows.push(whole("mean", |latency| latency.mean_us));
    rows.push(whole("number of values", |latency| latency.count as f64));
    numbers(&head, &rows)
}

fn throughput(runs: &[Named<'_, RunResult>]) -> Markup {
    let longest = runs.iter().map(|run| run.result.per_tenth.len()).max().unwrap_or(0);
    if longest == 0 {
        return html! { p class="absent" { "No run recorded its throughput over time." } };
    }
    // The same for all runs, so that their points stand at the same times.
    let tenths = longest.div_ceil(TIME_POINTS_MAX);
    let lines = runs.iter().enumerate().filter(|(_, run)| !run.result.per_tenth.is_empty());
    let series: Vec<Series> = lines
        .map(|(style, run)| Series {
            name: legend(run),
            style,
            stroke: stroke(run.result),
            points: over_time(&run.result.per_tenth, tenths),
            names: Vec::new(),
        })
        .collect();
    let all = || series.iter().flat_map(|series| &series.points);
    let plot = LinePlot {
        id: "runs-throughput".to_owned(),
        title: "Throughput over time".to_owned(),
        description: format!(
            "Lines for {} runs: deliveries per second over the seconds of the measured part; \
             each point is the mean of {} s.",
            series.len(),
            tenths as f64 / 10.0
        ),
        x: Axis::from_zero("seconds", longest as f64 / 10.0),
        y: Axis::from_zero("deliveries/s", all().map(|(_, rate)| *rate).fold(0.0, f64::max)),
        series,
    };
    let mut head = vec![format!("Until second (means of {} s)", tenths as f64 / 10.0)];
    head.extend(plot.series.iter().map(|series| series.name.clone()));
    let row = |index: usize| {
        let mut row = vec![format!("{:.1}", ((index + 1) * tenths).min(longest) as f64 / 10.0)];
        row.extend(plot.series.iter().map(|series| {
            let point = series.points.get(index);
            point.map_or(NOTHING.to_owned(), |(_, rate)| format::whole(*rate))
        }));
        row
    };
    let rows: Vec<_> = (0..longest.div_ceil(tenths)).map(row).collect();
    figure(&plot.title, &plot.render(), &numbers(&head, &rows))
}

/// Deliveries per second, each point in the middle of the time that it is the mean of.
fn over_time(per_tenth: &[u64], tenths: usize) -> Vec<(f64, f64)> {
    let parts = per_tenth.chunks(tenths).enumerate();
    parts
        .map(|(index, part)| {
            let begin = (index * tenths) as f64;
            let sum: f64 = part.iter().map(|count| *count as f64).sum();
            ((begin + part.len() as f64 / 2.0) / 10.0, sum / part.len() as f64 * 10.0)
        })
        .collect()
}

fn summary(runs: &[Named<'_, RunResult>]) -> Markup {
    let head = [
        "Run",
        "Deliveries/s",
        "Deliveries",
        "Seconds",
        "p50",
        "p99",
        "p99.9",
        "Max",
        "Failed attempts",
        "Given up",
        "No room",
        "Generator behind, p99",
    ];
    let time = |latency: &Option<Latency>, quantile| {
        let value = latency.as_ref().and_then(|latency| latency.at(quantile));
        value.map_or(NOTHING.to_owned(), format::time_us)
    };
    let row = |run: &Named<'_, RunResult>| {
        let name = legend(run);
        let run = run.result;
        vec![
            name,
            format::whole(run.deliveries_per_second),
            format::whole(run.deliveries as f64),
            format!("{:.1}", run.seconds),
            time(&run.latency, 0.5),
            time(&run.latency, 0.99),
            time(&run.latency, 0.999),
            time(&run.latency, 1.0),
            format::whole(run.failed_attempts as f64),
            format::whole(run.dead as f64),
            format::whole(run.full as f64),
            time(&run.generator_lag, 0.99),
        ]
    };
    numbers(&head.map(str::to_owned), &runs.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::over_time;

    #[test]
    fn the_mean_of_several_tenths_stands_in_their_middle() {
        assert_eq!(over_time(&[10, 20], 1), [(0.05, 100.0), (0.15, 200.0)]);
        assert_eq!(over_time(&[10, 20, 60], 2), [(0.1, 150.0), (0.25, 600.0)]);
    }
}
