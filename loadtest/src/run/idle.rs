//! One event after another, each after idleness: how long from trigger to 2xx.

use super::channel::{Counts, Driven};
use super::distribution::Times;
use super::embedded::{Embedded, NAME};
use super::error::RunError;
use super::options::Options;
use super::progress::Progress;
use super::stamp::{self, Clock};
use crate::result::{Machine, RunResult};
use ferrite::webhooks::{Admission, EventRef, EventValue, WhenFull};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Long enough for the ringer and the workers to have gone to sleep again.
const IDLE: Duration = Duration::from_millis(40);
/// So many of the first are left out: they open the connection.
const FIRST_LEFT_OUT: u64 = 3;
/// A delivery that takes longer is waited for no more.
const PATIENCE: Duration = Duration::from_secs(30);

/// Measures, and then puts the engine away.
pub(super) fn one_by_one(
    options: &Options,
    progress: &mut dyn Progress,
    mut driven: Embedded,
) -> Result<RunResult, RunError> {
    let result = measure(options, progress, &mut driven);
    progress.end();
    driven.finish()?;
    result
}

fn measure(
    options: &Options,
    progress: &mut dyn Progress,
    driven: &mut Embedded,
) -> Result<RunResult, RunError> {
    let (clock, mut value) = (Clock::start(), stamp::value(options.value_bytes));
    let key = format!("{}1", options.key_prefix());
    let first = format!("{NAME}-0");
    let before = driven.counts()?;
    let (began, wanted) = (Instant::now(), Duration::from_secs(options.seconds));
    progress.stage("one by one", wanted);
    let (mut times, mut events, mut void) = (Times::new(), 0, None);
    while began.elapsed() < wanted && void.is_none() {
        let finished = driven.counts()?.finished();
        // By the engine's clock, which says when the answer came.
        let offered_us = unix_us();
        stamp::write(&mut value, events, clock.unix_us(clock.now_ns()));
        let event = EventRef {
            key: key.as_bytes(),
            value: EventValue::Bytes(&value),
            ..EventRef::default()
        };
        match driven.manager().offer(&event, WhenFull::Refuse)? {
            Admission::Accepted => events += 1,
            Admission::Unmatched => return Err(RunError::Unwanted),
            Admission::Full => void = Some("there was no room for a single event".to_owned()),
        }
        std::thread::sleep(IDLE);
        let over = finished + u64::from(options.matching());
        if !wait_for(driven, over)? {
            void = Some(format!("a delivery took longer than {} s", PATIENCE.as_secs()));
        }
        let answered_us = driven.manager().stats(&first)?.last_delivery_us.unwrap_or(offered_us);
        if events > FIRST_LEFT_OUT {
            times.record_ns(answered_us.saturating_sub(offered_us) * 1000);
        }
        progress.update(began.elapsed(), 1.0 / IDLE.as_secs_f64(), 0);
    }
    let after = driven.counts()?;
    let failed_attempts = after.failed_attempts - before.failed_attempts;
    if failed_attempts > 0 {
        let what = format!("{failed_attempts} attempts failed: is there a receiver at the URL?");
        void.get_or_insert(what);
    }
    let result = result(options, &before, &after, began.elapsed());
    let driver = driven.driver();
    Ok(RunResult { events, latency: times.result(), void, driver, failed_attempts, ..result })
}

fn result(options: &Options, before: &Counts, after: &Counts, elapsed: Duration) -> RunResult {
    let deliveries = after.delivered - before.delivered;
    RunResult {
        label: options.label.clone(),
        machine: Machine::here(),
        settings: options.settings(),
        cores: options.cores_text(),
        seconds: elapsed.as_secs_f64(),
        deliveries,
        deliveries_per_second: deliveries as f64 / elapsed.as_secs_f64(),
        dead: after.dead - before.dead,
        connections_opened: after.connections_opened - before.connections_opened,
        rings_by_callers: after.rings_by_callers - before.rings_by_callers,
        ..RunResult::default()
    }
}

/// Waits until so many deliveries are over. Whether they are.
fn wait_for(driven: &mut Embedded, finished: u64) -> Result<bool, RunError> {
    let began = Instant::now();
    while driven.counts()?.finished() < finished {
        if began.elapsed() > PATIENCE {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}

fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64
}
