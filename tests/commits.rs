//! What `trigger().await`, a commit group and `ferrite serve` promise with persistence holds: a copy
//! of the directory, made when they have answered, is what kill -9 would leave, and the event is in
//! it (DUR-1).

#![allow(clippy::unwrap_used)]

#[cfg(feature = "server")]
#[path = "support/server.rs"]
mod server;
mod support;

use ferrite::core::journal::StoredEvent;
use ferrite::log::{DurableLog, LogConfig};
use ferrite::webhooks::{
    Admission, EventRef, EventValue, Fsync, WebhookConfig, WebhookError, WebhookEvent,
    WebhookManager, WebhookOptions, WebhookTrigger, WhenFull,
};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::block_on;
use support::scratch::Scratch;

/// A directory that goes with the test.
struct Folder(Scratch);

impl Folder {
    fn new() -> Folder {
        Folder(Scratch::new("commits"))
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    /// The keys of the events that kill -9 would leave unfinished now, in the order of the log.
    fn left(&self) -> Vec<Vec<u8>> {
        let copy = self.0.path().join("copy");
        std::fs::create_dir(&copy).unwrap();
        for entry in std::fs::read_dir(self.data().join("log")).unwrap() {
            let entry = entry.unwrap();
            // A segment may be removed meanwhile; none is while nothing is delivered.
            std::fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
        let keys = keys_in(&copy);
        std::fs::remove_dir_all(&copy).unwrap();
        keys
    }
}

fn keys_in(log: &Path) -> Vec<Vec<u8>> {
    let log = DurableLog::open(log, &LogConfig::default(), &mut |_| {}).unwrap();
    let (mut scan, mut stored, mut keys) = (log.reader().scan(), StoredEvent::default(), vec![]);
    while scan.next(&mut stored).unwrap() {
        keys.push(stored.key.clone());
    }
    keys
}

/// Takes connections, and answers nothing: what is sent there stays unfinished.
fn silent_endpoint() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    (listener, url)
}

fn config(folder: &Folder, fsync: Fsync) -> WebhookConfig {
    let mut config = WebhookConfig::default();
    config.workers.workers = 2;
    config.queue.persistence = true;
    config.queue.data_dir = folder.data();
    config.queue.fsync = fsync;
    config
}

fn manager(config: WebhookConfig, url: &str) -> WebhookManager {
    let manager = WebhookManager::start(config).unwrap();
    let options =
        WebhookOptions { pattern: Some("order:*".to_owned()), ..WebhookOptions::default() };
    block_on(manager.create("w", url, options)).unwrap();
    manager
}

fn event(key: &str) -> EventRef<'_> {
    EventRef { key: key.as_bytes(), value: EventValue::Bytes(b"v"), ..EventRef::default() }
}

fn trigger(key: &str) -> WebhookTrigger {
    WebhookTrigger { event: WebhookEvent::Set, key: key.to_owned(), ..WebhookTrigger::default() }
}

#[test]
fn a_triggered_event_is_in_the_log() {
    let (_endpoint, url) = silent_endpoint();
    for fsync in [Fsync::Always, Fsync::EverySecond, Fsync::No] {
        let folder = Folder::new();
        let manager = manager(config(&folder, fsync), &url);
        for number in 0..5 {
            let key = format!("order:{number}");
            block_on(manager.trigger(trigger(&key))).unwrap();
            assert!(folder.left().contains(&key.into_bytes()), "{fsync:?}: {number}");
        }
        // Nobody wants this one, and nobody waits for it.
        block_on(manager.trigger(trigger("other"))).unwrap();
        assert_eq!(folder.left().len(), 5);
        block_on(manager.shutdown(Duration::ZERO));
        assert_eq!(block_on(manager.trigger(trigger("order:9"))), Err(WebhookError::ShutDown));
    }
}

#[test]
fn a_group_waits_once_for_all_its_events() {
    let (_endpoint, url) = silent_endpoint();
    let folder = Folder::new();
    let manager = manager(config(&folder, Fsync::Always), &url);
    let mut group = manager.commit_group();
    for round in 1..=3 {
        for number in 0..500 {
            let key = format!("order:{round}:{number}");
            let admission = group.offer(&event(&key), WhenFull::Refuse).unwrap();
            assert_eq!(admission, Admission::Accepted);
        }
        assert_eq!(group.offer(&event("other"), WhenFull::Refuse), Ok(Admission::Unmatched));
        assert_eq!(group.outstanding(), 500);
        group.wait().unwrap();
        assert_eq!((group.outstanding(), group.failed()), (0, 0));
        assert_eq!(folder.left().len(), 500 * round);
    }
    // One that goes away leaves its events, and the next one waits for its own.
    let mut gone = manager.commit_group();
    let _ = gone.offer(&event("order:gone"), WhenFull::Refuse).unwrap();
    drop(gone);
    let mut next = manager.commit_group();
    let _ = next.offer(&event("order:next"), WhenFull::Refuse).unwrap();
    block_on(next.committed()).unwrap();
    assert!(folder.left().contains(&b"order:next".to_vec()));
}

