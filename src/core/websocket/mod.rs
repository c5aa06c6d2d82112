//! WebSocket on the wire, sans-IO: frames, their masks and close codes, the opening handshake.
//!
//! Everything here takes bytes and returns what they mean. *Not here*: sockets (the shard), what a client's text asks for
//! (`protocols`), what a connection does about an event (`session`).

pub mod close;
pub mod decoder;
pub mod frame;
pub mod handshake;
pub mod mask;
pub mod token;
