//! What a message from Redis means: its channel names an address, and it may have a header that makes it a push.
//!
//! *Not here*: the session that brought it (`redis::subscribe`), how a push begins (`begin`), batches
//! (`batch::merger`).

use bytes::Bytes;

use super::redis::{Incoming, MARK_CHANNEL};
use super::state::Ingest;
use crate::metrics::Refused;
use crate::sys::bell::Bell;
use fanfare_core::limits::MESSAGE_BYTES_MAX;
use fanfare_core::model::{Address, Message, PayloadKind, Topic};
use fanfare_core::push;
use fanfare_core::push::header::Header;

impl<B: Bell> Ingest<B> {
    /// Takes what the subscription brought.
    pub(super) fn take_incoming(&mut self, incoming: Incoming, now: u64) {
        match incoming {
            Incoming::Message { channel, payload } => {
                if let Err(refused) = self.take_message(&channel, payload, now) {
                    self.blocks.ingest.messages_refused[refused as usize].add(1);
                    self.strays.tell(&channel, refused, self.clock.instant(self.now));
                }
            }
            Incoming::Mark => {
                if let Some(queue) = &self.to_redis {
                    queue.mark_taken();
                }
            }
            // Nothing can be done about messages that did not come. The session has counted the gap.
            Incoming::Gap => {}
        }
    }

    /// A message from Redis, on a channel whose prefix is cut off.
    fn take_message(&mut self, channel: &Bytes, payload: Bytes, now: u64) -> Result<(), Refused> {
        if &channel[..] == b"push" {
            let request = self.read_request(&payload)?;
            let copies = (request.messages.len() * request.to.len()) as u64;
            self.begin_push_of_redis(request)?;
            self.blocks.ingest.messages_redis.add(copies);
            return Ok(());
        }
        // Marks of other gateways, and what they publish to see whether they may.
        if &channel[..] == MARK_CHANNEL {
            return Ok(());
        }
        let address = Self::address_of(channel, &payload)?;
        let header = self.read_header(&payload)?;
        let is_plain = matches!(header, Header::None | Header::Push { is_job: false, .. });
        let is_ours = self.pushes.returning.take(&address, &payload);
        if is_plain && !is_ours && self.pushes.drops(&address, payload.len()) {
            return Err(Refused::Held);
        }
        match header {
            Header::None => self.merge(&address, Message { payload, kind: PayloadKind::Unknown }, now),
            Header::Push { is_job: false, payload, .. } => {
                self.merge(&address, Message { payload, kind: PayloadKind::Unknown }, now);
            }
            Header::Push { terms, id, is_job, payload } => {
                let messages = vec![Message { payload, kind: PayloadKind::Unknown }];
                let to = vec![address];
                self.begin_push_of_redis(push::request::Request { to, messages, terms, id, is_job })?;
            }
        }
        self.blocks.ingest.messages_redis.add(1);
        Ok(())
    }

    /// The address that a channel, without its prefix, names.
    fn address_of(channel: &Bytes, payload: &Bytes) -> Result<Address, Refused> {
        if payload.len() > MESSAGE_BYTES_MAX {
            return Err(Refused::TooBig);
        }
        let channel = std::str::from_utf8(channel).map_err(|_| Refused::BadTopic)?;
        match channel.split_once(':') {
            None if channel == "all" => Ok(Address::All),
            Some(("topic", topic)) => Topic::new(topic).map(Address::Topic).map_err(|_| Refused::BadTopic),
            Some(("uid", _)) => Err(Refused::Uid),
            _ => Err(Refused::UnknownChannel),
        }
    }
}
