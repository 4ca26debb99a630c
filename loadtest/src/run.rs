//! Drives the embedded engine against a sink.

use ferrite::webhooks::{
    Admission, EngineStats, EventRef, EventValue, WebhookConfig, WebhookManager, WebhookOptions,
    WhenFull,
};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What to drive, and how.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The sink's URL.
    #[arg(long, default_value = "http://127.0.0.1:9900/hook")]
    url: String,
    /// Seconds to measure, after one second of warming up.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Deliveries in flight at once.
    #[arg(long, default_value_t = 64)]
    concurrency: u32,
    /// Requests in flight on one connection.
    #[arg(long, default_value_t = 1)]
    pipeline: u32,
    /// Different keys.
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Bytes of each value.
    #[arg(long, default_value_t = 100)]
    value_bytes: usize,
    /// Deliveries that wait at most: the generator pauses beyond.
    #[arg(long, default_value_t = 1000)]
    backlog: usize,
    /// Sign the bodies.
    #[arg(long)]
    secret: Option<String>,
    /// The core of the only worker; the generator shares it, but for `--latency`.
    #[arg(long)]
    core: Option<usize>,
    /// Instead of as fast as possible: one event after another has been delivered, each timed.
    #[arg(long)]
    latency: bool,
}

/// Runs it and prints the result.
pub fn run(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.queue.max_pending = options.backlog;
    config.workers.pin_cores = options.core.into_iter().collect();
    if let Some(core) = options.core.filter(|_| !options.latency) {
        monoio::utils::bind_to_cpu_set([core])?;
    }
    let manager = WebhookManager::start(config)?;
    println!("worker runs on {}", manager.driver()?);
    let webhook = WebhookOptions {
        pattern: Some("order:*".to_owned()),
        secret: options.secret.clone(),
        concurrency: Some(options.concurrency),
        pipeline: Some(options.pipeline),
        ..WebhookOptions::default()
    };
    wait(manager.create("load", &options.url, webhook))?;
    if options.latency {
        one_by_one(&manager, options)
    } else {
        as_fast_as_possible(&manager, options)
    }
}

fn as_fast_as_possible(
    manager: &WebhookManager,
    options: &Options,
) -> Result<(), Box<dyn std::error::Error>> {
    let value = vec![b'v'; options.value_bytes];
    let mut next_key = 0;
    let mut offer_until = |end: Instant| {
        while Instant::now() < end {
            let key = format!("order:{}", next_key % options.keys);
            next_key += 1;
            let event = event(key.as_bytes(), &value);
            while matches!(manager.offer(&event, WhenFull::Refuse), Ok(Admission::Full)) {
                // The worker shares this core: give it up until there is room for many.
                std::thread::sleep(Duration::from_millis(1));
                if Instant::now() >= end {
                    return;
                }
            }
        }
    };
    offer_until(Instant::now() + Duration::from_secs(1));
    let (before, began) = (manager.engine_stats(), Instant::now());
    offer_until(began + Duration::from_secs(options.seconds));
    let (after, elapsed) = (manager.engine_stats(), began.elapsed());
    report(&before, &after, elapsed);
    Ok(())
}

fn report(before: &EngineStats, after: &EngineStats, elapsed: Duration) {
    let delivered = after.totals.delivered - before.totals.delivered;
    println!(
        "{:.0} deliveries/s ({delivered} in {:.2} s), {} failed attempts, {} connections opened, {} rings by callers",
        delivered as f64 / elapsed.as_secs_f64(),
        elapsed.as_secs_f64(),
        after.totals.failed_attempts - before.totals.failed_attempts,
        after.connections_opened,
        after.doorbells_by_callers - before.doorbells_by_callers,
    );
}

fn one_by_one(
    manager: &WebhookManager,
    options: &Options,
) -> Result<(), Box<dyn std::error::Error>> {
    let value = vec![b'v'; options.value_bytes];
    let mut times = Vec::new();
    let end = Instant::now() + Duration::from_secs(options.seconds);
    while Instant::now() < end {
        let before = manager.engine_stats().totals.delivered;
        let offered_us = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
        let _ = manager.offer(&event(b"order:1", &value), WhenFull::Refuse)?;
        // Long enough for the ringer to have gone to sleep again.
        std::thread::sleep(Duration::from_millis(40));
        while manager.engine_stats().totals.delivered == before {
            std::thread::sleep(Duration::from_millis(1));
        }
        let answered_us = manager.stats("load")?.last_delivery_us.unwrap_or(offered_us);
        times.push(Duration::from_micros(answered_us.saturating_sub(offered_us)));
    }
    // The first ones open the connection.
    times.drain(..times.len().min(3));
    times.sort_unstable();
    let at = |fraction: f64| times[(times.len() as f64 * fraction) as usize];
    println!("trigger to 2xx after idleness: p50 {:?}, p99 {:?}", at(0.5), at(0.99));
    Ok(())
}

fn event<'a>(key: &'a [u8], value: &'a [u8]) -> EventRef<'a> {
    EventRef { key, value: EventValue::Bytes(value), ..EventRef::default() }
}

/// Runs a future that is ready at once.
fn wait<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    loop {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
