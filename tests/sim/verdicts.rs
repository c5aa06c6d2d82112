//! What must come of everything in a world of the ingest core: verdicts, messages in the rings, an end.
//!
//! *Not here*: who publishes (`publishers`), when the loop turns (`intake`).

use std::time::Duration;

use fanfare::downlink::{Downlink, ShardCommand};
use fanfare::ingest::answers::{How, Ticket, Verdict};
use fanfare::ingest::publisher::Directive;
use fanfare::metrics::{Left, Refused};
use fanfare_core::limits::{DRAIN_REDIS, PUBLISH_DEADLINE, TICK};

use crate::intake::{Asked, Intake};
use crate::publishers::number;
use crate::redis::{Mood, SimRedis};
use crate::trail;

/// How late a verdict may be: deadlines are looked at ten times a second, in turns that are a tick apart at most.
const VERDICT_LATE: Duration = Duration::from_millis(600);

impl Intake {
    /// Verdicts: one each, in time, and true.
    pub(crate) fn hear(&mut self) {
        while let Some((Ticket(ticket), verdict)) = self.verdicts.pop() {
            trail::note(|| format!("{ticket}: {verdict:?}"));
            let asked = self.asked.remove(&ticket);
            let asked = asked.unwrap_or_else(|| panic!("a second verdict for {ticket}: {verdict:?}"));
            self.judge(&asked, &verdict);
        }
        let all_taken = self.publisher.waiting_bytes() == 0;
        for (ticket, asked) in self.asked.iter_mut().filter(|_| all_taken) {
            let taken_at = *asked.taken_at.get_or_insert(self.now);
            let limit = taken_at + (PUBLISH_DEADLINE + VERDICT_LATE).as_micros() as u64;
            // Time may have passed in one step: then the turn that is under way tells it.
            assert!(
                self.now <= limit || self.next.is_some_and(|(_, at)| at < limit),
                "{ticket} has no verdict"
            );
            assert!(self.redis.is_some(), "{ticket} has no verdict, and there is nothing to wait for");
        }
    }

    pub(crate) fn judge(&mut self, asked: &Asked, verdict: &Verdict) {
        let is_done = match verdict {
            Verdict::Done => true,
            Verdict::Duplicate | Verdict::Conflict => {
                assert!(asked.push.is_some(), "{verdict:?} of a publish that has no name");
                false
            }
            Verdict::Full | Verdict::TooLarge => false,
            Verdict::Failed(failed) => {
                let is_nothing = failed.how == How::Unavailable && failed.taken == 0;
                if is_nothing && asked.push.is_none() {
                    self.check_nothing_came(asked);
                }
                return;
            }
        };
        if !is_done {
            if matches!(verdict, Verdict::Full | Verdict::TooLarge) && asked.push.is_none() {
                self.check_nothing_came(asked);
            }
            return;
        }
        for &to in &asked.to {
            for number in asked.payloads.iter().filter_map(number) {
                let at = self.places.get(&(to, number));
                let (at, came) = *at.expect("it is done, and the ingest core was never given it");
                let taken = self.redis.as_ref().map_or(0, SimRedis::taken);
                assert!(came <= taken, "it is done, and waits in the inbox");
                self.done.push((to, at, self.now));
            }
        }
    }

    pub(crate) fn check_nothing_came(&self, asked: &Asked) {
        for number in asked.payloads.iter().filter_map(number) {
            let came = asked.to.iter().any(|to| self.places.contains_key(&(*to, number)));
            assert!(!came, "nothing of it was done, and it came");
        }
    }

    /// A shard takes so many downlinks, each in its order.
    pub(crate) fn take(&mut self, number: usize, most: usize) {
        for _ in 0..most {
            let Some(downlink) = self.shards[number].receiver.pop() else {
                return self.check_done(number);
            };
            let block = &self.blocks.shards[number];
            block.downlink_bytes_released.add(downlink.weight() as u64);
            block.downlinks.add(1);
            let batches = match &downlink {
                Downlink::Batch(batch) => std::slice::from_ref(batch),
                Downlink::Push(_, batches) => batches,
                Downlink::Census(_) => continue,
            };
            for batch in batches {
                let to = self.by_address[&batch.address];
                let (log, shard) = (&self.logs[to], &mut self.shards[number]);
                let expected = shard.next[to].replace(batch.end().0);
                assert!(expected.is_none_or(|at| at == batch.first.0), "offsets of {to} have a gap");
                for message in batch.messages() {
                    let at = shard.has[to] as usize;
                    assert!(at < log.len(), "a message more than there were for {to}");
                    assert!(message.payload == log[at], "{to}, {at}: another message, or in another order");
                    shard.has[to] += 1;
                }
            }
        }
    }

