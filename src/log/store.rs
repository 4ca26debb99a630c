//! The log itself, for one thread: open, append, sync, remove. It has no clock and no thread, and
//! its disk is a [`Disk`]: tests drive it step by step.
//!
//! # When the disk fails
//!
//! After a failed write or sync nobody knows what of the file is on stable storage, and asking
//! again proves nothing: the system may have forgotten that it ever had something to write. So the
//! segment is *poisoned*: nothing more is written to it. What had not been synced is read back,
//! checked, and written to a new segment, whose header says up to where the poisoned one is valid.
//! While that fails too, the store is in *trouble*: it takes no events, and says why.

use super::cleaning::Cleaning;
use super::disk::{Disk, DiskFile};
use super::error::LogError;
use super::reader::LogReader;
use super::record::{self, Kind};
use super::recovery::{Last, Progress, Recovery, RecoveryReport};
use super::scanner::{Found, Scanner};
use super::segment::{self, FLAG_GAPS, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::table::{SegmentState, SharedTable};
use crate::base::limits;
use crate::base::random::Random;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// What a store is told once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreConfig {
    /// A segment ends when it is this long, in bytes.
    pub segment_bytes: u64,
    /// All segments together, in bytes; no event is taken beyond it.
    pub disk_bytes_max: u64,
    /// Workers of the engine.
    pub workers: u32,
    /// The number that this start of the engine would like; see [`Store::boot`].
    pub boot: u64,
    /// Names the log, if it is made now, and tells its segments apart. Drawn at random.
    pub seed: u64,
}

/// What a store has done and met.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreCounters {
    /// Records that were written.
    pub records: u64,
    /// Bytes that were written, beside those of cleaning.
    pub bytes: u64,
    /// Writes.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Writes and syncs that failed; each poisoned a segment.
    pub write_errors: u64,
    /// Records that could not be read back from a poisoned segment.
    pub records_lost: u64,
    /// Segments that were removed.
    pub segments_removed: u64,
    /// Segments that were cleaned.
    pub segments_cleaned: u64,
    /// Failures to make, clean or remove a segment; all are tried again.
    pub upkeep_errors: u64,
}

struct Active {
    file: Box<dyn DiskFile>,
    id: u64,
    epoch: u32,
    end: u64,
    synced_end: u64,
}

/// The log of one engine. See the module's documentation.
pub struct Store {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) config: StoreConfig,
    pub(super) table: SharedTable,
    pub(super) engine: u64,
    boot: u64,
    pub(super) random: Random,
    active: Active,
    trouble: Option<LogError>,
    /// The name of the active segment may not be on stable storage; nothing was written since.
    is_unnamed: bool,
    next_lsn: u64,
    pub(super) synced_lsn: u64,
    /// Bytes of all segments but the active one.
    pub(super) sealed_bytes: u64,
    /// Segments that are finished and whose files are still there, oldest first.
    doomed: VecDeque<(u64, u64)>,
    pub(super) cleaning: Option<Cleaning>,
    /// The directory failed after a cleaning: another could rely on what is not there.
    pub(super) cleaning_is_off: bool,
    /// The bound of the disk is near.
    pub(super) is_pressed: bool,
    pub(super) counters: StoreCounters,
}

/// How far making a segment came.
pub(super) struct NotMade {
    /// It has its name already, if maybe not for long.
    pub(super) named: Option<Box<dyn DiskFile>>,
    pub(super) error: LogError,
}

