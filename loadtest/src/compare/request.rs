//! The request that everyone sends: one that the engine has really written.

use super::engine::{self, Engine};
use super::message::Message;
use ferrite::webhooks::Signatures;
use ferrite_loadtest_raw::Signing;
use memchr::memmem;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Signs the bodies of the peers that sign.
pub(super) const SECRET: &str = "mysecretkey";
/// How long the engine may take for the one request.
const CAPTURE_MS: u64 = 5000;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const SIGNATURE: &[u8] = b"X-Ferrite-Signature: sha256=";

/// The engine's request for an event with a value of this length, with `address` as its host.
pub fn capture(value_bytes: usize, signed: bool, address: SocketAddr) -> io::Result<Message> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let secret = signed.then(|| SECRET.to_owned());
    let signatures = Signatures::BOTH;
    let engine = Engine { secret, signatures, pipeline: 1, batches: None, fsync: None };
    let options = engine.options(1);
    let manager =
        engine::start(listener.local_addr()?, Vec::new(), options, 1).map_err(io::Error::other)?;
    // There is room: it is the first event.
    let _ = engine::offer(&manager, &engine::key(1234), &vec![b'v'; value_bytes])
        .map_err(io::Error::other)?;
    let mut stream = accept(&listener)?;
    stream.set_read_timeout(Some(Duration::from_millis(CAPTURE_MS)))?;
    let message = Message::read(&mut stream)?;
    stream.write_all(ANSWER)?;
    Ok(for_host(&message, address))
}

fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    listener.set_nonblocking(true)?;
    let deadline = Instant::now() + Duration::from_millis(CAPTURE_MS);
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Err(_) if Instant::now() > deadline => {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the engine sent nothing"));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// The same request with another host in its head.
fn for_host(message: &Message, address: SocketAddr) -> Message {
    let mut head = format!("{}\r\n", message.start());
    for (name, value) in message.headers() {
        let host = address.to_string();
        let value = if name.eq_ignore_ascii_case("host") { &host } else { value };
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let body_at = head.len();
    Message { bytes: [head.as_bytes(), message.body()].concat(), body_at }
}

/// Where the raw generator signs a signed request anew.
pub(super) fn signing(message: &Message) -> Option<Signing> {
    let at = memmem::find(&message.bytes[..message.body_at], SIGNATURE)?;
    Some(Signing {
        secret: SECRET.as_bytes().to_vec(),
        signature_at: at + SIGNATURE.len(),
        body: message.body_at..message.bytes.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_overheard() {
        let address = SocketAddr::from(([127, 0, 0, 1], 12345));
        let plain = capture(100, false, address).unwrap();
        assert_eq!(plain.start(), "POST /hook HTTP/1.1");
        let headers: Vec<_> = plain.headers().collect();
        assert!(headers.contains(&("Host", "127.0.0.1:12345")), "{headers:?}");
        let body = std::str::from_utf8(plain.body()).unwrap();
        assert!(body.contains("order:1234") && body.contains(&"v".repeat(100)), "{body}");
        assert!(signing(&plain).is_none());

        let signed = capture(100, true, address).unwrap();
        let at = signing(&signed).unwrap().signature_at;
        assert!(signed.bytes[at..at + 64].iter().all(u8::is_ascii_hexdigit));
        assert_eq!(signed.bytes[at + 64], b'\r');
    }
}
