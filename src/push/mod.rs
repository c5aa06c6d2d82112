//! Pushes: publish requests that are jobs of their own, with a pace and a ledger.
//!
//! *Not here*: the walk over the members (`shard::fanout`), HTTP (`api`).

pub mod pattern;
pub mod rate;
