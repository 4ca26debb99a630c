//! A thread that offers events.

use super::channel::{Accepted, Channel, Event, Offered};
use super::distribution::Times;
use super::error::RunError;
use super::keys::Keys;
use super::schedule::{Look, Schedule};
use super::stamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A generator that shares its core sleeps at least this long, and then offers all that became
/// due: shorter sleeps would take the time of those it shares it with.
const NAP_NS_MIN: u64 = 50_000;
/// A generator that has its core for itself spins for the last part of a wait: sleeps end late.
const SPIN_NS: u64 = 100_000;
/// What a closed loop waits for room: long enough to give a shared core away for many deliveries.
const PAUSE_SHARED: Duration = Duration::from_millis(1);
/// The same of a generator that has its core for itself.
const PAUSE_ALONE: Duration = Duration::from_micros(50);
/// Naps end as exactly as the system can; its usual slack is as long as the naps.
const TIMER_SLACK_NS: u64 = 1;

/// A generator, before it starts.
#[derive(Debug)]
pub(super) struct Generator<C> {
    pub keys: Keys,
    pub value: Vec<u8>,
    pub channel: C,
    /// Knows the measured part too; the generator stops at its end.
    pub accepted: Accepted,
    /// `None`: a closed loop.
    pub schedule: Option<Schedule>,
    /// Whether the core is its own.
    pub may_spin: bool,
    /// Whether to stop before the end.
    pub stop: Arc<AtomicBool>,
}

/// What a generator did.
#[derive(Debug)]
pub(super) struct Generated {
    /// Events of the measured part that were due, or offered.
    pub offered: u64,
    /// Times in the measured part that there was no room.
    pub full: u64,
    /// By how much offers of the measured part came late (open loop).
    pub lag: Times,
    pub accepted: Accepted,
}

impl<C: Channel> Generator<C> {
    /// Offers events until the end of the measured part.
    pub fn run(mut self) -> Result<Generated, RunError> {
        // Only makes naps longer if it is not allowed.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(TIMER_SLACK_NS));
        let mut done = Counted { offered: 0, full: 0, lag: Times::new() };
        match self.schedule.take() {
            Some(schedule) => self.open_loop(schedule, &mut done)?,
            None => self.closed_loop(&mut done)?,
        }
        self.channel.finish(&mut self.accepted)?;
        let Counted { offered, full, lag } = done;
        Ok(Generated { offered, full, lag, accepted: self.accepted })
    }

    /// Follows the schedule. What is refused is lost, as it would be to a caller that cannot wait.
    fn open_loop(&mut self, mut schedule: Schedule, done: &mut Counted) -> Result<(), RunError> {
        while !self.stop.load(Ordering::Relaxed) {
            let now_ns = self.accepted.clock.now_ns();
            match schedule.look(now_ns) {
                Look::Due(at) if at >= self.accepted.measured_ns.end => break,
                Look::NotBefore(at) if at >= self.accepted.measured_ns.end => {
                    self.channel.turn(&mut self.accepted)?;
                    // Whoever watches takes an earlier end for a failure.
                    self.accepted.clock.sleep_until(self.accepted.measured_ns.end);
                    break;
                }
                Look::Due(intended_ns) => {
                    let key = self.keys.next();
                    let offered = self.offer(key, intended_ns)?;
                    if self.accepted.measured_ns.contains(&intended_ns) {
                        done.offered += 1;
                        done.full += u64::from(offered == Offered::Full);
                        done.lag.record_ns(now_ns - intended_ns);
                    }
                }
                Look::NotBefore(at) => {
                    self.channel.turn(&mut self.accepted)?;
                    self.wait_until(at);
                }
            }
        }
        Ok(())
    }

    /// Offers as fast as there is room; what is refused is offered again.
    fn closed_loop(&mut self, done: &mut Counted) -> Result<(), RunError> {
        let pause = if self.may_spin { PAUSE_ALONE } else { PAUSE_SHARED };
        let mut key = self.keys.next();
        while !self.stop.load(Ordering::Relaxed) {
            let now_ns = self.accepted.clock.now_ns();
            if now_ns >= self.accepted.measured_ns.end {
                break;
            }
            let measured = self.accepted.measured_ns.contains(&now_ns);
            match self.offer(key, now_ns)? {
                Offered::Taken => {
                    done.offered += u64::from(measured);
                    key = self.keys.next();
                }
                Offered::Full => {
                    done.full += u64::from(measured);
                    self.channel.turn(&mut self.accepted)?;
                    std::thread::sleep(pause);
                }
            }
        }
        Ok(())
    }

    #[inline]
    fn offer(&mut self, key: usize, intended_ns: u64) -> Result<Offered, RunError> {
        let sequence = self.keys.sequence(key);
        stamp::write(&mut self.value, sequence, self.accepted.clock.unix_us(intended_ns));
        let event = Event { key: self.keys.text(key), value: &self.value, sequence, intended_ns };
        let offered = self.channel.offer(&event, &mut self.accepted)?;
        if offered == Offered::Taken {
            self.keys.advance(key);
        }
        Ok(offered)
    }

    fn wait_until(&self, at_ns: u64) {
        let now_ns = self.accepted.clock.now_ns();
        let left_ns = at_ns.saturating_sub(now_ns);
        if !self.may_spin {
            // Longer than what is left to the next event, if need be: it takes what is due then.
            std::thread::sleep(Duration::from_nanos(left_ns.max(NAP_NS_MIN)));
        } else if left_ns > SPIN_NS {
            std::thread::sleep(Duration::from_nanos(left_ns - SPIN_NS));
        } else {
            std::hint::spin_loop();
        }
    }
}

