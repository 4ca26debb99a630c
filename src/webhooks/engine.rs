//! What the handle's clones share: the registry, and the threads once they run.

mod deliveries;

use super::commit::Waiters;
use super::durable::Durable;
use super::lasting::{self, Saver};
use super::masking::Masking;
use super::tls::{tls_material, tls_profile_names};
use super::{
    Admission, DeliveryRecord, EngineState, EngineStats, EventRef, EventValue, SecurityConfig,
    TestReport, WebhookAuth, WebhookConfig, WebhookError, WebhookInfo, WebhookOptions,
    WebhookStats, WebhookStatus, WebhookUpdate, WhenFull,
};
use crate::base::hash::{KeyHasher, worker_of};
use crate::base::limits;
use crate::base::oneshot::{Receiver, oneshot};
use crate::base::random;
use crate::base::time::{Clock, unix_us};
use crate::core::address_policy::AddressPolicy;
use crate::core::dead_letters::{DeadLimits, DeadTally};
use crate::core::event::EventMask;
use crate::core::http::proxy::Proxy;
use crate::core::http::shown_url::shown_url;
use crate::core::ledger::{AttemptRecord, Tally};
use crate::core::on_full::OnFull;
use crate::core::packed::{Stamp, pack};
use crate::core::retry::RetryPolicy;
use crate::core::shard::{BreakerPolicy, Isolation, ShardConfig, Shared, TestOutcome};
use crate::core::signature::SigningKey;
use crate::core::snapshot::{Published, Snapshot};
use crate::inbox::Room;
use crate::io::DriverKind;
use crate::io::dns::{Lookup, Resolver};
use crate::io::ringer::{self, RingerHandle};
use crate::io::tls::TlsSettings;
use crate::io::worker::{self, Control, WorkerParts, WorkerShared};
use crate::registry::{
    Auth, Registry, RegistryConfig, RegistryError, Settings, SettingsError, Webhook,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Engine {
    pub(super) config: WebhookConfig,
    workers: usize,
    registry: Result<Arc<Registry>, WebhookError>,
    pub(super) published: Option<Arc<Published>>,
    pub(super) shared: Arc<Shared>,
    /// Where webhooks may lead.
    addresses: Arc<AddressPolicy>,
    proxy: Option<Arc<Proxy>>,
    /// Answers instead of the operating system, in tests.
    lookup: Option<FakeLookup>,
    room: Arc<Room>,
    hasher: KeyHasher,
    pub(super) clock: Clock,
    pub(super) running: OnceLock<Result<Running, WebhookError>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    closed: AtomicBool,
    /// Callers that wait for the durable log; `None` without persistence.
    pub(super) waiters: Option<Arc<Waiters>>,
    /// Saves what workers decide, if webhooks survive restarts.
    _saver: Option<Saver>,
}

/// Looks names up in tests. Its answers are not remembered.
struct FakeLookup(Arc<Lookup>);

impl std::fmt::Debug for FakeLookup {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("FakeLookup")
    }
}

/// The engine's threads.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) workers: Vec<Arc<WorkerShared>>,
    ringer: RingerHandle,
    pub(super) driver: DriverKind,
    /// The durable log, with persistence.
    pub(super) durable: Option<Durable>,
    /// By worker, how often it had looked for events when it was last woken by one who waits.
    rung_at: Vec<AtomicU64>,
}