#[test]
fn without_persistence_nobody_waits() {
    let (_endpoint, url) = silent_endpoint();
    let manager = manager(WebhookConfig::default(), &url);
    let mut group = manager.commit_group();
    assert_eq!(group.offer(&event("order:1"), WhenFull::Refuse), Ok(Admission::Accepted));
    assert_eq!((group.outstanding(), group.wait()), (0, Ok(())));
    assert_eq!(group.wait_for(Duration::ZERO), Some(Ok(())));
    block_on(manager.trigger(trigger("order:2"))).unwrap();
}

#[test]
fn a_full_log_is_told_to_who_waits() {
    let (_endpoint, url) = silent_endpoint();
    let folder = Folder::new();
    let mut small = config(&folder, Fsync::No);
    (small.queue.segment_bytes, small.queue.max_disk_bytes) = (8192, 65536);
    let manager = manager(small, &url);
    let mut group = manager.commit_group();
    let value = [b'x'; 900];
    let mut told = None;
    for number in 0..1000 {
        let key = format!("order:{number}");
        let event = EventRef { value: EventValue::Bytes(&value), ..event(&key) };
        let _ = group.offer(&event, WhenFull::DropNow).unwrap();
        if let Err(error) = group.wait() {
            told = Some(error);
            break;
        }
    }
    let Some(WebhookError::NotDurable(why)) = told else { panic!("{told:?}") };
    assert!(why.contains("max_disk_bytes"), "{why}");
    assert_eq!(group.failed(), 1);
}

/// Callers that wait while workers break down and the engine is shut down: none waits for ever,
/// and what was said to be kept is.
#[test]
fn nobody_waits_in_vain() {
    let (_endpoint, url) = silent_endpoint();
    let folder = Folder::new();
    let manager = manager(config(&folder, Fsync::No), &url);
    let kept = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let (manager, kept) = (manager.clone(), &kept);
            scope.spawn(move || {
                for number in 0.. {
                    let key = format!("order:{caller}:{number}");
                    match block_on(manager.trigger(trigger(&key))) {
                        Ok(()) => kept.fetch_add(1, Ordering::SeqCst),
                        Err(WebhookError::ShutDown | WebhookError::NotDurable(_)) => return,
                        Err(error) => panic!("{error}"),
                    };
                }
            });
        }
        while kept.load(Ordering::SeqCst) < 200 {
            std::thread::yield_now();
        }
        manager.break_worker(0).unwrap();
        manager.break_worker(1).unwrap();
        while kept.load(Ordering::SeqCst) < 400 {
            std::thread::yield_now();
        }
        block_on(manager.shutdown(Duration::ZERO));
    });
    drop(manager);
    assert!(keys_in(&folder.data().join("log")).len() >= kept.load(Ordering::SeqCst));
}

#[cfg(feature = "server")]
#[test]
fn replies_of_a_pipeline_mean_that_the_events_survive_kill_9() {
    const WRITES: usize = 2000;
    let (_endpoint, url) = silent_endpoint();
    for fsync in ["always", "everysec"] {
        let folder = Folder::new();
        let mut command = server::ferrite();
        command
            .args(["serve", "--port", "0", "--workers", "2"])
            .env("FERRITE_WEBHOOKS_QUEUE_PERSISTENCE", "true")
            .env("FERRITE_WEBHOOKS_QUEUE_DATA_DIR", folder.data())
            .env("FERRITE_WEBHOOKS_QUEUE_FSYNC", fsync);
        let mut server = server::Ferrite::spawn(command);
        let mut client = server.client();
        client.ok(&format!("WEBHOOK.CREATE w {url} PATTERN order:*"));
        for number in 0..WRITES {
            client.send(&["SET".to_owned(), format!("order:{number}"), "v".to_owned()]);
        }
        for _ in 0..WRITES {
            assert_eq!(client.read(), server::Reply::ok());
        }
        let published = client.line("WEBHOOK.PUBLISH SET order:published v");
        assert_eq!(published, server::Reply::ok());
        server.signal("KILL");
        server.wait();
        assert_eq!(keys_in(&folder.data().join("log")).len(), WRITES + 1, "fsync {fsync}");
    }
}
