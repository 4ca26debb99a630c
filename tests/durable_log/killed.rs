//! A real process on real files, killed in the middle of its work, again and again.

use ferrite::base::id::EventId;
use ferrite::base::random::Random;
use ferrite::core::event::WebhookEvent;
use ferrite::log::{DurableLog, Fsync, LogConfig, LogEvent, Mark, StoredEvent};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const DIRECTORY: &str = "FERRITE_TEST_LOG";
/// Unless `LOG_KILLS` says otherwise.
const ROUNDS: u64 = 8;
const TARGETS: &[u64] = &[1];

fn open(path: &Path) -> DurableLog {
    let (segment_bytes, disk_bytes_max) = (32 * 1024, 1 << 30);
    let config = LogConfig { fsync: Fsync::EverySecond, segment_bytes, disk_bytes_max, workers: 2 };
    DurableLog::open(path, &config, &mut |_| {}).unwrap()
}

fn body(id: EventId) -> Vec<u8> {
    format!("{id}").into_bytes().repeat(1 + (id.sequence % 40) as usize)
}

/// The process that is killed: a line for each event once it is accepted, and for each ack before
/// it is given. Not a test: it does nothing unless it is told where.
#[test]
#[ignore = "started by the test below"]
fn child() {
    let Some(path) = std::env::var_os(DIRECTORY) else { return };
    let log = open(Path::new(&path));
    let mut appenders = [log.appender(0).unwrap(), log.appender(1).unwrap()];
    let out = &mut std::io::stdout();
    let mut accepted: Vec<EventId> = Vec::new();
    for number in 0.. {
        let mut tickets = [0; 2];
        for (appender, ticket) in appenders.iter_mut().zip(&mut tickets) {
            for offset in 0..8 {
                let id = appender.id(number * 8 + offset);
                let event = LogEvent {
                    id,
                    kind: WebhookEvent::Set,
                    database: 0,
                    timestamp_us: 0,
                    key: b"k",
                    body: &body(id),
                    targets: TARGETS,
                };
                *ticket = appender.event(&event, 0).unwrap();
            }
            while appender.flush().is_err() {
                std::thread::yield_now();
            }
        }
        for (appender, ticket) in appenders.iter().zip(tickets) {
            while appender.answered() < ticket {
                std::thread::sleep(Duration::from_micros(50));
            }
            for offset in 0..8 {
                let id = appender.id(number * 8 + offset);
                accepted.push(id);
                writeln!(out, "accepted {} {}", id.boot, id.sequence).unwrap();
            }
        }
        // Three in four are finished some time later.
        while accepted.len() > 100 {
            let id = accepted.remove(0);
            if !id.sequence.is_multiple_of(4) {
                writeln!(out, "finished {} {}", id.boot, id.sequence).unwrap();
                appenders[0].ack(&Mark { id, webhook: 1, target: 0, value: 1 });
            }
        }
        out.flush().unwrap();
    }
}

#[test]
fn what_was_accepted_survives_kill_9_in_order() {
    let name = format!("ferrite-log-killed-{:016x}", ferrite::base::random::seed());
    let path = std::env::temp_dir().join(name);
    let mut random = Random::new(ferrite::base::random::seed());
    let (mut accepted, mut finished) = (BTreeSet::new(), BTreeSet::new());
    let mut boots = BTreeSet::new();
    let rounds = std::env::var("LOG_KILLS").ok().and_then(|rounds| rounds.parse().ok());
    for round in 0..rounds.unwrap_or(ROUNDS) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::child", "--ignored", "--nocapture"])
            .env(DIRECTORY, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let wanted = 1 + random.below(1500);
        let mut seen = 0;
        for line in lines {
            let line = line.unwrap();
            let mut words = line.split(' ');
            let (what, boot, sequence) = (words.next(), words.next(), words.next());
            // The last line may be cut off; the harness prints others.
            let (Some(what), Some(Ok(boot)), Some(Ok(sequence))) =
                (what, boot.map(str::parse), sequence.map(str::parse::<u64>))
            else {
                continue;
            };
            let id = EventId { boot, sequence };
            match what {
                "accepted" => _ = accepted.insert(id),
                "finished" => _ = finished.insert(id),
                _ => continue,
            }
            seen += 1;
            if seen == wanted {
                // SIGKILL. What it has printed since is read, too.
                std::thread::sleep(Duration::from_micros(random.below(3000)));
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let log = open(&path);
        assert!(boots.insert(log.boot()), "boot number twice");
        assert!(boots.last() == Some(&log.boot()));
        assert!(accepted.last().is_none_or(|id| id.boot < log.boot()), "an id may come again");
        let (mut scan, mut stored) = (log.reader().scan(), StoredEvent::default());
        let mut found = BTreeSet::new();
        let mut last = [EventId::default(); 2];
        while scan.next(&mut stored).unwrap() {
            assert!(stored.body == body(stored.id), "round {round}: another body");
            let worker = (stored.id.sequence % 2) as usize;
            assert!(last[worker] < stored.id, "round {round}: order");
            last[worker] = stored.id;
            found.insert(stored.id);
        }
        for id in &accepted {
            assert!(
                found.contains(id) || finished.contains(id),
                "round {round}: {id} was accepted and is lost"
            );
        }
        // What was finished may come back only if its ack was cut off with the process.
        let back = found.iter().filter(|id| finished.contains(id)).count();
        assert!(back as u64 <= 64 * (round + 1), "round {round}: {back} came back");
    }
    assert!(accepted.len() > 200, "{}", accepted.len());
    std::fs::remove_dir_all(&path).unwrap();
}
