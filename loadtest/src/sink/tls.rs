//! The server's side of TLS, without I/O.

use rustls::{ServerConfig, ServerConnection};
use rustls_pki_types::PrivatePkcs8KeyDer;
use std::io::{self, Read, Write};
use std::sync::Arc;

/// Names that the certificate is for.
const NAMES: [&str; 2] = ["localhost", "127.0.0.1"];
/// Plaintext is taken out of rustls in pieces of this size.
const PLAINTEXT_BYTES: usize = 16 * 1024;

/// What a TLS sink needs: its settings, and its certificate for those who shall trust it.
#[derive(Clone, Debug)]
pub(super) struct TlsSettings {
    pub(super) config: Arc<ServerConfig>,
    pub(super) certificate_pem: String,
}

impl TlsSettings {
    /// Settings with a new certificate.
    pub(super) fn generate() -> io::Result<Self> {
        let names: Vec<String> = NAMES.iter().map(|name| (*name).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsSettings { config: Arc::new(config), certificate_pem: made.cert.pem() })
    }

    pub(super) fn accept(&self) -> io::Result<TlsSession> {
        let connection = ServerConnection::new(self.config.clone()).map_err(io::Error::other)?;
        Ok(TlsSession { connection })
    }
}

/// One TLS connection: turns ciphertext into plaintext and back.
#[derive(Debug)]
pub(super) struct TlsSession {
    connection: ServerConnection,
}

impl TlsSession {
    /// Takes ciphertext that was read; appends the plaintext in it. Says whether the peer is done.
    pub(super) fn incoming(
        &mut self,
        mut ciphertext: &[u8],
        plaintext: &mut Vec<u8>,
    ) -> io::Result<bool> {
        while !ciphertext.is_empty() {
            self.connection.read_tls(&mut ciphertext)?;
            let progress = self.connection.process_new_packets().map_err(io::Error::other)?;
            let mut ready = progress.plaintext_bytes_to_read();
            while ready > 0 {
                let start = plaintext.len();
                plaintext.resize(start + ready.min(PLAINTEXT_BYTES), 0);
                let read = self.connection.reader().read(&mut plaintext[start..])?;
                plaintext.truncate(start + read);
                ready -= read;
            }
            if progress.peer_has_closed() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Appends what is to be written to the socket: answers of the handshake.
    pub(super) fn outgoing(&mut self, ciphertext: &mut Vec<u8>) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(ciphertext)?;
        }
        Ok(())
    }

    /// Appends `plaintext`, encrypted.
    pub(super) fn encrypt(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let mut rest = plaintext;
        while !rest.is_empty() {
            let taken = self.connection.writer().write(rest)?;
            rest = &rest[taken..];
            self.outgoing(out)?;
        }
        Ok(())
    }
}
