//! HTTP for operators: `GET /healthz`.
//!
//! A thread of its own answers one request per connection, one connection at a time, each within
//! a deadline: enough for a probe, and no load on the server's loop.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a client may take for its request.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(2);
/// Longest request head.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Pause after a failed accept, which may go on failing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers health checks until it is dropped.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Starts it on `address`.
    pub fn start(address: SocketAddr) -> io::Result<AdminServer> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::Builder::new()
            .name("ferrite-admin".to_owned())
            .spawn(move || serve(&listener, &stopping))?;
        Ok(AdminServer { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for AdminServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        // Wakes the thread from its accept. If that fails the process ends without the join.
        if TcpStream::connect_timeout(&self.address, Duration::from_secs(1)).is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, stopping: &AtomicBool) {
    for accepted in listener.incoming() {
        if stopping.load(Ordering::Acquire) {
            return;
        }
        match accepted {
            // A probe that went away is not our problem.
            Ok(socket) => drop(answer(socket)),
            Err(_) => std::thread::sleep(ACCEPT_PAUSE),
        }
    }
}

fn answer(mut socket: TcpStream) -> io::Result<()> {
    socket.set_write_timeout(Some(REQUEST_TIME_MAX))?;
    let head = read_head(&mut socket)?;
    let (status, body) = route(&head);
    write!(
        socket,
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    )
}

/// Reads up to the empty line, within one deadline for the whole.
fn read_head(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + REQUEST_TIME_MAX;
    let (mut head, mut piece) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => head.extend_from_slice(&piece[..count]),
        }
    }
    Ok(head)
}

fn route(head: &[u8]) -> (&'static str, &'static str) {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET", b"/healthz") => ("200 OK", "ok"),
        _ => ("404 Not Found", "not found\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(address: SocketAddr, request: &str) -> String {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn only_the_health_check_is_there() {
        let server = AdminServer::start(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let healthy = ask(server.address(), "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n");
        assert!(healthy.starts_with("HTTP/1.1 200 OK\r\n") && healthy.ends_with("\r\n\r\nok"));
        for request in ["GET / HTTP/1.1\r\n\r\n", "POST /healthz HTTP/1.1\r\n\r\n", "\r\n\r\n"] {
            assert!(ask(server.address(), request).starts_with("HTTP/1.1 404 "), "{request}");
        }
    }
}
