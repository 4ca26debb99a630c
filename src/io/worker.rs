//! One worker: a thread, its runtime, its shard and its inbox.
//!
//! Tasks: one per connection, one that waits for the doorbell, one that waits for the shard's next
//! deadline. No task wakes itself (with monoio 0.2 it would starve the others), and none of their
//! operations is dropped on a connection that is kept. Events are taken in from the completion
//! path: whenever a connection has read something, so that I/O and intake take turns by
//! themselves; the doorbell is needed only while nothing is under way.

use super::connection::{self, Link};
use super::dns::{Addresses, Resolver};
use super::doorbell::{Bell, Ring};
use super::driver::{self, DriverKind};
use super::ringer::RingerHandle;
use super::signal::Signal;
use super::thread_time::ThreadTime;
use super::tls::TlsSettings;
use crate::base::limits;
use crate::base::time::{Clock, Now, Tick};
use crate::core::address_policy::AddressPolicy;
use crate::core::dead_letters::KeptPlace;
use crate::core::http::proxy::Proxy;
use crate::core::journal::{Fetched, Journal};
use crate::core::packed;
use crate::core::replay::Replay;
use crate::core::shard::{Action, ConnectionId, Shard, ShardConfig, Shared, TestOutcome};
use crate::core::snapshot::{Definition, Published};
use crate::inbox::{Inbox, Room};
use monoio::io::AsyncReadRent;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

/// Time that cancelled operations get to end before the worker's ring is closed.
const LAST_OPERATIONS_MS: u64 = 5;
/// Time until a worker that cannot run (no file descriptor left, say) tries again.
const CANNOT_RUN_PAUSE_MS: u64 = 100;

/// Takes an answer, once, on the worker's thread.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// What a worker is asked, beside events.
pub enum Control {
    /// A name was resolved for a connection.
    Resolved {
        /// Which.
        connection: ConnectionId,
        /// Its addresses.
        addresses: Addresses,
    },
    /// Send a test delivery.
    Test {
        /// To which webhook.
        definition: Arc<Definition>,
        /// Takes the outcome.
        reply: Reply<TestOutcome>,
    },
    /// Send kept events again.
    Replay(Replay),
    /// Deliveries that were fetched from the journal.
    Fetched(Fetched),
    /// Dead letters were cleared that the journal knows of.
    LettersCleared {
        /// The webhook's lasting number.
        webhook: u64,
        /// The letters.
        places: Vec<KeptPlace>,
    },
    /// Stop when nothing is pending, at the latest at the deadline.
    Drain {
        /// The deadline.
        deadline: Tick,
        /// Takes the number of deliveries that are left.
        done: Reply<u64>,
    },
    /// Stop now.
    Stop,
    /// Break down: for tests of what happens then.
    Panic,
}

/// What a worker is made of.
#[derive(Debug)]
pub struct WorkerParts {
    /// The configuration of its shard; the worker's number is in it.
    pub shard: ShardConfig,
    /// What the shards share.
    pub shared: Arc<Shared>,
    /// The webhooks.
    pub published: Arc<Published>,
    /// Callers that wait for room.
    pub room: Arc<Room>,
    /// Resolves names.
    pub resolver: Arc<Resolver>,
    /// Where connections may lead.
    pub addresses: Arc<AddressPolicy>,
    /// The proxy on the way out.
    pub proxy: Option<Arc<Proxy>>,
    /// TLS settings, made for this worker.
    pub tls: TlsSettings,
    /// The engine's clock.
    pub clock: Clock,
    /// The kernel's interface to run on.
    pub driver: DriverKind,
    /// The core to run on; `None` leaves it to the kernel.
    pub pin_core: Option<usize>,
    /// Events this worker's ring holds.
    pub ring_events: usize,
    /// Woken when a caller has rung the doorbell.
    pub ringer: Arc<OnceLock<RingerHandle>>,
    /// Where its shard writes down what must outlive the process.
    pub journal: Option<Box<dyn Journal>>,
}

/// What other threads share with a worker.
pub struct WorkerShared {
    /// Its events.
    pub inbox: Arc<Inbox<Ring>>,
    controls: Mutex<VecDeque<Control>>,
    thread: OnceLock<ThreadTime>,
}

impl std::fmt::Debug for WorkerShared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WorkerShared").field("inbox", &self.inbox).finish_non_exhaustive()
    }
}

