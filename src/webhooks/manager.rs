//! The engine's handle.

use super::commit::{CommitGroup, Round};
use super::engine::Engine;
use super::{
    DeadLetterRecord, DeliveryFilter, DeliveryRecord, DrainReport, EngineState, EngineStats,
    EventRef, Metrics, QueueFull, ReplayRequest, TestReport, TryTriggerError, WebhookConfig,
    WebhookError, WebhookEvent, WebhookInfo, WebhookOptions, WebhookStats, WebhookStatus,
    WebhookTrigger, WebhookUpdate,
};
use std::sync::Arc;
use std::time::Duration;

/// What to do with an event that some webhook wants whose queue is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WhenFull {
    /// If every webhook that wants it is full, accept nothing: [`Admission::Full`]. If only some
    /// are, the others get it, and the full ones count it as dropped. If one of the full ones says
    /// [`OnFull::Wait`](super::OnFull::Wait), nothing is accepted either.
    Refuse,
    /// Full webhooks count it as dropped, the others get it; only if one of the full ones says
    /// [`OnFull::Wait`](super::OnFull::Wait), nothing is accepted: [`Admission::Full`]. For hosts
    /// that cannot take back what happened.
    Drop,
    /// As `Drop`, but without regard to `OnFull::Wait`: for hosts that have waited long enough.
    DropNow,
}

/// What became of an event that was offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Admission {
    /// It was accepted.
    Accepted,
    /// No webhook wants it.
    Unmatched,
    /// There is no room: a worker's ring is full, or the queues of all webhooks that want it.
    Full,
}

/// The engine's handle. Cheap to clone; the engine stops when the last clone is dropped, without
/// waiting for pending deliveries: call [`WebhookManager::shutdown`] for that.
///
/// No method panics on any argument.
#[derive(Clone, Debug)]
pub struct WebhookManager {
    engine: Arc<Engine>,
}

impl WebhookManager {
    /// A handle. The engine's threads start at the first call that needs them, which says what is
    /// wrong if they cannot, or if the configuration is not acceptable; see also
    /// [`WebhookManager::start`].
    pub fn new(config: WebhookConfig) -> Self {
        WebhookManager { engine: Arc::new(Engine::new(config, None)) }
    }

    /// A handle whose engine asks `lookup` for the addresses of names, and remembers no answer:
    /// for tests of what is done with them.
    #[doc(hidden)]
    pub fn with_lookup(config: WebhookConfig, lookup: Arc<crate::io::dns::Lookup>) -> Self {
        WebhookManager { engine: Arc::new(Engine::new(config, Some(lookup))) }
    }

    /// Tells the engine that this process listens on `listener`: no webhook leads there from now
    /// on, unless `allowed_hosts` has exactly this address with its port. With an unspecified
    /// address, every address of this machine is meant.
    pub fn add_own_listener(&self, listener: std::net::SocketAddr) {
        self.engine.add_own_listener(listener);
    }

    /// Like [`WebhookManager::new`], but starts the threads now.
    ///
    /// # Errors
    /// [`WebhookError::Start`] when the configuration is not acceptable, or the threads cannot be
    /// started.
    pub fn start(config: WebhookConfig) -> Result<Self, WebhookError> {
        let manager = WebhookManager::new(config);
        manager.engine.running()?;
        Ok(manager)
    }

    /// What the workers run on: `io_uring…`, or `epoll` and why.
    ///
    /// # Errors
    /// [`WebhookError::Start`], [`WebhookError::ShutDown`].
    pub fn driver(&self) -> Result<String, WebhookError> {
        Ok(self.engine.running()?.driver.to_string())
    }

    /// Makes a webhook. It sees the events that are triggered after this returned. Completes at
    /// once; nothing is sent.
    ///
    /// # Errors
    /// Any but `NotFound`; on an error nothing has changed.
    pub async fn create(
        &self,
        name: &str,
        url: &str,
        options: WebhookOptions,
    ) -> Result<(), WebhookError> {
        self.engine.create(name, url, options)
    }

    /// Changes a webhook. Pending deliveries follow the change from their next attempt on; their
    /// bodies stay the same. Completes at once.
    ///
    /// # Errors
    /// `NotFound`, and what [`WebhookManager::create`] refuses; on an error nothing has changed.
    pub async fn update(&self, name: &str, update: WebhookUpdate) -> Result<(), WebhookError> {
        self.engine.update(name, update)
    }

