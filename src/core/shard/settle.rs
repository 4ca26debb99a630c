//! What an attempt's outcome means for its delivery (DEL-2).

use super::breaker::is_breakdown;
use super::connections::{ConnectionId, Job};
use super::gates::STATUS_TOO_MANY_REQUESTS;
use super::lanes::EventRecord;
use super::load::Load;
use super::{Action, Shard};
use crate::base::id::EventId;
use crate::base::time::{Now, Tick};
use crate::core::dead_letters::DeadReason;
use crate::core::failure::Failure;
use crate::core::http::response::{DeliveryWish, Response};
use crate::core::journal::Finish;
use crate::core::ledger::{AttemptRecord, BatchRef, DeliveryOutcome, WebhookStatus};
use crate::core::on_full::OnFull;
use crate::core::snapshot::Definition;
use crate::core::stages::TestStages;
use std::sync::Arc;

/// A test delivery: outside all lanes and windows, never tried again.
#[derive(Debug)]
pub(super) struct TestJob {
    pub(super) definition: Arc<Definition>,
    pub(super) endpoint: usize,
    pub(super) id: EventId,
    pub(super) record: EventRecord,
    pub(super) token: u64,
    pub(super) connection: ConnectionId,
}

/// What a test delivery met.
#[derive(Clone, PartialEq, Debug)]
pub struct TestOutcome {
    /// The number that the driver gave it.
    pub token: u64,
    /// The id that its payload carried.
    pub id: EventId,
    /// The HTTP status, if a response came.
    pub status: Option<u16>,
    /// Why it failed; `None` for success.
    pub failure: Option<Failure>,
    /// How long it took, in microseconds.
    pub latency_us: u64,
    /// The first bytes of the body of a failed response.
    pub response: Vec<u8>,
    /// The connection that was made for it.
    pub connection: ConnectionId,
    /// When it began.
    pub began: Tick,
    /// How long its stages took: the driver knows.
    pub stages: TestStages,
}

/// How an attempt began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Began {
    /// When.
    pub(super) at: Tick,
    /// The webhook's revision that its request was written by.
    pub(super) revision: u32,
}

/// What becomes of a delivery after an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Delivered,
    /// The endpoint wants no more: the webhook is disabled unless it has moved on meanwhile; the
    /// delivery stays, nothing is counted.
    Gone,
    Again,
    Dead,
}

/// An attempt that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    verdict: Verdict,
    /// Attempts that were made and counted before.
    before: u32,
    pub(super) status: Option<u16>,
    pub(super) failure: Option<Failure>,
    pub(super) began: Tick,
    pub(super) latency_us: u64,
}

impl Ended {
    /// Whether it counts as an attempt.
    pub(super) fn counts(&self) -> bool {
        self.verdict != Verdict::Gone
    }

    /// Whether it was not the first that counts.
    pub(super) fn is_retry(&self) -> bool {
        self.before > 0
    }

    /// Attempts made and counted, this one included if it counts.
    pub(super) fn attempts(&self) -> u32 {
        self.before + u32::from(self.counts())
    }
}

const STATUS_GONE: u16 = 410;

/// Why an answer is a failure, if it is one: success is 200 to 299, nothing else.
fn failure_of(outcome: &Result<Response, Failure>) -> Option<Failure> {
    match outcome {
        Ok(response) if (200..300).contains(&response.status) => None,
        Ok(response) => Some(Failure::Status(response.status)),
        Err(failure) => Some(*failure),
    }
}

/// Whether an attempt shows that its endpoint cannot cope with so many.
fn is_pressed(outcome: &Result<Response, Failure>) -> bool {
    let too_many = matches!(outcome, Ok(response) if response.status == STATUS_TOO_MANY_REQUESTS);
    too_many || is_breakdown(outcome)
}

impl Shard {
    /// Draws the consequences of an attempt.
    pub(super) fn settle(
        &mut self,
        now: Now,
        job: Job,
        began: Began,
        outcome: Result<Response, Failure>,
        snippet: &[u8],
    ) {
        match job {
            Job::Test(test) => self.settle_test(now, *test, began, &outcome, snippet),
            Job::Load(load) => self.settle_load(now, load, began, &outcome, snippet),
        }
    }

