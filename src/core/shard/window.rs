//! A concurrency window that adapts to the endpoint's latency (`ADAPTIVE`): additive increase,
//! multiplicative decrease, as TCP does it (Chiu and Jain, "Analysis of the increase and decrease
//! algorithms for congestion avoidance in computer networks", 1989), on response times as the
//! adaptive request concurrency of Vector does.
//!
//! Once in the time that an answer takes, the window is looked at. If answers took clearly longer
//! than they used to, or attempts failed because the endpoint could not cope, it shrinks by a
//! tenth; otherwise, if it was full, it grows by one. It stays between 1 and the webhook's part of
//! CONCURRENCY.

use crate::base::time::Tick;

/// What a new window allows, if CONCURRENCY does.
const LIMIT_AT_START: u32 = 16;
/// What is left of a window that shrinks.
const DECREASE: f64 = 0.9;
/// How much a new mean counts against what is known.
const WEIGHT: f64 = 0.4;
/// Answers are late when they take longer than usual by so many times the usual deviation...
const DEVIATIONS: f64 = 2.5;
/// ... and by at least this part of the usual time, below which nothing is made of it.
const TOLERANCE: f64 = 0.5;

/// A window that adapts.
#[derive(Clone, Debug)]
pub(super) struct AdaptiveWindow {
    limit: u32,
    limit_max: u32,
    /// The usual time of an answer and its deviation, in microseconds; 0: not known yet.
    usual_us: f64,
    deviation_us: f64,
    /// What has happened since the window was looked at last.
    turn: Turn,
    /// When it is looked at next.
    due: Tick,
}

#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    answers: u32,
    sum_us: u64,
    was_full: bool,
    was_pressed: bool,
}

impl AdaptiveWindow {
    /// A window of at most `limit_max`.
    pub(super) fn new(limit_max: u32) -> AdaptiveWindow {
        AdaptiveWindow {
            limit: LIMIT_AT_START.min(limit_max),
            limit_max,
            usual_us: 0.0,
            deviation_us: 0.0,
            turn: Turn::default(),
            due: Tick::default(),
        }
    }

    /// As it is, with another bound.
    pub(super) fn bounded(self, limit_max: u32) -> AdaptiveWindow {
        AdaptiveWindow { limit: self.limit.min(limit_max), limit_max, ..self }
    }

    /// What it allows.
    pub(super) fn limit(&self) -> u32 {
        self.limit
    }

    /// An attempt has ended: of `in_flight`, itself included, after `latency_us`. `pressed`: the
    /// endpoint could not cope with it.
    pub(super) fn note(&mut self, now: Tick, latency_us: u64, in_flight: u32, pressed: bool) {
        self.turn.was_full |= in_flight >= self.limit;
        if pressed {
            self.turn.was_pressed = true;
        } else {
            self.turn.answers += 1;
            self.turn.sum_us = self.turn.sum_us.saturating_add(latency_us);
        }
        if now >= self.due {
            self.look(now, latency_us);
        }
    }

    fn look(&mut self, now: Tick, latency_us: u64) {
        let turn = std::mem::take(&mut self.turn);
        let mean_us = match turn.answers {
            0 => latency_us as f64,
            answers => turn.sum_us as f64 / f64::from(answers),
        };
        let late_us = (self.deviation_us * DEVIATIONS).max(self.usual_us * TOLERANCE);
        let is_late = self.usual_us > 0.0 && mean_us > self.usual_us + late_us;
        if turn.was_pressed || is_late {
            self.limit = ((f64::from(self.limit) * DECREASE) as u32).max(1);
        } else if turn.was_full && self.limit < self.limit_max {
            self.limit += 1;
        }
        if turn.answers > 0 {
            self.learn(mean_us);
        }
        self.due = Tick(now.0.saturating_add(mean_us as u64));
    }

    /// Moves what is usual towards `mean_us`.
    fn learn(&mut self, mean_us: f64) {
        if self.usual_us == 0.0 {
            self.usual_us = mean_us;
            return;
        }
        let difference = mean_us - self.usual_us;
        self.usual_us += WEIGHT * difference;
        self.deviation_us += WEIGHT * (difference.abs() - self.deviation_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Keeps the window full for so many answers, each after the time that `latency_us` says for
    /// the number in flight.
    fn run(window: &mut AdaptiveWindow, answers: u32, latency_us: impl Fn(u32) -> u64) {
        let mut now = window.due.0;
        for _ in 0..answers {
            let (limit, latency_us) = (window.limit(), latency_us(window.limit()));
            now += latency_us / u64::from(limit);
            window.note(Tick(now), latency_us, limit, false);
        }
    }

    fn press(window: &mut AdaptiveWindow, times: u32) {
        let mut now = window.due.0;
        for _ in 0..times {
            now += 1_000_000;
            window.note(Tick(now), 1000, window.limit(), true);
        }
    }

    #[test]
    fn it_starts_in_the_middle_and_grows_to_its_bound_while_latency_stays() {
        let mut window = AdaptiveWindow::new(64);
        assert_eq!(window.limit(), 16);
        run(&mut window, 10_000, |_| 20_000);
        assert_eq!(window.limit(), 64);
        assert_eq!(AdaptiveWindow::new(3).limit(), 3);
    }

    /// A sink on the same machine answers later the more is in flight: that is no reason to shrink.
    #[test]
    fn latency_that_grows_with_the_window_itself_does_not_hold_it_down() {
        let mut window = AdaptiveWindow::new(64);
        run(&mut window, 10_000, |limit| 50 + 5 * u64::from(limit));
        assert_eq!(window.limit(), 64);
    }

    #[test]
    fn a_window_that_is_not_used_does_not_grow() {
        let mut window = AdaptiveWindow::new(64);
        (1..10_000).for_each(|number| window.note(Tick(number * 10_000), 1000, 3, false));
        assert_eq!(window.limit(), 16);
    }

    #[test]
    fn it_shrinks_when_answers_become_late_and_when_the_endpoint_cannot_cope() {
        let mut window = AdaptiveWindow::new(64);
        run(&mut window, 10_000, |_| 20_000);
        run(&mut window, 200, |_| 100_000);
        assert!(window.limit() < 64, "{}", window.limit());
        let before = window.limit();
        press(&mut window, 1);
        assert!(window.limit() < before);
        press(&mut window, 100);
        assert_eq!(window.limit(), 1, "and no further");
        run(&mut window, 10_000, |_| 20_000);
        assert_eq!(window.limit(), 64, "it comes back");
        assert_eq!(window.bounded(5).limit(), 5);
    }

    proptest! {
        #[test]
        fn it_never_leaves_its_bounds(
            limit_max in 1_u32..200,
            attempts in proptest::collection::vec((0_u64..500_000, any::<bool>()), 0..200),
        ) {
            let mut window = AdaptiveWindow::new(limit_max);
            let mut now = 0;
            for (latency_us, pressed) in attempts {
                now += latency_us;
                window.note(Tick(now), latency_us, window.limit(), pressed);
                prop_assert!((1..=limit_max).contains(&window.limit()));
            }
        }
    }
}
