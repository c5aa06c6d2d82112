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
use super::turn::Ingest;
use crate::batch::{Batch, Epoch, Offset, seal};
use crate::config::Pacing;
use crate::downlink::Downlink;
use crate::limits::{MESSAGE_BYTES_MAX, PUSHES_RUNNING_MAX};
use crate::log::throttle::Throttle;
use crate::metrics::{Blocks, Refused};
use crate::push::header::{self, Header};
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
    /// Those that found it full. Bounded: nothing is taken while too many pushes run.
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
}

impl Pushes {
    pub(super) fn new(births: Births, rules: Pacing) -> Self {
        Self { births, seen: Seen::default(), rules, made: 0, complaints: Throttle::default() }
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

    /// Whether more run than may. The API stays within the bound by itself and stops nobody; Redis and rules may exceed
    /// it by a turn's worth.
    pub(super) fn is_full(&mut self, blocks: &Blocks) -> bool {
        self.births.flush();
        let running = blocks.ingest.pushes_begun.get().saturating_sub(blocks.control.pushes_over.get());
        !self.births.waiting.is_empty() || running > PUSHES_RUNNING_MAX as u64
    }

    /// The push that a batch without terms of its own becomes, if a rule paces its topic.
    pub(super) fn by_rule(&mut self, batch: &Batch, blocks: &Blocks, clock: Clock) -> Option<Arc<Push>> {
        let rule = self.rules.rule_for(&batch.address)?;
        let terms = Terms { rate: Some(rule.rate), weight: rule.weight, ..Terms::default() };
        let accepted = clock.now();
        let id = self.next_id("rule", accepted);
        Some(self.make(Making {
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
        let push = Arc::new(Push { id, terms, source, to, messages, bytes, accepted, shares });
        blocks.ingest.pushes_begun.add(1);
        self.births.tell(Arc::clone(&push));
        push
    }
}

/// What a push is made of.
struct Making<'a> {
    id: PushId,
    terms: Terms,
    source: Source,
    to: Box<[crate::batch::Address]>,
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

    /// A push that has come by Redis. One that ran is not run again.
    pub(super) fn begin_push_of_redis(&mut self, request: Request) -> Result<(), Refused> {
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
        let in_use = self.blocks.formats_in_use();
        let mut batches = Vec::with_capacity(to.len());
        for address in &to {
            let batch = match terms.lane {
                Lane::Normal => {
                    self.seal(|merger, sealed| merger.push_apart(address, &messages, now, sealed))
                }
                // It stands outside its topics' order, and so outside their offsets.
                Lane::Urgent => Batch::new(address.clone(), Epoch(0), Offset(0), messages.clone().into()),
            };
            batches.push(seal::seal(batch, in_use));
        }
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
        self.broadcast.send(Downlink::Push(push, batches.into()));
    }
}
