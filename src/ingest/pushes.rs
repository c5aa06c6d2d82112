//! How a publish becomes a push: with the terms of its sender, or with those of a rule for its topic.
//!
//! Every push is made here, whatever brought it, and handed to the control thread, which steers it, and to the shards,
//! which run it. *Not here*: batches (`batch::merger`), the terms (`push::terms`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::answers::{Answers, Failed, How, Ticket, Verdict};
use super::publisher::{NewPush, Tag};
use super::redis::To;
use super::returning::Returning;
use super::turn::Ingest;
use crate::batch::charge::{Charge, Total};
use crate::batch::{Address, Batch, Epoch, Message, Offset, seal};
use crate::config::Pacing;
use crate::downlink::Downlink;
use crate::formats::FormatId;
use crate::limits::{HELD_REDIS_MARGIN, MESSAGE_BYTES_MAX, PUSHES_RUNNING_MAX, TICK};
use crate::log::throttle::Throttle;
use crate::metrics::{Blocks, Refused};
use crate::push::header::{self, Header};
use crate::push::holds::{Held, Holds};
use crate::push::id::PushId;
use crate::push::pace::Pace;
use crate::push::pacing;
use crate::push::request::{self, Mistake, Request};
use crate::push::seen::{Asked, Come, Decided, Seen};
use crate::push::share::Share;
use crate::push::terms::{Lane, Terms};
use crate::push::{Moment, Push, Source};
use crate::sys::clock::Clock;

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
    seen: Seen<Ticket>,
    rules: Pacing,
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
    fn complain(&mut self, why: &str) {
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
    fn refuses_push(&mut self, address: &Address, blocks: &Blocks) -> Option<Held> {
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
    fn tell_drop(&mut self, held: &Held, address: &Address) {
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
    pub(super) fn by_rule(&mut self, batch: &Batch, blocks: &Blocks, clock: Clock) -> ByRule {
        let Some(rule) = self.rules.rule_for(&batch.address) else { return ByRule::Plain };
        let terms = Terms { rate: Some(rule.rate), weight: rule.weight, ..Terms::default() };
        if self.holds.waits_for_rule(&batch.address) {
            return ByRule::Plain;
        }
        if let Some(held) = self.refuses_push(&batch.address, blocks) {
            self.tell_drop(&held, &batch.address);
            return ByRule::Refused;
        }
        let accepted = clock.now();
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
    fn next_id(&mut self, origin: &str, accepted: Moment) -> PushId {
        self.made += 1;
        let name = format!("{origin}-{:x}-{:x}-{}", accepted.unix_ms, std::process::id(), self.made);
        PushId::new(&name).expect("letters and digits")
    }

    fn make(&mut self, making: Making<'_>) -> Arc<Push> {
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
struct Making<'a> {
    id: PushId,
    terms: Terms,
    source: Source,
    to: Box<[Address]>,
    messages: u32,
    bytes: u64,
    accepted: Moment,
    blocks: &'a Blocks,
}

impl Ingest {
    /// The object on Redis' channel of pushes.
    pub(super) fn read_request(&mut self, payload: &Bytes) -> Result<Request, Refused> {
        request::parse(payload).map_err(|wrong| {
            self.pushes.complain(&wrong.message);
            match wrong.mistake {
                Mistake::Shape | Mistake::Unreadable => Refused::BadPush,
                Mistake::Topic => Refused::BadTopic,
                Mistake::TooLarge => Refused::TooBig,
            }
        })
    }

    /// The header of a message, if it has one.
    pub(super) fn read_header(&mut self, payload: &Bytes) -> Result<Header, Refused> {
        header::parse(payload).map_err(|wrong| {
            self.pushes.complain(&wrong.0);
            Refused::BadPush
        })
    }

    /// A push of the API: one that is new is run, with Redis once it has come back from there.
    pub(super) fn take_push(&mut self, new: NewPush) {
        let NewPush { id, request, accepted, ticket } = new;
        match self.pushes.seen.ask(&id, request.fingerprint(), ticket) {
            Asked::New => {}
            Asked::Waits => return,
            Asked::Duplicate(ticket) => {
                self.blocks.ingest.pushes_repeated.add(1);
                return self.answers.give(ticket, Verdict::Duplicate);
            }
            Asked::Conflict(ticket) => return self.answers.give(ticket, Verdict::Conflict),
        }
        let Some(queue) = &self.to_redis else {
            self.pushes.seen.come(&id, request.fingerprint(), accepted.us);
            self.begin_push(id.clone(), request, Source::Http, accepted);
            return self.pushes.decide(&id, Verdict::Done, &mut self.answers);
        };
        let payload = request.to_json(&id);
        let refused = if payload.len() > MESSAGE_BYTES_MAX {
            Err(Verdict::TooLarge)
        } else {
            let offered = queue.offer(Tag::Push(id.clone()), To::Push, vec![payload], Instant::now());
            offered.map_err(|_| Verdict::Full)
        };
        if let Err(verdict) = refused {
            self.pushes.decide(&id, verdict, &mut self.answers);
        }
    }

    /// A push that has come by Redis. One that ran is not run again, and one that may not wait is dropped.
    pub(super) fn begin_push_of_redis(&mut self, request: Request) -> Result<(), Refused> {
        let bytes = request.bytes() as usize;
        // One that this gateway accepted was asked about before.
        let is_ours =
            request.id.as_ref().is_some_and(|id| self.pushes.seen.is_awaited(id, request.fingerprint()));
        for address in request.to.iter().filter(|_| !is_ours) {
            if let Some(held) = self.pushes.refuses_push(address, &self.blocks) {
                self.pushes.tell_drop(&held, address);
                return Err(Refused::TooManyPushes);
            }
            if self.pushes.drops(address, bytes) {
                return Err(Refused::Held);
            }
        }
        let accepted = self.clock.now();
        let id = request.id.clone().unwrap_or_else(|| self.pushes.next_id("redis", accepted));
        match self.pushes.seen.come(&id, request.fingerprint(), accepted.us) {
            Come::New => self.begin_push(id, request, Source::Redis, accepted),
            Come::Again => self.blocks.ingest.pushes_repeated.add(1),
            Come::Other => {
                self.pushes.complain(&format!("{id} is the id of a push that asked for something else"));
                return Err(Refused::IdConflict);
            }
        }
        Ok(())
    }

    /// Makes a push and sends it to every shard, in order with the messages around it.
    fn begin_push(&mut self, id: PushId, request: Request, source: Source, accepted: Moment) {
        let Request { to, messages, terms, .. } = request;
        let bytes = messages.iter().map(|message| message.payload.len() as u64).sum();
        let count = messages.len();
        self.blocks.ingest.message_bytes.add(bytes * to.len() as u64);
        if source == Source::Http {
            self.blocks.ingest.messages_http.add((count * to.len()) as u64);
        }
        let terms = self.pushes.rules.complete(terms, &to);
        let now = self.now();
        let push = self.pushes.make(Making {
            id,
            terms,
            source,
            to: to.into(),
            messages: count as u32,
            bytes,
            accepted,
            blocks: &self.blocks,
        });
        let mut in_use = self.blocks.formats_in_use();
        if push.to.len() > 1 {
            // Frames that name their topic are made where one of it goes out, not all of them here.
            for format in FormatId::ALL {
                in_use[format.index()] &= !format.format().names_address();
            }
        }
        let mut batches: Vec<Arc<Batch>> = Vec::with_capacity(push.to.len());
        for (address, hold) in push.to.iter().zip(&push.holds) {
            let batch = match terms.lane {
                Lane::Normal => {
                    self.seal(|merger, sealed| merger.push_apart(address, &messages, now, sealed))
                }
                // It stands outside its topics' order, and so outside their offsets.
                Lane::Urgent => Batch::new(address.clone(), Epoch(0), Offset(0), messages.clone().into()),
            };
            let batch = match batches.first() {
                Some(first) => batch.sharing(first),
                None => batch,
            };
            batches.push(seal::seal_charged(batch, in_use, |batch| {
                Some(Charge::new(hold, batch.allocated_bytes()))
            }));
        }
        self.broadcast.send(Downlink::Push(push, batches.into()));
    }
}

/// Memory that a message will take once it is encoded, about.
fn expected_bytes(payload_bytes: usize) -> usize {
    2 * payload_bytes + 64
}
