//! The sink's threads: one accepts, the others serve.
//!
//! The accepting thread hands the connections out in turn, so that every core has as many as the
//! others: with a `SO_REUSEPORT` listener each, 64 connections would rarely be shared evenly.

use super::connection;
use super::options::Options;
use super::order::OrderCheck;
use super::recorder::RecorderHandle;
use super::signatures::SignatureCheck;
use super::stats::{Counters, ThreadCounters};
use super::tls::TlsSettings;
use monoio::io::AsyncReadRent;
use monoio::time::TimeDriver;
use monoio::{FusionRuntime, IoUringDriver, LegacyDriver, RuntimeBuilder};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{self, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Entries of a ring's submission queue.
const RING_ENTRIES: u32 = 1024;
/// After a stop, connections have this long to end.
const STOP_MS: u64 = 500;
/// The kernel takes as much again for itself; small, so that the sender feels slow reads.
const SLOW_RECEIVE_BUFFER_BYTES: usize = 4096;

/// Microseconds since 1970 that never go back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    started_us: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started: Instant::now(), started_us: since.as_micros() as u64 }
    }

    pub(super) fn now_us(&self) -> u64 {
        self.started_us + self.started.elapsed().as_micros() as u64
    }
}

/// What all threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) counters: Counters,
    pub(super) clock: Clock,
    pub(super) signatures: Option<SignatureCheck>,
    pub(super) order: Option<OrderCheck>,
    pub(super) recorder: Option<RecorderHandle>,
    pub(super) tls: Option<TlsSettings>,
    pub(super) stopping: AtomicBool,
}

/// How many threads serve.
fn threads(options: &Options) -> usize {
    options.cores.len().max(1)
}

/// Counters for as many threads as the options ask for.
pub(super) fn new_counters(options: &Options) -> Counters {
    Counters::new(threads(options))
}

impl Shared {
    /// How many threads serve.
    pub(super) fn threads(&self) -> usize {
        threads(&self.options)
    }

    pub(super) fn recorder(&self) -> Option<&RecorderHandle> {
        self.recorder.as_ref()
    }

    /// Whether requests are looked at beyond their frame.
    pub(super) fn looks(&self) -> bool {
        self.signatures.is_some() || self.watches()
    }

    /// Whether it matters who got which answer when.
    pub(super) fn watches(&self) -> bool {
        self.order.is_some() || self.recorder.is_some()
    }

    pub(super) fn reset(&self) {
        self.counters.reset();
        if let Some(order) = &self.order {
            order.reset();
        }
    }
}

/// What the connections of one thread share.
#[derive(Debug)]
pub(super) struct Thread {
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Arc<ThreadCounters>,
    /// Open connections by number, so that a stop can end them.
    open: RefCell<HashMap<u64, Rc<TcpStream>>>,
}

/// A connection and its number.
pub(super) type Accepted = (u64, TcpStream);

/// The accepting thread's way to a serving one. When it is dropped, the thread ends.
#[derive(Debug)]
pub(super) struct Outlet {
    pub(super) sender: Sender<Accepted>,
    pub(super) doorbell: UnixStream,
}

