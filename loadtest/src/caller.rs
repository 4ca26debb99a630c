//! What an event costs its caller's thread: every call of `offer` timed, at steady rates.

use crate::wait::wait;
use ferrite::webhooks::{
    Admission, EventRef, EventValue, WebhookConfig, WebhookError, WebhookManager, WebhookOptions,
    WhenFull,
};
use hdrhistogram::Histogram;
use std::io;
use std::time::{Duration, Instant};

/// Events that may wait for the worker, so that the fastest rate never finds it full: the
/// worker's part is not what is measured here.
const RING_EVENTS: usize = 1 << 21;
/// Longest call that is told apart from longer ones, in nanoseconds.
const CALL_NS_MAX: u64 = 1_000_000_000;
/// Calls that tell what reading the clock twice costs.
const CALIBRATION_CALLS: usize = 100_000;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Where the events go; without, nobody listens there: the calls do not depend on it.
    #[arg(long, default_value = "http://127.0.0.1:9/")]
    pub url: String,
    /// Events per second, each rate in turn.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
    pub rates: Vec<u64>,
    /// Seconds of each rate.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// The core of the caller's thread.
    #[arg(long, default_value_t = 0)]
    pub caller_core: usize,
    /// The core of the worker.
    #[arg(long, default_value_t = 1)]
    pub worker_core: usize,
    /// Bytes of each value.
    #[arg(long, default_value_t = 100)]
    pub value_bytes: usize,
}

/// What is measured at one rate.
#[derive(Clone, Debug)]
struct Calls {
    what: String,
    rate: u64,
    /// Nanoseconds of each call, the clock's own cost taken off.
    times_ns: Histogram<u64>,
    accepted: u64,
    rings: u64,
}

/// Why there is no measurement.
#[derive(Debug, thiserror::Error)]
pub enum CallerError {
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] WebhookError),
    /// A core that is not there.
    #[error("cannot run on core {core}: {error}")]
    Core {
        /// Which.
        core: usize,
        /// Why.
        error: io::Error,
    },
}

/// Measures and prints a table.
pub fn run(options: &Options) -> Result<(), CallerError> {
    monoio::utils::bind_to_cpu_set([options.caller_core]).map_err(|error| CallerError::Core {
        core: options.caller_core,
        error: io::Error::other(error),
    })?;
    let clock_ns = clock_cost_ns();
    println!(
        "caller on core {}, worker on core {}; reading the clock twice takes {clock_ns} ns, which \
         is taken off",
        options.caller_core, options.worker_core
    );
    println!(
        "{:<34} {:>9} {:>8} {:>8} {:>8} {:>9} {:>8}",
        "", "events/s", "p50 ns", "p99 ns", "p99.9", "accepted", "rings"
    );
    for webhooks in [1, 1000] {
        let manager = manager(options, webhooks)?;
        let what = format!("unmatched, {webhooks} webhooks");
        let unmatched = event(b"user:123", b"");
        print(&measure(&manager, options, &what, 1_000_000, clock_ns, unmatched)?);
        finish(manager);
    }
    for &rate in &options.rates {
        let manager = manager(options, 1)?;
        let value = vec![b'v'; options.value_bytes];
        let matched = event(b"order:123", &value);
        print(&measure(&manager, options, "matched, 1 webhook", rate, clock_ns, matched)?);
        finish(manager);
    }
    Ok(())
}

fn print(calls: &Calls) {
    let at = |quantile| calls.times_ns.value_at_quantile(quantile);
    println!(
        "{:<34} {:>9} {:>8} {:>8} {:>8} {:>9} {:>8}",
        calls.what,
        calls.rate,
        at(0.5),
        at(0.99),
        at(0.999),
        calls.accepted,
        calls.rings
    );
}

fn event<'a>(key: &'a [u8], value: &'a [u8]) -> EventRef<'a> {
    EventRef { key, value: EventValue::Bytes(value), ..EventRef::default() }
}

fn manager(options: &Options, webhooks: usize) -> Result<WebhookManager, WebhookError> {
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.workers.pin_cores = vec![options.worker_core];
    config.max_webhooks = webhooks;
    config.queue.ring_events = RING_EVENTS;
    config.queue.max_pending = RING_EVENTS;
    let manager = WebhookManager::start(config)?;
    for number in 0..webhooks {
        let pattern = if number == 0 { "order:*".to_owned() } else { format!("order{number}:*") };
        let webhook = WebhookOptions { pattern: Some(pattern), ..WebhookOptions::default() };
        wait(manager.create(&format!("w{number}"), &options.url, webhook))?;
    }
    Ok(manager)
}

/// Ends the engine; what it has not delivered is of no interest.
fn finish(manager: WebhookManager) {
    let _ = wait(manager.shutdown(Duration::ZERO));
}

/// Offers one event again and again at a steady rate; a call that comes late is not hurried, and
/// the ones after it keep their times.
fn measure(
    manager: &WebhookManager,
    options: &Options,
    what: &str,
    rate: u64,
    clock_ns: u64,
    event: EventRef<'_>,
) -> Result<Calls, WebhookError> {
    let mut times_ns = Histogram::new_with_max(CALL_NS_MAX, 3).unwrap_or_else(|_| unreachable!());
    let interval = Duration::from_nanos(1_000_000_000 / rate.max(1));
    let count = (rate as f64 * options.seconds) as u32;
    let mut accepted = 0;
    let rings_before = manager.engine_stats().doorbells_by_callers;
    let mut due = Instant::now();
    for _ in 0..count {
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        due += interval;
        let began = Instant::now();
        let admission = manager.offer(std::hint::black_box(&event), WhenFull::Refuse)?;
        let took_ns = began.elapsed().as_nanos() as u64;
        accepted += u64::from(admission == Admission::Accepted);
        times_ns.saturating_record(took_ns.saturating_sub(clock_ns));
    }
    let rings = manager.engine_stats().doorbells_by_callers - rings_before;
    Ok(Calls { what: what.to_owned(), rate, times_ns, accepted, rings })
}

/// The median cost of what stands around each call.
fn clock_cost_ns() -> u64 {
    let mut costs: Vec<u64> =
        (0..CALIBRATION_CALLS).map(|_| Instant::now().elapsed().as_nanos() as u64).collect();
    let (_, median, _) = costs.select_nth_unstable(CALIBRATION_CALLS / 2);
    *median
}
