//! A connection on its way from its handshake into the shard.

use std::net::SocketAddr;
use std::os::fd::RawFd;

use fanfare_core::model::{FormatId, Topic};

/// A socket whose handshake is done.
#[derive(Debug)]
pub struct Arrival {
    /// The socket; owned by whoever holds the arrival.
    pub fd: RawFd,
    /// The other end of its TCP connection, where that is known.
    pub peer: Option<SocketAddr>,
    /// The protocol it asked for.
    pub format: FormatId,
    /// Topics to join at once.
    pub topics: Vec<Topic>,
    /// The answer to the handshake. It is sent by the shard, once the connection is a member of its topics: whoever has
    /// seen it misses nothing that is published from then on.
    pub response: Vec<u8>,
    /// Bytes that came behind the head: the client's first frames.
    pub tail: Vec<u8>,
}