impl Engine {
    pub(super) fn new(config: WebhookConfig, lookup: Option<Arc<Lookup>>) -> Self {
        let workers = match config.workers.workers {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            workers => workers,
        };
        let workers = workers.min(limits::WORKERS_MAX);
        let outward = check(&config).and_then(|()| Ok((policy_of(&config)?, proxy_of(&config)?)));
        let outward = outward.map(|(addresses, proxy)| (Arc::new(addresses), proxy));
        let registry = outward.clone().and_then(|(addresses, proxy)| {
            let lasting = lasting::open(&config.queue)?;
            let registry = Registry::new(RegistryConfig {
                webhooks_max: config.max_webhooks,
                pending_max: config.queue.max_pending,
                batch_size_max: config.max_batch_size as u32,
                workers,
                tls_profiles: tls_profile_names(&config.security),
                addresses,
                proxy,
                dead: DeadLimits {
                    letters_max: config.queue.max_dead,
                    bytes_max: config.queue.max_dead_bytes,
                },
                keeper: lasting.keeper.clone(),
            });
            let registry = registry.map_err(|error| WebhookError::Start(error.to_string()))?;
            lasting.restore(&registry)?;
            Ok(Arc::new(registry))
        });
        let saver = registry.clone().and_then(|registry| Saver::start_for(&config.queue, registry));
        let (registry, saver) = match saver {
            Ok(saver) => (registry, saver),
            Err(error) => (Err(error), None),
        };
        let (addresses, proxy) = outward.unwrap_or_default();
        let room = Arc::new(Room::default());
        let persistent = config.queue.persistence;
        Engine {
            waiters: persistent.then(|| Arc::new(Waiters::new(room.clone()))),
            config,
            workers,
            published: registry.as_ref().ok().map(|registry| registry.published().clone()),
            registry,
            shared: Arc::new(Shared::new(workers)),
            addresses,
            proxy,
            lookup: lookup.map(FakeLookup),
            room,
            hasher: KeyHasher::new(random::seed()),
            clock: Clock::start(),
            running: OnceLock::new(),
            threads: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
            _saver: saver,
        }
    }

    pub(super) fn registry(&self) -> Result<&Registry, WebhookError> {
        self.registry.as_deref().map_err(Clone::clone)
    }

    pub(super) fn room(&self) -> &Room {
        &self.room
    }

