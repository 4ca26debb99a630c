//! Bytes in and out of one connection: plain or TLS, as fast as they come or slowly.

use super::tls::TlsSession;
use monoio::buf::{IoBufMut, SliceMut};
use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::TcpStream;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::rc::Rc;
use std::time::Duration;

/// At most this much is read at once.
pub(super) const READ_BYTES: usize = 128 * 1024;
/// Slow reads come in steps of about this length.
const SLOW_STEP_MS: u64 = 10;
/// What is read only to be thrown away.
const DISCARD_BYTES: usize = 16 * 1024;

/// A second handle of a connection's socket, for what only the standard library's sockets can be
/// told.
pub(super) type Handle = Rc<std::net::TcpStream>;

/// A connection as bytes.
#[derive(Debug)]
pub(super) struct Transport {
    stream: TcpStream,
    handle: Handle,
    tls: Option<Box<Tls>>,
    bytes_per_second: Option<u64>,
}

#[derive(Debug)]
struct Tls {
    session: TlsSession,
    ciphertext: Vec<u8>,
    out: Vec<u8>,
}

impl Transport {
    pub(super) fn new(
        stream: TcpStream,
        handle: Handle,
        session: Option<TlsSession>,
        bytes_per_second: Option<u64>,
    ) -> Self {
        let tls = session
            .map(|session| Box::new(Tls { session, ciphertext: Vec::new(), out: Vec::new() }));
        Transport { stream, handle, tls, bytes_per_second }
    }

    /// Appends what comes to `buffer`; says how much, 0 at the end.
    pub(super) async fn read(&mut self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let limit = match self.bytes_per_second {
            Some(rate) => {
                let step = (rate * SLOW_STEP_MS / 1000).clamp(1, READ_BYTES as u64);
                monoio::time::sleep(Duration::from_secs_f64(step as f64 / rate as f64)).await;
                step as usize
            }
            None => READ_BYTES,
        };
        let Some(tls) = &mut self.tls else {
            return read_some(&mut self.stream, buffer, limit).await;
        };
        loop {
            tls.ciphertext.clear();
            if read_some(&mut self.stream, &mut tls.ciphertext, limit).await? == 0 {
                return Ok(0);
            }
            let before = buffer.len();
            let finished = tls.session.incoming(&tls.ciphertext, buffer);
            // An alert too, if that went wrong.
            tls.session.outgoing(&mut tls.out)?;
            write(&mut self.stream, &mut tls.out).await?;
            if finished? || buffer.len() > before {
                return Ok(buffer.len() - before);
            }
        }
    }

    /// Writes `bytes` and empties them.
    pub(super) async fn write_all(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return write(&mut self.stream, bytes).await };
        tls.session.encrypt(bytes, &mut tls.out)?;
        bytes.clear();
        write(&mut self.stream, &mut tls.out).await
    }

    /// Reads and forgets until the peer closes.
    pub(super) async fn discard(&mut self) {
        let mut buffer = Vec::with_capacity(DISCARD_BYTES);
        loop {
            buffer.clear();
            let (read, used) = self.stream.read(buffer).await;
            buffer = used;
            if !matches!(read, Ok(read) if read > 0) {
                return;
            }
        }
    }

    /// Whether the peer has closed its side: it cannot be interested in an answer any more.
    pub(super) fn peer_is_gone(&self) -> bool {
        let mut watched = [PollFd::new(&self.handle, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut watched, Some(&at_once)), Ok(ready) if ready > 0)
    }

    /// Lets the end of the connection be a reset.
    pub(super) fn reset_at_end(&self) {
        let _ = socket2::SockRef::from(&*self.handle).set_linger(Some(Duration::ZERO));
    }

    /// Says that nothing more will be sent.
    pub(super) fn finish_writing(&self) {
        let _ = self.handle.shutdown(std::net::Shutdown::Write);
    }
}

/// One read of at most `limit` bytes, appended to `buffer`.
pub(super) async fn read_some(
    stream: &mut TcpStream,
    buffer: &mut Vec<u8>,
    limit: usize,
) -> io::Result<usize> {
    buffer.reserve(limit);
    let begin = buffer.len();
    let slice: SliceMut<Vec<u8>> = std::mem::take(buffer).slice_mut(begin..begin + limit);
    let (read, slice) = stream.read(slice).await;
    *buffer = slice.into_inner();
    read
}

async fn write(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let (written, mut used) = stream.write_all(std::mem::take(bytes)).await;
    used.clear();
    *bytes = used;
    written.map(|_| ())
}
