//! Client protocols: one file each, each a pure function from batches to frames and from a client's text to a command.
//!
//! *Not here*: which path selects a format (`wire::upgrade`), what a command does (`connection`).

pub mod go_push;
pub mod raw;

use crate::batch::{Batch, Encoded};
use crate::wire::frame::Opcode;

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

/// Index into [`FORMATS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FormatId(u8);

impl FormatId {
    /// go-push, version 1: byte for byte what a go-push client knows.
    pub const GO_PUSH_V1: Self = Self(0);
    /// go-push, version 2: the client asked for more than version 1 says.
    pub const GO_PUSH_V2: Self = Self(1);
    /// Each message one frame, verbatim.
    pub const RAW: Self = Self(2);
    /// All of them.
    pub const ALL: [Self; FORMATS.len()] = [Self::GO_PUSH_V1, Self::GO_PUSH_V2, Self::RAW];

    /// Position in [`FORMATS`] and in per-format counters.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The format itself.
    pub fn format(self) -> &'static dyn Format {
        FORMATS[self.index()]
    }
}

/// Every client protocol, by [`FormatId`].
pub static FORMATS: [&dyn Format; 3] = [&go_push::V1, &go_push::V2, &raw::Raw];

/// The frames of an encoding, read by tungstenite's header parser, each with its payload.
#[cfg(test)]
fn server_frames(bytes: &[u8]) -> Vec<(crate::wire::frame::Opcode, Vec<u8>)> {
    use tungstenite::protocol::frame::FrameHeader;
    let mut cursor = std::io::Cursor::new(bytes);
    let mut frames = Vec::new();
    while cursor.position() < bytes.len() as u64 {
        let (header, len) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        assert!(header.is_final && !header.rsv1 && !header.rsv2 && !header.rsv3 && header.mask.is_none());
        let opcode = crate::wire::frame::Opcode::from_first_byte(header.opcode.into()).unwrap();
        let start = cursor.position() as usize;
        frames.push((opcode, bytes[start..start + len as usize].to_vec()));
        cursor.set_position(cursor.position() + len);
    }
    frames
}
