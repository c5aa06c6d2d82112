//! A shard's own way to the kernel: readiness, receiving and sending for its connections.
//!
//! It knows file descriptors and bytes, not WebSocket. [`Plane`] is what a shard needs; [`Uring`] is the real one, a
//! raw io_uring that says which sockets have news; the simulation brings another. *Not here*: what the bytes mean (`websocket`), whom they are for (`shard`).

mod plane;
mod uring;

pub use fanfare_core::delivery::Send;
pub use fanfare_core::session::Token;
pub use plane::{Closing, Event, Listener, Plane, Received, Short, Took, TurnedAway};
pub use uring::Uring;