    /// A shard has taken all of its ring: what was done a while ago was in it, unless the rings are full.
    pub(crate) fn check_done(&self, number: usize) {
        if self.ingest.holders().has_waiting || self.is_over {
            return;
        }
        let late = self.config.merge.delay + TICK;
        for &(to, at, since) in &self.done {
            let is_late = self.next.is_some_and(|(_, turned)| turned > since + late.as_micros() as u64);
            assert!(
                !is_late || self.shards[number].has[to] > at as u64,
                "{to}, {at} was done and is not in a ring"
            );
        }
    }

    /// Everything behaves: soon every publisher knows, and every shard has everything.
    pub(crate) fn settle(&mut self) {
        trail::note(|| "settle".to_owned());
        for _ in 0..4_000 {
            self.now += 5_000;
            if let Some(redis) = &mut self.redis {
                (redis.mood, redis.hangs_until) = (Mood::Well, 0);
                if redis.is_cut {
                    redis.unsubscribe();
                }
                if !redis.is_publishing {
                    redis.connect();
                }
                if !redis.is_subscribed {
                    redis.subscribe();
                }
            }
            self.sessions(true);
            (0..self.shards.len()).for_each(|shard| self.take(shard, usize::MAX));
            self.wake();
            let is_quiet = self.redis.as_ref().is_none_or(SimRedis::is_quiet);
            let held = self.ingest.holders();
            let is_out = held.open + held.merging == 0 && !held.has_waiting;
            if self.asked.is_empty() && is_quiet && is_out && self.inbox.is_empty() {
                break;
            }
        }
        (0..self.shards.len()).for_each(|shard| self.take(shard, usize::MAX));
        assert!(self.asked.is_empty(), "{} publishers wait for ever", self.asked.len());
        for shard in &self.shards {
            let all: Vec<u64> = self.logs.iter().map(|log| log.len() as u64).collect();
            assert_eq!(shard.has, all, "messages are lost between the inbox and the rings");
        }
        let refused = self.blocks.ingest.messages_refused[Refused::Held as usize].get();
        assert_eq!(refused, 0, "nothing holds anything up");
    }

    /// More is asked for, and the gateway stops: in its time, and whoever waits is told.
    pub(crate) fn drain(&mut self) {
        for _ in 0..self.rng.below(10) {
            self.publish();
            self.stir();
            self.sessions(false);
        }
        trail::note(|| "drain".to_owned());
        self.publisher.direct(Directive::Drain).expect("its lane has room");
        let (takes, until) = (self.rng.percent(70), self.now + DRAIN_REDIS.as_micros() as u64 + 10_000);
        while !self.is_over {
            assert!(self.now <= until, "a drain takes longer than it may");
            self.turn();
            self.stir();
            self.sessions(takes);
            for shard in 0..self.shards.len() {
                self.take(shard, if takes { usize::MAX } else { 1 });
            }
            self.now += 1_000;
        }
        self.hear();
        assert!(self.asked.is_empty(), "{} publishers are never told that it stops", self.asked.len());
        let left = Left::ALL.map(|left| self.blocks.ingest.drain_left[left as usize].get());
        let lost: u64 = left.iter().sum();
        for number in 0..self.shards.len() {
            self.take(number, usize::MAX);
            let shard = &mut self.shards[number];
            while let Some(command) = shard.receiver.command() {
                shard.is_drained |= matches!(command, ShardCommand::Drain(_));
            }
            assert!(shard.is_drained, "a shard is never told to drain");
            let missing: u64 =
                self.logs.iter().zip(&shard.has).map(|(log, has)| log.len() as u64 - has).sum();
            // What goes to many addresses counts there once for each.
            assert!(missing <= lost, "{missing} messages are lost, {lost} are counted");
        }
    }
}
