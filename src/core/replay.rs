//! Sending again what is kept: what may be asked for, who keeps it, and the order that a worker
//! gets.

use super::event::WebhookEvent;
use super::format::Format;
use crate::base::id::{EventId, WebhookId};
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::Arc;

/// An event that can be sent again: the same id, the same bytes, the same headers of its own
/// (DEL-3).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeptEvent {
    /// Its id.
    pub id: EventId,
    /// What happened.
    pub event: WebhookEvent,
    /// The first bytes of the key.
    pub key: Vec<u8>,
    /// Names its lane.
    pub key_hash: u64,
    /// The webhook's place among those that the event was for: what the durable log names it by.
    pub target: u16,
    /// The bytes that are sent.
    pub body: Vec<u8>,
    /// Their form.
    pub format: Format,
    /// Its own header lines, each with CRLF before it.
    pub lines: Vec<u8>,
}

/// Which events are to be sent again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which {
    /// One.
    Id(EventId),
    /// All dead letters.
    Dead,
    /// Those of a time, both ends included, in microseconds since 1970. Of a dead letter it is
    /// the time when it was given up.
    Between {
        /// The first moment.
        since_us: u64,
        /// The last moment.
        until_us: u64,
    },
}

/// Which events are to be sent again, and of which keys.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Selection {
    /// Which.
    pub which: Which,
    /// A glob for their keys; `None` for every key. Keys are kept up to
    /// [`DELIVERY_LOG_KEY_BYTES_MAX`](crate::base::limits::DELIVERY_LOG_KEY_BYTES_MAX) bytes.
    pub pattern: Option<Vec<u8>>,
}

/// Where a kept event is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Names it to its keeper.
    pub number: u64,
    /// The worker whose lanes its key belongs to.
    pub worker: usize,
}

/// Keeps the events of one webhook so that they can be sent again. Today these are its dead
/// letters; a durable log can answer here for the delivered ones, too.
pub trait EventKeeper: Debug + Send + Sync {
    /// Reserves what `selection` means and nobody has reserved; the order is that of the replay.
    fn select(&self, selection: &Selection) -> Vec<Place>;

    /// Gives a reserved event out; `None` if it is not there any more.
    fn take(&self, number: u64) -> Option<KeptEvent>;

    /// Gives a reservation up.
    fn release(&self, number: u64);
}

/// What one worker is to send again. What it has not sent when it is dropped is released.
#[derive(Debug)]
pub struct Replay {
    /// The webhook.
    pub webhook: WebhookId,
    /// From one event to the next, in microseconds.
    pub interval_us: u64,
    keeper: Arc<dyn EventKeeper>,
    waiting: VecDeque<u64>,
}

impl Replay {
    /// The next event that is still there.
    pub(super) fn take_next(&mut self) -> Option<KeptEvent> {
        while let Some(number) = self.waiting.pop_front() {
            if let Some(event) = self.keeper.take(number) {
                return Some(event);
            }
        }
        None
    }

    /// Whether all of it was taken.
    pub(super) fn is_over(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Drop for Replay {
    fn drop(&mut self) {
        self.waiting.drain(..).for_each(|number| self.keeper.release(number));
    }
}

/// Divides `places` among `workers`, so that all together send `per_second` events. Each part
/// comes with its worker.
pub fn divide(
    webhook: WebhookId,
    keeper: &Arc<dyn EventKeeper>,
    places: &[Place],
    workers: usize,
    per_second: u32,
) -> Vec<(usize, Replay)> {
    let total = places.len() as u64;
    let part = |worker: usize| {
        let own = places.iter().filter(|place| place.worker == worker);
        let waiting: VecDeque<u64> = own.map(|place| place.number).collect();
        // All parts take equally long.
        let shares = u64::from(per_second.max(1)) * (waiting.len() as u64).max(1);
        let interval_us = (total * 1_000_000).div_ceil(shares);
        (worker, Replay { webhook, interval_us, keeper: keeper.clone(), waiting })
    };
    (0..workers).map(part).filter(|(_, replay)| !replay.is_over()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Keeper {
        released: Mutex<Vec<u64>>,
    }

    impl EventKeeper for Keeper {
        fn select(&self, _: &Selection) -> Vec<Place> {
            Vec::new()
        }

        /// Odd ones are gone.
        fn take(&self, number: u64) -> Option<KeptEvent> {
            number.is_multiple_of(2).then(|| KeptEvent {
                id: EventId { boot: 0, sequence: number },
                event: WebhookEvent::Set,
                key: Vec::new(),
                key_hash: 0,
                target: 0,
                body: Vec::new(),
                format: Format::Ferrite,
                lines: Vec::new(),
            })
        }

        fn release(&self, number: u64) {
            self.released.lock().unwrap().push(number);
        }
    }

    const WEBHOOK: WebhookId = WebhookId { slot: 0, generation: 0 };

    #[test]
    fn the_parts_together_keep_the_rate() {
        let keeper = Arc::new(Keeper::default());
        let places: Vec<Place> = (0..10)
            .map(|number| Place { number, worker: if number < 8 { 0 } else { 2 } })
            .collect();
        let keeper: Arc<dyn EventKeeper> = keeper;
        let parts = divide(WEBHOOK, &keeper, &places, 3, 100);
        let rates: Vec<_> =
            parts.iter().map(|(worker, part)| (*worker, part.interval_us)).collect();
        assert_eq!(rates, [(0, 12_500), (2, 50_000)]);
    }

    #[test]
    fn what_is_gone_is_passed_over_and_what_is_left_is_released() {
        let keeper = Arc::new(Keeper::default());
        let places: Vec<Place> = (1..6).map(|number| Place { number, worker: 0 }).collect();
        let dynamic: Arc<dyn EventKeeper> = keeper.clone();
        let mut parts = divide(WEBHOOK, &dynamic, &places, 1, 1);
        let taken = parts[0].1.take_next().map(|event| event.id.sequence);
        assert_eq!(taken, Some(2));
        drop(parts);
        assert_eq!(*keeper.released.lock().unwrap(), [3, 4, 5]);
    }
}
