//! Identifiers.

use std::fmt;

/// The id of one event: `evt_`, 16 hex digits naming the boot of the engine, and at least 10 hex
/// digits counting within it.
///
/// The boot part is drawn at random once per start (see [`crate::base::random::boot_id`]), so an
/// id is never used again after a crash, with or without a disk (DEL-3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EventId {
    /// Names the start of the engine that accepted the event.
    pub boot: u64,
    /// Counts within the boot; unique across its workers.
    pub sequence: u64,
}

impl EventId {
    /// Appends the textual form.
    pub fn write_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"evt_");
        write_hex(out, self.boot, 16);
        write_hex(out, self.sequence, 10);
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "evt_{:016x}{:010x}", self.boot, self.sequence)
    }
}

/// Appends `value` in lower-case hex, at least `digits_min` digits.
fn write_hex(out: &mut Vec<u8>, value: u64, digits_min: u32) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = (64 - value.leading_zeros()).div_ceil(4).max(digits_min);
    out.extend((0..digits).rev().map(|digit| DIGITS[(value >> (digit * 4) & 15) as usize]));
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
            let id = EventId { boot: 0x0123_4567_89ab_cdef, sequence };
            let mut out = Vec::new();
            id.write_to(&mut out);
            assert_eq!(String::from_utf8(out).unwrap(), id.to_string());
        }
    }
}
