//! The blocks of all threads together.

use std::sync::Arc;

use fanfare_core::counters::Value;
use fanfare_core::model::FormatId;
use fanfare_core::model::charge::Total;

use super::control::ControlBlock;
use super::events::EventsBlock;
use super::ingest::IngestBlock;
use super::main_thread::MainBlock;
use super::shard::ShardBlock;

/// What the etcd thread counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EtcdBlock {
    /// 1 while the watch stands.
    pub connected: Value,
    /// The revision that is known.
    pub revision: Value,
    /// Attempts that failed, and connections that broke.
    pub connect_errors: Value,
    /// Times that everything was read: at first, and after each watch that ended.
    pub reads: Value,
    /// 1 while what is below the prefix cannot be read whole.
    pub incomplete: Value,
}

/// Every block of the process; shared by reference count, written by their owners.
#[derive(Debug)]
pub struct Blocks {
    /// One per shard.
    pub shards: Box<[ShardBlock]>,
    /// The ingest core's.
    pub ingest: IngestBlock,
    /// The control thread's.
    pub control: ControlBlock,
    /// The events thread's, and its receivers'.
    pub events: EventsBlock,
    /// The main thread's.
    pub main: MainBlock,
    /// The etcd thread's.
    pub etcd: EtcdBlock,
    /// What waits behind pushes; charged by ingest, given back by whoever drops a batch last.
    pub held: Arc<Total>,
    /// One ring's depth per shard, written by ingest: bytes pushed so far.
    pub ring_bytes_pushed: Box<[Value]>,
    /// Downlinks pushed so far, per shard; written by ingest.
    pub ring_downlinks_pushed: Box<[Value]>,
    /// Times that ingest had to wait for a shard's ring; written by ingest.
    pub ring_stalls: Box<[Value]>,
}

impl Blocks {
    /// Which formats any connection speaks now.
    pub fn formats_in_use(&self) -> [bool; FormatId::COUNT] {
        std::array::from_fn(|format| self.shards.iter().any(|shard| shard.connections[format].get() > 0))
    }

    /// Blocks for that many shards, all zero.
    pub fn new(shards: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| ShardBlock::default()).collect(),
            ingest: IngestBlock::default(),
            control: ControlBlock::default(),
            events: EventsBlock::default(),
            main: MainBlock {
                shards_stalled: (0..shards).map(|_| Value::default()).collect(),
                ..MainBlock::default()
            },
            etcd: EtcdBlock::default(),
            held: Arc::default(),
            ring_bytes_pushed: (0..shards).map(|_| Value::default()).collect(),
            ring_downlinks_pushed: (0..shards).map(|_| Value::default()).collect(),
            ring_stalls: (0..shards).map(|_| Value::default()).collect(),
        }
    }

    /// Payload bytes in a shard's ring now. The two values are read one after the other: the answer is never below 0,
    /// and may be off by what moved meanwhile.
    pub fn ring_bytes(&self, shard: usize) -> u64 {
        let released = self.shards[shard].downlink_bytes_released.get();
        self.ring_bytes_pushed[shard].get().saturating_sub(released)
    }

    /// Downlinks in a shard's ring now; as exact as [`Blocks::ring_bytes`].
    pub fn ring_downlinks(&self, shard: usize) -> u64 {
        let taken = self.shards[shard].downlinks.get();
        self.ring_downlinks_pushed[shard].get().saturating_sub(taken)
    }
}
