//! Batches: what the ingest core makes and every shard reads.
//!
//! A [`Batch`] belongs to nobody and to everybody: it is sealed once, never changed, and freed by whoever lets go of
//! it last. *Not here*: when a batch closes (`ingest::merger`), what its bytes look like (`protocols`), what memory is
//! counted as (`footprint`).

use std::sync::OnceLock;

use bytes::Bytes;

use super::address::Address;
use super::charge::Charge;
use super::footprint::{ARC_BYTES, BYTES_SHARED, block};
use super::format_id::FormatId;
use super::message::{Epoch, Message, Offset};
use super::payloads::{MessageRef, Payloads};

/// A batch in one format: complete WebSocket frames, ready to send.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The frames, back to back.
    pub bytes: Bytes,
    /// How many frames they are (for the counters).
    pub frames: u32,
    allocated: u32,
}

impl Encoded {
    /// The frames that `buffer` has from `start` on.
    pub fn new(buffer: Vec<u8>, start: usize, frames: u32) -> Self {
        let allocated = (block(buffer.capacity()) + BYTES_SHARED) as u32;
        Self { bytes: Bytes::from(buffer).slice(start..), frames, allocated }
    }

    /// Memory of the frames.
    pub fn allocated_bytes(&self) -> usize {
        self.allocated as usize
    }
}

/// Messages of one address, merged, with every encoding of them that somebody needed so far.
#[derive(Debug)]
pub struct Batch {
    /// Whom it is for.
    pub address: Address,
    /// History that `first` belongs to.
    pub epoch: Epoch,
    /// Offset of the first message; the others follow without a gap.
    pub first: Offset,
    /// How long the first message waited for the others, microseconds.
    pub merged_us: u64,
    payloads: Payloads,
    encodings: [OnceLock<Encoded>; FormatId::COUNT],
    /// Formats whose encodings are counted in `allocated`: those of the seal.
    counted: [bool; FormatId::COUNT],
    allocated: usize,
    /// The longest of the counted encodings.
    frame_bytes: usize,
    /// What it is charged to while it is somewhere, if it is for an address with pushes that run.
    charge: Option<Charge>,
}

impl Batch {
    /// A batch with no encoding yet. `messages` is not empty; several are joined in one allocation.
    pub fn new(address: Address, epoch: Epoch, first: Offset, messages: Box<[Message]>) -> Self {
        Self::of(address, epoch, first, messages.into())
    }

    /// The same of a vector.
    pub fn of(address: Address, epoch: Epoch, first: Offset, messages: Vec<Message>) -> Self {
        let payloads = Payloads::new(messages);
        Self {
            address,
            epoch,
            first,
            merged_us: 0,
            allocated: block(ARC_BYTES + size_of::<Self>()) + payloads.allocated_bytes(),
            frame_bytes: payloads.bytes() + FRAME_BYTES * payloads.len(),
            payloads,
            encodings: [const { OnceLock::new() }; FormatId::COUNT],
            counted: [false; FormatId::COUNT],
            charge: None,
        }
    }

    /// The same batch with the payloads of another one, which has the same messages for another address, and with those
    /// of its encodings that do not name the address: what both share is counted there.
    #[must_use]
    pub fn sharing(mut self, other: &Self, names_address: impl Fn(FormatId) -> bool) -> Self {
        debug_assert_eq!(self.len(), other.len());
        self.payloads = other.payloads.clone();
        self.allocated = block(ARC_BYTES + size_of::<Self>()) + self.payloads.own_bytes();
        for format in FormatId::ALL {
            let index = format.index();
            if other.counted[index] && !names_address(format) {
                self.encodings[index].clone_from(&other.encodings[index]);
                self.counted[index] = true;
                self.frame_bytes = self.frame_bytes.max(other.frame_bytes);
            }
        }
        self
    }

    /// How many messages it has.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.payloads.len()
    }

    /// The messages, in publish order.
    #[inline]
    pub fn messages(&self) -> impl ExactSizeIterator<Item = MessageRef<'_>> {
        self.payloads.iter()
    }

    /// The offset after the last message.
    pub fn end(&self) -> Offset {
        Offset(self.first.0 + self.len() as u64)
    }

    /// Bytes of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.payloads.bytes()
    }

    /// Memory of the batch with the encodings of its seal. Never changes once it is shared.
    pub fn allocated_bytes(&self) -> usize {
        self.allocated
    }

    /// Bytes of its frames, about: in the longest of the formats of its seal.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Memory that an encoding adds to [`Batch::allocated_bytes`].
    pub fn added_bytes(&self, format: FormatId) -> usize {
        if self.counted[format.index()] {
            return 0;
        }
        self.encodings[format.index()].get().map_or(0, Encoded::allocated_bytes)
    }

    /// The batch in one format, which `encode` knows. The first caller encodes it; every later one, on any thread, gets the
    /// same bytes.
    pub fn encoded(&self, format: FormatId, encode: impl FnOnce(&Self) -> Encoded) -> &Encoded {
        self.encodings[format.index()].get_or_init(|| encode(self))
    }

    /// Encodes it and counts what that takes. For the seal, before the batch is shared.
    pub fn encode_counted(&mut self, format: FormatId, encode: impl FnOnce(&Self) -> Encoded) {
        let encoded = self.encoded(format, encode);
        let (bytes, allocated) = (encoded.bytes.len(), encoded.allocated_bytes());
        if !std::mem::replace(&mut self.counted[format.index()], true) {
            self.frame_bytes = self.frame_bytes.max(bytes);
            self.allocated += allocated;
        }
    }

    /// What it is charged to until it is dropped. For the seal.
    pub fn set_charge(&mut self, charge: Option<Charge>) {
        self.charge = charge;
    }
}

/// What frames add to a payload that no format has encoded yet, about.
const FRAME_BYTES: usize = 4;
