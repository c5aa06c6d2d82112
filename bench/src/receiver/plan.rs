//! What the threads do: whom they connect, how many, and which of them are slow.
//!
//! *Not here*: how a plan comes of the command line (`fanout`, `floor`), when a phase begins (`control`).

use std::net::SocketAddr;
use std::time::Duration;

use crate::message::MessageSpec;
use crate::verify::Framing;

/// What every thread does.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Where to connect.
    pub(crate) target: SocketAddr,
    /// The upgrade request of each topic's connections, which are spread evenly; none: one topic, and the socket carries
    /// messages from its first byte.
    pub(crate) upgrades: Vec<Vec<u8>>,
    /// A complete frame to send once upgraded.
    pub(crate) hello: Option<Vec<u8>>,
    /// How messages lie in the stream.
    pub(crate) framing: Framing,
    /// The messages.
    pub(crate) spec: MessageSpec,
    /// First sequence that counts in latencies.
    pub(crate) measure_from: u64,
    /// Congestion control of the sockets; `None`: the system's.
    pub(crate) congestion: Option<String>,
    /// Connects in flight of one thread.
    pub(crate) connects_in_flight: usize,
    /// Whether a connect that fails is counted, instead of ending the run.
    pub(crate) counts_refusals: bool,
    /// Interval of a go-push PING per connection.
    pub(crate) ping_every: Option<Duration>,
    /// Connections that stay (and read) for the whole run.
    pub(crate) staying: usize,
    /// Connections that leave and rejoin, in turn.
    pub(crate) churning: usize,
    /// Leaves (each followed by a join) a second, all threads together.
    pub(crate) churn_per_s: f64,
    /// Connections that are slow, each in its way.
    pub(crate) slow: SlowKinds,
    /// Cores of the threads, one thread each at least.
    pub(crate) cores: Vec<usize>,
}

impl Plan {
    /// Topics; connection `index` of the run is of topic `index % topics`.
    pub(super) fn topics(&self) -> usize {
        self.upgrades.len().max(1)
    }
}

/// How many connections are slow once they have joined, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SlowKinds {
    /// Read nothing.
    pub(crate) stalled: usize,
    /// Read `trickle_bytes_per_s`.
    pub(crate) trickling: usize,
    /// Bytes a second.
    pub(crate) trickle_bytes_per_s: u32,
    /// Vanish without a word.
    pub(crate) vanishing: usize,
}

impl SlowKinds {
    /// All of them.
    pub(crate) fn total(&self) -> usize {
        self.stalled + self.trickling + self.vanishing
    }
}
