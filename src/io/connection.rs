//! One connection: one long-lived task that opens it and carries exchange after exchange.
//!
//! A read is always posted, also while the connection is idle: so its end is noticed at once, and
//! bytes that nobody asked for are not taken for the next answer. The read is never dropped
//! unless the connection is closed with it.

use super::dns::Addresses;
use super::signal::Signal;
use super::tls::{Incoming, TlsSession};
use super::tunnel;
use super::vetting;
use super::worker::Worker;
use crate::base::limits;
use crate::base::time::Now;
use crate::core::failure::Failure;
use crate::core::shard::{Closed, ConnectionId, Step, Target};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt, OwnedReadHalf, OwnedWriteHalf, Splitable};
use monoio::net::TcpStream;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What a connection's task shares with the rest of its worker.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: ConnectionId,
    /// Raised when there is a request to write, when addresses have come, or when it is to close.
    pub(super) signal: Signal,
    closed: Cell<bool>,
    pub(super) addresses: RefCell<Option<Addresses>>,
}

impl Link {
    pub(super) fn new(id: ConnectionId) -> Self {
        Link {
            id,
            signal: Signal::default(),
            closed: Cell::new(false),
            addresses: RefCell::default(),
        }
    }

    /// Tells the task to close the connection.
    pub(super) fn close(&self) {
        self.closed.set(true);
        self.signal.raise();
    }
}

/// The link was closed: stop at once, there is nobody to report to.
struct Cancelled;

/// Lets `future` run until it is done or the link is closed. A signal for another reason is
/// passed on to whoever waits for it next.
async fn until_closed<T>(link: &Link, future: impl Future<Output = T>) -> Result<T, Cancelled> {
    let mut future = pin!(future);
    let mut signalled = false;
    let result = std::future::poll_fn(|context| {
        if link.signal.poll(context).is_ready() {
            signalled = true;
        }
        if link.closed.get() {
            return Poll::Ready(Err(Cancelled));
        }
        future.as_mut().poll(context).map(Ok)
    })
    .await;
    if signalled {
        link.signal.raise();
    }
    result
}

/// The connection's task.
pub(super) async fn run(worker: Rc<Worker>, link: Rc<Link>, target: Target) {
    // Boxed: what opening needs is given back before the connection idles for long.
    match Box::pin(open(&worker, &link, &target)).await {
        Err(Cancelled) => {}
        Ok(Err(failure)) => {
            let now = worker.now();
            worker.with_shard(|shard| shard.handle_connect_failed(now, link.id, failure));
        }
        Ok(Ok((stream, tls))) => {
            if worker.with_shard(|shard| shard.handle_connected(link.id)) {
                // Cancelled or closed: either way the shard knows.
                let _: Result<(), Cancelled> = exchange(&worker, &link, stream, tls).await;
            }
        }
    }
    worker.unlink(link.id);
}

/// Resolves, connects, and shakes hands. The exchange's deadline covers it from outside.
async fn open(
    worker: &Rc<Worker>,
    link: &Link,
    target: &Target,
) -> Result<Result<(TcpStream, Option<Box<TlsSession>>), Failure>, Cancelled> {
    let endpoint = &target.endpoint;
    let proxy = worker.parts.proxy.as_deref().filter(|proxy| proxy.carries(endpoint));
    let (host, port) = match proxy {
        Some(proxy) => (proxy.host(), proxy.port()),
        None => (&*endpoint.host, endpoint.port),
    };
    worker.resolve(link, host);
    let addresses = loop {
        if let Some(addresses) = link.addresses.borrow_mut().take() {
            break addresses;
        }
        link.signal.wait().await;
        if link.closed.get() {
            return Err(Cancelled);
        }
    };
    let mut stream = match connect(worker, link, &addresses, port, proxy.is_some()).await? {
        Ok(stream) => stream,
        // Whatever it is, it is not the endpoint's fault.
        Err(_) if proxy.is_some() => return Ok(Err(Failure::Proxy)),
        Err(failure) => return Ok(Err(failure)),
    };
    if !endpoint.secure {
        return Ok(Ok((stream, None)));
    }
    if let Some(proxy) = proxy
        && let Err(failure) = until_closed(link, tunnel::open(&mut stream, proxy, endpoint)).await?
    {
        return Ok(Err(failure));
    }
    match worker.parts.tls.connect(&endpoint.host, target.tls_profile.as_ref()) {
        Err(failure) => Ok(Err(failure)),
        Ok(mut session) => {
            let shaken = until_closed(link, shake_hands(&mut stream, &mut session)).await?;
            Ok(shaken.map(|()| (stream, Some(session))))
        }
    }
}

