//! HTTPS against a receiver with certificates from a CA of the test's own.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{Failure, WebhookConfig, WebhookManager, WebhookOptions, WebhookTrigger};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use support::audited::{Audited, audited};
use support::pipelined::{Habit, HalfClose, Pipelined};
use support::{block_on, eventually, read_request};

/// A certificate authority, and the file that makes the engine trust it.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = std::env::temp_dir().join(format!("ferrite-{name}-{}.pem", std::process::id()));
        std::fs::write(&file, issuer.pem()).unwrap();
        Authority { issuer, file }
    }

    /// A server's settings with a certificate for `name`, valid in the years given.
    fn server(&self, name: &str, years: std::ops::Range<i32>) -> Arc<ServerConfig> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_before = date_time_ymd(years.start, 1, 1);
        params.not_after = date_time_ymd(years.end, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)
            .unwrap();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

/// What a TLS receiver saw.
#[derive(Default)]
struct Seen {
    requests: AtomicUsize,
    handshakes: AtomicUsize,
    resumed: AtomicUsize,
}

/// Starts a TLS receiver; it closes each connection after `per_connection` requests.
fn receiver(config: Arc<ServerConfig>, per_connection: usize) -> (u16, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Seen::default());
    let counted = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, seen) = (config.clone(), counted.clone());
            std::thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                let mut reader = BufReader::new(StreamOwned::new(connection, stream));
                for served in 0..per_connection {
                    if read_request(&mut reader).is_none() {
                        return;
                    }
                    let tls = reader.get_mut();
                    if served == 0 {
                        assert_eq!(tls.conn.alpn_protocol(), Some(b"http/1.1".as_slice()));
                        seen.handshakes.fetch_add(1, Ordering::Relaxed);
                        let resumed =
                            tls.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed);
                        seen.resumed.fetch_add(usize::from(resumed), Ordering::Relaxed);
                    }
                    seen.requests.fetch_add(1, Ordering::Relaxed);
                    tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                }
                reader.get_mut().conn.send_close_notify();
                let _ = reader.get_mut().flush();
            });
        }
    });
    (port, seen)
}

fn manager(trusted: Option<&Authority>, verify: bool) -> Audited {
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    config.security.verify_ssl = verify;
    config.security.ca_file = trusted.map(|authority| authority.file.clone());
    audited(config)
}

fn url(port: u16) -> String {
    format!("https://localhost:{port}/hook")
}

#[test]
fn deliveries_go_over_tls_and_share_connections() {
    let authority = Authority::new("good");
    let (port, seen) = receiver(authority.server("localhost", 2020..2090), 1000);
    let manager = manager(Some(&authority), true);
    let options = WebhookOptions { concurrency: Some(2), ..WebhookOptions::default() };
    block_on(manager.create("w", &url(port), options)).unwrap();
    let large = "x".repeat(100_000);
    for index in 0..50 {
        let value = if index % 10 == 0 { large.clone() } else { "v".to_owned() };
        let trigger = WebhookTrigger {
            key: format!("k{index}"),
            value: Some(value.into_bytes()),
            ..WebhookTrigger::default()
        };
        block_on(manager.trigger(trigger)).unwrap();
    }
    eventually("all is delivered", || manager.stats("w").unwrap().delivered == 50);
    assert_eq!(seen.requests.load(Ordering::Relaxed), 50);
    assert!(seen.handshakes.load(Ordering::Relaxed) <= 2);
}

#[test]
fn sessions_are_resumed() {
    let authority = Authority::new("resume");
    let (port, seen) = receiver(authority.server("localhost", 2020..2090), 1);
    let manager = manager(Some(&authority), true);
    block_on(manager.create("w", &url(port), WebhookOptions::default())).unwrap();
    for index in 0..5 {
        let trigger = WebhookTrigger { key: "k".to_owned(), ..WebhookTrigger::default() };
        block_on(manager.trigger(trigger)).unwrap();
        eventually("it is delivered", || manager.stats("w").unwrap().delivered == index + 1);
    }
    assert_eq!(manager.stats("w").unwrap().failed_attempts, 0);
    assert_eq!(seen.handshakes.load(Ordering::Relaxed), 5);
    assert!(seen.resumed.load(Ordering::Relaxed) >= 3, "sessions are resumed");
}