    /// The engine's threads, started if need be.
    #[inline]
    pub(super) fn running(&self) -> Result<&Running, WebhookError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(WebhookError::ShutDown);
        }
        self.running.get_or_init(|| self.start()).as_ref().map_err(Clone::clone)
    }

    /// How far the engine's threads are; starts nothing.
    pub(super) fn state(&self) -> EngineState {
        match self.running.get() {
            _ if self.closed.load(Ordering::Acquire) => EngineState::Stopping,
            Some(Ok(_)) => EngineState::Running,
            Some(Err(_)) => EngineState::Failed,
            None => EngineState::NotStarted,
        }
    }

    fn start(&self) -> Result<Running, WebhookError> {
        let fail = |error: &dyn std::fmt::Display| WebhookError::Start(error.to_string());
        let published = self.registry()?.published().clone();
        let material = tls_material(&self.config.security).map_err(|error| fail(&error))?;
        let driver = crate::io::detect_driver(self.config.workers.force_epoll);
        match &driver {
            DriverKind::Epoll(why) => tracing::warn!("workers run on epoll: {why}"),
            driver => tracing::info!("workers run on {driver}"),
        }
        let resolver = match &self.lookup {
            Some(FakeLookup(lookup)) => Resolver::start_forgetful(lookup.clone()),
            None => Resolver::start(),
        };
        let resolver = Arc::new(resolver.map_err(|error| fail(&error))?);
        let durable = self.open_log()?;
        let boot = durable.as_ref().map_or_else(random::boot_id, Durable::boot);
        let ringer_slot = Arc::new(OnceLock::new());
        let mut workers = Vec::with_capacity(self.workers);
        let mut threads = Vec::with_capacity(self.workers + 1);
        for worker in 0..self.workers {
            let options = &self.config.workers;
            let parts = WorkerParts {
                shard: ShardConfig {
                    worker,
                    workers: self.workers,
                    boot,
                    seed: random::seed(),
                    endpoint_connections_max: options.max_connections_per_endpoint,
                    connections_max: options.max_connections,
                    idle_timeout_ms: options.idle_timeout_ms,
                    isolation: isolation_of(&self.config.delivery),
                },
                shared: self.shared.clone(),
                published: published.clone(),
                room: self.room.clone(),
                resolver: resolver.clone(),
                addresses: self.addresses.clone(),
                proxy: self.proxy.clone(),
                tls: TlsSettings::new(&material).map_err(|error| fail(&error))?,
                clock: self.clock,
                driver: driver.clone(),
                pin_core: match options.pin_cores.len() {
                    0 => None,
                    cores => Some(options.pin_cores[worker % cores]),
                },
                ring_events: self.config.queue.ring_events,
                ringer: ringer_slot.clone(),
                journal: durable.as_ref().and_then(|durable| durable.journal(worker)),
            };
            let (shared, thread) = worker::start(parts).map_err(|error| {
                workers.iter().for_each(|worker: &Arc<WorkerShared>| worker.control(Control::Stop));
                fail(&error)
            })?;
            workers.push(shared);
            threads.push(thread);
        }
        if let Some(durable) = &durable {
            durable.connect(&workers, &self.hasher).map_err(|error| fail(&error))?;
        }
        let inboxes = workers.iter().map(|worker| worker.inbox.clone()).collect();
        let (ringer, thread) = ringer::start(inboxes).map_err(|error| fail(&error))?;
        let _ = ringer_slot.set(ringer.clone());
        threads.push(thread);
        *self.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        let rung_at = workers.iter().map(|_| AtomicU64::new(u64::MAX)).collect();
        Ok(Running { workers, ringer, driver, durable, rung_at })
    }

    pub(super) fn add_own_listener(&self, listener: std::net::SocketAddr) {
        self.addresses.add_own_listener(listener);
    }

    /// Tells the workers of a new snapshot. Events bring the news too; this is for deliveries
    /// that wait without any.
    pub(super) fn poke_workers(&self) {
        if let Some(Ok(running)) = self.running.get() {
            running.workers.iter().for_each(|worker| worker.inbox.ring_doorbell());
        }
        // Whoever waits for a full queue may find that it is not wanted there any more.
        self.room.made();
    }

    pub(super) fn create(
        &self,
        name: &str,
        url: &str,
        options: WebhookOptions,
    ) -> Result<(), WebhookError> {
        self.running()?;
        let settings = self.settings(url, options);
        self.registry()?.create(name, settings, unix_us())?;
        self.poke_workers();
        Ok(())
    }

    fn settings(&self, url: &str, options: WebhookOptions) -> Settings {
        let delivery = &self.config.delivery;
        let retries = match options.retries {
            WebhookOptions::RETRIES_FROM_CONFIG => delivery.max_retries,
            retries => retries,
        };
        Settings {
            url: url.to_owned(),
            pattern: options.pattern.unwrap_or_else(|| "*".to_owned()),
            events: mask_of(&options.events),
            auth: auth_of(options.auth),
            headers: options.headers,
            secret: options.secret,
            signatures: options.signatures,
            retry: RetryPolicy {
                retries,
                delay_ms: options.retry_delay_ms.unwrap_or(delivery.retry_delay_ms),
                backoff: options.retry_backoff,
                multiplier: delivery.backoff_multiplier,
                delay_ms_max: delivery.max_retry_delay_ms,
                jitter: delivery.retry_jitter,
            },
            timeout_ms: options.timeout_ms.unwrap_or(delivery.timeout_ms),
            concurrency: options.concurrency.unwrap_or(delivery.concurrency),
            pipeline: options.pipeline.unwrap_or(1),
            batch: options.batch,
            batch_size: options.batch_size.unwrap_or(self.config.max_batch_size as u32),
            batch_interval_ms: options.batch_interval_ms.unwrap_or(self.config.batch_interval_ms),
            on_full: options.on_full,
            coalesce: options.coalesce,
            ordered: options.ordered,
            retired: Vec::new(),
            format: options.format,
            sequence: options.sequence,
            final_statuses: options.final_statuses,
            rate: options.rate,
            adaptive: options.adaptive,
            tls_profile: options.tls_profile,
            while_disabled: options.while_disabled,
        }
    }

    pub(super) fn update(&self, name: &str, update: WebhookUpdate) -> Result<(), WebhookError> {
        check_grace(&update)?;
        let before = self.registry()?.get(name)?;
        self.registry()?.update(name, |settings| apply(settings, update))?;
        // What an endpoint repeated of the old secrets is masked for good: they will be forgotten.
        let (masking, ledger) = (self.masking(&before.settings), &before.definition.ledger);
        for worker in 0..self.workers {
            ledger.log(worker).each_response(|response| masking.apply(response));
        }
        self.poke_workers();
        Ok(())
    }

    fn masking(&self, settings: &Settings) -> Masking {
        Masking::of(settings, self.config.security.proxy.as_ref())
    }

    pub(super) fn set_status(&self, name: &str, status: WebhookStatus) -> Result<(), WebhookError> {
        self.registry()?.set_status(name, status, unix_us())?;
        tracing::info!("webhook {name}: {} by command", status.name());
        self.poke_workers();
        Ok(())
    }

    pub(super) fn test(&self, name: &str) -> Result<Receiver<TestOutcome>, WebhookError> {
        let webhook = self.registry()?.get(name)?;
        webhook.check_not_held()?;
        let running = self.running()?;
        let masking = self.masking(&webhook.settings);
        let (sender, receiver) = oneshot();
        running.workers[0].control(Control::Test {
            definition: webhook.definition,
            reply: Box::new(move |mut outcome| {
                masking.apply(&mut outcome.response);
                sender.send(outcome);
            }),
        });
        Ok(receiver)
    }

    pub(super) fn list(&self) -> Vec<WebhookInfo> {
        let webhooks = self.registry().map(Registry::list).unwrap_or_default();
        webhooks.into_iter().map(|(name, webhook)| info_of(name, &webhook)).collect()
    }

    pub(super) fn definitions(&self) -> Option<Vec<super::WebhookDefinition>> {
        let webhooks = self.registry().ok()?.try_list()?;
        let definition = |(name, webhook)| super::WebhookDefinition::of(name, &webhook);
        Some(webhooks.into_iter().map(definition).collect())
    }

    pub(super) fn info(&self, name: &str) -> Result<WebhookInfo, WebhookError> {
        Ok(info_of(name.to_owned(), &self.registry()?.get(name)?))
    }

    pub(super) fn stats(&self) -> EngineStats {
        let webhooks = self.registry().map(Registry::list).unwrap_or_default();
        let active = webhooks
            .iter()
            .filter(|(_, webhook)| webhook.definition.ledger.status() == WebhookStatus::Active);
        let mut stats =
            EngineStats { active_webhooks: active.count() as u64, ..EngineStats::default() };
        stats.total_webhooks = webhooks.len() as u64;
        let mut tally = self.registry().map(Registry::restored).unwrap_or_default();
        for totals in &self.shared.totals {
            tally.add(&totals.deliveries);
            stats.connections_opened += totals.connections_opened.get();
            stats.connections_reused += totals.connections_reused.get();
            stats.worker_restarts += totals.restarts.get();
            stats.events_abandoned += totals.events_abandoned.get();
        }
        tally.add_unread(self.shared.unread.load(Ordering::Relaxed));
        let last =
            webhooks.iter().filter_map(|(_, webhook)| webhook.definition.ledger.last_delivery_us());
        let dead = webhooks.iter().map(|(_, webhook)| webhook.definition.ledger.dead().tally());
        stats.totals =
            stats_of(&tally, last.max(), dead.fold(DeadTally::default(), DeadTally::plus));
        if let Some(Ok(running)) = self.running.get() {
            stats.log = running.durable.as_ref().map(Durable::report);
            for worker in &running.workers {
                stats.doorbells_by_callers += worker.inbox.rung_by_callers();
                stats.doorbells += worker.inbox.rung_by_callers() + worker.inbox.rung_by_ringer();
            }
        }
        stats
    }

    #[inline]
    pub(super) fn wants(&self, event: super::WebhookEvent, key: &[u8]) -> bool {
        self.published.as_ref().is_some_and(|published| published.load().wants(event, key))
    }

    #[inline]
    pub(super) fn offer(
        &self,
        event: &EventRef<'_>,
        when_full: WhenFull,
    ) -> Result<Admission, WebhookError> {
        self.offer_with(event, when_full, || Some(0))
    }

    /// As [`Engine::offer`], for a caller that waits for the event: `waiter` gives its number, if
    /// somebody wants the event; `None` if there is no room for one more who waits.
    #[inline]
    pub(super) fn offer_with(
        &self,
        event: &EventRef<'_>,
        when_full: WhenFull,
        waiter: impl FnOnce() -> Option<u32>,
    ) -> Result<Admission, WebhookError> {
        let Some(published) = &self.published else {
            return Err(self.registry().err().unwrap_or(WebhookError::ShutDown));
        };
        let snapshot = published.load();
        if !snapshot.wants(event.event, event.key) {
            return Ok(Admission::Unmatched);
        }
        match waiter() {
            Some(waiter) => self.accept(event, when_full, &snapshot, waiter),
            None => Ok(Admission::Full),
        }
    }

    fn accept(
        &self,
        event: &EventRef<'_>,
        when_full: WhenFull,
        snapshot: &Snapshot,
        waiter: u32,
    ) -> Result<Admission, WebhookError> {
        let running = self.running()?;
        if !self.config.enabled {
            return Ok(Admission::Unmatched);
        }
        check_size(event)?;
        let some_full = self.shared.full_count.load(Ordering::Relaxed) != 0;
        let may_drop = match (some_full, when_full) {
            (false, _) => false,
            (true, when_full) => match (full_among(snapshot, event), when_full) {
                (Fullness::None, _) => false,
                (Fullness::Waits, WhenFull::Refuse | WhenFull::Drop)
                | (Fullness::All, WhenFull::Refuse) => return Ok(Admission::Full),
                _ => true,
            },
        };
        let key_hash = self.hasher.hash(event.database, event.key);
        let worker = &running.workers[worker_of(key_hash, running.workers.len())];
        let stamp = Stamp {
            key_hash,
            generation: snapshot.generation,
            may_drop,
            timestamp_us: event.timestamp_us.unwrap_or_else(unix_us),
            waiter,
        };
        let mut buffer = worker.inbox.buffer();
        pack(event, &stamp, &mut buffer);
        match worker.inbox.push(buffer) {
            Ok(()) => Ok(Admission::Accepted),
            Err(buffer) => {
                worker.inbox.give_back(buffer);
                Ok(Admission::Full)
            }
        }
    }

    /// Somebody begins to wait for events: workers that have some and do not look are woken, each
    /// once until it looks.
    pub(super) fn hurry(&self) {
        let Some(Ok(running)) = self.running.get() else { return };
        for (worker, rung_at) in running.workers.iter().zip(&running.rung_at) {
            let drains = worker.inbox.drains();
            if !worker.inbox.is_empty() && rung_at.swap(drains, Ordering::Relaxed) != drains {
                worker.inbox.ring_doorbell();
            }
        }
    }

    /// Stops accepting and asks the workers to drain; each answers with what is left.
    /// `None`: it was shut down before.
    pub(super) fn begin_shutdown(&self, deadline: Duration) -> Option<Vec<Receiver<u64>>> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return None;
        }
        let Some(Ok(running)) = self.running.get() else { return Some(Vec::new()) };
        let wait_ms = u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX);
        let deadline = self.clock.tick().plus_ms(wait_ms);
        // Callers that wait for room learn that none will come.
        self.room.made();
        let ask = |worker: &Arc<WorkerShared>| {
            let (sender, receiver) = oneshot();
            let done = Box::new(move |left| sender.send(left));
            worker.control(Control::Drain { deadline, done });
            receiver
        };
        Some(running.workers.iter().map(ask).collect())
    }

    /// Waits for the threads, which have been told to stop.
    pub(super) fn join(&self) {
        if let Some(Ok(running)) = self.running.get() {
            running.ringer.stop();
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join();
        }
        // After the workers, which hand their last acks over when they end.
        if let Some(Ok(Running { durable: Some(durable), .. })) = self.running.get() {
            durable.close();
        }
        // What was left in the rings is left for good.
        self.waiters.iter().for_each(|waiters| waiters.close());
        // What they counted last. The saver says so in the log if it fails for long.
        let _ = self.registry().map(Registry::save);
    }

    /// Opens the durable log, if there is to be one, and counts what earlier starts have left.
    fn open_log(&self) -> Result<Option<Durable>, WebhookError> {
        let Some(waiters) = &self.waiters else { return Ok(None) };
        let durable = Durable::open(&self.config.queue, self.workers, waiters.clone())?;
        for (_, webhook) in self.registry()?.list() {
            let left = durable.pending_of(webhook.definition.number);
            webhook.definition.ledger.set_unread(left);
            self.shared.unread.fetch_add(left, Ordering::Relaxed);
        }
        Ok(Some(durable))
    }

    pub(super) fn break_worker(&self, worker: usize) -> Result<(), WebhookError> {
        let running = self.running()?;
        running.workers[worker % running.workers.len()].control(Control::Panic);
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(Ok(running)) = self.running.get() {
            running.workers.iter().for_each(|worker| worker.control(Control::Stop));
            self.join();
        }
    }
}

