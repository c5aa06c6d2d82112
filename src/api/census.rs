//! A question to the ingest core and every shard, and the wait for its answer.
//!
//! *Not here*: who answers (`ingest`, `shard`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::downlink::Census;
use crate::ingest::publisher::{Position, Request};
use fanfare_core::model::Address;

/// Time between two looks. An answer takes a turn of each shard's loop, a millisecond or more under load; nobody
/// rings for a census, so that a shard need not know the control thread.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// One inspection of an address.
pub struct Inspection {
    position: Arc<Position>,
    census: Arc<Census>,
}

impl Inspection {
    /// Of this address, in a process with that many shards.
    pub fn of(address: Address, shards: usize) -> Self {
        Self { position: Arc::default(), census: Arc::new(Census::new(address, shards)) }
    }

    /// What the ingest core is asked.
    pub fn request(&self) -> Request {
        Request::Inspect { position: self.position.clone(), census: self.census.clone() }
    }

    /// Members, next offset and epoch; `None` when somebody did not answer in time.
    pub async fn outcome(&self, deadline: Duration) -> Option<(u64, u64, u64)> {
        let begun = Instant::now();
        loop {
            if let Some(members) = self.census.total() {
                // The census went through ingest after it filled the position: its end makes the position visible.
                let next_offset = self.position.next_offset.load(Ordering::Relaxed);
                return Some((members, next_offset, self.position.epoch.load(Ordering::Relaxed)));
            }
            if begun.elapsed() >= deadline {
                return None;
            }
            monoio::time::sleep(LOOK_EVERY).await;
        }
    }
}
