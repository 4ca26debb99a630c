//! What happens because time passed.

use super::Shard;
use super::lanes::{LaneKey, LaneState};
use crate::base::time::{Now, Tick};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// What a timer is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Due {
    /// The head of a lane may be tried again.
    Lane { lane: u32, generation: u32 },
    /// An endpoint may be sent to again.
    Gate { gate: usize },
    /// A webhook's rate or window allows another attempt.
    Webhook { slot: u32 },
    /// A batch may be tried again.
    Batch { batch: u32, generation: u32 },
    /// What waits for its batch to fill has waited long enough.
    Fill { slot: u32 },
    /// The next event of a replay.
    Replay { replay: u32 },
    /// What was written down is handed over.
    Journal,
    /// What could not be fetched is asked for again.
    Fetch { webhook: u64 },
}

/// Deadlines. Retries and holds are a heap. Exchanges need none: they nearly always end long
/// before their deadline, so only a lower bound is kept, and when that has passed, the
/// connections are looked through once. Idle connections likewise.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Tick, Due)>>,
    exchange: Option<Tick>,
    idle: Option<Tick>,
    /// Lanes that went while they waited since the heap was swept: at most so many of its entries
    /// are for nothing.
    stale: usize,
}

impl Timers {
    pub(super) fn next(&self) -> Option<Tick> {
        let heap = self.heap.peek().map(|Reverse((at, _))| *at);
        [heap, self.exchange, self.idle].into_iter().flatten().min()
    }

    pub(super) fn lane_due(&mut self, at: Tick, lane: u32, generation: u32) {
        self.heap.push(Reverse((at, Due::Lane { lane, generation })));
    }

    pub(super) fn gate_due(&mut self, at: Tick, gate: usize) {
        self.heap.push(Reverse((at, Due::Gate { gate })));
    }

    pub(super) fn webhook_due(&mut self, at: Tick, slot: u32) {
        self.heap.push(Reverse((at, Due::Webhook { slot })));
    }

    pub(super) fn batch_due(&mut self, at: Tick, batch: u32, generation: u32) {
        self.heap.push(Reverse((at, Due::Batch { batch, generation })));
    }

    pub(super) fn fill_due(&mut self, at: Tick, slot: u32) {
        self.heap.push(Reverse((at, Due::Fill { slot })));
    }

    pub(super) fn replay_due(&mut self, at: Tick, replay: u32) {
        self.heap.push(Reverse((at, Due::Replay { replay })));
    }

    pub(super) fn journal_due(&mut self, at: Tick) {
        self.heap.push(Reverse((at, Due::Journal)));
    }

    pub(super) fn fetch_due(&mut self, at: Tick, webhook: u64) {
        self.heap.push(Reverse((at, Due::Fetch { webhook })));
    }

    pub(super) fn exchange_due(&mut self, at: Tick) {
        self.exchange = Some(self.exchange.map_or(at, |known| known.min(at)));
    }

    pub(super) fn idle_due(&mut self, at: Tick) {
        self.idle = Some(self.idle.map_or(at, |known| known.min(at)));
    }

    pub(super) fn set_exchange(&mut self, at: Option<Tick>) {
        self.exchange = at;
    }

    pub(super) fn set_idle(&mut self, at: Option<Tick>) {
        self.idle = at;
    }

    fn pop_due(&mut self, now: Tick) -> Option<(Tick, Due)> {
        let Reverse((at, due)) = *self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some((at, due))
    }
}

/// Stale timers are thrown out when there are so many more of them than live ones.
const STALE_TIMERS_MAX: usize = 64;

impl Shard {
    /// A lane that waited for its retry is gone, and its timer is left.
    pub(super) fn forget_timer(&mut self) {
        self.timers.stale += 1;
        if self.timers.stale > self.timers.heap.len() / 2 + STALE_TIMERS_MAX {
            let lanes = &self.lanes;
            self.timers.heap.retain(|Reverse((_, due))| match *due {
                Due::Lane { lane, generation } => {
                    lanes.get(lane as usize).is_some_and(|lane| lane.generation == generation)
                }
                _ => true,
            });
            self.timers.stale = 0;
        }
    }