enum Fullness {
    None,
    Some,
    All,
    /// One of the full ones wants callers to wait.
    Waits,
}

/// How many of the webhooks that want the event are full. Off the hot path: only asked while
/// some webhook of the engine is full.
fn full_among(snapshot: &Snapshot, event: &EventRef<'_>) -> Fullness {
    let mut slots = Vec::new();
    snapshot.matcher.find(event.event, event.key, &mut slots);
    let (mut active, mut full, mut waits) = (0, 0, false);
    for definition in slots.iter().filter_map(|&slot| snapshot.definition(slot)) {
        // One that was disabled by a 410 since the snapshot is passed by, full or not.
        if definition.takes_events() {
            active += 1;
            full += usize::from(definition.ledger.is_full());
            // Nobody waits for one that is disabled and keeps its events: it may be for long.
            waits |= definition.ledger.is_full()
                && definition.on_full == OnFull::Wait
                && definition.ledger.status() == WebhookStatus::Active;
        }
    }
    match full {
        0 => Fullness::None,
        _ if waits => Fullness::Waits,
        full if full == active => Fullness::All,
        _ => Fullness::Some,
    }
}

fn check_size(event: &EventRef<'_>) -> Result<(), WebhookError> {
    // Each part of a value costs its length, too, when it is packed.
    const PART_BYTES: usize = 4;
    let pairs = |pairs: &[(&[u8], &[u8])]| {
        let bytes = |(first, second): &(&[u8], &[u8])| first.len() + second.len() + 2 * PART_BYTES;
        pairs.iter().map(bytes).sum::<usize>()
    };
    let value = match event.value {
        EventValue::None => 0,
        EventValue::Bytes(bytes) => bytes.len(),
        EventValue::Items(items) => items.iter().map(|item| item.len() + PART_BYTES).sum(),
        EventValue::Pairs(fields) | EventValue::Scored(fields) => pairs(fields),
        EventValue::Entry { id, fields } => id.len() + pairs(fields),
    };
    let bytes = event.key.len()
        + value
        + event.old_value.map_or(0, <[u8]>::len)
        + event.new_key.map_or(0, <[u8]>::len)
        + event.client_id.map_or(0, str::len)
        + event.source_ip.map_or(0, str::len)
        + event.traceparent.map_or(0, str::len)
        + event.tracestate.map_or(0, str::len);
    let limit = limits::EVENT_BYTES_MAX;
    if bytes > limit { Err(WebhookError::EventTooLarge { bytes, limit }) } else { Ok(()) }
}

