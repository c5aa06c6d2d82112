//! Messages and batches: what the ingest core makes and every shard reads.
//!
//! A [`Batch`] belongs to nobody and to everybody: it is sealed once, never changed, and freed by whoever lets go of
//! it last. *Not here*: when a batch closes (`merger`), what its bytes look like (`formats`).

pub mod json;
pub mod merger;
pub mod seal;

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::formats::{FORMATS, FormatId};

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

/// A batch in one format: complete WebSocket frames, ready to send.
#[derive(Clone, Debug, Default)]
pub struct Encoded {
    /// The frames, back to back.
    pub bytes: Bytes,
    /// How many frames they are (for the counters).
    pub frames: u32,
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
    /// The messages, in publish order; never empty.
    pub messages: Box<[Message]>,
    encodings: [OnceLock<Encoded>; FORMATS.len()],
}

impl Batch {
    /// A batch with no encoding yet. `messages` is not empty.
    pub fn new(address: Address, epoch: Epoch, first: Offset, messages: Box<[Message]>) -> Self {
        debug_assert!(!messages.is_empty());
        Self {
            address,
            epoch,
            first,
            merged_us: 0,
            messages,
            encodings: [const { OnceLock::new() }; FORMATS.len()],
        }
    }

    /// The offset after the last message.
    pub fn end(&self) -> Offset {
        Offset(self.first.0 + self.messages.len() as u64)
    }

    /// Bytes of all payloads.
    pub fn payload_bytes(&self) -> usize {
        self.messages.iter().map(|m| m.payload.len()).sum()
    }

    /// The batch in one format. The first caller encodes it; every later one, on any thread, gets the same bytes.
    pub fn encoded(&self, format: FormatId) -> &Encoded {
        self.encodings[format.index()].get_or_init(|| FORMATS[format.index()].encode(self))
    }
}
