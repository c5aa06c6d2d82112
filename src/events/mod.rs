//! Lifecycle events: what happens to connections, told to a backend that prepares and cleans up what belongs to a device.
//!
//! ```text
//!  shard 0 ─ journal ─┐                        ┌─ outlet ─► stream:  PUBLISH or XADD ─► Redis
//!  shard 1 ─ journal ─┼─► collector: number, ──┤
//!  …                  │   encode once          └─ outlet ─► webhook: POST ───────────► backend
//! ```
//!
//! Journals are rings that a shard never waits for, outlets are queues with a bound each that the collector never waits
//! for: a slow or dead receiver costs its own events and nothing else. What is lost anywhere has used up its numbers,
//! and the receiver is told which. *Not here*: when a shard notes what (`shard::lifecycle`).

pub mod collector;
pub mod journal;
pub mod json;
pub mod outlet;
pub mod record;
pub mod shared;
pub mod stream;
pub mod webhook;
