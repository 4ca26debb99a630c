//! Servers on a directory, their webhooks, and the receivers of these.

use crate::receiver::Receiver;
use crate::server::{Ferrite, Reply, ferrite};
use crate::support::PATIENCE;
use ferrite::base::random::seed;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A directory for one test, empty at first.
pub fn fresh_directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("killed-{name}"));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// What `FERRITE_SEED` says, or chance.
pub fn chosen_seed() -> u64 {
    let seed = match std::env::var("FERRITE_SEED") {
        Ok(text) => text.parse().expect("FERRITE_SEED is a number"),
        Err(_) => seed() >> 16,
    };
    println!("FERRITE_SEED={seed}");
    seed
}

/// `ferrite serve` on a directory. Breakers come back quickly, so that a run is short.
pub fn serve(directory: &Path, workers: usize, queue: &str) -> Command {
    let path = directory.join("ferrite.toml");
    let text = format!(
        "[webhooks.delivery]\nbreaker_open_ms = 20\nbreaker_open_max_ms = 100\n\
         [webhooks.queue]\n{queue}\n"
    );
    std::fs::write(&path, text).unwrap();
    let mut command = ferrite();
    command.args(["serve", "--port", "0", "--workers", &workers.to_string()]);
    command.arg("--config").arg(path).arg("--data-dir").arg(directory.join("data"));
    command
}

/// The `[webhooks.queue]` of servers whose events survive.
pub const DURABLE: &str = "persistence = true\nsegment_bytes = 65536";
/// Of servers whose events do not.
pub const IN_MEMORY: &str = "persistence = false";

/// A webhook and its receiver.
pub struct Party {
    pub name: &'static str,
    pub options: &'static str,
    pub receiver: Receiver,
}

/// Makes the webhooks, if they are not there; `survived`: they must be.
pub fn make_webhooks(server: &Ferrite, parties: &[Party], survived: bool) {
    let mut client = server.client();
    for Party { name, options, receiver } in parties {
        let found = client.line(&format!("WEBHOOK.INFO {name}"));
        match found {
            Reply::Array(_) => {}
            _ if survived => {
                panic!("webhook {name} is not there any more: {found:?}")
            }
            _ => client.ok(&format!("WEBHOOK.CREATE {name} {} {options}", receiver.url())),
        }
    }
}

/// Waits until nothing of these webhooks is pending, for as long as requests still come.
pub fn wait_until_delivered(server: &Ferrite, parties: &[Party]) {
    let mut client = server.client();
    let (mut count, mut since) = (0, Instant::now());
    while parties.iter().any(|party| client.counter(party.name, "pending") > 0) {
        let now = parties.iter().map(|party| party.receiver.count()).sum();
        if now != count {
            (count, since) = (now, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "something is pending, and nothing comes any more");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Stops it as an operator does.
pub fn end_in_order(server: &mut Ferrite) {
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0), "{}", server.log());
}
