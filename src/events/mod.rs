//! Lifecycle events: what happens to connections, told to a backend that prepares and cleans up what belongs to a device.
//!
//! ```text
//!  shard 0 ─ journal ─┐                        ┌─ queue ─► stream:  PUBLISH or XADD ─► Redis
//!  shard 1 ─ journal ─┼─► collector: number, ──┤
//!  …                  │   encode once          └─ queue ─► webhook: POST ───────────► backend
//! ```
//!
//! Journals are rings that a shard never waits for; each sink has a queue with a bound of its own, which the collector never waits
//! for: a slow or dead receiver costs its own events and nothing else. What is lost anywhere has used up its numbers,
//! and the receiver is told which. *Not here*: when a shard notes what (`shard::lifecycle`).

pub mod collector;
pub mod journal;
pub mod json;
pub mod record;
pub mod shared;
pub mod sink_queue;
pub mod stream;
pub mod webhook;
