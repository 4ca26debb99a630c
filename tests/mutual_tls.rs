//! Client certificates and TLS profiles, against receivers that ask for them.

#![allow(clippy::unwrap_used)]

mod support;

use ferrite::webhooks::{
    Failure, TlsProfile, WebhookConfig, WebhookManager, WebhookOptions, WebhookTrigger,
    WebhookUpdate,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection, StreamOwned, SupportedProtocolVersion,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::{BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use support::audited::audited;
use support::{block_on, eventually, read_request};

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(test: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("ferrite-{test}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Directory(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Writes a client's certificate and key.
fn client(directory: &Directory, name: &str, issuer: &Authority) -> (PathBuf, PathBuf) {
    let mut params = CertificateParams::new(vec![format!("{name}.client.test")]).unwrap();
    params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (
        directory.write(&format!("{name}.pem"), &certificate.pem()),
        directory.write(&format!("{name}.key"), &key.serialize_pem()),
    )
}

/// The client certificate of each connection; `None` for one without.
type Shown = Arc<Mutex<Vec<Option<CertificateDer<'static>>>>>;

/// A receiver for `localhost` that wants clients of `clients`, if given.
fn receiver(
    server: &Authority,
    clients: Option<&Authority>,
    versions: &[&'static SupportedProtocolVersion],
) -> (u16, Shown) {
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, server).unwrap();
    let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(versions)
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = builder.with_single_cert(vec![certificate.der().clone()], private).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let shown = Shown::default();
    let seen = shown.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (config, seen) = (config.clone(), seen.clone());
            std::thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                let mut reader = BufReader::new(StreamOwned::new(connection, stream));
                let mut first = true;
                while read_request(&mut reader).is_some() {
                    let tls = reader.get_mut();
                    if std::mem::take(&mut first) {
                        let peer = tls.conn.peer_certificates().map(|chain| chain[0].clone());
                        seen.lock().unwrap().push(peer.map(CertificateDer::into_owned));
                    }
                    tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
                }
                // Closing with bytes unread would reset the connection, alert and all.
                let stream = &mut reader.get_mut().sock;
                let _ = stream.shutdown(std::net::Shutdown::Write);
                let _ = std::io::copy(stream, &mut std::io::sink());
            });
        }
    });
    (port, shown)
}

fn config() -> WebhookConfig {
    let mut config = WebhookConfig::default();
    config.workers.workers = 1;
    config.workers.force_epoll = std::env::var_os("FERRITE_TEST_EPOLL").is_some();
    config
}

fn url(port: u16) -> String {
    format!("https://localhost:{port}/hook")
}

fn with_profile(profile: Option<&str>) -> WebhookOptions {
    let tls_profile = profile.map(str::to_owned);
    WebhookOptions { tls_profile, retries: 0, ..WebhookOptions::default() }
}

fn deliver(manager: &WebhookManager, name: &str, delivered: u64) {
    let trigger = WebhookTrigger { key: "k".to_owned(), ..WebhookTrigger::default() };
    block_on(manager.trigger(trigger)).unwrap();
    eventually("it is delivered", || manager.stats(name).unwrap().delivered == delivered);
}

fn leaf(path: &Path) -> CertificateDer<'static> {
    use rustls_pki_types::pem::PemObject;
    CertificateDer::from_pem_file(path).unwrap()
}

#[test]
fn the_client_certificate_is_shown() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let directory = Directory::new(&format!("mtls-{:?}", version.version));
        let (servers, clients) = (authority("servers"), authority("clients"));
        let (port, shown) = receiver(&servers, Some(&clients), &[version]);
        let (cert, key) = client(&directory, "own", &clients);
        let mut config = config();
        config.security.ca_file = Some(directory.write("ca.pem", &servers.pem()));
        config.security.client_cert_file = Some(cert.clone());
        config.security.client_key_file = Some(key);
        let manager = audited(config);
        block_on(manager.create("w", &url(port), with_profile(None))).unwrap();
        deliver(&manager, "w", 1);
        assert_eq!(*shown.lock().unwrap(), [Some(leaf(&cert))]);
    }
}