impl Store {
    /// Opens the log: reads what is there, cuts a torn tail off, and begins a segment for this
    /// start of the engine, which is on stable storage when this returns.
    ///
    /// # Errors
    /// [`LogError::Damaged`] and [`LogError::Missing`] for what was promised and is not there;
    /// the errors of the disk; [`LogError::Invalid`] for a setting.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: StoreConfig,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Store, RecoveryReport), LogError> {
        if config.segment_bytes < limits::LOG_SEGMENT_BYTES_MIN {
            return Err(LogError::Invalid("segments of the log must be at least 4096 bytes"));
        }
        if config.disk_bytes_max < config.segment_bytes.saturating_mul(2) {
            return Err(LogError::Invalid("max_disk_bytes must be at least two segments"));
        }
        if config.workers == 0 || config.workers as usize > limits::WORKERS_MAX {
            return Err(LogError::Invalid("an impossible number of workers"));
        }
        remove_unfinished(&*disk)?;
        let mut recovery = Recovery::new(&*disk, progress);
        let last = recovery.run()?;
        let (mut table, report) = (recovery.table, recovery.report);
        let mut random = Random::new(config.seed);
        let engine = last.as_ref().map_or(random.next_u64(), |last| last.header.engine);
        // Never used again, also when the clock was set back: the ids of this start follow from it.
        let least = last.as_ref().map_or(0, |last| last.header.boot.saturating_add(1));
        let boot = config.boot.max(least);
        if let Some(last) = &last {
            cut(&*disk, last)?;
        }
        let mut header = SegmentHeader {
            flags: 0,
            id: 1,
            engine,
            boot,
            first_lsn: 1,
            previous_end: 0,
            epoch: random.next_u64() as u32,
            workers: config.workers,
        };
        if let Some(last) = &last {
            header.first_lsn = last.next_lsn;
            if last.is_empty {
                // Starts that wrote nothing leave no segments behind. The name goes over in one
                // step, so that at no moment the last boot number is forgotten.
                table.segments.pop_back();
                (header.id, header.previous_end) = (last.header.id, last.header.previous_end);
            } else {
                (header.id, header.previous_end) = (last.header.id + 1, last.end);
            }
        }
        let file = make_segment(&*disk, &header, &[]).map_err(|not_made| not_made.error)?;
        let sealed_bytes = table.segments.iter().map(|segment| segment.end).sum();
        table.segments.iter_mut().for_each(|segment| segment.sealed = true);
        let end = SEGMENT_HEADER_BYTES as u64;
        let state = SegmentState::new(header.id, boot, header.epoch, config.workers, end);
        table.segments.push_back(state);
        let shared = SharedTable::default();
        *shared.lock() = table;
        let store = Store {
            disk,
            config,
            table: shared,
            engine,
            boot,
            random,
            active: Active { file, id: header.id, epoch: header.epoch, end, synced_end: end },
            trouble: None,
            is_unnamed: false,
            next_lsn: header.first_lsn,
            synced_lsn: header.first_lsn - 1,
            sealed_bytes,
            doomed: VecDeque::new(),
            cleaning: None,
            cleaning_is_off: false,
            is_pressed: false,
            counters: StoreCounters::default(),
        };
        Ok((store, report))
    }

    /// The number of this start of the engine: higher than that of any start before. It is on
    /// stable storage.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// The bookkeeping, for readers.
    pub fn table(&self) -> SharedTable {
        self.table.clone()
    }

    /// What was done and met.
    pub fn counters(&self) -> StoreCounters {
        self.counters
    }

    /// Bytes of all segments.
    pub fn disk_bytes(&self) -> u64 {
        self.sealed_bytes + self.active.end
    }

    /// Says whether the bound of the disk is near: then more is cleaned.
    pub fn set_pressed(&mut self, is_pressed: bool) {
        self.is_pressed = is_pressed;
    }

    /// The bound of [`Store::disk_bytes`] for events.
    pub fn disk_bytes_max(&self) -> u64 {
        self.config.disk_bytes_max
    }

    /// Reads events back.
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.disk.clone(), self.table.clone())
    }

    /// Why no events are taken, if the disk has failed.
    pub fn trouble(&self) -> Option<&LogError> {
        self.trouble.as_ref()
    }

    /// Whether something was written that is not on stable storage.
    pub fn is_unsynced(&self) -> bool {
        self.active.synced_end < self.active.end
    }

    /// Whether `bytes` more would pass the bound of the disk; then how full it is.
    ///
    /// # Errors
    /// [`LogError::Full`].
    pub fn check_room(&self, bytes: usize) -> Result<(), LogError> {
        let (used, limit) = (self.disk_bytes(), self.config.disk_bytes_max);
        if used + bytes as u64 > limit { Err(LogError::Full { used, limit }) } else { Ok(()) }
    }

    /// Writes unsealed records. After `Ok` they survive the end of the process; see
    /// [`Store::sync`] for more. After an error the events among them are not in the log (in rare
    /// cases a restart finds some of them all the same); what the marks say is taken note of, but
    /// may be forgotten by a restart, which then delivers again.
    ///
    /// # Errors
    /// Why it could not be written.
    pub fn append(&mut self, records: &mut [u8]) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        if let Some(error) = &self.trouble {
            let error = error.clone();
            self.note_marks(records);
            return Err(error);
        }
        if self.active.end + records.len() as u64 > self.config.segment_bytes && self.has_records()
            || !self.fits(records)
        {
            self.rotate();
        }
        let error = match &self.trouble {
            None if self.fits(records) => None,
            None => Some(LogError::Invalid("the numbers of the events are too far apart")),
            Some(error) => Some(error.clone()),
        };
        if let Some(error) = error {
            self.note_marks(records);
            return Err(error);
        }
        let next_lsn = seal_all(records, self.next_lsn, self.synced_lsn, self.active.epoch);
        self.counters.writes += 1;
        match self.active.file.write_at(records, self.active.end) {
            Ok(()) => {
                self.counters.records += next_lsn - self.next_lsn;
                self.counters.bytes += records.len() as u64;
                self.next_lsn = next_lsn;
                self.active.end += records.len() as u64;
                self.note(records);
                Ok(())
            }
            Err(error) => {
                self.poison("writing", &error);
                let result = self.reopen(records);
                if result.is_err() {
                    self.note_marks(records);
                }
                result
            }
        }
    }

    /// After `Ok` all that was appended is on stable storage.
    ///
    /// # Errors
    /// The disk failed, and a new segment failed too.
    pub fn sync(&mut self) -> Result<(), LogError> {
        if let Some(error) = &self.trouble {
            return Err(error.clone());
        }
        if !self.is_unsynced() {
            return Ok(());
        }
        self.counters.syncs += 1;
        match self.active.file.sync() {
            Ok(()) => {
                self.active.synced_end = self.active.end;
                self.synced_lsn = self.next_lsn - 1;
                Ok(())
            }
            Err(error) => {
                self.poison("syncing", &error);
                self.reopen(&mut [])
            }
        }
    }

    /// In trouble: tries once more to write a new segment.
    ///
    /// # Errors
    /// It failed again.
    pub fn retry(&mut self) -> Result<(), LogError> {
        if self.trouble.is_some() { self.reopen(&mut []) } else { Ok(()) }
    }

    /// Ends the log in order: afterwards any damage in it is found.
    ///
    /// # Errors
    /// The disk failed; what had been synced is there all the same.
    pub fn close(mut self) -> Result<(), LogError> {
        self.give_up_cleaning();
        self.sync()?;
        let mut end = Vec::new();
        record::put(&mut end, Kind::Closed, &[]);
        self.append(&mut end)?;
        self.sync()
    }

    fn name(&self) -> String {
        segment::file_name(self.active.id)
    }

    fn poison(&mut self, doing: &'static str, error: &io::Error) {
        let error = LogError::from_io(doing, &self.disk.path(&self.name()), error);
        tracing::error!(%error, "the log could not be written; it goes on in a new segment");
        self.counters.write_errors += 1;
        self.trouble = Some(error);
    }

    /// Whether the numbers of the events are near enough to those of the segment's events.
    fn fits(&self, records: &[u8]) -> bool {
        let table = self.table.lock();
        let Some(segment) = table.segments.back() else { return true };
        let mut fits = true;
        for_each(records, |record| {
            if record[20] == Kind::Event as u8
                && let Some(event) = record::read_event(record::payload_of(record))
            {
                fits &= segment.fits(event.id);
            }
        });
        fits
    }

    /// Takes note of sealed records.
    fn note(&mut self, records: &[u8]) {
        let epoch = self.active.epoch;
        let mut table = self.table.lock();
        for_each(records, |bytes| {
            if let Some(record) = record::trusted(bytes) {
                table.apply(&record);
            }
        });
        let end = self.active.end;
        if let Some(segment) = table.segments.back_mut() {
            debug_assert_eq!(segment.epoch, epoch);
            segment.end = end;
        }
    }

    /// Takes note of marks that could not be written.
    fn note_marks(&mut self, records: &[u8]) {
        let mut table = self.table.lock();
        for_each(records, |bytes| {
            if let Some(record) = record::trusted(bytes)
                && record.kind != Kind::Event
            {
                table.apply(&record);
            }
        });
    }

    /// Begins the next segment. When that fails, the present one is simply used for longer.
    fn rotate(&mut self) {
        // What is not in the last segment must be on stable storage: recovery counts on it.
        if self.sync().is_err() || !self.has_records() {
            return;
        }
        let header = self.next_header(self.next_lsn, self.active.end, 0);
        match make_segment(&*self.disk, &header, &[]) {
            Ok(file) => self.begin(file, &header, 0),
            Err(NotMade { named, error }) => {
                tracing::error!(%error, "the log cannot begin a segment");
                self.counters.upkeep_errors += 1;
                if let Some(file) = named {
                    // It may be there after a crash, and says that the old one has ended.
                    self.begin(file, &header, 0);
                    self.trouble = Some(error);
                    self.is_unnamed = true;
                }
            }
        }
    }

    fn has_records(&self) -> bool {
        self.active.end > SEGMENT_HEADER_BYTES as u64
    }

    fn next_header(&mut self, first_lsn: u64, previous_end: u64, flags: u32) -> SegmentHeader {
        SegmentHeader {
            flags,
            id: self.active.id + 1,
            engine: self.engine,
            boot: self.boot,
            first_lsn,
            previous_end,
            epoch: self.random.next_u64() as u32,
            workers: self.config.workers,
        }
    }

    /// Goes on in a segment that was made with `bytes` of records.
    fn begin(&mut self, file: Box<dyn DiskFile>, header: &SegmentHeader, bytes: u64) {
        let end = SEGMENT_HEADER_BYTES as u64 + bytes;
        let mut table = self.table.lock();
        if let Some(segment) = table.segments.back_mut() {
            segment.sealed = true;
            segment.end = header.previous_end;
        }
        let (id, epoch, workers) = (header.id, header.epoch, header.workers);
        table.segments.push_back(SegmentState::new(id, header.boot, epoch, workers, end));
        self.sealed_bytes += header.previous_end;
        self.active = Active { file, id, epoch, end, synced_end: end };
    }

    /// Leaves a poisoned segment: what it held unsynced, and `records`, which it was to hold, go
    /// into a new one.
    fn reopen(&mut self, records: &mut [u8]) -> Result<(), LogError> {
        if self.is_unnamed {
            // No later segment may get a name before this one surely has one. What it holds is
            // synced, so it is as good as a new one.
            if let Err(error) = self.disk.sync_directory() {
                let error = LogError::from_io("making", &self.disk.path(&self.name()), &error);
                self.trouble = Some(error.clone());
                return Err(error);
            }
            self.is_unnamed = false;
            self.trouble = None;
            return Ok(());
        }
        let (mut carried, lost) = self.read_back();
        let carried_bytes = carried.len();
        carried.extend_from_slice(records);
        let first_lsn = self.synced_lsn + 1;
        let flags = if lost > 0 { FLAG_GAPS } else { 0 };
        let header = self.next_header(first_lsn, self.active.synced_end, flags);
        reseal_all(&mut carried[..carried_bytes], self.synced_lsn, header.epoch);
        let new = &mut carried[carried_bytes..];
        let next_lsn = seal_all(new, self.next_lsn, self.synced_lsn, header.epoch);
        let (file, result) = match make_segment(&*self.disk, &header, &carried) {
            Ok(file) => (file, Ok(())),
            Err(NotMade { named: Some(file), error }) => (file, Err(error)),
            Err(NotMade { named: None, error }) => {
                self.trouble = Some(error.clone());
                return Err(error);
            }
        };
        self.counters.records_lost += lost;
        if lost > 0 {
            tracing::error!(lost, "records of the log could not be read back");
        }
        self.begin(file, &header, carried.len() as u64);
        {
            let mut table = self.table.lock();
            for_each(&carried[..carried_bytes], |bytes| {
                if let Some(record) = record::trusted(bytes)
                    && let Some(event) = record::read_event(record.payload)
                    && record.kind == Kind::Event
                {
                    table.move_to_last(event.id, event.targets());
                }
            });
        }
        self.note(&carried[carried_bytes..]);
        self.counters.records += next_lsn - self.next_lsn;
        self.next_lsn = next_lsn;
        self.synced_lsn = next_lsn - 1;
        self.trouble = result.as_ref().err().cloned();
        self.is_unnamed = result.is_err();
        result
    }

    /// The records of the active segment that are not on stable storage, and how many of them
    /// could not be read.
    fn read_back(&mut self) -> (Vec<u8>, u64) {
        let mut carried = Vec::new();
        let unsynced = self.next_lsn - 1 - self.synced_lsn;
        let name = self.name();
        if unsynced == 0 {
            return (carried, 0);
        }
        let Ok(file) = self.disk.open(&name) else { return (carried, unsynced) };
        let (from, to) = (self.active.synced_end, self.active.end);
        let mut scanner = Scanner::new(file, self.active.epoch, from, to);
        let mut count = 0;
        loop {
            match scanner.next() {
                Ok(Found::Record { bytes, .. }) => {
                    carried.extend_from_slice(bytes);
                    count += 1;
                }
                Ok(Found::Bad { .. }) => match scanner.skip_bad() {
                    Ok(true) => {}
                    _ => break,
                },
                Ok(Found::End) | Err(_) => break,
            }
        }
        (carried, unsynced.saturating_sub(count))
    }

    /// Removes segments in which nothing is unfinished, oldest first.
    ///
    /// One after the other, each on stable storage before the next: so an old segment that comes
    /// back after a loss of power never comes without those that hold its acks.
    pub fn remove_finished(&mut self) {
        loop {
            loop {
                let finished = self.table.lock().pop_finished();
                let Some(segment) = finished else { break };
                if self.cleaning.as_ref().is_some_and(|cleaning| cleaning.segment == segment.id) {
                    self.give_up_cleaning();
                }
                self.doomed.push_back((segment.id, segment.end));
            }
            let Some(&(id, bytes)) = self.doomed.front() else { return };
            let name = segment::file_name(id);
            let removed = match self.disk.remove(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => self.disk.sync_directory(),
            };
            if let Err(error) = removed {
                let error = LogError::from_io("removing", &self.disk.path(&name), &error);
                tracing::warn!(%error, "a segment of the log stays for now");
                self.counters.upkeep_errors += 1;
                return;
            }
            self.doomed.pop_front();
            self.sealed_bytes -= bytes;
            self.counters.segments_removed += 1;
        }
    }

    pub(super) fn give_up_cleaning(&mut self) {
        let Some(cleaning) = self.cleaning.take() else { return };
        let _ = self.disk.remove(&segment::new_file_name(cleaning.segment));
        if let Some(segment) = self.table.lock().segment_mut(cleaning.segment) {
            segment.end_cleaning(false);
        }
    }
}

