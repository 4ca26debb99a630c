//! Segments that are kept for the sake of a few slow events are copied without the finished ones.
//!
//! The copy takes the segment's place under its name and number: the order of the log stays what
//! it was, and nothing is written twice into it. Readers that have the old file open read on in it.
//! An ack is kept for as long as the record of its event stands in any file, so that no event that
//! is finished ever looks unfinished again.

use super::disk::DiskFile;
use super::error::LogError;
use super::record::{self, Kind, MARK_BYTES};
use super::scanner::{Found, Scanner, read_header};
use super::segment::{self, FLAG_ENDED, FLAG_GAPS, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::store::Store;
use crate::base::limits::LOG_CLEAN_STEP_BYTES;
use std::io;

/// Segments that the log may have before any is cleaned.
const SEGMENTS_MIN: u64 = 4;
/// Of a segment that is cleaned, one of so many parts is finished.
const USUAL_PART: u64 = 2;
/// The same, while the log is near its bound.
const PRESSED_PART: u64 = 8;

/// A copy that is being made.
pub(super) struct Cleaning {
    pub(super) segment: u64,
    scanner: Scanner,
    header: SegmentHeader,
    file: Box<dyn DiskFile>,
    end: u64,
    last_lsn: u64,
    buffer: Vec<u8>,
}

/// Why a copy was given up.
enum Stopped {
    Io(io::Error),
    Damaged(u64, &'static str),
}

impl From<io::Error> for Stopped {
    fn from(error: io::Error) -> Stopped {
        Stopped::Io(error)
    }
}

impl Store {
    /// Copies a piece of a segment, if there is one that is worth it. `true`: call again, there is
    /// more to do.
    pub fn clean_step(&mut self) -> bool {
        if self.trouble().is_some() || self.cleaning_is_off {
            return false;
        }
        let segment = match &self.cleaning {
            Some(cleaning) => cleaning.segment,
            None => match self.worth_cleaning() {
                Some(segment) => segment,
                None => return false,
            },
        };
        let stepped = match self.cleaning.take() {
            Some(cleaning) => self.copy_some(cleaning),
            None => self.begin_cleaning(segment).map(|cleaning| {
                self.cleaning = Some(cleaning);
                true
            }),
        };
        let error = match stepped {
            Ok(more) => return more,
            Err(stopped) => stopped,
        };
        self.stop_cleaning(segment, error);
        false
    }

    /// The oldest segment of which more than half is finished, when the log is larger than twice
    /// what is unfinished. While the log is near its bound, one of which an eighth is finished is
    /// worth it, too: a backlog that fills the log must leave room for what is finished soon.
    fn worth_cleaning(&self) -> Option<u64> {
        let table = self.table.lock();
        let part = if self.is_pressed { PRESSED_PART } else { USUAL_PART };
        if !self.is_pressed {
            let live: u64 = table.segments.iter().map(|segment| segment.live_bytes()).sum();
            let enough = (SEGMENTS_MIN * self.config.segment_bytes).max(live.saturating_mul(2));
            if self.disk_bytes() <= enough {
                return None;
            }
        }
        let oldest = table.segments.front()?.id;
        let is_finished = |live: u64, of: u64| (of - live.min(of)) * part >= of;
        let worth = table.segments.iter().find(|segment| {
            segment.sealed
                && segment.end > SEGMENT_HEADER_BYTES as u64
                && is_finished(segment.live, segment.events)
                && segment.cleaned_at.is_none_or(|(at_oldest, live)| {
                    live > 0 && is_finished(segment.live, live) || at_oldest != oldest
                })
        });
        worth.map(|segment| segment.id)
    }

    fn begin_cleaning(&mut self, segment: u64) -> Result<Cleaning, Stopped> {
        let old = self.disk.open(&segment::file_name(segment))?;
        let old_header = read_header(&*old)?.map_err(|what| Stopped::Damaged(0, what))?;
        let end = self.table.lock().segment(segment).map_or(0, |segment| segment.end);
        let header = SegmentHeader {
            flags: old_header.flags | FLAG_GAPS | FLAG_ENDED,
            epoch: self.random.next_u64() as u32,
            ..old_header
        };
        let file = self.disk.create(&segment::new_file_name(segment))?;
        file.write_at(&header.encode(), 0)?;
        let start = SEGMENT_HEADER_BYTES as u64;
        Ok(Cleaning {
            segment,
            scanner: Scanner::new(old, old_header.epoch, start, end),
            header,
            file,
            end: start,
            last_lsn: header.first_lsn,
            buffer: Vec::new(),
        })
    }

    fn copy_some(&mut self, mut cleaning: Cleaning) -> Result<bool, Stopped> {
        let from = cleaning.scanner.offset();
        cleaning.buffer.clear();
        let mut complete = false;
        while cleaning.scanner.offset() - from < LOG_CLEAN_STEP_BYTES as u64 {
            match cleaning.scanner.next()? {
                Found::End => {
                    complete = true;
                    break;
                }
                Found::Bad { offset, what } => return Err(Stopped::Damaged(offset, what)),
                Found::Record { record, bytes, .. } => {
                    let start = cleaning.buffer.len();
                    let mut table = self.table.lock();
                    match record.kind {
                        Kind::Event => {
                            let event = record::read_event(record.payload);
                            let segment = table.segment_mut(cleaning.segment);
                            let (Some(event), Some(segment)) = (event, segment) else { continue };
                            if segment.leave_out(event.id) {
                                continue;
                            }
                            cleaning.buffer.extend_from_slice(bytes);
                        }
                        Kind::Acks | Kind::Attempts => {
                            let Some(marks) = record::read_marks(record.payload) else { continue };
                            let mut kept = Vec::with_capacity(MARK_BYTES);
                            marks
                                .filter(|mark| table.needs(mark, record.kind))
                                .for_each(|mark| record::put_mark(&mut kept, &mark));
                            if kept.is_empty() {
                                continue;
                            }
                            record::put(&mut cleaning.buffer, record.kind, &kept);
                        }
                        Kind::Dead => {
                            let Some(marks) = record::read_dead(record.payload) else { continue };
                            let mut kept = Vec::new();
                            marks.filter(|(mark, death)| table.needs_death(mark, death)).for_each(
                                |(mark, death)| record::put_dead(&mut kept, &mark, &death),
                            );
                            if kept.is_empty() {
                                continue;
                            }
                            record::put(&mut cleaning.buffer, record.kind, &kept);
                        }
                        Kind::End | Kind::Closed => continue,
                    }
                    cleaning.last_lsn = record.lsn;
                    let copy = &mut cleaning.buffer[start..];
                    record::seal(copy, record.lsn, self.synced_lsn, cleaning.header.epoch);
                }
            }
        }
        if complete {
            let start = cleaning.buffer.len();
            record::put(&mut cleaning.buffer, Kind::End, &[]);
            let (lsn, epoch) = (cleaning.last_lsn, cleaning.header.epoch);
            record::seal(&mut cleaning.buffer[start..], lsn, self.synced_lsn, epoch);
        }
        cleaning.file.write_at(&cleaning.buffer, cleaning.end)?;
        cleaning.end += cleaning.buffer.len() as u64;
        if !complete {
            self.cleaning = Some(cleaning);
            return Ok(true);
        }
        cleaning.file.sync()?;
        self.end_cleaning(&cleaning)?;
        Ok(true)
    }

    /// Puts the copy in the segment's place.
    fn end_cleaning(&mut self, cleaning: &Cleaning) -> Result<(), Stopped> {
        let id = cleaning.segment;
        {
            let mut table = self.table.lock();
            // A reader that finds the new file finds what it says in the table, too.
            self.disk.rename(&segment::new_file_name(id), &segment::file_name(id))?;
            let oldest = table.segments.front().map_or(0, |segment| segment.id);
            if let Some(segment) = table.segment_mut(id) {
                self.sealed_bytes = self.sealed_bytes - segment.end + cleaning.end;
                segment.epoch = cleaning.header.epoch;
                segment.end = cleaning.end;
                segment.end_cleaning(true);
                segment.cleaned_at = Some((oldest, segment.live));
            }
        }
        self.counters.segments_cleaned += 1;
        if let Err(error) = self.disk.sync_directory() {
            self.cleaning_is_off = true;
            let error = LogError::from_io("cleaning", &self.disk.path(""), &error);
            tracing::error!(%error, "no more segments of the log are cleaned");
            self.counters.upkeep_errors += 1;
        }
        Ok(())
    }

    fn stop_cleaning(&mut self, id: u64, stopped: Stopped) {
        let path = self.disk.path(&segment::file_name(id));
        let error = match stopped {
            Stopped::Io(error) => LogError::from_io("cleaning", &path, &error),
            Stopped::Damaged(offset, what) => LogError::Damaged { file: path, offset, what },
        };
        tracing::error!(%error, "a segment of the log was not cleaned");
        self.counters.upkeep_errors += 1;
        let _ = self.disk.remove(&segment::new_file_name(id));
        let mut table = self.table.lock();
        let oldest = table.segments.front().map_or(0, |segment| segment.id);
        if let Some(segment) = table.segment_mut(id) {
            segment.end_cleaning(false);
            // Not at once again.
            segment.cleaned_at = Some((oldest, segment.live));
        }
    }
}
