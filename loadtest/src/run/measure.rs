//! One run from its first to its last event.

use super::channel::{Accepted, Channel, Counts, Driven};
use super::distribution::Times;
use super::error::RunError;
use super::generator::{Generated, Generator};
use super::history::HistoryFile;
use super::keys::{KeyLaw, Keys};
use super::options::Options;
use super::pin;
use super::progress::{MEASURING, Progress};
use super::receiver::Receiver;
use super::schedule::Schedule;
use super::stamp::{self, Clock};
use crate::result::{Machine, RunResult};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const SECOND_NS: u64 = 1_000_000_000;
/// How often the counters are read.
const SAMPLE_NS: u64 = SECOND_NS / 10;
/// Generators start so long after they were made, so that all start together.
const START_NS: u64 = SECOND_NS / 50;
/// While pending deliveries end after a run, they are counted so often.
const DRAIN_LOOK: Duration = Duration::from_millis(5);
/// The lag that is judged: this part of the events was less late.
const LAG_QUANTILE: f64 = 0.99;
/// Makes the draws of keys and gaps the same in every run.
const SEED: u64 = 0x5EED;

/// Drives `driven` as `options` say, and then puts it away.
pub(super) fn loops<D: Driven>(
    options: &Options,
    progress: &mut dyn Progress,
    mut driven: D,
    receiver: Option<Receiver>,
    clock: Clock,
) -> Result<RunResult, RunError> {
    let outcome = drive(options, progress, &mut driven, receiver.as_ref(), clock);
    progress.end();
    // Also after an error: what was made in a server must go.
    let finished = driven.finish();
    let arrived = receiver.map(Receiver::stop).transpose();
    let mut result = outcome?;
    finished?;
    result.latency = arrived?.and_then(|times| times.result());
    Ok(result)
}

