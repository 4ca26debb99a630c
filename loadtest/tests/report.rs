//! The page that `report` writes: what it shows, and that a browser draws it.

#![allow(clippy::unwrap_used)]

mod browser;
mod samples;

use ferrite_loadtest::report::page;
use ferrite_loadtest::result::{
    Finding, Machine, PeerResult, ResultFile, RunResult, ScenarioResult, Series,
};
use std::process::Command;

/// The text of the element with this id, up to its end tag.
fn element<'a>(page: &'a str, tag: &str, id: &str) -> &'a str {
    let begin = page.find(&format!(" id=\"{id}\"")).unwrap_or_else(|| panic!("no {id}"));
    let end = page[begin..].find(&format!("</{tag}>")).unwrap();
    &page[begin..begin + end]
}

fn count(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

/// The points of every line in a plot.
fn points(plot: &str) -> Vec<usize> {
    let lines = plot.split("<path class=\"line\" d=\"").skip(1);
    lines.map(|line| line[..line.find('"').unwrap()].matches(['M', 'L']).count()).collect()
}

#[test]
fn every_run_has_a_line_of_its_latencies_and_one_over_time() {
    let page = page(&samples::runs());
    let latency = element(&page, "svg", "runs-latency");
    assert_eq!(points(latency), [9, 9, 9]);
    assert_eq!(count(latency, "class=\"mark\""), 27);
    assert!(latency.contains(">99.99</text>") && !latency.contains(">99.999</text>"));
    assert_eq!(points(element(&page, "svg", "runs-throughput")), [300, 300, 300]);
    assert_eq!(count(latency, "series void-line"), 1);
}

#[test]
fn an_hour_becomes_a_bounded_number_of_points() {
    let page = page(&[ResultFile::Run(samples::run("soak", 1000.0, None, 3600))]);
    let drawn = points(element(&page, "svg", "runs-throughput"));
    assert!(drawn[0] > 300 && drawn[0] <= 400, "{drawn:?}");
    assert!(page.contains("No run measured latencies."));
}

#[test]
fn a_sweep_shows_each_value_and_crosses_out_what_is_void() {
    let page = page(&[ResultFile::Sweep(samples::connections())]);
    let throughput = element(&page, "svg", "sweep-1-throughput");
    assert_eq!(points(throughput), [10]);
    assert_eq!(count(throughput, "class=\"mark\""), 10);
    assert_eq!(count(throughput, "class=\"cross\""), 1);
    for power in 0..=10 {
        assert!(throughput.contains(&format!(">{}</text>", 1 << power)));
    }
    let latency = element(&page, "svg", "sweep-1-latency");
    assert_eq!(points(latency), [10, 10]);
    assert_eq!(count(latency, "class=\"cross\""), 2);
    assert!(page.contains("connections 512: the sink's core was 100 % busy"));
}

#[test]
fn workers_are_shown_beside_the_ideal_line() {
    let page = page(&[ResultFile::Sweep(samples::workers())]);
    let throughput = element(&page, "svg", "sweep-1-throughput");
    assert_eq!(points(throughput), [6, 6]);
    let ideal = &throughput[throughput.find("series ideal").unwrap()..];
    let path = &ideal[ideal.find("d=\"M").unwrap() + 4..];
    let places: Vec<(f64, f64)> = path[..path.find('"').unwrap()]
        .split('L')
        .map(|point| point.split_once(' ').unwrap())
        .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
        .collect();
    let slope = |a: (f64, f64), b: (f64, f64)| (b.1 - a.1) / (b.0 - a.0);
    for pair in places.windows(2) {
        assert!((slope(pair[0], pair[1]) - slope(places[0], places[5])).abs() < 0.01);
    }
    assert!(!page.contains("sweep-1-latency"), "no latency was measured");
}

#[test]
fn a_comparison_has_a_bar_for_each_sender_and_ratios_to_the_yardsticks() {
    let page = page(&[ResultFile::Comparison(samples::comparison())]);
    let bars = element(&page, "svg", "comparison-1-bars");
    assert_eq!(count(bars, "class=\"bar\""), 6);
    assert_eq!(count(bars, "class=\"whisker\""), 6);
    assert_eq!(count(bars, "bars ours"), 2);
    assert!(bars.contains("182\u{202f}k/s · 0.61× raw · 0.79× wrk"), "{bars}");
    assert!(page.contains("reqwest on tokio, current thread"));
    assert!(page.contains("the program is not installed"));
}

#[test]
fn a_comparison_without_rates_or_yardsticks_is_shown() {
    let mut comparison = samples::comparison();
    comparison.peers = vec![
        PeerResult { name: "raw".to_owned(), ..PeerResult::default() },
        PeerResult { name: "other".to_owned(), median: 5.0, ..PeerResult::default() },
    ];
    let page = page(&[ResultFile::Comparison(comparison)]);
    let bars = element(&page, "svg", "comparison-1-bars");
    assert_eq!((count(bars, "class=\"bar\""), count(bars, "class=\"whisker\"")), (2, 0));
    assert!(!page.contains("inf") && !page.contains("NaN"));
}

#[test]
fn scenarios_have_a_verdict_for_each_finding() {
    let results: Vec<_> = samples::scenarios().into_iter().map(ResultFile::Scenario).collect();
    let page = page(&results);
    let chaos = element(&page, "section", "scenario-1");
    assert_eq!((count(chaos, ">passed<"), count(chaos, ">holds<")), (1, 3));
    let isolation = element(&page, "section", "scenario-2");
    assert_eq!(
        (count(isolation, ">failed<"), count(isolation, ">holds<"), count(isolation, ">broken<")),
        (1, 1, 1)
    );
}

#[test]
fn what_could_not_be_told_is_no_pass_and_numbers_over_time_are_drawn() {
    let scenario = ScenarioResult {
        label: "soak".to_owned(),
        inconclusive: true,
        findings: vec![Finding::unknown("memory: flat", "too short"), Finding::new("b", "", true)],
        series: vec![Series {
            name: "memory, MiB".to_owned(),
            across: "seconds".to_owned(),
            points: (0..30).map(|at| (f64::from(at), 80.0)).collect(),
        }],
        ..ScenarioResult::default()
    };
    let page = page(&[ResultFile::Scenario(scenario)]);
    let section = element(&page, "section", "scenario-1");
    assert_eq!((count(section, ">inconclusive<"), count(section, ">holds<")), (2, 1));
    assert_eq!((count(section, ">failed<"), count(section, ">passed<")), (0, 0));
    assert_eq!(points(element(&page, "svg", "scenario-1-1")), [30]);
    assert!(!page.contains("NaN"));
}

#[test]
fn the_machine_settings_cores_and_void_reason_are_shown() {
    let page = page(&samples::runs());
    for text in [
        "AMD EPYC 7B13 64-Core Processor",
        "31.3\u{202f}GiB",
        "Linux 6.8.0-45-generic",
        "2026-03-14T09:26:53Z",
        "<b>value-bytes</b> 100",
        "worker on 0, generator on 1, sink on 2",
        "<strong>Void. </strong>the generator was 48 ms behind",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert_eq!(count(&page, "class=\"machine\""), 1);
    assert!(!page.contains("mysecretkey"));
}

#[test]
fn results_of_different_machines_are_not_to_be_compared() {
    let same = page(&samples::all());
    assert!(!same.contains("Different machines"));
    let mut other = samples::run("elsewhere", 10.0, None, 1);
    other.machine = Machine { cores: 2, ..samples::machine() };
    let mut results = samples::runs();
    results.push(ResultFile::Run(other));
    let page = page(&results);
    assert!(page.contains("Different machines"));
    assert_eq!(count(&page, "class=\"machine\""), 2);
}

#[test]
fn runs_with_the_same_label_are_told_apart() {
    let run = ResultFile::Run(samples::run("twice", 10.0, None, 1));
    let page = page(&[run.clone(), run]);
    assert!(page.contains("<h3>twice</h3>") && page.contains("<h3>twice (2)</h3>"));
}

/// Every text that comes from a file, replaced.
fn all_texts(value: &mut serde_json::Value, text: &str) {
    match value {
        serde_json::Value::String(old) => *old = text.to_owned(),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| all_texts(item, text)),
        serde_json::Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                if name != "kind" {
                    all_texts(field, text);
                }
            }
        }
        _ => {}
    }
}

