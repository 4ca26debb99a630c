//! An engine that remembers what it was told.

use crate::server::commit::Commit;
use crate::server::engine::{Engine, TestFuture};
use crate::webhooks::{
    BreakerState, DeadLetterRecord, DeadReason, DeliveryFilter, DeliveryOutcome, DeliveryRecord,
    DrainReport, EngineStats, EventRef, EventValue, Failure, OnFull, ReplayOf, ReplayRequest,
    RetryBackoff, TestReport, TestStages, WebhookError, WebhookEvent, WebhookInfo, WebhookOptions,
    WebhookStats, WebhookStatus, WebhookUpdate,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

#[derive(Default)]
pub(crate) struct StubState {
    pub webhooks: BTreeMap<String, (String, WebhookOptions, bool)>,
    pub updates: Vec<WebhookUpdate>,
    /// Each accepted event as text.
    pub events: Vec<String>,
    /// `offer` finds no room while this is set.
    pub full: bool,
    /// How a test ends; it does not end while this is empty.
    pub test_outcome: Option<TestReport>,
    pub test_wakers: Vec<Waker>,
    /// What was looked for.
    pub filters: Vec<DeliveryFilter>,
    pub replays: Vec<ReplayRequest>,
    /// Whether there is a log to wait for, and what it does.
    pub log: StubLog,
    /// Events that are waited for.
    pub outstanding: u64,
    /// Waits that ended.
    pub commits: u64,
    pub failed: u64,
}

/// What the log of the stub does with events.
#[derive(Default)]
pub(crate) enum StubLog {
    /// There is none.
    #[default]
    None,
    /// It does not answer.
    Hangs,
    /// It keeps its promise.
    Keeps,
    /// It does not.
    Fails(WebhookError),
}

impl Commit for StubEngine {
    fn offer(&mut self, event: &EventRef<'_>, patient: bool) -> Result<bool, WebhookError> {
        let accepted = Engine::offer(self, event, patient)?;
        let mut state = self.state();
        if accepted && !matches!(state.log, StubLog::None) {
            state.outstanding += 1;
        }
        Ok(accepted)
    }

    fn outstanding(&self) -> u64 {
        self.state().outstanding
    }

    fn wait_for(&mut self, timeout: Duration) -> Option<Result<(), WebhookError>> {
        let deadline = Instant::now() + timeout;
        loop {
            let mut state = self.state();
            let result = match &state.log {
                StubLog::None | StubLog::Keeps => Some(Ok(())),
                StubLog::Fails(error) => Some(Err(error.clone())),
                StubLog::Hangs => None,
            };
            if result.is_some() {
                state.commits += 1;
                state.failed = if matches!(result, Some(Err(_))) { state.outstanding } else { 0 };
                state.outstanding = 0;
                return result;
            }
            drop(state);
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn failed(&self) -> u64 {
        self.state().failed
    }
}

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct StubEngine(Arc<Mutex<StubState>>);

impl StubEngine {
    pub fn state(&self) -> MutexGuard<'_, StubState> {
        self.0.lock().unwrap()
    }

    /// Ends all tests that are under way, and later ones.
    pub fn end_tests(&self, failure: Option<Failure>) {
        let mut state = self.state();
        state.test_outcome = Some(TestReport {
            id: "evt_1".to_owned(),
            status: failure.map_or(Some(200), Failure::status),
            failure,
            latency_us: 12_345,
            response: String::new(),
            stages: TestStages { connect_us: Some(250), ..TestStages::default() },
        });
        state.test_wakers.drain(..).for_each(Waker::wake);
    }

    fn known(&self, name: &str) -> Result<(), WebhookError> {
        match self.state().webhooks.contains_key(name) {
            true => Ok(()),
            false => Err(WebhookError::NotFound(name.to_owned())),
        }
    }
}

fn describe(event: &EventRef<'_>) -> String {
    let value = match event.value {
        EventValue::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => "-".to_owned(),
    };
    format!(
        "{} {} {value} db{} {} {}",
        event.event,
        String::from_utf8_lossy(event.key),
        event.database,
        event.client_id.unwrap_or("-"),
        event.source_ip.unwrap_or("-"),
    )
}

const STATS: WebhookStats = WebhookStats {
    triggered: 9,
    deliveries: 7,
    delivered: 4,
    failures: 3,
    dropped: 0,
    coalesced: 0,
    cancelled: 0,
    pending: 2,
    in_flight: 1,
    attempts: 8,
    failed_attempts: 4,
    last_delivery_us: Some(1_705_314_595_000_000),
    latency_us_avg: 150_000,
    replayed: 0,
    dead_letters: 2,
    dead_forgotten: 1,
    dead_cleared: 0,
    pending_on_disk: 0,
};

const DEAD_LETTER: DeadLetterRecord = DeadLetterRecord {
    id: String::new(),
    event: WebhookEvent::Set,
    key: Vec::new(),
    attempts: 4,
    reason: DeadReason::RetriesUsedUp,
    status: Some(503),
    failure: Some(Failure::Status(503)),
    body_bytes: 210,
    at_us: 1_705_312_800_000_000,
    replaying: false,
};

impl Engine for StubEngine {
    fn offer(&self, event: &EventRef<'_>, _: bool) -> Result<bool, WebhookError> {
        let mut state = self.state();
        if event.key == b"huge" {
            return Err(WebhookError::EventTooLarge { bytes: 2, limit: 1 });
        }
        if !state.full {
            state.events.push(describe(event));
        }
        Ok(!state.full)
    }

    fn commit_group(&self) -> Box<dyn Commit> {
        Box::new(self.clone())
    }

    fn create(&self, name: &str, url: &str, options: WebhookOptions) -> Result<(), WebhookError> {
        let mut state = self.state();
        if state.webhooks.contains_key(name) {
            return Err(WebhookError::Exists(name.to_owned()));
        }
        if state.webhooks.len() == 3 {
            return Err(WebhookError::LimitReached(3));
        }
        if url.contains("denied") {
            return Err(WebhookError::HostDenied("denied".to_owned()));
        }
        state.webhooks.insert(name.to_owned(), (url.to_owned(), options, true));
        Ok(())
    }

    fn update(&self, name: &str, update: WebhookUpdate) -> Result<(), WebhookError> {
        self.known(name)?;
        self.state().updates.push(update);
        Ok(())
    }

    fn delete(&self, name: &str) -> Result<(), WebhookError> {
        self.known(name)?;
        self.state().webhooks.remove(name);
        Ok(())
    }

    fn enable(&self, name: &str) -> Result<(), WebhookError> {
        self.known(name)?;
        self.state().webhooks.get_mut(name).unwrap().2 = true;
        Ok(())
    }

    fn disable(&self, name: &str) -> Result<(), WebhookError> {
        self.known(name)?;
        self.state().webhooks.get_mut(name).unwrap().2 = false;
        Ok(())
    }

    fn test(&self, name: &str) -> TestFuture {
        let (known, engine) = (self.known(name), self.clone());
        Box::pin(std::future::poll_fn(move |context| {
            if let Err(error) = &known {
                return Poll::Ready(Err(error.clone()));
            }
            let mut state = engine.state();
            match state.test_outcome.clone() {
                Some(outcome) => Poll::Ready(Ok(outcome)),
                None => {
                    state.test_wakers.push(context.waker().clone());
                    Poll::Pending
                }
            }
        }))
    }

    fn list(&self) -> Vec<WebhookInfo> {
        let names: Vec<String> = self.state().webhooks.keys().cloned().collect();
        names.iter().map(|name| self.info(name).unwrap()).collect()
    }

    fn info(&self, name: &str) -> Result<WebhookInfo, WebhookError> {
        self.known(name)?;
        let (url, options, enabled) = self.state().webhooks[name].clone();
        Ok(WebhookInfo {
            name: name.to_owned(),
            url,
            pattern: options.pattern.unwrap_or_else(|| "*".to_owned()),
            events: options.events,
            status: if enabled { WebhookStatus::Active } else { WebhookStatus::Disabled },
            created_at_us: 1_705_312_800_000_000,
            auth: if options.auth.is_some() { "bearer" } else { "none" },
            header_names: options.headers.into_iter().map(|(name, _)| name).collect(),
            signed: options.secret.is_some(),
            signatures: options.signatures,
            retries: 3,
            retry_delay_ms: 1000,
            retry_backoff: RetryBackoff::Exponential,
            timeout_ms: 5000,
            concurrency: 64,
            pipeline: 1,
            batch: false,
            batch_size: 100,
            batch_interval_ms: 1000,
            on_full: OnFull::Reject,
            coalesce: false,
            ordered: true,
            format: options.format,
            sequence: options.sequence,
            key_id: None,
            public_key: None,
            old_secrets: 0,
            old_secrets_until_us: None,
            tls_profile: None,
            held: None,
            while_disabled: options.while_disabled,
            stats: STATS,
            status_since_us: 1_705_312_800_000_000,
            retry_after_until_us: None,
            breaker: BreakerState::Closed,
            final_statuses: options.final_statuses,
            rate: options.rate,
            adaptive: options.adaptive,
            window: 64,
        })
    }

    fn stats(&self, name: &str) -> Result<WebhookStats, WebhookError> {
        self.known(name).map(|()| STATS)
    }

    fn engine_stats(&self) -> EngineStats {
        let state = self.state();
        EngineStats {
            total_webhooks: state.webhooks.len() as u64,
            active_webhooks: state.webhooks.values().filter(|(_, _, active)| *active).count()
                as u64,
            totals: STATS,
            ..EngineStats::default()
        }
    }

    fn deliveries(
        &self,
        name: &str,
        filter: &DeliveryFilter,
    ) -> Result<Vec<DeliveryRecord>, WebhookError> {
        self.known(name)?;
        self.state().filters.push(*filter);
        let record = DeliveryRecord {
            batch_id: None,
            batch_events: 0,
            id: "evt_2".to_owned(),
            event: WebhookEvent::Set,
            key: b"k".to_vec(),
            attempt: 1,
            outcome: DeliveryOutcome::Failed,
            status: Some(503),
            failure: Some(Failure::Status(503)),
            latency_us: 2000,
            at_us: 1_705_312_800_000_000,
            response: "busy".to_owned(),
        };
        Ok(vec![record; filter.count.min(2)])
    }

    fn dead_letters(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<DeadLetterRecord>, WebhookError> {
        self.known(name)?;
        Ok(vec![DEAD_LETTER; count.min(2)])
    }

    fn dead_letter_body(&self, name: &str, id: &str) -> Result<Vec<u8>, WebhookError> {
        self.known(name).map(|()| format!("body of {id}").into_bytes())
    }

    fn clear_dead_letters(&self, name: &str) -> Result<u64, WebhookError> {
        self.known(name).map(|()| 2)
    }

    fn replay(&self, name: &str, request: &ReplayRequest) -> Result<u64, WebhookError> {
        self.known(name)?;
        self.state().replays.push(request.clone());
        match &request.what {
            ReplayOf::Id(id) => Err(WebhookError::NotKept(format!("event {id} is not kept"))),
            _ => Ok(2),
        }
    }

    fn shutdown(&self, _: Duration) -> DrainReport {
        DrainReport::default()
    }

    fn add_own_listener(&self, _: std::net::SocketAddr) {}
}
