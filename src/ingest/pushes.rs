//! What the ingest core knows of pushes, and how each is made: with the terms of its sender, or with those of a rule
//! for its topic.
//!
//! Every push is made here, whatever brought it, and handed to the control thread, which steers it. *Not here*: what
//! brings one, and the way to the shards, which run it (`begin`); batches (`batch::merger`), the terms (`push::terms`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::answers::{Answers, Failed, How, Ticket, Verdict};
use super::returning::Returning;
use crate::config::Pacing;
use crate::log::throttle::Throttle;
use crate::metrics::Blocks;
use crate::sys::clock::Clock;
use fanfare_core::ingest::seal;
use fanfare_core::limits::{HELD_REDIS_MARGIN, PUSHES_RUNNING_MAX, TICK};
use fanfare_core::model::charge::Total;
use fanfare_core::model::{Address, Batch, Message, Moment};
use fanfare_core::push::holds::{Held, Holds};
use fanfare_core::push::id::PushId;
use fanfare_core::push::pace::Pace;
use fanfare_core::push::seen::{Decided, Seen};
use fanfare_core::push::share::Share;
use fanfare_core::push::terms::Terms;
use fanfare_core::push::{Push, Source, pacing};

/// The way of new pushes to the control thread.
pub struct Births {
    ring: rtrb::Producer<Arc<Push>>,
    /// Those that found it full. Bounded: Redis and rules begin no push meanwhile, and the API has its own bound.
    waiting: VecDeque<Arc<Push>>,
}

/// Both ends.
pub fn births() -> (Births, rtrb::Consumer<Arc<Push>>) {
    let (ring, consumer) = rtrb::RingBuffer::new(PUSHES_RUNNING_MAX);
    (Births { ring, waiting: VecDeque::new() }, consumer)
}

impl Births {
    fn tell(&mut self, push: Arc<Push>) {
        self.waiting.push_back(push);
        self.flush();
    }

    fn flush(&mut self) {
        while let Some(push) = self.waiting.pop_front() {
            if let Err(rtrb::PushError::Full(push)) = self.ring.push(push) {
                self.waiting.push_front(push);
                return;
            }
        }
    }
}

/// What the ingest core knows of pushes.
pub(super) struct Pushes {
    births: Births,
    pub(super) seen: Seen<Ticket>,
    pub(super) rules: Pacing,
    /// Of those without a name of their own.
    made: u64,
    complaints: Throttle,
    holds: Holds,
    /// Publishes that may wait there and that Redis has yet to bring back.
    pub(super) returning: Returning,
    /// Of messages that are dropped because of what waits already.
    drops: Throttle,
    /// When `holds` was last told how many pushes are over.
    swept: u64,
}

/// What becomes of a batch without terms of its own.
pub(super) enum ByRule {
    /// It goes on as it is.
    Plain,
    /// A rule makes it a push.
    Push(Arc<Push>),
    /// A rule would, and it may not be.
    Refused,
}

impl Pushes {
    pub(super) fn new(births: Births, rules: Pacing, total: Arc<Total>) -> Self {
        Self {
            births,
            seen: Seen::default(),
            rules,
            made: 0,
            complaints: Throttle::default(),
            holds: Holds::new(total),
            returning: Returning::default(),
            drops: Throttle::default(),
            swept: 0,
        }
    }

    /// Tells the log of one that is refused, and of many now and then.
    pub(super) fn complain(&mut self, why: &str) {
        if let Some(count) = self.complaints.event(Instant::now()) {
            tracing::warn!("a push by Redis is refused, {count} since the last line like this: {why}");
        }
    }

    /// Decides about a push on its way through Redis, and tells those who wait for it.
    pub(super) fn decide(&mut self, id: &PushId, verdict: Verdict, answers: &mut Answers) {
        let Decided { waiters, has_run, is_overruled } = self.seen.decide(id);
        let first = match verdict {
            // It came back, whatever Redis said of it: it was carried out.
            _ if has_run && is_overruled => Verdict::Conflict,
            _ if has_run => Verdict::Done,
            Verdict::Done => {
                let why = "it did not come back from Redis as it went there".into();
                Verdict::Failed(Box::new(Failed { how: How::Unknown, taken: 1, of: 1, why }))
            }
            verdict => verdict,
        };
        let mut waiters = waiters.into_iter();
        let head = waiters.next();
        for waiter in waiters {
            answers.give(waiter, first.again());
        }
        if let Some(head) = head {
            answers.give(head, first);
        }
    }

    /// Goes by other rules from here on.
    pub(super) fn configure(&mut self, rules: Pacing) {
        self.rules = rules;
    }

    /// Hands new pushes on, and forgets those that are over, at most once a tick.
    pub(super) fn tend(&mut self, blocks: &Blocks, now: u64) {
        self.births.flush();
        self.returning.tend(now);
        let over = blocks.control.pushes_over.get();
        if now.saturating_sub(self.swept) >= TICK.as_micros() as u64 {
            self.swept = now;
            self.holds.sweep(over);
        }
    }

