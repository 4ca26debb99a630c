//! What this process takes while a run goes on: looked at whenever the run tells its progress.

use crate::result::Series;
use crate::run::{MEASURING, Progress};
use std::fs;
use std::time::Duration;

/// What was found at one time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sample {
    /// Seconds of the measured part.
    pub at_seconds: f64,
    /// Resident memory, in MiB.
    pub memory_mib: f64,
    /// Open file descriptors.
    pub descriptors: f64,
    /// Deliveries that wait or are under way.
    pub pending: f64,
}

/// Passes a run's progress on, and takes samples in its measured part.
pub(super) struct Samples<'a> {
    progress: &'a mut dyn Progress,
    every: Duration,
    /// When the next one is due; `None` outside of the measured part.
    next: Option<Duration>,
    taken: Vec<Sample>,
}

impl<'a> Samples<'a> {
    pub fn new(progress: &'a mut dyn Progress, every: Duration) -> Self {
        Samples { progress, every, next: None, taken: Vec::new() }
    }

    /// One value of every sample, in the order of time.
    pub fn values(&self, value: fn(&Sample) -> f64) -> Vec<f64> {
        self.taken.iter().map(value).collect()
    }

    /// The same for a plot.
    pub fn series(&self, name: &str, value: fn(&Sample) -> f64) -> Series {
        let points = self.taken.iter().map(|sample| (sample.at_seconds, value(sample)));
        Series { name: name.to_owned(), across: "seconds".to_owned(), points: points.collect() }
    }

    /// About so many of the samples, as a table.
    pub fn table(&self, rows: usize) -> String {
        let mut text = format!(
            "{:>8}  {:>11}  {:>11}  {:>8}\n",
            "second", "memory, MiB", "descriptors", "pending"
        );
        let step = self.taken.len().div_ceil(rows.max(1)).max(1);
        for sample in self.taken.iter().step_by(step) {
            text.push_str(&format!(
                "{:>8.0}  {:>11.1}  {:>11.0}  {:>8.0}\n",
                sample.at_seconds, sample.memory_mib, sample.descriptors, sample.pending
            ));
        }
        text
    }
}

impl Progress for Samples<'_> {
    fn stage(&mut self, name: &str, duration: Duration) {
        self.next = (name == MEASURING).then_some(Duration::ZERO);
        self.progress.stage(name, duration);
    }

    fn update(&mut self, elapsed: Duration, deliveries_per_second: f64, pending: u64) {
        if let Some(next) = self.next.filter(|next| elapsed >= *next) {
            self.next = Some(next + self.every);
            self.taken.push(Sample {
                at_seconds: elapsed.as_secs_f64(),
                memory_mib: memory_mib(),
                descriptors: descriptors(),
                pending: pending as f64,
            });
        }
        self.progress.update(elapsed, deliveries_per_second, pending);
    }

    fn end(&mut self) {
        self.progress.end();
    }
}

/// 0 where the system does not tell.
fn memory_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kibibytes.unwrap_or(0.0_f64) / 1024.0
}

/// 0 where the system does not tell.
fn descriptors() -> f64 {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Silent;

    #[test]
    fn only_the_measured_part_is_sampled_and_not_too_often() {
        let (mut silent, second) = (Silent, Duration::from_secs(1));
        let mut samples = Samples::new(&mut silent, 2 * second);
        for stage in ["warm-up", MEASURING, "draining"] {
            samples.stage(stage, 10 * second);
            (1..=10).for_each(|at| samples.update(at * second, 0.0, u64::from(at)));
        }
        assert_eq!(samples.values(|sample| sample.pending), [1.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert!(samples.values(|sample| sample.memory_mib).iter().all(|mib| *mib > 1.0));
        assert!(samples.values(|sample| sample.descriptors).iter().all(|count| *count >= 3.0));
        let series = samples.series("pending", |sample| sample.pending);
        assert_eq!(series.points[1], (2.0, 2.0));
        assert_eq!(samples.table(3).lines().count(), 1 + 3);
    }
}
