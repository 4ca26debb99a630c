//! `ferrite demo`: the whole way of a webhook on one screen.
//!
//! A server and a receiver run in this process, on loopback; between them and the demo there is
//! nothing but sockets. The demo creates a webhook and writes keys as a user would, and the
//! receiver checks what comes: signature, contents, and order.

mod client;
mod json;
mod order;
mod receiver;
mod screen;
mod script;

use self::client::Client;
use self::order::{OrderCheck, Verdict};
use self::receiver::Arrival;
use self::screen::{Screen, Style, duration_text, shell_words};
use self::script::{Expected, Step};
use super::serve::{Server, StopHandle};
use super::settings::ServerSettings;
use crate::webhooks::WebhookManager;
use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The webhook's secret. It guards nothing: both sides end with the demo.
const SECRET: &str = "demo-secret";
/// How long the demo waits for an event after it is due. Deliveries take milliseconds; the rest
/// is for a machine that is busy, and for the first retries.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of writes, and of arrivals, beyond which only what is wrong is shown.
const EVENTS_SHOWN_MAX: usize = 44;
/// The demo's few events need no more threads, however many cores there are.
const WORKERS: usize = 2;

/// What `ferrite demo` can be told.
#[derive(Args)]
pub struct DemoArgs {
    /// Port for RESP clients [default: a free one].
    #[arg(long)]
    port: Option<u16>,
    /// Leave the server and the receiver running until Ctrl-C, and show what arrives.
    #[arg(long)]
    keep: bool,
    /// Events to cause.
    #[arg(long, value_name = "N", default_value_t = 12,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    events: u32,
}

/// What the demo's other threads tell it.
#[derive(Debug)]
pub enum News {
    /// A webhook arrived.
    Arrival(Arrival),
    /// A request arrived that is not a webhook's.
    NotAnEvent,
    /// The user wants to stop.
    Stop,
    /// The server has ended.
    ServerEnded,
}

/// Runs the demo.
///
/// # Errors
/// What could not be done, or what was not delivered, verified and in order.
pub fn run(args: &DemoArgs) -> Result<(), String> {
    let (sender, news) = mpsc::channel();
    if args.keep {
        // Without --keep a signal may end the process as it always does.
        forward_signals(sender.clone()).map_err(|error| format!("signals: {error}"))?;
    }
    let receiver = receiver::start(SECRET, sender.clone())
        .map_err(|error| format!("cannot start the receiver: {error}"))?;
    let server = RunningServer::start(args.port.unwrap_or(0), sender)?;
    let client = Client::connect(server.address)
        .map_err(|error| format!("cannot connect to the server: {error}"))?;
    let mut demo = Demo {
        screen: Screen::new(),
        client,
        news,
        order: OrderCheck::default(),
        tally: Tally::default(),
    };
    let outcome = demo.play(args, &server, receiver);
    drop(demo.client);
    server.stop()?;
    outcome.map_err(|failure| match failure {
        Failure::Screen(error) => format!("cannot write to standard output: {error}"),
        Failure::Told(text) => text,
    })
}

/// The first signal stops the demo in order, the second at once.
fn forward_signals(news: Sender<News>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT])?;
    thread::Builder::new().name("ferrite-signals".to_owned()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 || news.send(News::Stop).is_err() {
                std::process::exit(128 + signal);
            }
        }
    })?;
    Ok(())
}

/// The server on its thread.
struct RunningServer {
    address: SocketAddr,
    driver: String,
    handle: StopHandle,
    thread: JoinHandle<Result<(), String>>,
}

