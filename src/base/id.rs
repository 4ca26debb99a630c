//! Identifiers.

use std::fmt;

/// The id of one event: `evt_`, 16 hex digits naming the boot of the engine, and at least 10 hex
/// digits counting within it.
///
/// The boot part is drawn at random once per start (see [`crate::base::random::boot_id`]), so an
/// id is never used again after a crash, with or without a disk (DEL-3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct EventId {
    /// Names the start of the engine that accepted the event.
    pub boot: u64,
    /// Counts within the boot; unique across its workers.
    pub sequence: u64,
}

impl EventId {
    /// Appends the textual form.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let mut text = *b"evt_00000000000000000000000000000000";
        text[4..20].copy_from_slice(&hex_digits(self.boot));
        text[20..].copy_from_slice(&hex_digits(self.sequence));
        out.extend_from_slice(&text[..20]);
        out.extend_from_slice(&text[20 + self.digits_unneeded()..]);
    }

    /// Appends the textual form of the id of a batch: with `batch_` in place of `evt_`. Batches
    /// and events are counted together.
    pub fn write_as_batch(self, out: &mut Vec<u8>) {
        out.extend_from_slice(BATCH_PREFIX);
        out.extend_from_slice(&hex_digits(self.boot));
        out.extend_from_slice(&hex_digits(self.sequence)[self.digits_unneeded()..]);
    }

    /// The textual form of the id of a batch.
    pub fn batch_text(self) -> String {
        format!("batch_{:016x}{:010x}", self.boot, self.sequence)
    }

    /// Reads the textual form; `None` for anything else.
    pub fn from_text(text: &[u8]) -> Option<EventId> {
        let digits = std::str::from_utf8(text.strip_prefix(b"evt_")?).ok()?;
        let (boot, sequence) = digits.split_at_checked(16)?;
        let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let id = EventId { boot: number(boot)?, sequence: number(sequence)? };
        // One id has one text.
        (id.to_string().as_bytes() == text).then_some(id)
    }

    /// The length of the textual form.
    pub fn text_bytes(self) -> usize {
        36 - self.digits_unneeded()
    }

    /// The length of the textual form of the id of a batch.
    pub fn batch_text_bytes(self) -> usize {
        BATCH_PREFIX.len() + 32 - self.digits_unneeded()
    }

    /// Of the sequence's 16 digits, those that are neither always there nor needed.
    fn digits_unneeded(self) -> usize {
        (self.sequence.leading_zeros() / 4).min(16 - SEQUENCE_DIGITS_MIN) as usize
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "evt_{:016x}{:010x}", self.boot, self.sequence)
    }
}

const BATCH_PREFIX: &[u8] = b"batch_";

/// Hex digits of the sequence that are always written.
const SEQUENCE_DIGITS_MIN: u32 = 10;

/// The 16 lower-case hex digits of `value`, eight at a time: each half is spread to one nibble per
/// byte, and a nibble above 9 gets the distance from `9` to `a` added.
fn hex_digits(value: u64) -> [u8; 16] {
    fn eight(half: u32) -> u64 {
        const ONES: u64 = 0x0101_0101_0101_0101;
        let mut spread = u64::from(half.swap_bytes());
        spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
        spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
        let (high, low) = (spread >> 4 & 0x000f_000f_000f_000f, spread & 0x000f_000f_000f_000f);
        let nibbles = high | low << 8;
        let letters = (nibbles + ONES * 6) >> 4 & ONES;
        nibbles + ONES * u64::from(b'0') + letters * u64::from(b'a' - b'9' - 1)
    }
    let mut digits = [0; 16];
    digits[..8].copy_from_slice(&eight((value >> 32) as u32).to_le_bytes());
    digits[8..].copy_from_slice(&eight(value as u32).to_le_bytes());
    digits
}

/// One webhook, for as long as the process lives: a slot in every table, and a generation that
/// tells a webhook from an earlier, deleted one that had the same slot.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct WebhookId {
    /// Index into the tables of webhooks.
    pub slot: u32,
    /// Counts the webhooks that have had this slot.
    pub generation: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_id_is_written_as_displayed() {
        for sequence in [0, 1, 0xff, 0x00ab_cdef_0123, (1 << 40) - 1, 1 << 40, u64::MAX] {
            let id = EventId { boot: 0x0123_4567_89ab_cdef ^ sequence << 20, sequence };
            let mut out = Vec::new();
            id.write_to(&mut out);
            assert_eq!(out.len(), id.text_bytes());
            assert_eq!(EventId::from_text(&out), Some(id));
            assert_eq!(String::from_utf8(out).unwrap(), id.to_string());
            let mut out = Vec::new();
            id.write_as_batch(&mut out);
            assert_eq!(out.len(), id.batch_text_bytes());
            assert_eq!(String::from_utf8(out).unwrap(), id.batch_text());
        }
    }

    #[test]
    fn only_an_id_is_read_as_one() {
        for text in [
            "",
            "evt_",
            "evt_1",
            "evt_00000000000000010000000001 ",
            "EVT_000000000000000100000000aa",
            "evt_000000000000000100000000AA",
            "evt_0000000000000001000000000001",
            "evt_+00000000000001000000000a",
        ] {
            assert_eq!(EventId::from_text(text.as_bytes()), None, "{text}");
        }
    }
}
