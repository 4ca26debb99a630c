//! HTTP for operators: `GET /healthz`, `/readyz` and `/metrics`.
//!
//! A thread of its own accepts; each connection has a thread of its own, up to a bound, answers
//! one request within a deadline, and is closed. Enough for probes and scrapes, and no load on the
//! server's loop.

use crate::base::limits::ADMIN_CONNECTIONS_MAX;
use crate::webhooks::{EngineState, PROMETHEUS_CONTENT_TYPE, WebhookManager};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a client may take for its request.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(2);
/// How long it may take to read the answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// Longest request head.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Pause after a failed accept, which may go on failing.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers health checks and scrapes until it is dropped.
#[derive(Debug)]
pub struct AdminServer {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl AdminServer {
    /// Starts it on `address`, for `engine`.
    pub fn start(address: SocketAddr, engine: WebhookManager) -> io::Result<AdminServer> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let thread = std::thread::Builder::new()
            .name("ferrite-admin".to_owned())
            .spawn(move || serve(&listener, &stopping, &engine))?;
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

fn serve(listener: &TcpListener, stopping: &AtomicBool, engine: &WebhookManager) {
    // Each thread that answers holds one more of it.
    let open = Arc::new(());
    for accepted in listener.incoming() {
        if stopping.load(Ordering::Acquire) {
            return;
        }
        let Ok(socket) = accepted else {
            std::thread::sleep(ACCEPT_PAUSE);
            continue;
        };
        if Arc::strong_count(&open) > ADMIN_CONNECTIONS_MAX {
            refuse(&socket);
            continue;
        }
        let (engine, held) = (engine.clone(), open.clone());
        let thread = std::thread::Builder::new().name("ferrite-admin-answer".to_owned());
        // Without a thread the socket is closed, which says as much.
        let _ = thread.spawn(move || {
            // A probe that went away is not our problem.
            let _ = answer(&socket, &engine);
            drop((engine, held));
        });
    }
}

/// Says that there are too many; never waits.
fn refuse(mut socket: &TcpStream) {
    if socket.set_nonblocking(true).is_ok() {
        let _ = socket.write(&Answer::text("503 Service Unavailable", "busy\n").bytes());
    }
}

fn answer(socket: &TcpStream, engine: &WebhookManager) -> io::Result<()> {
    let answer = match read_head(socket)? {
        Some(head) => route(&head, engine),
        None => Answer::text("431 Request Header Fields Too Large", "too long\n"),
    };
    write_all(socket, &answer.bytes())?;
    // What the client has sent beyond its head is read, or closing would cut off the answer.
    socket.shutdown(std::net::Shutdown::Write)?;
    socket.set_read_timeout(Some(REQUEST_TIME_MAX))?;
    io::copy(&mut socket.take(HEAD_BYTES_MAX as u64), &mut io::sink()).map(drop)
}

/// Reads up to the empty line, within one deadline for the whole. `None`: it is too long.
fn read_head(mut socket: &TcpStream) -> io::Result<Option<Vec<u8>>> {
    let deadline = Instant::now() + REQUEST_TIME_MAX;
    let (mut head, mut piece) = (Vec::new(), [0; 1024]);
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left_until(deadline)?))?;
        match socket.read(&mut piece)? {
            0 if head.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            // What there is gets its answer: it is no request.
            0 => break,
            count => head.extend_from_slice(&piece[..count]),
        }
    }
    Ok(Some(head))
}

/// Writes it within one deadline, however slowly the client reads.
fn write_all(mut socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    let deadline = Instant::now() + ANSWER_TIME_MAX;
    while !bytes.is_empty() {
        socket.set_write_timeout(Some(left_until(deadline)?))?;
        match socket.write(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => bytes = &bytes[count..],
        }
    }
    Ok(())
}

fn left_until(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}

struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Answer {
    fn text(status: &'static str, body: &str) -> Answer {
        Answer { status, content_type: "text/plain; charset=utf-8", body: body.to_owned() }
    }

    fn bytes(self) -> Vec<u8> {
        let Answer { status, content_type, body } = self;
        format!(
            "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\
             connection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

fn route(head: &[u8], engine: &WebhookManager) -> Answer {
    let Some((method, path)) = request_line(head) else {
        return Answer::text("400 Bad Request", "not an HTTP/1.1 request\n");
    };
    let known = matches!(path, "/healthz" | "/readyz" | "/metrics");
    match (method, path) {
        ("GET", "/healthz") => Answer::text("200 OK", "ok"),
        ("GET", "/readyz") => match engine.state() {
            EngineState::Running => Answer::text("200 OK", "ready"),
            EngineState::Stopping => Answer::text("503 Service Unavailable", "stopping\n"),
            _ => Answer::text("503 Service Unavailable", "not started\n"),
        },
        ("GET", "/metrics") => {
            let mut body = String::new();
            engine.metrics().write_prometheus(&mut body);
            Answer { status: "200 OK", content_type: PROMETHEUS_CONTENT_TYPE, body }
        }
        _ if known => Answer::text("405 Method Not Allowed", "only GET\n"),
        _ => Answer::text("404 Not Found", "there are /healthz, /readyz and /metrics\n"),
    }
}

/// Method and path of a request whose head is HTTP/1.0 or 1.1.
fn request_line(head: &[u8]) -> Option<(&str, &str)> {
    const HEADERS_MAX: usize = 64;
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    if !request.parse(head).ok()?.is_complete() {
        return None;
    }
    let target = request.path?;
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    Some((request.method?, path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::engine::block_on;
    use crate::webhooks::{WebhookConfig, WebhookOptions};

    fn server(engine: &WebhookManager) -> AdminServer {
        AdminServer::start(SocketAddr::from(([127, 0, 0, 1], 0)), engine.clone()).unwrap()
    }

    fn engine() -> WebhookManager {
        let mut config = WebhookConfig::default();
        config.workers.workers = 1;
        WebhookManager::new(config)
    }

    fn ask(address: SocketAddr, request: &[u8]) -> String {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.write_all(request).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    }

    fn get(address: SocketAddr, path: &str) -> String {
        ask(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
    }

    #[test]
    fn a_head_that_is_no_request_is_refused() {
        let server = server(&engine());
        let healthy = get(server.address(), "/healthz?verbose=1");
        assert!(healthy.starts_with("HTTP/1.1 200 OK\r\n") && healthy.ends_with("\r\n\r\nok"));
        let long = [b"GET /healthz HTTP/1.1\r\nx: ".as_slice(), &[b'x'; 9000]].concat();
        for (request, status) in [
            (b"GET / HTTP/1.1\r\n\r\n".as_slice(), "404"),
            (b"POST /healthz HTTP/1.1\r\n\r\n", "405"),
            (b"\r\n\r\n", "400"),
            (b"GET /metrics\r\n\r\n", "400"),
            (b"GET /metrics HTTP/9.9\r\n\r\n", "400"),
            (b"GET /metrics HTTP/1.1\r\nno colon\r\n\r\n", "400"),
            (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", "400"),
            (b"\x00\xff\xfe\r\n\r\n", "400"),
            (&long, "431"),
        ] {
            let answer = ask(server.address(), request);
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{}: {answer}",
                String::from_utf8_lossy(request)
            );
        }
        // Nor is one that ends in the middle.
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.write_all(b"GET /healthz HT").unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }

    #[test]
    fn ready_means_started_and_not_stopping() {
        let engine = engine();
        let server = server(&engine);
        let ready = |status: &str, why: &str| {
            let answer = get(server.address(), "/readyz");
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert!(answer.ends_with(why), "{answer}");
        };
        ready("503", "not started\n");
        engine.driver().unwrap();
        ready("200", "ready");
        block_on(engine.shutdown(Duration::ZERO));
        ready("503", "stopping\n");
        assert!(get(server.address(), "/healthz").starts_with("HTTP/1.1 200 "), "it lives");
        assert!(get(server.address(), "/metrics").starts_with("HTTP/1.1 200 "), "the last numbers");
    }

    #[test]
    fn slow_clients_delay_nobody_up_to_a_bound() {
        let engine = engine();
        let options = WebhookOptions::default();
        let created = engine.create("w", "http://127.0.0.1:9/", options);
        block_on(created).unwrap();
        let server = server(&engine);
        let connect = || TcpStream::connect(server.address()).unwrap();
        let slow: Vec<TcpStream> = (1..ADMIN_CONNECTIONS_MAX).map(|_| connect()).collect();
        let metrics = get(server.address(), "/metrics");
        assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
        assert!(metrics.contains("content-type: text/plain; version=0.0.4"), "{metrics}");
        assert!(metrics.contains("\nferrite_webhook_pending{webhook=\"w\"} 0\n"), "{metrics}");
        drop(slow);
    }

    #[test]
    fn beyond_the_bound_a_client_is_refused() {
        let server = server(&engine());
        let connect = || TcpStream::connect(server.address()).unwrap();
        let _slow: Vec<TcpStream> = (0..ADMIN_CONNECTIONS_MAX).map(|_| connect()).collect();
        let mut refused = String::new();
        connect().read_to_string(&mut refused).unwrap();
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.ends_with("busy\n"), "{refused}");
    }
}
