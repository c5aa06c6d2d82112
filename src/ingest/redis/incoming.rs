//! What the subscription brings, and the channel of what is not for devices.
//!
//! *Not here*: the session that brings it (`subscribe`), what a message means (`ingest::intake`).

use bytes::Bytes;

use fanfare_core::model::footprint::{Footprint, block};

/// The channel of marks and of probes, without the prefix. Nothing on it is for devices.
pub const MARK_CHANNEL: &[u8] = b"probe";

/// What the subscription brings, in the order in which Redis sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message {
        /// Its channel without the prefix.
        channel: Bytes,
        /// Its payload: at most [`fanfare_core::limits::MESSAGE_BYTES_MAX`].
        payload: Bytes,
    },
    /// The subscription was lost and stands again: messages published in between will not come.
    Gap,
    /// A mark that this gateway published has come back: everything before it has come.
    Mark,
}

impl Footprint for Incoming {
    fn allocated_bytes(&self) -> usize {
        // A queue grows by doubling.
        let place = 2 * size_of::<Self>();
        match self {
            Self::Message { channel, payload } => place + block(channel.len()) + block(payload.len()),
            Self::Gap | Self::Mark => place,
        }
    }
}
