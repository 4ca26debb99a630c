//! What a log holds after a stop, in order or not. Reads only; changes nothing.
//!
//! What is found follows from the bytes alone. Damage is judged by what the records say about each
//! other: each tells which ones before it were on stable storage when it was written.
//!
//! - In any segment but the last, everything was on stable storage: damage is refused.
//! - In the last segment, damage before the furthest point that any record of it, also behind the
//!   damage, calls stable is refused.
//! - Else it is the torn tail of writes that nobody was promised to survive a loss of power: the
//!   log ends there. Records behind it were not promised either; they are counted.

use super::disk::Disk;
use super::error::LogError;
use super::record::Kind;
use super::scanner::{Found, Scanner, read_header};
use super::segment::{self, FLAG_ENDED, FLAG_GAPS, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::table::{SegmentState, Table};
use std::path::PathBuf;

/// How far reading the log has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// Bytes that were read.
    pub bytes: u64,
    /// Bytes that there are.
    pub bytes_total: u64,
    /// Events that were read.
    pub events: u64,
    /// Deliveries that are unfinished, as far as it was read.
    pub pending: u64,
}

/// A tail that was cut off.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The segment.
    pub file: PathBuf,
    /// Where the log ends now.
    pub offset: u64,
    /// Bytes that were cut off.
    pub bytes: u64,
    /// Whole records among them: written, but not promised to survive a loss of power.
    pub records: u64,
    /// What was wrong with the first bytes.
    pub what: &'static str,
}

/// What the log held.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RecoveryReport {
    /// Segments.
    pub segments: u64,
    /// Bytes in them.
    pub bytes: u64,
    /// Events in them.
    pub events: u64,
    /// Deliveries that are unfinished.
    pub pending: u64,
    /// Whether the last process closed the log in order.
    pub closed: bool,
    /// The tail that was cut off, if one was.
    pub cut: Option<Cut>,
}

/// The last segment, and how to go on behind it.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) header: SegmentHeader,
    /// Where its valid bytes end.
    pub(super) end: u64,
    /// Its file's length.
    pub(super) length: u64,
    /// Whether it holds no record at all.
    pub(super) is_empty: bool,
    /// The number of the next record.
    pub(super) next_lsn: u64,
}

/// How many bytes are read between two reports of progress.
const PROGRESS_BYTES: u64 = 4 * 1024 * 1024;

pub(super) struct Recovery<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) progress: &'a mut dyn FnMut(Progress),
    pub(super) table: Table,
    pub(super) report: RecoveryReport,
    bytes_total: u64,
    reported: u64,
}

/// The numbers of the segments in the directory, ascending.
pub(super) fn segment_ids(disk: &dyn Disk) -> Result<Vec<u64>, LogError> {
    let failed = |error| LogError::from_io("listing", &disk.path(""), &error);
    let names = disk.list().map_err(failed)?;
    let mut ids: Vec<u64> = names.iter().filter_map(|name| segment::id_of(name)).collect();
    ids.sort_unstable();
    Ok(ids)
}