/// Tries the addresses in turn until one answers.
async fn connect(
    worker: &Rc<Worker>,
    link: &Link,
    addresses: &[std::net::IpAddr],
    port: u16,
    is_proxy: bool,
) -> Result<Result<TcpStream, Failure>, Cancelled> {
    let found_none = addresses.is_empty();
    // What is asked about is what is connected to (SEC-1). The proxy is no webhook's choice.
    let addresses = match is_proxy {
        true => addresses.iter().map(|&ip| SocketAddr::new(ip, port)).collect(),
        false => vetting::permitted(&worker.parts.addresses, addresses, port),
    };
    let mut failure = if found_none { Failure::Resolve } else { Failure::AddressForbidden };
    for (tried, &address) in addresses.iter().enumerate() {
        let attempt = TcpStream::connect_addr(address);
        // Each address gets its part of the time that is left.
        let deadline = worker.with_shard(|shard| shard.deadline(link.id)).unwrap_or_default();
        let left_us = deadline.since_us(worker.now().tick);
        let patience = Duration::from_micros(left_us / (addresses.len() - tried) as u64);
        match until_closed(link, monoio::time::timeout(patience, attempt)).await? {
            Ok(Ok(stream)) => {
                // A request is one write; waiting for more to send would only delay it.
                let _ = stream.set_nodelay(true);
                return Ok(Ok(stream));
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                failure = Failure::ConnectRefused;
            }
            Ok(Err(_)) | Err(_) => failure = Failure::Connect,
        }
    }
    Ok(Err(failure))
}

async fn shake_hands(stream: &mut TcpStream, session: &mut TlsSession) -> Result<(), Failure> {
    let (mut out, mut buffer) = (Vec::new(), Vec::with_capacity(limits::READ_BUFFER_BYTES));
    let mut plaintext = Vec::new();
    loop {
        out.clear();
        session.outgoing(&mut out)?;
        if !out.is_empty() {
            let (written, used) = stream.write_all(out).await;
            out = used;
            written.map_err(|_| Failure::Reset)?;
        }
        if !session.is_handshaking() {
            return Ok(());
        }
        buffer.clear();
        let (read, used) = stream.read(buffer).await;
        buffer = used;
        match read {
            Ok(0) => return Err(Failure::Closed),
            Ok(_) => {}
            Err(_) => return Err(Failure::Reset),
        }
        if let Err(failure) = session.incoming(&buffer, &mut plaintext) {
            // The alert tells the peer why; whether it gets it does not matter to us.
            out.clear();
            if session.outgoing(&mut out).is_ok() {
                let _ = stream.write_all(out).await;
            }
            return Err(failure);
        }
    }
}

/// What a read gave, with the half and the buffer it used.
type Read = (OwnedReadHalf<TcpStream>, io::Result<usize>, Vec<u8>);
/// What a write gave, likewise.
type Written = (OwnedWriteHalf<TcpStream>, io::Result<usize>, Vec<u8>);

async fn read(mut half: OwnedReadHalf<TcpStream>, mut buffer: Vec<u8>) -> Read {
    buffer.clear();
    let (result, buffer) = half.read(buffer).await;
    (half, result, buffer)
}

async fn write(mut half: OwnedWriteHalf<TcpStream>, buffer: Vec<u8>) -> Written {
    let (result, buffer) = half.write_all(buffer).await;
    (half, result, buffer)
}

enum Event {
    /// There is something to write, or the link was closed.
    Signal,
    Written(Written),
    Read(Read),
}

/// The next thing that happens. The end of a write comes before what was read: the shard must
/// know that a request is written before it sees the answer.
async fn next_event(
    link: &Link,
    mut reading: Pin<&mut impl Future<Output = Read>>,
    mut writing: Pin<&mut Option<impl Future<Output = Written>>>,
) -> Event {
    std::future::poll_fn(|context| {
        if link.closed.get() {
            return Poll::Ready(Event::Signal);
        }
        if let Some(writing) = writing.as_mut().as_pin_mut()
            && let Poll::Ready(written) = writing.poll(context)
        {
            return Poll::Ready(Event::Written(written));
        }
        if let Poll::Ready(read) = reading.as_mut().poll(context) {
            return Poll::Ready(Event::Read(read));
        }
        link.signal.poll(context).map(|()| Event::Signal)
    })
    .await
}

