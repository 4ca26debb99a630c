//! What a value says of its event: `#<sequence of the key>#<intended time>#`, then filling.
//!
//! The intended time is in microseconds since 1970, by the clock of the run. It travels to the
//! receiver, which so knows how long the event was on its way without asking anybody.

use super::options::VALUE_BYTES_MIN;
use memchr::memmem;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What fills a value up.
const FILLING: u8 = b'v';
/// How the value begins in a body: see the payload of a SET.
const VALUE_START: &[u8] = b"\"value\":\"#";
/// How the body of a batch begins.
const BATCH_START: &[u8] = b"{\"batch_id\":";

/// The clock of a run: counts from its start, so that it never jumps, and says when that was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    start_unix_us: u64,
}

impl Clock {
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { start: Instant::now(), start_unix_us: unix.as_micros() as u64 }
    }

    /// Nanoseconds since the start of the run.
    #[inline]
    pub fn now_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// A time of this clock, in microseconds since 1970.
    #[inline]
    pub fn unix_us(&self, at_ns: u64) -> u64 {
        self.start_unix_us + at_ns / 1000
    }

    /// A time in microseconds since 1970, by this clock; the start, if it was before.
    #[inline]
    pub fn since_start_ns(&self, unix_us: u64) -> u64 {
        unix_us.saturating_sub(self.start_unix_us).saturating_mul(1000)
    }

    /// Sleeps until a time of this clock.
    pub fn sleep_until(&self, at_ns: u64) {
        std::thread::sleep(Duration::from_nanos(at_ns.saturating_sub(self.now_ns())));
    }
}

/// A value of `bytes` bytes, to be stamped.
pub(super) fn value(bytes: usize) -> Vec<u8> {
    vec![FILLING; bytes.max(VALUE_BYTES_MIN)]
}

/// Writes the stamp into a value, in place.
#[inline]
pub(super) fn write(value: &mut [u8], sequence: u64, intended_us: u64) {
    let (mut first, mut second) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (sequence, intended) = (first.format(sequence), second.format(intended_us));
    let middle = 1 + sequence.len();
    let end = middle + 1 + intended.len();
    if end >= value.len() {
        // More events of one key than ten billion: none is stamped wrong, they have no stamp.
        value[0] = FILLING;
        return;
    }
    value[0] = b'#';
    value[1..middle].copy_from_slice(sequence.as_bytes());
    value[middle] = b'#';
    value[middle + 1..end].copy_from_slice(intended.as_bytes());
    value[end] = b'#';
    // What a longer stamp before left behind.
    let filled_up = VALUE_BYTES_MIN.max(end + 1).min(value.len());
    value[end + 1..filled_up].fill(FILLING);
}

/// The intended times in the values of a body, in microseconds since 1970: one, but in a batch.
pub(super) fn intended_us<'a>(
    body: &'a [u8],
    finder: &'a memmem::Finder<'_>,
) -> impl Iterator<Item = u64> + 'a {
    let values = if body.starts_with(BATCH_START) { usize::MAX } else { 1 };
    finder.find_iter(body).take(values).filter_map(|at| time(&body[at + VALUE_START.len()..]))
}

/// The second number of a stamp.
fn time(stamp: &[u8]) -> Option<u64> {
    let middle = stamp.iter().position(|byte| !byte.is_ascii_digit())?;
    let time = stamp[middle..].strip_prefix(b"#")?;
    let end = time.iter().position(|byte| !byte.is_ascii_digit())?;
    if time[end] != b'#' {
        return None;
    }
    std::str::from_utf8(&time[..end]).ok()?.parse().ok()
}

/// Finds the start of a stamp in a body.
pub(super) fn finder() -> memmem::Finder<'static> {
    memmem::Finder::new(VALUE_START)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(value: &[u8]) -> Vec<u8> {
        [b"{\"data\":{\"value\":\"", value, b"\"}}"].concat()
    }

    #[test]
    fn a_stamp_is_read_as_it_was_written_whatever_stood_there_before() {
        let mut value = value(40);
        for (sequence, us) in [(1_234_567_890, 1_764_000_000_000_000), (7, 1_764_000_000_000_001)] {
            write(&mut value, sequence, us);
            assert!(value.starts_with(format!("#{sequence}#{us}#v").as_bytes()), "{value:?}");
            assert_eq!(times(&body(&value)), [us]);
            assert_eq!(value.iter().filter(|byte| **byte == b'#').count(), 3);
        }
    }

    fn times(body: &[u8]) -> Vec<u64> {
        intended_us(body, &finder()).collect()
    }

    #[test]
    fn each_event_of_a_batch_has_its_time() {
        let event = |us: u64| String::from_utf8(body(format!("#1#{us}#v").as_bytes())).unwrap();
        let events = [event(5), event(6), event(7)].join(",");
        let batch = format!("{{\"batch_id\":\"b\",\"events\":[{events}],\"count\":3}}");
        assert_eq!(times(batch.as_bytes()), [5, 6, 7]);
    }

    #[test]
    fn what_has_no_stamp_has_no_time() {
        for value in
            ["", "#", "#1", "#1#", "#1#2", "#1#x#", "1#2#", "#1#2x", "#1#99999999999999999999999#"]
        {
            assert_eq!(times(&body(value.as_bytes())), [0; 0], "{value}");
        }
        let mut value = value(VALUE_BYTES_MIN);
        write(&mut value, 1, 1_764_000_000_000_000);
        write(&mut value, u64::MAX, 1_764_000_000_000_000);
        assert_eq!(times(&body(&value)), [0; 0]);
    }
}