    fn settle_test(
        &mut self,
        now: Now,
        test: TestJob,
        began: Began,
        outcome: &Result<Response, Failure>,
        snippet: &[u8],
    ) {
        self.tests.push_back(TestOutcome {
            token: test.token,
            id: test.id,
            status: outcome.as_ref().ok().map(|response| response.status),
            failure: failure_of(outcome),
            latency_us: now.tick.since_us(began.at),
            response: snippet.to_vec(),
            connection: test.connection,
            began: began.at,
            stages: TestStages::default(),
        });
        self.release_endpoint(test.endpoint);
    }

    fn settle_load(
        &mut self,
        now: Now,
        load: Load,
        began: Began,
        outcome: &Result<Response, Failure>,
        snippet: &[u8],
    ) {
        let slot = self.load_slot(load);
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        webhook.in_flight -= 1;
        let (retries, revision) = (webhook.definition.retry.retries, webhook.revision);
        let adapts = webhook.adaptive.is_some();
        let failure = failure_of(outcome);
        let wish = outcome.as_ref().ok().and_then(|response| response.wish);
        let before = self.load_attempts(load);
        let ended = Ended {
            verdict: self.verdict(slot, failure, wish, before),
            before,
            status: outcome.as_ref().ok().map(|response| response.status),
            failure,
            began: began.at,
            latency_us: now.tick.since_us(began.at),
        };
        let (verdict, attempts) = (ended.verdict, ended.attempts());
        if ended.counts() {
            self.count_attempt(load);
        }
        if adapts {
            self.adapt_window(now.tick, slot, ended.latency_us, is_pressed(outcome));
        }
        self.log_attempt(now, slot, load, &ended, snippet);
        self.measure(now.tick, slot, load, &ended);
        self.count_outcome(slot, verdict, self.load_deliveries(load), ended.latency_us);
        if let (Verdict::Dead, Some(failure)) = (verdict, failure) {
            let reason = match wish {
                Some(DeliveryWish::AbortMessage) => DeadReason::Aborted,
                _ if attempts > retries => DeadReason::RetriesUsedUp,
                _ => DeadReason::FinalStatus,
            };
            self.keep_dead(now, load, &ended, reason);
            self.notice_dead_letter(now.tick, load, attempts, failure);
        }
        // An endpoint that the webhook has left has no say in what becomes of it.
        let speaks_for_it = began.revision == revision;
        let is_gone = verdict == Verdict::Gone && speaks_for_it;
        self.stop_if_due(now, slot, failure.is_some(), is_gone, wish.filter(|_| speaks_for_it));
        match verdict {
            Verdict::Delivered | Verdict::Dead => {
                // Of the dead, the journal knows already.
                let delivered = (verdict == Verdict::Delivered).then_some(Finish::Delivered);
                self.finish(now.tick, load, delivered);
                self.update_full(slot);
            }
            Verdict::Again => {
                self.note_attempts(slot, load, attempts);
                self.wait_for_retry(now.tick, slot, load, attempts);
            }
            Verdict::Gone => self.put_back(now.tick, load),
        }
        // The window has room again for its other lanes, also when it has left the endpoint.
        if let Some(webhook) = &self.webhooks[slot as usize] {
            self.endpoints[webhook.endpoint].has_enough = false;
        }
        self.list_webhook(slot);
        if self.journal.is_some() {
            self.flush_soon(now.tick);
        }
    }

    /// What becomes of a load after an attempt, with `before` counted before.
    fn verdict(
        &self,
        slot: u32,
        failure: Option<Failure>,
        wish: Option<DeliveryWish>,
        before: u32,
    ) -> Verdict {
        let Some(failure) = failure else { return Verdict::Delivered };
        let Some(webhook) = &self.webhooks[slot as usize] else { return Verdict::Dead };
        let definition = &webhook.definition;
        match (failure, wish) {
            (Failure::Status(STATUS_GONE), _) | (_, Some(DeliveryWish::Disable)) => Verdict::Gone,
            (_, Some(DeliveryWish::AbortMessage)) => Verdict::Dead,
            (Failure::Status(status), _) if definition.is_final(status) => Verdict::Dead,
            _ if before < definition.retry.retries => Verdict::Again,
            _ => Verdict::Dead,
        }
    }