    /// Deletes a webhook. Its pending deliveries are cancelled, those under way cut off.
    /// Completes at once.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete(&self, name: &str) -> Result<(), WebhookError> {
        Ok(self.engine.registry()?.delete(name).map(|()| self.engine.poke_workers())?)
    }

    /// Lets a webhook have deliveries (again). Those that were pending go on. Completes at once.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn enable(&self, name: &str) -> Result<(), WebhookError> {
        self.engine.set_status(name, WebhookStatus::Active)
    }

    /// Disables a webhook: pending deliveries wait until it is enabled; those under way are
    /// finished. Events that are triggered from now on pass it by, uncounted, or with
    /// [`WhileDisabled::Keep`](super::WhileDisabled::Keep) wait as well, up to `max_pending`.
    /// Completes at once.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn disable(&self, name: &str) -> Result<(), WebhookError> {
        self.engine.set_status(name, WebhookStatus::Disabled)
    }

    /// Sends a test event to a webhook's endpoint over a connection of its own, whatever the
    /// webhook's state, and waits for what comes of it, at the longest for its timeout. Dropping
    /// the future does not stop the request.
    ///
    /// # Errors
    /// `NotFound`, `Start`, `ShutDown`. What the endpoint does is in the report.
    pub fn test(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<TestReport, WebhookError>> + Send + 'static {
        let outcome = self.engine.test(name);
        async move { outcome?.await.map(TestReport::from).ok_or(WebhookError::ShutDown) }
    }

    /// All webhooks, by name.
    pub fn list(&self) -> Vec<WebhookInfo> {
        self.engine.list()
    }

    /// One webhook.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn info(&self, name: &str) -> Result<WebhookInfo, WebhookError> {
        self.engine.info(name)
    }

    /// The counters of one webhook.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn stats(&self, name: &str) -> Result<WebhookStats, WebhookError> {
        Ok(self.engine.info(name)?.stats)
    }

    /// The counters of the engine.
    pub fn engine_stats(&self) -> EngineStats {
        self.engine.stats()
    }

    /// A reading of everything that is measured, also as Prometheus text:
    /// [`Metrics::write_prometheus`](super::Metrics::write_prometheus). Disturbs no worker and
    /// never waits.
    pub fn metrics(&self) -> Metrics {
        self.engine.metrics()
    }

    /// How far the engine's threads are; starts nothing.
    pub fn state(&self) -> EngineState {
        self.engine.state()
    }

    /// The last attempts of one webhook, newest first, at most `count`. The engine remembers at
    /// most [`DELIVERY_LOG_ENTRIES_MAX`](crate::base::limits::DELIVERY_LOG_ENTRIES_MAX) per worker.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn deliveries(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<DeliveryRecord>, WebhookError> {
        self.deliveries_matching(name, &DeliveryFilter { count, ..DeliveryFilter::default() })
    }

    /// Those of the last attempts of one webhook that `filter` wants, newest first. As
    /// [`WebhookManager::deliveries`], it finds what the engine remembers.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn deliveries_matching(
        &self,
        name: &str,
        filter: &DeliveryFilter,
    ) -> Result<Vec<DeliveryRecord>, WebhookError> {
        self.engine.deliveries(name, filter)
    }

    /// The deliveries of one webhook that were given up and are still kept, newest first, at most
    /// `count`. They are kept in memory, up to `max_dead` and `max_dead_bytes` of the
    /// configuration, until they are replayed or cleared, or the webhook is deleted.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn dead_letters(
        &self,
        name: &str,
        count: usize,
    ) -> Result<Vec<DeadLetterRecord>, WebhookError> {
        self.engine.dead_letters(name, count)
    }

    /// The body of a dead letter: the bytes that would be sent again.
    ///
    /// # Errors
    /// `NotFound`, `NotKept`, `Invalid`.
    pub fn dead_letter_body(&self, name: &str, id: &str) -> Result<Vec<u8>, WebhookError> {
        self.engine.dead_letter_body(name, id)
    }

    /// Throws the dead letters of one webhook away, those that wait for a replay included; gives
    /// their number.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn clear_dead_letters(&self, name: &str) -> Result<u64, WebhookError> {
        self.engine.clear_dead_letters(name)
    }

    /// Sends dead letters again, with the same id and the same bytes, and says how many were
    /// accepted. One after the other, at the rate, each leaves the dead letters and joins the end
    /// of its key's lane, as if it had been triggered then: what is pending for its key goes
    /// before it. Its attempts count from 1 anew; if it dies again, it is a dead letter again.
    /// While the webhook's queue is full the replay waits. When the webhook is disabled or its
    /// endpoint answers 410, the replay ends, and what was not sent stays a dead letter.
    ///
    /// # Errors
    /// `NotFound`, `Disabled`, `NotKept`, `Invalid`, `Start`, `ShutDown`; on an error nothing is
    /// sent.
    pub fn replay(&self, name: &str, request: &ReplayRequest) -> Result<u64, WebhookError> {
        self.engine.replay(name, request)
    }

    /// Triggers an event; waits while there is no room. Without persistence, that is all.
    ///
    /// With persistence it also waits until the log has kept its promise (DUR-1): An event whose
    /// `trigger().await` returned Ok survives kill -9. With `fsync = "always"` it also survives power
    /// loss; `everysec` (default) may lose the last 1-2 s on power loss only; `no` leaves it to the
    /// kernel.
    ///
    /// Dropping the future before it is ready gives the event up if there was no room yet; else only
    /// the waiting. To wait for many events at once, use [`WebhookManager::commit_group`].
    ///
    /// # Errors
    /// `EventTooLarge`, `Start`, `ShutDown`, `NotDurable`. With `ShutDown` and `NotDurable` the event
    /// may have been accepted all the same, but nothing is promised for it.
    pub async fn trigger(&self, trigger: WebhookTrigger) -> Result<(), WebhookError> {
        self.trigger_event(trigger.as_event(), WhenFull::Refuse).await
    }

    /// Like [`WebhookManager::trigger`], for a borrowed event. With [`WhenFull::Drop`] it waits
    /// for a worker's ring, and for webhooks that say `OnFull::Wait`; with [`WhenFull::DropNow`]
    /// only for the ring.
    ///
    /// # Errors
    /// As [`WebhookManager::trigger`].
    pub async fn trigger_event(
        &self,
        event: EventRef<'_>,
        when_full: WhenFull,
    ) -> Result<(), WebhookError> {
        let mut round = Round::new(&self.engine);
        std::future::poll_fn(|context| {
            let room = self.engine.room();
            room.poll(context, || match round.offer(&self.engine, &event, when_full) {
                Ok(Admission::Full) => None,
                Ok(Admission::Accepted | Admission::Unmatched) => Some(Ok(())),
                Err(error) => Some(Err(error)),
            })
        })
        .await?;
        std::future::poll_fn(|context| round.poll_committed(&self.engine, context)).await
    }

    /// A way to offer many events and to wait for them together, until the log has kept its promise
    /// for all of them. Without persistence there is nothing to wait for, and no cost.
    pub fn commit_group(&self) -> CommitGroup {
        CommitGroup::new(self.engine.clone())
    }

    /// Triggers an event if there is room; else gives it back. Never blocks, and promises nothing:
    /// with persistence too, the event may be lost until the log has it.
    ///
    /// # Errors
    /// [`TryTriggerError::QueueFull`] with the event, or why it will never be accepted.
    pub fn try_trigger(&self, trigger: WebhookTrigger) -> Result<(), TryTriggerError> {
        match self.offer(&trigger.as_event(), WhenFull::Refuse) {
            Ok(Admission::Accepted | Admission::Unmatched) => Ok(()),
            Ok(Admission::Full) => Err(TryTriggerError::QueueFull(QueueFull(Box::new(trigger)))),
            Err(error) => Err(TryTriggerError::Refused(error)),
        }
    }

    /// Offers an event: the call for hot threads. Never blocks, takes no lock, allocates nothing
    /// in steady traffic, and makes a system call only when it is the first after a time of
    /// idleness. Promises nothing: with persistence too, the event may be lost until the log has it;
    /// [`WebhookManager::commit_group`] tells when it has. A call that runs at the same time as [`WebhookManager::shutdown`] may be
    /// accepted and then left behind.
    ///
    /// # Errors
    /// `EventTooLarge`, `Start`, `ShutDown`.
    #[inline]
    pub fn offer(
        &self,
        event: &EventRef<'_>,
        when_full: WhenFull,
    ) -> Result<Admission, WebhookError> {
        self.engine.offer(event, when_full)
    }

    /// Everything that each webhook was told, secrets included, for hosts that keep definitions
    /// themselves. Never waits: `None` while another thread looks at the webhooks. In a copy of the
    /// process that has one thread (`fork`), it may stay so.
    #[doc(hidden)]
    pub fn definitions(&self) -> Option<Vec<super::WebhookDefinition>> {
        self.engine.definitions()
    }

    /// Whether any webhook that takes events wants this event of this key, by the patterns and
    /// events of now. For hosts that have to read a value before they can offer it.
    #[inline]
    pub fn wants(&self, event: WebhookEvent, key: &[u8]) -> bool {
        self.engine.wants(event, key)
    }

    /// Stops accepting events, waits until nothing is pending or `deadline` has passed, and stops
    /// the engine's threads. Says how many deliveries were left. Dead letters that wait for a replay
    /// do not hold it up. A second call returns at once.
    /// Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self, deadline: Duration) -> DrainReport {
        let mut pending = 0;
        let Some(workers) = self.engine.begin_shutdown(deadline) else {
            return DrainReport::default();
        };
        for worker in workers {
            pending += worker.await.unwrap_or(0);
        }
        self.engine.join();
        DrainReport { pending }
    }

    /// Makes a worker break down, for tests of what happens then.
    #[doc(hidden)]
    pub fn break_worker(&self, worker: usize) -> Result<(), WebhookError> {
        self.engine.break_worker(worker)
    }
}
