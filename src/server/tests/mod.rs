//! The server over loopback sockets, with a stub in the engine's place.

mod acl;
mod commands;
mod commits;
mod hostile;
mod stub;
mod webhooks;

use super::serve::{Server, StopHandle};
use super::settings::ServerSettings;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;
pub(crate) use stub::StubEngine;

/// No test waits longer than this for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a port of its own, which stops when this is dropped.
struct TestServer {
    address: SocketAddr,
    engine: StubEngine,
    stop: StopHandle,
    thread: Option<JoinHandle<()>>,
}

impl TestServer {
    fn start() -> TestServer {
        TestServer::with(ServerSettings::default())
    }

    fn with(settings: ServerSettings) -> TestServer {
        let engine = StubEngine::default();
        let settings = ServerSettings { port: 0, ..settings };
        let server = Server::bind(settings, Box::new(engine.clone())).unwrap();
        let (address, stop) = (server.address(), server.stop_handle());
        let thread = std::thread::spawn(move || {
            server.run().unwrap();
        });
        TestServer { address, engine, stop, thread: Some(thread) }
    }

    fn client(&self) -> Client {
        let socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Client { socket }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.stop();
        let outcome = self.thread.take().unwrap().join();
        assert!(outcome.is_ok() || std::thread::panicking(), "the server panicked");
    }
}

/// A client that looks at bytes.
struct Client {
    socket: TcpStream,
}

impl Client {
    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    /// Exactly as many bytes as `expected` has must come, and be it.
    fn expect(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let mut got = vec![0; expected.len()];
        let mut filled = 0;
        while filled < got.len() {
            match self.socket.read(&mut got[filled..]) {
                Ok(0) | Err(_) => break,
                Ok(count) => filled += count,
            }
        }
        assert_eq!(String::from_utf8_lossy(&got[..filled]), String::from_utf8_lossy(expected),);
    }

    /// Sends an inline command and expects its reply.
    fn ask(&mut self, command: &str, expected: &str) {
        self.send(format!("{command}\r\n"));
        self.expect(expected);
    }

    /// Sends an inline command; returns what comes up to an `ECHO` behind it.
    fn answer(&mut self, command: &str) -> String {
        const MARK: &[u8] = b"$9\r\nend\x01of\x01it\r\n";
        self.send(format!("{command}\r\nECHO end\u{1}of\u{1}it\r\n"));
        let mut got = Vec::new();
        let mut piece = [0; 4096];
        while !got.ends_with(MARK) {
            let count = self.socket.read(&mut piece).unwrap();
            assert!(count > 0, "closed after {}", String::from_utf8_lossy(&got));
            got.extend_from_slice(&piece[..count]);
        }
        got.truncate(got.len() - MARK.len());
        String::from_utf8(got).unwrap()
    }

    /// The server must close the connection, and send nothing before that.
    fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = self.socket.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest), "");
    }
}
