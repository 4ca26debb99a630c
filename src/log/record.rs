//! Records: how events and what became of them are written. Pure: bytes in, bytes out.
//!
//! ```text
//! record:  crc u32 | length u32 | lsn u64 | epoch u32 | kind u8 | unsynced u24 | payload | zeros
//! event:   boot u64 | sequence u64 | timestamp_us u64 | database u32 | key length u32
//!          | kind u8 | 0 u8 | targets u16 | webhook u64, for each target | key | body
//! acks, attempts: one mark after the other
//! dead:    mark | at_us u64 | status u16 (0: none) | cause u8 (255: none) | reason u8
//!          | status of the cause u16 | 0 u16, one after the other
//! mark:    boot u64 | sequence u64 | webhook u64 | target u16 | value u16
//! ```
//!
//! All numbers are little-endian. The length is the payload's; a record is filled with zeros to a
//! multiple of 8 bytes. The CRC-32 covers all that follows it, the zeros too. The *lsn* counts the
//! records of the whole log. The *epoch* is the segment's: a record that belongs elsewhere is not
//! taken for one of its own. *Unsynced* says how many records before this one were not yet known
//! to be on stable storage when it was written; so every record tells recovery up to where there
//! must be no damage.

use crate::base::id::EventId;
use crate::base::limits::{LOG_RECORD_BYTES_MAX, LOG_TARGETS_MAX};
use crate::core::dead_letters::DeadReason;
use crate::core::event::WebhookEvent;
use crate::core::failure::Failure;
use crate::core::journal::{Death, LogEvent, Mark};

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 24;
/// Records begin at multiples of this.
pub const ALIGNMENT: usize = 8;
const EVENT_FIXED_BYTES: usize = 36;
const TARGET_BYTES: usize = 8;
/// Bytes of one mark.
pub const MARK_BYTES: usize = 28;
/// Bytes of one mark of a dead letter.
pub const DEAD_BYTES: usize = MARK_BYTES + 16;
/// In place of a cause: none.
const NO_CAUSE: u8 = u8::MAX;
/// `unsynced` says this for any larger number: recovery then believes less, never more.
const UNSYNCED_MAX: u64 = 0xff_ffff;

/// What a record holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// One event.
    Event = 1,
    /// Marks of deliveries that are finished.
    Acks = 2,
    /// Marks that say how many attempts were made.
    Attempts = 3,
    /// Nothing follows: the segment was cleaned and is complete.
    End = 4,
    /// The log was closed in order; everything before is on stable storage.
    Closed = 5,
    /// Marks of deliveries that are kept as dead letters: unfinished, but not to be sent.
    Dead = 6,
}

impl Kind {
    fn from_number(number: u8) -> Option<Kind> {
        [Kind::Event, Kind::Acks, Kind::Attempts, Kind::End, Kind::Closed, Kind::Dead]
            .into_iter()
            .find(|&kind| kind as u8 == number)
    }
}

/// An event, read in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventView<'a> {
    /// Its id.
    pub id: EventId,
    /// What happened.
    pub kind: WebhookEvent,
    /// The number of the database.
    pub database: u32,
    /// When it happened, in microseconds since 1970.
    pub timestamp_us: u64,
    /// The key.
    pub key: &'a [u8],
    /// The bytes that are sent and signed.
    pub body: &'a [u8],
    targets: &'a [u8],
}

impl<'a> EventView<'a> {
    /// The lasting numbers of the webhooks that it is for.
    pub fn targets(&self) -> impl ExactSizeIterator<Item = u64> + Clone + use<'a> {
        self.targets.chunks_exact(TARGET_BYTES).map(|bytes| word(bytes, 0))
    }
}

/// A record whose CRC is right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// What it holds.
    pub kind: Kind,
    /// Its number in the log.
    pub lsn: u64,
    /// Records up to this number were on stable storage when it was written.
    pub synced: u64,
    /// What it holds, by its kind.
    pub payload: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> u64 {
    bytes[at..at + 8].iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte))
}

fn half(bytes: &[u8], at: usize) -> u32 {
    bytes[at..at + 4].iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn quarter(bytes: &[u8], at: usize) -> u16 {
    u16::from(bytes[at]) | u16::from(bytes[at + 1]) << 8
}

/// Begins a record in `out`; what is appended until [`finish`] is its payload.
fn begin(out: &mut Vec<u8>, kind: Kind) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    out[start + 20] = kind as u8;
    start
}

