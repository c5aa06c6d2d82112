//! One client after its handshake: what it is, what its bytes mean, what it still owes; and the table of all clients.
//!
//! *Not here*: sockets (the shard), who else is in a topic (`delivery`).

pub mod bounds;
pub mod clock;
mod connection;
pub mod outbox;
pub mod subscriptions;
pub mod table;
mod token;

pub use connection::{Checkup, Connection, Input, MembershipChange, Phase, Rules};
pub use token::Token;
