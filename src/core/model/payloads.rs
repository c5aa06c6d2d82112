//! The messages of a batch: their payloads in one allocation, and where each of them ends.
//!
//! A message on its own costs a structure, a block for its payload, and a counter once it is shared. Joined it costs its
//! bytes and four more. *Not here*: how messages come together (`merger`).

use bytes::Bytes;

use super::footprint::{BYTES_SHARED, block};
use super::message::{Message, PayloadKind};

/// A message of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageRef<'a> {
    /// The payload, verbatim.
    pub payload: &'a [u8],
    /// What is known of it.
    pub kind: PayloadKind,
}

/// Payloads, back to back.
#[derive(Clone, Debug)]
pub(super) struct Payloads {
    bytes: Bytes,
    ends: Ends,
}

/// Where payloads end.
#[derive(Clone, Debug)]
enum Ends {
    /// There is one.
    One(End),
    Several(Box<[End]>),
}

/// Where a payload ends, and in the lowest bit whether it is known to be JSON.
#[derive(Clone, Copy, Debug)]
struct End(u32);

impl End {
    fn new(at: usize, kind: PayloadKind) -> Self {
        debug_assert!(at < 1 << 31, "a batch is within a request or the merger's bound");
        Self((at as u32) << 1 | u32::from(kind == PayloadKind::Json))
    }

    #[inline]
    fn at(self) -> usize {
        (self.0 >> 1) as usize
    }

    #[inline]
    fn kind(self) -> PayloadKind {
        if self.0 & 1 == 1 { PayloadKind::Json } else { PayloadKind::Unknown }
    }
}

impl Payloads {
    /// Of these; at least one. One on its own is not copied.
    pub(super) fn new(mut messages: Vec<Message>) -> Self {
        debug_assert!(!messages.is_empty());
        if messages.len() == 1
            && let Some(only) = messages.pop()
        {
            let ends = Ends::One(End::new(only.payload.len(), only.kind));
            return Self { bytes: only.payload, ends };
        }
        let mut bytes = Vec::with_capacity(messages.iter().map(|message| message.payload.len()).sum());
        let ends = messages.iter().map(|message| {
            bytes.extend_from_slice(&message.payload);
            End::new(bytes.len(), message.kind)
        });
        let ends = Ends::Several(ends.collect());
        Self { bytes: bytes.into(), ends }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.ends().len()
    }

    /// Bytes of all payloads.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    #[inline]
    fn ends(&self) -> &[End] {
        match &self.ends {
            Ends::One(end) => std::slice::from_ref(end),
            Ends::Several(ends) => ends,
        }
    }

    #[inline]
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = MessageRef<'_>> {
        let (mut from, mut rest) = (0, &self.bytes[..]);
        self.ends().iter().map(move |end| {
            let (payload, behind) = rest.split_at(end.at() - from);
            (from, rest) = (end.at(), behind);
            MessageRef { payload, kind: end.kind() }
        })
    }

    /// Memory of what a clone does not share.
    pub(super) fn own_bytes(&self) -> usize {
        match &self.ends {
            Ends::One(_) => 0,
            Ends::Several(ends) => block(size_of_val(&ends[..])),
        }
    }

    /// Memory of it.
    pub(super) fn allocated_bytes(&self) -> usize {
        let bytes = if self.bytes.is_empty() { 0 } else { block(self.bytes.len()) + BYTES_SHARED };
        bytes + self.own_bytes()
    }
}