fn hostile() -> Vec<ResultFile> {
    let text =
        "\"'><script>document.title='taken'</script><img src=x onerror=document.title='taken'>&lt;";
    let mut results = samples::all();
    for result in &mut results {
        let mut value = serde_json::to_value(&*result).unwrap();
        all_texts(&mut value, text);
        *result = serde_json::from_value(value).unwrap();
        if let ResultFile::Run(run) = result {
            run.settings.insert(text.to_owned(), text.to_owned());
            run.void = Some(text.to_owned());
        }
    }
    results
}

#[test]
fn texts_of_the_files_are_never_markup() {
    let page = page(&hostile());
    assert!(page.contains("&lt;script&gt;"));
    assert!(page.contains("&amp;lt;"));
    for markup in ["<script", "<img", "\"'>", "\"'&gt;"] {
        assert!(!page.contains(markup), "{markup}");
    }
}

#[test]
fn the_page_names_no_other_place() {
    let page = page(&samples::all()).replace("http://127.0.0.1:9900/hook", "");
    for place in ["http://", "https://", "src=", "url(", "@import", "<link", "<script"] {
        assert!(!page.contains(place), "{place}");
    }
}

#[test]
fn odd_numbers_and_empty_results_are_shown_without_panic() {
    let mut odd = samples::run("odd", -1.0, Some(samples::latency(0.0, 1e300)), 1);
    odd.per_tenth = vec![u64::MAX, 0];
    odd.latency.as_mut().unwrap().quantiles.push((7.0, f64::INFINITY));
    let mut sweep = samples::connections();
    sweep.points[0].0 = 0;
    sweep.points.push((u64::MAX, RunResult::default()));
    let page = page(&[
        ResultFile::Run(odd),
        ResultFile::Run(RunResult::default()),
        ResultFile::Sweep(sweep),
        ResultFile::Sweep(Default::default()),
        ResultFile::Comparison(Default::default()),
        ResultFile::Scenario(Default::default()),
    ]);
    assert!(page.contains("<h3>run</h3>"), "a run without a label has a name");
    for plot in page.split("<svg class=\"plot\"").skip(1) {
        let plot = &plot[..plot.find("</svg>").unwrap()];
        for (at, _) in plot.match_indices("d=\"M") {
            let path = &plot[at..at + 4 + plot[at + 4..].find('"').unwrap()];
            assert!(!path.contains("NaN") && !path.contains("inf"), "{path}");
        }
    }
    assert!(!self::page(&[]).is_empty());
}

