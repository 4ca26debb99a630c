//! What an attempt's outcome means for its delivery (DEL-2).

use super::breaker::is_breakdown;
use super::connections::Job;
use super::lanes::LaneState;
use super::{Action, Shard};
use crate::base::id::EventId;
use crate::base::time::{Now, Tick};
use crate::core::failure::Failure;
use crate::core::http::response::{DeliveryWish, Response};
use crate::core::ledger::{AttemptRecord, DeliveryOutcome, WebhookStatus};
use crate::core::snapshot::Definition;
use std::sync::Arc;

/// A test delivery: outside all lanes and windows, never tried again.
#[derive(Debug)]
pub(super) struct TestJob {
    pub(super) definition: Arc<Definition>,
    pub(super) endpoint: usize,
    pub(super) id: EventId,
    pub(super) body: Vec<u8>,
    pub(super) token: u64,
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

const STATUS_GONE: u16 = 410;
const STATUS_TOO_MANY_REQUESTS: u16 = 429;

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
            Job::Lane(lane) => self.settle_lane(now, lane, began, &outcome, snippet),
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
        });
        self.release_endpoint(test.endpoint);
    }

    fn settle_lane(
        &mut self,
        now: Now,
        lane: u32,
        began: Began,
        outcome: &Result<Response, Failure>,
        snippet: &[u8],
    ) {
        let slot = self.lanes[lane as usize].key.slot;
        let delivery = &mut self.deliveries[self.lanes[lane as usize].head() as usize];
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        let failure = failure_of(outcome);
        let wish = outcome.as_ref().ok().and_then(|response| response.wish);
        let verdict = match failure {
            None => Verdict::Delivered,
            Some(Failure::Status(STATUS_GONE)) => Verdict::Gone,
            Some(_) if wish == Some(DeliveryWish::Disable) => Verdict::Gone,
            Some(_) if wish == Some(DeliveryWish::AbortMessage) => Verdict::Dead,
            Some(Failure::Status(status)) if webhook.definition.is_final(status) => Verdict::Dead,
            Some(_) if delivery.attempts() < webhook.definition.retry.retries => Verdict::Again,
            Some(_) => Verdict::Dead,
        };
        if verdict != Verdict::Gone {
            delivery.count_attempt();
        }
        let attempts = delivery.attempts();
        webhook.in_flight -= 1;
        let event = &self.events[delivery.event as usize];
        let latency_us = now.tick.since_us(began.at);
        if let Some(adaptive) = &mut webhook.adaptive {
            let in_flight = webhook.in_flight + 1;
            adaptive.note(now.tick, latency_us, in_flight, is_pressed(outcome));
            if webhook.window != adaptive.limit() {
                if webhook.window < adaptive.limit() {
                    // The connection that has answered takes one delivery, not two.
                    self.timers.webhook_due(Tick::default(), slot);
                }
                webhook.window = adaptive.limit();
                let reading = webhook.definition.ledger.gate(self.config.worker);
                reading.set_window(webhook.window);
            }
        }
        let ledger = &webhook.definition.ledger;
        let record = AttemptRecord {
            id: EventId { boot: self.config.boot, sequence: event.sequence },
            event: event.kind,
            key: Vec::new(),
            attempt: attempts.max(1),
            outcome: match verdict {
                Verdict::Delivered => DeliveryOutcome::Ok,
                Verdict::Again | Verdict::Gone => DeliveryOutcome::Failed,
                Verdict::Dead => DeliveryOutcome::Dead,
            },
            status: outcome.as_ref().ok().map(|response| response.status),
            failure,
            latency_us,
            at_us: now.unix_us,
            response: Vec::new(),
        };
        ledger.log(self.config.worker).record(&record, event.key(), snippet);
        if verdict == Verdict::Delivered {
            ledger.delivered_at(now.unix_us);
        }
        let worker = self.config.worker;
        for counters in [ledger.counters(worker), &self.shared.totals[worker].deliveries] {
            counters.in_flight.subtract(1);
            counters.attempts.add(1);
            match verdict {
                Verdict::Delivered => {
                    counters.delivered.add(1);
                    counters.pending.subtract(1);
                    counters.latency_us_sum.add(latency_us);
                }
                Verdict::Dead => {
                    counters.failed_attempts.add(1);
                    counters.dead.add(1);
                    counters.pending.subtract(1);
                }
                Verdict::Again | Verdict::Gone => counters.failed_attempts.add(1),
            }
        }
        // An endpoint that the webhook has left has no say in what becomes of it.
        let wish = wish.filter(|_| began.revision == webhook.revision);
        let is_gone = verdict == Verdict::Gone && began.revision == webhook.revision;
        self.stop_if_due(now, slot, failure.is_some(), is_gone, wish);
        match verdict {
            Verdict::Delivered | Verdict::Dead => {
                self.finish_head(lane);
                self.update_full(slot);
            }
            Verdict::Again => self.wait_for_retry(now.tick, slot, lane, attempts),
            Verdict::Gone => self.ready_at_front(lane),
        }
        // The window has room again for its other lanes, also when it has left the endpoint.
        if let Some(webhook) = &self.webhooks[slot as usize] {
            self.endpoints[webhook.endpoint].has_enough = false;
        }
        self.list_webhook(slot);
    }

    fn wait_for_retry(&mut self, now: Tick, slot: u32, lane: u32, attempts: u32) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        let delay_us = webhook.definition.retry.delay_us(attempts, &mut self.random);
        let state = &mut self.lanes[lane as usize];
        state.state = LaneState::Waiting;
        self.timers.lane_due(Tick(now.0.saturating_add(delay_us)), lane, state.generation);
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
            tracing::warn!("webhook {} is {}", webhook.definition.name, reason.name());
            // Callers that wait for its full queue need not wait for it any more.
            self.actions.push_back(Action::RoomMade);
        }
    }

    /// Brings the full flag of a webhook up to date.
    pub(super) fn update_full(&mut self, slot: u32) {
        let Some(webhook) = &self.webhooks[slot as usize] else { return };
        if webhook.definition.ledger.update_full(&self.shared.full_count) {
            self.actions.push_back(Action::RoomMade);
        }
    }
}
