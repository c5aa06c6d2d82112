//! Piggybacking: an answer takes along what a round still has for its device, in one send.
//!
//! A broadcast to a million devices lasts seconds, nearly all of them in sends, and the devices' PINGs go on meanwhile. A
//! device that is answered before the round has come to it costs one send instead of two. *Not here*: the walk, which
//! passes over whoever has everything of its round (`walk`), when answers are sent (the shard).

use super::members::ALL;
use super::state::Delivery;
use crate::session::outbox::Cargo;
use crate::session::subscriptions::Membership;
use crate::session::{Connection, Phase};

/// Bytes of an answer with what it takes along: to copy them is a small part of the send that it saves.
const BYTES_MAX: usize = 4096;

/// An answer with messages behind it. They count as delivered: whoever has it sends it.
#[derive(Debug)]
#[must_use]
pub struct Laden {
    /// Both, the answer first.
    pub bytes: Vec<u8>,
    /// What the messages are.
    pub cargo: Cargo,
    /// Their frames.
    pub frames: u32,
}

impl Delivery {
    /// The answer with what the first round of a topic still has for this device, whose place in the table is `index`. A
    /// push is walked by its credit, and what is behind it waits. `None`: there is nothing, or it is large. A connection
    /// that closes has no places: nothing goes behind its Close. Where the delivery [is idle](Delivery::is_idle) there is
    /// nothing either: a plain round that may go on is on the agenda.
    pub fn load(&mut self, connection: &Connection, index: u32, answer: &[u8]) -> Option<Laden> {
        let format = connection.format;
        let everybody = connection.position_in_all().map(|position| Membership { topic: ALL, position });
        debug_assert!(everybody.is_none() || connection.phase() == Phase::Open);
        for place in everybody.iter().chain(connection.subscriptions.as_slice()) {
            let Some(entry) = self.members.entry(place.topic) else { continue };
            let Some(round) = entry.line.front().filter(|round| round.push.is_none()) else { continue };
            let member = &mut entry.members[place.position as usize];
            debug_assert_eq!(member.connection, index);
            if member.delivered >= round.end {
                continue;
            }
            let before = round.allocated_bytes();
            round.encode(format);
            let after = round.allocated_bytes();
            if before != after {
                self.backlog.add(&mut entry.line, after);
                self.backlog.sub(&mut entry.line, before);
            }
            let Some(round) = entry.line.front() else { continue };
            let Some(part) = round.part(format, member.delivered) else { continue };
            if answer.len() + part.bytes.len() > BYTES_MAX {
                continue;
            }
            member.delivered = round.end;
            return Some(Laden {
                bytes: [answer, part.bytes].concat(),
                cargo: Cargo { topic: place.topic, messages: part.messages, push: None },
                frames: part.frames,
            });
        }
        None
    }
}
