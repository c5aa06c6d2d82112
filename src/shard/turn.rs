//! What a shard is told, and what it does in a turn.
//!
//! *Not here*: the thread's loop (`run`), each step of a turn.

use std::time::Duration;

use super::state::Shard;
use super::walks::Drain;
use crate::dataplane::Plane;
use crate::downlink::{Downlink, ShardCommand};
use fanfare_core::session::Rules;

impl<P: Plane> Shard<P> {
    /// Takes one downlink.
    pub fn take(&mut self, downlink: Downlink) {
        self.block().downlinks.add(1);
        self.block().downlink_bytes_released.add(downlink.weight() as u64);
        match downlink {
            Downlink::Batch(batch) => self.delivery.enqueue(batch, self.now),
            Downlink::Push(push, batches) => self.delivery.take_push(push, &batches, &mut self.table),
            Downlink::Census(census) => {
                let members = self.delivery.members_of(&census.address);
                census.answer(members as u64);
            }
        }
    }

    /// Obeys a command. What was in the ring when a drain was commanded is to be taken first.
    pub fn obey(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::Configure(edition) => {
                let shards = self.blocks.shards.len();
                self.rules = Rules::new(&edition.config.clients, edition.config.outbox, shards);
                self.topics_max = edition.config.clients.topics_max;
                self.handshakes.configure(&edition.config.clients);
                if let Some(journal) = &mut self.journal {
                    journal.set_kinds(edition.config.events.kinds);
                }
                self.block().edition.set(edition.number);
            }
            ShardCommand::Drain(over) => self.begin_drain(over),
        }
    }

    /// One turn: input that was held back, a share of the fanout, a share of the sweep.
    pub fn turn(&mut self) {
        self.read_on();
        self.delivery.pace();
        self.fan_out();
        self.sweep_on();
        self.turn_late_away();
        self.relieve_outboxes();
        self.relieve_partials();
        let begun = self.delivery.take_begun();
        self.block().rounds.add(begun);
        self.block().backlog_bytes.set(self.delivery.backlog_bytes() as u64);
        self.block().held_bytes.set(self.delivery.held_bytes() as u64);
        self.block().turns.add(1);
    }

    /// Gives back what queues grew to in a rush and do not need now. An allocator frees a page when everything in it is
    /// free: one long vector that stays behind would hold the memory of a crowd that left.
    pub fn shrink(&mut self) {
        self.table.shrink();
        if self.table.is_empty() {
            self.ages.forget();
        }
        self.handshakes.shrink();
        self.delivery.shrink();
        self.input.shrink();
        // The lists of a crowd grow through blocks of this size, beside it.
        self.scratch = Box::default();
        self.replies.shrink_to_fit();
        self.shorts.shrink_to_fit();
        self.slow.shrink_to_fit();
        self.departures.shrink_to_fit();
        self.closes.shrink();
    }

    pub(super) fn begin_drain(&mut self, over: Duration) {
        if self.drain.is_none() {
            self.drain = Some(Drain::new(self.clock.steady(), over));
            self.close_door();
            self.delivery.cut_paced();
        }
    }
}
