//! The state of the ingest core's loop.
//!
//! The loop owns it; the sessions with Redis have the other ends of its inbox and of its queue. *Not here*: what is done
//! with it (`turn`, `intake`, `begin`, `drain`).

use std::sync::Arc;
use std::time::Duration;

use super::answers::Answers;
use super::inbox::Inbox;
use super::publisher::Requests;
use super::pushes::{Births, Pushes};
use super::redis::{Incoming, PublishQueue};
use super::strays::Strays;
use crate::config::Config;
use crate::metrics::Blocks;
use crate::ring::broadcast::Broadcast;
use crate::sys::bell::Bell;
use crate::sys::clock::Clock;
use crate::sys::eventfd::EventFd;
use fanfare_core::ingest::merger::Merger;
use fanfare_core::limits::DRAIN_REDIS;
use fanfare_core::model::footprint::Footprint;
use fanfare_core::model::{Address, Message, addresses_bytes};

/// What the ingest core takes from and gives to.
pub struct Ends<B: Bell = EventFd> {
    /// Requests and directives of the control thread.
    pub requests: Requests,
    /// What the subscription brings.
    pub inbox: Inbox<Incoming>,
    /// Publishes on their way through Redis, if there is one.
    pub to_redis: Option<PublishQueue>,
    /// Every shard's ring.
    pub broadcast: Broadcast<B>,
    /// The way of verdicts to the control thread.
    pub answers: Answers,
    /// Pushes on their way to the control thread.
    pub births: Births,
    /// Counters.
    pub blocks: Arc<Blocks>,
    /// What times are counted from.
    pub clock: Clock,
}

/// The state of the loop. It reads no clock: whoever drives it says what time it is.
pub struct Ingest<B: Bell = EventFd> {
    /// Microseconds of the process's clock, as the driver last said.
    pub(super) now: u64,
    /// Time over which shards will spread their closes.
    pub(super) drain: Duration,
    pub(super) merger: Merger,
    pub(super) broadcast: Broadcast<B>,
    pub(super) blocks: Arc<Blocks>,
    pub(super) requests: Requests,
    pub(super) inbox: Inbox<Incoming>,
    pub(super) to_redis: Option<PublishQueue>,
    pub(super) draining: Option<Draining>,
    pub(super) merging: Option<Merging>,
    pub(super) pushes: Pushes,
    pub(super) answers: Answers,
    pub(super) strays: Strays,
    pub(super) clock: Clock,
}

impl<B: Bell> Ingest<B> {
    /// With nothing taken yet; `first_epoch` differs from process to process.
    pub fn new(config: &Config, first_epoch: u64, ends: Ends<B>) -> Self {
        let Ends { requests, inbox, to_redis, broadcast, answers, births, blocks, clock } = ends;
        let held_total = Arc::clone(&blocks.held);
        let prefix = config.redis.as_ref().map_or_else(String::new, |redis| redis.prefix.clone());
        Self {
            now: 0,
            drain: config.server.drain,
            merger: Merger::new(config.merge, first_epoch),
            broadcast,
            blocks,
            requests,
            inbox,
            to_redis,
            draining: None,
            merging: None,
            pushes: Pushes::new(births, config.pacing.clone(), held_total),
            answers,
            strays: Strays::new(prefix),
            clock,
        }
    }
}

/// Memory of the holders of an [`Ingest`], as allocated. The requests that wait count at the publisher's end.
#[derive(Clone, Copy, Debug)]
pub struct Holders {
    /// Messages from Redis that wait.
    pub inbox: usize,
    /// Messages of open batches.
    pub open: usize,
    /// Publishes on their way through Redis.
    pub outbound: usize,
    /// Ids of pushes.
    pub ids: usize,
    /// What Redis has yet to bring back for addresses with pushes.
    pub returning: usize,
    /// A publish of which a part has no room in the rings.
    pub merging: usize,
    /// Downlinks that have no room there, each once.
    pub waiting: usize,
    /// Whether there are any, whatever they weigh.
    pub has_waiting: bool,
}

impl<B: Bell> Ingest<B> {
    /// What each holder has now. It walks all of them.
    pub fn holders(&self) -> Holders {
        Holders {
            inbox: self.inbox.allocated_bytes(),
            open: self.merger.allocated_bytes(),
            outbound: self.to_redis.as_ref().map_or(0, Footprint::allocated_bytes),
            ids: self.pushes.seen.allocated_bytes(),
            returning: self.pushes.returning.allocated_bytes(),
            merging: self.merging.as_ref().map_or(0, Footprint::allocated_bytes),
            waiting: self.broadcast.allocated_bytes(),
            has_waiting: self.broadcast.is_waiting(),
        }
    }
}

impl Footprint for Merging {
    fn allocated_bytes(&self) -> usize {
        addresses_bytes(&self.addresses) + self.messages.iter().map(Message::allocated_bytes).sum::<usize>()
    }
}

/// A publish that the rings had no room for all of.
pub(super) struct Merging {
    pub(super) addresses: Vec<Address>,
    pub(super) messages: Vec<Message>,
    /// How many of the messages times addresses are merged already.
    pub(super) done: usize,
}

impl Merging {
    /// Messages that are not merged, each once for every address.
    pub(super) fn rest(&self) -> u64 {
        (self.addresses.len() * self.messages.len() - self.done) as u64
    }
}

/// Where a drain stands.
#[derive(Debug)]
pub(super) struct Draining {
    pub(super) until: u64,
    /// When something was last taken.
    pub(super) quiet_since: u64,
    /// The shards have their last command, or it waits for room in their lanes.
    pub(super) is_commanded: bool,
}

impl Draining {
    /// A drain that begins now.
    pub(super) fn begun(now: u64) -> Self {
        Self { until: now + DRAIN_REDIS.as_micros() as u64, quiet_since: now, is_commanded: false }
    }
}
