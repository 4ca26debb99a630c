//! A server whose log may take little, and an endpoint that is gone until the log is full (DUR-3).

use super::chaos::{Options, RETRY_DELAY_MS};
use super::killed_server::{VERDICT_LINES_MAX, drain, write_history};
use super::server_process::ServerProcess;
use super::writers::{Whereabouts, Writer, Written};
use super::{SECRET, ScenarioError, io};
use crate::history::{Accounts, HistoryLine};
use crate::result::Finding;
use crate::run::RunError;
use crate::run::client::Client;
use crate::run::resp::Reply;
use crate::sink::{self, Sink};
use crate::verify::{self, Rules, Verdict};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

/// All files of the log together.
const DISK_BYTES_MAX: u64 = 2 * 1024 * 1024;
const SEGMENT_BYTES: u64 = 64 * 1024;
/// What a webhook may have in memory.
const PENDING_MAX: usize = 1000;
/// The webhook whose endpoint is gone, and another one.
const GONE: &str = "gone";
const THERE: &str = "there";
const KEYS: usize = 200;
/// How often the server is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// The log must have room again after so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was seen meanwhile.
#[derive(Debug, Default)]
struct Watched {
    /// How often the log was full, and how often it was looked at.
    full: u64,
    looks: u64,
    disk_bytes_max: u64,
    /// Its state in the end.
    state: String,
}

/// Fills the log, lets the endpoint return, and judges.
pub(super) fn findings(options: &Options, folder: &Path) -> Result<Vec<Finding>, ScenarioError> {
    let config = format!(
        "[webhooks.delivery]\nbreaker_open_ms = 20\nbreaker_open_max_ms = 100\n[webhooks.queue]\n\
         persistence = true\nmax_pending = {PENDING_MAX}\nsegment_bytes = {SEGMENT_BYTES}\n\
         max_disk_bytes = {DISK_BYTES_MAX}\n"
    );
    let program = options.server.as_deref();
    let mut server = ServerProcess::start(program, folder, &config).map_err(io("the server"))?;
    let gone = free_address().map_err(io("a receiver"))?;
    let there = receiver(folder, THERE, SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let mut client = server.client()?;
    make_webhook(&mut client, GONE, &format!("http://{gone}/{GONE}"))?;
    make_webhook(&mut client, THERE, &there.url(&format!("/{THERE}")))?;

    let whereabouts = Whereabouts::new(server.target());
    let mut watched = Watched::default();
    let (sink, written) = std::thread::scope(|scope| {
        let writer = Writer::new("k:".to_owned(), KEYS, rate(options));
        let writer = scope.spawn(|| writer.run(&whereabouts));
        let until_full = watch(&mut client, &mut watched, Duration::from_secs(options.seconds));
        whereabouts.stop();
        let written = writer.join().unwrap_or(Err(RunError::Broken.into()));
        (until_full.and_then(|()| receiver(folder, GONE, gone)), written)
    });
    let (sink, written) = (sink?, vec![written?]);
    let left = drain(&mut client)?;
    watched.state = state_when_empty(&mut client)?;
    let lines = [GONE, THERE].map(|name| accounts(&mut client, name));
    let lines: Vec<HistoryLine> = lines.into_iter().collect::<Result<_, _>>()?;
    drop(client);
    server.stop().map_err(io("the server"))?;
    for sink in [sink, there] {
        sink.stop().map_err(io("a receiver"))?;
    }
    let sender = folder.join("sender");
    write_history(&sender, &lines, &written).map_err(io("the sender's history"))?;
    let histories = [GONE, THERE].map(|name| folder.join(name));
    let verdict = verify::check_files(&[&histories[..], &[sender]].concat(), Rules::default())?;
    Ok(judge(&watched, &written, &lines, left, &verdict))
}

/// So fast that the log is full before a third of the time has passed.
fn rate(options: &Options) -> u64 {
    const EVENT_BYTES: u64 = 400;
    options.rate.max(3 * DISK_BYTES_MAX / EVENT_BYTES / options.seconds.max(1))
}

/// An address where nobody listens now.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn receiver(folder: &Path, name: &str, address: SocketAddr) -> Result<Sink, ScenarioError> {
    let options = sink::Options {
        address,
        verify_secret: Some(SECRET.to_owned()),
        history: Some(folder.join(name)),
        ..sink::Options::default()
    };
    Sink::start(options).map_err(io("a receiver"))
}

