//! The drain of the ingest core: what entered before it is delivered where that is possible in its time.
//!
//! What cannot be handed on by then, to Redis or to a shard, is counted and told, and every shard begins its drain all the
//! same. *Not here*: where a drain stands (`state`), what a shard does in its drain (`shard::sweep`).

use std::time::Duration;

use super::answers::Verdict;
use super::next::{Lack, Next};
use super::publisher::Request;
use super::redis::Incoming;
use super::state::Ingest;
use crate::downlink::ShardCommand;
use crate::metrics::Left;
use crate::sys::bell::Bell;
use fanfare_core::limits::STALL_RETRY;

/// How long nothing may come from Redis before a drain believes that nothing more will.
const QUIET: Duration = Duration::from_millis(50);

impl<B: Bell> Ingest<B> {
    /// Goes on with a drain; `None`: there is more to take first.
    pub(super) fn drain_on(&mut self, now: u64) -> Option<Next> {
        let draining = self.draining.as_ref()?;
        let (is_late, is_commanded) = (now >= draining.until, draining.is_commanded);
        if !is_commanded {
            if !is_late && !self.is_settled(now) {
                return None;
            }
            // What is open is closed in one go; what finds no room has the rest of the time.
            self.seal(|merger, sealed| merger.drain(now, sealed));
            if !is_late && self.broadcast.flush().is_some() {
                return Some(Next::Wait(Lack::Ring, STALL_RETRY));
            }
            self.tell_left();
            self.broadcast.command(&ShardCommand::Drain(self.drain));
            if let Some(draining) = &mut self.draining {
                draining.is_commanded = true;
            }
        }
        // A shard whose lane is full has not taken two commands: it is stuck, and so is the drain until it turns.
        Some(if self.broadcast.flush_commands() { Next::Over } else { Next::Wait(Lack::Ring, STALL_RETRY) })
    }

    /// Whether everything that entered before the drain has reached the merger.
    fn is_settled(&self, now: u64) -> bool {
        let Some(draining) = &self.draining else { return false };
        if !self.requests.is_empty() {
            return false;
        }
        match &self.to_redis {
            None => self.merging.is_none(),
            // What this gateway publishes comes back through its own subscription.
            Some(queue) => {
                let quiet = now.saturating_sub(draining.quiet_since) >= QUIET.as_micros() as u64;
                queue.is_empty() && self.inbox.is_empty() && quiet
            }
        }
    }

    /// Counts what the drain leaves behind, and tells it.
    fn tell_left(&mut self) {
        let mut requests = 0;
        while let Some(request) = self.requests.pop() {
            requests += request.copies();
            match request {
                Request::Publish { ticket: Some(ticket), .. } => {
                    self.answers.give(ticket, Verdict::stopping());
                }
                Request::Push(new) => self.answers.give(new.ticket, Verdict::stopping()),
                Request::Publish { .. } | Request::Inspect { .. } => {}
            }
        }
        let mut inbox = 0;
        while let Some(incoming) = self.inbox.try_pop() {
            inbox += u64::from(matches!(incoming, Incoming::Message { .. }));
        }
        let redis = self.to_redis.as_ref().map_or(0, |queue| queue.give_up("the gateway is stopping")) as u64;
        self.tell_verdicts();
        // What is not merged had no room in the rings either.
        let unmerged = self.merging.take().map_or(0, |merging| merging.rest());
        let ring = self.broadcast.give_up() + unmerged;
        for (place, count) in
            [(Left::Api, requests), (Left::ToRedis, redis), (Left::FromRedis, inbox), (Left::Ring, ring)]
        {
            self.blocks.ingest.drain_left[place as usize].add(count);
        }
        if requests + redis + inbox + ring > 0 {
            tracing::error!(
                from_api = requests,
                to_redis = redis,
                from_redis = inbox,
                to_shards = ring,
                "the drain's time is over: messages were not handed on, {} in all; a publisher that was answered 503 can \
                 send again",
                requests + redis + inbox + ring
            );
        }
    }
}
