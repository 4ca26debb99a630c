//! The page around the plots: what was measured where, at a glance.

use super::table::verdict;
use super::{comparison, format, runs, scenario, sweep};
use crate::result::{
    ComparisonResult, Machine, ResultFile, RunResult, ScenarioResult, SweepResult,
};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::HashMap;

const STYLE: &str = include_str!("style.css");

/// Nothing is loaded and no script runs, whatever the result files contain.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A result under a name that no other of its kind has.
pub struct Named<'a, T> {
    /// Its label, or its kind.
    pub name: String,
    /// What was measured.
    pub result: &'a T,
}

/// The results by their kinds, each kind in the order of the files.
#[derive(Default)]
struct Results<'a> {
    runs: Vec<Named<'a, RunResult>>,
    sweeps: Vec<Named<'a, SweepResult>>,
    comparisons: Vec<Named<'a, ComparisonResult>>,
    scenarios: Vec<Named<'a, ScenarioResult>>,
}

impl<'a> Results<'a> {
    fn new(files: &'a [ResultFile]) -> Self {
        let mut seen = HashMap::new();
        let mut results = Results::default();
        for file in files {
            match file {
                ResultFile::Run(result) => {
                    let name = distinct(&mut seen, "run", &result.label);
                    results.runs.push(Named { name, result });
                }
                ResultFile::Sweep(result) => {
                    let name = distinct(&mut seen, "sweep", &result.label);
                    results.sweeps.push(Named { name, result });
                }
                ResultFile::Comparison(result) => {
                    let name = distinct(&mut seen, "comparison", &result.label);
                    results.comparisons.push(Named { name, result });
                }
                ResultFile::Scenario(result) => {
                    let name = distinct(&mut seen, "scenario", &result.label);
                    results.scenarios.push(Named { name, result });
                }
            }
        }
        results
    }

    /// Every result's name and machine.
    fn machines(&self) -> Vec<(&str, &Machine)> {
        let sweeps = self.sweeps.iter().filter_map(|sweep| {
            let (_, first) = sweep.result.points.first()?;
            Some((sweep.name.as_str(), &first.machine))
        });
        let runs = self.runs.iter().map(|run| (run.name.as_str(), &run.result.machine));
        let comparisons =
            self.comparisons.iter().map(|one| (one.name.as_str(), &one.result.machine));
        let scenarios = self.scenarios.iter().map(|one| (one.name.as_str(), &one.result.machine));
        runs.chain(sweeps).chain(comparisons).chain(scenarios).collect()
    }
}

/// The label, or the kind if there is none; numbered from the second of the same on.
fn distinct<'a>(
    seen: &mut HashMap<(&'static str, &'a str), usize>,
    kind: &'static str,
    label: &'a str,
) -> String {
    let label = if label.trim().is_empty() { kind } else { label.trim() };
    let count = seen.entry((kind, label)).or_insert(0);
    *count += 1;
    if *count == 1 { label.to_owned() } else { format!("{label} ({count})") }
}

/// The page that shows these results.
pub fn page(files: &[ResultFile]) -> String {
    let results = Results::new(files);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Ferrite Webhooks: load test" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        h1 { "Ferrite Webhooks: load test" }
                        (glance(&results))
                        (machines(&results.machines()))
                    }
                    @if !results.runs.is_empty() { (runs::section(&results.runs)) }
                    @for (index, one) in results.sweeps.iter().enumerate() { (sweep::section(index, one)) }
                    @for (index, one) in results.comparisons.iter().enumerate() { (comparison::section(index, one)) }
                    @for (index, one) in results.scenarios.iter().enumerate() { (scenario::section(index, one)) }
                }
            }
        }
    };
    page.into_string()
}

