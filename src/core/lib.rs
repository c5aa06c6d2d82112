//! Everything that fanfare decides without the kernel: no socket, no runtime, no clock. Time is an argument.
//!
//! ```text
//!  model, counters, limits ◄─ websocket ◄─ protocols ◄─ session ◄─ delivery
//!                          ◄─ push                   ◄─ ingest
//! ```
//!
//! *Not here*: who calls it (the program `fanfare`), and everything that waits.
#![forbid(unsafe_code)]

pub mod counters;
pub mod delivery;
pub mod ingest;
pub mod limits;
pub mod model;
pub mod protocols;
pub mod push;
pub mod session;
pub mod websocket;
