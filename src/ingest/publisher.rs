//! What the API holds of the ingest core: one end of a ring of requests, and the doorbell.
//!
//! *Not here*: HTTP (`api`), what ingest does with a request (`ingest`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::batch::{Address, Message};
use crate::downlink::Census;
use crate::ring::doorbell::Doorbell;

/// What the control thread may ask of the ingest core.
#[derive(Debug)]
pub enum Request {
    /// Publish these messages, in order, to each of the addresses.
    Publish {
        /// To whom; never empty.
        addresses: Vec<Address>,
        /// What; never empty, each within [`crate::limits::MESSAGE_BYTES_MAX`].
        messages: Vec<Message>,
    },
    /// Where does this address stand? Ingest fills `position` and sends the census on to the shards.
    Inspect {
        /// Receives offset and epoch.
        position: Arc<Position>,
        /// Receives the members.
        census: Arc<Census>,
    },
    /// The process stops: seal and deliver what has entered, then tell every shard to drain.
    Drain,
}

/// An address's offset and epoch, filled by ingest before it sends the census on.
#[derive(Debug, Default)]
pub struct Position {
    /// Offset that the next message will get.
    pub next_offset: AtomicU64,
    /// Epoch of that offset.
    pub epoch: AtomicU64,
}

/// Why a request was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTaken {
    /// [`crate::limits::PUBLISH_SLOTS`] requests wait already: try again later.
    Full,
    /// The process is stopping.
    Stopping,
}

/// The control thread's end.
pub struct Publisher {
    requests: rtrb::Producer<Request>,
    doorbell: Arc<Doorbell>,
    stopping: bool,
}

impl Publisher {
    /// The two ends: the control thread keeps the publisher, the ingest core the consumer.
    pub fn new(doorbell: Arc<Doorbell>) -> (Self, rtrb::Consumer<Request>) {
        let (requests, consumer) = rtrb::RingBuffer::new(crate::limits::PUBLISH_SLOTS);
        (Self { requests, doorbell, stopping: false }, consumer)
    }

    /// Hands a request over, or says why not; never waits.
    pub fn request(&mut self, request: Request) -> Result<(), NotTaken> {
        if self.stopping {
            return Err(NotTaken::Stopping);
        }
        let drains = matches!(request, Request::Drain);
        self.requests.push(request).map_err(|_| NotTaken::Full)?;
        self.stopping = drains;
        self.doorbell.ring();
        Ok(())
    }

    /// Whether [`Request::Drain`] was handed over.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }
}

impl Position {
    /// Written by ingest before the census leaves it; the census's release makes it visible.
    pub fn fill(&self, next_offset: u64, epoch: u64) {
        self.next_offset.store(next_offset, Ordering::Relaxed);
        self.epoch.store(epoch, Ordering::Relaxed);
    }
}
