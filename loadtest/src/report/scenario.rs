//! Scenarios: what was looked at, what was found, and whether it is as it must be.

use super::page::Named;
use super::table::verdict;
use crate::result::ScenarioResult;
use maud::{Markup, html};

/// The section of one scenario.
pub fn section(index: usize, scenario: &Named<'_, ScenarioResult>) -> Markup {
    let result = scenario.result;
    html! {
        section id=(format!("scenario-{}", index + 1)) {
            h2 {
                "Scenario: " (scenario.name) " "
                (verdict(result.passed, if result.passed { "passed" } else { "failed" }))
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
                                    td { (verdict(finding.holds, if finding.holds { "holds" } else { "broken" })) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