    /// Writes an attempt into the delivery log.
    fn log_attempt(&self, now: Now, slot: u32, load: Load, ended: &Ended, snippet: &[u8]) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let ledger = &webhook.definition.ledger;
        let batch = self.batch_ref(load);
        // One record stands for a batch, but of what is given up each must be found.
        let each = if ended.verdict == Verdict::Dead { usize::MAX } else { 1 };
        let mut log = ledger.log(self.config.worker);
        for delivery in self.load_chain(load).take(each) {
            let event = &self.events[self.deliveries[delivery as usize].event as usize];
            log.record(&self.attempt_record(now, event, batch, ended), event.key(), snippet);
        }
        if ended.verdict == Verdict::Delivered {
            ledger.delivered_at(now.unix_us);
        }
    }

    fn attempt_record(
        &self,
        now: Now,
        event: &EventRecord,
        batch: Option<BatchRef>,
        ended: &Ended,
    ) -> AttemptRecord {
        AttemptRecord {
            id: event.id(self.config.boot),
            batch,
            event: event.kind,
            key: Vec::new(),
            attempt: ended.attempts().max(1),
            outcome: match ended.verdict {
                Verdict::Delivered => DeliveryOutcome::Ok,
                Verdict::Again | Verdict::Gone => DeliveryOutcome::Failed,
                Verdict::Dead => DeliveryOutcome::Dead,
            },
            status: ended.status,
            failure: ended.failure,
            latency_us: ended.latency_us,
            at_us: now.unix_us,
            response: Vec::new(),
        }
    }

    /// Counts what came of an attempt at `deliveries`.
    fn count_outcome(&self, slot: u32, verdict: Verdict, deliveries: u64, latency_us: u64) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        for counters in [webhook.counters(self.config.worker), &self.totals().deliveries] {
            counters.in_flight.subtract(deliveries);
            counters.attempts.add(deliveries);
            match verdict {
                Verdict::Delivered => {
                    counters.delivered.add(deliveries);
                    counters.pending.subtract(deliveries);
                    counters.latency_us_sum.add(latency_us * deliveries);
                }
                Verdict::Dead => {
                    counters.failed_attempts.add(deliveries);
                    counters.dead.add(deliveries);
                    counters.pending.subtract(deliveries);
                }
                Verdict::Again | Verdict::Gone => counters.failed_attempts.add(deliveries),
            }
        }
    }

    fn wait_for_retry(&mut self, now: Tick, slot: u32, load: Load, attempts: u32) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let delay_us = webhook.definition.retry.delay_us(attempts, &mut self.random);
        self.retry_at(Tick(now.0.saturating_add(delay_us)), load);
    }

    /// Disables a webhook whose endpoint wants that, or which has failed for too long.
    fn stop_if_due(
        &mut self,
        now: Now,
        slot: u32,
        failed: bool,
        is_gone: bool,
        wish: Option<DeliveryWish>,
    ) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let ledger = &webhook.definition.ledger;
        let failing_us = match failed {
            true => ledger.note_failure(now.tick),
            false => {
                ledger.note_success();
                0
            }
        };
        let allowed_ms = self.config.isolation.auto_disable_after_ms;
        let reason = match (wish, is_gone) {
            (Some(DeliveryWish::Disable), _) => WebhookStatus::Refused,
            (_, true) => WebhookStatus::Gone,
            _ if failed && allowed_ms > 0 && failing_us >= allowed_ms.saturating_mul(1000) => {
                WebhookStatus::Failing
            }
            _ => return,
        };
        if ledger.disable(reason, now.unix_us) {
            self.notice_disabled(now.tick, slot, reason);
            // Callers that wait for its full queue need not wait for it any more.
            self.actions.push_back(Action::RoomMade);
        }
    }

    /// Brings the full flag of a webhook up to date.
    pub(super) fn update_full(&mut self, slot: u32) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        debug_assert_eq!(
            webhook.ages.count() + webhook.counters(self.config.worker).spilled.get(),
            webhook.counters(self.config.worker).pending.get(),
            "a delivery came or went unnoticed"
        );
        if self.journal.is_some() {
            return self.update_lag(slot);
        }
        // One that drops its oldest turns nobody away.
        if webhook.definition.on_full != OnFull::DropOldest
            && webhook.definition.ledger.update_full(&self.shared.full_count)
        {
            self.actions.push_back(Action::RoomMade);
        }
    }
}
