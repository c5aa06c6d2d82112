//! Piggybacking: an answer takes along what a round still has for its device, in one send.
//!
//! A broadcast to a million devices lasts seconds, nearly all of them in sends, and the devices' PINGs go on meanwhile. A
//! device that is answered before the round has come to it costs one send instead of two. *Not here*: the walk, which
//! passes over whoever has everything of its round (`fanout`), when answers are sent (`input`).

use super::Shard;
use super::members::ALL;
use crate::connection::outbox::Cargo;
use crate::connection::subscriptions::Membership;
use crate::dataplane::{Plane, Token};

/// Bytes of a round that may be copied behind an answer. The copy takes a tenth of the send that it saves.
const BYTES_MAX: usize = 4096;

/// An answer with messages behind it.
pub(super) struct Laden {
    pub(super) bytes: Vec<u8>,
    /// Where the messages begin.
    pub(super) split: usize,
    pub(super) cargo: Cargo,
}

impl<P: Plane> Shard<P> {
    /// The answer together with the first round that still has something for this device, which has it from here on.
    /// `None`: no round has, or it goes by the pace of a push, or it is large.
    pub(super) fn load(&mut self, token: Token, answer: &[u8]) -> Option<Laden> {
        let connection = self.table.get(token)?;
        let format = connection.format;
        let in_all = connection.position_in_all().map(|position| Membership { topic: ALL, position });
        for place in in_all.iter().chain(connection.subscriptions.as_slice()) {
            let Some(entry) = self.members.entry(place.topic) else { continue };
            let Some(round) = entry.line.front() else { continue };
            if round.push.is_some() {
                continue;
            }
            round.encode(format);
            let member = &mut entry.members[place.position as usize];
            let Some(part) = round.part(format, member.delivered) else { continue };
            if part.bytes.len() > BYTES_MAX {
                continue;
            }
            member.delivered = round.end;
            let block = &self.blocks.shards[self.number];
            block.deliveries.add(u64::from(part.messages));
            block.sends.add(1);
            block.frames.add(u64::from(part.frames));
            block.send_bytes.add(part.bytes.len() as u64);
            return Some(Laden {
                bytes: [answer, part.bytes].concat(),
                split: answer.len(),
                cargo: Cargo { topic: place.topic, messages: part.messages, push: None },
            });
        }
        None
    }
}