fn drive<D: Driven>(
    options: &Options,
    progress: &mut dyn Progress,
    driven: &mut D,
    receiver: Option<&Receiver>,
    clock: Clock,
) -> Result<RunResult, RunError> {
    let history = options.history.as_deref().map(HistoryFile::create).transpose()?;
    let at_start = driven.counts()?;
    let generators = prepare(options, driven, history.as_ref(), clock)?;
    // A whole microsecond, as stamps have them: else the first event would seem to be earlier.
    let start_ns = (clock.now_ns() + START_NS).next_multiple_of(1000);
    let from_ns = start_ns + options.warmup_seconds * SECOND_NS;
    let measured_ns = from_ns..from_ns + options.seconds * SECOND_NS;
    if let Some(receiver) = receiver {
        receiver.window().set(measured_ns.start, measured_ns.end);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let threads = generators
        .into_iter()
        .enumerate()
        .map(|(number, generator)| {
            let parts = Start { start_ns, measured_ns: measured_ns.clone(), stop: stop.clone() };
            start(options, number, generator, parts)
        })
        .collect::<Result<Vec<_>, _>>();
    // If one could not be started, the others must not go on.
    let threads = threads.inspect_err(|_| stop.store(true, Ordering::Relaxed))?;
    let watched = watch(options, progress, driven, clock, &measured_ns, &threads);
    if watched.as_ref().map_or(true, |watched| watched.cut_short) {
        stop.store(true, Ordering::Relaxed);
    }
    let generated = join(threads)?;
    let watched = watched?;
    // Bystanders get every event, too.
    let wanting = u64::from(options.matching()) + options.bystanders.len() as u64;
    let wanted = generated.accepted_all * wanting;
    let end = drain(options, progress, driven, at_start.finished() + wanted)?;
    if let Some(history) = history {
        history.finish(&driven.accounts()?)?;
    }
    let left = (at_start.finished() + wanted).saturating_sub(end.finished());
    let dropped = end.dropped - at_start.dropped;
    let mut result = result(options, &watched, &generated);
    result.driver = driven.driver();
    result.connections_opened = end.connections_opened - at_start.connections_opened;
    result.dropped = dropped;
    result.worker_restarts = end.worker_restarts - at_start.worker_restarts;
    result.void = void(options, &result, &generated, left);
    Ok(result)
}

type Waiting<D> = Generator<<D as Driven>::Channel>;

/// The generators, with all that takes time made beforehand.
fn prepare<D: Driven>(
    options: &Options,
    driven: &D,
    history: Option<&HistoryFile>,
    clock: Clock,
) -> Result<Vec<Waiting<D>>, RunError> {
    let prepare = |number: usize| {
        let law =
            KeyLaw { choice: options.key_choice, zipf: options.zipf, seed: SEED + number as u64 };
        let (generator, generators) = (number as u64, options.generators as u64);
        Ok(Generator {
            keys: Keys::new(options.key_prefix(), options.keys, generator, generators, law),
            value: stamp::value(options.value_bytes),
            channel: driven.channel()?,
            accepted: Accepted::new(clock, history.map(HistoryFile::writer)),
            schedule: None,
            may_spin: options.may_spin(number),
            stop: Arc::default(),
        })
    };
    (0..options.generators).map(prepare).collect()
}

/// What generators are told when they start.
struct Start {
    start_ns: u64,
    measured_ns: Range<u64>,
    stop: Arc<AtomicBool>,
}

type Running = JoinHandle<Result<Generated, RunError>>;

fn start<C: Channel + Send + 'static>(
    options: &Options,
    number: usize,
    mut generator: Generator<C>,
    parts: Start,
) -> Result<Running, RunError> {
    let (mine, all) = (number as u64, options.generators as u64);
    generator.schedule = options.rate.map(|rate| match options.poisson {
        true => Schedule::poisson(parts.start_ns, rate, all, SEED ^ mine << 32),
        false => Schedule::even(parts.start_ns, rate, mine, all),
    });
    generator.accepted.measured_ns = parts.measured_ns;
    generator.stop = parts.stop;
    let core = options.generator_core(number);
    let thread = std::thread::Builder::new().name(format!("generator-{number}"));
    let run = move || {
        core.map_or(Ok(()), pin)?;
        generator.accepted.clock.sleep_until(parts.start_ns);
        generator.run()
    };
    thread.spawn(run).map_err(RunError::Thread)
}

/// What the counters were in the measured part.
#[derive(Debug, Default)]
struct Watched {
    before: Counts,
    after: Counts,
    seconds: f64,
    per_tenth: Vec<u64>,
    /// A generator ended too early: it failed.
    cut_short: bool,
}

/// Reads the counters each tenth of a second, until the end of the measured part or of a
/// generator, which ends early when something is wrong.
fn watch<D: Driven>(
    options: &Options,
    progress: &mut dyn Progress,
    driven: &mut D,
    clock: Clock,
    measured_ns: &Range<u64>,
    generators: &[Running],
) -> Result<Watched, RunError> {
    let mut watched = Watched::default();
    let mut last = driven.counts()?;
    let mut step = |from_ns: u64, at_ns: u64, last: &mut Counts, progress: &mut dyn Progress| {
        clock.sleep_until(at_ns);
        let counts = driven.counts()?;
        let delivered = counts.delivered - last.delivered;
        *last = counts;
        let rate = delivered as f64 * (SECOND_NS / SAMPLE_NS) as f64;
        progress.update(Duration::from_nanos(at_ns - from_ns), rate, counts.pending);
        Ok::<u64, RunError>(delivered)
    };
    let ended = || generators.iter().any(JoinHandle::is_finished);
    let warmup_ns = options.warmup_seconds * SECOND_NS;
    let start_ns = measured_ns.start - warmup_ns;
    progress.stage("warm-up", Duration::from_nanos(warmup_ns));
    for tenth in 0..=warmup_ns / SAMPLE_NS {
        step(start_ns, start_ns + tenth * SAMPLE_NS, &mut last, progress)?;
        if ended() {
            watched.cut_short = true;
            return Ok(watched);
        }
    }
    watched.before = last;
    let began_ns = clock.now_ns();
    progress.stage(MEASURING, Duration::from_secs(options.seconds));
    for tenth in 1..=options.seconds * SECOND_NS / SAMPLE_NS {
        let at_ns = measured_ns.start + tenth * SAMPLE_NS;
        watched.per_tenth.push(step(measured_ns.start, at_ns, &mut last, progress)?);
        if at_ns < measured_ns.end && ended() {
            watched.cut_short = true;
            break;
        }
    }
    watched.after = last;
    watched.seconds = (clock.now_ns() - began_ns) as f64 / SECOND_NS as f64;
    Ok(watched)
}