impl WorkerShared {
    /// Asks the worker for something, and wakes it.
    pub fn control(&self, control: Control) {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner).push_back(control);
        self.inbox.ring_doorbell();
    }

    /// Time that its thread has been running on a core, in microseconds, if the system tells.
    pub fn busy_us(&self) -> Option<u64> {
        self.thread.get()?.busy_us()
    }

    /// One at a time, so that a breakdown loses none of the others.
    fn next_control(&self) -> Option<Control> {
        self.controls.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// For a worker that cannot run: looks for orders to stop. Other requests are dropped, which
    /// tells those who wait.
    fn is_told_to_stop(&self, promises: &mut Promises) -> bool {
        let mut stop = promises.drain.is_some();
        while let Some(control) = self.next_control() {
            match control {
                Control::Stop => stop = true,
                Control::Drain { deadline, done } => {
                    promises.drain = Some((deadline, done));
                    stop = true;
                }
                _ => {}
            }
        }
        stop
    }
}

/// Starts a worker.
pub fn start(parts: WorkerParts) -> std::io::Result<(Arc<WorkerShared>, JoinHandle<()>)> {
    let (ring, bell) = super::doorbell::doorbell()?;
    let shared = Arc::new(WorkerShared {
        inbox: Arc::new(Inbox::new(parts.ring_events, ring)),
        controls: Mutex::new(VecDeque::new()),
        thread: OnceLock::new(),
    });
    // A runtime is tried first, so that a machine that cannot make one says so at once.
    let tried =
        std::thread::scope(|scope| scope.spawn(|| driver::build(&parts.driver).map(drop)).join());
    tried.map_err(|_| std::io::Error::other("the worker's runtime panicked"))??;
    let name = format!("webhook-worker-{}", parts.shard.worker);
    let thread = std::thread::Builder::new().name(name).spawn({
        let shared = shared.clone();
        move || run(parts, shared, &bell)
    })?;
    Ok((shared, thread))
}

/// The worker's thread: runs until it is told to stop, over breakdowns.
fn run(mut parts: WorkerParts, shared: Arc<WorkerShared>, bell: &Bell) {
    // What this thread logs, whatever it is about, names the worker.
    let _span = tracing::warn_span!("worker", number = parts.shard.worker).entered();
    if let Some(time) = ThreadTime::of_this_thread() {
        let _ = shared.thread.set(time);
    }
    if let Some(core) = parts.pin_core
        && let Err(error) = monoio::utils::bind_to_cpu_set([core])
    {
        tracing::warn!("worker {} could not be pinned to core {core}: {error}", parts.shard.worker);
    }
    let snapshot = parts.published.load_full();
    let mut shard = Shard::new(parts.shard.clone(), parts.shared.clone(), snapshot);
    if let Some(journal) = parts.journal.take() {
        shard.keep_journal(journal);
    }
    let parts = Rc::new(parts);
    let (mut promises, mut again, mut fetched) = (Promises::default(), None, None);
    loop {
        let worker = Rc::new(Worker::new(parts.clone(), shared.clone(), shard, promises));
        *worker.current.borrow_mut() = again.take();
        *worker.fetched.borrow_mut() = fetched.take();
        let ended = live(&worker, bell);
        let Some(left) = worker.shard.borrow_mut().take() else { return };
        promises = worker.promises.take();
        match ended {
            Ended::Stopped => return promises.keep(&left, &shared),
            Ended::CannotRun(error) => {
                tracing::error!("worker {} cannot run: {error}", parts.shard.worker);
                if shared.is_told_to_stop(&mut promises) {
                    return promises.keep(&left, &shared);
                }
                std::thread::sleep(Duration::from_millis(CANNOT_RUN_PAUSE_MS));
            }
            Ended::BrokeDown => tracing::error!(
                "worker {} broke down and is started again; {} deliveries are carried over",
                parts.shard.worker,
                left.pending()
            ),
        }
        shard = left.salvage(parts.clock.now());
        again = worker.current.borrow_mut().take();
        fetched = worker.fetched.borrow_mut().take();
        if worker.trying_again.get()
            && let Some(event) = again.take()
        {
            shard.handle_abandoned(packed::waiter(&event));
            parts.shared.totals[parts.shard.worker].events_abandoned.add(1);
            tracing::error!("an event that broke the worker twice is abandoned");
        }
    }
}

/// How a worker's life ended.
enum Ended {
    Stopped,
    BrokeDown,
    CannotRun(std::io::Error),
}

