//! The circuit breaker of an endpoint (DEL-6): told of outcomes and of the time, says whether
//! another delivery may be sent. Nygard, "Release It!", chapter "Stability Patterns".
//!
//! ```text
//! closed ── so many failures in a row ──▶ open ── its time is over ──▶ half-open
//!    ▲                                      ▲                              │ one delivery
//!    │                                      └────────── it failed ─────────┤
//!    └─────────────────────────────────────── it was answered ─────────────┘
//! ```
//!
//! What counts as a failure is decided in [`is_breakdown`]: whether the endpoint is there and able
//! to answer, not whether it liked what it got. Deliveries that were under way when the breaker
//! opened decide nothing any more: they were begun before.

use crate::base::limits;
use crate::base::random::Random;
use crate::base::time::Tick;
use crate::core::failure::Failure;
use crate::core::http::response::Response;
use crate::core::ledger::BreakerState;

/// The time open is lengthened by a random part of up to one in so many, so that workers and
/// engines that lost the same endpoint do not come back to it together.
const JITTER_PARTS: u64 = 5;

/// When a breaker opens, and for how long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerPolicy {
    /// Failures in a row that open it; 0: it never opens.
    pub failures: u32,
    /// How long it stays open at first, in milliseconds; twice as long each time its probe fails.
    pub open_ms: u64,
    /// It never stays open for longer, before jitter, in milliseconds.
    pub open_ms_max: u64,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        BreakerPolicy {
            failures: limits::BREAKER_FAILURES_DEFAULT,
            open_ms: limits::BREAKER_OPEN_MS_DEFAULT,
            open_ms_max: limits::BREAKER_OPEN_MS_MAX_DEFAULT,
        }
    }
}

impl BreakerPolicy {
    /// How long a breaker stays open that opens for the `openings`th time in a row, before jitter.
    fn open_us(&self, openings: u32) -> u64 {
        let doublings = openings.saturating_sub(1).min(63);
        let grown_ms = self.open_ms.saturating_mul(1 << doublings);
        grown_ms.min(self.open_ms_max).saturating_mul(1000)
    }
}

/// Whether an attempt shows that its endpoint has broken down: it could not be reached, did not
/// answer in time or not in HTTP, or says itself that it cannot serve (5xx). One that answers 4xx
/// is there and has made up its mind, 429 included: how long that one wants to be left alone is
/// what `Retry-After` says.
pub(super) fn is_breakdown(outcome: &Result<Response, Failure>) -> bool {
    match outcome {
        Ok(response) => response.status >= 500,
        Err(failure) => *failure != Failure::Internal,
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Closed,
    Open { until: Tick },
    HalfOpen { probing: bool },
}

/// What a breaker lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    /// Everything.
    Free,
    /// One delivery, which must be reported as the probe.
    One,
    /// Nothing.
    Shut,
}

/// A circuit breaker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Breaker {
    state: State,
    /// Failures in a row, while it is closed.
    failures: u32,
    /// Times in a row that it has opened.
    openings: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Breaker { state: State::Closed, failures: 0, openings: 0 }
    }
}

impl Breaker {
    /// Closed, and the last attempt was answered: another answer changes nothing.
    pub(super) fn is_at_ease(&self) -> bool {
        self.state == State::Closed && self.failures == 0
    }

