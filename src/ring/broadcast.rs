//! One downlink to every shard, in order, waiting for whoever has no room; and commands, which wait for no downlink.
//!
//! The slowest shard sets the pace: while one has no room nothing further is sent to any, and the ingest core stops
//! taking messages, so that nothing is lost and no queue grows. *Not here*: a ring's bounds (`super`).

use std::collections::VecDeque;

use super::Sender;
use crate::downlink::{Downlink, ShardCommand};
use crate::sys::bell::Bell;
use fanfare_core::model::Batch;
use fanfare_core::model::footprint::Footprint;

/// Every shard's ring, and what could not be sent yet.
pub struct Broadcast<B: Bell = crate::sys::eventfd::EventFd> {
    senders: Vec<Sender<B>>,
    /// Bounded by what one turn of the ingest core makes: it takes nothing new while this is not empty.
    waiting: VecDeque<Downlink>,
    /// Shards below this have the first of `waiting` already.
    next: usize,
    /// Commands for each shard that has not taken those before: at most a configuration and the drain.
    commands: Vec<VecDeque<ShardCommand>>,
}

impl<B: Bell> Broadcast<B> {
    /// To all of these.
    pub fn new(senders: Vec<Sender<B>>) -> Self {
        let commands = senders.iter().map(|_| VecDeque::new()).collect();
        Self { senders, waiting: VecDeque::new(), next: 0, commands }
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

    /// Gives every shard a command, past everything that waits.
    pub fn command(&mut self, command: &ShardCommand) {
        for commands in &mut self.commands {
            commands.push_back(command.clone());
        }
        self.flush_commands();
    }

    /// Gives what commands wait; `false`: a shard has not taken those before.
    pub fn flush_commands(&mut self) -> bool {
        for (sender, commands) in self.senders.iter_mut().zip(&mut self.commands) {
            while let Some(command) = commands.pop_front() {
                if let Err(command) = sender.command(command) {
                    commands.push_front(command);
                    break;
                }
            }
        }
        self.commands.iter().all(VecDeque::is_empty)
    }

    /// Gives up what could not be sent; the messages in it, each once.
    pub fn give_up(&mut self) -> u64 {
        self.next = 0;
        let messages = |batch: &Batch| batch.len() as u64;
        self.waiting
            .drain(..)
            .map(|downlink| match downlink {
                Downlink::Batch(batch) => messages(&batch),
                Downlink::Push(_, batches) => batches.iter().map(|batch| messages(batch)).sum(),
                Downlink::Census(_) => 0,
            })
            .sum()
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

impl<B: Bell> Footprint for Broadcast<B> {
    /// What could not be sent yet, each downlink once.
    fn allocated_bytes(&self) -> usize {
        self.waiting.iter().map(Downlink::weight).sum()
    }
}
