//! What one request carries: the head of a lane, or a batch. The rest of the shard treats both
//! alike, through the functions here.

use super::Shard;
use super::lanes::LaneState;
use crate::base::time::Tick;
use crate::core::journal::Finish;
use std::num::NonZeroU32;

/// What one request carries of a webhook's deliveries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Load {
    /// The head of a lane.
    Lane(u32),
    /// A batch.
    Batch(u32),
}

impl Shard {
    /// The webhook that it is a load of.
    pub(super) fn load_slot(&self, load: Load) -> u32 {
        match load {
            Load::Lane(lane) => self.lanes[lane as usize].key.slot,
            Load::Batch(batch) => self.batches[batch as usize].slot,
        }
    }

    /// How many deliveries it is.
    pub(super) fn load_deliveries(&self, load: Load) -> u64 {
        match load {
            Load::Lane(_) => 1,
            Load::Batch(batch) => u64::from(self.batches[batch as usize].count),
        }
    }

    /// Attempts at it that were made and counted.
    pub(super) fn load_attempts(&self, load: Load) -> u32 {
        match load {
            Load::Lane(lane) => self.deliveries[self.head_of(lane)].attempts(),
            Load::Batch(batch) => self.batches[batch as usize].attempts,
        }
    }

    pub(super) fn count_attempt(&mut self, load: Load) {
        match load {
            Load::Lane(lane) => {
                let head = self.head_of(lane);
                self.deliveries[head].count_attempt();
            }
            Load::Batch(batch) => self.batches[batch as usize].count_attempt(),
        }
    }

    /// Its deliveries, in their order.
    pub(super) fn load_chain(&self, load: Load) -> impl Iterator<Item = u32> + '_ {
        let (head, batch) = match load {
            Load::Lane(lane) => (Some(self.lanes[lane as usize].head()), None),
            Load::Batch(batch) => (None, Some(self.batch_chain(batch))),
        };
        head.into_iter().chain(batch.into_iter().flatten())
    }

    fn head_of(&self, lane: u32) -> usize {
        self.lanes[lane as usize].head() as usize
    }

    /// Notes that it goes onto a connection; gives its webhook and its number of deliveries.
    pub(super) fn depart(&mut self, load: Load) -> (u32, u64) {
        if let Load::Lane(lane) = load {
            let lane = &mut self.lanes[lane as usize];
            lane.state = LaneState::InFlight;
            return (lane.key.slot, 1);
        }
        (self.load_slot(load), self.load_deliveries(load))
    }

    /// It comes back from a connection, uncounted: it is the first to be sent again.
    pub(super) fn put_back(&mut self, now: Tick, load: Load) {
        match load {
            Load::Lane(lane) => self.ready_at_front(now, lane),
            Load::Batch(batch) => self.batch_ready(batch),
        }
    }

    /// It is tried again at `at`.
    pub(super) fn retry_at(&mut self, at: Tick, load: Load) {
        match load {
            Load::Lane(lane) => {
                let state = &mut self.lanes[lane as usize];
                state.state = LaneState::Waiting;
                self.timers.lane_due(at, lane, state.generation);
                let slot = state.key.slot;
                self.note_blocked(slot, 1);
            }
            Load::Batch(batch) => {
                let state = &mut self.batches[batch as usize];
                state.waits = true;
                self.timers.batch_due(at, batch, state.generation);
                let (slot, lanes) = (state.slot, state.lanes.len());
                self.note_blocked(slot, lanes as u64);
            }
        }
    }

    /// Its deliveries have come to their ends; what stands behind them is ready.
    /// `finish` is for the journal, unless it knows already.
    pub(super) fn finish(&mut self, now: Tick, load: Load, finish: Option<Finish>) {
        match load {
            Load::Lane(lane) => self.finish_heads(now, lane, NonZeroU32::MIN, finish),
            Load::Batch(batch) => self.finish_batch(now, batch, finish),
        }
    }
}
