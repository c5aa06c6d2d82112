//! Messages and batches: what the ingest core makes and every shard reads.
//!
//! A [`Batch`] belongs to nobody and to everybody: it is sealed once, never changed, and freed by whoever lets go of
//! it last. *Not here*: when a batch closes (`merger`), what its bytes look like (`formats`), what memory is counted as
//! (`footprint`).

pub mod charge;
pub mod footprint;
pub mod json;
pub mod merger;
pub mod payloads;
pub mod seal;

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::formats::{FORMATS, FormatId};
use charge::Charge;
use footprint::{ARC_BYTES, BYTES_SHARED, block};
use payloads::{MessageRef, Payloads};

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// Every connection.
    All,
    /// Every connection that joined the topic.
    Topic(Topic),
}

/// A topic's name: 1 to [`crate::limits::TOPIC_BYTES_MAX`] bytes of UTF-8, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a name is not a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTopic {
    /// No bytes.
    Empty,
    /// More than [`crate::limits::TOPIC_BYTES_MAX`] bytes.
    TooLong,
    /// A control character or bytes that are not UTF-8.
    NotText,
}

impl fmt::Display for BadTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a topic's name is empty"),
            Self::TooLong => {
                write!(f, "a topic's name is longer than {} bytes", crate::limits::TOPIC_BYTES_MAX)
            }
            Self::NotText => write!(f, "a topic's name has a control character or is not UTF-8"),
        }
    }
}

impl Topic {
    /// Checks and takes a name.
    pub fn new(name: &str) -> Result<Self, BadTopic> {
        if name.is_empty() {
            Err(BadTopic::Empty)
        } else if name.len() > crate::limits::TOPIC_BYTES_MAX {
            Err(BadTopic::TooLong)
        } else if name.chars().any(char::is_control) {
            Err(BadTopic::NotText)
        } else {
            Ok(Self(name.into()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Topic {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Memory of addresses: the list, and each topic's name with its counts.
pub fn addresses_bytes(addresses: &[Address]) -> usize {
    let name = |address: &Address| match address {
        Address::All => 0,
        Address::Topic(topic) => block(topic.as_str().len() + ARC_BYTES),
    };
    size_of_val(addresses) + addresses.iter().map(name).sum::<usize>()
}

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
    encodings: [OnceLock<Encoded>; FORMATS.len()],
    /// Formats whose encodings are counted in `allocated`: those of the seal.
    counted: [bool; FORMATS.len()],
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
            encodings: [const { OnceLock::new() }; FORMATS.len()],
            counted: [false; FORMATS.len()],
            charge: None,
        }
    }

    /// The same batch with the payloads of another one, which has the same messages for another address, and with those
    /// of its encodings that do not name the address: what both share is counted there.
    #[must_use]
    pub fn sharing(mut self, other: &Self) -> Self {
        debug_assert_eq!(self.len(), other.len());
        self.payloads = other.payloads.clone();
        self.allocated = block(ARC_BYTES + size_of::<Self>()) + self.payloads.own_bytes();
        for format in FormatId::ALL {
            let index = format.index();
            if other.counted[index] && !FORMATS[index].names_address() {
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

    /// The batch in one format. The first caller encodes it; every later one, on any thread, gets the same bytes.
    pub fn encoded(&self, format: FormatId) -> &Encoded {
        self.encodings[format.index()].get_or_init(|| FORMATS[format.index()].encode(self))
    }

    /// Encodes it and counts what that takes.
    fn encode_counted(&mut self, format: FormatId) {
        let encoded = self.encoded(format);
        let (bytes, allocated) = (encoded.bytes.len(), encoded.allocated_bytes());
        if !std::mem::replace(&mut self.counted[format.index()], true) {
            self.frame_bytes = self.frame_bytes.max(bytes);
            self.allocated += allocated;
        }
    }
}

/// What frames add to a payload that no format has encoded yet, about.
const FRAME_BYTES: usize = 4;
