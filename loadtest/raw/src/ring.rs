//! One io_uring with a set of connections: sends from its own buffers, receives by multishot into
//! provided buffers. The only file of the workspace with `unsafe`: it lends memory to the kernel.
//!
//! What makes it sound: the ring owns all memory that the kernel is lent, changes no bytes that an
//! operation may still read, and frees nothing before every operation has ended. If that cannot be
//! had, it leaks the memory.

#![allow(unsafe_code)]

use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode, squeue};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Size of one receive buffer: many small answers.
const RECEIVE_BYTES: usize = 4096;
/// Receive buffers for each connection; each is given back as soon as it was looked at.
const RECEIVE_BUFFERS_PER_CONNECTION: usize = 2;
/// A buffer ring has at most this many entries; the kernel allows 2^15.
const RECEIVE_BUFFERS_MAX: usize = 4096;
/// Alignment that the kernel wants of a buffer ring.
const PAGE_BYTES: usize = 4096;
/// The only buffer group.
const GROUP: u16 = 0;
/// Marks the user data of sends; the rest of it is the connection.
const SEND: u64 = 1 << 32;
/// How long the end waits for operations before it leaks their memory.
const DRAIN_MS: u64 = 1000;

/// Something that has happened.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Completion {
    /// The whole write of a connection went out.
    Sent(usize),
    /// Bytes arrived; look at them with [`Ring::received`], then give them back.
    Received(usize, Received),
    /// A connection is of no more use.
    Failed(Failure),
}

/// Why a connection is of no more use.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Failure {
    /// The other side closed it.
    Closed,
    /// The operating system's error code.
    Os(i32),
}

/// A receive buffer that is ours until it is given back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Received {
    buffer: u16,
    length: usize,
}

/// One io_uring and its connections.
pub(crate) struct Ring {
    uring: IoUring,
    receive: ReceiveBuffers,
    connections: Vec<Connection>,
    /// Operations that the kernel has not ended.
    under_way: usize,
    raw: Vec<cqueue::Entry>,
}

struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// How much of `bytes` went out; `None`: no send is under way.
    sent: Option<usize>,
}

impl Ring {
    /// A ring over `streams`, each with `bytes` to send. Must be used on the thread that made it.
    pub(crate) fn new(streams: Vec<TcpStream>, bytes: &[u8]) -> io::Result<Ring> {
        let entries = (streams.len() * 2).next_power_of_two().clamp(64, 8192) as u32;
        let uring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_cqsize(entries * 4)
            .build(entries)?;
        let receive = ReceiveBuffers::new(streams.len());
        // SAFETY: the address is that of `receive.count` entries, page-aligned, which are freed
        // only after the ring was destroyed (`Drop` below).
        unsafe {
            let address = receive.entries as u64;
            uring.submitter().register_buf_ring(address, receive.count as u16, GROUP)?;
        }
        let connections: Vec<Connection> = streams
            .into_iter()
            .map(|stream| Connection { stream, bytes: bytes.to_vec(), sent: None })
            .collect();
        let mut ring = Ring { uring, receive, connections, under_way: 0, raw: Vec::new() };
        for connection in 0..ring.connections.len() {
            ring.arm(connection)?;
        }
        Ok(ring)
    }

    /// The bytes that a connection sends; `None` while it sends them.
    pub(crate) fn bytes_mut(&mut self, connection: usize) -> Option<&mut [u8]> {
        let connection = &mut self.connections[connection];
        connection.sent.is_none().then_some(&mut connection.bytes[..])
    }

    /// Sends a connection's bytes. Only one send of a connection is under way at a time.
    pub(crate) fn send(&mut self, connection: usize) -> io::Result<()> {
        assert!(self.connections[connection].sent.is_none(), "a send is under way already");
        self.connections[connection].sent = Some(0);
        self.send_rest(connection)
    }

    fn send_rest(&mut self, index: usize) -> io::Result<()> {
        let connection = &self.connections[index];
        let rest = &connection.bytes[connection.sent.unwrap_or(0)..];
        let entry =
            opcode::Send::new(Fd(connection.stream.as_raw_fd()), rest.as_ptr(), rest.len() as u32)
                .build()
                .user_data(SEND | index as u64);
        self.push(&entry)
    }