/// What all generators did together.
struct Together {
    offered: u64,
    accepted: u64,
    accepted_all: u64,
    full: u64,
    lag: Times,
}

fn join(threads: Vec<Running>) -> Result<Together, RunError> {
    let mut together =
        Together { offered: 0, accepted: 0, accepted_all: 0, full: 0, lag: Times::new() };
    // All are waited for, also when one has failed.
    let ends: Vec<_> =
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(RunError::Broken))).collect();
    for end in ends {
        let Generated { offered, full, lag, accepted } = end?;
        together.offered += offered;
        together.full += full;
        together.lag.add(&lag);
        together.accepted += accepted.measured;
        together.accepted_all += accepted.all;
    }
    Ok(together)
}

/// Waits until so many deliveries are over, as long as the options allow.
fn drain<D: Driven>(
    options: &Options,
    progress: &mut dyn Progress,
    driven: &mut D,
    finished: u64,
) -> Result<Counts, RunError> {
    let most = Duration::from_secs(options.drain_seconds);
    progress.stage("draining", most);
    let began = Instant::now();
    loop {
        let counts = driven.counts()?;
        if counts.finished() >= finished || began.elapsed() >= most {
            return Ok(counts);
        }
        progress.update(began.elapsed(), 0.0, counts.pending);
        std::thread::sleep(DRAIN_LOOK);
    }
}

fn result(options: &Options, watched: &Watched, generated: &Together) -> RunResult {
    let Watched { before, after, seconds, per_tenth, .. } = watched;
    let deliveries = after.delivered - before.delivered;
    RunResult {
        label: options.label.clone(),
        machine: Machine::here(),
        settings: options.settings(),
        cores: options.cores_text(),
        seconds: *seconds,
        events: generated.accepted,
        deliveries,
        deliveries_per_second: if *seconds > 0.0 { deliveries as f64 / seconds } else { 0.0 },
        failed_attempts: after.failed_attempts - before.failed_attempts,
        dead: after.dead - before.dead,
        full: generated.full,
        generator_lag: options.rate.and_then(|_| generated.lag.result()),
        per_tenth: per_tenth.clone(),
        rings_by_callers: after.rings_by_callers - before.rings_by_callers,
        ..RunResult::default()
    }
}

/// Why the run counts for nothing, if so.
fn void(options: &Options, result: &RunResult, generated: &Together, left: u64) -> Option<String> {
    let mut reasons = Vec::new();
    if options.rate.is_some() {
        let lag_us = generated.lag.at_us(LAG_QUANTILE);
        if lag_us > options.lag_limit_us as f64 {
            reasons.push(format!(
                "the generator was {lag_us:.0} us late at the 99th percentile, more than the {} \
                 allowed: give it a core of its own, or a lower rate",
                options.lag_limit_us
            ));
        }
        if generated.accepted < generated.offered {
            reasons.push(format!(
                "{} of {} events were refused: the rate is more than is delivered",
                generated.offered - generated.accepted,
                generated.offered
            ));
        }
    }
    if result.dropped > 0 {
        reasons.push(format!("{} deliveries were dropped: a queue was full", result.dropped));
    }
    if left > 0 {
        reasons.push(format!(
            "{left} deliveries were not over {} s after the last event",
            options.drain_seconds
        ));
    }
    if result.deliveries == 0 {
        reasons.push("nothing was delivered: is there a receiver at the URL?".to_owned());
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
