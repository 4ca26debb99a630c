//! Scenarios: what was looked at, what was found, and whether it is as it must be.

use super::page::Named;
use super::plot::{Axis, LinePlot, Series, Stroke};
use super::table::{figure, numbers, unknown, verdict};
use crate::result::{self, Finding, ScenarioResult};
use maud::{Markup, html};

/// The section of one scenario.
pub fn section(index: usize, scenario: &Named<'_, ScenarioResult>) -> Markup {
    let result = scenario.result;
    html! {
        section id=(format!("scenario-{}", index + 1)) {
            h2 {
                "Scenario: " (scenario.name) " "
                (of_all(result))
            }
            @if result.findings.is_empty() {
                p class="absent" { "It recorded no findings." }
            } @else {
                div class="scroll" tabindex="0" {
                    table class="findings" {
                        thead { tr {
                            th scope="col" class="what" { "Looked at" }
                            th scope="col" { "Found" }
                            th scope="col" class="holds" { "Verdict" }
                        } }
                        tbody {
                            @for finding in &result.findings {
                                tr {
                                    th scope="row" { (finding.what) }
                                    td { (finding.found) }
                                    td { (of_one(finding)) }
                                }
                            }
                        }
                    }
                }
            }
            @for (number, series) in result.series.iter().enumerate() {
                (plot(&format!("scenario-{}-{}", index + 1, number + 1), series))
            }
        }
    }
}

fn of_all(result: &ScenarioResult) -> Markup {
    match (result.passed, result.inconclusive) {
        (true, _) => verdict(true, "passed"),
        (false, true) => unknown("inconclusive"),
        (false, false) => verdict(false, "failed"),
    }
}

fn of_one(finding: &Finding) -> Markup {
    match (finding.holds, finding.inconclusive) {
        (true, _) => verdict(true, "holds"),
        (false, true) => unknown("inconclusive"),
        (false, false) => verdict(false, "broken"),
    }
}

fn plot(id: &str, series: &result::Series) -> Markup {
    let most = |of: fn(&(f64, f64)) -> f64| series.points.iter().map(of).fold(0.0, f64::max);
    let plot = LinePlot {
        id: id.to_owned(),
        title: series.name.clone(),
        description: format!("A line over {}, from {} points.", series.across, series.points.len()),
        x: Axis::from_zero(&series.across, most(|point| point.0)),
        y: Axis::from_zero(&series.name, most(|point| point.1)),
        series: vec![Series {
            name: series.name.clone(),
            style: 0,
            stroke: Stroke::Measured,
            points: series.points.clone(),
            names: Vec::new(),
        }],
    };
    let head = [series.across.clone(), series.name.clone()];
    let row = |(at, value): &(f64, f64)| vec![format!("{at:.0}"), format!("{value:.1}")];
    let rows: Vec<_> = series.points.iter().map(row).collect();
    figure(&series.name, &plot.render(), &numbers(&head, &rows))
}
