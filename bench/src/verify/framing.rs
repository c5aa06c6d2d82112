//! How messages lie in a connection's stream: what a server sends for them, and what a stream is compared with.
//!
//! *Not here*: heads of frames (`frame`), the message itself (`message`).

use std::ops::Range;

use super::frame::{opcode, write_head};
use super::tape::Tape;
use crate::message::MessageSpec;

/// What goes around the items of a go-push batch.
pub(super) const PUSH_PREFIX: &[u8] = br#"{"type":"PUSH","data":{"items":["#;
/// See [`PUSH_PREFIX`].
pub(super) const PUSH_SUFFIX: &[u8] = b"]}}";

/// How messages lie in the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// One after the other, no WebSocket: the floor.
    Bare,
    /// One text frame each.
    Raw,
    /// Text frames of a JSON object with a list of messages.
    GoPush,
}

impl Framing {
    /// The bytes that this framing makes of consecutive messages, to compare with.
    pub(crate) fn tape(self, spec: MessageSpec) -> Tape {
        match self {
            Self::Bare => Tape::new(spec, b"", b""),
            Self::GoPush => Tape::new(spec, b"", b","),
            Self::Raw => {
                let mut head = Vec::new();
                write_head(opcode::TEXT, spec.bytes, &mut head);
                Tape::new(spec, &head, b"")
            }
        }
    }

    /// Appends what a server sends for these messages.
    pub(crate) fn write(self, spec: &MessageSpec, messages: Range<u64>, out: &mut Vec<u8>) {
        match self {
            Self::Bare => messages.for_each(|sequence| spec.write(sequence, out)),
            Self::Raw => messages.for_each(|sequence| {
                write_head(opcode::TEXT, spec.bytes, out);
                spec.write(sequence, out);
            }),
            Self::GoPush => {
                let count = (messages.end - messages.start) as usize;
                let payload = PUSH_PREFIX.len() + count * (spec.bytes + 1) - 1 + PUSH_SUFFIX.len();
                write_head(opcode::TEXT, payload, out);
                out.extend_from_slice(PUSH_PREFIX);
                for sequence in messages.clone() {
                    if sequence > messages.start {
                        out.push(b',');
                    }
                    spec.write(sequence, out);
                }
                out.extend_from_slice(PUSH_SUFFIX);
            }
        }
    }
}
