//! How patient sessions with Redis are.
//!
//! *Not here*: how long they pause after a failure (`backoff`), what a silence means (`pulse`).

use std::time::Duration;

use fanfare_core::limits;

/// How patient a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Silence after which it sends PING.
    pub ping_after: Duration,
    /// Time for any byte after that, and for any progress of a write.
    pub pong_within: Duration,
    /// Time for one attempt: resolving, connecting, TLS, AUTH and the greeting.
    pub connect_deadline: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            ping_after: limits::REDIS_PING_AFTER,
            pong_within: limits::REDIS_PONG_WITHIN,
            connect_deadline: limits::REDIS_CONNECT_DEADLINE,
        }
    }
}
