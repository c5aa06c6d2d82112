//! A connection to Redis: what every session of the process shares, whoever holds it and whatever is said on it.
//!
//! ```text
//!        ┌──────────── pause (backoff) ◄────────────┐
//!        ▼                                          │ failure
//!  dial: resolve · connect · TLS · AUTH · greeting ─┴─► link: replies, commands, PING ──► lost
//! ```
//!
//! Pauses, deadlines and remedies are the same for all of them. A session is a task of its thread's monoio runtime and
//! owns what it uses; a failure is a value. *Not here*: the sessions (`ingest::redis`, `events::stream`), the
//! protocol's bytes (`wire::resp`).

pub mod backoff;
mod dial;
mod failure;
mod link;
mod pulse;
mod report;
mod resolve;
mod tls;

use std::time::Duration;

pub use dial::Dialer;
pub(crate) use dial::Greeting;
pub(crate) use failure::passes_by_itself;
pub use failure::{Failure, RefusalKind};
pub(crate) use link::Link;
pub(crate) use pulse::{Due, Pulse};
pub(crate) use report::Report;
pub use resolve::Lookup;

use crate::limits;

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
