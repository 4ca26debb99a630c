//! Requests through an HTTP proxy. The proxy of these tests leads every name to loopback, and no
//! name is looked up by the engine.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{Failure, WebhookConfig, WebhookManager, WebhookOptions, WebhookTrigger};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use support::audited::Audited;
use support::{Receiver, block_on, eventually, read_request};

/// What the proxy does with CONNECT.
#[derive(Clone)]
enum Habit {
    /// What proxies are for.
    Lead,
    /// Says this, and nothing more until the client leaves.
    Say(&'static [u8]),
    /// Says this and closes.
    SayAndClose(&'static [u8]),
    /// Says this again and again.
    Repeat(&'static [u8]),
}

struct Proxy {
    port: u16,
    /// The heads that came in.
    heads: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Proxy {
    fn start(habit: Habit) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (habit, seen) = (habit.clone(), seen.clone());
                std::thread::spawn(move || serve(stream, &habit, &seen));
            }
        });
        Proxy { port, heads }
    }

    fn url(&self) -> String {
        format!("http://user:p%40ss@127.0.0.1:{}", self.port)
    }

    fn heads(&self) -> Vec<Vec<String>> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, habit: &Habit, seen: &Mutex<Vec<Vec<String>>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    while let Some((head, body)) = read_request(&mut reader) {
        seen.lock().unwrap().push(head.clone());
        let (method, rest) = head[0].split_once(' ')?;
        match habit {
            Habit::Lead if method == "CONNECT" => {
                let port: u16 = rest.split([':', ' ']).nth(1)?.parse().ok()?;
                let origin = TcpStream::connect(("127.0.0.1", port)).ok()?;
                stream.write_all(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n").ok()?;
                return splice(stream, origin);
            }
            Habit::Lead => forward(&mut stream, rest, &head, &body)?,
            Habit::Say(bytes) => {
                stream.write_all(bytes).ok()?;
                let _ = std::io::copy(&mut reader, &mut std::io::sink());
            }
            Habit::SayAndClose(bytes) => {
                stream.write_all(bytes).ok()?;
                return None;
            }
            Habit::Repeat(bytes) => loop {
                stream.write_all(bytes).ok()?;
            },
        }
    }
    None
}

fn splice(client: TcpStream, origin: TcpStream) -> Option<()> {
    let pipe = |mut from: TcpStream, mut to: TcpStream| {
        move || {
            let _ = std::io::copy(&mut from, &mut to);
            let _ = to.shutdown(Shutdown::Both);
        }
    };
    let back = pipe(origin.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(back);
    pipe(client, origin)();
    None
}

/// Forwards a request whose line has the whole URL, and its answer, which has no body.
fn forward(client: &mut TcpStream, rest: &str, head: &[String], body: &[u8]) -> Option<()> {
    let (place, path) = rest.strip_prefix("http://")?.split_once('/')?;
    let port: u16 = place.split_once(':')?.1.parse().ok()?;
    let mut origin = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let mut request = format!("POST /{path}\r\n");
    for line in head[1..].iter().filter(|line| !line.starts_with("Proxy-")) {
        request.push_str(&format!("{line}\r\n"));
    }
    origin.write_all(request.as_bytes()).ok()?;
    origin.write_all(b"\r\n").ok()?;
    origin.write_all(body).ok()?;
    let mut answer = BufReader::new(origin);
    loop {
        let mut line = String::new();
        answer.read_line(&mut line).ok()?;
        client.write_all(line.as_bytes()).ok()?;
        if line == "\r\n" {
            return Some(());
        }
    }
}

/// An engine that goes through `proxy`, and counts the names that it looks up.
fn manager(proxy: &str, change: impl FnOnce(&mut WebhookConfig)) -> (Audited, Arc<AtomicUsize>) {
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    config.security.proxy = Some(proxy.into());
    change(&mut config);
    let looked_up = Arc::new(AtomicUsize::new(0));
    let counter = looked_up.clone();
    let lookup = move |_: &str| {
        counter.fetch_add(1, Ordering::Relaxed);
        Vec::new()
    };
    (Audited(WebhookManager::with_lookup(config, Arc::new(lookup))), looked_up)
}

fn options() -> WebhookOptions {
    WebhookOptions { retries: 0, timeout_ms: Some(10_000), ..WebhookOptions::default() }
}

fn deliver_two(manager: &WebhookManager) {
    for delivered in 1..=2 {
        let trigger = WebhookTrigger { key: "k".to_owned(), ..WebhookTrigger::default() };
        block_on(manager.trigger(trigger)).unwrap();
        eventually("it is finished", || manager.stats("w").unwrap().deliveries == delivered);
    }
    assert_eq!(manager.stats("w").unwrap().delivered, 2);
}

/// A receiver over TLS that calls itself hidden.test; and its certificate.
fn tls_receiver() -> (u16, String, Arc<Mutex<Vec<Vec<String>>>>) {
    let made = rcgen::generate_simple_self_signed(vec!["hidden.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = heads.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut reader = BufReader::new(StreamOwned::new(connection, stream));
            while let Some((head, _)) = read_request(&mut reader) {
                seen.lock().unwrap().push(head);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                reader.get_mut().write_all(answer).unwrap();
            }
        }
    });
    (port, made.cert.pem(), heads)
}

#[test]
fn https_goes_through_a_tunnel() {
    let proxy = Proxy::start(Habit::Lead);
    let (port, certificate, requests) = tls_receiver();
    let ca = std::env::temp_dir().join(format!("ferrite-proxy-{}.pem", std::process::id()));
    std::fs::write(&ca, certificate).unwrap();
    let (manager, looked_up) =
        manager(&proxy.url(), |config| config.security.ca_file = Some(ca.clone()));
    let url = format!("https://hidden.test:{port}/hook");
    block_on(manager.create("w", &url, options())).unwrap();
    deliver_two(&manager);
    let connect = [
        format!("CONNECT hidden.test:{port} HTTP/1.1"),
        format!("Host: hidden.test:{port}"),
        "Proxy-Authorization: Basic dXNlcjpwQHNz".to_owned(),
    ];
    assert_eq!(proxy.heads(), [connect], "one tunnel, and nothing of the requests in the clear");
    let requests = requests.lock().unwrap();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0][0], "POST /hook HTTP/1.1");
    assert!(!requests[0].iter().any(|line| line.to_lowercase().starts_with("proxy-")));
    assert_eq!(looked_up.load(Ordering::Relaxed), 0);
    std::fs::remove_file(ca).unwrap();
}

