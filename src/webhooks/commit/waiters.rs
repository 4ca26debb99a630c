//! Who waits for the durable log, and what it has answered.

use super::super::WebhookError;
use crate::base::limits;
use crate::inbox::Room;
use crate::log::{AnswerWaiters, LogError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

/// The callers of an engine that wait for their events. Each has a number, 1 and up, which is not
/// given to another before all events that carry it are answered.
///
/// Offering takes no lock here: a caller counts what it has offered, this counts what was answered,
/// and the two are compared when the caller looks.
#[derive(Debug)]
pub(in crate::webhooks) struct Waiters {
    table: Mutex<Table>,
    places_max: usize,
    /// Where callers wait for a place as well.
    room: Arc<Room>,
}

#[derive(Debug, Default)]
struct Table {
    /// That of waiter n at n - 1.
    places: Vec<Place>,
    free: Vec<u32>,
    /// A caller found no place.
    was_full: bool,
    /// The engine has ended: there will be no more answers.
    closed: bool,
}

#[derive(Debug)]
struct Place {
    answered: u64,
    failed: u64,
    first_error: Option<LogError>,
    /// At so many answers the caller is woken, or if it is gone its place is free.
    expected: u64,
    waker: Option<Waker>,
    /// The caller does not wait any more.
    left: bool,
}

impl Place {
    const NEW: Place = Place {
        answered: 0,
        failed: 0,
        first_error: None,
        expected: u64::MAX,
        waker: None,
        left: false,
    };
}

/// What became of a caller's events.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answers {
    /// Events for which the promise does not hold.
    pub failed: u64,
    pub result: Result<(), WebhookError>,
}

impl Waiters {
    /// `room` is told when there is a place again.
    pub fn new(room: Arc<Room>) -> Waiters {
        Waiters::with_places(limits::COMMIT_WAITERS_MAX, room)
    }

    pub(super) fn with_places(places_max: usize, room: Arc<Room>) -> Waiters {
        Waiters { table: Mutex::default(), places_max, room }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for a new caller. `None`: too many wait; the room is told when one has left.
    pub(super) fn enter(&self) -> Option<u32> {
        let mut table = self.table();
        if let Some(waiter) = table.free.pop() {
            table.places[waiter as usize - 1] = Place::NEW;
            return Some(waiter);
        }
        if table.places.len() >= self.places_max {
            table.was_full = true;
            return None;
        }
        table.places.push(Place::NEW);
        Some(table.places.len() as u32)
    }

    /// The caller, which has `offered` events since it last heard [`Answers`], gives its number
    /// back.
    pub(super) fn leave(&self, waiter: u32, offered: u64) {
        let mut table = self.table();
        let place = &mut table.places[waiter as usize - 1];
        place.waker = None;
        place.expected = offered;
        place.left = true;
        if place.answered >= offered && table.vacate(waiter) {
            drop(table);
            self.room.made();
        }
    }

    /// What became of the `offered` events, when all are answered; the next ones count anew.
    pub(super) fn poll(&self, waiter: u32, offered: u64, waker: &Waker) -> Poll<Answers> {
        let mut table = self.table();
        let closed = table.closed;
        let place = &mut table.places[waiter as usize - 1];
        let missing = offered.saturating_sub(place.answered);
        if missing > 0 && !closed {
            place.expected = offered;
            if !place.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
                place.waker = Some(waker.clone());
            }
            return Poll::Pending;
        }
        let done = std::mem::replace(place, Place::NEW);
        let result = match done.first_error {
            Some(error) => Err(WebhookError::NotDurable(error.to_string())),
            None if missing > 0 => Err(WebhookError::ShutDown),
            None => Ok(()),
        };
        Poll::Ready(Answers { failed: done.failed + missing, result })
    }

    /// There will be no more answers: everybody who waits is told.
    pub fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        let wakers: Vec<Waker> =
            table.places.iter_mut().filter_map(|place| place.waker.take()).collect();
        drop(table);
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Table {
    /// Whether somebody waits for a place.
    fn vacate(&mut self, waiter: u32) -> bool {
        self.free.push(waiter);
        std::mem::take(&mut self.was_full)
    }

    /// Notes `count` answers. Gives the caller's waker if it was waiting for these, and whether
    /// its place was wanted.
    fn note(&mut self, waiter: u32, count: u64, result: Result<(), &LogError>) -> Noted {
        let mut noted = Noted::default();
        let index = (waiter as usize).wrapping_sub(1);
        let Some(place) = self.places.get_mut(index) else { return noted };
        place.answered += count;
        if let Err(error) = result {
            place.failed += count;
            place.first_error.get_or_insert_with(|| error.clone());
        }
        if place.answered >= place.expected {
            place.expected = u64::MAX;
            noted.waker = place.waker.take();
            if std::mem::take(&mut place.left) {
                noted.made_room = self.vacate(waiter);
            }
        }
        noted
    }
}

#[derive(Default)]
struct Noted {
    waker: Option<Waker>,
    made_room: bool,
}

impl AnswerWaiters for Waiters {
    fn answer(&self, waiters: &[u32], result: Result<(), &LogError>) {
        let (mut wakers, mut made_room) = (Vec::new(), false);
        {
            let mut table = self.table();
            // Who looks now is told that the engine has ended.
            if table.closed {
                return;
            }
            for same in waiters.chunk_by(|one, other| one == other) {
                let noted = table.note(same[0], same.len() as u64, result);
                wakers.extend(noted.waker);
                made_room |= noted.made_room;
            }
        }
        wakers.into_iter().for_each(Waker::wake);
        if made_room {
            self.room.made();
        }
    }
}
