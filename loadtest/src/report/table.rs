//! Tables and figures: every plot has its numbers beside it.

use maud::{Markup, html};

/// Stands where nothing was measured.
pub const NOTHING: &str = "–";

/// A table whose first column names the rows; the others are numbers.
pub fn numbers(head: &[String], rows: &[Vec<String>]) -> Markup {
    html! {
        div class="scroll" tabindex="0" {
            table class="numbers" {
                thead { tr { @for name in head { th scope="col" { (name) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (index, cell) in row.iter().enumerate() {
                                @if index == 0 { th scope="row" { (cell) } }
                                @else { td { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A plot with its caption, and its numbers behind a click.
pub fn figure(caption: &str, plot: &Markup, numbers: &Markup) -> Markup {
    html! {
        figure {
            figcaption { (caption) }
            (plot)
            details { summary { "The same in numbers" } (numbers) }
        }
    }
}

/// Whether a result counts.
pub fn verdict(good: bool, text: &str) -> Markup {
    html! { span class=(if good { "verdict good" } else { "verdict bad" }) { (text) } }
}

/// That nobody knows whether it counts.
pub fn unknown(text: &str) -> Markup {
    html! { span class="verdict unknown" { (text) } }
}

/// Why a result counts for nothing.
pub fn void(reason: &str) -> Markup {
    html! { p class="void" role="note" { strong { "Void. " } (reason) } }
}
