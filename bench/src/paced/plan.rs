//! Where the devices of a crew connect, and what their rooms and messages look like. *Not here*: who does (`crew`).

use std::net::SocketAddr;

/// What all devices share.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where to connect.
    pub(crate) target: SocketAddr,
    /// Its name in the upgrade request.
    pub(crate) authority: String,
    /// Path before the rooms: "/connect".
    pub(crate) path: String,
    /// Rooms are `PREFIX-NUMBER`.
    pub(crate) prefix: String,
    /// Bytes of a message.
    pub(crate) bytes: usize,
    /// Cores of the threads, one thread each.
    pub(crate) cores: Vec<usize>,
}
