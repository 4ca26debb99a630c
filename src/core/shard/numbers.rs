//! `SEQUENCE`: the numbers by which a receiver can prove that nothing is missing.
//!
//! Each worker numbers the events of a webhook that it takes in, from 1 and without gaps:
//! `X-Ferrite-Sequence: <stream>:<n>`. A stream is one webhook on one worker in one start of the
//! engine; deleting a webhook ends its streams. Beside it each key has numbers of its own:
//! `X-Ferrite-Key-Sequence: <stream>.<epoch>:<n>`. The worker remembers the last numbers of a
//! bounded count of keys. When a new key comes and there is no room, it forgets all of them at
//! once and the next epoch begins: every key starts from 1 again.
//!
//! An event has its numbers from when it is taken in, also when it is then dropped because the
//! queue is full: whatever never arrives leaves a gap. An event that passes by, because the
//! webhook is disabled or its pattern does not match, has no number.

use super::Shard;
use crate::base::id::WebhookId;
use crate::base::limits::SEQUENCE_KEYS_MAX;
use std::collections::HashMap;
use std::io::Write;

/// What the events of one webhook on one worker are numbered by.
#[derive(Clone, Debug)]
pub(super) struct Numbers {
    stream: Box<str>,
    last: u64,
    /// By the key's hash.
    keys: HashMap<u64, u64, foldhash::fast::FixedState>,
    keys_max: usize,
    epoch: u64,
}

/// The numbers of one event for one webhook.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Number {
    of_webhook: u64,
    of_key: u64,
}

impl Numbers {
    pub(super) fn new(boot: u64, worker: usize, id: WebhookId) -> Numbers {
        Numbers {
            stream: format!("{boot:016x}-{worker}-{}-{}", id.slot, id.generation).into(),
            last: 0,
            keys: HashMap::default(),
            keys_max: SEQUENCE_KEYS_MAX,
            epoch: 0,
        }
    }

    /// The next event's.
    pub(super) fn next(&mut self, key_hash: u64) -> Number {
        self.last += 1;
        if self.keys.len() >= self.keys_max && !self.keys.contains_key(&key_hash) {
            self.keys.clear();
            self.epoch += 1;
        }
        let of_key = self.keys.entry(key_hash).or_default();
        *of_key += 1;
        Number { of_webhook: self.last, of_key: *of_key }
    }

    /// Appends the header lines, each with CRLF before it.
    pub(super) fn write_lines(&self, number: Number, out: &mut Vec<u8>) {
        let Numbers { stream, epoch, .. } = self;
        let Number { of_webhook, of_key } = number;
        let written = write!(
            out,
            "\r\nX-Ferrite-Sequence: {stream}:{of_webhook}\
             \r\nX-Ferrite-Key-Sequence: {stream}.{epoch}:{of_key}"
        );
        debug_assert!(written.is_ok(), "a Vec takes everything");
    }
}

impl Shard {
    /// Numbers an event of the webhook in `slot`.
    #[cold]
    pub(super) fn next_number(&mut self, slot: u32, key_hash: u64) {
        if let Some(numbers) = self.numbers_of(slot) {
            numbers.next(key_hash);
        }
    }

    /// Numbers an event of the webhook in `slot`, and appends the numbers to its header lines.
    #[cold]
    pub(super) fn write_number(&mut self, slot: u32, key_hash: u64) {
        let mut lines = std::mem::take(&mut self.lines);
        if let Some(numbers) = self.numbers_of(slot) {
            let number = numbers.next(key_hash);
            numbers.write_lines(number, &mut lines);
        }
        self.lines = lines;
    }

    fn numbers_of(&mut self, slot: u32) -> Option<&mut Numbers> {
        let (boot, worker) = (self.config.boot, self.config.worker);
        let webhook = self.webhooks[slot as usize].as_mut()?;
        let id = webhook.definition.id;
        Some(webhook.numbers.get_or_insert_with(|| Box::new(Numbers::new(boot, worker, id))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(numbers: &mut Numbers, key_hash: u64) -> String {
        let number = numbers.next(key_hash);
        let mut out = Vec::new();
        numbers.write_lines(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn each_key_has_its_own_numbers_until_there_are_too_many_keys() {
        let mut numbers = Numbers::new(0xab, 3, WebhookId { slot: 5, generation: 1 });
        numbers.keys_max = 2;
        let mut told = Vec::new();
        for key in [7, 7, 8, 7, 9, 7] {
            told.push(lines(&mut numbers, key));
        }
        let expected = [(1, 0, 1), (2, 0, 2), (3, 0, 1), (4, 0, 3), (5, 1, 1), (6, 1, 1)];
        for (line, (of_webhook, epoch, of_key)) in told.iter().zip(expected) {
            assert_eq!(
                *line,
                format!(
                    "\r\nX-Ferrite-Sequence: 00000000000000ab-3-5-1:{of_webhook}\
                     \r\nX-Ferrite-Key-Sequence: 00000000000000ab-3-5-1.{epoch}:{of_key}"
                )
            );
        }
    }
}
