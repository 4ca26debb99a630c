//! The shard writes down what must outlive the process: each event once, before any of it is sent,
//! and what becomes of its deliveries.
//!
//! An event is sent while it is being written. That is safe because an id is never used again, also
//! after a loss of power that the writing did not survive (DEL-3).

use super::Shard;
use super::lanes::Written;
use super::load::Load;
use crate::base::id::EventId;
use crate::base::limits;
use crate::base::time::{Now, Tick};
use crate::core::dead_letters::KeptPlace;
use crate::core::journal::{Death, Finish, Form, Journal, LogEvent, Mark, Urgency, write_forms};
use crate::core::packed::PackedEvent;

/// What a shard keeps beside its journal.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) journal: Box<dyn Journal>,
    /// What is known of the event that is being taken in.
    targets: Targets,
    /// Whether the journal was full when the webhooks were told last.
    pub(super) was_full: bool,
    /// A timer for [`Shard::flush_journal`] runs.
    flush_is_due: bool,
}

/// The webhooks that an event is for, and what each gets of it.
#[derive(Debug, Default)]
struct Targets {
    webhooks: Vec<u64>,
    spilled: Vec<u64>,
    /// Its records, one for each form.
    records: Vec<u32>,
    /// By webhook.
    form_of: Vec<u16>,
    body: Vec<u8>,
}

impl Targets {
    fn clear(&mut self) {
        self.webhooks.clear();
        self.spilled.clear();
        self.records.clear();
        self.form_of.clear();
        self.body.clear();
        if self.body.capacity() > limits::EVENT_BUFFER_KEPT_BYTES_MAX {
            self.body = Vec::new();
        }
    }
}

impl Keeping {
    fn new(journal: Box<dyn Journal>) -> Keeping {
        Keeping { journal, targets: Targets::default(), was_full: false, flush_is_due: false }
    }
}

impl Shard {
    /// From now on the shard writes down what it does, and takes up what earlier starts of the
    /// engine have left. Before it is given any event.
    pub fn keep_journal(&mut self, journal: Box<dyn Journal>) {
        let left = journal.left();
        self.journal = Some(Box::new(Keeping::new(journal)));
        for number in left {
            self.lag_behind(number);
        }
    }

    /// Whether it does.
    pub fn keeps_journal(&self) -> bool {
        self.journal.is_some()
    }

    /// Takes the journal over from a shard that broke down.
    pub(super) fn take_over_journal(&mut self, old: &mut Shard) {
        let Some(mut keeping) = old.journal.take() else { return };
        keeping.targets.clear();
        keeping.flush_is_due = false;
        self.journal = Some(keeping);
        self.orphans = std::mem::take(&mut old.orphans);
        for (slot, webhook) in self.webhooks.iter_mut().enumerate() {
            if let Some(webhook) = webhook
                && let Some(Some(old)) = old.webhooks.get_mut(slot)
                && old.definition.id == webhook.definition.id
            {
                webhook.lag = old.lag.take();
            }
        }
    }

    /// The webhook's place among those that an event is for. `record` is what it gets of it.
    pub(super) fn add_target(&mut self, slot: u32, record: u32) -> u16 {
        let Some(webhook) = &self.webhooks[slot as usize] else { return 0 };
        let Some(keeping) = &mut self.journal else { return 0 };
        let targets = &mut keeping.targets;
        let form = match targets.records.iter().rposition(|&known| known == record) {
            Some(form) => form,
            None => {
                targets.records.push(record);
                targets.records.len() - 1
            }
        };
        targets.form_of.push(form as u16);
        targets.webhooks.push(webhook.definition.number);
        // With more targets than that the journal refuses the event as a whole.
        u16::try_from(targets.webhooks.len() - 1).unwrap_or(u16::MAX)
    }

    /// The delivery to a webhook is to be in the journal only.
    pub(super) fn add_spilled(&mut self, number: u64) {
        if let Some(keeping) = &mut self.journal {
            keeping.targets.spilled.push(number);
        }
    }

    /// Writes down the event with the targets that were added.
    pub(super) fn write_down(&mut self, event: &PackedEvent<'_>, id: Option<EventId>) {
        let Some(keeping) = &mut self.journal else { return };
        let (journal, targets) = (&mut keeping.journal, &mut keeping.targets);
        let waiter = event.stamp.waiter;
        match id {
            Some(id) => {
                let events = &self.events;
                let forms = targets.records.iter().map(|&record| {
                    let Written { format, body, lines } = events[record as usize].written();
                    Form { format, body, lines }
                });
                write_forms(&mut targets.body, forms, &targets.form_of);
                let event = LogEvent {
                    id,
                    kind: event.event,
                    database: event.database,
                    timestamp_us: event.stamp.timestamp_us,
                    key: event.key,
                    body: &targets.body,
                    targets: &targets.webhooks,
                };
                journal.event(&event, waiter, &targets.spilled);
            }
            None if waiter != 0 => journal.not_wanted(waiter),
            None => {}
        }
        let mut records = std::mem::take(&mut targets.records);
        // What was spilled for all of its webhooks is not in memory.
        records.drain(..).for_each(|record| self.forget_unused(record));
        if let Some(keeping) = &mut self.journal {
            keeping.targets.records = records;
            keeping.targets.clear();
        }
    }

