//! The other side of the webhook: a small HTTP service that checks every signature.

use super::News;
use super::json;
use ring::hmac::{self, HMAC_SHA256};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Instant;

/// The path of the webhook's URL.
pub const PATH: &str = "/webhook";

/// Longest head of a request.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// Longest body; the engine takes no event that would make a longer one.
const BODY_BYTES_MAX: usize = 64 << 20;

/// One request, as the receiver understood it.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The event's identity: equal for all attempts to deliver it.
    pub id: String,
    /// When the event happened, as the body says.
    pub timestamp: String,
    /// The event's name.
    pub event: String,
    /// Its key.
    pub key: String,
    /// `data.value` as it stands in the body.
    pub value: String,
    /// `data.old_value` as it stands in the body.
    pub old_value: String,
    /// The key's new name, if the event has one.
    pub new_key: Option<String>,
    /// Whether the signature is that of the body.
    pub verified: bool,
    /// When the answer was on its way.
    pub answered_at: Instant,
}

/// Whether `signature`, the value of `X-Ferrite-Signature`, was made with `key` over `body`.
/// Takes the same time wherever the two differ.
pub fn is_signature_of(key: &hmac::Key, body: &[u8], signature: &str) -> bool {
    let tag = signature.strip_prefix("sha256=").and_then(decode_hex);
    tag.is_some_and(|tag| hmac::verify(key, body, &tag).is_ok())
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((digit(*high)? * 16 + digit(*low)?) as u8)).collect()
}

/// Reads a body; `None` when it is not the JSON of an event.
fn read_body(body: &[u8], verified: bool) -> Option<Arrival> {
    let body = std::str::from_utf8(body).ok()?;
    let text_of = |name| json::member(body, name).and_then(json::text);
    let data = json::member(body, "data")?;
    Some(Arrival {
        id: text_of("id")?,
        timestamp: text_of("timestamp")?,
        event: text_of("event")?,
        key: text_of("key")?,
        value: json::member(data, "value")?.to_owned(),
        old_value: json::member(data, "old_value")?.to_owned(),
        new_key: json::member(data, "new_key").and_then(json::text),
        verified,
        answered_at: Instant::now(),
    })
}

/// Starts a receiver on a free port of the loopback interface, which tells `news` of every
/// request. It runs until the process ends.
pub fn start(secret: &str, news: Sender<News>) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let key = Arc::new(hmac::Key::new(HMAC_SHA256, secret.as_bytes()));
    thread::Builder::new().name("demo-receiver".to_owned()).spawn(move || {
        for stream in listener.incoming().flatten() {
            let (key, news) = (key.clone(), news.clone());
            // A connection that gets no thread is closed; the engine tries again.
            let _ = thread::Builder::new()
                .name("demo-connection".to_owned())
                .spawn(move || serve(stream, &key, &news));
        }
    })?;
    Ok(address)
}

/// Answers the requests of one connection until the peer closes it.
fn serve(stream: TcpStream, key: &hmac::Key, news: &Sender<News>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader)? {
        let verified = is_signature_of(key, &request.body, &request.signature);
        let arrival = read_body(&request.body, verified);
        let status = match &arrival {
            None => "400 Bad Request",
            Some(_) if !verified => "401 Unauthorized",
            Some(_) => "200 OK",
        };
        writer.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes())?;
        let answered_at = Instant::now();
        let told = match arrival {
            Some(arrival) => news.send(News::Arrival(Arrival { answered_at, ..arrival })),
            None => news.send(News::NotAnEvent),
        };
        if told.is_err() {
            break;
        }
    }
    Ok(())
}

/// What matters of a request.
struct Request {
    signature: String,
    body: Vec<u8>,
}

/// Reads one request; `None` when the peer has closed the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut head = reader.by_ref().take(HEAD_BYTES_MAX);
    let (mut length, mut signature, mut line) = (0, String::new(), String::new());
    loop {
        line.clear();
        if head.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line.trim_end().is_empty() {
            break;
        }
        let Some((name, value)) = line.split_once(':') else { continue };
        if name.eq_ignore_ascii_case("Content-Length") {
            let bytes = value.trim().parse().ok().filter(|bytes| *bytes <= BODY_BYTES_MAX);
            length = bytes.ok_or(io::ErrorKind::InvalidData)?;
        } else if name.eq_ignore_ascii_case("X-Ferrite-Signature") {
            signature = value.trim().to_owned();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request { signature, body }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    const BODY: &str = r#"{"id":"evt_1","timestamp":"2024-01-15T10:30:00.000000Z","event":"SET","key":"k","data":{"value":"v","old_value":null,"ttl":null}}"#;

    fn signature(secret: &str, body: &str) -> String {
        let key = hmac::Key::new(HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, body.as_bytes());
        let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={digits}")
    }

    /// The status line and what the receiver tells of a request that carries `signature`.
    fn post(signature: &str, body: &str) -> (String, News) {
        let (sender, news) = mpsc::channel();
        let address = start("right", sender).unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n");
        write!(stream, "{head}x-ferrite-signature: {signature}\r\n\r\n{body}").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        (line.trim_end().to_owned(), news.recv_timeout(Duration::from_secs(10)).unwrap())
    }

    #[test]
    fn a_signed_body_is_accepted() {
        let (status, news) = post(&signature("right", BODY), BODY);
        assert_eq!(status, "HTTP/1.1 200 OK");
        let News::Arrival(arrival) = news else { panic!("{news:?}") };
        assert!(arrival.verified);
        assert_eq!((&*arrival.key, &*arrival.value), ("k", r#""v""#));
    }

    #[test]
    fn a_forged_signature_is_refused_and_reported() {
        let other_body = BODY.replace("\"v\"", "\"w\"");
        let cut = &signature("right", BODY)[..70];
        for forged in [&*signature("wrong", BODY), &*signature("right", &other_body), cut, "", "é"]
        {
            let (status, news) = post(forged, BODY);
            assert_eq!(status, "HTTP/1.1 401 Unauthorized", "{forged}");
            assert!(matches!(news, News::Arrival(Arrival { verified: false, .. })), "{news:?}");
        }
    }

    #[test]
    fn a_body_that_is_no_event_is_refused() {
        let (status, news) = post(&signature("right", "{}"), "{}");
        assert_eq!(status, "HTTP/1.1 400 Bad Request");
        assert!(matches!(news, News::NotAnEvent));
    }
}