/// One line for each result.
fn glance(results: &Results<'_>) -> Markup {
    let row = |name: &str, href: String, found: String, measured_at: &str, state: (bool, &str)| {
        html! {
            tr {
                th scope="row" { a href=(href) { (name) } }
                td class="found" { (found) }
                td { (verdict(state.0, state.1)) }
                td class="when" { (measured_at) }
            }
        }
    };
    let counts = |void: bool| if void { (false, "void") } else { (true, "counts") };
    html! {
        div class="scroll" tabindex="0" {
            table class="glance" {
                thead { tr {
                    th scope="col" { "Result" }
                    th scope="col" { "Found" }
                    th scope="col" { "Verdict" }
                    th scope="col" { "Measured" }
                } }
                tbody {
                    @for Named { name, result } in &results.runs {
                        (row(name, "#runs".to_owned(), run_found(result), &result.machine.measured_at, counts(result.void.is_some())))
                    }
                    @for (index, Named { name, result }) in results.sweeps.iter().enumerate() {
                        (row(name, format!("#sweep-{}", index + 1), sweep_found(result), sweep_time(result), sweep_counts(result)))
                    }
                    @for (index, Named { name, result }) in results.comparisons.iter().enumerate() {
                        (row(name, format!("#comparison-{}", index + 1), comparison_found(result), &result.machine.measured_at, (true, "counts")))
                    }
                    @for (index, Named { name, result }) in results.scenarios.iter().enumerate() {
                        (row(name, format!("#scenario-{}", index + 1), scenario_found(result), &result.machine.measured_at, (result.passed, if result.passed { "passed" } else { "failed" })))
                    }
                }
            }
        }
    }
}

fn run_found(run: &RunResult) -> String {
    let rate = format!("{} deliveries/s", format::whole(run.deliveries_per_second));
    match run.latency.as_ref().and_then(|latency| latency.at(0.99)) {
        Some(p99) => format!("{rate}, p99 {}", format::time_us(p99)),
        None => rate,
    }
}

fn sweep_found(sweep: &SweepResult) -> String {
    let counting = sweep.points.iter().filter(|(_, run)| run.void.is_none());
    let best =
        counting.max_by(|a, b| a.1.deliveries_per_second.total_cmp(&b.1.deliveries_per_second));
    best.map_or("no point counts".to_owned(), |(at, run)| {
        let rate = format::whole(run.deliveries_per_second);
        format!("up to {rate} deliveries/s, at {} {at}", sweep.setting)
    })
}

fn sweep_counts(sweep: &SweepResult) -> (bool, &'static str) {
    let void = sweep.points.iter().filter(|(_, run)| run.void.is_some()).count();
    match void {
        0 => (true, "counts"),
        void if void < sweep.points.len() => (false, "partly void"),
        _ => (false, "void"),
    }
}

fn sweep_time(sweep: &SweepResult) -> &str {
    sweep.points.first().map_or("", |(_, run)| &run.machine.measured_at)
}

fn comparison_found(comparison: &ComparisonResult) -> String {
    let best = comparison.peers.iter().max_by(|a, b| a.median.total_cmp(&b.median));
    let count = comparison.peers.len();
    best.map_or("no sender was measured".to_owned(), |best| {
        format!("{count} senders, fastest: {} with {}/s", best.name, format::whole(best.median))
    })
}

fn scenario_found(scenario: &ScenarioResult) -> String {
    let held = scenario.findings.iter().filter(|finding| finding.holds).count();
    format!("{held} of {} findings hold", scenario.findings.len())
}

/// The machines; results of different ones must not be compared, and the page says so.
fn machines(all: &[(&str, &Machine)]) -> Markup {
    let mut machines: Vec<(&Machine, Vec<&str>)> = Vec::new();
    for (name, machine) in all {
        match machines.iter_mut().find(|(other, _)| same(other, machine)) {
            Some((_, names)) => names.push(name),
            None => machines.push((machine, vec![name])),
        }
    }
    html! {
        @if machines.len() > 1 {
            p class="void" role="note" {
                strong { "Different machines or versions. " }
                "Numbers that were not measured on the same machine with the same version cannot \
                 be compared."
            }
        }
        @for (machine, names) in &machines {
            dl class="machine" {
                div { dt { "Processor" } dd { (or_unknown(&machine.processor)) } }
                div { dt { "Cores" } dd { (machine.cores) } }
                div { dt { "Memory" } dd { (format::memory(machine.memory_bytes)) } }
                div { dt { "Kernel" } dd { (or_unknown(&machine.kernel)) } }
                div { dt { "Time" } dd { (or_unknown(&machine.measured_at)) } }
                div { dt { "Version" } dd { (or_unknown(&machine.version)) } }
                @if machines.len() > 1 { div { dt { "Results" } dd { (names.join(", ")) } } }
            }
        }
    }
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// The same but for the time.
fn same(a: &Machine, b: &Machine) -> bool {
    Machine { measured_at: String::new(), ..a.clone() }
        == Machine { measured_at: String::new(), ..b.clone() }
}