impl RunningServer {
    fn start(port: u16, news: Sender<News>) -> Result<RunningServer, String> {
        let mut settings =
            ServerSettings { port, shutdown_timeout_ms: 2000, ..ServerSettings::default() };
        let cores = thread::available_parallelism().map_or(1, usize::from);
        settings.webhooks.workers.workers = cores.min(WORKERS);
        let engine = WebhookManager::start(settings.webhooks.clone())
            .map_err(|error| format!("cannot start: {error}"))?;
        let driver = engine.driver().map_err(|error| error.to_string())?;
        let server = Server::bind(settings, Box::new(engine)).map_err(|error| error.to_string())?;
        let (address, handle) = (server.address(), server.stop_handle());
        let thread = thread::Builder::new().name("ferrite-server".to_owned()).spawn(move || {
            let outcome = server.run().map(|_| ()).map_err(|error| error.to_string());
            // Nobody listens when the demo is over.
            let _ = news.send(News::ServerEnded);
            outcome
        });
        let thread = thread.map_err(|error| format!("cannot start the server: {error}"))?;
        Ok(RunningServer { address, driver, handle, thread })
    }

    fn stop(self) -> Result<(), String> {
        self.handle.stop();
        self.thread.join().unwrap_or_else(|_| Err("the server broke down".to_owned()))
    }
}

/// Why the demo ends early or badly.
enum Failure {
    /// Nobody can see it.
    Screen(io::Error),
    /// What to tell the user.
    Told(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Screen(error)
    }
}

/// What has happened so far.
#[derive(Default)]
struct Tally {
    /// Events that had to come.
    written: usize,
    delivered: usize,
    verified: usize,
    in_order: usize,
    repeated: usize,
    /// Arrivals and replies that are not as they should be.
    wrong: usize,
    /// From write to answer; without those that expired, which nobody wrote.
    times: Vec<Duration>,
}

impl Tally {
    fn is_good(&self) -> bool {
        self.wrong == 0 && self.in_order == self.written
    }

    /// How much is shown of what goes well.
    fn is_talkative(&self) -> bool {
        self.written <= EVENTS_SHOWN_MAX
    }

    fn median(&mut self) -> Option<Duration> {
        self.times.sort_unstable();
        self.times.get(self.times.len() / 2).copied()
    }
}

struct Demo {
    screen: Screen,
    client: Client,
    news: Receiver<News>,
    order: OrderCheck,
    tally: Tally,
}

impl Demo {
    fn play(
        &mut self,
        args: &DemoArgs,
        server: &RunningServer,
        receiver: SocketAddr,
    ) -> Result<(), Failure> {
        let url = format!("http://{receiver}{}", receiver::PATH);
        self.introduce(server, &url)?;
        self.create_webhook(&url)?;
        let mut quiet = false;
        for step in script::steps(args.events as usize) {
            self.take_step(&step, &mut quiet)?;
            if !self.collect()? {
                break;
            }
        }
        self.summarize()?;
        if args.keep {
            self.say_what_to_type(server.address)?;
            self.watch()?;
        } else if self.tally.is_good() {
            self.say_how_to_keep(server.address)?;
        }
        match self.tally.is_good() {
            true => Ok(()),
            false => Err(Failure::Told("not everything arrived as it should".to_owned())),
        }
    }

    fn introduce(&self, server: &RunningServer, url: &str) -> io::Result<()> {
        let screen = &self.screen;
        let version = env!("CARGO_PKG_VERSION");
        screen.title(&format!("Ferrite Webhooks {version}: a key changes, a webhook arrives"))?;
        screen.line("")?;
        screen.line(&format!("   server    {}, workers on {}", server.address, server.driver))?;
        screen.line(&format!("   receiver  {url}"))
    }

    fn create_webhook(&mut self, url: &str) -> Result<(), Failure> {
        self.screen.title("A webhook for all keys that start with order:")?;
        let words = ["WEBHOOK.CREATE", "demo", url, "PATTERN", "order:*", "SECRET", SECRET]
            .map(str::to_owned);
        self.screen.sent(&words)?;
        self.send(&[&words])?;
        match self.reply()? {
            Ok(_) => Ok(()),
            Err(refusal) => Err(Failure::Told(format!("WEBHOOK.CREATE was refused: {refusal}"))),
        }
    }

