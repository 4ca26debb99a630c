//! Looking at a webhook's deliveries, and sending dead ones again.

use super::super::deliveries::{DeadLetterRecord, DeliveryFilter, ReplayOf, ReplayRequest};
use super::super::{DeliveryRecord, WebhookError, WebhookStatus};
use super::{Engine, record_of};
use crate::base::id::EventId;
use crate::base::limits;
use crate::core::dead_letters::DeadLetter;
use crate::core::ledger::Ledger;
use crate::core::matcher::validate_pattern;
use crate::core::replay::{EventKeeper, Selection, Which, divide};
use crate::io::worker::Control;
use std::sync::Arc;

impl Engine {
    fn ledger(&self, name: &str) -> Result<Arc<Ledger>, WebhookError> {
        Ok(self.registry()?.get(name)?.definition.ledger.clone())
    }

    pub(in crate::webhooks) fn deliveries(
        &self,
        name: &str,
        filter: &DeliveryFilter,
    ) -> Result<Vec<DeliveryRecord>, WebhookError> {
        let webhook = self.registry()?.get(name)?;
        let (ledger, masking) = (&webhook.definition.ledger, self.masking(&webhook.settings));
        let mut records = Vec::new();
        for worker in 0..self.workers {
            let log = ledger.log(worker);
            let shown = log.entries().rev().filter(|attempt| {
                filter.outcome.is_none_or(|outcome| attempt.outcome == outcome)
                    && filter.since_us.is_none_or(|since_us| attempt.at_us >= since_us)
            });
            records.extend(shown.take(filter.count).map(|attempt| {
                let mut attempt = attempt.clone();
                masking.apply(&mut attempt.response);
                record_of(&attempt)
            }));
        }
        // Stable, so that one worker's attempts stay in its order.
        records.sort_by_key(|record| std::cmp::Reverse(record.at_us));
        records.truncate(filter.count);
        Ok(records)
    }

    pub(in crate::webhooks) fn dead_letters(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<DeadLetterRecord>, WebhookError> {
        let ledger = self.ledger(name)?;
        let dead = ledger.dead();
        Ok(dead.letters().rev().take(count).map(dead_record_of).collect())
    }

    pub(in crate::webhooks) fn dead_letter_body(
        &self,
        name: &str,
        id: &str,
    ) -> Result<Vec<u8>, WebhookError> {
        let (ledger, id) = (self.ledger(name)?, event_id(id)?);
        let dead = ledger.dead();
        let letter = dead.letters().find(|letter| letter.kept.id == id);
        letter.map(|letter| letter.kept.body.clone()).ok_or_else(|| not_kept(id))
    }

    pub(in crate::webhooks) fn clear_dead_letters(&self, name: &str) -> Result<u64, WebhookError> {
        let webhook = self.registry()?.get(name)?;
        let cleared = webhook.definition.ledger.dead().clear();
        let count = cleared.len() as u64;
        if let Some(Ok(running)) = self.running.get()
            && running.durable.is_some()
        {
            let number = webhook.definition.number;
            for (worker, shared) in running.workers.iter().enumerate() {
                let of_worker = cleared.iter().filter(|place| place.worker == worker);
                let places = of_worker.copied().collect();
                shared.control(Control::LettersCleared { webhook: number, places });
            }
        }
        Ok(count)
    }

    pub(in crate::webhooks) fn replay(
        &self,
        name: &str,
        request: &ReplayRequest,
    ) -> Result<u64, WebhookError> {
        let webhook = self.registry()?.get(name)?;
        let running = self.running()?;
        let ledger = &webhook.definition.ledger;
        let per_second = request.per_second.unwrap_or(limits::REPLAY_PER_SECOND_DEFAULT);
        let selection = selection_of(request, per_second)?;
        if ledger.status() != WebhookStatus::Active {
            return Err(WebhookError::Disabled(name.to_owned()));
        }
        let places = ledger.select(&selection);
        if places.is_empty() {
            return nothing_found(&selection, ledger);
        }
        let keeper: Arc<dyn EventKeeper> = ledger.clone();
        let id = webhook.definition.id;
        for (worker, part) in divide(id, &keeper, &places, running.workers.len(), per_second) {
            running.workers[worker].control(Control::Replay(part));
        }
        Ok(places.len() as u64)
    }
}

/// Checks what is asked for.
fn selection_of(request: &ReplayRequest, per_second: u32) -> Result<Selection, WebhookError> {
    let invalid = |what: String| Err(WebhookError::Invalid(what));
    if !(1..=limits::REPLAY_PER_SECOND_MAX).contains(&per_second) {
        return invalid(format!(
            "the rate of a replay is 1 to {} events per second",
            limits::REPLAY_PER_SECOND_MAX
        ));
    }
    let which = match &request.what {
        ReplayOf::Dead => Which::Dead,
        ReplayOf::Id(text) => Which::Id(event_id(text)?),
        ReplayOf::Between { since_us, until_us } if since_us > until_us => {
            return invalid("a replay's time ends before it begins".into());
        }
        &ReplayOf::Between { since_us, until_us } => Which::Between { since_us, until_us },
    };
    let pattern = request.pattern.as_ref().map(|pattern| pattern.clone().into_bytes());
    if let Some(pattern) = &pattern {
        validate_pattern(pattern).map_err(|error| WebhookError::Invalid(error.to_string()))?;
    }
    Ok(Selection { which, pattern })
}

/// Says why nothing can be sent again.
fn nothing_found(selection: &Selection, ledger: &Ledger) -> Result<u64, WebhookError> {
    match selection.which {
        Which::Dead => Ok(0),
        Which::Between { .. } => {
            Err(WebhookError::NotKept("no dead letter is of that time".into()))
        }
        Which::Id(id) => match ledger.dead().letters().any(|letter| letter.kept.id == id) {
            // It waits for its turn in another replay, or is not of the pattern.
            true => Ok(0),
            false => Err(not_kept(id)),
        },
    }
}

fn event_id(text: &str) -> Result<EventId, WebhookError> {
    let invalid = || {
        WebhookError::Invalid("an event's id looks like evt_0123456789abcdef0000000001".to_owned())
    };
    EventId::from_text(text.as_bytes()).ok_or_else(invalid)
}

fn not_kept(id: EventId) -> WebhookError {
    WebhookError::NotKept(format!("event {id} is not kept"))
}

fn dead_record_of(letter: &DeadLetter) -> DeadLetterRecord {
    DeadLetterRecord {
        id: letter.kept.id.to_string(),
        event: letter.kept.event,
        key: letter.kept.key.clone(),
        attempts: letter.death.attempts,
        reason: letter.death.reason,
        status: letter.death.status,
        failure: letter.death.failure,
        body_bytes: letter.kept.body.len(),
        at_us: letter.death.at_us,
        replaying: letter.replaying,
    }
}