#[test]
fn the_command_writes_the_page_or_says_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut report = Command::new(env!("CARGO_BIN_EXE_ferrite-loadtest"));
    report.arg("report").current_dir(folder.path());
    for (index, result) in samples::all().iter().enumerate() {
        let name = format!("{index}.json");
        std::fs::write(path(&name), serde_json::to_vec(result).unwrap()).unwrap();
        report.arg(name);
    }
    let output = report.args(["--output", "page.html"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(std::fs::read_to_string(path("page.html")).unwrap(), page(&samples::all()));

    std::fs::write(path("other.json"), "{\"kind\": \"holiday\"}").unwrap();
    let mut report = Command::new(env!("CARGO_BIN_EXE_ferrite-loadtest"));
    let output = report.args(["report", "other.json"]).current_dir(folder.path()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{error}");
    assert!(error.starts_with("ferrite-loadtest: other.json is no result file: "), "{error}");
    assert!(!path("report.html").exists());
}

/// What a browser measured in one plot.
#[derive(Debug, serde::Deserialize)]
struct Drawn {
    id: String,
    width: f64,
    height: f64,
    lines: usize,
    marks: usize,
    bars: usize,
    empty: usize,
    smallest_text: f64,
    outside: Vec<String>,
    overlapping: Vec<String>,
}

/// What a browser measured in the page, in a frame of this width.
#[derive(Debug, serde::Deserialize)]
struct Measured {
    title: String,
    wider_by: f64,
    plots: Vec<Drawn>,
}

fn measured(width: u32, results: &[ResultFile]) -> Measured {
    serde_json::from_str(&browser::probe(&page(results), width)).unwrap()
}

#[test]
fn a_browser_draws_every_plot_wide_and_narrow() {
    for width in [1400, 400] {
        let measured = measured(width, &samples::all());
        assert!(measured.wider_by <= 0.0, "{width}: the page is wider by {}", measured.wider_by);
        let found =
            measured.plots.iter().map(|plot| (plot.id.as_str(), plot.lines, plot.marks, plot.bars));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                ("runs-latency", 3, 27, 0),
                ("runs-throughput", 3, 0, 0),
                ("sweep-1-throughput", 1, 11, 0),
                ("sweep-1-latency", 2, 22, 0),
                ("sweep-2-throughput", 2, 6, 0),
                ("comparison-1-bars", 0, 0, 6),
            ]
        );
        for plot in &measured.plots {
            assert!(plot.width > 300.0 && plot.height > 150.0, "{width}: {plot:?}");
            assert_eq!(plot.empty, 0, "{width}: {plot:?}");
            assert!(plot.smallest_text >= 10.0, "{width}: {plot:?}");
            assert!(plot.outside.is_empty(), "{width}: {plot:?}");
            assert!(plot.overlapping.is_empty(), "{width}: {plot:?}");
        }
    }
}

#[test]
fn a_browser_runs_nothing_that_a_file_contains() {
    let measured = measured(400, &hostile());
    assert!(measured.wider_by <= 0.0, "the page is wider by {}", measured.wider_by);
    assert_eq!(measured.title, "Ferrite Webhooks: load test");
    assert_eq!(measured.plots.len(), 6);
}
