//! Names to addresses, without ever holding up the thread that delivers everything.
//!
//! The system's resolver blocks, for as long as its configuration says. So a name gets a [`Lookup`], which a thread
//! of its own runs (`server` starts it), at the other end of a socket pair: a byte there asks, a line back answers.
//! An answer that comes late is used by the next attempt; while none comes, the addresses of before are tried.
//! *Not here*: endpoints that need no resolver (`dial`).

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use monoio::io::{AsyncReadRent, AsyncWriteRentExt};
use monoio::net::UnixStream;

use super::Failure;
use fanfare_core::limits::REDIS_ADDRESSES_MAX;

/// The blocking half: a thread runs it for as long as the session lives.
#[derive(Debug)]
pub struct Lookup {
    host: String,
    port: u16,
    questions: StdStream,
}

/// The asking half, with what it knows.
pub(crate) struct Resolver {
    host: String,
    answers: StdStream,
    /// A question is out. There is never a second one: a resolver that hangs is not asked again.
    asked: bool,
    line: Vec<u8>,
    known: Vec<SocketAddr>,
}

/// The two halves for one name.
pub(crate) fn resolver(host: &str, port: u16) -> io::Result<(Resolver, Lookup)> {
    let (answers, questions) = StdStream::pair()?;
    let resolver = Resolver { host: host.into(), answers, asked: false, line: Vec::new(), known: Vec::new() };
    Ok((resolver, Lookup { host: host.into(), port, questions }))
}

impl Lookup {
    /// Answers questions until the other half is dropped. Blocks.
    pub fn run(self) {
        let mut stream = &self.questions;
        while stream.read_exact(&mut [0]).is_ok() {
            if stream.write_all(self.answer().as_bytes()).is_err() {
                return;
            }
        }
    }

    /// One line: addresses with a space after each, or `!` and why there are none.
    fn answer(&self) -> String {
        let mut line = String::new();
        match (self.host.as_str(), self.port).to_socket_addrs() {
            Ok(addresses) => {
                for address in addresses.take(REDIS_ADDRESSES_MAX) {
                    // Writing to a String does not fail.
                    let _ = write!(line, "{address} ");
                }
            }
            Err(error) => line = format!("!{error}").replace('\n', " "),
        }
        line.push('\n');
        line
    }
}

impl Resolver {
    /// The name's addresses: fresh ones if they come within `patience`, else those of before, else however long it
    /// takes. Never empty. Cancel-safe: an answer on its way is kept for the next call.
    pub(crate) async fn addresses(&mut self, patience: Duration) -> Result<Vec<SocketAddr>, Failure> {
        if self.known.is_empty() {
            self.refresh().await?;
        } else if let Ok(Err(failure)) = monoio::time::timeout(patience, self.refresh()).await {
            tracing::debug!(host = self.host, %failure, "redis: the addresses of before are tried");
        }
        Ok(self.known.clone())
    }

    async fn refresh(&mut self) -> Result<(), Failure> {
        let host = &self.host;
        let gone = |error: io::Error| Failure::Unresolved(format!("{host}: the resolver is gone: {error}"));
        // A monoio socket belongs to its runtime's thread, and a dialer may be made on another: it gets a duplicate.
        let mut stream = self.answers.try_clone().and_then(UnixStream::from_std).map_err(gone)?;
        if !self.asked {
            // The flag is first: a write that is cancelled may have been done.
            self.asked = true;
            stream.write_all(b"?").await.0.map_err(gone)?;
        }
        while self.line.last() != Some(&b'\n') {
            // Only a read of what is there already is never cancelled with bytes in it.
            stream.readable(false).await.map_err(gone)?;
            let (read, bytes) = stream.read(vec![0_u8; 1024]).await;
            match read.map_err(gone)? {
                0 => return Err(gone(io::ErrorKind::UnexpectedEof.into())),
                n => self.line.extend_from_slice(&bytes[..n]),
            }
        }
        self.asked = false;
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        if let Some(error) = line.strip_prefix('!') {
            return Err(Failure::Unresolved(format!("{host}: {}", error.trim())));
        }
        let addresses: Vec<_> = line.split_whitespace().filter_map(|text| text.parse().ok()).collect();
        if addresses.is_empty() {
            return Err(Failure::Unresolved(format!("{host}: the name has no address")));
        }
        self.known = addresses;
        Ok(())
    }
}
