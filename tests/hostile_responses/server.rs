//! A server that plays a script to its first request, and answers every other one well.

use super::corpus::{End, Script};
use crate::support::{PATIENCE, read_request};
use std::io::{BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
/// How long a client has to read what comes before a reset. It is not needed for the verdict.
const BEFORE_RESET: Duration = Duration::from_millis(50);

#[derive(Default)]
struct Seen {
    /// The connection that each request came on.
    requests: Vec<usize>,
    first_is_closed: bool,
    /// The client has settled the first exchange.
    settled: bool,
    stopping: bool,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    changed: Condvar,
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start(script: &Script) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server { address: listener.local_addr().unwrap(), shared: Arc::default() };
        let (shared, script) = (server.shared.clone(), script.clone());
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().enumerate() {
                if shared.seen.lock().unwrap().stopping {
                    return;
                }
                let (shared, script, stream) = (shared.clone(), script.clone(), stream.unwrap());
                std::thread::spawn(move || {
                    let script = (connection == 0).then_some(&script);
                    let _ = serve(connection, &stream, script, &shared);
                    drop(stream);
                    if connection == 0 {
                        shared.seen.lock().unwrap().first_is_closed = true;
                        shared.changed.notify_all();
                    }
                });
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    /// The connection that each request came on, numbered from 0.
    pub fn requests(&self) -> Vec<usize> {
        self.shared.seen.lock().unwrap().requests.clone()
    }

    /// Waits until the first connection has ended, on whichever side; whether it has.
    pub fn wait_until_first_is_closed(&self) -> bool {
        let seen = self.shared.seen.lock().unwrap();
        let waited =
            self.shared.changed.wait_timeout_while(seen, PATIENCE, |seen| !seen.first_is_closed);
        waited.unwrap().0.first_is_closed
    }

    /// Tells that the client has settled the first exchange.
    pub fn settled(&self) {
        self.shared.seen.lock().unwrap().settled = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.seen.lock().unwrap().stopping = true;
        let _ = TcpStream::connect(self.address);
    }
}

/// Answers the requests of a connection until the client closes it.
fn serve(
    connection: usize,
    mut stream: &TcpStream,
    script: Option<&Script>,
    shared: &Shared,
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    if let Some(script) = script {
        if script.end == End::Reset {
            return reset(stream, script, shared);
        }
        let mut reader = BufReader::new(stream);
        read_request(&mut reader)?;
        shared.seen.lock().unwrap().requests.push(connection);
        play(stream, script)?;
        if script.end == End::Close {
            return stream.shutdown(Shutdown::Both).ok();
        }
        if script.later_close || script.later().is_some() {
            let seen = shared.seen.lock().unwrap();
            drop(shared.changed.wait_timeout_while(seen, PATIENCE, |seen| !seen.settled));
            stream.write_all(&script.later().unwrap_or_default()).ok()?;
            if script.later_close {
                return stream.shutdown(Shutdown::Both).ok();
            }
        }
    }
    let mut reader = BufReader::new(stream);
    while read_request(&mut reader).is_some() {
        shared.seen.lock().unwrap().requests.push(connection);
        stream.write_all(OK).ok()?;
    }
    None
}

fn play(mut stream: &TcpStream, script: &Script) -> Option<()> {
    let (start, rest) = script.start_and_rest();
    let Some(pause) = script.drip_ms.map(Duration::from_millis) else {
        stream.write_all(&start).ok()?;
        // Larger pieces, so that what has no end is soon long enough.
        let rest = rest.map(|rest| rest.repeat(1 + 4096 / rest.len()));
        while let Some(rest) = &rest {
            stream.write_all(rest).ok()?;
        }
        return Some(());
    };
    let dripping: Box<dyn Iterator<Item = &u8>> = match &rest {
        None => Box::new(start.iter()),
        Some(rest) => {
            stream.write_all(&start).ok()?;
            Box::new(rest.iter().cycle())
        }
    };
    for byte in dripping {
        stream.write_all(&[*byte]).ok()?;
        std::thread::sleep(pause);
    }
    Some(())
}

/// A socket that is closed before all that arrived was read sends RST.
fn reset(mut stream: &TcpStream, script: &Script, shared: &Shared) -> Option<()> {
    let mut arrived = [0; 4096];
    loop {
        let length = stream.peek(&mut arrived).ok()?;
        // The whole request, whose body ends in a brace.
        if length == 0 || arrived[..length].ends_with(b"}") {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    shared.seen.lock().unwrap().requests.push(0);
    let bytes = script.bytes();
    if !bytes.is_empty() {
        stream.write_all(&bytes).ok()?;
        std::thread::sleep(BEFORE_RESET);
    }
    Some(())
}
