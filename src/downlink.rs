//! All that may cross from the ingest core to a shard, as two closed sets: messages and what goes in order with them, in
//! one ring per shard, and commands, which pass them in a lane of their own.
//!
//! *Not here*: the ring (`ring`), what a shard does with a downlink (`shard`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::config::live::Edition;
use fanfare_core::model::{Address, Batch};
use fanfare_core::push::Push;

/// One thing that crosses.
#[derive(Clone, Debug)]
pub enum Downlink {
    /// Deliver this batch to the members of its address.
    Batch(Arc<Batch>),
    /// Run this push: a batch for each of its addresses that it has, in their order.
    Push(Arc<Push>, Arc<[Arc<Batch>]>),
    /// Count the members of an address.
    Census(Arc<Census>),
}

/// A command to a shard. It waits for no message, however many do.
#[derive(Clone, Debug)]
pub enum ShardCommand {
    /// Go by this configuration from here on.
    Configure(Arc<Edition>),
    /// The last command: take what is in the ring, deliver it, then close every connection within the duration.
    Drain(Duration),
}

impl Downlink {
    /// Memory of what it brings, for the ring's byte bound; of shards only one frees it.
    pub fn weight(&self) -> usize {
        match self {
            Self::Batch(batch) => batch.allocated_bytes(),
            Self::Push(_, batches) => batches.iter().map(|batch| batch.allocated_bytes()).sum(),
            Self::Census(_) => 0,
        }
    }
}

/// A question to every shard: how many members has this address? Each shard answers once.
#[derive(Debug)]
pub struct Census {
    /// The address asked about.
    pub address: Address,
    members: AtomicU64,
    unanswered: AtomicUsize,
}

impl Census {
    /// A question that `shards` shards will answer.
    pub fn new(address: Address, shards: usize) -> Self {
        Self { address, members: AtomicU64::new(0), unanswered: AtomicUsize::new(shards) }
    }

    /// One shard's answer.
    pub fn answer(&self, members: u64) {
        self.members.fetch_add(members, Ordering::Relaxed);
        self.unanswered.fetch_sub(1, Ordering::Release);
    }

    /// The sum, once every shard has answered.
    pub fn total(&self) -> Option<u64> {
        (self.unanswered.load(Ordering::Acquire) == 0).then(|| self.members.load(Ordering::Relaxed))
    }
}