struct Counted {
    offered: u64,
    full: u64,
    lag: Times,
}

#[cfg(test)]
mod tests {
    use super::super::keys::KeyLaw;
    use super::super::options::KeyChoice;
    use super::super::stamp::Clock;
    use super::*;
    use std::sync::Mutex;

    type Taken = Vec<(Vec<u8>, u64)>;

    /// Takes every second event, and remembers which.
    struct EverySecond {
        offers: usize,
        stall: Duration,
        taken: Arc<Mutex<Taken>>,
    }

    impl Channel for EverySecond {
        fn offer(
            &mut self,
            event: &Event<'_>,
            accepted: &mut Accepted,
        ) -> Result<Offered, RunError> {
            std::thread::sleep(std::mem::take(&mut self.stall));
            self.offers += 1;
            if self.offers.is_multiple_of(2) {
                return Ok(Offered::Full);
            }
            self.taken.lock().unwrap().push((event.key.to_vec(), event.sequence));
            accepted.record(event.key, event.sequence, event.intended_ns)?;
            Ok(Offered::Taken)
        }

        fn turn(&mut self, _: &mut Accepted) -> Result<(), RunError> {
            Ok(())
        }

        fn finish(self, _: &mut Accepted) -> Result<(), RunError> {
            Ok(())
        }
    }

    fn run(schedule: Option<Schedule>, stall: Duration) -> (Generated, Taken) {
        let taken: Arc<Mutex<Taken>> = Arc::default();
        let law = KeyLaw { choice: KeyChoice::Uniform, zipf: None, seed: 3 };
        let mut accepted = Accepted::new(Clock::start(), None);
        accepted.measured_ns = 0..100_000_000;
        let generator = Generator {
            keys: Keys::new("k:", 5, 0, 1, law),
            value: stamp::value(40),
            channel: EverySecond { offers: 0, stall, taken: taken.clone() },
            accepted,
            schedule,
            may_spin: false,
            stop: Arc::default(),
        };
        let generated = generator.run().unwrap();
        let taken = std::mem::take(&mut *taken.lock().unwrap());
        (generated, taken)
    }

    /// Each key's sequences are 0, 1, 2, ... among what was taken, whatever was refused.
    fn assert_contiguous(taken: &Taken) {
        let mut next = std::collections::BTreeMap::new();
        for (key, sequence) in taken {
            let next: &mut u64 = next.entry(key).or_default();
            assert_eq!(sequence, next);
            *next += 1;
        }
        assert_eq!(next.len(), 5);
    }

    #[test]
    fn an_open_loop_offers_all_that_was_due_and_loses_what_is_refused() {
        let (generated, taken) = run(Some(Schedule::even(0, 1000, 0, 1)), Duration::ZERO);
        assert_eq!((generated.offered, generated.full), (100, 50));
        assert_eq!((generated.accepted.measured, generated.accepted.all), (50, 50));
        assert_contiguous(&taken);
    }

    #[test]
    fn a_stall_shows_as_lag_and_costs_no_event() {
        let stall = Duration::from_millis(40);
        let (generated, _) = run(Some(Schedule::even(0, 1000, 0, 1)), stall);
        assert_eq!(generated.offered, 100);
        // Of the forty events that became due meanwhile, the second waited for 39 ms.
        assert!(generated.lag.at_us(1.0) >= 38_000.0, "{}", generated.lag.at_us(1.0));
        assert!(generated.lag.at_us(0.8) >= 15_000.0, "{}", generated.lag.at_us(0.8));
    }

    #[test]
    fn a_closed_loop_offers_what_was_refused_again() {
        let (generated, taken) = run(None, Duration::ZERO);
        assert_eq!(generated.offered, generated.accepted.measured);
        assert!(generated.full > 0);
        assert_contiguous(&taken);
    }

    #[test]
    fn an_event_more_costs_no_allocation() {
        // Takes everything and keeps nothing.
        struct Nowhere;
        impl Channel for Nowhere {
            fn offer(
                &mut self,
                event: &Event<'_>,
                accepted: &mut Accepted,
            ) -> Result<Offered, RunError> {
                accepted.record(event.key, event.sequence, event.intended_ns)?;
                Ok(Offered::Taken)
            }

            fn turn(&mut self, _: &mut Accepted) -> Result<(), RunError> {
                Ok(())
            }

            fn finish(self, _: &mut Accepted) -> Result<(), RunError> {
                Ok(())
            }
        }
        let law = KeyLaw { choice: KeyChoice::Turn, zipf: Some(1.0), seed: 3 };
        let allocations = |rate: u64| {
            let mut accepted = Accepted::new(Clock::start(), None);
            accepted.measured_ns = 0..50_000_000;
            let generator = Generator {
                keys: Keys::new("k:", 5, 0, 1, law),
                value: stamp::value(40),
                channel: Nowhere,
                accepted,
                schedule: Some(Schedule::even(0, rate, 0, 1)),
                may_spin: false,
                stop: Arc::default(),
            };
            let run = || assert_eq!(generator.run().unwrap().accepted.all, rate / 20);
            allocation_counter::measure(run).count_total
        };
        assert_eq!(allocations(100), allocations(100_000));
    }
}
