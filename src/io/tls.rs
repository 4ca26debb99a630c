//! TLS without I/O: ciphertext in and out of buffers, on rustls with ring.

use crate::core::failure::Failure;
use rustls::client::{ClientConnection, Resumption};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

/// Sessions that one worker remembers for resumption.
const SESSIONS_MAX: usize = 1024;
/// Plaintext is taken out of rustls in pieces of this size.
const PLAINTEXT_BYTES: usize = 16 * 1024;

/// Loads the trusted roots: the system's, and those of `ca_file`.
pub fn load_roots(ca_file: Option<&Path>) -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!("a system certificate could not be loaded: {error}");
    }
    roots.add_parsable_certificates(system.certs);
    if let Some(path) = ca_file {
        let fail = |error: &dyn std::fmt::Display| format!("ca_file {}: {error}", path.display());
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| fail(&error))?;
        let mut count = 0;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| fail(&error))?;
            roots.add(certificate).map_err(|error| fail(&error))?;
            count += 1;
        }
        if count == 0 {
            return Err(fail(&"holds no certificate"));
        }
    }
    Ok(Arc::new(roots))
}

/// The TLS settings of one worker. Each worker has its own, so that no lock of the session
/// stores is shared; verified and unverified connections share no session.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    verified: Arc<ClientConfig>,
    unverified: Arc<ClientConfig>,
}

impl TlsSettings {
    /// Settings that trust `roots`.
    pub fn new(roots: Arc<RootCertStore>) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = || {
            ClientConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
        };
        let verified = builder()?.with_root_certificates(roots).with_no_client_auth();
        let unverified = builder()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(unverified::AcceptAny(provider.clone())))
            .with_no_client_auth();
        let finish = |mut config: ClientConfig| {
            config.alpn_protocols = vec![b"http/1.1".to_vec()];
            config.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
            // Early data can be replayed by an attacker, and our requests change things.
            config.enable_early_data = false;
            Arc::new(config)
        };
        Ok(TlsSettings { verified: finish(verified), unverified: finish(unverified) })
    }

    /// A session with `host`.
    pub(super) fn connect(&self, host: &str, verify: bool) -> Result<Box<TlsSession>, Failure> {
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Failure::TlsWrongName)?;
        let config = if verify { &self.verified } else { &self.unverified };
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
