//! Is what arrives what was published? Every byte of every delivery, on every connection.
//!
//! A stream compares what it receives with the tape of what must come: one `memcmp` over as many messages as a read
//! holds. Where the two differ, the frame is looked at message by message, and what is wrong gets its name: gap,
//! duplicate, reorder, malformed. *Not here*: sockets, and what to answer (`receiver`).

mod frame;
mod missing;
mod stream;
mod tally;
mod tape;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::message::MessageSpec;

pub(crate) use frame::{client_frame, opcode, read_head, write_head};
pub(crate) use stream::{Desk, Signal, Stream};
pub(crate) use tally::{Closed, Faults, Tally};
pub(crate) use tape::Tape;

/// What goes around the items of a go-push batch.
pub(crate) const PUSH_PREFIX: &[u8] = br#"{"type":"PUSH","data":{"items":["#;
/// See [`PUSH_PREFIX`].
pub(crate) const PUSH_SUFFIX: &[u8] = b"]}}";

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

/// Numbers of messages that the server refused to take: no connection may miss them. Written by the publisher, read by a
/// receiver only when a sequence is missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<Vec<Range<u64>>>>);

impl Refusals {
    /// These were refused. Those of one topic come in ascending order.
    pub(crate) fn add(&self, range: Range<u64>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(range);
    }

    /// The sequences begin at 0 again.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The parts of a topic's `range` that were not refused.
    pub(crate) fn rest_of(&self, spec: &MessageSpec, range: Range<u64>) -> Vec<Range<u64>> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = Vec::new();
        let mut from = range.start;
        let holes = refused.iter().map(|numbers| spec.sequences(numbers.clone()));
        for hole in holes.filter(|hole| hole.end > range.start && hole.start < range.end && !hole.is_empty())
        {
            if hole.start > from {
                rest.push(from..hole.start);
            }
            from = from.max(hole.end);
        }
        if from < range.end {
            rest.push(from..range.end);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_not_missing() {
        let (refusals, run) = (Refusals::default(), MessageSpec::new(64, 0.0, u64::MAX));
        refusals.add(5..10);
        refusals.add(20..21);
        assert_eq!(refusals.rest_of(&run.of_topic(1, 2), 0..6), [0..2, 5..6]);
        assert_eq!(refusals.rest_of(&run.of_topic(0, 2), 8..12), [8..10, 11..12]);
        assert_eq!(refusals.rest_of(&run, 0..30), [0..5, 10..20, 21..30]);
        assert_eq!(refusals.rest_of(&run, 6..9), []);
        assert_eq!(refusals.rest_of(&run, 8..12), vec![10..12; 1]);
        assert_eq!(refusals.rest_of(&run, 12..14), vec![12..14; 1]);
    }
}
