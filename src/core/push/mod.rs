//! Pushes: publish requests that are jobs of their own, with a pace and a ledger.
//!
//! ```text
//!  request ─► Push ─┬─ orders: how fast, whether to go on ──► each shard's share ─► bucket ─► rounds
//!  (terms)          └─ accounts: targeted, sent, failed ◄──── each shard's share
//!                           │
//!  registry ◄───────────────┘   what the control thread knows of all of them; `pacing` makes its orders
//! ```
//! A [`Push`] is shared by reference count and has no lock: every value in it has one writer, the control thread or one
//! shard. *Not here*: the walk over the members (`delivery::walk`), HTTP (`api`).

pub mod bucket;
pub mod header;
pub mod holds;
pub mod id;
mod job;
pub mod latency;
pub mod pace;
pub mod pacing;
pub mod pattern;
pub mod rate;
pub mod registry;
pub mod request;
pub mod seen;
pub mod share;
pub mod terms;

pub use job::{Push, PushSlot, Source};