fn check(config: &WebhookConfig) -> Result<(), WebhookError> {
    let delivery = &config.delivery;
    let wrong = |what: &str| Err(WebhookError::Start(format!("configuration: {what}")));
    super::persistence::check(&config.queue)?;
    if config.workers.workers > limits::WORKERS_MAX {
        return wrong(&format!("workers must be at most {}", limits::WORKERS_MAX));
    }
    if !(delivery.backoff_multiplier >= 1.0 && delivery.backoff_multiplier.is_finite()) {
        return wrong("backoff_multiplier must be at least 1");
    }
    if !(0.0..=1.0).contains(&delivery.retry_jitter) {
        return wrong("retry_jitter must be between 0 and 1");
    }
    if delivery.max_retry_delay_ms > limits::RETRY_DELAY_MS_MAX {
        return wrong(&format!(
            "max_retry_delay_ms must be at most {}",
            limits::RETRY_DELAY_MS_MAX
        ));
    }
    if !(1..=limits::BATCH_SIZE_MAX as usize).contains(&config.max_batch_size) {
        return wrong(&format!("max_batch_size must be 1 to {}", limits::BATCH_SIZE_MAX));
    }
    if config.batch_interval_ms > limits::BATCH_INTERVAL_MS_MAX {
        return wrong(&format!(
            "batch_interval_ms must be at most {}",
            limits::BATCH_INTERVAL_MS_MAX
        ));
    }
    for (name, value) in [
        ("max_retry_after_ms", delivery.max_retry_after_ms),
        ("breaker_open_ms", delivery.breaker_open_ms),
        ("breaker_open_max_ms", delivery.breaker_open_max_ms),
    ] {
        if value > limits::RETRY_DELAY_MS_MAX {
            return wrong(&format!("{name} must be at most {}", limits::RETRY_DELAY_MS_MAX));
        }
    }
    if config.queue.ring_events > limits::RING_EVENTS_MAX {
        return wrong(&format!("ring_events must be at most {}", limits::RING_EVENTS_MAX));
    }
    for (name, value) in [
        ("max_pending", config.queue.max_pending),
        ("ring_events", config.queue.ring_events),
        ("max_connections", config.workers.max_connections),
        ("max_connections_per_endpoint", config.workers.max_connections_per_endpoint),
    ] {
        if value == 0 {
            return wrong(&format!("{name} must be at least 1"));
        }
    }
    Ok(())
}

