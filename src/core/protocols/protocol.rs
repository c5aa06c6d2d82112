//! What a client protocol is: frames for batches, and commands in a client's messages.

use crate::model::{Batch, Encoded};
use crate::websocket::frame::Opcode;

/// A client protocol.
pub trait Format: Sync {
    /// Name in metrics and logs.
    fn name(&self) -> &'static str;

    /// Complete server frames (FIN, unmasked) that carry the batch, in order.
    fn encode(&self, batch: &Batch) -> Encoded;

    /// Whether its frames say whom they are for, so that the same messages for another address are other frames.
    fn names_address(&self) -> bool {
        false
    }

    /// What a client's complete text message asks for.
    fn command<'a>(&self, text: &'a str) -> Command<'a>;

    /// What a client's complete binary message asks for: nothing, in the protocols of devices.
    fn binary<'a>(&self, bytes: &'a [u8]) -> Command<'a> {
        let _ = bytes;
        Command::Ignore
    }
}

/// What a client's message asks for. `'a` is the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Answer with this complete frame; counts as an application PING for liveness.
    Ping {
        /// The whole answer, framed.
        pong: &'static [u8],
    },
    /// Join a topic.
    Join(std::borrow::Cow<'a, str>),
    /// Leave a topic.
    Leave(std::borrow::Cow<'a, str>),
    /// Answer with this message.
    Answer {
        /// Text or binary.
        opcode: Opcode,
        /// The message, not framed.
        payload: &'a [u8],
    },
    /// Nothing to do; the message is counted.
    Ignore,
    /// The text is not what the format's grammar allows: close 1007.
    BadText(&'static str),
    /// The grammar is right, the request is not: close 1008.
    BadRequest(&'static str),
}
