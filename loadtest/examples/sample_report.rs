//! Writes the page with made-up results of every kind: for looking at it while changing it.
//!
//! `cargo run -p ferrite-loadtest --example sample_report -- target/sample.html`

#[path = "../tests/samples/mod.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod samples;

fn main() -> std::io::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "sample.html".to_owned());
    std::fs::write(path, ferrite_loadtest::report::page(&samples::all()))
}