fn isolation_of(config: &super::DeliveryConfig) -> Isolation {
    Isolation {
        retry_after_ms_max: config.max_retry_after_ms,
        breaker: BreakerPolicy {
            failures: config.breaker_failures,
            open_ms: config.breaker_open_ms,
            open_ms_max: config.breaker_open_max_ms.max(config.breaker_open_ms),
        },
        auto_disable_after_ms: config.auto_disable_after_ms,
    }
}

fn policy_of(config: &WebhookConfig) -> Result<AddressPolicy, WebhookError> {
    let SecurityConfig { block_private, allowed_hosts, .. } = &config.security;
    AddressPolicy::new(*block_private, allowed_hosts)
        .map_err(|error| WebhookError::Start(format!("configuration: allowed_hosts: {error}")))
}

fn proxy_of(config: &WebhookConfig) -> Result<Option<Arc<Proxy>>, WebhookError> {
    let SecurityConfig { proxy, no_proxy, .. } = &config.security;
    let parse = |url: &super::ProxyUrl| Proxy::parse(url.text(), no_proxy).map(Arc::new);
    let proxy = proxy.as_ref().map(parse).transpose();
    proxy.map_err(|error| WebhookError::Start(format!("configuration: {error}")))
}

fn mask_of(events: &[super::WebhookEvent]) -> EventMask {
    if events.is_empty() { EventMask::ALL } else { events.iter().copied().collect() }
}

