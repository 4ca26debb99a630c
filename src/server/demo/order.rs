//! Checks that every key's events arrive as they were written, each once.

use super::receiver::Arrival;
use super::script::Expected;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Keys whose last event is remembered; a guest may write any number of them.
const KEYS_MAX: usize = 10_000;
const DAY_US: u64 = 24 * 60 * 60 * 1_000_000;

/// What the check says of an arrival.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It came when it had to.
    InOrder {
        /// From when it was due to the receiver's answer.
        took: Duration,
    },
    /// It came before, with the same id: at-least-once delivery allows that.
    Repeated,
    /// It did not come when it had to, and why that is wrong.
    Wrong(String),
}

/// The events that have to come, and those that came last.
#[derive(Default)]
pub struct OrderCheck {
    expected: HashMap<String, VecDeque<(Expected, Instant)>>,
    /// By key: timestamp and id.
    last: HashMap<String, (String, String)>,
    /// Whether events that nobody announced may come: a guest writes too.
    pub guests: bool,
}

impl OrderCheck {
    /// Notes an event that has to come; `due` is when it could come at the soonest.
    pub fn expect(&mut self, expected: Expected, due: Instant) {
        self.expected.entry(expected.key.clone()).or_default().push_back((expected, due));
    }

    /// The events that have not come, with the time when they were due.
    pub fn missing(&self) -> impl Iterator<Item = &(Expected, Instant)> {
        self.expected.values().flatten()
    }

    /// Looks at an arrival whose signature is right.
    pub fn judge(&mut self, arrival: &Arrival) -> Verdict {
        let last = self.last.get(&arrival.key);
        if last.is_some_and(|(_, id)| *id == arrival.id) {
            return Verdict::Repeated;
        }
        let too_late = last.is_some_and(|(timestamp, _)| *timestamp > arrival.timestamp);
        if self.last.len() >= KEYS_MAX {
            self.last.clear();
        }
        let now = (arrival.timestamp.clone(), arrival.id.clone());
        self.last.insert(arrival.key.clone(), now);
        match self.take_expected(arrival) {
            Err(wrong) => Verdict::Wrong(wrong),
            _ if too_late => Verdict::Wrong("older than the one before it".to_owned()),
            Ok(Some(due)) => {
                Verdict::InOrder { took: arrival.answered_at.saturating_duration_since(due) }
            }
            Ok(None) => Verdict::InOrder { took: age(&arrival.timestamp) },
        }
    }

    /// When the arrival was due, if it is the next that has to come for its key.
    fn take_expected(&mut self, arrival: &Arrival) -> Result<Option<Instant>, String> {
        let queue = self.expected.get_mut(&arrival.key).filter(|queue| !queue.is_empty());
        let Some(queue) = queue else {
            return if self.guests { Ok(None) } else { Err("nobody wrote it".to_owned()) };
        };
        let place = queue.iter().position(|(expected, _)| {
            expected.event == arrival.event && expected.value == arrival.value
        });
        let Some(place) = place else { return Err("nobody wrote it".to_owned()) };
        let taken = queue.remove(place);
        match queue.front().filter(|_| place > 0) {
            Some((first, _)) => Err(format!("{} {} had to come first", first.event, first.value)),
            None => Ok(taken.map(|(_, due)| due)),
        }
    }
}

/// How long ago `timestamp`, which is of today, was; zero if that cannot be told.
fn age(timestamp: &str) -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_us = now.as_micros() as u64 % DAY_US;
    let age_us = us_of_day(timestamp).map(|then_us| (now_us + DAY_US - then_us) % DAY_US);
    Duration::from_micros(age_us.unwrap_or(0))
}

/// Microseconds since midnight of `2024-01-15T10:30:00.123456Z`.
fn us_of_day(timestamp: &str) -> Option<u64> {
    let (_, time) = timestamp.strip_suffix('Z')?.split_once('T')?;
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let mut total = 0;
    for part in seconds.split(':') {
        total = total * 60 + part.parse::<u64>().ok()?;
    }
    Some(total * 1_000_000 + format!("{fraction:0<6}").get(..6)?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expected(value: &str) -> Expected {
        let (key, value) = ("k".to_owned(), value.to_owned());
        Expected { event: "SET", key, value, after: Duration::ZERO }
    }

    fn arrival(id: &str, value: &str) -> Arrival {
        Arrival {
            id: id.to_owned(),
            timestamp: format!("2024-01-15T10:30:00.{id}Z"),
            event: "SET".to_owned(),
            key: "k".to_owned(),
            value: value.to_owned(),
            old_value: "null".to_owned(),
            new_key: None,
            verified: true,
            answered_at: Instant::now(),
        }
    }

    fn check_of(values: &[&str]) -> OrderCheck {
        let mut check = OrderCheck::default();
        values.iter().for_each(|value| check.expect(expected(value), Instant::now()));
        check
    }

    #[test]
    fn what_comes_as_written_is_in_order() {
        let mut check = check_of(&["1", "2"]);
        assert!(matches!(check.judge(&arrival("000001", "1")), Verdict::InOrder { .. }));
        assert_eq!(check.judge(&arrival("000001", "1")), Verdict::Repeated);
        assert_eq!(check.missing().count(), 1);
        assert!(matches!(check.judge(&arrival("000002", "2")), Verdict::InOrder { .. }));
        assert_eq!(check.missing().count(), 0);
    }

    #[test]
    fn a_wrong_order_is_reported() {
        let mut check = check_of(&["1", "2"]);
        let wrong = Verdict::Wrong("SET 1 had to come first".to_owned());
        assert_eq!(check.judge(&arrival("000002", "2")), wrong);
        let wrong = Verdict::Wrong("older than the one before it".to_owned());
        assert_eq!(check.judge(&arrival("000001", "1")), wrong);
    }

    #[test]
    fn what_nobody_wrote_is_reported_unless_there_are_guests() {
        let wrong = Verdict::Wrong("nobody wrote it".to_owned());
        assert_eq!(check_of(&["1"]).judge(&arrival("000001", "other")), wrong);
        assert_eq!(check_of(&[]).judge(&arrival("000001", "1")), wrong);
        let mut check = OrderCheck { guests: true, ..OrderCheck::default() };
        assert!(matches!(check.judge(&arrival("000002", "x")), Verdict::InOrder { .. }));
        assert!(matches!(check.judge(&arrival("000001", "y")), Verdict::Wrong(_)));
    }

    #[test]
    fn the_time_of_day_is_read() {
        let expected = (10 * 3600 + 30 * 60) * 1_000_000 + 123_456;
        assert_eq!(us_of_day("2024-01-15T10:30:00.123456Z"), Some(expected));
        assert_eq!(us_of_day("2024-01-15T10:30:00Z"), Some(expected - 123_456));
        assert_eq!(us_of_day("yesterday"), None);
    }
}
