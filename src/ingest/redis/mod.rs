//! The two sessions with Redis: one subscribes, one publishes, each on a connection of its own.
//!
//! Both run for ever as tasks of the ingest core's runtime and own everything they use; the rest of ingest holds the
//! other ends, an [`Inbox`](crate::ingest::inbox::Inbox) of [`Incoming`] and a [`PublishQueue`]. A session never ends
//! and never panics over what a server says or does: a failure is a value, it says how soon the next attempt may
//! come, and it is told to the operator once, with the remedy. *Not here*: how a connection is made and kept (`redis`),
//! what a channel's name means (`ingest`).

mod outbound;
mod publish;
mod queue;
mod role;
mod subscribe;

use bytes::Bytes;

use super::inbox::Weigh;
use crate::batch::footprint::block;

pub use outbound::{Full, To};
pub use publish::publish;
pub use queue::PublishQueue;
pub use role::Role;
pub use subscribe::subscribe;

/// The channel of marks and of probes, without the prefix. Nothing on it is for devices.
pub(super) const MARK_CHANNEL: &[u8] = b"probe";

/// What the subscription brings, in the order in which Redis sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message.
    Message {
        /// Its channel without the prefix.
        channel: Bytes,
        /// Its payload: at most [`crate::limits::MESSAGE_BYTES_MAX`].
        payload: Bytes,
    },
    /// The subscription was lost and stands again: messages published in between will not come.
    Gap,
    /// A mark that this gateway published has come back: everything before it has come.
    Mark,
}

impl Weigh for Incoming {
    fn allocated_bytes(&self) -> usize {
        // A queue grows by doubling.
        let place = 2 * size_of::<Self>();
        match self {
            Self::Message { channel, payload } => place + block(channel.len()) + block(payload.len()),
            Self::Gap | Self::Mark => place,
        }
    }
}
