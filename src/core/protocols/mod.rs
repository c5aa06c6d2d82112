//! Client protocols: one file each, each a pure function from batches to frames and from a client's text to a command.
//!
//! *Not here*: which path selects a format (`websocket::handshake`), what a command does (`session`).

mod go_push;
mod protocol;
mod raw;
mod table;
#[cfg(test)]
mod test_frames;

pub use protocol::{Command, Format};
pub use table::{encoded, format};
