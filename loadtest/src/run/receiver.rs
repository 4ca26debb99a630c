//! The run's own receiver: answers 200 to everything, and measures when events arrive.
//!
//! It shares the clock of the generators, so that a latency needs no clock of another machine. It
//! is one thread on io_uring where that is allowed, on epoll where not.

use super::distribution::Times;
use super::error::RunError;
use super::pin;
use super::stamp::{self, Clock};
use memchr::memmem;
use monoio::buf::SliceMut;
use monoio::io::{
    AsyncReadRent, AsyncWriteRentExt, CancelHandle, CancelableAsyncReadRent, Canceller,
};
use monoio::net::{TcpListener, TcpStream, UnixStream};
use monoio::{IoUringDriver, LegacyDriver, RuntimeBuilder};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// Room for what one read can take.
const READ_BYTES: usize = 64 * 1024;
/// Longest head that is waited for.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Longest request that is waited for.
const REQUEST_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long the end of the connections is waited for, in milliseconds.
const STOP_MS_MAX: u64 = 1000;

/// What part of the events is measured: those intended from `from_ns` until before `until_ns`.
#[derive(Debug, Default)]
pub(super) struct Window {
    from_ns: AtomicU64,
    until_ns: AtomicU64,
}

impl Window {
    pub fn set(&self, from_ns: u64, until_ns: u64) {
        self.from_ns.store(from_ns, Ordering::Relaxed);
        self.until_ns.store(until_ns, Ordering::Relaxed);
    }

    #[inline]
    fn contains(&self, at_ns: u64) -> bool {
        let from = self.from_ns.load(Ordering::Relaxed);
        (from..self.until_ns.load(Ordering::Relaxed)).contains(&at_ns)
    }
}

/// The receiver, running.
#[derive(Debug)]
pub(super) struct Receiver {
    addresses: Vec<SocketAddr>,
    window: Arc<Window>,
    /// The thread stops when this is closed.
    control: std::os::unix::net::UnixStream,
    thread: JoinHandle<Result<Times, RunError>>,
}

impl Receiver {
    /// Listens on `ports` ports of this machine.
    pub fn start(ports: usize, core: Option<usize>, clock: Clock) -> Result<Receiver, RunError> {
        let (control, far) = std::os::unix::net::UnixStream::pair().map_err(RunError::Receiver)?;
        far.set_nonblocking(true).map_err(RunError::Receiver)?;
        let (listening, addresses) = mpsc::channel();
        let window = Arc::new(Window::default());
        let seen = window.clone();
        let thread = std::thread::Builder::new().name("receiver".to_owned());
        let thread = thread
            .spawn(move || {
                core.map_or(Ok(()), pin)?;
                serve(ports, listening, far, clock, seen).map_err(RunError::Receiver)
            })
            .map_err(RunError::Thread)?;
        match addresses.recv() {
            Ok(addresses) => Ok(Receiver { addresses, window, control, thread }),
            Err(_) => match thread.join() {
                Ok(Err(error)) => Err(error),
                _ => Err(RunError::Broken),
            },
        }
    }

    /// Where it listens.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What part of the events it measures; none before this is set.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// Stops it. Returns the times from intended to arrived.
    pub fn stop(self) -> Result<Times, RunError> {
        drop(self.control);
        self.thread.join().unwrap_or(Err(RunError::Broken))
    }
}

/// What the tasks of the receiver share.
struct Shared {
    clock: Clock,
    window: Arc<Window>,
    finder: memmem::Finder<'static>,
    times: RefCell<Times>,
    tasks: Cell<usize>,
}

/// Serves until `control` is closed.
fn serve(
    ports: usize,
    listening: mpsc::Sender<Vec<SocketAddr>>,
    control: std::os::unix::net::UnixStream,
    clock: Clock,
    window: Arc<Window>,
) -> io::Result<Times> {
    let times = RefCell::new(Times::new());
    let shared = Shared { clock, window, finder: stamp::finder(), times, tasks: Cell::new(0) };
    let shared = Rc::new(shared);
    let main = serve_until_closed(ports, listening, control, shared.clone());
    // Completions are run when the thread asks for them: see `io/driver.rs` of the engine.
    let mut ring = io_uring::IoUring::builder();
    ring.setup_single_issuer().setup_defer_taskrun();
    match RuntimeBuilder::<IoUringDriver>::new().uring_builder(ring).enable_timer().build() {
        Ok(mut runtime) => runtime.block_on(main)?,
        Err(_) => RuntimeBuilder::<LegacyDriver>::new().enable_timer().build()?.block_on(main)?,
    }
    Ok(shared.times.replace(Times::new()))
}