fn finish(out: &mut Vec<u8>, start: usize) {
    let length = (out.len() - start - HEADER_BYTES) as u32;
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
    out.resize(start + size(length as usize), 0);
}

/// Bytes of a record with a payload of `length` bytes.
pub fn size(length: usize) -> usize {
    (HEADER_BYTES + length).next_multiple_of(ALIGNMENT)
}

/// Bytes of the record of `event`, if it can be one.
pub fn event_size(event: &LogEvent<'_>) -> Option<usize> {
    let length = EVENT_FIXED_BYTES
        .checked_add(event.targets.len().checked_mul(TARGET_BYTES)?)?
        .checked_add(event.key.len())?
        .checked_add(event.body.len())?;
    let fits = length <= LOG_RECORD_BYTES_MAX && event.targets.len() <= LOG_TARGETS_MAX;
    fits.then(|| size(length))
}

/// Appends the unsealed record of `event`, of which [`event_size`] has said that it fits.
pub fn put_event(out: &mut Vec<u8>, event: &LogEvent<'_>) {
    let start = begin(out, Kind::Event);
    out.extend_from_slice(&event.id.boot.to_le_bytes());
    out.extend_from_slice(&event.id.sequence.to_le_bytes());
    out.extend_from_slice(&event.timestamp_us.to_le_bytes());
    out.extend_from_slice(&event.database.to_le_bytes());
    out.extend_from_slice(&(event.key.len() as u32).to_le_bytes());
    out.extend_from_slice(&[event.kind as u8, 0]);
    out.extend_from_slice(&(event.targets.len() as u16).to_le_bytes());
    for target in event.targets {
        out.extend_from_slice(&target.to_le_bytes());
    }
    out.extend_from_slice(event.key);
    out.extend_from_slice(event.body);
    finish(out, start);
}

/// Appends one mark to the payload of a record that is being made.
pub fn put_mark(out: &mut Vec<u8>, mark: &Mark) {
    out.extend_from_slice(&mark.id.boot.to_le_bytes());
    out.extend_from_slice(&mark.id.sequence.to_le_bytes());
    out.extend_from_slice(&mark.webhook.to_le_bytes());
    out.extend_from_slice(&mark.target.to_le_bytes());
    out.extend_from_slice(&mark.value.to_le_bytes());
}

/// Appends the mark of a dead letter to the payload of a record that is being made.
pub fn put_dead(out: &mut Vec<u8>, mark: &Mark, death: &Death) {
    let attempts = u16::try_from(death.attempts).unwrap_or(u16::MAX);
    put_mark(out, &Mark { value: attempts, ..*mark });
    let (cause, cause_status) = death.failure.map_or((NO_CAUSE, 0), Failure::numbers);
    out.extend_from_slice(&death.at_us.to_le_bytes());
    out.extend_from_slice(&death.status.unwrap_or(0).to_le_bytes());
    out.extend_from_slice(&[cause, death.reason.number()]);
    out.extend_from_slice(&cause_status.to_le_bytes());
    out.extend_from_slice(&[0; 2]);
}

/// Appends an unsealed record with `payload`.
pub fn put(out: &mut Vec<u8>, kind: Kind, payload: &[u8]) {
    let start = begin(out, kind);
    out.extend_from_slice(payload);
    finish(out, start);
}

/// The event in the payload of an event's record; `None` if it is not one.
pub fn read_event(payload: &[u8]) -> Option<EventView<'_>> {
    let (fixed, rest) = payload.split_at_checked(EVENT_FIXED_BYTES)?;
    let (targets, rest) = rest.split_at_checked(usize::from(quarter(fixed, 34)) * TARGET_BYTES)?;
    let (key, body) = rest.split_at_checked(half(fixed, 28) as usize)?;
    Some(EventView {
        id: EventId { boot: word(fixed, 0), sequence: word(fixed, 8) },
        kind: WebhookEvent::from_number(fixed[32])?,
        database: half(fixed, 24),
        timestamp_us: word(fixed, 16),
        key,
        body,
        targets,
    })
}

