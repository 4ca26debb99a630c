//! The turns of the peers, and one measurement.

use super::peer::{Peer, Sent, Stage};
use super::sink::{Sample, Scheduled};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

/// How long a peer may take until its first request arrives.
const START_MS: u64 = 15_000;
/// Time between the first request and the measured part.
const WARM_UP: Duration = Duration::from_millis(250);
/// How often the sink is asked whether a first request has come.
const LOOK: Duration = Duration::from_millis(5);

/// The longest that a sender may be needed, in seconds.
pub(super) fn seconds_max(seconds: f64) -> f64 {
    seconds + (START_MS + 1000) as f64 / 1000.0
}

/// The order of a round: each begins with the next peer, so that a drift of the machine and what
/// the one before left behind do not always hit the same.
pub(super) fn order(round: usize, peers: usize) -> impl Iterator<Item = usize> {
    (0..peers).map(move |turn| (turn + round) % peers)
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    /// Requests per second, as the sink has counted them.
    pub rate: f64,
    /// The same as the sender has counted it itself, from its start to its end.
    pub own_rate: Option<f64>,
    /// The part of the time that the sink ran, and that it waited for its core.
    pub sink_busy: Option<f64>,
    pub sink_held_up: Option<f64>,
}

/// Starts a sender, measures when its requests arrive, and stops it.
pub(super) fn measure(peer: &mut Peer, stage: &Stage, seconds: f64) -> Result<Measured, String> {
    let stop = AtomicBool::new(false);
    let sender = &mut peer.sender;
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            if let Some(core) = stage.core {
                monoio::utils::bind_to_cpu_set([core])
                    .map_err(|error| format!("cannot stay on core {core}: {error}"))?;
            }
            sender.send(stage, &stop)
        });
        let measured = watch(stage, seconds, &running);
        stop.store(true, Ordering::Relaxed);
        let sent: Sent = running.join().map_err(|_| "panicked".to_owned())??;
        Ok(Measured { own_rate: sent.own_rate, ..measured? })
    })
}

fn watch(
    stage: &Stage,
    seconds: f64,
    running: &ScopedJoinHandle<'_, Result<Sent, String>>,
) -> Result<Measured, String> {
    let sample = || Sample::take(stage.address).map_err(|error| format!("sink: {error}"));
    let before = sample()?;
    let deadline = Instant::now() + Duration::from_millis(START_MS);
    // The sink may count the questions too.
    let (mut questions, mut now) = (1, before);
    while now.events <= before.events + questions {
        if running.is_finished() {
            return Err("ended before it was told to".to_owned());
        }
        if Instant::now() > deadline {
            return Err(format!("no request has arrived after {START_MS} ms"));
        }
        std::thread::sleep(LOOK);
        now = sample()?;
        questions += 1;
    }
    std::thread::sleep(WARM_UP);
    let scheduled = || stage.sink_process.and_then(Scheduled::of);
    let (first, scheduled_first) = (sample()?, scheduled());
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let (last, scheduled_last) = (sample()?, scheduled());
    if running.is_finished() {
        return Err("ended before it was told to".to_owned());
    }
    let part = |time: fn(&Scheduled) -> Duration| {
        let used = time(&scheduled_last?).saturating_sub(time(&scheduled_first?));
        Some(used.as_secs_f64() / (last.at - first.at).as_secs_f64())
    };
    Ok(Measured {
        rate: last.rate_since(&first),
        own_rate: None,
        sink_busy: part(|scheduled| scheduled.ran),
        sink_held_up: part(|scheduled| scheduled.waited),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_are_rotated() {
        let rounds: Vec<Vec<usize>> = (0..4).map(|round| order(round, 3).collect()).collect();
        assert_eq!(rounds, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }
}