    /// Time has passed. Calling it early, or without need, does nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        if self.timers.exchange.is_some_and(|at| at <= now.tick) {
            self.expire_exchanges(now);
        }
        if self.timers.idle.is_some_and(|at| at <= now.tick) {
            self.expire_idle(now.tick);
        }
        while let Some((at, due)) = self.timers.pop_due(now.tick) {
            let slot = match due {
                Due::Gate { gate } => {
                    self.look_at_gate(now.tick, gate);
                    continue;
                }
                Due::Webhook { slot } => {
                    self.look_at_webhook(now.tick, slot);
                    slot
                }
                Due::Replay { replay } => {
                    self.continue_replay(now.tick, at, replay);
                    continue;
                }
                Due::Journal => {
                    self.flush_journal(now.tick);
                    continue;
                }
                Due::Fetch { webhook } => {
                    self.fetch_again(now.tick, webhook);
                    continue;
                }
                Due::Lane { lane, generation } => match self.lanes.get(lane as usize) {
                    Some(waiting)
                        if waiting.generation == generation
                            && waiting.state == LaneState::Waiting =>
                    {
                        let slot = waiting.key.slot;
                        self.ready_at_end(now.tick, lane);
                        slot
                    }
                    _ => continue,
                },
                Due::Batch { batch, generation } => {
                    match self.handle_batch_due(batch, generation) {
                        Some(slot) => slot,
                        None => continue,
                    }
                }
                Due::Fill { slot } => {
                    self.handle_fill_due(now.tick, slot);
                    slot
                }
            };
            let webhook = self.webhooks.get(slot as usize).and_then(Option::as_ref);
            if let Some(endpoint) = webhook.map(|webhook| webhook.endpoint) {
                self.pump(now.tick, endpoint);
            }
        }
    }

    /// Until when the heads of the lanes wait that wait for their retry.
    pub(super) fn retries_due(&self) -> HashMap<LaneKey, Tick> {
        let waiting = self.timers.heap.iter().filter_map(|Reverse((at, due))| {
            let Due::Lane { lane, generation } = *due else { return None };
            let lane = self.lanes.get(lane as usize)?;
            let is_this = lane.generation == generation && lane.state == LaneState::Waiting;
            is_this.then_some((lane.key, *at))
        });
        waiting.collect()
    }

    /// Until when the batches wait that wait for their retry.
    pub(super) fn batch_retries_due(&self) -> HashMap<u32, Tick> {
        let waiting = self.timers.heap.iter().filter_map(|Reverse((at, due))| {
            let Due::Batch { batch, generation } = *due else { return None };
            let is_this = self.batches.get(batch as usize)?.generation == generation;
            is_this.then_some((batch, *at))
        });
        waiting.collect()
    }

    /// Ends the exchanges whose deadline has passed (DEL-5).
    fn expire_exchanges(&mut self, now: Now) {
        let mut next = None;
        let mut due = Vec::new();
        for (index, connection) in &self.connections {
            let deadlines = connection.exchanges.iter().map(|exchange| exchange.deadline);
            let Some(first) = deadlines.min() else { continue };
            if first <= now.tick {
                due.push(index);
            } else if next.is_none_or(|next| first < next) {
                next = Some(first);
            }
        }
        self.timers.set_exchange(next);
        self.expire_connections(now, due);
    }

    /// Closes the connections that have been idle for too long.
    fn expire_idle(&mut self, now: Tick) {
        let idle_timeout_ms = self.config.idle_timeout_ms;
        let mut next = None;
        let mut due = Vec::new();
        for (_, endpoint) in &self.endpoints {
            for &index in &endpoint.idle {
                let expiry = self.connections[index as usize].idle_since.plus_ms(idle_timeout_ms);
                if expiry > now {
                    // The later ones of the stack were used later.
                    next = Some(next.map_or(expiry, |next: Tick| next.min(expiry)));
                    break;
                }
                due.push(index as usize);
            }
        }
        self.timers.set_idle(next);
        due.into_iter().for_each(|index| drop(self.forget_connection(index)));
        self.pump_starved(now);
    }
}
