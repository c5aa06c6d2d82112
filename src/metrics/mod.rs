//! Counters: one padded block per thread, each value written by one thread and read by any, mostly the control thread.
//!
//! A write is a plain load and store (no locked instruction): the block's owner is the only writer. *Not here*: names
//! and help texts (`text`), who serves them (`api`).

mod blocks;
mod control;
mod events;
mod ingest;
mod main_thread;
pub mod process;
pub mod pulse;
mod refused;
mod shard;
pub mod text;

pub use blocks::{Blocks, EtcdBlock};
pub use control::{ControlBlock, Foreign};
pub use events::{EventSink, EventSinkBlock, EventsBlock};
pub use ingest::{IngestBlock, Left};
pub use main_thread::{ConfigCause, ConfigOutcome, MainBlock};
pub use refused::{Audience, PublishRefused, Refused};
pub use shard::ShardBlock;