/// Carries exchanges until the connection ends.
async fn exchange(
    worker: &Rc<Worker>,
    link: &Link,
    stream: TcpStream,
    tls: Option<Box<TlsSession>>,
) -> Result<(), Cancelled> {
    let (read_half, write_half) = stream.into_split();
    let mut reading = pin!(read(read_half, Vec::with_capacity(limits::READ_BUFFER_BYTES)));
    let mut writing = pin!(None);
    let mut wire = Wire { tls, plaintext: Vec::new() };
    // Not there while a write is under way.
    let mut idle_writer = Some(write_half);
    let mut has_more = true;
    // Read once per event: the clocks cost as much as a good part of a delivery's own work.
    let mut now = worker.now();
    loop {
        if has_more && let Some(half) = idle_writer.take() {
            has_more = false;
            match wire.take_bytes(worker, link, now) {
                Some(bytes) => writing.set(Some(write(half, bytes))),
                None => idle_writer = Some(half),
            }
        }
        match next_event(link, reading.as_mut(), writing.as_mut()).await {
            Event::Signal if link.closed.get() => return Err(Cancelled),
            Event::Signal => {
                now = worker.now();
                has_more = true;
            }
            Event::Written((half, result, buffer)) => {
                writing.set(None);
                idle_writer = Some(half);
                worker.give_back_write_buffer(buffer);
                match result {
                    Ok(_) => has_more |= worker.handle_written(link.id),
                    Err(_) => {
                        now = worker.now();
                        worker.with_shard(|shard| shard.handle_write_failed(now, link.id));
                    }
                }
                if has_more {
                    now = worker.now();
                }
            }
            Event::Read((half, result, buffer)) => {
                now = worker.now();
                match wire.arrived(worker, link, now, result, &buffer) {
                    Step::Close => return Ok(()),
                    Step::Send => has_more = true,
                    Step::Continue | Step::Idle => has_more |= wire.has_outgoing(),
                }
                reading.set(read(half, buffer));
            }
        }
    }
}

/// The connection's bytes, with or without TLS.
struct Wire {
    tls: Option<Box<TlsSession>>,
    plaintext: Vec<u8>,
}

impl Wire {
    /// What is to be written next: the requests that the shard has for this connection, and what
    /// TLS itself has to say (answers to key updates, alerts). `None`: nothing.
    fn take_bytes(&mut self, worker: &Rc<Worker>, link: &Link, now: Now) -> Option<Vec<u8>> {
        let mut requests = worker.write_buffer();
        worker.with_shard(|shard| shard.write_requests(now, link.id, &mut requests));
        let Some(session) = &mut self.tls else {
            return worker.unless_empty(requests);
        };
        let mut ciphertext = worker.write_buffer();
        let mut sealed = session.outgoing(&mut ciphertext).is_ok();
        if !requests.is_empty() {
            sealed &= session.encrypt(&requests, &mut ciphertext).is_ok();
        }
        worker.give_back_write_buffer(requests);
        if !sealed {
            // The session is over; the next read says why.
            worker.with_shard(|shard| shard.handle_write_failed(now, link.id));
        }
        worker.unless_empty(ciphertext)
    }

    /// Whether TLS has something to say.
    fn has_outgoing(&self) -> bool {
        self.tls.as_ref().is_some_and(|session| session.has_outgoing())
    }

    /// Hands to the shard what was read.
    fn arrived(
        &mut self,
        worker: &Rc<Worker>,
        link: &Link,
        now: Now,
        result: io::Result<usize>,
        bytes: &[u8],
    ) -> Step {
        // The completion path is where events are taken in, too.
        worker.take_in(now, limits::INTAKE_BATCH_MAX);
        let closed = |closed| {
            worker.with_shard(|shard| shard.handle_closed(now, link.id, closed));
            Step::Close
        };
        match result {
            Ok(0) => return closed(Closed::Orderly),
            Ok(_) => {}
            Err(_) => return closed(Closed::Broken),
        }
        let Some(session) = &mut self.tls else {
            return worker.with_shard(|shard| shard.handle_read(now, link.id, bytes));
        };
        self.plaintext.clear();
        let incoming = session.incoming(bytes, &mut self.plaintext);
        let mut step = Step::Continue;
        if !self.plaintext.is_empty() {
            let plaintext = &self.plaintext;
            step = worker.with_shard(|shard| shard.handle_read(now, link.id, plaintext));
        }
        match incoming {
            Ok(Incoming::Open) => step,
            Ok(Incoming::Finished) => closed(Closed::Orderly),
            Err(failure) => closed(Closed::Failed(failure)),
        }
    }
}