    /// A delivery is finished.
    #[inline]
    pub(super) fn note_finished(&mut self, slot: u32, event: u32, target: u16, finish: Finish) {
        if self.journal.is_some() {
            let number = self.webhooks[slot as usize].as_ref().map(|found| found.definition.number);
            self.ack(number, event, target, finish);
        }
    }

    /// A delivery is cancelled, with its webhook.
    pub(super) fn note_cancelled(&mut self, number: u64, event: u32, target: u16) {
        if self.journal.is_some() {
            self.ack(Some(number), event, target, Finish::Cancelled);
        }
    }

    fn ack(&mut self, number: Option<u64>, event: u32, target: u16, finish: Finish) {
        let id = self.events[event as usize].id(self.config.boot);
        if let (Some(keeping), Some(webhook)) = (&mut self.journal, number) {
            keeping.journal.ack(&Mark { id, webhook, target, value: finish as u16 });
        }
    }

    /// Deliveries that were not kept in lanes are finished: dead letters, for one.
    pub(super) fn ack_places(&mut self, number: u64, places: &[KeptPlace], finish: Finish) {
        let Some(keeping) = &mut self.journal else { return };
        for place in places {
            let (id, target) = (place.id, place.target);
            keeping.journal.ack(&Mark { id, webhook: number, target, value: finish as u16 });
        }
    }

    /// Dead letters of this worker are not kept any more, by command.
    pub fn handle_letters_cleared(&mut self, number: u64, places: &[KeptPlace]) {
        self.ack_places(number, places, Finish::Dead);
    }

    /// An attempt failed, and there will be another. Of batches this is not remembered over a
    /// restart: what was in one may be in another then.
    pub(super) fn note_attempts(&mut self, slot: u32, load: Load, attempts: u32) {
        let Load::Lane(lane) = load else { return };
        if self.journal.is_none() {
            return;
        }
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let delivery = &self.deliveries[self.lanes[lane as usize].head() as usize];
        let mark = Mark {
            id: self.events[delivery.event as usize].id(self.config.boot),
            webhook: webhook.definition.number,
            target: delivery.target,
            value: u16::try_from(attempts).unwrap_or(u16::MAX),
        };
        if let Some(keeping) = &mut self.journal {
            keeping.journal.attempts(&mark);
        }
    }

    /// A delivery has become a dead letter.
    pub(super) fn note_dead(&mut self, number: u64, place: KeptPlace, death: &Death) {
        if let Some(keeping) = &mut self.journal {
            let mark = Mark { id: place.id, webhook: number, target: place.target, value: 0 };
            keeping.journal.dead(&mark, death);
        }
    }

    /// An event that was accepted is given up before it was taken in: whoever waits is told.
    pub fn handle_abandoned(&mut self, waiter: u32) {
        if let Some(keeping) = &mut self.journal
            && waiter != 0
        {
            keeping.journal.abandoned(waiter);
        }
    }

    /// Looks what the journal has to tell, and hands over what was written down if somebody waits
    /// for it. `false`: take in no events now, there is no room for them. To be called before
    /// events are taken in, and after.
    pub fn handle_journal(&mut self, now: Now) -> bool {
        self.look_at_journal(now.tick);
        let Some(keeping) = &mut self.journal else { return true };
        match keeping.journal.urgency() {
            Urgency::Nothing => true,
            Urgency::Later => {
                self.flush_later(now.tick);
                true
            }
            Urgency::Now => keeping.journal.flush(),
        }
    }

    /// Looks what the journal has to tell.
    pub(super) fn look_at_journal(&mut self, now: Tick) {
        let Some(keeping) = &mut self.journal else { return };
        if keeping.journal.is_full() != keeping.was_full {
            keeping.was_full = !keeping.was_full;
            for slot in 0..self.webhooks.len() as u32 {
                self.update_full(slot);
            }
        }
        while let Some(lost) = self.journal.as_mut().and_then(|keeping| keeping.journal.poll_lost())
        {
            self.lose(now, lost);
        }
    }

    /// What was written down outside of the intake is handed over in time, too.
    pub(super) fn flush_soon(&mut self, now: Tick) {
        if let Some(keeping) = &self.journal
            && !keeping.flush_is_due
            && keeping.journal.urgency() != Urgency::Nothing
        {
            self.flush_later(now);
        }
    }

    fn flush_later(&mut self, now: Tick) {
        if let Some(keeping) = &mut self.journal
            && !std::mem::replace(&mut keeping.flush_is_due, true)
        {
            self.timers.journal_due(now.plus_ms(limits::LOG_FLUSH_MS));
        }
    }

    /// Hands over what was written down some time ago.
    pub(super) fn flush_journal(&mut self, now: Tick) {
        let Some(keeping) = &mut self.journal else { return };
        keeping.flush_is_due = false;
        if !keeping.journal.flush() {
            self.flush_later(now);
        }
    }
}
