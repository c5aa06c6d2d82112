//! Whom a message is for: everybody, or a topic.

use std::fmt;
use std::sync::Arc;

use super::footprint::{ARC_BYTES, block};
use crate::limits::TOPIC_BYTES_MAX;

/// Whom a message is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// Every connection.
    All,
    /// Every connection that joined the topic.
    Topic(Topic),
}

/// A topic's name: 1 to [`TOPIC_BYTES_MAX`] bytes of UTF-8, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(Arc<str>);

/// Why a name is not a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadTopic {
    /// No bytes.
    Empty,
    /// More than [`TOPIC_BYTES_MAX`] bytes.
    TooLong,
    /// A control character or bytes that are not UTF-8.
    NotText,
}

impl fmt::Display for BadTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "a topic's name is empty"),
            Self::TooLong => {
                write!(f, "a topic's name is longer than {TOPIC_BYTES_MAX} bytes")
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
        } else if name.len() > TOPIC_BYTES_MAX {
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
