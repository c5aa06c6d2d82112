//! The ring that carries records from one shard to the events thread.
//!
//! The shard owns the writing end and never waits: a record that finds no room is dropped and counted, and the reader
//! learns how many were. *Not here*: what becomes of a record (`collector`).

use std::sync::Arc;

use super::record::{ConnectionId, Record, What};
use crate::metrics::Blocks;
use fanfare_core::limits::EVENTS_RING_SLOTS;
use fanfare_core::model::{EventKind, EventKinds};

/// A shard's end.
pub struct Journal {
    ring: rtrb::Producer<Record>,
    shard: usize,
    kinds: EventKinds,
    now_ms: u64,
    blocks: Arc<Blocks>,
}

/// The events thread's end.
pub struct Reader {
    ring: rtrb::Consumer<Record>,
    shard: usize,
    /// Records that the shard had dropped when it was last looked at.
    dropped: u64,
    blocks: Arc<Blocks>,
}

/// The journal of one shard, [`EVENTS_RING_SLOTS`] long.
pub fn journal(shard: usize, kinds: EventKinds, blocks: Arc<Blocks>) -> (Journal, Reader) {
    let (producer, consumer) = rtrb::RingBuffer::new(EVENTS_RING_SLOTS);
    let reader = Reader { ring: consumer, shard, dropped: 0, blocks: Arc::clone(&blocks) };
    (Journal { ring: producer, shard, kinds, now_ms: 0, blocks }, reader)
}

impl Journal {
    /// Sets the time of the records that follow, milliseconds since the Unix epoch.
    pub fn set_now(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// The time that records get.
    pub fn now_ms(&self) -> u64 {
        self.now_ms
    }

    /// Which kinds are noted from here on.
    pub fn set_kinds(&mut self, kinds: EventKinds) {
        self.kinds = kinds;
    }

    /// Whether this kind is noted.
    pub fn wants(&self, kind: EventKind) -> bool {
        self.kinds.has(kind)
    }

    /// Notes what happened to the connection at a place of the shard's table. Costs some nanoseconds, never waits.
    pub fn note(&mut self, index: u32, generation: u32, what: What) {
        let connection = ConnectionId { shard: self.shard as u16, index, generation };
        let block = &self.blocks.shards[self.shard];
        match self.ring.push(Record { connection, at_ms: self.now_ms, what }) {
            Ok(()) => block.events.add(1),
            Err(rtrb::PushError::Full(_)) => block.events_dropped.add(1),
        }
    }
}

impl Reader {
    /// The oldest record.
    pub fn pop(&mut self) -> Option<Record> {
        self.ring.pop().ok()
    }

    /// How many were dropped since the last time this was asked.
    pub fn newly_dropped(&mut self) -> u64 {
        let dropped = self.blocks.shards[self.shard].events_dropped.get();
        dropped - std::mem::replace(&mut self.dropped, dropped)
    }

    /// Whether the shard is gone and everything was read.
    pub fn is_over(&self) -> bool {
        // In this order: what the shard wrote before it went is seen.
        self.ring.is_abandoned() && self.ring.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_core::model::Topic;

    #[test]
    fn a_full_ring_drops_the_newest_and_says_how_many() {
        let (mut journal, mut reader) = journal(0, EventKinds::ALL, Arc::new(Blocks::new(1)));
        let topic = Topic::new("t").expect("a topic");
        for n in 0..EVENTS_RING_SLOTS as u32 + 3 {
            journal.note(n, n, What::Join(topic.clone()));
        }
        let read: Vec<u32> = std::iter::from_fn(|| reader.pop()).map(|r| r.connection.index).collect();
        assert_eq!(read, (0..EVENTS_RING_SLOTS as u32).collect::<Vec<_>>());
        assert_eq!((reader.newly_dropped(), reader.newly_dropped()), (3, 0));
        journal.note(7, 7, What::Leave(topic));
        assert!(!reader.is_over());
        drop(journal);
        assert!(!reader.is_over(), "one is left to read");
        assert_eq!(reader.pop().map(|record| record.connection.index), Some(7));
        assert!(reader.is_over());
    }
}