/// A missing certificate and one of a stranger have a name, with both versions of TLS: in 1.3 the
/// receiver says so only after the handshake.
#[test]
fn a_client_certificate_that_is_not_accepted_fails_by_name() {
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let directory = Directory::new(&format!("mtls-bad-{:?}", version.version));
        let (servers, clients) = (authority("servers"), authority("clients"));
        let (port, shown) = receiver(&servers, Some(&clients), &[version]);
        let (cert, key) = client(&directory, "stranger", &authority("strangers"));
        let mut config = config();
        let ca_file = Some(directory.write("ca.pem", &servers.pem()));
        config.security.ca_file = ca_file.clone();
        config.security.tls_profiles.insert(
            "stranger".to_owned(),
            TlsProfile {
                ca_file,
                client_cert_file: Some(cert),
                client_key_file: Some(key),
                ..TlsProfile::default()
            },
        );
        let manager = audited(config);
        for profile in [None, Some("stranger")] {
            block_on(manager.create("w", &url(port), with_profile(profile))).unwrap();
            let report = block_on(manager.test("w")).unwrap();
            assert_eq!(report.failure, Some(Failure::TlsClientCertificate), "{profile:?}");
            block_on(manager.delete("w")).unwrap();
        }
        assert!(shown.lock().unwrap().is_empty(), "no request was read");
    }
}

/// Old endpoints that share no version or cipher with the engine say so with an alert.
#[test]
fn endpoints_without_a_common_version_or_cipher_fail_by_name() {
    const HANDSHAKE_FAILURE: u8 = 40;
    const PROTOCOL_VERSION: u8 = 70;
    const INTERNAL_ERROR: u8 = 80;
    let manager = audited(config());
    for (alert, wanted) in [
        (HANDSHAKE_FAILURE, Failure::TlsIncompatible),
        (PROTOCOL_VERSION, Failure::TlsIncompatible),
        (INTERNAL_ERROR, Failure::Tls),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&[21, 3, 3, 0, 2, 2, alert]).unwrap();
            let _ = std::io::copy(&mut stream, &mut std::io::sink());
        });
        block_on(manager.create("w", &url(port), with_profile(None))).unwrap();
        assert_eq!(block_on(manager.test("w")).unwrap().failure, Some(wanted), "{alert}");
        block_on(manager.delete("w")).unwrap();
        receiver.join().unwrap();
    }
}

/// Two webhooks of one endpoint with different profiles never share a connection.
#[test]
fn profiles_have_connections_of_their_own() {
    let directory = Directory::new("profiles");
    let (servers, clients) = (authority("servers"), authority("clients"));
    let ca_file = Some(directory.write("ca.pem", &servers.pem()));
    let (port, shown) = receiver(&servers, Some(&clients), rustls::ALL_VERSIONS);
    let mut config = config();
    let mut certificates = Vec::new();
    for name in ["a", "b"] {
        let (cert, key) = client(&directory, name, &clients);
        certificates.push(Some(leaf(&cert)));
        let profile = TlsProfile {
            ca_file: ca_file.clone(),
            client_cert_file: Some(cert),
            client_key_file: Some(key),
            ..TlsProfile::default()
        };
        config.security.tls_profiles.insert(name.to_owned(), profile);
    }
    let manager = audited(config);
    block_on(manager.create("w", &url(port), with_profile(Some("a")))).unwrap();
    assert_eq!(manager.info("w").unwrap().tls_profile.as_deref(), Some("a"));
    deliver(&manager, "w", 1);
    deliver(&manager, "w", 2);
    let update = |profile: Option<&str>| WebhookUpdate {
        tls_profile: Some(profile.map(str::to_owned)),
        ..WebhookUpdate::default()
    };
    block_on(manager.update("w", update(Some("b")))).unwrap();
    deliver(&manager, "w", 3);
    assert_eq!(*shown.lock().unwrap(), certificates, "one connection each");
    let error = block_on(manager.update("w", update(Some("c")))).unwrap_err();
    assert_eq!(error.to_string(), "no TLS profile 'c' in the configuration");
    block_on(manager.update("w", update(None))).unwrap();
    let report = block_on(manager.test("w")).unwrap();
    assert_eq!(report.failure, Some(Failure::TlsUntrusted), "the configuration's own settings");
}

