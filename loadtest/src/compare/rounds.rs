//! The turns of the peers, and one measurement.

use super::peer::{Peer, Sent, Stage};
use super::sink::Sample;
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

/// A rate as the sink has counted it, and what the sender has counted itself.
pub(super) fn measure(
    peer: &mut Peer,
    stage: &Stage,
    seconds: f64,
) -> Result<(f64, Option<f64>), String> {
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
        let rate = watch(stage, seconds, &running);
        stop.store(true, Ordering::Relaxed);
        let sent: Sent = running.join().map_err(|_| "panicked".to_owned())??;
        Ok((rate?, sent.own_rate))
    })
}

fn watch(
    stage: &Stage,
    seconds: f64,
    running: &ScopedJoinHandle<'_, Result<Sent, String>>,
) -> Result<f64, String> {
    let sample = || Sample::take(stage.address).map_err(|error| format!("sink: {error}"));
    let before = sample()?;
    let deadline = Instant::now() + Duration::from_millis(START_MS);
    // The sink may count the questions too.
    let (mut questions, mut now) = (1, before);
    while now.requests <= before.requests + questions {
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
    let first = sample()?;
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let rate = sample()?.rate_since(&first);
    if running.is_finished() {
        return Err("ended before it was told to".to_owned());
    }
    Ok(rate)
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
