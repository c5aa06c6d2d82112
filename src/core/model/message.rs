//! One published payload, and its place in the history of its address.
//!
//! *Not here*: the payloads of a batch, which share one allocation (`payloads`).

use bytes::Bytes;

use super::footprint::{BYTES_SHARED, block};

/// Position of a message in the log of its address: +1 per message, never reused while the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Offset(pub u64);

/// Names one unbroken history of an address. It changes when offsets of before cannot be continued.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epoch(pub u64);

/// What is known about a payload before any format looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadKind {
    /// Already parsed as one JSON value by whoever accepted it.
    Json,
    /// Arbitrary bytes: a format that needs JSON has to look.
    Unknown,
}

/// One published payload.
#[derive(Clone, Debug)]
pub struct Message {
    /// The payload, verbatim.
    pub payload: Bytes,
    /// What is known of it.
    pub kind: PayloadKind,
}

impl Message {
    /// A message with an allocation of its own: it keeps nothing alive but itself.
    pub fn copied(payload: &[u8], kind: PayloadKind) -> Self {
        Self { payload: Bytes::copy_from_slice(payload), kind }
    }

    /// Memory of one whose payload is an allocation of its own.
    pub fn allocated_bytes(&self) -> usize {
        let payload = if self.payload.is_empty() { 0 } else { block(self.payload.len()) + BYTES_SHARED };
        size_of::<Self>() + payload
    }
}
