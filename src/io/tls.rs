//! TLS without I/O: ciphertext in and out of buffers, on rustls with ring.

use crate::core::failure::Failure;
use rustls::client::{ClientConnection, Resumption};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Sessions that one worker remembers for resumption.
const SESSIONS_MAX: usize = 1024;
/// Plaintext is taken out of rustls in pieces of this size.
const PLAINTEXT_BYTES: usize = 16 * 1024;

/// The system's trusted roots.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!("a system certificate could not be loaded: {error}");
    }
    roots.add_parsable_certificates(system.certs);
    if roots.is_empty() {
        tracing::warn!("the system has no trusted roots: only those of a ca_file are trusted");
    }
    roots
}

/// The files that TLS settings are made from; all PEM.
#[derive(Clone, Copy, Debug)]
pub struct TlsFiles<'a> {
    /// Further trusted roots.
    pub ca: Option<&'a Path>,
    /// The certificate to show, followed by those that lead to its root.
    pub client_cert: Option<&'a Path>,
    /// Its private key.
    pub client_key: Option<&'a Path>,
}

/// TLS settings, loaded and checked; every worker makes its own [`TlsSettings`] of them.
/// `Debug` shows no key.
pub struct TlsMaterial {
    profile: Option<Arc<str>>,
    verify: bool,
    roots: Arc<RootCertStore>,
    client: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
}

impl std::fmt::Debug for TlsMaterial {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("TlsMaterial")
            .field("profile", &self.profile)
            .field("verify", &self.verify)
            .finish_non_exhaustive()
    }
}

impl TlsMaterial {
    /// Loads the settings of a profile; `None` for the configuration's own.
    ///
    /// # Errors
    /// One line that names the file and what is wrong with it.
    pub fn load(
        profile: Option<&str>,
        verify: bool,
        files: &TlsFiles<'_>,
        system: &RootCertStore,
    ) -> Result<TlsMaterial, String> {
        let mut roots = system.clone();
        if let Some(path) = files.ca {
            for certificate in certificates("ca_file", path)? {
                roots.add(certificate).map_err(|error| wrong("ca_file", path, &error))?;
            }
        }
        let client = match (files.client_cert, files.client_key) {
            (None, None) => None,
            (Some(_), None) => return Err("client_cert_file needs client_key_file".to_owned()),
            (None, Some(_)) => return Err("client_key_file needs client_cert_file".to_owned()),
            (Some(cert), Some(key)) => {
                let chain = certificates("client_cert_file", cert)?;
                let private = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| wrong("client_key_file", key, &pem_problem(&error)))?;
                Some((chain, private))
            }
        };
        let material =
            TlsMaterial { profile: profile.map(Into::into), verify, roots: roots.into(), client };
        // A key that does not fit its certificate shows here, and not on some worker.
        material.config().map_err(|error| match (files.client_cert, files.client_key) {
            (Some(cert), Some(key)) => format!(
                "client_cert_file {} with client_key_file {}: {error}",
                cert.display(),
                key.display()
            ),
            _ => error.to_string(),
        })?;
        Ok(material)
    }

    fn config(&self) -> Result<ClientConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?;
        let builder = match self.verify {
            true => builder.with_root_certificates(self.roots.clone()),
            false => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(unverified::AcceptAny(provider))),
        };
        let mut config = match &self.client {
            Some((chain, key)) => builder.with_client_auth_cert(chain.clone(), key.clone_key())?,
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        // Early data can be replayed by an attacker, and our requests change things.
        config.enable_early_data = false;
        Ok(config)
    }
}

fn wrong(what: &str, path: &Path, problem: &dyn std::fmt::Display) -> String {
    format!("{what} {}: {problem}", path.display())
}

/// The certificates of a PEM file: at least one.
fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let fail = |error: &pem::Error| wrong(what, path, &pem_problem(error));
    let found = CertificateDer::pem_file_iter(path).map_err(|error| fail(&error))?;
    let found: Vec<_> = found.collect::<Result<_, _>>().map_err(|error| fail(&error))?;
    match found.is_empty() {
        true => Err(wrong(what, path, &"holds no certificate")),
        false => Ok(found),
    }
}

/// What is wrong with a PEM file, without what is in it.
fn pem_problem(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "holds nothing of the kind".to_owned(),
        _ => "is not valid PEM".to_owned(),
    }
}

/// The TLS settings of one worker, by the profile's name. Each worker has its own, so that no
/// lock of the session stores is shared; profiles share no session.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    configs: HashMap<Option<Arc<str>>, Arc<ClientConfig>>,
}

