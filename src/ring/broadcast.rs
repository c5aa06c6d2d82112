//! One downlink to every shard, in order, waiting for whoever has no room.
//!
//! The slowest shard sets the pace: while one has no room nothing further is sent to any, and the ingest core stops
//! taking messages, so that nothing is lost and no queue grows. *Not here*: a ring's bounds (`super`).

use std::collections::VecDeque;

use super::Sender;
use super::doorbell::Bell;
use crate::downlink::Downlink;

/// Every shard's ring, and what could not be sent yet.
pub struct Broadcast<B: Bell = crate::sys::eventfd::EventFd> {
    senders: Vec<Sender<B>>,
    /// Bounded by what one turn of the ingest core makes: it takes nothing new while this is not empty.
    waiting: VecDeque<Downlink>,
    /// Shards below this have the first of `waiting` already.
    next: usize,
}

impl<B: Bell> Broadcast<B> {
    /// To all of these.
    pub fn new(senders: Vec<Sender<B>>) -> Self {
        Self { senders, waiting: VecDeque::new(), next: 0 }
    }

    /// Number of shards.
    pub fn shards(&self) -> usize {
        self.senders.len()
    }

    /// Whether something could not be sent yet: take nothing new until [`Broadcast::flush`] has sent it.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Sends behind everything that waits.
    pub fn send(&mut self, downlink: Downlink) {
        self.waiting.push_back(downlink);
        self.flush();
    }

    /// Sends what waits. The shard that has no room, if there is one.
    pub fn flush(&mut self) -> Option<usize> {
        while let Some(downlink) = self.waiting.front() {
            while self.next < self.senders.len() {
                if self.senders[self.next].send(downlink.clone()).is_err() {
                    return Some(self.next);
                }
                self.next += 1;
            }
            self.waiting.pop_front();
            self.next = 0;
        }
        None
    }
}
