//! A shard: the connections of one thread, the topics they joined, and what is on its way to them.
//!
//! The shard owns everything it touches; what crosses to it comes as a [`Downlink`], what leaves it are counters. `state`
//! has what it knows; `run` is the thread's loop, the other files are what the loop calls. All of it is synchronous and
//! generic over [`Plane`], so that a simulation can drive it in virtual time. *Not here*: system calls (`dataplane`),
//! protocol, topics and walks (`fanfare_core`).
//!
//! [`Downlink`]: crate::downlink::Downlink
//! [`Plane`]: crate::dataplane::Plane

mod accept;
mod accept_balance;
mod accept_failure;
mod ages;
mod arrival;
mod budget;
mod closes;
mod connections;
mod departures;
mod fanout;
mod handshakes;
mod input;
mod lifecycle;
mod neighbours;
mod outboxes;
mod peers;
mod piggyback;
pub mod run;
mod state;
mod sweep;
mod turn;
mod walks;

pub use arrival::Arrival;
pub use state::Shard;
