//! Reads the records of one segment, one after the other, with a buffer of bounded size.

use super::disk::DiskFile;
use super::record::{self, ALIGNMENT, HEADER_BYTES, Record};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::base::limits::LOG_READ_BYTES;
use std::io;

/// What a scanner finds next.
#[derive(Debug)]
pub enum Found<'a> {
    /// A whole record.
    Record {
        /// Where it begins.
        offset: u64,
        /// What it says.
        record: Record<'a>,
        /// Its bytes, header and all.
        bytes: &'a [u8],
    },
    /// The end it was told.
    End,
    /// Bytes that are no record of this segment.
    Bad {
        /// Where they begin.
        offset: u64,
        /// Why they are none.
        what: &'static str,
    },
}

/// Reads the header of the segment in `file`: what it says, or what is wrong with it.
///
/// # Errors
/// What the operating system said.
pub fn read_header(file: &dyn DiskFile) -> io::Result<Result<SegmentHeader, &'static str>> {
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(SegmentHeader::decode(&bytes[..filled]))
}

/// Reads records from `at` to `end`.
pub struct Scanner {
    file: Box<dyn DiskFile>,
    epoch: u32,
    at: u64,
    end: u64,
    /// Bytes of the file from `start` on.
    buffer: Vec<u8>,
    start: u64,
}

impl Scanner {
    /// Begins at `at`, which is where a record begins, and goes on to `end`.
    pub fn new(file: Box<dyn DiskFile>, epoch: u32, at: u64, end: u64) -> Scanner {
        Scanner { file, epoch, at, end, buffer: Vec::new(), start: at }
    }

    /// Where the next record begins.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The segment's epoch.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The segment has grown.
    pub fn extend(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    /// Gets `count` bytes from `at` on into the buffer; `false` when the file is too short.
    fn fill(&mut self, at: u64, count: usize) -> io::Result<bool> {
        if at < self.start || at > self.start + self.buffer.len() as u64 {
            self.buffer.clear();
            self.start = at;
        }
        let needed = (at - self.start) as usize + count;
        if needed <= self.buffer.len() {
            return Ok(true);
        }
        self.buffer.drain(..(at - self.start) as usize);
        self.start = at;
        if self.buffer.capacity() > 2 * LOG_READ_BYTES.max(count) {
            self.buffer.shrink_to(LOG_READ_BYTES.max(count));
        }
        while self.buffer.len() < count {
            let filled = self.buffer.len();
            let from = self.start + filled as u64;
            // Nothing behind the end is looked at, so a growing file is no concern.
            let left = usize::try_from(self.end.saturating_sub(from)).unwrap_or(usize::MAX);
            let wanted = LOG_READ_BYTES.max(count - filled).min(left);
            self.buffer.resize(filled + wanted, 0);
            let count = if wanted == 0 {
                0
            } else {
                match self.file.read_at(&mut self.buffer[filled..], from) {
                    Ok(count) => count,
                    Err(error) => {
                        self.buffer.truncate(filled);
                        return Err(error);
                    }
                }
            };
            self.buffer.truncate(filled + count);
            if count == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn buffered(&self, at: u64, count: usize) -> &[u8] {
        let from = (at - self.start) as usize;
        &self.buffer[from..from + count]
    }

    /// The size of the whole record at `at`, which then is in the buffer; or why there is none.
    fn load(&mut self, at: u64) -> io::Result<Result<usize, &'static str>> {
        let left = self.end.saturating_sub(at);
        if left < HEADER_BYTES as u64 || !self.fill(at, HEADER_BYTES)? {
            return Ok(Err("cut short"));
        }
        let Some(size) = record::announced_size(self.buffered(at, HEADER_BYTES)) else {
            return Ok(Err("impossible length"));
        };
        // Before a byte is allocated for it.
        if size as u64 > left {
            return Ok(Err("cut short"));
        }
        if !record::is_of_epoch(self.buffered(at, HEADER_BYTES), self.epoch) {
            return Ok(Err("not a record of this segment"));
        }
        Ok(if self.fill(at, size)? { Ok(size) } else { Err("cut short") })
    }

    /// The next record. After bad bytes it stays where it is.
    ///
    /// # Errors
    /// What the operating system said.
    #[allow(clippy::should_implement_trait, reason = "it lends what it has read")]
    pub fn next(&mut self) -> io::Result<Found<'_>> {
        let offset = self.at;
        if offset >= self.end {
            return Ok(Found::End);
        }
        let size = match self.load(offset)? {
            Ok(size) => size,
            Err(what) => return Ok(Found::Bad { offset, what }),
        };
        match record::check(self.buffered(offset, size), self.epoch) {
            Ok((kind, lsn, synced)) => {
                self.at += size as u64;
                let bytes = self.buffered(offset, size);
                Ok(Found::Record {
                    offset,
                    record: record::opened(bytes, kind, lsn, synced),
                    bytes,
                })
            }
            Err(what) => Ok(Found::Bad { offset, what }),
        }
    }

    /// Goes on to the next place behind the bad bytes where a record begins; `false`: there is
    /// none.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn skip_bad(&mut self) -> io::Result<bool> {
        let mut at = self.at + ALIGNMENT as u64;
        while at < self.end {
            if let Ok(size) = self.load(at)?
                && record::open(self.buffered(at, size), self.epoch).is_ok()
            {
                self.at = at;
                return Ok(true);
            }
            at += ALIGNMENT as u64;
        }
        self.at = self.end;
        Ok(false)
    }
}
