//! The bytes on the wire, sans-IO: WebSocket frames, their masks and close codes, the HTTP upgrade.
//!
//! Everything here takes bytes and returns what they mean. *Not here*: sockets (`dataplane`, `shard`), what a client's
//! text asks for (`formats`), what a connection does about an event (`connection`).

pub mod close;
pub mod decoder;
pub mod frame;
pub mod mask;
pub mod resp;
pub mod token;
pub mod upgrade;
