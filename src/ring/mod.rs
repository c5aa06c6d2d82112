//! Ways between threads: a ring per shard with a bound in slots and in bytes, a lane for commands beside it, and what
//! wakes a sleeper.
//!
//! The ingest core owns every [`Sender`], each shard its [`Receiver`]. A command is in its lane at once, however full
//! the ring is. *Not here*: what crosses (`downlink`).

pub mod broadcast;
pub mod doorbell;

use std::sync::Arc;

use crate::downlink::{Downlink, ShardCommand};
use crate::metrics::Blocks;
use crate::sys::bell::Bell;
use doorbell::Doorbell;
use fanfare_core::limits::{COMMAND_SLOTS, RING_BYTES_MAX, RING_SLOTS};

/// The ingest core's end of one shard's ring.
pub struct Sender<B: Bell = crate::sys::eventfd::EventFd> {
    slots: rtrb::Producer<Downlink>,
    commands: rtrb::Producer<ShardCommand>,
    doorbell: Arc<Doorbell<B>>,
    blocks: Arc<Blocks>,
    shard: usize,
}

/// A shard's end of its ring.
pub struct Receiver {
    slots: rtrb::Consumer<Downlink>,
    commands: rtrb::Consumer<ShardCommand>,
}

/// A ring for one shard.
pub fn ring<B: Bell>(shard: usize, doorbell: Arc<Doorbell<B>>, blocks: Arc<Blocks>) -> (Sender<B>, Receiver) {
    let (slots, consumer) = rtrb::RingBuffer::new(RING_SLOTS);
    let (commands, obeyer) = rtrb::RingBuffer::new(COMMAND_SLOTS);
    (Sender { slots, commands, doorbell, blocks, shard }, Receiver { slots: consumer, commands: obeyer })
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

    /// Gives a command and wakes the shard; the command comes back when the shard has not taken those before.
    pub fn command(&mut self, command: ShardCommand) -> Result<(), ShardCommand> {
        self.commands.push(command).map_err(|rtrb::PushError::Full(command)| command)?;
        self.doorbell.ring();
        Ok(())
    }
}

impl Receiver {
    /// The oldest downlink.
    pub fn pop(&mut self) -> Option<Downlink> {
        self.slots.pop().ok()
    }

    /// The oldest command: it goes before any downlink.
    pub fn command(&mut self) -> Option<ShardCommand> {
        self.commands.pop().ok()
    }

    /// Whether there is no downlink.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Whether there is a command.
    pub fn has_command(&self) -> bool {
        !self.commands.is_empty()
    }
}
