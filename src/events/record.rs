//! What a shard notes about a connection: that it opened, joined, left, closed. Pure.
//!
//! A record is what crosses from a shard; it becomes text on the other side (`json`). *Not here*: when one is made
//! (`shard::lifecycle`), who gets it (`outlet`).

use std::fmt;
use std::net::SocketAddr;

use crate::batch::Topic;
use crate::connection::reason::CloseReason;
use crate::formats::FormatId;

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

/// What can be noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The handshake is done.
    Open,
    /// It became a member of a topic, at its own wish or by what it connected with.
    Join,
    /// It left a topic and stays connected.
    Leave,
    /// It is nobody's member any more. Its socket may still say goodbye.
    Close,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Open, Self::Join, Self::Leave, Self::Close];

    /// Its word in the configuration and in an event.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Join => "join",
            Self::Leave => "leave",
            Self::Close => "close",
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds(u8);

impl Kinds {
    /// Every kind.
    pub const ALL: Self = Self(0b1111);

    /// Whether a kind is in it.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & (1 << kind as u8) != 0
    }

    /// With a kind in it.
    #[must_use]
    pub const fn with(self, kind: Kind) -> Self {
        Self(self.0 | 1 << kind as u8)
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
    pub fn kind(&self) -> Kind {
        match self {
            Self::Open { .. } => Kind::Open,
            Self::Join(_) => Kind::Join,
            Self::Leave(_) => Kind::Leave,
            Self::Close(_) => Kind::Close,
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

    #[test]
    fn a_set_has_what_it_was_given_and_nothing_else() {
        for kind in Kind::ALL {
            assert!(Kinds::ALL.has(kind) && !Kinds::default().has(kind));
            let only = Kinds::default().with(kind);
            assert!(Kind::ALL.iter().all(|other| only.has(*other) == (*other == kind)));
        }
    }
}