/// The marks in the payload of a record of acks or attempts; `None` if it is not one.
pub fn read_marks(payload: &[u8]) -> Option<impl ExactSizeIterator<Item = Mark> + '_> {
    if !payload.len().is_multiple_of(MARK_BYTES) {
        return None;
    }
    Some(payload.chunks_exact(MARK_BYTES).map(read_mark))
}

fn read_mark(bytes: &[u8]) -> Mark {
    Mark {
        id: EventId { boot: word(bytes, 0), sequence: word(bytes, 8) },
        webhook: word(bytes, 16),
        target: quarter(bytes, 24),
        value: quarter(bytes, 26),
    }
}

/// The marks in the payload of a record of dead letters; `None` if it is not one.
pub fn read_dead(payload: &[u8]) -> Option<impl Iterator<Item = (Mark, Death)> + '_> {
    if !payload.len().is_multiple_of(DEAD_BYTES) {
        return None;
    }
    Some(payload.chunks_exact(DEAD_BYTES).map(|bytes| {
        let mark = read_mark(bytes);
        let (cause, reason) = (bytes[MARK_BYTES + 10], bytes[MARK_BYTES + 11]);
        let death = Death {
            attempts: mark.value.into(),
            status: Some(quarter(bytes, MARK_BYTES + 8)).filter(|&status| status != 0),
            failure: Failure::from_numbers(cause, quarter(bytes, MARK_BYTES + 12)),
            // What a newer engine has written for a reason that this one does not know.
            reason: DeadReason::from_number(reason).unwrap_or(DeadReason::RetriesUsedUp),
            at_us: word(bytes, MARK_BYTES),
        };
        (mark, death)
    }))
}

/// Bytes of the record that `bytes` begin with, by its length field; `None` when no record is that
/// long, or there are too few bytes to tell. Nothing is checked yet.
pub fn announced_size(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < HEADER_BYTES {
        return None;
    }
    let length = half(bytes, 4) as usize;
    (length <= LOG_RECORD_BYTES_MAX).then(|| size(length))
}

/// Whether the header that `bytes` begin with names `epoch`. Recovery asks this first, at every
/// place behind a damage.
pub fn is_of_epoch(bytes: &[u8], epoch: u32) -> bool {
    bytes.len() >= HEADER_BYTES && half(bytes, 16) == epoch
}

/// The payload of a whole record, of which nothing is checked.
pub(super) fn payload_of(bytes: &[u8]) -> &[u8] {
    bytes.get(HEADER_BYTES..HEADER_BYTES + half(bytes, 4) as usize).unwrap_or(&[])
}

/// The number of a whole record, of which nothing is checked.
pub(super) fn lsn_of(bytes: &[u8]) -> u64 {
    word(bytes, 8)
}

/// A whole record that was made by this process: its CRC is not computed again.
pub(super) fn trusted(bytes: &[u8]) -> Option<Record<'_>> {
    let kind = Kind::from_number(bytes[20])?;
    Some(Record { kind, lsn: lsn_of(bytes), synced: 0, payload: payload_of(bytes) })
}

/// Gives a whole unsealed record its number and its CRC.
pub fn seal(record: &mut [u8], lsn: u64, synced: u64, epoch: u32) {
    let unsynced = lsn.saturating_sub(synced).min(UNSYNCED_MAX) as u32;
    record[8..16].copy_from_slice(&lsn.to_le_bytes());
    record[16..20].copy_from_slice(&epoch.to_le_bytes());
    record[21..24].copy_from_slice(&unsynced.to_le_bytes()[..3]);
    let crc = crc32fast::hash(&record[4..]);
    record[..4].copy_from_slice(&crc.to_le_bytes());
}

/// The record that `bytes` are, header to last zero, or what is wrong with them.
pub fn open(bytes: &[u8], epoch: u32) -> Result<Record<'_>, &'static str> {
    let (kind, lsn, synced) = check(bytes, epoch)?;
    Ok(opened(bytes, kind, lsn, synced))
}

