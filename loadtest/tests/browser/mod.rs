//! Chromium without a window, as far as the tests need it.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names the program where it is not found by itself.
const PROGRAM_VARIABLE: &str = "FERRITE_CHROMIUM";

const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A page takes a second or two; a busy machine may take longer.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Runs in the page and measures it; see `Measured`.
const PROBE: &str = include_str!("probe.js");

/// Loads the page in a frame of this width, and returns what the probe found as JSON.
pub fn probe(page: &str, width: u32) -> String {
    let folder = tempfile::tempdir().unwrap();
    // The page forbids scripts: for the probe that is lifted, which also shows that the page
    // does not depend on it.
    let policy = "http-equiv=\"Content-Security-Policy\"";
    assert!(page.contains(policy));
    let page = page.replace(policy, "name=\"lifted\"");
    std::fs::write(folder.path().join("page.html"), format!("{page}<script>{PROBE}</script>"))
        .unwrap();
    // A window has a smallest width, a frame has none.
    let frame = format!(
        "<!doctype html><pre id=\"found\"></pre><script>onmessage = (event) => \
         {{ document.getElementById('found').textContent = btoa(event.data); }};</script>\
         <iframe src=\"page.html\" style=\"border: 0; width: {width}px; height: 4000px\"></iframe>"
    );
    std::fs::write(folder.path().join("frame.html"), frame).unwrap();
    let dom = dump(folder.path());
    let (_, found) = dom.split_once("<pre id=\"found\">").unwrap_or_else(|| panic!("{dom}"));
    let found = &found[..found.find("</pre>").unwrap()];
    assert!(!found.is_empty(), "the probe sent nothing");
    String::from_utf8(unbase64(found)).unwrap()
}

/// The document after its scripts have run.
fn dump(folder: &std::path::Path) -> String {
    let output = folder.join("dom");
    let mut child = Command::new(program())
        // Without a sandbox: it cannot be had as root, and the page is our own.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
        .args(["--no-first-run", "--disable-background-networking", "--window-size=1500,4200"])
        // Waits for the frame and its message, in time that passes as fast as it can.
        .args(["--virtual-time-budget=10000", "--dump-dom"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("file://{}", folder.join("frame.html").display()))
        .stdin(Stdio::null())
        .stdout(File::create(&output).unwrap())
        .stderr(File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", program()));
    let end = Instant::now() + TIMEOUT;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > end {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the browser did not end: {}", log(folder));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "the browser failed: {}", log(folder));
    std::fs::read_to_string(output).unwrap()
}

fn log(folder: &std::path::Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}

fn program() -> String {
    if let Some(program) = std::env::var(PROGRAM_VARIABLE).ok().filter(|name| !name.is_empty()) {
        return program;
    }
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let is_there =
        |program: &&&str| std::env::split_paths(&paths).any(|path| path.join(program).is_file());
    let found = PROGRAMS.iter().find(is_there);
    let found = found.unwrap_or_else(|| {
        panic!(
            "this test needs Chromium: install it (Debian: apt-get install chromium), or name \
             the program in {PROGRAM_VARIABLE}"
        )
    });
    (*found).to_owned()
}

/// The browser's `btoa`, back.
fn unbase64(text: &str) -> Vec<u8> {
    let value = |byte: u8| {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        alphabet.iter().position(|letter| *letter == byte).map(|at| at as u32)
    };
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for digit in text.bytes().filter_map(value) {
        bits = (bits << 6) | digit;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    bytes
}