    /// Receives on a connection until that ends by itself.
    fn arm(&mut self, index: usize) -> io::Result<()> {
        let fd = Fd(self.connections[index].stream.as_raw_fd());
        self.push(&opcode::RecvMulti::new(fd, GROUP).build().user_data(index as u64))
    }

    fn push(&mut self, entry: &squeue::Entry) -> io::Result<()> {
        loop {
            // SAFETY: the entry is one of `send_rest` or `arm`. What it points to (bytes of a
            // connection, receive buffers, descriptor) belongs to this ring, which frees it after
            // the operation has ended and, while `sent` is set, neither changes nor moves it.
            if unsafe { self.uring.submission().push(entry) }.is_ok() {
                self.under_way += 1;
                return Ok(());
            }
            self.uring.submit()?;
        }
    }

    /// Submits what was asked for, waits until something has happened or the time is over, and
    /// puts it into `completions`.
    pub(crate) fn wait(
        &mut self,
        timeout: Duration,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        completions.clear();
        let timeout = Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
        let arguments = SubmitArgs::new().timespec(&timeout);
        match self.uring.submitter().submit_with_args(1, &arguments) {
            Ok(_) => {}
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error),
        }
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        raw.extend(self.uring.completion());
        for entry in &raw {
            self.complete(entry, completions)?;
        }
        self.raw = raw;
        Ok(())
    }

    fn complete(
        &mut self,
        entry: &cqueue::Entry,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let more = cqueue::more(entry.flags());
        if !more {
            self.under_way -= 1;
        }
        let connection = (entry.user_data() & !SEND) as usize;
        let result = entry.result();
        if entry.user_data() & SEND != 0 {
            return self.complete_send(connection, result, completions);
        }
        if result == -NO_BUFFERS {
            return self.arm(connection);
        }
        completions.push(match (result, cqueue::buffer_select(entry.flags())) {
            (1.., Some(buffer)) => {
                Completion::Received(connection, Received { buffer, length: result as usize })
            }
            (0.., _) => Completion::Failed(Failure::Closed),
            (error, _) => Completion::Failed(Failure::Os(-error)),
        });
        if result > 0 && !more {
            self.arm(connection)?;
        }
        Ok(())
    }

    fn complete_send(
        &mut self,
        index: usize,
        result: i32,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        let connection = &mut self.connections[index];
        let sent = connection.sent.unwrap_or(0) + result.max(0) as usize;
        if result > 0 && sent < connection.bytes.len() {
            connection.sent = Some(sent);
            return self.send_rest(index);
        }
        connection.sent = None;
        completions.push(match result {
            ..=0 => Completion::Failed(Failure::Os(-result)),
            _ => Completion::Sent(index),
        });
        Ok(())
    }

    /// What arrived in a buffer.
    pub(crate) fn received(&self, received: Received) -> &[u8] {
        self.receive.bytes(received)
    }

    /// Lets the kernel fill a buffer again.
    pub(crate) fn give_back(&mut self, received: Received) {
        self.receive.lend(received.buffer);
    }

    /// Ends every operation; whether they have all ended.
    fn drain(&mut self) -> bool {
        for connection in &self.connections {
            // Ends the operations of the connection; closing it would not.
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        let deadline = Instant::now() + Duration::from_millis(DRAIN_MS);
        while self.under_way > 0 {
            let timeout = Timespec::new().nsec(10_000_000);
            let arguments = SubmitArgs::new().timespec(&timeout);
            let waited = self.uring.submitter().submit_with_args(1, &arguments);
            if waited.is_err_and(|error| !is_passing(&error)) || Instant::now() > deadline {
                return false;
            }
            let ended = self.uring.completion().filter(|entry| !cqueue::more(entry.flags()));
            self.under_way -= ended.count();
        }
        true
    }
}

/// Errors of waiting after which one simply waits again.
fn is_passing(error: &io::Error) -> bool {
    const TIME_IS_OVER: i32 = 62;
    const COMPLETIONS_WAIT: i32 = 16;
    error.kind() == io::ErrorKind::Interrupted
        || matches!(error.raw_os_error(), Some(TIME_IS_OVER | COMPLETIONS_WAIT))
}