fn auth_of(auth: Option<WebhookAuth>) -> Auth {
    match auth {
        None => Auth::None,
        Some(WebhookAuth::Bearer(token)) => Auth::Bearer(token),
        Some(WebhookAuth::Basic { user, password }) => Auth::Basic(user, password),
    }
}

fn check_grace(update: &WebhookUpdate) -> Result<(), WebhookError> {
    let wrong = |what: String| Err(WebhookError::Invalid(what));
    match (update.secret_grace_seconds, &update.secret) {
        (None, _) => Ok(()),
        (Some(seconds), _) if seconds > limits::SECRET_GRACE_SECONDS_MAX => {
            wrong(format!("GRACE must be at most {} seconds", limits::SECRET_GRACE_SECONDS_MAX))
        }
        (Some(_), Some(Some(_))) => Ok(()),
        (Some(_), _) => wrong("GRACE goes with a new SECRET".to_owned()),
    }
}

fn apply(settings: &mut Settings, update: WebhookUpdate) {
    fn set<T>(place: &mut T, value: Option<T>) {
        if let Some(value) = value {
            *place = value;
        }
    }
    set(&mut settings.url, update.url);
    set(&mut settings.pattern, update.pattern);
    set(&mut settings.events, update.events.map(|events| mask_of(&events)));
    set(&mut settings.auth, update.auth.map(auth_of));
    set(&mut settings.headers, update.headers);
    if let Some(secret) = update.secret {
        settings.change_secret(secret, update.secret_grace_seconds.unwrap_or(0), unix_us());
    }
    set(&mut settings.signatures, update.signatures);
    set(&mut settings.retry.retries, update.retries);
    set(&mut settings.retry.delay_ms, update.retry_delay_ms);
    set(&mut settings.retry.backoff, update.retry_backoff);
    set(&mut settings.timeout_ms, update.timeout_ms);
    set(&mut settings.concurrency, update.concurrency);
    set(&mut settings.pipeline, update.pipeline);
    set(&mut settings.batch, update.batch);
    set(&mut settings.batch_size, update.batch_size);
    set(&mut settings.batch_interval_ms, update.batch_interval_ms);
    set(&mut settings.on_full, update.on_full);
    set(&mut settings.coalesce, update.coalesce);
    set(&mut settings.ordered, update.ordered);
    set(&mut settings.format, update.format);
    set(&mut settings.sequence, update.sequence);
    set(&mut settings.final_statuses, update.final_statuses);
    set(&mut settings.rate, update.rate);
    set(&mut settings.adaptive, update.adaptive);
    set(&mut settings.tls_profile, update.tls_profile);
    set(&mut settings.while_disabled, update.while_disabled);
}

