//! Looks at logs that no engine has open: verify, dump, repair.

use super::disk::{Disk, DiskFile};
use super::error::LogError;
use super::record::{self, Kind, Record};
use super::recovery::{Progress, Recovery, RecoveryReport, segment_ids};
use super::scanner::{Found, Scanner, read_header};
use super::segment::{self, FLAG_ENDED, FLAG_GAPS, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::base::limits::LOG_READ_BYTES;
use crate::core::journal::Finish;
use std::io::{self, Write};
use std::path::PathBuf;

/// Bytes that are no record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Damage {
    /// The segment.
    pub file: PathBuf,
    /// Where they begin.
    pub offset: u64,
    /// What is wrong with them.
    pub what: &'static str,
}

/// What [`verify`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verification {
    /// What an engine would find, or why it would refuse to start.
    pub verdict: Result<RecoveryReport, LogError>,
    /// All bytes that are no record; with a good verdict, those of a torn tail.
    pub damages: Vec<Damage>,
    /// Whole records.
    pub records: u64,
}

/// What [`repair`] did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RepairReport {
    /// Segments that were written anew with what was whole, and where the old bytes are kept.
    pub rewritten: Vec<(PathBuf, PathBuf)>,
    /// Segments that were missing: the log goes on without them.
    pub missing: Vec<PathBuf>,
    /// Whole records that were kept in the rewritten segments.
    pub records_kept: u64,
    /// Stretches of bytes that were no record and were left out.
    pub damages: Vec<Damage>,
}

fn io_error<'a>(
    disk: &'a dyn Disk,
    doing: &'static str,
    name: &'a str,
) -> impl Fn(io::Error) -> LogError + Copy + 'a {
    move |error| LogError::from_io(doing, &disk.path(name), &error)
}

/// Reads everything and changes nothing.
///
/// # Errors
/// The disk's. Damage is no error here: it is what was asked for.
pub fn verify(
    disk: &dyn Disk,
    progress: &mut dyn FnMut(Progress),
) -> Result<Verification, LogError> {
    let mut recovery = Recovery::new(disk, progress);
    let verdict = match recovery.run() {
        Ok(_) => Ok(recovery.report),
        Err(error @ (LogError::Damaged { .. } | LogError::Missing { .. })) => Err(error),
        Err(error @ LogError::Foreign { .. }) => Err(error),
        Err(error) => return Err(error),
    };
    let (mut damages, mut records) = (Vec::new(), 0);
    for id in segment_ids(disk)? {
        walk(disk, id, &mut |step| match step {
            Step::Header(_) => {}
            Step::Record { .. } => records += 1,
            Step::Damage(damage) => damages.push(damage),
        })?;
    }
    Ok(Verification { verdict, damages, records })
}

enum Step<'a> {
    Header(&'a SegmentHeader),
    Record { offset: u64, record: &'a Record<'a> },
    Damage(Damage),
}