#[test]
fn http_is_forwarded() {
    let proxy = Proxy::start(Habit::Lead);
    let receiver = Receiver::start();
    let (manager, looked_up) = manager(&proxy.url(), |_| ());
    let url = format!("http://hidden.test:{}/hook?a=b", receiver.address.port());
    block_on(manager.create("w", &url, options())).unwrap();
    deliver_two(&manager);
    let heads = proxy.heads();
    assert_eq!(heads.len(), 2);
    assert_eq!(heads[0][0], format!("POST {url} HTTP/1.1"));
    assert!(heads[0].contains(&"Proxy-Authorization: Basic dXNlcjpwQHNz".to_owned()));
    let arrivals = receiver.arrivals();
    assert_eq!(arrivals.len(), 2);
    assert_eq!(arrivals[0].head[0], "POST /hook?a=b HTTP/1.1");
    assert_eq!(looked_up.load(Ordering::Relaxed), 0);
}

#[test]
fn a_proxy_that_does_not_lead_there_fails_by_name() {
    const TOO_LONG: &[u8] = &[b'x'; 4096];
    for (habit, wanted) in [
        (
            Habit::Say(
                b"HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
            ),
            Failure::ProxyAuthentication,
        ),
        (Habit::Say(b"HTTP/1.1 403 Forbidden\r\n\r\n"), Failure::ProxyRefused(403)),
        (Habit::SayAndClose(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"), Failure::ProxyRefused(502)),
        (Habit::Say(b"HTTP/1.1 200 OK\r\n\r\nearly"), Failure::Proxy),
        (Habit::Say(b"220 mail.test ESMTP\r\n"), Failure::Proxy),
        (Habit::SayAndClose(b""), Failure::Proxy),
        (Habit::SayAndClose(b"HTTP/1.1 200 OK\r\n"), Failure::Proxy),
        (Habit::Repeat(TOO_LONG), Failure::Proxy),
        (Habit::Repeat(b"HTTP/1.1 200 OK\r\nX: y\r\n"), Failure::Proxy),
    ] {
        let proxy = Proxy::start(habit);
        let (manager, _) = manager(&proxy.url(), |_| ());
        block_on(manager.create("w", "https://hidden.test/", options())).unwrap();
        assert_eq!(block_on(manager.test("w")).unwrap().failure, Some(wanted));
    }
}

/// The exchange's deadline covers the tunnel.
#[test]
fn a_proxy_that_hangs_times_out() {
    for habit in [Habit::Say(b""), Habit::Say(b"HTTP/1.1 200 OK\r\n")] {
        let proxy = Proxy::start(habit);
        let (manager, _) = manager(&proxy.url(), |_| ());
        let options = WebhookOptions { timeout_ms: Some(100), ..options() };
        block_on(manager.create("w", "https://hidden.test/", options)).unwrap();
        assert_eq!(block_on(manager.test("w")).unwrap().failure, Some(Failure::Timeout));
    }
}

#[test]
fn a_proxy_that_is_not_there_fails_by_name() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let elsewhere = format!("http://127.0.0.1:{free}");
    for proxy in [elsewhere.as_str(), "http://unknown.test:3128"] {
        let (manager, _) = manager(proxy, |_| ());
        for url in ["http://hidden.test/", "https://hidden.test/"] {
            block_on(manager.create("w", url, options())).unwrap();
            assert_eq!(block_on(manager.test("w")).unwrap().failure, Some(Failure::Proxy));
            block_on(manager.delete("w")).unwrap();
        }
    }
}

/// Hosts in `no_proxy` are reached directly, under the rules for addresses. Of the others, what
/// stands in the URL is looked at.
#[test]
fn the_rules_for_hosts_hold_with_a_proxy() {
    let proxy = Proxy::start(Habit::Lead);
    let receiver = Receiver::start();
    let (manager, _) = manager(&proxy.url(), |config| {
        config.security.no_proxy = vec!["127.0.0.0/8".to_owned(), "*.internal".to_owned()];
        config.security.allowed_hosts =
            ["*.test", "127.0.0.1", "169.254.169.254", "x.internal"].map(str::to_owned).into();
    });
    let created = |url: &str| block_on(manager.create("w", url, options()));
    created(&receiver.url()).unwrap();
    deliver_two(&manager);
    assert!(proxy.heads().is_empty());
    block_on(manager.delete("w")).unwrap();
    assert!(created("http://other.example/").is_err(), "not in allowed_hosts");
    created("http://x.internal/").unwrap();
    let report = block_on(manager.test("w")).unwrap();
    assert_eq!(report.failure, Some(Failure::Resolve), "directly");
    let (strict, _) = crate::manager(&proxy.url(), |config| config.security.block_private = true);
    for url in ["http://10.0.0.1/", "http://[::ffff:127.0.0.1]/", "http://169.254.169.254/"] {
        assert!(block_on(strict.create("w", url, options())).is_err(), "{url}");
    }
    assert!(proxy.heads().is_empty());
}

#[test]
fn a_wrong_proxy_is_refused_at_the_start_without_its_password() {
    for url in ["https://u:hunter2@proxy.test", "http://u:hunter2%@proxy.test", "u:hunter2@proxy"] {
        let mut config = WebhookConfig::default();
        config.security.proxy = Some(url.into());
        let error = WebhookManager::start(config.clone()).unwrap_err().to_string();
        assert!(error.contains("proxy"), "{error}");
        assert!(!format!("{error} {config:?}").contains("hunter2"), "{error} {config:?}");
    }
}