fn stats_of(tally: &Tally, last_delivery_us: Option<u64>, dead: DeadTally) -> WebhookStats {
    WebhookStats {
        triggered: tally.triggered,
        deliveries: tally.delivered + tally.dead,
        delivered: tally.delivered,
        failures: tally.dead,
        dropped: tally.dropped,
        cancelled: tally.cancelled,
        coalesced: tally.coalesced,
        pending: tally.pending,
        in_flight: tally.in_flight,
        attempts: tally.attempts,
        failed_attempts: tally.failed_attempts,
        last_delivery_us,
        latency_us_avg: tally.latency_us_sum.checked_div(tally.delivered).unwrap_or(0),
        replayed: tally.replayed,
        dead_letters: dead.kept,
        dead_forgotten: dead.forgotten,
        dead_cleared: dead.cleared,
        pending_on_disk: tally.spilled,
    }
}

fn info_of(name: String, webhook: &Webhook) -> WebhookInfo {
    let (settings, ledger) = (&webhook.settings, &webhook.definition.ledger);
    let signing = webhook.definition.signing.as_ref();
    let now = unix_us() / 1_000_000;
    let in_grace = settings.retired.iter().map(|retired| retired.until_unix_seconds);
    let in_grace: Vec<u64> = in_grace.filter(|until| *until > now).collect();
    let (breaker, hold_until_us) = ledger.gates();
    WebhookInfo {
        name,
        url: shown_url(&settings.url),
        pattern: settings.pattern.clone(),
        events: settings.events.iter().collect(),
        status: ledger.status(),
        created_at_us: webhook.created_at_us,
        auth: settings.auth.name(),
        header_names: settings.headers.iter().map(|(name, _)| name.clone()).collect(),
        signed: settings.secret.is_some(),
        signatures: settings.signatures,
        retries: settings.retry.retries,
        retry_delay_ms: settings.retry.delay_ms,
        retry_backoff: settings.retry.backoff,
        timeout_ms: settings.timeout_ms,
        concurrency: settings.concurrency,
        pipeline: settings.pipeline,
        batch: settings.batch,
        batch_size: settings.batch_size,
        batch_interval_ms: settings.batch_interval_ms,
        on_full: settings.on_full,
        coalesce: settings.coalesce,
        ordered: settings.ordered,
        format: settings.format,
        sequence: settings.sequence,
        key_id: signing.map(SigningKey::key_id),
        public_key: signing.and_then(SigningKey::public_key_text),
        old_secrets: in_grace.len(),
        old_secrets_until_us: in_grace.iter().max().map(|until| until * 1_000_000),
        while_disabled: settings.while_disabled,
        stats: stats_of(&ledger.tally(), ledger.last_delivery_us(), ledger.dead().tally()),
        status_since_us: ledger.status_since_us().unwrap_or(webhook.created_at_us),
        retry_after_until_us: Some(hold_until_us).filter(|&until| until > unix_us()),
        breaker,
        final_statuses: webhook.definition.final_statuses.to_vec(),
        rate: settings.rate,
        adaptive: settings.adaptive,
        window: ledger.window(),
        tls_profile: settings.tls_profile.clone(),
        held: webhook.held.as_ref().map(|held| held.why.to_string()),
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn record_of(attempt: &AttemptRecord) -> DeliveryRecord {
    DeliveryRecord {
        id: attempt.id.to_string(),
        batch_id: attempt.batch.map(|batch| batch.id(attempt.id.boot).batch_text()),
        batch_events: attempt.batch.map_or(0, |batch| batch.events),
        event: attempt.event,
        key: attempt.key.clone(),
        attempt: attempt.attempt,
        outcome: attempt.outcome,
        status: attempt.status,
        failure: attempt.failure,
        latency_us: attempt.latency_us,
        at_us: attempt.at_us,
        response: text_of(&attempt.response),
    }
}

impl From<TestOutcome> for TestReport {
    fn from(outcome: TestOutcome) -> Self {
        TestReport {
            id: outcome.id.to_string(),
            status: outcome.status,
            failure: outcome.failure,
            latency_us: outcome.latency_us,
            response: text_of(&outcome.response),
            stages: outcome.stages,
        }
    }
}

impl From<RegistryError> for WebhookError {
    fn from(error: RegistryError) -> Self {
        match error {
            RegistryError::NotFound(name) => WebhookError::NotFound(name),
            RegistryError::Exists(name) => WebhookError::Exists(name),
            RegistryError::LimitReached(limit) => WebhookError::LimitReached(limit),
            RegistryError::Settings(SettingsError::HostDenied(host)) => {
                WebhookError::HostDenied(host)
            }
            RegistryError::NotKept(why) => WebhookError::NotSaved(why),
            other => WebhookError::Invalid(other.to_string()),
        }
    }
}