    fn send(&mut self, commands: &[&[String]]) -> Result<(), Failure> {
        let failed = |error| Failure::Told(format!("cannot write to the server: {error}"));
        self.client.send(commands).map_err(failed)
    }

    fn reply(&mut self) -> Result<Result<String, String>, Failure> {
        let failed = |error| Failure::Told(format!("the server did not answer: {error}"));
        self.client.reply().map_err(failed)
    }

    /// Sends the writes of a step, all in one.
    fn take_step(&mut self, step: &Step, quiet: &mut bool) -> Result<(), Failure> {
        let events: usize = step.writes.iter().map(|write| write.events.len()).sum();
        self.tally.written += events;
        if self.tally.is_talkative() {
            self.screen.title(step.title)?;
            step.writes.iter().try_for_each(|write| self.screen.sent(&write.words))?;
        } else if !*quiet {
            *quiet = true;
            self.screen.title("The rest goes on like this, and is shown only where it is wrong")?;
        }
        let commands: Vec<&[String]> = step.writes.iter().map(|write| &*write.words).collect();
        let (now, into_millisecond) = (Instant::now(), time_into_millisecond());
        for expected in step.writes.iter().flat_map(|write| &write.events) {
            self.order.expect(expected.clone(), due(expected, now, into_millisecond));
        }
        self.send(&commands)?;
        for write in &step.writes {
            if let Err(refusal) = self.reply()? {
                let command = shell_words(&write.words);
                return Err(Failure::Told(format!("{command} was refused: {refusal}")));
            }
        }
        Ok(())
    }

