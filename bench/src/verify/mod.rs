//! Is what arrives what was published? Every byte of every delivery, on every connection.
//!
//! A stream compares what it receives with the tape of what must come: one `memcmp` over as many messages as a read
//! holds. Where the two differ, the frame is looked at message by message, and what is wrong gets its name: gap,
//! duplicate, reorder, malformed. *Not here*: sockets, and what to answer (`receiver`).

mod frame;
mod framing;
mod missing;
mod refusals;
mod stream;
mod tally;
mod tape;

pub(crate) use frame::{client_frame, opcode, read_head};
pub(crate) use framing::Framing;
pub(crate) use refusals::Refusals;
pub(crate) use stream::{Desk, Signal, Stream};
pub(crate) use tally::{Closed, Faults, Tally};
pub(crate) use tape::Tape;
