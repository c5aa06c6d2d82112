//! A turn of the ingest core: what can be done now is done, and what is lacking for the rest is said. Never waits.
//!
//! Every turn ends in one of three ways: there is more that can be done at once, or something named is to be waited for, or
//! the drain is over. [`Next::Again`] is said only when the next turn will do something, so the loop cannot spin.
//! *Not here*: the wait itself (`super`), what a message from Redis means (`intake`), how a push begins (`begin`), the end
//! (`drain`).

use std::time::Duration;

use super::answers::Verdict;
use super::next::{Lack, Next};
use super::publisher::{Directive, Request, Tag};
use super::pushes::ByRule;
use super::redis::{Full, To};
use super::state::{Draining, Ingest, Merging};
use crate::downlink::{Downlink, ShardCommand};
use crate::metrics::Refused;
use crate::sys::bell::Bell;
use fanfare_core::ingest::merger::Merger;
use fanfare_core::limits::{INGEST_TURN, STALL_RETRY, TICK};
use fanfare_core::model::{Address, Message};

impl<B: Bell> Ingest<B> {
    /// Obeys directives, and takes a share of what waits.
    pub fn work(&mut self, now: u64) {
        self.now = now;
        self.blocks.ingest.turns.add(1);
        while let Some(directive) = self.requests.directive() {
            self.obey(directive, now);
            self.blocks.ingest.progress.add(1);
        }
        self.broadcast.flush_commands();
        if let Some(shard) = self.broadcast.flush() {
            self.blocks.ring_stalls[shard].add(1);
        }
        self.pushes.tend(&self.blocks, now);
        let taken = self.take(now);
        self.blocks.ingest.progress.add(taken as u64);
        if taken > 0
            && let Some(draining) = &mut self.draining
        {
            draining.quiet_since = now;
        }
        let told = self.tell_verdicts();
        self.blocks.ingest.progress.add(told as u64);
    }

    /// Seals what is due, and says what comes next. Behind [`Self::work`], at the time that it is then.
    pub fn finish(&mut self, now: u64) -> Next {
        self.now = now;
        self.seal(|merger, sealed| merger.end_turn(now, sealed));
        self.inbox.tidy();
        self.blocks.ingest.open_messages.set(self.merger.open_messages() as u64);
        self.blocks.ingest.open_bytes.set(self.merger.open_bytes() as u64);
        self.blocks.ingest.inbox_bytes.set(self.inbox.bytes() as u64);
        self.blocks.ingest.topics.set(self.merger.len() as u64);
        self.next(now)
    }

    /// Whether what [`Next::Wait`] was said for is there already.
    pub fn has_come(&self, lack: Lack) -> bool {
        self.requests.has_directive() || (lack == Lack::Item && !self.requests.is_empty())
    }

    /// Takes a share of what waits; how much.
    fn take(&mut self, now: u64) -> usize {
        let mut taken = 0;
        while taken < INGEST_TURN
            && !self.broadcast.is_waiting()
            && let Some(incoming) = self.inbox.try_pop()
        {
            self.take_incoming(incoming, now);
            taken += 1;
        }
        taken += self.merge_on(now);
        while taken < 2 * INGEST_TURN
            && self.merging.is_none()
            && !self.broadcast.is_waiting()
            && let Some(request) = self.requests.pop()
        {
            self.take_request(request, now);
            taken += 1;
        }
        taken
    }

    /// What comes after this turn. The questions are those of [`Self::take`], in its order.
    fn next(&mut self, now: u64) -> Next {
        if self.draining.is_some()
            && let Some(next) = self.drain_on(now)
        {
            return next;
        }
        if self.broadcast.is_waiting() {
            Next::Wait(Lack::Ring, STALL_RETRY)
        } else if !self.inbox.is_empty() || !self.requests.is_empty() {
            Next::Again
        } else if self.draining.is_some() {
            Next::Wait(Lack::Rest, STALL_RETRY)
        } else {
            Next::Wait(Lack::Item, self.pause(now))
        }
    }

    /// How long to wait for an item: a tick at most, so that a loop that stands still can be told from an idle one.
    fn pause(&self, now: u64) -> Duration {
        let due = self.merger.next_due();
        due.map_or(TICK, |due| Duration::from_micros(due.saturating_sub(now).max(1)).min(TICK))
    }

