//! Events come in: matched, written once, and put on the lanes of the webhooks that want them.

use super::Shard;
use super::connections::Job;
use super::lanes::{EventRecord, LaneKey, Written};
use super::settle::TestJob;
use crate::base::id::EventId;
use crate::base::limits;
use crate::base::time::{Now, Tick};
use crate::core::event::WebhookEvent;
use crate::core::format::Format;
use crate::core::ledger::Counters;
use crate::core::on_full::OnFull;
use crate::core::packed::{PackedEvent, PackedValue, Stamp, unpack};
use crate::core::snapshot::Definition;
use std::sync::Arc;

/// Bodies of finished events that are kept for the next ones.
const SPARE_BODIES_MAX: usize = 1024;
/// The name of the event that a test delivery carries.
const TEST_EVENT_NAME: &str = "TEST";
const TEST_KEY: &[u8] = b"webhook:test";

/// What was written of an event so far, while its webhooks are served.
#[derive(Default)]
struct Records {
    id: Option<EventId>,
    /// By form: shared by all webhooks that want it.
    shared: [Option<u32>; Format::COUNT],
}

/// Where a delivery comes from that joins a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum CameFrom {
    /// Somebody triggered its event.
    Trigger,
    /// It is a dead letter that is replayed.
    Replay,
    /// The journal, where it was for want of room: it is counted as triggered and pending already.
    Journal,
    /// The journal, where an earlier start of the engine has left it.
    EarlierStart,
}

impl CameFrom {
    #[inline]
    fn count_added(self, counters: &Counters) {
        match self {
            CameFrom::Trigger | CameFrom::EarlierStart => counters.triggered.add(1),
            CameFrom::Replay => counters.replayed.add(1),
            CameFrom::Journal => return counters.spilled.subtract(1),
        }
        counters.pending.add(1);
    }

    fn count_coalesced(self, counters: &Counters) {
        self.count_added(counters);
        counters.pending.subtract(1);
        counters.coalesced.add(1);
    }
}