fn make_webhook(client: &mut Client, name: &str, url: &str) -> Result<(), ScenarioError> {
    let delay = RETRY_DELAY_MS.to_string();
    let words = [
        name,
        url,
        "RETRIES",
        "1000",
        "RETRY_DELAY",
        &delay,
        "RETRY_BACKOFF",
        "fixed",
        "SECRET",
        SECRET,
        "ON_FULL",
        "reject",
    ];
    let words: Vec<&[u8]> = words.into_iter().map(str::as_bytes).collect();
    Ok(client.call("WEBHOOK.CREATE", &words, |_| ())?)
}

/// Looks at the server again and again.
fn watch(
    client: &mut Client,
    watched: &mut Watched,
    duration: Duration,
) -> Result<(), ScenarioError> {
    let began = Instant::now();
    while began.elapsed() < duration {
        let (state, disk_bytes) = log_of(client)?;
        watched.looks += 1;
        watched.full += u64::from(state == "full");
        watched.disk_bytes_max = watched.disk_bytes_max.max(disk_bytes);
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// The state of the log, and its bytes.
fn log_of(client: &mut Client) -> Result<(String, u64), ScenarioError> {
    let fields = client.call("WEBHOOK.STATS", &[], |reply| {
        let Reply::Array(fields) = reply else { return (String::new(), 0) };
        let mut found = (String::new(), 0);
        for pair in fields.chunks(2) {
            match pair {
                [Reply::Bulk(b"log_state"), Reply::Bulk(text)] => {
                    found.0 = String::from_utf8_lossy(text).into_owned();
                }
                [Reply::Bulk(b"log_disk_bytes"), Reply::Integer(bytes)] => {
                    found.1 = u64::try_from(*bytes).unwrap_or_default();
                }
                _ => {}
            }
        }
        found
    })?;
    Ok(fields)
}

fn state_when_empty(client: &mut Client) -> Result<String, ScenarioError> {
    let began = Instant::now();
    loop {
        let (state, _) = log_of(client)?;
        if state == "ok" || began.elapsed() > PATIENCE {
            return Ok(state);
        }
        std::thread::sleep(LOOK);
    }
}

fn accounts(client: &mut Client, name: &str) -> Result<HistoryLine, ScenarioError> {
    let numbers = client.numbers("WEBHOOK.STATS", &[name.as_bytes()])?;
    let get = |name: &str| numbers.get(name).copied().unwrap_or_default();
    Ok(HistoryLine::Accounts(Accounts {
        webhook: name.to_owned(),
        triggered: get("triggered"),
        delivered: get("delivered"),
        dead: get("failures"),
        dropped: get("dropped"),
        cancelled: get("cancelled"),
        replayed: get("replayed"),
        coalesced: get("coalesced"),
        pending: get("pending"),
        signed: true,
    }))
}

fn judge(
    watched: &Watched,
    written: &[Written],
    accounts: &[HistoryLine],
    left: u64,
    verdict: &Verdict,
) -> Vec<Finding> {
    let dropped = |name: &str| {
        let of = |line: &HistoryLine| match line {
            HistoryLine::Accounts(accounts) if accounts.webhook == name => accounts.dropped,
            _ => 0,
        };
        accounts.iter().map(of).sum::<u64>()
    };
    let not_durable: u64 = written.iter().map(|written| written.not_durable).sum();
    let text = verdict.to_string();
    let shown: Vec<&str> = text.lines().take(VERDICT_LINES_MAX).collect();
    vec![
        Finding::new(
            "the log became full, and said so",
            format!("in {} of {} looks", watched.full, watched.looks),
            watched.full > 0,
        ),
        Finding::new(
            "DUR-3: the disk has a bound",
            format!("{} bytes of {DISK_BYTES_MAX} at most", watched.disk_bytes_max),
            // What ends deliveries is still written down.
            watched.disk_bytes_max <= DISK_BYTES_MAX + SEGMENT_BYTES,
        ),
        Finding::new(
            "OVR-2: what did not fit was dropped and counted, for the webhook that was gone only",
            format!("{} for it, {} for the other one", dropped(GONE), dropped(THERE)),
            dropped(GONE) > 0 && dropped(THERE) == 0,
        ),
        Finding::new(
            "the other one's events were safe all the time",
            format!("{not_durable} writes were told that their event is not"),
            not_durable == 0,
        ),
        Finding::new(
            "DEL-1: everything else arrived, in the order of its key, and the sums add up",
            shown.join("\n"),
            verdict.passed && verdict.accepted > 0,
        ),
        Finding::new(
            "all is well once the endpoint is back",
            format!("{left} pending, the log is {}", watched.state),
            left == 0 && watched.state == "ok",
        ),
    ]
}