    fn obey(&mut self, directive: Directive, now: u64) {
        match directive {
            Directive::Configure(edition) => {
                self.merger.configure(edition.config.merge, now);
                self.drain = edition.config.server.drain;
                self.pushes.configure(edition.config.pacing.clone());
                self.broadcast.command(&ShardCommand::Configure(edition));
            }
            Directive::Drain => {
                self.draining.get_or_insert(Draining::begun(now));
            }
        }
    }

    fn take_request(&mut self, request: Request, now: u64) {
        match request {
            Request::Publish { ticket, addresses, messages } => match (ticket, &self.to_redis) {
                (Some(ticket), Some(queue)) => {
                    let hashes = self.pushes.to_return(&addresses, &messages);
                    if !self.pushes.returning.has_room(hashes.len()) {
                        return self.answers.give(ticket, Verdict::Full);
                    }
                    let to = To::Addresses(addresses.into());
                    let payloads = messages.into_iter().map(|message| message.payload).collect();
                    match queue.offer(Tag::Publish(ticket), to, payloads, self.clock.instant(now)) {
                        Err((Tag::Publish(ticket), Full)) => self.answers.give(ticket, Verdict::Full),
                        _ => self.pushes.returning.expect(&hashes),
                    }
                }
                (ticket, _) => {
                    self.blocks.ingest.messages_http.add((messages.len() * addresses.len()) as u64);
                    self.merging = Some(Merging { addresses, messages, done: 0 });
                    self.merge_on(now);
                    if let Some(ticket) = ticket {
                        self.answers.give(ticket, Verdict::Done);
                    }
                }
            },
            Request::Push(new) => self.take_push(*new),
            Request::Inspect { position, census } => {
                if let Some((next, epoch)) = self.merger.position(&census.address) {
                    position.fill(next.0, epoch.0);
                }
                self.broadcast.send(Downlink::Census(census));
            }
        }
    }

    pub(super) fn merge(&mut self, address: &Address, message: Message, now: u64) {
        self.blocks.ingest.message_bytes.add(message.payload.len() as u64);
        self.seal(|merger, sealed| merger.push(address, message, now, sealed));
    }

    /// Merges a publish as far as the rings take what it becomes: for many addresses that is many times its size. Returns
    /// how much of it was merged.
    fn merge_on(&mut self, now: u64) -> usize {
        let Some(mut merging) = self.merging.take() else { return 0 };
        let (before, count) = (merging.done, merging.messages.len());
        let all = merging.addresses.len() * count;
        while merging.done < all && !self.broadcast.is_waiting() {
            let message = merging.messages[merging.done % count].clone();
            self.merge(&merging.addresses[merging.done / count], message, now);
            merging.done += 1;
        }
        let merged = merging.done - before;
        self.merging = Some(merging).filter(|merging| merging.done < all);
        merged
    }

    /// Lets the merger close batches, and sends each of them on.
    pub(super) fn seal<T>(
        &mut self,
        act: impl FnOnce(
            &mut Merger,
            &mut dyn FnMut(fanfare_core::model::Batch, fanfare_core::ingest::merger::SealReason),
        ) -> T,
    ) -> T {
        let Self { merger, broadcast, blocks, pushes, now, .. } = self;
        act(merger, &mut |batch, reason| {
            let counters = &blocks.ingest;
            counters.progress.add(1);
            counters.batches_sealed[reason as usize].add(1);
            counters.batch_messages.record(batch.len() as u64);
            counters.batch_bytes.record(batch.payload_bytes() as u64);
            counters.merge_us.record(batch.merged_us);
            let push = match pushes.by_rule(&batch, blocks, *now) {
                ByRule::Plain => None,
                ByRule::Push(push) => Some(push),
                ByRule::Refused => {
                    counters.messages_refused[Refused::TooManyPushes as usize].add(batch.len() as u64);
                    return;
                }
            };
            let batch = pushes.seal(batch, blocks);
            broadcast.send(match push {
                Some(push) => Downlink::Push(push, [batch].into()),
                None => Downlink::Batch(batch),
            });
        })
    }

    /// Tells verdicts of publishes to those who wait for them; how many.
    pub(super) fn tell_verdicts(&mut self) -> usize {
        let mut told = 0;
        let now = self.clock.instant(self.now);
        while let Some((tag, verdict)) = self.to_redis.as_ref().and_then(|queue| queue.verdict(now)) {
            match tag {
                Tag::Publish(ticket) => self.answers.give(ticket, verdict),
                Tag::Push(id) => self.pushes.decide(&id, verdict, &mut self.answers),
            }
            told += 1;
        }
        told
    }
}

#[cfg(test)]
mod tests;
