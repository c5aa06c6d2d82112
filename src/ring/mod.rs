//! Ways between threads: a ring per shard with a bound in slots and in bytes, and what wakes a sleeper.
//!
//! The ingest core owns every [`Sender`], each shard its [`Receiver`]. *Not here*: what crosses (`downlink`).

pub mod broadcast;
pub mod doorbell;

use std::sync::Arc;

use crate::downlink::Downlink;
use crate::limits::{RING_BYTES_MAX, RING_SLOTS};
use crate::metrics::Blocks;
use doorbell::{Bell, Doorbell};

/// The ingest core's end of one shard's ring.
pub struct Sender<B: Bell = crate::sys::eventfd::EventFd> {
    slots: rtrb::Producer<Downlink>,
    doorbell: Arc<Doorbell<B>>,
    blocks: Arc<Blocks>,
    shard: usize,
}

/// A shard's end of its ring.
pub struct Receiver {
    slots: rtrb::Consumer<Downlink>,
}

/// A ring for one shard.
pub fn ring<B: Bell>(shard: usize, doorbell: Arc<Doorbell<B>>, blocks: Arc<Blocks>) -> (Sender<B>, Receiver) {
    let (producer, consumer) = rtrb::RingBuffer::new(RING_SLOTS);
    (Sender { slots: producer, doorbell, blocks, shard }, Receiver { slots: consumer })
}

impl<B: Bell> Sender<B> {
    /// Puts a downlink in and wakes the shard; gives it back when the ring is full. An empty ring takes any weight.
    pub fn send(&mut self, downlink: Downlink) -> Result<(), Downlink> {
        let weight = downlink.weight() as u64;
        let pushed = &self.blocks.ring_bytes_pushed[self.shard];
        let inside = pushed.get() - self.blocks.shards[self.shard].downlink_bytes_released.get();
        if inside > 0 && inside + weight > RING_BYTES_MAX as u64 {
            return Err(downlink);
        }
        // Counted first, so that what is taken is never more than what was pushed.
        let downlinks = &self.blocks.ring_downlinks_pushed[self.shard];
        downlinks.add(1);
        pushed.add(weight);
        if let Err(rtrb::PushError::Full(downlink)) = self.slots.push(downlink) {
            downlinks.sub(1);
            pushed.sub(weight);
            return Err(downlink);
        }
        self.doorbell.ring();
        Ok(())
    }
}

impl Receiver {
    /// The oldest downlink.
    pub fn pop(&mut self) -> Option<Downlink> {
        self.slots.pop().ok()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}