/// One life of a worker: a runtime, from its making to its end.
fn live(worker: &Rc<Worker>, bell: &Bell) -> Ended {
    let mut runtime = match driver::build(&worker.parts.driver) {
        Ok(runtime) => runtime,
        Err(error) => return Ended::CannotRun(error),
    };
    let main = AssertUnwindSafe(|| runtime.block_on(main(worker.clone(), bell)));
    let ended = match catch_unwind(main) {
        Ok(Ok(())) => Ended::Stopped,
        Ok(Err(error)) => Ended::CannotRun(error),
        Err(_) => Ended::BrokeDown,
    };
    // The kernel may still write into the buffers of operations that are under way, and monoio
    // frees them with the runtime. So every task is told to end, which cancels its operation, and
    // the runtime goes on for long enough to see them end.
    worker.ended.set(true);
    worker.shared.inbox.ring_doorbell();
    let last = async {
        worker.links.borrow().iter().flatten().for_each(|link| link.close());
        monoio::time::sleep(Duration::from_millis(LAST_OPERATIONS_MS)).await;
    };
    if catch_unwind(AssertUnwindSafe(|| runtime.block_on(last))).is_err() {
        // It cannot be ended safely: better to leak it.
        std::mem::forget(runtime);
    }
    ended
}

/// What a worker has promised to answer; carried over from life to life.
#[derive(Default)]
struct Promises {
    tests: HashMap<u64, Reply<TestOutcome>>,
    next_test: u64,
    drain: Option<(Tick, Reply<u64>)>,
}

impl Promises {
    /// The last life is over.
    fn keep(self, shard: &Shard, shared: &WorkerShared) {
        if let Some((_, done)) = self.drain {
            done(shard.pending() as u64 + shared.inbox.len() as u64);
        }
    }
}

/// A worker in one of its lives.
pub(super) struct Worker {
    pub(super) parts: Rc<WorkerParts>,
    shared: Arc<WorkerShared>,
    /// Taken out when this life ends.
    shard: RefCell<Option<Shard>>,
    /// By the connection's index.
    links: RefCell<Vec<Option<Rc<Link>>>>,
    /// The event that is being taken in: kept here so that a breakdown does not lose it.
    current: RefCell<Option<Vec<u8>>>,
    /// What was fetched and is being taken up: likewise.
    fetched: RefCell<Option<Fetched>>,
    /// It broke the last life already.
    trying_again: Cell<bool>,
    /// Its shard keeps a journal.
    keeps_journal: bool,
    /// Generation of the shard's snapshot.
    generation: Cell<u64>,
    promises: RefCell<Promises>,
    /// Buffers of writes that are done, for the next ones.
    write_buffers: RefCell<Vec<Vec<u8>>>,
    /// What the ticker sleeps until.
    armed: Cell<Option<Tick>>,
    ticker: Signal,
    stop: Signal,
    /// This life is over; tasks end.
    ended: Cell<bool>,
}

impl Worker {
    fn new(
        parts: Rc<WorkerParts>,
        shared: Arc<WorkerShared>,
        shard: Shard,
        promises: Promises,
    ) -> Self {
        let keeps_journal = shard.keeps_journal();
        Worker {
            parts,
            shared,
            shard: RefCell::new(Some(shard)),
            links: RefCell::default(),
            current: RefCell::default(),
            fetched: RefCell::default(),
            trying_again: Cell::default(),
            keeps_journal,
            generation: Cell::new(0),
            promises: RefCell::new(promises),
            write_buffers: RefCell::default(),
            armed: Cell::default(),
            ticker: Signal::default(),
            stop: Signal::default(),
            ended: Cell::default(),
        }
    }

    pub(super) fn now(&self) -> Now {
        self.parts.clock.now()
    }

    /// Lets `act` work on the shard, then does what the shard wants done.
    pub(super) fn with_shard<T>(self: &Rc<Self>, act: impl FnOnce(&mut Shard) -> T) -> T {
        let mut slot = self.shard.borrow_mut();
        let shard = slot.as_mut().expect("a worker's shard is there while its tasks run");
        let result = act(shard);
        // Before its connection is closed, which knows how long the stages of a test took.
        while let Some(mut outcome) = shard.poll_test() {
            if let Some(link) = self.link(outcome.connection) {
                outcome.stages = link.stages.report(outcome.began);
            }
            let reply = self.promises.borrow_mut().tests.remove(&outcome.token);
            if let Some(reply) = reply {
                reply(outcome);
            }
        }
        while let Some(action) = shard.poll_action() {
            self.perform(action);
        }
        let next = shard.poll_timeout();
        if next.is_some_and(|next| self.armed.get().is_none_or(|armed| next < armed)) {
            self.ticker.raise();
        }
        let draining = self.promises.borrow().drain.is_some();
        if draining && shard.pending() == 0 && self.shared.inbox.is_empty() {
            self.stop.raise();
        }
        result
    }

