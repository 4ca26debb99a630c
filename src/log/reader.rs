//! Reads events back: after a restart, and for webhooks that lag.
//!
//! A reader has files of its own and looks into the shared table now and then; the writer does not
//! wait for it. It reads what has been written, whether it is synced or not.

use super::disk::Disk;
use super::error::LogError;
use super::record::{self, Kind};
use super::scanner::{Found, Scanner, read_header};
use super::segment::{self, SEGMENT_HEADER_BYTES};
use super::table::SharedTable;
use crate::base::id::EventId;
use crate::core::journal::{PendingTarget, StoredEvent};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// Reads events back. Cheap to make; each reading thread has its own.
#[derive(Clone)]
pub struct LogReader {
    disk: Arc<dyn Disk>,
    table: SharedTable,
}

impl LogReader {
    pub(super) fn new(disk: Arc<dyn Disk>, table: SharedTable) -> LogReader {
        LogReader { disk, table }
    }

    /// Unfinished deliveries in the whole log.
    pub fn pending(&self) -> u64 {
        self.table.lock().pending
    }

    /// Unfinished deliveries to `webhook`.
    pub fn pending_of(&self, webhook: u64) -> u64 {
        self.table.lock().pending_of(webhook)
    }

    /// The webhooks that have unfinished deliveries.
    pub fn webhooks(&self) -> BTreeSet<u64> {
        self.table.lock().webhooks()
    }

    /// Events with unfinished deliveries, from the oldest on, in the order they were written.
    pub fn scan(&self) -> Scan {
        self.scan_of(None, 0)
    }

    /// Where the log ends now: behind everything that has been written.
    pub fn end(&self) -> Position {
        let table = self.table.lock();
        let last = table.segments.back();
        last.map_or_else(Position::default, |last| Position {
            segment: last.id,
            epoch: last.epoch,
            offset: last.end,
        })
    }

    /// Events with an unfinished delivery to `webhook`, from `position` on. Some that are before it
    /// come as well if its segment was cleaned meanwhile.
    pub fn scan_behind(&self, position: Position, webhook: u64) -> Scan {
        let scan = self.scan_of(Some(webhook), position.segment);
        Scan { begin: Some(position), ..scan }
    }

    /// Events with unfinished deliveries from the event `from` on. It must be in the log; when it
    /// is finished and gone already, the scan starts at the oldest event.
    pub fn scan_from(&self, from: EventId) -> Scan {
        let segment = self.table.lock().segment_of(from);
        let mut scan = self.scan_of(None, segment.unwrap_or(0));
        scan.skip_until = segment.map(|_| from);
        scan
    }

    fn scan_of(&self, webhook: Option<u64>, segment: u64) -> Scan {
        Scan {
            disk: self.disk.clone(),
            table: self.table.clone(),
            webhook,
            segment,
            scanner: None,
            last_lsn: 0,
            skip_until: None,
            begin: None,
        }
    }

    /// The event with this id, if it is in the log and unfinished. Reads its segment up to the
    /// event: for single events, not for many.
    ///
    /// # Errors
    /// The disk's, and [`LogError::Damaged`].
    pub fn read(&self, id: EventId) -> Result<Option<StoredEvent>, LogError> {
        let Some(segment) = self.table.lock().segment_of(id) else { return Ok(None) };
        let mut scan = self.scan_of(None, segment);
        scan.skip_until = Some(id);
        let mut event = StoredEvent::default();
        let found = scan.next(&mut event)? && event.id == id;
        Ok(found.then_some(event))
    }
}

/// Goes through the unfinished events, oldest first.
pub struct Scan {
    disk: Arc<dyn Disk>,
    table: SharedTable,
    /// Only events for this webhook.
    webhook: Option<u64>,
    /// The segment that is read, or the one to go on with.
    segment: u64,
    scanner: Option<Scanner>,
    /// The last record that was read: what was moved or copied is not read again.
    last_lsn: u64,
    skip_until: Option<EventId>,
    /// In its segment, nothing before it is to be read.
    begin: Option<Position>,
}

/// A place in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    segment: u64,
    epoch: u32,
    offset: u64,
}

/// What there is to read.
enum Source {
    /// Go on reading.
    Ready,
    /// All was read that has been written.
    CaughtUp,
}

impl Scan {
    /// Only events with an unfinished delivery to `webhook`, and only its deliveries. Segments
    /// without any are passed by unread.
    #[must_use]
    pub fn only(mut self, webhook: u64) -> Scan {
        self.webhook = Some(webhook);
        self
    }

    /// A scan that goes on where this one is, for `webhook` alone.
    #[must_use]
    pub fn fork(&self, webhook: u64) -> Scan {
        let begin = self.scanner.as_ref().map(|scanner| Position {
            segment: self.segment,
            epoch: scanner.epoch(),
            offset: scanner.offset(),
        });
        Scan {
            disk: self.disk.clone(),
            table: self.table.clone(),
            webhook: Some(webhook),
            segment: self.segment,
            scanner: None,
            last_lsn: self.last_lsn,
            skip_until: self.skip_until,
            begin: begin.or(self.begin),
        }
    }