async fn serve_until_closed(
    ports: usize,
    listening: mpsc::Sender<Vec<SocketAddr>>,
    control: std::os::unix::net::UnixStream,
    shared: Rc<Shared>,
) -> io::Result<()> {
    let mut control = UnixStream::from_std(control)?;
    let listen = |_| TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let listeners: Vec<TcpListener> = (0..ports).map(listen).collect::<io::Result<_>>()?;
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
    let canceller = Canceller::new();
    for listener in listeners {
        spawn(&shared, accept(listener, shared.clone(), canceller.handle()));
    }
    let _ = listening.send(addresses);
    let _ = control.read(vec![0; 1]).await;
    // Buffers that the kernel still writes to must not be freed: every operation ends first.
    let _canceller = canceller.cancel();
    for _ in 0..STOP_MS_MAX {
        if shared.tasks.get() == 0 {
            break;
        }
        monoio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

fn spawn(shared: &Rc<Shared>, task: impl Future<Output = ()> + 'static) {
    let shared = shared.clone();
    shared.tasks.set(shared.tasks.get() + 1);
    monoio::spawn(async move {
        task.await;
        shared.tasks.set(shared.tasks.get() - 1);
    });
}

async fn accept(listener: TcpListener, shared: Rc<Shared>, cancel: CancelHandle) {
    while let Ok((stream, _)) = listener.cancelable_accept(cancel.clone()).await {
        let _ = stream.set_nodelay(true);
        spawn(&shared, answer(stream, shared.clone(), cancel.clone()));
    }
}

/// Answers every request of one connection; pipelined ones in one write.
async fn answer(mut stream: TcpStream, shared: Rc<Shared>, cancel: CancelHandle) {
    let mut buffer = Vec::with_capacity(READ_BYTES);
    let mut responses = Vec::new();
    loop {
        let (filled, room) = (buffer.len(), buffer.capacity());
        let slice = SliceMut::new(buffer, filled, room);
        let (read, slice) = stream.cancelable_read(slice, cancel.clone()).await;
        buffer = slice.into_inner();
        if !matches!(read, Ok(read) if read > 0) {
            return;
        }
        responses.clear();
        let Ok(wanted) = take_requests(&mut buffer, &mut responses, &shared) else { return };
        if buffer.capacity() < wanted.max(buffer.len() + 1) {
            buffer.reserve(wanted.max(buffer.len() + READ_BYTES) - buffer.len());
        }
        if !responses.is_empty() {
            let (written, used) = stream.write_all(responses).await;
            responses = used;
            if written.is_err() {
                return;
            }
        }
    }
}

/// Takes whole requests off the front of `buffer`, each with its time and an answer. Returns how
/// long the one under way is, if that is known.
fn take_requests(
    buffer: &mut Vec<u8>,
    responses: &mut Vec<u8>,
    shared: &Shared,
) -> Result<usize, Malformed> {
    let arrived_ns = shared.clock.now_ns();
    let (mut at, mut wanted) = (0, 0);
    let mut times = shared.times.borrow_mut();
    while let Some((body_start, end)) = next_request(&buffer[at..])? {
        let (body_start, end) = (at + body_start, at + end);
        let Some(body) = buffer.get(body_start..end) else {
            wanted = end - at;
            break;
        };
        for intended_us in stamp::intended_us(body, &shared.finder) {
            let intended_ns = shared.clock.since_start_ns(intended_us);
            if shared.window.contains(intended_ns) {
                times.record_ns(arrived_ns.saturating_sub(intended_ns));
            }
        }
        responses.extend_from_slice(RESPONSE);
        at = end;
    }
    if at == buffer.len() {
        buffer.clear();
    } else {
        buffer.drain(..at);
    }
    Ok(wanted)
}

/// What came is no request that the engine sends.
#[derive(Debug, PartialEq)]
struct Malformed;

/// Where the body of the request at the front of `bytes` begins and ends, when its head is there.
fn next_request(bytes: &[u8]) -> Result<Option<(usize, usize)>, Malformed> {
    let Some(head) = memmem::find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    let length = content_length(&bytes[..head + 2]).ok_or(Malformed)?;
    let body = head + 4;
    let end = body.checked_add(length).filter(|end| *end <= REQUEST_BYTES_MAX);
    Ok(Some((body, end.ok_or(Malformed)?)))
}

/// The Content-Length in a head; 0 if there is none.
fn content_length(head: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"\r\nContent-Length:";
    let Some(at) = memmem::find(head, NAME) else { return Some(0) };
    let value = &head[at + NAME.len()..];
    let end = memchr::memchr(b'\r', value)?;
    std::str::from_utf8(&value[..end]).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn requests_are_found_however_they_are_cut() {
        let clock = Clock::start();
        let us = clock.unix_us(5_000_000);
        let body = format!("{{\"data\":{{\"value\":\"#3#{us}#vv\"}}}}");
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
        let two = [&head, &body, &head, &body].map(String::as_str).concat().into_bytes();
        for cut in 0..two.len() {
            let window = Arc::new(Window::default());
            window.set(5_000_000, 5_000_001);
            let shared = Shared {
                clock,
                window,
                finder: stamp::finder(),
                times: RefCell::new(Times::new()),
                tasks: Cell::new(0),
            };
            let (mut buffer, mut responses) = (Vec::new(), Vec::new());
            for piece in [&two[..cut], &two[cut..]] {
                buffer.extend_from_slice(piece);
                take_requests(&mut buffer, &mut responses, &shared).unwrap();
            }
            assert!(buffer.is_empty());
            assert_eq!(responses, [RESPONSE, RESPONSE].concat(), "cut at {cut}");
            assert_eq!(shared.times.borrow().result().unwrap().count, 2, "cut at {cut}");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        assert_eq!(next_request(b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"), Err(Malformed));
        assert_eq!(next_request(&vec![b'x'; HEAD_BYTES_MAX + 1]), Err(Malformed));
        let huge = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", usize::MAX);
        assert_eq!(next_request(huge.as_bytes()), Err(Malformed));
    }

    #[test]
    fn it_answers_and_stops_while_connections_are_open() {
        let receiver = Receiver::start(2, None, Clock::start()).unwrap();
        let mut streams: Vec<std::net::TcpStream> = receiver
            .addresses()
            .iter()
            .map(|address| std::net::TcpStream::connect(address).unwrap())
            .collect();
        for stream in &mut streams {
            stream.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi").unwrap();
            let mut answer = vec![0; RESPONSE.len()];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, RESPONSE);
        }
        assert!(receiver.stop().unwrap().result().is_none());
        // Its end was closed.
        assert_eq!(streams[0].read(&mut [0]).unwrap(), 0);
    }
}
