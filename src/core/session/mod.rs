//! One client after its handshake: what it is, what its bytes mean, what it still owes.
//!
//! *Not here*: sockets, who else is in a topic (the shard).

pub mod bounds;
pub mod clock;
mod connection;
pub mod outbox;
pub mod subscriptions;

pub use connection::{Checkup, Connection, Input, MembershipChange, Phase, Rules};