impl TlsSettings {
    /// Settings made of what was loaded.
    pub fn new(material: &[TlsMaterial]) -> Result<Self, rustls::Error> {
        let mut configs = HashMap::new();
        for material in material {
            configs.insert(material.profile.clone(), Arc::new(material.config()?));
        }
        Ok(TlsSettings { configs })
    }

    /// A session with `host`.
    pub(super) fn connect(
        &self,
        host: &str,
        profile: Option<&Arc<str>>,
    ) -> Result<Box<TlsSession>, Failure> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Failure::TlsWrongName)?;
        let config = self.configs.get(&profile.cloned()).ok_or(Failure::Tls)?;
        let connection = ClientConnection::new(config.clone(), name).map_err(|_| Failure::Tls)?;
        // Boxed: every connection's task has room for one, and most have none.
        Ok(Box::new(TlsSession { connection }))
    }
}

/// One TLS connection: turns plaintext into ciphertext and back.
#[derive(Debug)]
pub(super) struct TlsSession {
    connection: ClientConnection,
}

/// What came out of ciphertext.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Incoming {
    /// More may come.
    Open,
    /// The peer said that it will send no more.
    Finished,
}

impl TlsSession {
    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether there is something to write to the socket.
    pub(super) fn has_outgoing(&self) -> bool {
        self.connection.wants_write()
    }

    /// Appends what is to be written to the socket.
    pub(super) fn outgoing(&mut self, ciphertext: &mut Vec<u8>) -> Result<(), Failure> {
        while self.connection.wants_write() {
            self.connection.write_tls(ciphertext).map_err(|_| Failure::Tls)?;
        }
        Ok(())
    }

    /// Encrypts `plaintext` and appends the result.
    pub(super) fn encrypt(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let mut rest = plaintext;
        while !rest.is_empty() {
            let taken = self.connection.writer().write(rest).map_err(|_| Failure::Tls)?;
            rest = &rest[taken..];
            self.outgoing(out)?;
        }
        Ok(())
    }

    /// Takes ciphertext that was read; appends the plaintext in it.
    pub(super) fn incoming(
        &mut self,
        mut ciphertext: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> Result<Incoming, Failure> {
        let mut state = Incoming::Open;
        while !ciphertext.is_empty() {
            self.connection.read_tls(&mut ciphertext).map_err(|_| Failure::Tls)?;
            let progress = self.connection.process_new_packets().map_err(|error| name(&error))?;
            let mut ready = progress.plaintext_bytes_to_read();
            while ready > 0 {
                let start = plaintext.len();
                plaintext.resize(start + ready.min(PLAINTEXT_BYTES), 0);
                let read = self
                    .connection
                    .reader()
                    .read(&mut plaintext[start..])
                    .map_err(|_| Failure::Tls)?;
                plaintext.truncate(start + read);
                ready -= read;
            }
            if progress.peer_has_closed() {
                state = Incoming::Finished;
                break;
            }
        }
        Ok(state)
    }
}

/// The failure's name (what an operator can act on).
fn name(error: &rustls::Error) -> Failure {
    use CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            Certificate::Expired
            | Certificate::ExpiredContext { .. }
            | Certificate::NotValidYet
            | Certificate::NotValidYetContext { .. } => Failure::TlsCertificateExpired,
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                Failure::TlsWrongName
            }
            // A signature that does not fit: another root of the same name.
            Certificate::UnknownIssuer | Certificate::BadSignature => Failure::TlsUntrusted,
            _ => Failure::Tls,
        },
        rustls::Error::AlertReceived(alert) => name_of_alert(*alert),
        rustls::Error::PeerIncompatible(_) => Failure::TlsIncompatible,
        _ => Failure::Tls,
    }
}

/// What the endpoint complains of.
fn name_of_alert(alert: AlertDescription) -> Failure {
    use AlertDescription as Alert;
    match alert {
        Alert::CertificateRequired
        | Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => Failure::TlsClientCertificate,
        Alert::HandshakeFailure | Alert::ProtocolVersion | Alert::InsufficientSecurity => {
            Failure::TlsIncompatible
        }
        _ => Failure::Tls,
    }
}

mod unverified {
    //! `verify_ssl = false`: whoever answers is believed. Signatures of the handshake are still
    //! checked, which costs nothing and catches broken peers.

    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
    use std::sync::Arc;

    #[derive(Debug)]
    pub(super) struct AcceptAny(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for AcceptAny {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signature, algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
