//! The house's arrows point down only: this reads every `use` and path of `src` and fails when a
//! layer names one above it, or when monoio is named outside `io`.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// Which layers a layer may name, beside itself. `webhooks` may be used only by hosts.
const ALLOWED: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("core", &["base"]),
    ("inbox", &["base"]),
    ("io", &["base", "core", "inbox"]),
    ("registry", &["base", "core"]),
    ("log", &["base", "core"]),
    ("definitions", &["base", "core", "registry"]),
    ("metrics", &["base", "core"]),
    ("webhooks", &["base", "core", "inbox", "io", "registry", "metrics", "log", "definitions"]),
    // Hosts use the public face; the words and formats that core defines are shared. The command
    // line looks at logs without an engine.
    ("server", &["webhooks", "core", "base", "log"]),
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file without its comments.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The layers that `text` names as `crate::layer`, also inside `use crate::{…}`.
fn layers_named(text: &str) -> Vec<String> {
    let mut named = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let names = match rest.strip_prefix('{') {
            Some(group) => top_level_names(group),
            None => vec![rest],
        };
        for name in names {
            let end = name.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(name.len());
            named.push(name[..end].to_owned());
        }
    }
    named
}

/// The starts of the entries of a `use` group, up to its closing brace.
fn top_level_names(group: &str) -> Vec<&str> {
    let (mut depth, mut starts, mut at_start) = (0, Vec::new(), true);
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            character if at_start && !character.is_whitespace() => {
                starts.push(&group[index..]);
                at_start = false;
            }
            _ => {}
        }
    }
    starts
}

fn violations(layer: &str, text: &str) -> Vec<String> {
    let code = code(text);
    let mut wrong = Vec::new();
    let allowed =
        ALLOWED.iter().find(|(name, _)| *name == layer).map_or(&[][..], |(_, below)| below);
    for named in layers_named(&code) {
        let is_layer = ALLOWED.iter().any(|(name, _)| *name == named);
        if is_layer && named != layer && !allowed.contains(&named.as_str()) {
            wrong.push(format!("{layer} names {named}"));
        }
    }
    for word in ["monoio::", "io_uring::"] {
        if layer != "io" && code.contains(word) {
            wrong.push(format!("{layer} names {word}"));
        }
    }
    if layer == "core" || layer == "base" {
        for word in ["std::net::Tcp", "std::net::Udp", "std::fs", "std::thread"] {
            if code.contains(word) {
                wrong.push(format!("{layer} names {word}"));
            }
        }
    }
    if layer == "core" && (code.contains("Instant::now") || code.contains("SystemTime")) {
        wrong.push("core asks for the time".to_owned());
    }
    wrong
}

#[test]
fn no_layer_reaches_upwards() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&source, &mut files);
    assert!(files.len() > 40, "the sources were found");
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&source).unwrap();
        let Some(layer) = inside.components().next().filter(|_| inside.components().count() > 1)
        else {
            continue;
        };
        let layer = layer.as_os_str().to_str().unwrap();
        let text = fs::read_to_string(&file).unwrap();
        wrong.extend(
            violations(layer, &text)
                .into_iter()
                .map(|what| format!("{}: {what}", inside.display())),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The check itself catches what it is for.
#[test]
fn a_reach_upwards_is_caught() {
    assert_eq!(violations("core", "use crate::io::worker;").len(), 1);
    assert_eq!(violations("core", "use crate::{base::id, webhooks::{A, B}};").len(), 1);
    assert_eq!(violations("base", "fn f() { crate::core::event::f() }").len(), 1);
    assert_eq!(violations("server", "use monoio::net::TcpStream;").len(), 1);
    assert_eq!(violations("core", "let now = std::time::Instant::now();").len(), 1);
    assert!(violations("io", "use crate::{base::id, core::shard};\nuse monoio::time;").is_empty());
    assert!(violations("core", "// see crate::io\nuse crate::core::event;").is_empty());
}
