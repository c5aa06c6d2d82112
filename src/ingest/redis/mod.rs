//! The two sessions with Redis: one subscribes, one publishes, each on a connection of its own.
//!
//! ```text
//!        ┌──────────── pause (backoff) ◄────────────┐
//!        ▼                                          │ failure
//!  dial: resolve · connect · TLS · AUTH · greeting ─┴─► stands: replies, commands, PING ──► lost
//! ```
//!
//! Both run for ever as tasks of the ingest core's runtime and own everything they use; the rest of ingest holds the
//! other ends, an [`Inbox`](crate::ingest::inbox::Inbox) of [`Incoming`] and a [`PublishQueue`]. A session never ends
//! and never panics over what a server says or does: a failure is a value, it says how soon the next attempt may
//! come, and it is told to the operator once, with the remedy. *Not here*: what a channel's name means (`ingest`),
//! the protocol's bytes (`wire::resp`).

mod dial;
mod failure;
mod link;
mod publish;
mod pulse;
mod queue;
mod report;
mod resolve;
mod subscribe;
mod tls;

use std::time::Duration;

use bytes::Bytes;

pub use dial::Dialer;
pub use failure::Failure;
pub use publish::publish;
pub use queue::{Full, PublishQueue};
pub(super) use report::Throttle;
pub use resolve::Lookup;
pub use subscribe::subscribe;

use crate::limits;

/// What the subscription brings, in the order in which Redis sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message {
        /// Its channel without the prefix.
        channel: Bytes,
        /// Its payload: at most [`limits::MESSAGE_BYTES_MAX`].
        payload: Bytes,
    },
    /// The subscription was lost and stands again: messages published in between will not come.
    Gap,
}

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
