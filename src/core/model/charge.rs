//! Memory of batches that wait behind a push: one exact number for everybody who asks, without a lock.
//!
//! A batch that is charged to a [`Hold`] counts there from its seal until the last shard lets go of it. The ingest core
//! charges and asks, the control thread asks, shards let go. *Not here*: which batches are charged, and what is refused
//! (`push::holds`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::footprint::Footprint;

/// Memory of batches that were charged, of the whole process.
#[derive(Debug, Default)]
pub struct Total(AtomicU64);

impl Total {
    /// Bytes now.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Footprint for Total {
    fn allocated_bytes(&self) -> usize {
        self.bytes() as usize
    }
}

/// What waits behind the pushes to one address, as allocated.
#[derive(Debug)]
pub struct Hold {
    bytes: AtomicU64,
    total: Arc<Total>,
}

impl Hold {
    /// Nothing waits yet.
    pub fn new(total: Arc<Total>) -> Arc<Self> {
        Arc::new(Self { bytes: AtomicU64::new(0), total })
    }

    /// Bytes of this address now.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of all addresses now.
    pub fn total_bytes(&self) -> u64 {
        self.total.bytes()
    }
}

/// A batch's part of a hold; given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    hold: Arc<Hold>,
    bytes: u64,
}

impl Charge {
    /// Charges so many bytes.
    pub fn new(hold: &Arc<Hold>, bytes: usize) -> Self {
        let bytes = bytes as u64;
        hold.bytes.fetch_add(bytes, Ordering::Relaxed);
        hold.total.0.fetch_add(bytes, Ordering::Relaxed);
        Self { hold: Arc::clone(hold), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.hold.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.hold.total.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
