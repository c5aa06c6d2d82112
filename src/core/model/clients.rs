//! What an operator allows clients, from the handshake on.
//!
//! *Not here*: what a slow one may owe (`session::bounds`), where the values come from.

use std::time::Duration;

use super::template::TopicTemplate;
use crate::limits;

/// What a connection may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// Largest message, fragments joined.
    pub message_bytes_max: usize,
    /// Time from a message's first byte to its last.
    pub message_deadline: Duration,
    /// Bytes allocated for the unfinished messages of all connections of the process.
    pub partial_bytes_max: usize,
    /// Time from accept to the complete upgrade head.
    pub upgrade_deadline: Duration,
    /// Connections per shard that wait for the rest of their request's head.
    pub handshakes_max: usize,
    /// Bytes per shard that those hold together.
    pub handshake_bytes_max: usize,
    /// Largest head of an upgrade request.
    pub head_bytes_max: usize,
    /// Subprotocols that are selected before others.
    pub subprotocols: Vec<String>,
    /// What becomes of an offer without one of those.
    pub subprotocol_unknown: SubprotocolUnknown,
    /// Topics per connection.
    pub topics_max: usize,
    /// Topics joined at connect, from query parameters: `{product_id}:{alias_key}`.
    pub auto_join: Vec<TopicTemplate>,
    /// Silence after which a connection is closed.
    pub liveness: Duration,
    /// What ends a silence.
    pub liveness_counts: LivenessCounts,
    /// Send a WebSocket ping once at half of `liveness`.
    pub server_ping: bool,
    /// Time without a business message after which a connection is closed; `None`: never for that.
    pub idle_after: Option<Duration>,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            message_bytes_max: limits::CLIENT_MESSAGE_BYTES_DEFAULT,
            message_deadline: limits::CLIENT_MESSAGE_DEADLINE_DEFAULT,
            partial_bytes_max: limits::PARTIAL_BYTES_DEFAULT,
            upgrade_deadline: limits::UPGRADE_DEADLINE_DEFAULT,
            handshakes_max: limits::HANDSHAKES_DEFAULT,
            handshake_bytes_max: limits::HANDSHAKE_BYTES_DEFAULT,
            head_bytes_max: limits::UPGRADE_HEAD_BYTES_DEFAULT,
            subprotocols: Vec::new(),
            subprotocol_unknown: SubprotocolUnknown::First,
            topics_max: limits::TOPICS_PER_CONNECTION_DEFAULT,
            auto_join: Vec::new(),
            liveness: limits::LIVENESS_DEFAULT,
            liveness_counts: LivenessCounts::AnyFrame,
            server_ping: true,
            idle_after: None,
        }
    }
}

/// What becomes of a client that offers only subprotocols which are not configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubprotocolUnknown {
    /// The first that it offers is selected.
    First,
    /// None is selected; most clients then close.
    None,
    /// The handshake is refused.
    Refuse,
}

/// What ends a silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivenessCounts {
    /// Any complete frame, a WebSocket ping or pong included.
    AnyFrame,
    /// Only the format's own PING (go-push's rule).
    PingOnly,
}