/// Accepts until the listener is shut down.
pub(super) fn accept(shared: &Shared, listener: &TcpListener, outlets: &mut [Outlet]) {
    for number in 0_u64.. {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok((stream, _)) = accepted else {
            // Most likely too many open files: give connections time to end.
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let _ = stream.set_nodelay(true);
        let outlet = &mut outlets[number as usize % shared.threads()];
        if outlet.sender.send((number, stream)).is_ok() {
            let _ = outlet.doorbell.write_all(&[1]);
        }
    }
}

/// Lets the accepting thread end.
pub(super) fn stop_accepting(shared: &Shared, listener: &TcpListener) {
    shared.stopping.store(true, Ordering::Release);
    let _ = socket2::SockRef::from(listener).shutdown(Shutdown::Both);
}

/// Serves what the outlet's other end sends, until it is dropped. `ready` hears how it began.
pub(super) fn run(
    index: usize,
    shared: Arc<Shared>,
    accepted: &Receiver<Accepted>,
    doorbell: UnixStream,
    ready: &Sender<io::Result<()>>,
) {
    let runtime = pin(shared.options.cores.get(index)).and_then(|()| build());
    let (mut runtime, is_epoll) = match runtime {
        Ok(runtime @ FusionRuntime::Uring(_)) => (runtime, false),
        Ok(runtime @ FusionRuntime::Legacy(_)) => (runtime, true),
        Err(error) => {
            let _ = ready.send(Err(error));
            return;
        }
    };
    let counters = shared.counters.of_thread(index);
    let thread = Rc::new(Thread { shared, counters, open: RefCell::default() });
    runtime.block_on(async {
        let bell = doorbell.set_nonblocking(is_epoll);
        let bell = bell.and_then(|()| monoio::net::UnixStream::from_std(doorbell));
        let mut bell = match bell {
            Ok(bell) => bell,
            Err(error) => {
                let _ = ready.send(Err(error));
                return;
            }
        };
        let _ = ready.send(Ok(()));
        let mut buffer = vec![0; 64];
        loop {
            let (read, used) = bell.read(buffer).await;
            buffer = used;
            for (number, stream) in accepted.try_iter() {
                if stream.set_nonblocking(is_epoll).is_ok() {
                    let _ = open(&thread, number, stream);
                }
            }
            if !matches!(read, Ok(read) if read > 0) {
                break;
            }
        }
        end_connections(&thread).await;
    });
}

fn pin(core: Option<&usize>) -> io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    monoio::utils::bind_to_cpu_set([*core])
        .map_err(|error| io::Error::other(format!("core {core}: {error}")))
}

type Runtime = FusionRuntime<TimeDriver<IoUringDriver>, TimeDriver<LegacyDriver>>;

/// The fastest runtime that this machine has: io_uring that defers its work to us, plain
/// io_uring, or epoll.
fn build() -> io::Result<Runtime> {
    let uring = |ring| {
        let builder = RuntimeBuilder::<IoUringDriver>::new().uring_builder(ring);
        builder.with_entries(RING_ENTRIES).enable_timer().build().map(FusionRuntime::Uring)
    };
    if monoio::utils::detect_uring() {
        let mut deferred = io_uring::IoUring::builder();
        deferred.setup_single_issuer().setup_defer_taskrun();
        if let Ok(runtime) = uring(deferred).or_else(|_| uring(io_uring::IoUring::builder())) {
            return Ok(runtime);
        }
    }
    let builder = RuntimeBuilder::<LegacyDriver>::new().with_entries(RING_ENTRIES);
    builder.enable_timer().build().map(FusionRuntime::Legacy)
}

/// Starts to serve one connection.
fn open(thread: &Rc<Thread>, number: u64, stream: TcpStream) -> io::Result<()> {
    if thread.shared.options.faults.slow_reads.is_some() {
        socket2::SockRef::from(&stream).set_recv_buffer_size(SLOW_RECEIVE_BUFFER_BYTES)?;
    }
    let handle = Rc::new(stream.try_clone()?);
    let stream = monoio::net::TcpStream::from_std(stream)?;
    thread.open.borrow_mut().insert(number, handle.clone());
    thread.counters.connections_opened.add(1);
    let thread = thread.clone();
    monoio::spawn(async move {
        connection::serve(thread.clone(), stream, handle, number).await;
        thread.counters.connections_closed.add(1);
        thread.open.borrow_mut().remove(&number);
    });
    Ok(())
}

/// Ends all connections, and waits for the kernel to give their buffers back.
async fn end_connections(thread: &Thread) {
    for stream in thread.open.borrow().values() {
        let _ = stream.shutdown(Shutdown::Both);
    }
    for _ in 0..STOP_MS {
        monoio::time::sleep(Duration::from_millis(1)).await;
        if thread.open.borrow().is_empty() {
            return;
        }
    }
}
