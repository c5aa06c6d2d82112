//! What is kept of connections only to tell of their end: by an event, in the log.
//!
//! *Not here*: the telling (`lifecycle`).

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::log::throttle::Throttle;
use fanfare_core::model::CloseReason;

/// What the log tells of closes.
#[derive(Debug, Default)]
pub(super) struct Closes {
    /// Where devices are, by their place in the table; filled only while closes are logged. A socket that was reset does not
    /// know it any more.
    pub(super) peers: HashMap<u32, SocketAddr>,
    pub(super) slow: Throttle,
}

impl Closes {
    pub(super) fn shrink(&mut self) {
        self.peers.shrink_to_fit();
    }
}

/// How a connection ends, as everybody is told.
pub(super) struct Ending {
    pub(super) reason: CloseReason,
    pub(super) code: u16,
}

/// What the client is told in the Close frame beside the code, where the reason is ours.
pub(super) fn text(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Idle => "no messages",
        CloseReason::Silent => "no sign of life",
        CloseReason::Unfinished => "a message took too long to arrive",
        CloseReason::PartialTotal => "too many unfinished messages",
        CloseReason::OutboxTotal => "too slow while many are",
        CloseReason::Shutdown => "the gateway is shutting down",
        _ => "too slow",
    }
}

/// Whether a device was closed because it read too slowly.
pub(super) fn is_slow(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::Slow | CloseReason::OutboxTotal)
}
