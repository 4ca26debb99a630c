//! Time as numbers: the engine's core is told what time it is and never asks.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A point on the engine's monotonic clock, in microseconds since the engine started.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// The point `milliseconds` later.
    #[must_use]
    pub fn plus_ms(self, milliseconds: u64) -> Tick {
        Tick(self.0.saturating_add(milliseconds.saturating_mul(1000)))
    }

    /// Microseconds from `earlier` to this point; 0 if it is not earlier.
    pub fn since_us(self, earlier: Tick) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Now {
    /// Monotonic: for deadlines and delays.
    pub tick: Tick,
    /// Wall clock in microseconds since 1970: for what people and receivers read.
    pub unix_us: u64,
}

/// Reads the machine's clocks. Lives at the edges (workers, hosts), never in the core.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock whose tick 0 is now.
    pub fn start() -> Self {
        Clock { start: Instant::now() }
    }

    /// The monotonic clock.
    pub fn tick(&self) -> Tick {
        Tick(self.start.elapsed().as_micros() as u64)
    }

    /// Both clocks.
    pub fn now(&self) -> Now {
        Now { tick: self.tick(), unix_us: unix_us() }
    }

    /// The instant that `tick` stands for.
    pub fn instant(&self, tick: Tick) -> Instant {
        self.start + std::time::Duration::from_micros(tick.0)
    }
}

/// The wall clock in microseconds since 1970; 0 for a clock set before that.
pub fn unix_us() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}