/// Bad certificates have names, in TEST and in DELIVERIES; nothing is sent to such an endpoint.
#[test]
fn bad_certificates_fail_by_name() {
    let (trusted, stranger) = (Authority::new("trusted"), Authority::new("stranger"));
    let cases = [
        (trusted.server("localhost", 2001..2002), Failure::TlsCertificateExpired),
        (trusted.server("localhost", 2080..2090), Failure::TlsCertificateExpired),
        (trusted.server("other.test", 2020..2090), Failure::TlsWrongName),
        (stranger.server("localhost", 2020..2090), Failure::TlsUntrusted),
    ];
    let manager = manager(Some(&trusted), true);
    for (index, (config, wanted)) in cases.into_iter().enumerate() {
        let (port, seen) = receiver(config.clone(), 10);
        let name = format!("w{index}");
        let options =
            WebhookOptions { retries: 0, pattern: Some(name.clone()), ..WebhookOptions::default() };
        block_on(manager.create(&name, &url(port), options)).unwrap();
        let report = block_on(manager.test(&name)).unwrap();
        assert_eq!((report.failure, report.status), (Some(wanted), None));
        let trigger = WebhookTrigger { key: name.clone(), ..WebhookTrigger::default() };
        block_on(manager.trigger(trigger)).unwrap();
        eventually("it fails", || manager.stats(&name).unwrap().failures == 1);
        assert_eq!(manager.deliveries(&name, 1).unwrap()[0].failure, Some(wanted));
        assert_eq!(seen.requests.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn verification_can_be_switched_off() {
    let stranger = Authority::new("off");
    let (port, seen) = receiver(stranger.server("other.test", 2001..2002), 10);
    let manager = manager(None, false);
    block_on(manager.create("w", &url(port), WebhookOptions::default())).unwrap();
    let report = block_on(manager.test("w")).unwrap();
    assert_eq!(report.failure, None);
    assert!(report.stages.tls_us.is_some_and(|took_us| took_us > 0), "{report:?}");
    assert_eq!(seen.requests.load(Ordering::Relaxed), 1);
}

/// A peer that is not TLS, and one that never answers the handshake.
#[test]
fn handshakes_that_go_wrong_fail_by_name() {
    let plain = support::Receiver::start();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = manager(None, true);
    let options = WebhookOptions { timeout_ms: Some(100), ..WebhookOptions::default() };
    let ports = [plain.address.port(), silent.local_addr().unwrap().port()];
    for (name, port, wanted) in
        [("plain", ports[0], None), ("silent", ports[1], Some(Failure::Timeout))]
    {
        block_on(manager.create(name, &url(port), options.clone())).unwrap();
        let failure = block_on(manager.test(name)).unwrap().failure;
        assert!(failure.is_some() && wanted.is_none_or(|wanted| failure == Some(wanted)));
    }
}

impl HalfClose for StreamOwned<ServerConnection, TcpStream> {
    fn end(&mut self) -> std::io::Result<()> {
        self.conn.send_close_notify();
        self.flush()
    }
}

/// A TLS receiver with a habit.
fn pipelined(authority: &Authority, habit: Habit) -> Pipelined {
    let config = authority.server("localhost", 2020..2090);
    Pipelined::start(habit, move |stream| {
        StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream)
    })
}

fn piped() -> WebhookOptions {
    WebhookOptions {
        pipeline: Some(16),
        concurrency: Some(16),
        retries: 0,
        ..WebhookOptions::default()
    }
}

fn trigger_all(manager: &WebhookManager, keys: usize, versions: usize) {
    for version in 0..versions {
        for key in 0..keys {
            let trigger = WebhookTrigger {
                key: format!("k{key}"),
                value: Some(version.to_string().into_bytes()),
                ..WebhookTrigger::default()
            };
            block_on(manager.trigger(trigger)).unwrap();
        }
    }
}

/// `PIPELINE`: the receiver reads 16 requests before it answers any.
#[test]
fn a_connection_carries_many_requests_at_once() {
    let authority = Authority::new("pipelined");
    let receiver = pipelined(&authority, Habit { together: 16, per_connection: usize::MAX });
    let manager = manager(Some(&authority), true);
    block_on(manager.create("w", &url(receiver.port), piped())).unwrap();
    trigger_all(&manager, 1, 1);
    eventually("the first is delivered", || manager.stats("w").unwrap().delivered == 1);
    trigger_all(&manager, 16, 10);
    eventually("all is delivered", || manager.stats("w").unwrap().delivered == 161);
    assert_eq!(receiver.connections(), 1);
    support::assert_in_order(&receiver.arrivals()[1..], 16, 10);
}

#[test]
fn what_a_closed_connection_leaves_unanswered_is_sent_again() {
    let authority = Authority::new("broken");
    let receiver = pipelined(&authority, Habit { together: 1, per_connection: 5 });
    let manager = manager(Some(&authority), true);
    block_on(manager.create("w", &url(receiver.port), piped())).unwrap();
    trigger_all(&manager, 20, 10);
    eventually("all is finished", || manager.stats("w").unwrap().deliveries == 200);
    let stats = manager.stats("w").unwrap();
    assert_eq!((stats.delivered, stats.attempts), (200, 200));
    let arrivals = receiver.arrivals();
    assert!(arrivals.len() > 200, "some were read and not answered");
    receiver.assert_in_order(20, 10);
}
