//! How a push begins: of the API, of Redis, or of a message with a header.
//!
//! One that is new closes what is open for its addresses, gets its offsets, and goes to every shard in one downlink.
//! *Not here*: the push of a rule and the making of each (`pushes`), what else comes from Redis (`intake`).

use std::sync::Arc;

use bytes::Bytes;

use super::answers::Verdict;
use super::publisher::{NewPush, Tag};
use super::pushes::Making;
use super::redis::To;
use super::state::Ingest;
use crate::downlink::Downlink;
use crate::metrics::Refused;
use crate::sys::bell::Bell;
use crate::sys::clock::Clock;
use fanfare_core::ingest::seal;
use fanfare_core::limits::MESSAGE_BYTES_MAX;
use fanfare_core::model::charge::Charge;
use fanfare_core::model::{Batch, Epoch, FormatId, Moment, Offset};
use fanfare_core::protocols;
use fanfare_core::push::Source;
use fanfare_core::push::header::{self, Header};
use fanfare_core::push::id::PushId;
use fanfare_core::push::request::{self, Mistake, Request};
use fanfare_core::push::seen::{Asked, Come};
use fanfare_core::push::terms::Lane;

impl<B: Bell> Ingest<B> {
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
            let offered =
                queue.offer(Tag::Push(id.clone()), To::Push, vec![payload], self.clock.instant(self.now));
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
        let accepted = Clock::moment(self.now);
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
        let now = self.now;
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
                in_use[format.index()] &= !protocols::format(format).names_address();
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
                Some(first) => batch.sharing(first, |format| protocols::format(format).names_address()),
                None => batch,
            };
            batches.push(seal::seal_charged(batch, in_use, |batch| {
                Some(Charge::new(hold, batch.allocated_bytes()))
            }));
        }
        self.broadcast.send(Downlink::Push(push, batches.into()));
    }
}
