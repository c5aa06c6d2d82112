//! What one shard has to deliver: who is in which topic, what waits for each topic, and the walks through its members.
//!
//! ```text
//!  batch, push ─► line of a topic: rounds ─► agenda ─► walk: sends, departures ─► the shard sends, and tells who fell short
//! ```
//!
//! [`Delivery`] owns all of it and changes nothing else but outboxes in the table that a walk is lent. It calls nobody
//! back: a walk returns what is to be sent and who cannot follow, and holds the delivery by `&mut` until it has ended, so
//! that nobody joins, leaves or is closed meanwhile. *Not here*: sockets, connections that come and go, counters (the shard).

mod agenda;
mod backlog;
mod line;
mod members;
mod pace;
mod piggyback;
mod pushes;
mod queue;
mod round;
mod shared_buffers;
mod state;
mod walk;

pub use agenda::Turn;
pub use members::{ALL, Place};
pub use piggyback::Laden;
pub use shared_buffers::Keeper;
pub use state::Delivery;
pub use walk::{Send, Sent, Shortfall, Slice, Tally, Terms, Walk};