    /// Waits until all that has to come has come; says whether it has.
    fn collect(&mut self) -> Result<bool, Failure> {
        loop {
            let Some(last_due) = self.order.missing().map(|(_, due)| *due).max() else {
                return Ok(true);
            };
            let left = (last_due + PATIENCE).saturating_duration_since(Instant::now());
            match self.news.recv_timeout(left) {
                Ok(News::Arrival(arrival)) => self.take_arrival(&arrival)?,
                Ok(News::NotAnEvent) => self.complain("a request was not a webhook's")?,
                Ok(News::Stop) => return Err(Failure::Told("stopped by a signal".to_owned())),
                Ok(News::ServerEnded) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Told("the server ended".to_owned()));
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.complain_of_missing()?;
                    return Ok(false);
                }
            }
        }
    }

    fn take_arrival(&mut self, arrival: &Arrival) -> io::Result<()> {
        self.tally.delivered += 1;
        if !arrival.verified {
            self.tally.wrong += 1;
            return self.screen.arrived(arrival, "", None);
        }
        self.tally.verified += 1;
        match self.order.judge(arrival) {
            Verdict::InOrder { took } => {
                self.tally.in_order += 1;
                if arrival.event != "EXPIRE" {
                    self.tally.times.push(took);
                }
                match self.order.guests || self.tally.is_talkative() {
                    true => self.screen.arrived(arrival, "order ok", Some(took)),
                    false => Ok(()),
                }
            }
            Verdict::Repeated => {
                self.tally.repeated += 1;
                self.screen.arrived(arrival, "repeated", None)
            }
            Verdict::Wrong(why) => {
                self.tally.wrong += 1;
                self.screen.arrived(arrival, "order WRONG", None)?;
                self.screen.line(&format!("   {}", self.screen.paint(Style::Red, &why)))
            }
        }
    }

    fn complain(&mut self, what: &str) -> io::Result<()> {
        self.tally.wrong += 1;
        self.screen.line(&format!(" {}", self.screen.paint(Style::Red, &format!("✗ {what}"))))
    }

    fn complain_of_missing(&mut self) -> io::Result<()> {
        let missing: Vec<String> = (self.order.missing())
            .map(|(expected, _)| format!("{} {} did not arrive", expected.event, expected.key))
            .collect();
        missing.iter().try_for_each(|what| self.complain(what))
    }

    fn summarize(&mut self) -> io::Result<()> {
        let median = self.tally.median();
        let Tally { written, delivered, verified, in_order, repeated, .. } = self.tally;
        let (mark, style) =
            if self.tally.is_good() { ("✓", Style::Green) } else { ("✗", Style::Red) };
        let counts = format!(
            "{mark} {written} events, {} delivered, {} verified, {in_order} in order",
            delivered - repeated,
            verified - repeated.min(verified),
        );
        self.screen.line("")?;
        self.screen.line(&format!(" {}", self.screen.paint(style, &counts)))?;
        if let Some(median) = median {
            let median = duration_text(median);
            self.screen
                .line(&format!("   median time from the write to the receiver's 2xx: {median}"))?;
        }
        if repeated > 0 {
            self.screen.line(&format!("   {repeated} arrived more than once, with the same id"))?;
        }
        Ok(())
    }

    /// Shows commands to type, with what each is for.
    fn show_commands(&self, commands: &[(String, &str)]) -> io::Result<()> {
        let width = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or(0);
        commands.iter().try_for_each(|(command, what_for)| {
            let command = self.screen.paint(Style::Cyan, &format!("{command:<width$}"));
            self.screen.line(&format!("   {command}   {}", self.screen.paint(Style::Dim, what_for)))
        })
    }

    fn say_what_to_type(&self, server: SocketAddr) -> io::Result<()> {
        let cli = format!("redis-cli -p {}", server.port());
        self.screen.title("Now you. In another terminal:")?;
        self.show_commands(&[
            (format!("{cli} SET order:9 hello"), "arrives here"),
            (format!("{cli} SET order:9 bye EX 2"), "twice: when set, when expired"),
            (format!("{cli} WEBHOOK.INFO demo"), "settings and counters"),
            (format!("{cli} WEBHOOK.DELIVERIES demo COUNT 5"), "the latest attempts"),
            (format!("{cli} WEBHOOK.TEST demo"), "sends a test event"),
        ])?;
        self.screen.line("\n Ctrl-C ends it. What arrives:")
    }

    fn say_how_to_keep(&self, server: SocketAddr) -> io::Result<()> {
        let port = server.port();
        let program = std::env::args().next().unwrap_or_else(|| "ferrite".to_owned());
        self.screen.title("Now you. Leave it running, and write from another terminal:")?;
        self.show_commands(&[
            (format!("{program} demo --keep --port {port}"), "runs until Ctrl-C"),
            (format!("redis-cli -p {port} SET order:9 hello"), "arrives on the demo's screen"),
            (format!("redis-cli -p {port} WEBHOOK.INFO demo"), "settings and counters"),
        ])?;
        self.screen.line("")
    }

    /// Shows what guests cause, until a signal or `SHUTDOWN` ends it.
    fn watch(&mut self) -> io::Result<()> {
        self.order.guests = true;
        let before = self.tally.delivered;
        while let Ok(news) = self.news.recv() {
            match news {
                News::Arrival(arrival) => {
                    // A guest's event is announced by its arrival.
                    let in_order = self.tally.in_order;
                    self.take_arrival(&arrival)?;
                    self.tally.written += self.tally.in_order - in_order;
                }
                // Anyone may knock at the receiver's port.
                News::NotAnEvent => self.screen.line("   (a request that is not a webhook's)")?,
                News::Stop | News::ServerEnded => break,
            }
        }
        let since = self.tally.delivered - before;
        self.screen.line(&format!("\n Stopped; {since} more arrived."))
    }
}

/// When `expected` can come at the soonest. The keyspace counts whole milliseconds, so a life
/// starts with the millisecond of the write.
fn due(expected: &Expected, now: Instant, into_millisecond: Duration) -> Instant {
    match expected.after {
        Duration::ZERO => now,
        after => now + after - into_millisecond,
    }
}

/// How far the system's clock is into its millisecond.
fn time_into_millisecond() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_nanos(u64::from(now.subsec_nanos()) % 1_000_000)
}
