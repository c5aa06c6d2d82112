//! What a shard notes about a connection: that it opened, joined, left, closed. Pure.
//!
//! A record is what crosses from a shard; it becomes text on the other side (`json`). *Not here*: when one is made
//! (`shard::lifecycle`), who gets it (`sink_queue`).

use std::fmt;
use std::net::SocketAddr;

use fanfare_core::model::{CloseReason, EventKind, FormatId, Topic};

/// Names one connection of a process: no two ever have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// The shard that it is on.
    pub shard: u16,
    /// Its place in the shard's table.
    pub index: u32,
    /// How many connections the shard had taken before it, and one.
    pub generation: u32,
}

impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.shard, self.index, self.generation)
    }
}

/// One thing that happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// To whom.
    pub connection: ConnectionId,
    /// When, milliseconds since the Unix epoch, by the shard's last look at its clock.
    pub at_ms: u64,
    /// What.
    pub what: What,
}

const _: () = assert!(size_of::<Record>() <= 64, "a ring of records is memory of every shard");

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It opened.
    Open {
        /// The protocol it speaks.
        format: FormatId,
        /// The other end of its TCP connection: a proxy's, behind one.
        peer: Option<SocketAddr>,
    },
    /// It joined.
    Join(Topic),
    /// It left.
    Leave(Topic),
    /// It closed.
    Close(Box<Closed>),
}

impl What {
    /// Its kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Open { .. } => EventKind::Open,
            Self::Join(_) => EventKind::Join,
            Self::Leave(_) => EventKind::Leave,
            Self::Close(_) => EventKind::Close,
        }
    }
}

/// How a connection ended, and what it had been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Why.
    pub reason: CloseReason,
    /// The close code: the client's for its own Close, ours for a reason of ours, 1006 where neither said one.
    pub code: u16,
    /// The protocol it spoke.
    pub format: FormatId,
    /// From the end of its handshake.
    pub duration_ms: u64,
    /// Bytes that came behind the handshake.
    pub bytes_in: u64,
    /// Bytes that the kernel took for it, the answer to the handshake included.
    pub bytes_out: u64,
    /// What it was a member of.
    pub topics: Vec<Topic>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_core::model::EventKinds;

    #[test]
    fn a_set_has_what_it_was_given_and_nothing_else() {
        for kind in EventKind::ALL {
            assert!(EventKinds::ALL.has(kind) && !EventKinds::default().has(kind));
            let only = EventKinds::default().with(kind);
            assert!(EventKind::ALL.iter().all(|other| only.has(*other) == (*other == kind)));
        }
    }
}