/// ENOBUFS: all receive buffers are in use.
const NO_BUFFERS: i32 = 105;

impl Drop for Ring {
    fn drop(&mut self) {
        if self.drain() {
            let _ = self.uring.submitter().unregister_buf_ring(GROUP);
        } else {
            // The kernel may still read and write it.
            self.receive.leak = true;
            for connection in &mut self.connections {
                std::mem::forget(std::mem::take(&mut connection.bytes));
            }
        }
    }
}

/// The memory that the kernel receives into, and the ring of entries that lends it.
struct ReceiveBuffers {
    entries: *mut BufRingEntry,
    bytes: *mut u8,
    /// How many buffers; a power of two.
    count: usize,
    /// Buffers ever lent, modulo 2^16: where the next one goes.
    tail: u16,
    leak: bool,
}

impl ReceiveBuffers {
    fn new(connections: usize) -> ReceiveBuffers {
        let wanted = connections * RECEIVE_BUFFERS_PER_CONNECTION;
        let count = wanted.next_power_of_two().clamp(64, RECEIVE_BUFFERS_MAX);
        let entries = allocate(entries_layout(count)).cast::<BufRingEntry>();
        let bytes = allocate(bytes_layout(count));
        let mut buffers = ReceiveBuffers { entries, bytes, count, tail: 0, leak: false };
        for buffer in 0..count {
            buffers.lend(buffer as u16);
        }
        buffers
    }

    /// Gives a buffer that is ours to the kernel.
    fn lend(&mut self, buffer: u16) {
        let slot = usize::from(self.tail) & (self.count - 1);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: `slot` is below `count`, so inside the allocation, which is zeroed (a valid
        // entry). The kernel reads the slot only after the tail has passed it, and no reference to
        // an entry outlives its statement. The tail lies in the first entry, in bytes that the
        // setters do not touch; it is aligned for 16 bits and written only here.
        unsafe {
            let entry = &mut *self.entries.add(slot);
            entry.set_addr(self.bytes.add(usize::from(buffer) * RECEIVE_BYTES) as u64);
            entry.set_len(RECEIVE_BYTES as u32);
            entry.set_bid(buffer);
            let tail = BufRingEntry::tail(self.entries).cast::<AtomicU16>();
            (*tail).store(self.tail, Ordering::Release);
        }
    }

    fn bytes(&self, received: Received) -> &[u8] {
        let Received { buffer, length } = received;
        assert!(usize::from(buffer) < self.count && length <= RECEIVE_BYTES, "not our buffer");
        // SAFETY: inside the allocation, as just checked, which was zeroed, so initialised. The
        // kernel has given the buffer to us and does not write it before `lend`, which takes
        // `&mut self` and so waits for the slice to be gone.
        unsafe {
            let start = self.bytes.add(usize::from(buffer) * RECEIVE_BYTES);
            std::slice::from_raw_parts(start, length)
        }
    }
}

impl Drop for ReceiveBuffers {
    fn drop(&mut self) {
        if self.leak {
            return;
        }
        // SAFETY: both were allocated by `new` with these layouts, and no operation of the ring
        // is left that could use them (`Ring::drop`, which sets `leak` otherwise).
        unsafe {
            dealloc(self.entries.cast(), entries_layout(self.count));
            dealloc(self.bytes, bytes_layout(self.count));
        }
    }
}

fn entries_layout(count: usize) -> Layout {
    let size = count * size_of::<BufRingEntry>();
    Layout::from_size_align(size, PAGE_BYTES).expect("a power of two, and not large")
}

fn bytes_layout(count: usize) -> Layout {
    Layout::from_size_align(count * RECEIVE_BYTES, PAGE_BYTES).expect("a power of two, not large")
}

fn allocate(layout: Layout) -> *mut u8 {
    // SAFETY: the layouts of this file are never empty: they hold at least 64 entries.
    let address = unsafe { alloc_zeroed(layout) };
    if address.is_null() {
        handle_alloc_error(layout);
    }
    address
}