/// Verification is switched off for one webhook, by the name of a profile, and for no other.
#[test]
fn a_profile_that_does_not_verify_is_for_its_webhooks_only() {
    let (port, shown) = receiver(&authority("unknown"), None, rustls::ALL_VERSIONS);
    let mut config = config();
    let profile = TlsProfile { verify_ssl: false, ..TlsProfile::default() };
    config.security.tls_profiles.insert("lab".to_owned(), profile);
    let manager = audited(config);
    block_on(manager.create("lax", &url(port), with_profile(Some("lab")))).unwrap();
    block_on(manager.create("strict", &url(port), with_profile(None))).unwrap();
    deliver(&manager, "lax", 1);
    eventually("the other fails", || manager.stats("strict").unwrap().failures == 1);
    assert_eq!(manager.deliveries("strict", 1).unwrap()[0].failure, Some(Failure::TlsUntrusted));
    assert_eq!(*shown.lock().unwrap(), [None]);
}

/// What is wrong with a file is said when the engine starts, with the file's name, and without
/// what is in it.
#[test]
fn files_that_are_not_acceptable_are_named() {
    let directory = Directory::new("files");
    let clients = authority("clients");
    let (cert, key) = client(&directory, "good", &clients);
    let (_, other_key) = client(&directory, "other", &clients);
    let garbage = directory.write("garbage.pem", "-----BEGIN CERTIFICATE-----\nhunter2");
    let bad_der = directory
        .write("bad.pem", "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n");
    let empty = directory.write("empty.pem", "hunter2\n");
    let missing = directory.0.join("missing.pem");
    let error = |own: [Option<&PathBuf>; 3], profile: Option<TlsProfile>| {
        let [ca, cert, key] = own.map(|path| path.cloned());
        let mut config = config();
        config.security.ca_file = ca;
        config.security.client_cert_file = cert;
        config.security.client_key_file = key;
        config.security.tls_profiles.extend(profile.map(|profile| ("lab".to_owned(), profile)));
        WebhookManager::start(config).unwrap_err().to_string()
    };
    let profile = TlsProfile { ca_file: Some(missing.clone()), ..TlsProfile::default() };
    for (error, wanted) in [
        (error([Some(&missing), None, None], None), "ca_file /"),
        (error([Some(&missing), None, None], None), "missing.pem: No such file"),
        (error([Some(&garbage), None, None], None), "garbage.pem: is not valid PEM"),
        (error([Some(&bad_der), None, None], None), "bad.pem: "),
        (error([Some(&empty), None, None], None), "empty.pem: holds no certificate"),
        (error([Some(&key), None, None], None), "good.key: holds no certificate"),
        (error([None, Some(&cert), None], None), "client_cert_file needs client_key_file"),
        (error([None, None, Some(&key)], None), "client_key_file needs client_cert_file"),
        (error([None, Some(&cert), Some(&cert)], None), "client_key_file /"),
        (error([None, Some(&cert), Some(&missing)], None), "missing.pem: No such file"),
        (error([None, Some(&cert), Some(&other_key)], None), "with client_key_file /"),
        (error([None; 3], Some(profile)), "TLS profile 'lab': ca_file /"),
    ] {
        assert!(error.contains(wanted), "{wanted}: {error}");
        assert!(!error.contains("hunter2") && !error.contains("aHVudGVyMg"), "{error}");
    }
}