    /// A write is done. That alone wants nothing of the driver, so the rest of `with_shard` is
    /// left out. `true`: there is more to write.
    pub(super) fn handle_written(&self, connection: ConnectionId) -> bool {
        let mut slot = self.shard.borrow_mut();
        slot.as_mut().is_some_and(|shard| shard.handle_written(connection))
    }

    fn perform(self: &Rc<Self>, action: Action) {
        match action {
            Action::Open { connection, target } => {
                let link = Rc::new(Link::new(connection));
                let mut links = self.links.borrow_mut();
                let index = connection.index as usize;
                if links.len() <= index {
                    links.resize_with(index + 1, || None);
                }
                links[index] = Some(link.clone());
                monoio::spawn(connection::run(self.clone(), link, target));
            }
            Action::Wake(connection) => {
                if let Some(link) = self.link(connection) {
                    link.signal.raise();
                }
            }
            Action::Close(connection) => {
                if let Some(link) = self.link(connection) {
                    link.close();
                    self.links.borrow_mut()[connection.index as usize] = None;
                }
            }
            Action::RoomMade => self.parts.room.made(),
            Action::Notice(notice) => tracing::warn!("{notice}"),
        }
    }

    /// An empty buffer for a write.
    pub(super) fn write_buffer(&self) -> Vec<u8> {
        self.write_buffers.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes back the buffer of a write.
    pub(super) fn give_back_write_buffer(&self, mut buffer: Vec<u8>) {
        let mut buffers = self.write_buffers.borrow_mut();
        if buffer.capacity() <= limits::WRITE_BUFFER_KEPT_BYTES_MAX
            && buffers.len() < limits::WRITE_BUFFERS_KEPT_MAX
        {
            buffer.clear();
            buffers.push(buffer);
        }
    }

    /// The buffer, or `None` if there is nothing in it to write.
    pub(super) fn unless_empty(&self, buffer: Vec<u8>) -> Option<Vec<u8>> {
        if buffer.is_empty() {
            self.give_back_write_buffer(buffer);
            return None;
        }
        Some(buffer)
    }

    fn link(&self, id: ConnectionId) -> Option<Rc<Link>> {
        let links = self.links.borrow();
        let link = links.get(id.index as usize)?.as_ref()?;
        (link.id == id).then(|| link.clone())
    }

    /// A connection's task ends.
    pub(super) fn unlink(&self, id: ConnectionId) {
        if self.link(id).is_some() {
            self.links.borrow_mut()[id.index as usize] = None;
        }
    }

    /// Asks for the addresses of `host`; the link's signal is raised when they are there.
    pub(super) fn resolve(&self, link: &Link, host: &str) {
        let (shared, connection) = (self.shared.clone(), link.id);
        self.parts.resolver.resolve(
            host,
            Box::new(move |addresses| shared.control(Control::Resolved { connection, addresses })),
        );
    }

    /// Takes up to `events_max` events out of the inbox, under the newest snapshot.
    pub(super) fn take_in(self: &Rc<Self>, now: Now, events_max: usize) {
        let inbox = &self.shared.inbox;
        inbox.begin_drain();
        if self.keeps_journal && !self.with_shard(|shard| shard.handle_journal(now)) {
            // The journal has no room for more events now, and will ring.
            return;
        }
        let changed = self.generation.get() != self.parts.published.generation();
        if inbox.is_empty() && !changed {
            return;
        }
        self.with_shard(|shard| {
            self.take_over_snapshot(shard, now.tick, self.parts.published.generation());
            for _ in 0..events_max {
                let Some(event) = inbox.pop() else { break };
                // It may have been accepted under a snapshot published since we looked.
                self.take_over_snapshot(shard, now.tick, packed::generation(&event));
                *self.current.borrow_mut() = Some(event);
                if let Some(event) = &*self.current.borrow() {
                    shard.handle_event(now, event);
                }
                if let Some(event) = self.current.borrow_mut().take() {
                    inbox.give_back(event);
                }
            }
            shard.handle_journal(now);
        });
        self.parts.room.made();
    }

    /// Takes up what was fetched from the journal, also if the last life broke down over it.
    fn take_up_fetched(self: &Rc<Self>) {
        let now = self.now();
        self.with_shard(|shard| {
            if let Some(fetched) = &mut *self.fetched.borrow_mut() {
                shard.handle_fetched(now, fetched);
            }
        });
        self.fetched.borrow_mut().take();
    }

    fn take_over_snapshot(&self, shard: &mut Shard, now: Tick, generation: u64) {
        if shard.generation() < generation {
            shard.handle_snapshot(now, self.parts.published.load_full());
        }
        self.generation.set(shard.generation());
    }

    /// The event that broke the last life is tried once more.
    fn take_in_again(self: &Rc<Self>) {
        let now = self.now();
        self.trying_again.set(true);
        self.with_shard(|shard| {
            if let Some(event) = &*self.current.borrow() {
                shard.handle_event(now, event);
            }
        });
        self.trying_again.set(false);
        self.current.borrow_mut().take();
    }

    fn obey(self: &Rc<Self>, control: Control) {
        match control {
            Control::Resolved { connection, addresses } => {
                if let Some(link) = self.link(connection) {
                    *link.addresses.borrow_mut() = Some(addresses);
                    link.signal.raise();
                }
            }
            Control::Test { definition, reply } => {
                let token = {
                    let mut promises = self.promises.borrow_mut();
                    promises.next_test += 1;
                    let token = promises.next_test;
                    promises.tests.insert(token, reply);
                    token
                };
                let now = self.now();
                self.with_shard(|shard| shard.handle_test(now, definition, token));
            }
            Control::Replay(replay) => {
                let now = self.now();
                self.with_shard(|shard| shard.handle_replay(now.tick, replay));
            }
            Control::Fetched(fetched) => {
                *self.fetched.borrow_mut() = Some(fetched);
                self.take_up_fetched();
            }
            Control::LettersCleared { webhook, places } => {
                self.with_shard(|shard| shard.handle_letters_cleared(webhook, &places));
            }
            Control::Drain { deadline, done } => {
                self.promises.borrow_mut().drain = Some((deadline, done));
                self.take_in(self.now(), usize::MAX);
                self.with_shard(|shard| shard.handle_drain(self.now().tick));
                self.ticker.raise();
            }
            Control::Stop => self.stop.raise(),
            Control::Panic => panic!("asked to break down"),
        }
    }
}

/// A life's main task: starts the others and waits until it is time to stop. It only waits: with
/// monoio 0.2, a main future that wakes itself would never let I/O happen.
async fn main(worker: Rc<Worker>, bell: &Bell) -> std::io::Result<()> {
    let bell = bell.listen()?;
    // A caller may have rung the last life awake, which broke down before it told the ringer.
    if let Some(ringer) = worker.parts.ringer.get() {
        ringer.wake();
    }
    if worker.current.borrow().is_some() {
        worker.take_in_again();
    }
    if worker.fetched.borrow().is_some() {
        worker.take_up_fetched();
    }
    worker.with_shard(|_| ());
    if worker.promises.borrow().drain.is_some() {
        // The last life had been told, and it did not get through.
        worker.with_shard(|shard| shard.handle_drain(worker.now().tick));
    }
    monoio::spawn(listen(worker.clone(), bell));
    monoio::spawn(tick(worker.clone()));
    worker.stop.wait().await;
    Ok(())
}

/// Waits for the doorbell.
async fn listen(worker: Rc<Worker>, mut bell: monoio::net::UnixStream) {
    let mut buffer = Vec::with_capacity(64);
    loop {
        while let Some(control) = worker.shared.next_control() {
            worker.obey(control);
        }
        worker.take_in(worker.now(), limits::INTAKE_WHEN_WOKEN_MAX);
        buffer.clear();
        let (heard, used) = bell.read(buffer).await;
        buffer = used;
        if worker.ended.get() {
            return;
        }
        match heard {
            Ok(rings) if rings > 0 => {}
            // Without it the worker is deaf; in its next life it listens anew.
            _ => panic!("the doorbell is broken"),
        }
        if let Some(ringer) = worker.parts.ringer.get() {
            ringer.wake();
        }
    }
}

/// Waits for the shard's next deadline.
async fn tick(worker: Rc<Worker>) {
    loop {
        let next = worker.with_shard(|shard| shard.poll_timeout());
        let drain = worker.promises.borrow().drain.as_ref().map(|(deadline, _)| *deadline);
        let next = [next, drain].into_iter().flatten().min();
        worker.armed.set(next);
        match next {
            None => worker.ticker.wait().await,
            Some(next) => {
                let wait = next.since_us(worker.parts.clock.tick());
                let mut sleep = std::pin::pin!(monoio::time::sleep(Duration::from_micros(wait)));
                std::future::poll_fn(|context| {
                    let due = sleep.as_mut().poll(context).is_ready();
                    if due { Poll::Ready(()) } else { worker.ticker.poll(context) }
                })
                .await;
            }
        }
        if worker.ended.get() {
            return;
        }
        let now = worker.now();
        worker.with_shard(|shard| shard.handle_timeout(now));
        if drain.is_some_and(|deadline| deadline <= now.tick) {
            worker.stop.raise();
        }
    }
}