/// Goes through a segment, damage and all. What stands behind the end that the next segment tells
/// was never valid and is passed by.
fn walk(disk: &dyn Disk, id: u64, step: &mut dyn FnMut(Step<'_>)) -> Result<(), LogError> {
    let name = segment::file_name(id);
    let failed = io_error(disk, "reading", &name);
    let file = disk.open(&name).map_err(failed)?;
    let length = file.length().map_err(failed)?;
    let damage = |offset, what| Damage { file: disk.path(&name), offset, what };
    let (epoch, ended) = match read_header(&*file).map_err(failed)? {
        Ok(header) => {
            step(Step::Header(&header));
            (header.epoch, header.flags & FLAG_ENDED != 0)
        }
        Err(what) => {
            step(Step::Damage(damage(0, what)));
            (epoch_of_first_record(&*file).map_err(failed)?, false)
        }
    };
    let end = match header_of(disk, id + 1)? {
        Some(next) if !ended => next.previous_end,
        _ => length,
    };
    if end > length {
        step(Step::Damage(damage(length, "the file is cut short")));
    }
    let mut scanner = Scanner::new(file, epoch, SEGMENT_HEADER_BYTES as u64, end.min(length));
    loop {
        match scanner.next().map_err(failed)? {
            Found::Record { offset, record, .. } => step(Step::Record { offset, record: &record }),
            Found::End => return Ok(()),
            Found::Bad { offset, what } => {
                step(Step::Damage(damage(offset, what)));
                scanner.skip_bad().map_err(failed)?;
            }
        }
    }
}

fn header_of(disk: &dyn Disk, id: u64) -> Result<Option<SegmentHeader>, LogError> {
    let name = segment::file_name(id);
    let failed = io_error(disk, "reading", &name);
    match disk.open(&name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        file => Ok(read_header(&*file.map_err(failed)?).map_err(failed)?.ok()),
    }
}

/// The epoch of a segment whose header is lost, from its first record.
fn epoch_of_first_record(file: &dyn DiskFile) -> io::Result<u32> {
    let mut bytes = [0; 4];
    let count = file.read_at(&mut bytes, SEGMENT_HEADER_BYTES as u64 + 16)?;
    Ok(if count == bytes.len() { u32::from_le_bytes(bytes) } else { 0 })
}

/// Writes what the log holds as text, one line per record; event bodies only by their length.
///
/// # Errors
/// The disk's, and those of `out`.
pub fn dump(disk: &dyn Disk, out: &mut dyn Write) -> Result<(), LogError> {
    for id in segment_ids(disk)? {
        let name = segment::file_name(id);
        let mut written = Ok(());
        walk(disk, id, &mut |step| {
            if written.is_ok() {
                written = write_step(out, &name, &step);
            }
        })?;
        match written {
            // Whoever reads it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written
                .map_err(|error| LogError::from_io("writing", "the output".as_ref(), &error))?,
        }
    }
    Ok(())
}

fn write_step(out: &mut dyn Write, name: &str, step: &Step<'_>) -> io::Result<()> {
    match step {
        Step::Header(header) => {
            let SegmentHeader { boot, first_lsn, previous_end, workers, flags, .. } = header;
            let cleaned = if flags & FLAG_ENDED != 0 { " cleaned" } else { "" };
            writeln!(
                out,
                "{name} boot={boot:016x} first_lsn={first_lsn} previous_end={previous_end} \
                 workers={workers}{cleaned}"
            )
        }
        Step::Damage(Damage { offset, what, .. }) => writeln!(out, "{offset:>10} DAMAGE {what}"),
        Step::Record { offset, record } => {
            write!(out, "{offset:>10} {} ", record.lsn)?;
            write_record(out, record)
        }
    }
}

fn write_record(out: &mut dyn Write, record: &Record<'_>) -> io::Result<()> {
    match record.kind {
        Kind::Event => match record::read_event(record.payload) {
            Some(event) => {
                let targets: Vec<u64> = event.targets().collect();
                writeln!(
                    out,
                    "event {} {} database={} at_us={} webhooks={targets:?} body_bytes={} key={}",
                    event.id,
                    event.kind,
                    event.database,
                    event.timestamp_us,
                    event.body.len(),
                    event.key.escape_ascii(),
                )
            }
            None => writeln!(out, "event without sense"),
        },
        Kind::Acks | Kind::Attempts => {
            let marks = record::read_marks(record.payload);
            write!(out, "{}", if record.kind == Kind::Acks { "acks" } else { "attempts" })?;
            for mark in marks.into_iter().flatten() {
                write!(out, " {}/{}", mark.id, mark.webhook)?;
                match record.kind {
                    Kind::Acks => write!(out, "={}", Finish::name(mark.value))?,
                    _ => write!(out, "={}", mark.value)?,
                }
            }
            writeln!(out)
        }
        Kind::Dead => {
            write!(out, "dead")?;
            for (mark, death) in record::read_dead(record.payload).into_iter().flatten() {
                write!(out, " {}/{}={}", mark.id, mark.webhook, death.attempts)?;
            }
            writeln!(out)
        }
        Kind::End => writeln!(out, "end"),
        Kind::Closed => writeln!(out, "closed"),
    }
}

/// Makes the log such that an engine starts with it: segments that it would refuse are written
/// anew with every whole record, and their old bytes are kept beside them; missing ones are given
/// up. What was lost is lost: read the report.
///
/// # Errors
/// The disk's; [`LogError::Foreign`] for what no repair can decide.
pub fn repair(disk: &dyn Disk) -> Result<RepairReport, LogError> {
    let mut report = RepairReport::default();
    let mut before = None;
    loop {
        let error = match Recovery::new(disk, &mut |_| {}).run() {
            Ok(_) => return Ok(report),
            Err(error) => error,
        };
        if before.as_ref() == Some(&error) {
            return Err(error);
        }
        match &error {
            LogError::Missing { file } => {
                replace(disk, id_of_path(file).ok_or(error.clone())?, &mut report)?;
                report.missing.push(file.clone());
            }
            LogError::Damaged { file, .. } => {
                let id = id_of_path(file).ok_or(error.clone())?;
                let kept = keep_old(disk, id)?;
                rewrite(disk, id, &mut report)?;
                report.rewritten.push((file.clone(), kept));
            }
            _ => return Err(error),
        }
        before = Some(error);
    }
}

fn id_of_path(file: &std::path::Path) -> Option<u64> {
    segment::id_of(file.file_name()?.to_str()?)
}

/// Copies the damaged file, so that nothing is destroyed.
fn keep_old(disk: &dyn Disk, id: u64) -> Result<PathBuf, LogError> {
    let name = segment::file_name(id);
    let names = disk.list().map_err(io_error(disk, "listing", ""))?;
    // Never over an earlier copy.
    let copy = (1..)
        .map(|number| format!("{name}.damaged-{number}"))
        .find(|copy| !names.contains(copy))
        .unwrap_or_default();
    let failed = io_error(disk, "copying", &copy);
    let from = disk.open(&name).map_err(failed)?;
    let to = disk.create(&copy).map_err(failed)?;
    let (mut buffer, mut at) = (vec![0; LOG_READ_BYTES], 0);
    loop {
        let count = from.read_at(&mut buffer, at).map_err(failed)?;
        if count == 0 {
            break;
        }
        to.write_at(&buffer[..count], at).map_err(failed)?;
        at += count as u64;
    }
    to.sync().map_err(failed)?;
    disk.sync_directory().map_err(failed)?;
    Ok(disk.path(&copy))
}

/// An empty segment in the place of a missing one.
fn replace(disk: &dyn Disk, id: u64, report: &mut RepairReport) -> Result<(), LogError> {
    let header = guess_header(disk, id, None, report)?;
    put_segment(disk, header, &mut |_| Ok(()))
}

/// Writes a segment anew with its whole records.
fn rewrite(disk: &dyn Disk, id: u64, report: &mut RepairReport) -> Result<(), LogError> {
    let name = segment::file_name(id);
    let failed = io_error(disk, "reading", &name);
    let file = disk.open(&name).map_err(failed)?;
    let header = match read_header(&*file).map_err(failed)? {
        Ok(header) if header.id == id => header,
        _ => guess_header(disk, id, Some(&*file), report)?,
    };
    let end = file.length().map_err(failed)?;
    let end = match header_of(disk, id + 1)? {
        Some(next) if header.flags & FLAG_ENDED == 0 => next.previous_end.min(end),
        _ => end,
    };
    let old_epoch = match read_header(&*file).map_err(failed)? {
        Ok(header) => header.epoch,
        Err(_) => header.epoch,
    };
    let mut scanner = Scanner::new(file, old_epoch, SEGMENT_HEADER_BYTES as u64, end);
    let mut next_lsn = header.first_lsn;
    put_segment(disk, header, &mut |put| {
        loop {
            match scanner.next().map_err(failed)? {
                Found::End => return Ok(()),
                Found::Bad { offset, what } => {
                    report.damages.push(Damage { file: disk.path(&name), offset, what });
                    scanner.skip_bad().map_err(failed)?;
                }
                Found::Record { record, bytes, .. } => {
                    let sense = match record.kind {
                        Kind::Event => record::read_event(record.payload)
                            .is_some_and(|event| event.id.boot == header.boot),
                        Kind::Acks | Kind::Attempts => record::read_marks(record.payload).is_some(),
                        Kind::Dead => record::read_dead(record.payload).is_some(),
                        Kind::End | Kind::Closed => false,
                    };
                    if sense && record.lsn >= next_lsn {
                        next_lsn = record.lsn + 1;
                        report.records_kept += 1;
                        put.record(bytes, record.lsn)?;
                    }
                }
            }
        }
    })
}

/// What the header of a segment must have been, from its neighbours and its first record.
fn guess_header(
    disk: &dyn Disk,
    id: u64,
    file: Option<&dyn DiskFile>,
    report: &mut RepairReport,
) -> Result<SegmentHeader, LogError> {
    let name = segment::file_name(id);
    let failed = io_error(disk, "reading", &name);
    let before = match id.checked_sub(1) {
        Some(before) => header_of(disk, before)?,
        None => None,
    };
    let mut neighbour = before;
    for other in segment_ids(disk)? {
        if neighbour.is_none() {
            // The lowest that can be read is the nearest: the ones before are damaged themselves.
            neighbour = header_of(disk, other)?.filter(|header| header.id == other);
        }
    }
    let mut header = SegmentHeader {
        flags: FLAG_GAPS,
        id,
        engine: neighbour.map_or(id, |neighbour| neighbour.engine),
        boot: neighbour.map_or(0, |neighbour| neighbour.boot),
        first_lsn: 0,
        previous_end: 0,
        epoch: 0,
        // With one worker any order of numbers is allowed.
        workers: 1,
    };
    if let Some(before) = before {
        // Where the segment before ends was written in the lost header only.
        let (mut end, mut next_lsn) = (None, before.first_lsn);
        let path = segment::file_name(before.id);
        let length = disk.open(&path).and_then(|file| file.length()).map_err(failed)?;
        walk(disk, before.id, &mut |step| match step {
            Step::Damage(damage) => end = end.or(Some(damage.offset)),
            Step::Record { record, .. } if end.is_none() => next_lsn = record.lsn + 1,
            _ => {}
        })?;
        header.previous_end = end.unwrap_or(length).max(SEGMENT_HEADER_BYTES as u64);
        header.first_lsn = next_lsn;
        if end.is_some() {
            report.damages.push(Damage {
                file: disk.path(&path),
                offset: header.previous_end,
                what: "taken for its end, which is not known",
            });
        }
    }
    let Some(file) = file else { return Ok(header) };
    header.epoch = epoch_of_first_record(file).map_err(failed)?;
    let (mut boot, mut first_lsn) = (None, None);
    walk(disk, id, &mut |step| {
        if let Step::Record { record, .. } = step {
            first_lsn = first_lsn.or(Some(record.lsn));
            if record.kind == Kind::Event && boot.is_none() {
                boot = record::read_event(record.payload).map(|event| event.id.boot);
            }
        }
    })?;
    header.boot = boot.unwrap_or(header.boot);
    if before.is_none() {
        header.first_lsn = first_lsn.unwrap_or(0);
    }
    Ok(header)
}

/// Appends records to a segment that is being made.
struct Put<'a> {
    disk: &'a dyn Disk,
    name: &'a str,
    file: Box<dyn DiskFile>,
    epoch: u32,
    end: u64,
    last_lsn: u64,
}

