//! The beginning of a segment, and the names of files. Pure.

use crate::base::limits::WORKERS_MAX;

/// Bytes of a segment's header.
pub const SEGMENT_HEADER_BYTES: usize = 80;
const MAGIC: &[u8; 8] = b"FERRLOG\n";
/// The only version of the format so far.
pub const VERSION: u32 = 1;
/// Numbers of records may be missing.
pub const FLAG_GAPS: u32 = 1;
/// The segment ends with a record that says so; what the next segment says about its end is void.
pub const FLAG_ENDED: u32 = 2;

/// What a segment says about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentHeader {
    /// `FLAG_*`.
    pub flags: u32,
    /// Its number: segments are numbered without gaps, except below the oldest.
    pub id: u64,
    /// The log it belongs to, drawn when the log was made.
    pub engine: u64,
    /// The start of the engine that wrote it.
    pub boot: u64,
    /// Its first record has this number, or, with [`FLAG_GAPS`], a higher one.
    pub first_lsn: u64,
    /// Where the segment before ends: what stands behind was never valid.
    pub previous_end: u64,
    /// Tells its records from those of other segments.
    pub epoch: u32,
    /// Workers of the engine: the rest of an event's sequence by this names its worker.
    pub workers: u32,
}

impl SegmentHeader {
    /// The bytes of the file.
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = [0; SEGMENT_HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..12].copy_from_slice(&VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.flags.to_le_bytes());
        let words = [self.id, self.engine, self.boot, self.first_lsn, self.previous_end];
        for (place, word) in out[16..56].chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out[56..60].copy_from_slice(&self.epoch.to_le_bytes());
        out[60..64].copy_from_slice(&self.workers.to_le_bytes());
        let crc = crc32fast::hash(&out[..76]);
        out[76..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header in `bytes`, or what is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, &'static str> {
        let bytes: &[u8; SEGMENT_HEADER_BYTES] =
            bytes.try_into().map_err(|_| "shorter than a segment's header")?;
        let half = |at: usize| {
            bytes[at..at + 4].iter().rev().fold(0, |value, &byte| value << 8 | u32::from(byte))
        };
        let word = |at: usize| u64::from(half(at + 4)) << 32 | u64::from(half(at));
        if &bytes[..8] != MAGIC {
            return Err("not a segment of the log");
        }
        if half(76) != crc32fast::hash(&bytes[..76]) {
            return Err("wrong checksum of the segment's header");
        }
        if half(8) != VERSION {
            return Err("a version of the format that this program does not know");
        }
        if half(60) == 0 || half(60) as usize > WORKERS_MAX {
            return Err("an impossible number of workers");
        }
        Ok(SegmentHeader {
            flags: half(12),
            id: word(16),
            engine: word(24),
            boot: word(32),
            first_lsn: word(40),
            previous_end: word(48),
            epoch: half(56),
            workers: half(60),
        })
    }
}

/// The file of a segment.
pub fn file_name(id: u64) -> String {
    format!("{id:016}.segment")
}

/// The file that a segment is made in, before it gets its name.
pub fn new_file_name(id: u64) -> String {
    format!("{id:016}.new")
}

/// The number of the segment in the file called `name`, if it is one.
pub fn id_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".segment")?;
    (digits.len() >= 16 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// Whether the file called `name` is a segment that was never finished.
pub fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".new")
        .is_some_and(|digits| digits.len() >= 16 && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_every_flipped_bit_is_noticed() {
        let header = SegmentHeader {
            flags: FLAG_GAPS,
            id: 1,
            engine: 2,
            boot: 3,
            first_lsn: 4,
            previous_end: 5,
            epoch: 6,
            workers: 7,
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bytes).is_err(), "bit {bit}");
        }
        assert!(SegmentHeader::decode(&bytes[1..]).is_err());
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for id in [0, 1, u64::MAX] {
            assert_eq!(id_of(&file_name(id)), Some(id));
            assert!(is_unfinished(&new_file_name(id)));
        }
        for name in ["lock", "1.segment", "000000000000000x.segment", "0000000000000001.new"] {
            assert_eq!(id_of(name), None, "{name}");
        }
    }
}