/// As [`open`], but gives only what the header says: kind, number, and the synced number.
pub(super) fn check(bytes: &[u8], epoch: u32) -> Result<(Kind, u64, u64), &'static str> {
    let Some(size) = announced_size(bytes) else { return Err("impossible length") };
    if bytes.len() != size {
        return Err("cut short");
    }
    if !is_of_epoch(bytes, epoch) {
        return Err("not a record of this segment");
    }
    if half(bytes, 0) != crc32fast::hash(&bytes[4..]) {
        return Err("wrong checksum");
    }
    let kind = Kind::from_number(bytes[20]).ok_or("unknown kind of record")?;
    let lsn = word(bytes, 8);
    let unsynced = u64::from(half(bytes, 20) >> 8);
    let synced = if unsynced == UNSYNCED_MAX { 0 } else { lsn.saturating_sub(unsynced) };
    Ok((kind, lsn, synced))
}

/// The record in `bytes`, of which [`check`] has said the rest.
pub(super) fn opened(bytes: &[u8], kind: Kind, lsn: u64, synced: u64) -> Record<'_> {
    let payload = &bytes[HEADER_BYTES..HEADER_BYTES + half(bytes, 4) as usize];
    Record { kind, lsn, synced, payload }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut out = Vec::new();
        let event = LogEvent {
            id: EventId { boot: 7, sequence: 9 },
            kind: WebhookEvent::XAdd,
            database: 3,
            timestamp_us: 11,
            key: b"key",
            body: b"{}",
            targets: &[4, u64::MAX],
        };
        put_event(&mut out, &event);
        assert_eq!(out.len(), event_size(&event).unwrap());
        seal(&mut out, 100, 90, 5);
        out
    }

    #[test]
    fn an_event_comes_back() {
        let bytes = sample();
        let record = open(&bytes, 5).unwrap();
        assert_eq!((record.kind, record.lsn, record.synced), (Kind::Event, 100, 90));
        let event = read_event(record.payload).unwrap();
        assert_eq!((event.id.boot, event.id.sequence, event.database), (7, 9, 3));
        assert_eq!((event.key, event.body), (b"key".as_slice(), b"{}".as_slice()));
        assert_eq!(event.targets().collect::<Vec<_>>(), [4, u64::MAX]);
        assert_eq!((event.kind, event.timestamp_us), (WebhookEvent::XAdd, 11));
        for end in 0..record.payload.len() - 2 {
            // Never a panic; a cut in the body cannot be seen here, that is the CRC's part.
            let _ = read_event(&record.payload[..end]);
        }
    }

    #[test]
    fn marks_come_back() {
        let id = EventId { boot: 1, sequence: u64::MAX };
        let marks = [1, 2].map(|value| Mark { id, webhook: 8, target: 65535, value });
        let mut payload = Vec::new();
        marks.iter().for_each(|mark| put_mark(&mut payload, mark));
        assert_eq!(payload.len(), 2 * MARK_BYTES);
        assert_eq!(read_marks(&payload).unwrap().collect::<Vec<_>>(), marks);
        assert!(read_marks(&payload[1..]).is_none());
    }

    #[test]
    fn dead_letters_come_back() {
        let id = EventId { boot: 1, sequence: 5 };
        let mark = Mark { id, webhook: 8, target: 3, value: 4 };
        let deaths =
            [(Some(500), Some(Failure::Status(500))), (None, Some(Failure::Timeout)), (None, None)]
                .map(|(status, failure)| Death {
                    attempts: 4,
                    status,
                    failure,
                    reason: DeadReason::Aborted,
                    at_us: 77,
                });
        let mut payload = Vec::new();
        deaths.iter().for_each(|death| put_dead(&mut payload, &mark, death));
        let read: Vec<_> = read_dead(&payload).unwrap().collect();
        assert_eq!(read, deaths.map(|death| (mark, death)));
        assert!(read_dead(&payload[1..]).is_none());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let whole = sample();
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&bytes, 5).is_err(), "bit {bit}");
        }
        for end in 0..whole.len() {
            assert!(open(&whole[..end], 5).is_err(), "cut at {end}");
        }
        assert!(open(&whole, 6).is_err(), "another segment's");
        assert!(open(&[0; HEADER_BYTES], 0).is_err(), "zeros are no record");
    }

    #[test]
    fn too_many_unsynced_records_make_recovery_believe_less() {
        let mut bytes = sample();
        seal(&mut bytes, 1 << 40, 5, 5);
        assert_eq!(open(&bytes, 5).unwrap().synced, 0);
    }
}
