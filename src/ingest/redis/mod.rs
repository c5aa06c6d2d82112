//! The two sessions with Redis: one subscribes, one publishes, each on a connection of its own.
//!
//! Both run for ever as tasks of the ingest core's runtime and own everything they use; the rest of ingest holds the
//! other ends, an [`Inbox`](crate::ingest::inbox::Inbox) of [`Incoming`] and a [`PublishQueue`]. A session never ends
//! and never panics over what a server says or does: a failure is a value, it says how soon the next attempt may
//! come, and it is told to the operator once, with the remedy. *Not here*: how a connection is made and kept (`redis`),
//! what a channel's name means (`ingest`).

mod incoming;
mod outbound;
mod publish;
mod queue;
mod subscribe;

pub use incoming::{Incoming, MARK_CHANNEL};
pub use outbound::{Full, To};
pub use publish::publish;
pub use queue::PublishQueue;
pub use subscribe::subscribe;
