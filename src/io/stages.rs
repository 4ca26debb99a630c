//! When a connection reached which stage, for those who test an endpoint.

use crate::base::time::Tick;
use crate::core::stages::TestStages;
use std::cell::Cell;

/// When a connection reached each stage.
#[derive(Debug, Default)]
pub(super) struct Stages {
    pub(super) resolved: Reached,
    pub(super) connected: Reached,
    pub(super) secured: Reached,
    pub(super) first_byte: Reached,
}

/// When something was reached for the first time.
#[derive(Debug, Default)]
pub(super) struct Reached(Cell<Option<Tick>>);

impl Reached {
    pub(super) fn at(&self, now: Tick) {
        if self.0.get().is_none() {
            self.0.set(Some(now));
        }
    }
}

impl Stages {
    /// How long each stage took that was reached, after a beginning at `began`.
    pub(super) fn report(&self, began: Tick) -> TestStages {
        let mut last = began;
        let mut stage = |reached: &Reached| {
            let at = reached.0.get()?;
            Some(at.since_us(std::mem::replace(&mut last, at)))
        };
        TestStages {
            resolve_us: stage(&self.resolved),
            connect_us: stage(&self.connected),
            tls_us: stage(&self.secured),
            first_byte_us: stage(&self.first_byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_is_counted_from_the_one_before() {
        let stages = Stages::default();
        stages.resolved.at(Tick(110));
        stages.connected.at(Tick(150));
        let connected =
            TestStages { resolve_us: Some(10), connect_us: Some(40), ..TestStages::default() };
        assert_eq!(stages.report(Tick(100)), connected);
        stages.first_byte.at(Tick(1150));
        stages.first_byte.at(Tick(9999));
        let plain = TestStages { first_byte_us: Some(1000), ..connected };
        assert_eq!(stages.report(Tick(100)), plain, "without TLS, and the first byte only");
    }
}
