//! What a client is told whose handshake fails.

use super::failure::HandshakeFailure;

/// A handshake that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For the counters.
    pub failure: HandshakeFailure,
    /// The whole answer; its body is a sentence for a person.
    pub response: Vec<u8>,
}
