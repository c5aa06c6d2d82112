//! The state of the ingest core's loop.
//!
//! The loop owns it; the sessions with Redis have the other ends of its inbox and of its queue. *Not here*: what is done
//! with it (`turn`, `intake`, `begin`, `drain`).

use std::sync::Arc;
use std::time::Duration;

use super::answers::Answers;
use super::inbox::Inbox;
use super::publisher::Requests;
use super::pushes::Pushes;
use super::redis::{Incoming, PublishQueue};
use super::strays::Strays;
use crate::metrics::Blocks;
use crate::ring::broadcast::Broadcast;
use crate::sys::clock::Clock;
use fanfare_core::ingest::merger::Merger;
use fanfare_core::limits::DRAIN_REDIS;
use fanfare_core::model::{Address, Message};

/// The state of the loop.
pub(super) struct Ingest {
    /// Time over which shards will spread their closes.
    pub(super) drain: Duration,
    pub(super) merger: Merger,
    pub(super) broadcast: Broadcast,
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