impl<'a> Recovery<'a> {
    pub(super) fn new(disk: &'a dyn Disk, progress: &'a mut dyn FnMut(Progress)) -> Recovery<'a> {
        let (table, report) = (Table::default(), RecoveryReport::default());
        Recovery { disk, progress, table, report, bytes_total: 0, reported: 0 }
    }

    /// Reads all segments. `None`: there are none.
    pub(super) fn run(&mut self) -> Result<Option<Last>, LogError> {
        let ids = segment_ids(self.disk)?;
        let mut headers = Vec::with_capacity(ids.len());
        let (mut expected, mut lengths) = (ids.first().copied(), Vec::new());
        for &id in &ids {
            if expected != Some(id) {
                let missing = segment::file_name(expected.unwrap_or(0));
                return Err(LogError::Missing { file: self.disk.path(&missing) });
            }
            expected = id.checked_add(1);
            let (header, length) = self.header(id)?;
            self.check_neighbours(headers.last(), &header)?;
            self.bytes_total += length;
            lengths.push(length);
            headers.push(header);
        }
        let mut last = None;
        for (index, header) in headers.iter().enumerate() {
            let next = headers.get(index + 1);
            last = Some(self.segment(header, lengths[index], next, last)?);
        }
        self.report.segments = headers.len() as u64;
        self.report.bytes = self.table.segments.iter().map(|segment| segment.end).sum();
        self.report.pending = self.table.pending;
        self.tell();
        Ok(last)
    }

    fn header(&self, id: u64) -> Result<(SegmentHeader, u64), LogError> {
        let name = segment::file_name(id);
        let failed = |error| LogError::from_io("reading", &self.disk.path(&name), &error);
        let file = self.disk.open(&name).map_err(failed)?;
        let length = file.length().map_err(failed)?;
        match read_header(&*file).map_err(failed)? {
            Ok(header) if header.id == id => Ok((header, length)),
            Ok(_) => Err(self.damaged(id, 0, "the header of another segment")),
            Err(what) => Err(self.damaged(id, 0, what)),
        }
    }

    fn check_neighbours(
        &self,
        before: Option<&SegmentHeader>,
        header: &SegmentHeader,
    ) -> Result<(), LogError> {
        let Some(before) = before else { return Ok(()) };
        let file = || self.disk.path(&segment::file_name(header.id));
        if before.engine != header.engine {
            return Err(LogError::Foreign { file: file(), what: "belongs to another log" });
        }
        if before.boot > header.boot {
            return Err(self.damaged(header.id, 0, "older than the segment before"));
        }
        Ok(())
    }

    fn damaged(&self, id: u64, offset: u64, what: &'static str) -> LogError {
        LogError::Damaged { file: self.disk.path(&segment::file_name(id)), offset, what }
    }

    fn tell(&mut self) {
        self.reported = self.report.bytes;
        (self.progress)(Progress {
            bytes: self.report.bytes,
            bytes_total: self.bytes_total,
            events: self.report.events,
            pending: self.table.pending,
        });
    }

    /// Reads one segment into the table.
    fn segment(
        &mut self,
        header: &SegmentHeader,
        length: u64,
        next: Option<&SegmentHeader>,
        before: Option<Last>,
    ) -> Result<Last, LogError> {
        let name = segment::file_name(header.id);
        let path = self.disk.path(&name);
        let failed = |error| LogError::from_io("reading", &path, &error);
        let gaps = header.flags & FLAG_GAPS != 0;
        let ended = header.flags & FLAG_ENDED != 0;
        if let Some(before) = &before
            && before.next_lsn > header.first_lsn
        {
            return Err(self.damaged(header.id, 0, "begins before the segment before ends"));
        }
        if let Some(before) = &before
            && before.header.flags & FLAG_GAPS == 0
            && before.next_lsn != header.first_lsn
        {
            return Err(self.damaged(before.header.id, before.end, "records are missing"));
        }
        let end = match next {
            Some(next) if !ended => next.previous_end,
            _ => length,
        };
        let start = SEGMENT_HEADER_BYTES as u64;
        if end > length || end < start {
            return Err(self.damaged(header.id, length, "the file is cut short"));
        }
        let file = self.disk.open(&name).map_err(failed)?;
        let mut scanner = Scanner::new(file, header.epoch, start, end);
        let mut state =
            SegmentState::new(header.id, header.boot, header.epoch, header.workers, end);
        state.sealed = next.is_some();
        self.table.segments.push_back(state);
        self.report.closed = false;
        let bytes_before = self.report.bytes;
        let mut next_lsn = header.first_lsn;
        let (mut complete, mut promised) = (false, 0);
        let bad = loop {
            match scanner.next().map_err(failed)? {
                Found::End if ended && !complete => break Some((end, "its end is missing")),
                Found::End => break None,
                Found::Bad { offset, what } => break Some((offset, what)),
                Found::Record { offset, record, .. } => {
                    if complete {
                        break Some((offset, "bytes behind the segment's end"));
                    }
                    if record.kind == Kind::End {
                        complete = true;
                        continue;
                    }
                    promised = record.synced;
                    let expected = record.lsn == next_lsn || gaps && record.lsn > next_lsn;
                    if !expected {
                        break Some((offset, "records are missing or out of order"));
                    }
                    if !self.table.apply(&record) {
                        return Err(self.damaged(header.id, offset, "a record without sense"));
                    }
                    self.report.events += u64::from(record.kind == Kind::Event);
                    self.report.closed = record.kind == Kind::Closed;
                    next_lsn = record.lsn + 1;
                }
            }
            self.report.bytes = bytes_before + scanner.offset();
            if self.report.bytes - self.reported >= PROGRESS_BYTES {
                self.tell();
            }
        };
        let mut valid_end = end;
        if let Some((offset, what)) = bad {
            if next.is_some() || ended {
                return Err(self.damaged(header.id, offset, what));
            }
            let (promised_behind, records) = behind(&mut scanner).map_err(failed)?;
            if promised.max(promised_behind) >= next_lsn {
                return Err(self.damaged(header.id, offset, what));
            }
            self.report.closed = false;
            self.report.cut =
                Some(Cut { file: path.clone(), offset, bytes: length - offset, records, what });
            valid_end = offset;
        }
        if let Some(state) = self.table.segments.back_mut() {
            state.end = valid_end;
        }
        self.report.bytes = bytes_before + valid_end;
        let is_empty = valid_end == start;
        Ok(Last { header: *header, end: valid_end, length, is_empty, next_lsn })
    }
}

/// The furthest record that those behind the damage call stable, and how many there are.
fn behind(scanner: &mut Scanner) -> std::io::Result<(u64, u64)> {
    let (mut promised, mut records) = (0, 0);
    loop {
        match scanner.next()? {
            Found::Record { record, .. } => {
                promised = promised.max(record.synced);
                records += 1;
            }
            Found::End => return Ok((promised, records)),
            Found::Bad { .. } => {
                if !scanner.skip_bad()? {
                    return Ok((promised, records));
                }
            }
        }
    }
}