    /// Where it stands.
    pub(super) fn reading(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// What it lets through, now that so much time has passed.
    pub(super) fn admits(&mut self, now: Tick) -> Admission {
        if let State::Open { until } = self.state
            && until <= now
        {
            self.state = State::HalfOpen { probing: false };
        }
        match self.state {
            State::Closed => Admission::Free,
            State::HalfOpen { probing: false } => Admission::One,
            State::HalfOpen { probing: true } | State::Open { .. } => Admission::Shut,
        }
    }

    /// The one delivery is on its way.
    pub(super) fn begin_probe(&mut self) {
        self.state = State::HalfOpen { probing: true };
    }

    /// The one delivery is not on its way any more, and nothing has become of it.
    pub(super) fn end_probe(&mut self) {
        if self.state == (State::HalfOpen { probing: true }) {
            self.state = State::HalfOpen { probing: false };
        }
    }

    /// An attempt was answered.
    pub(super) fn note_answer(&mut self, is_probe: bool) {
        if is_probe {
            *self = Breaker::default();
        } else if self.state == State::Closed {
            self.failures = 0;
        }
    }

    /// An attempt has failed; gives until when the breaker is open if that opens it.
    pub(super) fn note_failure(
        &mut self,
        now: Tick,
        policy: &BreakerPolicy,
        is_probe: bool,
        random: &mut Random,
    ) -> Option<Tick> {
        if self.state == State::Closed {
            self.failures = self.failures.saturating_add(1);
        }
        let opens =
            is_probe || (self.state == State::Closed && self.failures >= policy.failures.max(1));
        if !opens || policy.failures == 0 {
            return None;
        }
        self.failures = 0;
        self.openings = self.openings.saturating_add(1);
        let open_us = policy.open_us(self.openings);
        let until = Tick(now.0.saturating_add(open_us + random.below(open_us / JITTER_PARTS + 1)));
        self.state = State::Open { until };
        Some(until)
    }

    /// As it goes on in a shard that was rebuilt, whose probe is lost; gives until when it is
    /// open.
    pub(super) fn carried_over(mut self) -> (Breaker, Option<Tick>) {
        self.end_probe();
        let until = match self.state {
            State::Open { until } => Some(until),
            _ => None,
        };
        (self, until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: BreakerPolicy = BreakerPolicy { failures: 3, open_ms: 100, open_ms_max: 350 };

    fn fail(breaker: &mut Breaker, now: u64, is_probe: bool) -> Option<Tick> {
        breaker.note_failure(Tick(now), &POLICY, is_probe, &mut Random::new(1))
    }

    fn opened_at(now: u64) -> (Breaker, Tick) {
        let mut breaker = Breaker::default();
        assert_eq!((fail(&mut breaker, 0, false), fail(&mut breaker, 0, false)), (None, None));
        let until = fail(&mut breaker, now, false).unwrap();
        (breaker, until)
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_between_does_not() {
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            fail(&mut breaker, 0, false);
            fail(&mut breaker, 0, false);
            breaker.note_answer(false);
        }
        assert_eq!(breaker.admits(Tick(0)), Admission::Free);
        let (mut breaker, until) = opened_at(1000);
        assert!((101_000..=121_000).contains(&until.0), "{until:?}");
        assert_eq!(breaker.admits(Tick(until.0 - 1)), Admission::Shut);
        assert_eq!(breaker.admits(until), Admission::One);
    }

    #[test]
    fn one_probe_decides() {
        let (mut breaker, until) = opened_at(0);
        assert_eq!(breaker.admits(until), Admission::One);
        breaker.begin_probe();
        assert_eq!(breaker.admits(until), Admission::Shut);
        // What was under way before decides nothing.
        breaker.note_answer(false);
        assert_eq!(fail(&mut breaker, until.0, false), None);
        assert_eq!(breaker.admits(until), Admission::Shut);
        breaker.note_answer(true);
        assert!(breaker.is_at_ease());
        assert_eq!(breaker.admits(until), Admission::Free);
    }

    #[test]
    fn a_probe_that_got_lost_is_followed_by_another() {
        let (mut breaker, until) = opened_at(0);
        breaker.admits(until);
        breaker.begin_probe();
        breaker.end_probe();
        assert_eq!(breaker.admits(until), Admission::One);
    }

    #[test]
    fn the_time_open_grows_up_to_the_cap_and_an_answer_resets_it() {
        let (mut breaker, mut until) = opened_at(0);
        let mut waits = Vec::new();
        for _ in 0..100 {
            assert_eq!(breaker.admits(until), Admission::One);
            breaker.begin_probe();
            let begin = until.0;
            until = fail(&mut breaker, begin, true).unwrap();
            waits.push((until.0 - begin) / 1000);
        }
        for (wait, least) in waits.iter().zip([200, 350, 350]) {
            assert!((least..=least + least / 5).contains(wait), "{waits:?}");
        }
        assert!(waits.iter().all(|wait| *wait <= 420));
        breaker.admits(until);
        breaker.begin_probe();
        breaker.note_answer(true);
        for _ in 0..2 {
            fail(&mut breaker, 0, false);
        }
        assert!(fail(&mut breaker, 0, false).unwrap().0 <= 120_000);
    }

    #[test]
    fn zero_failures_is_no_breaker() {
        let policy = BreakerPolicy { failures: 0, ..POLICY };
        let mut breaker = Breaker::default();
        for _ in 0..1000 {
            assert_eq!(breaker.note_failure(Tick(0), &policy, false, &mut Random::new(1)), None);
        }
        assert_eq!(breaker.admits(Tick(0)), Admission::Free);
    }

    #[test]
    fn what_is_a_breakdown() {
        let answer = |status| {
            let (keep_alive, retry_after, wish) = (true, None, None);
            Ok(Response { status, keep_alive, retry_after, wish })
        };
        for status in [200, 204, 301, 400, 404, 408, 410, 425, 429, 499] {
            assert!(!is_breakdown(&answer(status)), "{status}");
        }
        for status in [500, 502, 503, 504, 599] {
            assert!(is_breakdown(&answer(status)), "{status}");
        }
        for failure in [Failure::Timeout, Failure::ConnectRefused, Failure::Reset, Failure::Tls] {
            assert!(is_breakdown(&Err(failure)), "{failure}");
        }
        assert!(!is_breakdown(&Err(Failure::Internal)), "our own fault");
    }
}
