//! TLS as bytes in, bytes out: rustls on buffers. The socket is somebody else's (`link`).
//!
//! A wrapper that owns the socket would hold ciphertext while a read is cancelled, and a session of ours waits for
//! its socket, its queue and a clock at once; here every `await` is on the plain socket.

use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use bytes::BytesMut;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::Failure;

/// One client session.
pub(crate) struct Tls(Box<ClientConnection>);

/// What every session of a process shares: the system's roots (or those of `SSL_CERT_FILE`), no client certificate.
/// Reads files: some milliseconds, once, before the first connection.
pub(crate) fn client_config() -> Result<Arc<ClientConfig>, Failure> {
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(loaded.certs);
    if added == 0 {
        let errors: Vec<_> = loaded.errors.iter().map(ToString::to_string).collect();
        return Err(Failure::Tls(format!("no root certificate was found {}", errors.join(", "))));
    }
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map(|builder| builder.with_root_certificates(roots).with_no_client_auth())
        .map(Arc::new)
        .map_err(|error| Failure::Tls(error.to_string()))
}

impl Tls {
    /// A session that has not begun its handshake; `host` is what the certificate must be for.
    pub(crate) fn new(config: Arc<ClientConfig>, host: &str) -> Result<Self, Failure> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| Failure::Tls(error.to_string()))?;
        let mut session =
            ClientConnection::new(config, name).map_err(|error| Failure::Tls(error.to_string()))?;
        // Whoever sends has a bound of its own; a second one here would make writes partial.
        session.set_buffer_limit(None);
        Ok(Self(Box::new(session)))
    }

    /// Whether the handshake still goes on.
    pub(crate) fn shakes_hands(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Takes what came from the socket; appends what it says to `plain`.
    pub(crate) fn receive(&mut self, mut cipher: &[u8], plain: &mut BytesMut) -> Result<(), Failure> {
        while !cipher.is_empty() {
            self.0.read_tls(&mut cipher).map_err(Failure::Broken)?;
            let state = self.0.process_new_packets().map_err(|error| Failure::Tls(error.to_string()))?;
            let start = plain.len();
            plain.resize(start + state.plaintext_bytes_to_read(), 0);
            if start < plain.len() {
                self.0.reader().read_exact(&mut plain[start..]).map_err(Failure::Broken)?;
            }
            if state.peer_has_closed() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes what is to be said, which may be nothing; returns what has to go to the socket, which may be nothing.
    pub(crate) fn send(&mut self, plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut cipher = Vec::with_capacity(plain.len() + 256);
        self.0.writer().write_all(plain)?;
        while self.0.wants_write() {
            self.0.write_tls(&mut cipher)?;
        }
        Ok(cipher)
    }
}
