//! Comparisons: a bar for each sender, and how it stands to the yardsticks.

use super::plot::{Axis, Bar, BarPlot};
use super::table::{NOTHING, figure, numbers};
use super::{format, page::Named};
use crate::result::{ComparisonResult, PeerResult};
use maud::{Markup, html};

/// The senders that others are measured by, by the first word of their names.
const YARDSTICKS: [&str; 2] = ["raw", "wrk"];

/// The first word of our own senders.
const OURS: &str = "engine";

/// The section of one comparison.
pub fn section(index: usize, comparison: &Named<'_, ComparisonResult>) -> Markup {
    let result = comparison.result;
    let id = format!("comparison-{}", index + 1);
    let rounds = result.peers.iter().map(|peer| peer.rates.len()).max().unwrap_or(0);
    html! {
        section id=(id) {
            h2 { "Comparison: " (comparison.name) }
            @if result.peers.is_empty() {
                p class="absent" { "No sender was measured." }
            } @else {
                p {
                    "In turns against the same sink: " (rounds) " rounds of "
                    (format!("{} s", result.seconds)) " for each sender. A bar is the median, \
                     its whisker goes from the slowest round to the fastest."
                }
                div class="figures" { (bars(&id, result)) (notes(&result.peers)) }
            }
            @if !result.absent.is_empty() {
                h3 { "Not measured" }
                dl class="notes" {
                    @for (name, why) in &result.absent { dt { (name) } dd { (why) } }
                }
            }
            @if !result.cores.is_empty() { p class="cores" { "Cores: " (result.cores) } }
        }
    }
}

/// What each sender does beyond posting bytes.
fn notes(peers: &[PeerResult]) -> Markup {
    html! {
        @if peers.iter().any(|peer| !peer.notes.is_empty()) {
            dl class="notes" {
                @for peer in peers.iter().filter(|peer| !peer.notes.is_empty()) {
                    dt { (peer.name) } dd { (peer.notes) }
                }
            }
        }
    }
}

fn first_word(name: &str) -> String {
    let word = name.split(|c: char| !c.is_alphanumeric()).next();
    word.unwrap_or_default().to_ascii_lowercase()
}

fn yardsticks(result: &ComparisonResult) -> Vec<&PeerResult> {
    let find = |word: &&str| result.peers.iter().find(|peer| first_word(&peer.name) == *word);
    YARDSTICKS.iter().filter_map(find).filter(|peer| peer.median > 0.0).collect()
}

fn spread(peer: &PeerResult) -> Option<(f64, f64)> {
    let least = peer.rates.iter().copied().reduce(f64::min)?;
    Some((least, peer.rates.iter().copied().fold(least, f64::max)))
}

fn bars(id: &str, result: &ComparisonResult) -> Markup {
    let yardsticks = yardsticks(result);
    let note = |peer: &PeerResult| {
        let mut note = format!("{}/s", format::short(peer.median));
        for other in yardsticks.iter().filter(|other| other.name != peer.name) {
            let ratio = format::ratio(peer.median / other.median);
            note += &format!(" · {ratio} {}", first_word(&other.name));
        }
        note
    };
    let fastest = result.peers.iter().flat_map(|peer| peer.rates.iter().chain([&peer.median]));
    let plot = BarPlot {
        id: format!("{id}-bars"),
        title: "Requests per second".to_owned(),
        description: format!(
            "Bars for {} senders: the median of their rounds in requests per second, with a \
             whisker from the slowest to the fastest round.",
            result.peers.len()
        ),
        x: Axis::from_zero("requests/s", fastest.copied().fold(0.0, f64::max)),
        bars: result
            .peers
            .iter()
            .map(|peer| Bar {
                name: peer.name.clone(),
                note: note(peer),
                value: peer.median,
                spread: spread(peer),
                ours: first_word(&peer.name) == OURS,
            })
            .collect(),
    };
    figure(&plot.title, &plot.render(), &all_numbers(result, &yardsticks))
}

fn all_numbers(result: &ComparisonResult, yardsticks: &[&PeerResult]) -> Markup {
    let mut head: Vec<String> =
        ["Sender", "Median/s", "Slowest/s", "Fastest/s"].map(str::to_owned).to_vec();
    head.extend(yardsticks.iter().map(|other| format!("Times {}", other.name)));
    head.push("Rounds".to_owned());
    let row = |peer: &PeerResult| {
        let end = |end: Option<f64>| end.map_or(NOTHING.to_owned(), format::whole);
        let spread = spread(peer);
        let mut row = vec![
            peer.name.clone(),
            format::whole(peer.median),
            end(spread.map(|(least, _)| least)),
            end(spread.map(|(_, most)| most)),
        ];
        row.extend(yardsticks.iter().map(|other| format::ratio(peer.median / other.median)));
        row.push(peer.rates.iter().map(|rate| format::whole(*rate)).collect::<Vec<_>>().join(", "));
        row
    };
    numbers(&head, &result.peers.iter().map(row).collect::<Vec<_>>())
}