impl Put<'_> {
    fn record(&mut self, bytes: &[u8], lsn: u64) -> Result<(), LogError> {
        let mut copy = bytes.to_vec();
        record::seal(&mut copy, lsn, lsn, self.epoch);
        let failed = io_error(self.disk, "writing", self.name);
        self.file.write_at(&copy, self.end).map_err(failed)?;
        self.end += copy.len() as u64;
        self.last_lsn = lsn;
        Ok(())
    }
}

/// Makes a segment with the records that `fill` puts into it, in the place of the one there is.
fn put_segment(
    disk: &dyn Disk,
    mut header: SegmentHeader,
    fill: &mut dyn FnMut(&mut Put<'_>) -> Result<(), LogError>,
) -> Result<(), LogError> {
    let (new, name) = (segment::new_file_name(header.id), segment::file_name(header.id));
    let failed = io_error(disk, "making", &name);
    header.flags |= FLAG_GAPS | FLAG_ENDED;
    header.epoch = header.epoch.wrapping_add(1);
    let file = disk.create(&new).map_err(failed)?;
    file.write_at(&header.encode(), 0).map_err(failed)?;
    let (epoch, last_lsn) = (header.epoch, header.first_lsn);
    let end = SEGMENT_HEADER_BYTES as u64;
    let mut put = Put { disk, name: &name, file, epoch, end, last_lsn };
    fill(&mut put)?;
    let mut last = Vec::new();
    record::put(&mut last, Kind::End, &[]);
    put.record(&last, put.last_lsn)?;
    put.file.sync().map_err(failed)?;
    disk.rename(&new, &name).map_err(failed)?;
    disk.sync_directory().map_err(failed)
}
