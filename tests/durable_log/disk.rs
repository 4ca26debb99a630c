//! A disk in memory that records what is done to it, shows what a stop would leave, and fails when
//! it is told to.

use ferrite::base::random::Random;
use ferrite::log::{Disk, DiskFile};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

/// What a device writes in one piece.
const SECTOR_BYTES: usize = 512;

/// The files of a directory.
pub type Files = BTreeMap<String, Vec<u8>>;

/// One thing that was done.
#[derive(Clone, Debug)]
pub enum Op {
    Create {
        name: String,
        inode: usize,
    },
    Write {
        inode: usize,
        offset: u64,
        bytes: Vec<u8>,
    },
    Sync {
        inode: usize,
    },
    /// The system has forgotten what there was to write: a later sync does not make up for it.
    SyncFailed {
        inode: usize,
    },
    Truncate {
        inode: usize,
        length: u64,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncDirectory,
}

/// When and how the disk fails.
#[derive(Clone, Copy, Debug)]
pub struct Failing {
    /// Changes that still succeed.
    pub after: usize,
    /// Changes that fail then.
    pub count: usize,
    /// The error of the system.
    pub code: i32,
}

/// What the disk only pretends to do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Lies {
    pub sync: bool,
    pub sync_directory: bool,
}

#[derive(Debug, Default)]
struct State {
    trace: Vec<Op>,
    names: BTreeMap<String, usize>,
    inodes: Vec<Vec<u8>>,
    /// What there was before the trace, durable.
    base: Files,
    failing: Option<Failing>,
    lies: Lies,
    /// Bytes that may be stored; writes beyond are cut short.
    room: Option<usize>,
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct RecordingDisk(Arc<Mutex<State>>);

impl RecordingDisk {
    /// With durable files.
    pub fn with(files: &Files) -> RecordingDisk {
        let disk = RecordingDisk::default();
        {
            let mut state = disk.lock();
            state.base = files.clone();
            for (name, bytes) in files {
                let inode = state.inodes.len();
                state.inodes.push(bytes.clone());
                state.names.insert(name.clone(), inode);
            }
        }
        disk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// How much was done.
    pub fn len(&self) -> usize {
        self.lock().trace.len()
    }

    pub fn fail(&self, failing: Option<Failing>) {
        self.lock().failing = failing;
    }

    pub fn lie(&self, lies: Lies) {
        self.lock().lies = lies;
    }

    pub fn limit_room(&self, bytes: Option<usize>) {
        self.lock().room = bytes;
    }

    /// The files as a process sees them.
    pub fn files(&self) -> Files {
        let state = self.lock();
        state
            .names
            .iter()
            .map(|(name, &inode)| (name.clone(), state.inodes[inode].clone()))
            .collect()
    }

    /// What was done to the disk, and to what.
    pub fn history(&self) -> History {
        let state = self.lock();
        History { base: state.base.clone(), trace: state.trace.clone() }
    }
}

impl State {
    fn may_fail(&mut self) -> io::Result<()> {
        let Some(failing) = &mut self.failing else { return Ok(()) };
        if failing.after > 0 {
            failing.after -= 1;
            return Ok(());
        }
        if failing.count == 0 {
            return Ok(());
        }
        failing.count -= 1;
        Err(io::Error::from_raw_os_error(failing.code))
    }