    /// Reads the next event with an unfinished delivery into `event`. `false`: it has caught up
    /// with the writer; it may be called again later. `event` is spoiled then.
    ///
    /// Each event comes once. One that is finished before it is reached does not come.
    ///
    /// # Errors
    /// The disk's, and [`LogError::Damaged`]; the scan then stays where it is.
    pub fn next(&mut self, event: &mut StoredEvent) -> Result<bool, LogError> {
        loop {
            if self.scanner.is_none()
                && let Source::CaughtUp = self.open()?
            {
                return Ok(false);
            }
            if self.advance(event)? {
                return Ok(true);
            }
            if let Source::CaughtUp = self.refill() {
                return Ok(false);
            }
        }
    }

    fn failed(&self, error: &io::Error) -> LogError {
        let path = self.disk.path(&segment::file_name(self.segment));
        LogError::from_io("reading", &path, error)
    }

    /// Opens the segment to go on with.
    fn open(&mut self) -> Result<Source, LogError> {
        // More than one try: the segment may be removed or replaced between the two looks.
        for _ in 0..64 {
            let found = {
                let table = self.table.lock();
                let wanted = |pending: u64, sealed: bool| pending > 0 || !sealed;
                let mut after = table.segments.iter().filter(|state| state.id >= self.segment);
                after
                    .find(|state| match self.webhook {
                        None => wanted(state.live, state.sealed),
                        Some(webhook) => wanted(state.pending_of(webhook), state.sealed),
                    })
                    .map(|state| (state.id, state.epoch, state.end))
            };
            let Some((id, epoch, end)) = found else { return Ok(Source::CaughtUp) };
            if id != self.segment && self.skip_until.is_some() {
                // The event to begin at is finished, with its whole segment.
                self.skip_until = None;
            }
            self.segment = id;
            let file = match self.disk.open(&segment::file_name(id)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                file => file.map_err(|error| self.failed(&error))?,
            };
            let header = read_header(&*file).map_err(|error| self.failed(&error))?;
            match header {
                Ok(header) if header.epoch == epoch => {
                    let is_here = |begin: &Position| begin.segment == id && begin.epoch == epoch;
                    let begin = self.begin.take().filter(is_here);
                    let start =
                        begin.map_or(SEGMENT_HEADER_BYTES as u64, |begin| begin.offset.min(end));
                    self.scanner = Some(Scanner::new(file, epoch, start, end));
                    return Ok(Source::Ready);
                }
                Ok(_) => {}
                Err(what) => return Err(self.damaged(0, what)),
            }
        }
        Err(self.damaged(0, "not the segment that was written"))
    }

    fn damaged(&self, offset: u64, what: &'static str) -> LogError {
        LogError::Damaged { file: self.disk.path(&segment::file_name(self.segment)), offset, what }
    }

    /// Reads on in the open segment; `false` at its end.
    fn advance(&mut self, event: &mut StoredEvent) -> Result<bool, LogError> {
        let Some(mut scanner) = self.scanner.take() else { return Ok(false) };
        let found = loop {
            match scanner.next() {
                Err(error) => break Err(self.failed(&error)),
                Ok(Found::End) => break Ok(false),
                Ok(Found::Bad { offset, what }) => break Err(self.damaged(offset, what)),
                Ok(Found::Record { offset, record, .. }) => {
                    if record.lsn <= self.last_lsn || record.kind == Kind::End {
                        continue;
                    }
                    self.last_lsn = record.lsn;
                    if record.kind != Kind::Event {
                        continue;
                    }
                    let Some(view) = record::read_event(record.payload) else {
                        break Err(self.damaged(offset, "a record without sense"));
                    };
                    if let Some(from) = self.skip_until {
                        if view.id != from {
                            continue;
                        }
                        self.skip_until = None;
                    }
                    self.unfinished(&view, &mut event.targets);
                    if !event.targets.is_empty() {
                        copy(&view, event);
                        break Ok(true);
                    }
                }
            }
        };
        self.scanner = Some(scanner);
        found
    }

    fn unfinished(&self, view: &record::EventView<'_>, targets: &mut Vec<PendingTarget>) {
        targets.clear();
        let table = self.table.lock();
        for (target, webhook) in view.targets().enumerate() {
            let target = target as u16;
            if self.webhook.is_none_or(|only| only == webhook)
                && table.is_unfinished(view.id, target)
            {
                let attempts = table.attempts(view.id, target);
                let death = table.death(view.id, target);
                targets.push(PendingTarget { target, webhook, attempts, death });
            }
        }
    }

    /// The open segment was read to the end that was known: has it grown, or is there another?
    fn refill(&mut self) -> Source {
        let Some(scanner) = &mut self.scanner else { return Source::Ready };
        let table = self.table.lock();
        match table.segment(self.segment) {
            Some(state) if state.epoch == scanner.epoch() => {
                if state.end > scanner.offset() {
                    scanner.extend(state.end);
                    return Source::Ready;
                }
                if !state.sealed {
                    return Source::CaughtUp;
                }
                self.segment += 1;
            }
            // It was cleaned: what was written into it after it was opened is in the copy.
            Some(_) => {}
            None => self.segment += 1,
        }
        self.scanner = None;
        Source::Ready
    }
}

fn copy(view: &record::EventView<'_>, event: &mut StoredEvent) {
    event.id = view.id;
    event.kind = view.kind;
    event.database = view.database;
    event.timestamp_us = view.timestamp_us;
    event.key.clear();
    event.key.extend_from_slice(view.key);
    event.body.clear();
    event.body.extend_from_slice(view.body);
    event.targets_written = view.targets().len() as u16;
}
