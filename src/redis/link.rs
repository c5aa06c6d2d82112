//! One connection to Redis: a socket, TLS if it has it, and the decoder of its replies.
//!
//! One task owns it and does one thing at a time with it: wait for bytes, take them, send. *Not here*: how it is
//! opened (`dial`), what is said on it (`subscribe`, `publish`).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{AsyncReadRent, AsyncWriteRent};
use monoio::net::{TcpStream, UnixStream};

use super::Failure;
use super::tls::Tls;
use crate::redis::resp::{Decoder, Reply};
use fanfare_core::limits::REDIS_IO_BYTES;

/// The kinds of socket a Redis listens on.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// An open connection.
pub(crate) struct Link {
    socket: Socket,
    tls: Option<Tls>,
    decoder: Decoder,
    /// What one read of ciphertext goes to; empty without TLS.
    cipher: Vec<u8>,
}

impl Socket {
    fn server(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.peer_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.readable(false).await,
            Self::Unix(stream) => stream.readable(false).await,
        }
    }

    async fn read<B: IoBufMut>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match self {
            Self::Tcp(stream) => stream.read(buffer).await,
            Self::Unix(stream) => stream.read(buffer).await,
        }
    }

    async fn write<B: IoBuf>(&mut self, buffer: B) -> (io::Result<usize>, B) {
        match self {
            Self::Tcp(stream) => stream.write(buffer).await,
            Self::Unix(stream) => stream.write(buffer).await,
        }
    }
}

impl Link {
    /// A link over a socket that was just connected. With `tls` the handshake is next ([`Self::shake_hands`]).
    pub(crate) fn new(socket: Socket, tls: Option<Tls>, bulk_bytes_max: usize) -> Self {
        Self { socket, tls, decoder: Decoder::new(bulk_bytes_max), cipher: Vec::new() }
    }

    /// The server at the other end; `None` for a Unix socket.
    pub(crate) fn server(&self) -> Option<SocketAddr> {
        self.socket.server()
    }

    /// Completes the TLS handshake; returns at once without TLS.
    pub(crate) async fn shake_hands(&mut self, progress_within: Duration) -> Result<(), Failure> {
        while self.tls.as_ref().is_some_and(Tls::shakes_hands) {
            self.send(BytesMut::new(), progress_within).await?;
            if self.tls.as_ref().is_some_and(Tls::shakes_hands)
                && let Err(failure) = self.receive().await
            {
                // The alert that tells the server why, as far as it can still be told.
                let _ = self.send(BytesMut::new(), progress_within).await;
                return Err(failure);
            }
        }
        // The last flight of the handshake.
        self.send(BytesMut::new(), progress_within).await
    }

    /// The next reply among the bytes that came; `None`: wait for more.
    pub(crate) fn next_reply(&mut self) -> Result<Option<Reply>, Failure> {
        self.decoder.next_reply().map_err(Failure::NotRedis)
    }

    /// Waits for the next reply. Not cancel-safe: a link whose `reply` was dropped is to be dropped too.
    pub(crate) async fn reply(&mut self) -> Result<Reply, Failure> {
        loop {
            if let Some(reply) = self.next_reply()? {
                return Ok(reply);
            }
            self.receive().await?;
        }
    }

    /// Waits until bytes can be received or the stream has ended. Cancel-safe.
    pub(crate) async fn readable(&self) -> Result<(), Failure> {
        self.socket.readable().await.map_err(Failure::Broken)
    }

    /// Receives what there is, at least a byte. Not cancel-safe: see [`Self::reply`].
    pub(crate) async fn receive(&mut self) -> Result<(), Failure> {
        let n = if let Some(tls) = &mut self.tls {
            let mut cipher = std::mem::take(&mut self.cipher);
            cipher.resize(REDIS_IO_BYTES, 0);
            let (read, cipher) = self.socket.read(cipher).await;
            self.cipher = cipher;
            let n = read.map_err(Failure::Broken)?;
            tls.receive(&self.cipher[..n], self.decoder.buffer_mut())?;
            n
        } else {
            let missing = self.decoder.missing().max(REDIS_IO_BYTES);
            let mut buffer = std::mem::take(self.decoder.buffer_mut());
            buffer.reserve(missing);
            let spare = buffer.len()..buffer.capacity();
            let (read, slice) = self.socket.read(buffer.slice_mut(spare)).await;
            *self.decoder.buffer_mut() = slice.into_inner();
            read.map_err(Failure::Broken)?
        };
        if n == 0 { Err(Failure::Closed) } else { Ok(()) }
    }

    /// Sends all of it. Fails when the socket takes no byte for `progress_within`. Not cancel-safe, as
    /// [`Self::reply`].
    pub(crate) async fn send(&mut self, plain: BytesMut, progress_within: Duration) -> Result<(), Failure> {
        let mut rest = match &mut self.tls {
            None => plain,
            Some(tls) => BytesMut::from(tls.send(&plain).map_err(Failure::Broken)?.as_slice()),
        };
        while !rest.is_empty() {
            let written = monoio::time::timeout(progress_within, self.socket.write(rest)).await;
            let (written, buffer) = written.map_err(|_| Failure::Silent(progress_within))?;
            rest = buffer;
            match written.map_err(Failure::Broken)? {
                0 => return Err(Failure::Closed),
                n => drop(rest.split_to(n)),
            }
        }
        Ok(())
    }
}
