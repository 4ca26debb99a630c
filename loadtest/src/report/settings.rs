//! What a run was given, and which of it is not shown.

use maud::{Markup, html};
use std::collections::BTreeMap;

/// Settings whose values are nobody's business: pages are passed on.
const HIDDEN: [&str; 1] = ["secret"];

/// Settings as `--name value`, and which core ran what.
pub fn settings(settings: &BTreeMap<String, String>, cores: &str) -> Markup {
    html! {
        @if !settings.is_empty() {
            p class="settings" {
                @for (name, value) in settings {
                    @let name = name.trim_start_matches('-');
                    @let value = if HIDDEN.contains(&name) { "(hidden)" } else { value };
                    code { b { (name) } " " (value) } " "
                }
            }
        }
        @if !cores.is_empty() { p class="cores" { "Cores: " (cores) } }
    }
}

/// The settings that all of them have with the same value.
pub fn common<'a>(
    mut all: impl Iterator<Item = &'a BTreeMap<String, String>>,
) -> BTreeMap<String, String> {
    let mut common = all.next().cloned().unwrap_or_default();
    for settings in all {
        common.retain(|name, value| settings.get(name) == Some(value));
    }
    common
}