/// What `f` says to each record in `records`, which are whole.
fn for_each(records: &[u8], mut f: impl FnMut(&[u8])) {
    let mut rest = records;
    while let Some(size) = record::announced_size(rest)
        && let Some((record, behind)) = rest.split_at_checked(size)
    {
        f(record);
        rest = behind;
    }
}

/// Seals records in place with the numbers from `lsn` on; gives the number behind them.
fn seal_all(records: &mut [u8], mut lsn: u64, synced: u64, epoch: u32) -> u64 {
    let mut rest = records;
    while let Some(size) = record::announced_size(rest)
        && let Some((record, behind)) = rest.split_at_mut_checked(size)
    {
        record::seal(record, lsn, synced, epoch);
        lsn += 1;
        rest = behind;
    }
    lsn
}

/// Seals records again, with the numbers that they have, for another segment.
fn reseal_all(records: &mut [u8], synced: u64, epoch: u32) {
    let mut rest = records;
    while let Some(size) = record::announced_size(rest)
        && let Some((record, behind)) = rest.split_at_mut_checked(size)
    {
        let lsn = record::lsn_of(record);
        record::seal(record, lsn, synced, epoch);
        rest = behind;
    }
}

/// Makes a segment with `records`, all on stable storage, or nothing at all.
pub(super) fn make_segment(
    disk: &dyn Disk,
    header: &SegmentHeader,
    records: &[u8],
) -> Result<Box<dyn DiskFile>, NotMade> {
    let (new, name) = (segment::new_file_name(header.id), segment::file_name(header.id));
    let failed = |error: io::Error| {
        let _ = disk.remove(&new);
        let error = LogError::from_io("making", &disk.path(&name), &error);
        NotMade { named: None, error }
    };
    let make = || {
        let file = disk.create(&new)?;
        file.write_at(&header.encode(), 0)?;
        if !records.is_empty() {
            file.write_at(records, SEGMENT_HEADER_BYTES as u64)?;
        }
        file.sync()?;
        Ok(file)
    };
    let file = make().map_err(failed)?;
    disk.rename(&new, &name).map_err(failed)?;
    match disk.sync_directory() {
        Ok(()) => Ok(file),
        Err(error) => {
            let error = LogError::from_io("making", &disk.path(&name), &error);
            Err(NotMade { named: Some(file), error })
        }
    }
}

/// Removes segments that were never finished. What they were to hold is in other ones.
fn remove_unfinished(disk: &dyn Disk) -> Result<(), LogError> {
    let names =
        disk.list().map_err(|error| LogError::from_io("listing", &disk.path(""), &error))?;
    for name in names.iter().filter(|name| segment::is_unfinished(name)) {
        disk.remove(name)
            .map_err(|error| LogError::from_io("removing", &disk.path(name), &error))?;
    }
    Ok(())
}

/// Cuts a torn tail off, on stable storage, so that it can never be taken for anything.
fn cut(disk: &dyn Disk, last: &Last) -> Result<(), LogError> {
    if last.length == last.end {
        // Its bytes may still be in the page cache only: what is built on them comes after them.
        return sync_file(disk, &segment::file_name(last.header.id), None);
    }
    sync_file(disk, &segment::file_name(last.header.id), Some(last.end))
}

fn sync_file(disk: &dyn Disk, name: &str, end: Option<u64>) -> Result<(), LogError> {
    let failed = |error| LogError::from_io("cutting", &disk.path(name), &error);
    let file = disk.open(name).map_err(failed)?;
    if let Some(end) = end {
        file.truncate(end).map_err(failed)?;
    }
    file.sync().map_err(failed)
}