    fn inode(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

struct RecordingFile(RecordingDisk, usize);

impl Disk for RecordingDisk {
    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        state.may_fail()?;
        let inode = state.inodes.len();
        state.inodes.push(Vec::new());
        state.names.insert(name.to_owned(), inode);
        state.trace.push(Op::Create { name: name.to_owned(), inode });
        Ok(Box::new(RecordingFile(self.clone(), inode)))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inode = self.lock().inode(name)?;
        Ok(Box::new(RecordingFile(self.clone(), inode)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.may_fail()?;
        let inode = state.inode(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        state.trace.push(Op::Rename { from: from.to_owned(), to: to.to_owned() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.may_fail()?;
        state.inode(name)?;
        state.names.remove(name);
        state.trace.push(Op::Remove { name: name.to_owned() });
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.may_fail()?;
        if !state.lies.sync_directory {
            state.trace.push(Op::SyncDirectory);
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("/log").join(name)
    }
}

fn write(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let end = offset as usize + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset as usize..end].copy_from_slice(bytes);
}

impl DiskFile for RecordingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.0.lock();
        let rest = state.inodes[self.1].get(offset as usize..).unwrap_or(&[]);
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        let mut written = bytes;
        let mut result = state.may_fail();
        if result.is_err() {
            // As far as it came.
            written = &bytes[..bytes.len() / 2];
        }
        if let Some(room) = state.room {
            let named: usize = state.names.values().map(|&inode| state.inodes[inode].len()).sum();
            let left = room.saturating_sub(named);
            if written.len() > left {
                written = &written[..left];
                result = Err(io::Error::from_raw_os_error(28));
            }
        }
        write(&mut state.inodes[self.1], offset, written);
        state.trace.push(Op::Write { inode: self.1, offset, bytes: written.to_vec() });
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.0.lock();
        if let Err(error) = state.may_fail() {
            state.trace.push(Op::SyncFailed { inode: self.1 });
            return Err(error);
        }
        if !state.lies.sync {
            state.trace.push(Op::Sync { inode: self.1 });
        }
        Ok(())
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.0.lock();
        state.may_fail()?;
        state.inodes[self.1].resize(length as usize, 0);
        state.trace.push(Op::Truncate { inode: self.1, length });
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().inodes[self.1].len() as u64)
    }
}

/// What was done to a disk.
#[derive(Clone, Debug)]
pub struct History {
    base: Files,
    trace: Vec<Op>,
}

/// Decides what of the unsynced is on stable storage: asked once for each sector that was written,
/// each truncation, and each change of a name.
pub type Choose<'a> = &'a mut dyn FnMut() -> bool;

impl History {
    pub fn ops(&self) -> &[Op] {
        &self.trace
    }

    /// The files after the process was killed before operation `at`, and in the middle of it, if
    /// it was a write, after `sectors` of it.
    pub fn killed(&self, at: usize, sectors: usize) -> Files {
        let mut trace = self.trace[..at].to_vec();
        if let Some(Op::Write { inode, offset, bytes }) = self.trace.get(at) {
            let bytes = bytes[..(sectors * SECTOR_BYTES).min(bytes.len())].to_vec();
            trace.push(Op::Write { inode: *inode, offset: *offset, bytes });
        }
        self.build(&trace, &mut || true)
    }

    /// Sectors of the write at `at`; 0 if it is none.
    pub fn sectors(&self, at: usize) -> usize {
        match self.trace.get(at) {
            Some(Op::Write { bytes, .. }) => bytes.len().div_ceil(SECTOR_BYTES),
            _ => 0,
        }
    }

    /// The files after the power was lost before operation `at`.
    pub fn powerless(&self, at: usize, choose: Choose<'_>) -> Files {
        self.build(&self.trace[..at], choose)
    }

    /// How many choices there are at `at`.
    pub fn choices(&self, at: usize) -> usize {
        let mut count = 0;
        self.powerless(at, &mut || {
            count += 1;
            true
        });
        count
    }

    fn build(&self, trace: &[Op], choose: Choose<'_>) -> Files {
        let mut inodes: Vec<Vec<u8>> = self.base.values().cloned().collect();
        let mut names: BTreeMap<String, usize> =
            self.base.keys().cloned().zip(0..inodes.len()).collect();
        let directory_synced =
            trace.iter().rposition(|op| matches!(op, Op::SyncDirectory)).unwrap_or(0);
        // Writes are durable if the next sync of their file succeeded.
        let (mut durable, mut next_sync) = (vec![false; trace.len()], BTreeMap::new());
        for (index, op) in trace.iter().enumerate().rev() {
            match op {
                Op::Sync { inode } => next_sync.insert(*inode, true),
                Op::SyncFailed { inode } => next_sync.insert(*inode, false),
                Op::Write { inode, .. } | Op::Truncate { inode, .. } => {
                    durable[index] = next_sync.get(inode).copied().unwrap_or(false);
                    continue;
                }
                _ => continue,
            };
        }
        let mut made: BTreeMap<String, usize> = names.clone();
        for (index, op) in trace.iter().enumerate() {
            match op {
                Op::Create { name, inode } => {
                    if inodes.len() <= *inode {
                        inodes.resize(*inode + 1, Vec::new());
                    }
                    made.insert(name.clone(), *inode);
                    if index < directory_synced || choose() {
                        names.insert(name.clone(), *inode);
                    }
                }
                Op::Rename { from, to } => {
                    let inode = made.remove(from).unwrap();
                    made.insert(to.clone(), inode);
                    if index < directory_synced || choose() {
                        names.remove(from);
                        names.insert(to.clone(), inode);
                    }
                }
                Op::Remove { name } => {
                    made.remove(name);
                    if index < directory_synced || choose() {
                        names.remove(name);
                    }
                }
                Op::Write { inode, offset, bytes } => {
                    if durable[index] {
                        write(&mut inodes[*inode], *offset, bytes);
                        continue;
                    }
                    // Sectors of the device, not of the write.
                    let mut at = 0;
                    while at < bytes.len() {
                        let to_boundary = SECTOR_BYTES - (*offset as usize + at) % SECTOR_BYTES;
                        let end = (at + to_boundary).min(bytes.len());
                        if choose() {
                            write(&mut inodes[*inode], offset + at as u64, &bytes[at..end]);
                        }
                        at = end;
                    }
                }
                Op::Truncate { inode, length } => {
                    if durable[index] || choose() {
                        inodes[*inode].resize(*length as usize, 0);
                    }
                }
                Op::Sync { .. } | Op::SyncFailed { .. } | Op::SyncDirectory => {}
            }
        }
        names.into_iter().map(|(name, inode)| (name, inodes[inode].clone())).collect()
    }
}

/// Chooses by the bits of `mask`, the first choice by the lowest one.
pub fn by_mask(mut mask: u64) -> impl FnMut() -> bool {
    move || {
        let chosen = mask & 1 != 0;
        mask >>= 1;
        chosen
    }
}

/// Chooses at random: about `of_four` of four are kept.
pub fn by_chance(random: &mut Random, of_four: u64) -> impl FnMut() -> bool + '_ {
    move || random.below(4) < of_four
}
