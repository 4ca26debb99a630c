//! Tells how a run goes while it goes.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::Duration;

/// The stage in which the run is measured: after the warm-up, before the draining.
pub const MEASURING: &str = "measuring";

/// Is told how a run goes, about ten times a second.
pub trait Progress {
    /// A stage of the run begins; it takes so long.
    fn stage(&mut self, name: &str, duration: Duration);
    /// So much of the stage is over; so many deliveries a second lately, so many pending.
    fn update(&mut self, elapsed: Duration, deliveries_per_second: f64, pending: u64);
    /// The run is over.
    fn end(&mut self);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn stage(&mut self, _: &str, _: Duration) {}
    fn update(&mut self, _: Duration, _: f64, _: u64) {}
    fn end(&mut self) {}
}

/// Tells the terminal; nobody, if standard error is none.
#[derive(Debug)]
pub struct Terminal {
    bar: ProgressBar,
}

impl Default for Terminal {
    fn default() -> Self {
        let style = ProgressStyle::with_template("{prefix:>10} [{bar:30}] {msg}");
        let bar = ProgressBar::new(1);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Terminal { bar }
    }
}

impl Progress for Terminal {
    fn stage(&mut self, name: &str, duration: Duration) {
        // Also after an end: there may be another run.
        self.bar.reset();
        self.bar.set_length(duration.as_millis() as u64);
        self.bar.set_prefix(name.to_owned());
    }

    fn update(&mut self, elapsed: Duration, deliveries_per_second: f64, pending: u64) {
        self.bar.set_position(elapsed.as_millis() as u64);
        self.bar.set_message(format!("{deliveries_per_second:.0} deliveries/s, {pending} pending"));
    }

    fn end(&mut self) {
        self.bar.finish_and_clear();
    }
}
