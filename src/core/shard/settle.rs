//! What an attempt's outcome means for its delivery (DEL-2).

use super::connections::{ConnectionId, Job};
use super::lanes::LaneState;
use super::{Action, Shard};
use crate::base::id::EventId;
use crate::base::limits;
use crate::base::time::{Now, Tick};
use crate::core::dead_letters::DeadReason;
use crate::core::failure::Failure;
use crate::core::http::response::{Response, RetryAfter};
use crate::core::ledger::{AttemptRecord, DeliveryOutcome, WebhookStatus};
use crate::core::snapshot::Definition;
use crate::core::stages::TestStages;
use std::sync::Arc;

/// A test delivery: outside all lanes and windows, never tried again.
#[derive(Debug)]
pub(super) struct TestJob {
    pub(super) definition: Arc<Definition>,
    pub(super) endpoint: usize,
    pub(super) id: EventId,
    pub(super) body: Vec<u8>,
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
    /// The endpoint is gone: the webhook is disabled unless it has moved on meanwhile; the
    /// delivery stays, nothing is counted.
    Gone,
    Again,
    Dead,
}

const STATUS_GONE: u16 = 410;
const STATUS_TOO_MANY_REQUESTS: u16 = 429;
const STATUS_UNAVAILABLE: u16 = 503;

/// Why an answer is a failure, if it is one: success is 200 to 299, nothing else.
fn failure_of(outcome: &Result<Response, Failure>) -> Option<Failure> {
    match outcome {
        Ok(response) if (200..300).contains(&response.status) => None,
        Ok(response) => Some(Failure::Status(response.status)),
        Err(failure) => Some(*failure),
    }
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
            connection: test.connection,
            began: began.at,
            stages: TestStages::default(),
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
        let verdict = match failure {
            None => Verdict::Delivered,
            Some(Failure::Status(STATUS_GONE)) => Verdict::Gone,
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
        let ledger = &webhook.definition.ledger;
        let record = AttemptRecord {
            id: event.id(self.config.boot),
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
        let speaks_for_it = began.revision == webhook.revision;
        if speaks_for_it {
            self.hold_if_asked(now, slot, outcome);
        }
        match verdict {
            Verdict::Delivered | Verdict::Dead => {
                if verdict == Verdict::Dead {
                    self.keep_dead(lane, &record, DeadReason::RetriesUsedUp);
                }
                self.finish_head(lane);
                self.update_full(slot);
            }
            Verdict::Again => self.wait_for_retry(now.tick, slot, lane, attempts),
            Verdict::Gone => {
                if speaks_for_it && let Some(webhook) = &self.webhooks[slot as usize] {
                    webhook.definition.ledger.set_status(WebhookStatus::Gone);
                    // Callers that wait for its full queue need not wait for it any more.
                    self.actions.push_back(Action::RoomMade);
                }
                self.ready_at_front(lane);
            }
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

    /// Obeys `Retry-After`: nothing is sent to this endpoint before.
    fn hold_if_asked(&mut self, now: Now, slot: u32, outcome: &Result<Response, Failure>) {
        let Ok(Response { status, retry_after: Some(retry_after), .. }) = outcome else { return };
        if !matches!(*status, STATUS_TOO_MANY_REQUESTS | STATUS_UNAVAILABLE) {
            return;
        }
        let wait_ms = match *retry_after {
            RetryAfter::Seconds(seconds) => seconds.saturating_mul(1000),
            RetryAfter::UnixSeconds(at) => {
                at.saturating_mul(1000).saturating_sub(now.unix_us / 1000)
            }
        };
        let until = now.tick.plus_ms(wait_ms.min(limits::RETRY_DELAY_MS_MAX));
        let Some(webhook) = &mut self.webhooks[slot as usize] else { return };
        if until > webhook.hold_until {
            webhook.hold_until = until;
            self.timers.hold_over(until, slot);
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