    /// Whether as many run as may. The API stays within the bound by itself.
    fn is_full(&self, blocks: &Blocks) -> bool {
        let running = blocks.ingest.pushes_begun.get().saturating_sub(blocks.control.pushes_over.get());
        !self.births.waiting.is_empty() || running >= PUSHES_RUNNING_MAX as u64
    }

    /// Why no push by Redis or by a rule may begin for an address now.
    pub(super) fn refuses_push(&mut self, address: &Address, blocks: &Blocks) -> Option<Held> {
        if self.is_full(blocks) {
            return Some(Held::All);
        }
        self.holds.refuses_push(address)
    }

    /// Hashes of what will have to be known again when Redis brings it back: messages for addresses with pushes that run.
    pub(super) fn to_return(&self, addresses: &[Address], messages: &[Message]) -> Vec<u64> {
        let held = addresses.iter().filter(|address| self.holds.has(address));
        self.returning.hashes(held, messages)
    }

    /// Whether a message from Redis has to be dropped, because a push holds its topic up and enough waits already.
    pub(super) fn drops(&mut self, address: &Address, payload_bytes: usize) -> bool {
        let held = self.holds.refuses(address, expected_bytes(payload_bytes), HELD_REDIS_MARGIN, 0);
        if let Some(held) = &held {
            self.tell_drop(held, address);
        }
        held.is_some()
    }

    /// Tells the log of one message that is dropped, and of many now and then.
    pub(super) fn tell_drop(&mut self, held: &Held, address: &Address) {
        if let Some(count) = self.drops.event(Instant::now()) {
            let so = held.sentence(address);
            tracing::warn!(
                "{so}: what comes by Redis for it is dropped, {count} since the last line like this; let the push go on \
                 or cancel it"
            );
        }
    }

    /// The push that a batch without terms of its own becomes, if a rule paces its topic. What comes while the last one
    /// has not begun rides behind it.
    pub(super) fn by_rule(&mut self, batch: &Batch, blocks: &Blocks, now: u64) -> ByRule {
        let Some(rule) = self.rules.rule_for(&batch.address) else { return ByRule::Plain };
        let terms = Terms { rate: Some(rule.rate), weight: rule.weight, ..Terms::default() };
        if self.holds.waits_for_rule(&batch.address) {
            return ByRule::Plain;
        }
        if let Some(held) = self.refuses_push(&batch.address, blocks) {
            self.tell_drop(&held, &batch.address);
            return ByRule::Refused;
        }
        let accepted = Clock::moment(now);
        let id = self.next_id("rule", accepted);
        ByRule::Push(self.make(Making {
            id,
            terms,
            source: Source::Rule,
            to: [batch.address.clone()].into(),
            messages: batch.len() as u32,
            bytes: batch.payload_bytes() as u64,
            accepted,
            blocks,
        }))
    }

    /// Seals a batch, and charges it to the pushes that may hold it up.
    pub(super) fn seal(&self, batch: Batch, blocks: &Blocks) -> Arc<Batch> {
        let charge = |batch: &Batch| self.holds.charge(&batch.address, batch.allocated_bytes());
        seal::seal_charged(batch, blocks.formats_in_use(), charge)
    }

    /// A name that no other push of any gateway is likely to have.
    pub(super) fn next_id(&mut self, origin: &str, accepted: Moment) -> PushId {
        self.made += 1;
        let name = format!("{origin}-{:x}-{:x}-{}", accepted.unix_ms, std::process::id(), self.made);
        PushId::new(&name).expect("letters and digits")
    }

    pub(super) fn make(&mut self, making: Making<'_>) -> Arc<Push> {
        let Making { id, terms, source, to, messages, bytes, accepted, blocks } = making;
        // Until the control thread has looked at all pushes, a common cap leaves nothing for a new one.
        let begins_at = match self.rules.rate {
            None => Pace::new(terms.rate, terms.ramp, accepted.us).at(accepted.us),
            Some(_) => 0,
        };
        let shares = pacing::even(begins_at, blocks.shards.len()).into_iter().map(Share::new).collect();
        let holds = self.holds.holds_for(&to, terms.lane);
        let push = Arc::new(Push { id, terms, source, to, holds, messages, bytes, accepted, shares });
        blocks.ingest.pushes_begun.add(1);
        self.holds.begin(&push);
        self.births.tell(Arc::clone(&push));
        push
    }
}

/// What a push is made of.
pub(super) struct Making<'a> {
    pub(super) id: PushId,
    pub(super) terms: Terms,
    pub(super) source: Source,
    pub(super) to: Box<[Address]>,
    pub(super) messages: u32,
    pub(super) bytes: u64,
    pub(super) accepted: Moment,
    pub(super) blocks: &'a Blocks,
}

/// Memory that a message will take once it is encoded, about.
fn expected_bytes(payload_bytes: usize) -> usize {
    2 * payload_bytes + 64
}