/// A hash of a number, the same for no two of them (the finalizer of splitmix64).
pub(super) fn spread(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

impl Shard {
    /// An accepted event, packed.
    ///
    /// # Panics
    /// When the bytes are not a packed event: a bug of the caller.
    pub fn handle_event(&mut self, now: Now, packed: &[u8]) {
        let event = unpack(packed).expect("events reach a shard packed");
        self.totals().events_taken_in.add(1);
        let mut matched = std::mem::take(&mut self.matched);
        matched.clear();
        self.snapshot.matcher.find(event.event, event.key, &mut matched);
        let mut records = Records::default();
        for &slot in &matched {
            if self.accepts(now, slot, &event.stamp) {
                let record = self.record_for(now, slot, &event, &mut records);
                if self.journal.is_some() {
                    self.add_kept_delivery(now.tick, slot, event.stamp.key_hash, record);
                } else {
                    self.add_delivery(now.tick, slot, event.stamp.key_hash, record, 0);
                }
            }
        }
        if self.journal.is_some() {
            self.write_down(&event, records.id);
        }
        // Pumped after the whole fan-out: a finished event must not go before it is complete.
        for &slot in &matched {
            if let Some(webhook) = &self.webhooks[slot as usize] {
                let endpoint = webhook.endpoint;
                self.pump(now.tick, endpoint);
            }
        }
        self.matched = matched;
    }

    /// Whether the event is for the webhook, and the webhook has room for it.
    fn accepts(&mut self, now: Now, slot: u32, stamp: &Stamp) -> bool {
        let Some(webhook) = self.webhooks.get(slot as usize).and_then(Option::as_ref) else {
            return false;
        };
        let ledger = &webhook.definition.ledger;
        if webhook.definition.since_generation > stamp.generation
            || !webhook.definition.takes_events()
        {
            return false;
        }
        // A full queue turns away only events that were accepted knowing that (`may_drop`);
        // what was accepted while there was room is taken, up to a ring of it. One that takes the
        // place of another needs no room.
        let room = !(stamp.may_drop && ledger.is_full())
            || webhook.definition.coalesce
                && self.replaceable(LaneKey::new(slot, stamp.key_hash)).is_some();
        if !room {
            let worker = self.config.worker;
            for counters in [ledger.counters(worker), &self.totals().deliveries] {
                counters.triggered.add(1);
                counters.dropped.add(1);
            }
            let numbered = webhook.definition.sequence;
            self.notice_dropped(now.tick, slot);
            if numbered {
                // The receiver sees from the gap that there was one.
                self.next_number(slot, stamp.key_hash);
            }
        }
        room
    }

    /// The record of the event in the form that a webhook wants, which is written if need be.
    fn record_for(
        &mut self,
        now: Now,
        slot: u32,
        event: &PackedEvent<'_>,
        records: &mut Records,
    ) -> u32 {
        let (format, sequence) = match &self.webhooks[slot as usize] {
            Some(webhook) => (webhook.definition.format, webhook.definition.sequence),
            None => (Format::Ferrite, false),
        };
        if !sequence && let Some(record) = records.shared[format as usize] {
            return record;
        }
        let id = match records.id {
            Some(id) => id,
            None => *records.id.insert(self.next_id()),
        };
        let name = event.event.name();
        let (times, body, lines) = (&mut self.times, &mut self.body, &mut self.lines);
        body.clear();
        lines.clear();
        format.write_event(times, body, lines, id, name, event);
        if sequence {
            self.write_number(slot, event.stamp.key_hash);
        }
        let record = self.add_record(now, id, format, event);
        // With numbers it is a record of this webhook's own.
        if !sequence {
            records.shared[format as usize] = Some(record);
        }
        record
    }

    /// Keeps what was written of the event.
    fn add_record(
        &mut self,
        now: Now,
        id: EventId,
        format: Format,
        event: &PackedEvent<'_>,
    ) -> u32 {
        let key = &event.key[..event.key.len().min(limits::DELIVERY_LOG_KEY_BYTES_MAX)];
        let buffer = self.spare_bodies.pop().unwrap_or_default();
        let waited_us = now.unix_us.saturating_sub(event.stamp.timestamp_us);
        let since = Tick(now.tick.0.saturating_sub(waited_us));
        let written = Written { format, body: &self.body, lines: &self.lines };
        let record = EventRecord::new(id.sequence, event.event, since, buffer, written, key);
        if self.body.capacity() > limits::EVENT_BUFFER_KEPT_BYTES_MAX {
            self.body = Vec::new();
        }
        self.events.insert(record) as u32
    }

    /// As [`Shard::add_delivery`], of an event that is written down.
    fn add_kept_delivery(&mut self, now: Tick, slot: u32, key_hash: u64, event: u32) {
        let target = self.add_target(slot, event);
        if self.must_spill(slot) {
            let id = self.events[event as usize].id(self.config.boot);
            self.spill(now, slot, id);
        } else {
            self.add_delivery(now, slot, key_hash, event, target);
        }
    }

    fn add_delivery(&mut self, now: Tick, slot: u32, key_hash: u64, event: u32, target: u16) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let key = match webhook.definition.ordered {
            true => LaneKey::new(slot, key_hash),
            // A lane of its own: nothing waits for it, and it for nothing.
            false => LaneKey::new(slot, spread(self.events[event as usize].sequence)),
        };
        self.join_lane(now, key, (event, target, 0), CameFrom::Trigger);
    }

    /// Puts an event into a lane: at its end, or in the place of one that it makes needless. Counts
    /// it as what it `came_from`, and keeps the bound of the webhook's queue. Beside the event
    /// stand the webhook's place among its targets, and how many attempts were made.
    #[inline]
    pub(super) fn join_lane(
        &mut self,
        now: Tick,
        key: LaneKey,
        (event, target, attempts): (u32, u16, u16),
        came_from: CameFrom,
    ) {
        let slot = key.slot;
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let (coalesces, on_full) = (webhook.definition.coalesce, webhook.definition.on_full);
        if coalesces && let Some(delivery) = self.replaceable(key) {
            self.replace_event(delivery, event, target);
            if on_full == OnFull::DropOldest {
                self.note_youngest(slot, delivery);
            }
            self.count_coalesced(slot, came_from);
            return;
        }
        let delivery = self.append_delivery(now, key, event, target, attempts);
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            came_from.count_added(counters);
        }
        match on_full {
            OnFull::DropOldest => self.make_room(now, slot, delivery),
            OnFull::Reject | OnFull::Wait => self.update_full(slot),
        }
    }

    /// Counts an event because of which one gave way: another one of its key, or itself.
    pub(super) fn count_coalesced(&self, slot: u32, came_from: CameFrom) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            came_from.count_coalesced(counters);
        }
    }

    pub(super) fn next_id(&mut self) -> EventId {
        // The workers count in step: their numbers never meet.
        let sequence = self.sequence * self.config.workers as u64 + self.config.worker as u64;
        self.sequence += 1;
        EventId { boot: self.config.boot, sequence }
    }

    /// Takes back the buffer of a finished event.
    pub(super) fn spare_body(&mut self, mut body: Vec<u8>) {
        if self.spare_bodies.len() < SPARE_BODIES_MAX
            && body.capacity() <= limits::EVENT_BUFFER_KEPT_BYTES_MAX
        {
            body.clear();
            self.spare_bodies.push(body);
        }
    }

    /// Sends a test delivery over a connection of its own, whatever the webhook's state. The
    /// outcome comes out of [`Shard::poll_test`] with `token`.
    pub fn handle_test(&mut self, now: Now, definition: Arc<Definition>, token: u64) {
        let id = self.next_id();
        let event = PackedEvent {
            event: WebhookEvent::Set,
            key: TEST_KEY,
            database: 0,
            value: PackedValue::Bytes(b"test"),
            old_value: None,
            ttl: None,
            new_key: None,
            client_id: None,
            source_ip: None,
            trace: None,
            stamp: Stamp {
                key_hash: 0,
                generation: 0,
                may_drop: false,
                timestamp_us: now.unix_us,
                waiter: 0,
            },
        };
        let (format, mut body, mut lines) = (definition.format, Vec::new(), Vec::new());
        let times = &mut self.times;
        format.write_event(times, &mut body, &mut lines, id, TEST_EVENT_NAME, &event);
        let written = Written { format, body: &body, lines: &lines };
        let record =
            EventRecord::new(id.sequence, event.event, now.tick, Vec::new(), written, TEST_KEY);
        let endpoint = self.endpoint_for(&definition);
        let connection = self.open_connection_now(endpoint);
        let timeout_ms = definition.timeout_ms;
        let opened = self.connection_id(connection);
        let test = TestJob { definition, endpoint, id, record, token, connection: opened };
        let job = Job::Test(Box::new(test));
        self.begin_exchange(now.tick, connection, timeout_ms, job);
    }
}
