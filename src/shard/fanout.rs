//! Fanout: a topic's waiting batches become a round, and a round walks the topic's members in slices.
//!
//! A topic has at most one round at a time, so messages of a topic reach a member in offset order. Batches that came
//! during a round ride together in the next: their frames are joined into one buffer, once per format, and each member
//! gets them in one send. Small topics go first; large ones take turns, a slice each. *Not here*: sockets (`dataplane`),
//! slow members (`input`).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Shard;
use super::members::ALL;
use crate::batch::{Batch, Offset};
use crate::connection::Phase;
use crate::connection::outbox::Delivery;
use crate::connection::reason::CloseReason;
use crate::connection::subscriptions::TopicId;
use crate::dataplane::{Plane, Send, Short, Token, Took};
use crate::formats::{FORMATS, FormatId};
use crate::limits::{ROUND_BYTES_MAX, SLICE_SENDS};
use crate::metrics::DeliveryFailure;

/// Topics up to this many members are served whole, before a large one gets its next slice.
const SMALL: usize = SLICE_SENDS / 4;

/// Members that a slice looks at: those who owe, or need nothing, cost no send but take time too.
const VISITS_PER_SLICE: usize = 8 * SLICE_SENDS;

/// Topics that have a round under way.
#[derive(Debug, Default)]
pub struct Agenda {
    small: VecDeque<TopicId>,
    large: VecDeque<TopicId>,
}

impl Agenda {
    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.small.is_empty() && self.large.is_empty()
    }

    /// Gives back room that nothing needs now.
    pub fn shrink(&mut self) {
        self.small.shrink_to_fit();
        self.large.shrink_to_fit();
    }

    fn add(&mut self, id: TopicId, members: usize) {
        if members <= SMALL { self.small.push_back(id) } else { self.large.push_back(id) }
    }
}

/// Frames of a round in one format.
#[derive(Debug)]
struct Joined {
    bytes: Bytes,
    /// Where each batch begins: its first offset, its first byte, and the frames before it.
    starts: Box<[(Offset, u32, u32)]>,
    frames: u32,
}

/// One walk over the members: the batches it carries and how far it came.
#[derive(Debug)]
pub struct Round {
    batches: Vec<Arc<Batch>>,
    end: Offset,
    /// Members below this position have not been met.
    cursor: usize,
    joined: [Option<Joined>; FORMATS.len()],
}

/// What one member still needs of a round.
struct Part<'a> {
    bytes: &'a [u8],
    messages: u32,
    frames: u32,
}

impl Round {
    /// Takes batches while they fit a round; at least one. `waiting` is not empty.
    fn take(waiting: &mut VecDeque<Arc<Batch>>, members: usize) -> Self {
        let mut batches = Vec::with_capacity(waiting.len().min(16));
        let (mut bytes, mut end) = (0, Offset(0));
        while let Some(batch) = waiting.front() {
            bytes += batch.payload_bytes();
            if bytes > ROUND_BYTES_MAX && !batches.is_empty() {
                break;
            }
            end = batch.end();
            batches.extend(waiting.pop_front());
        }
        Self { batches, end, cursor: members, joined: [const { None }; FORMATS.len()] }
    }

    /// Payload bytes of all its batches.
    pub fn payload_bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.payload_bytes()).sum()
    }

    /// Joins the frames of one format, unless that is done.
    fn encode(&mut self, format: FormatId) {
        if self.joined[format.index()].is_some() {
            return;
        }
        let mut starts = Vec::with_capacity(self.batches.len());
        let (mut at, mut frames) = (0, 0);
        for batch in &self.batches {
            let encoded = batch.encoded(format);
            starts.push((batch.first, at as u32, frames));
            at += encoded.bytes.len();
            frames += encoded.frames;
        }
        let bytes = if let [only] = &self.batches[..] {
            only.encoded(format).bytes.clone()
        } else {
            let mut joined = BytesMut::with_capacity(at);
            for batch in &self.batches {
                joined.extend_from_slice(&batch.encoded(format).bytes);
            }
            joined.freeze()
        };
        self.joined[format.index()] = Some(Joined { bytes, starts: starts.into(), frames });
    }

    /// What a member needs that has everything below `delivered`; `None`: nothing.
    fn part(&self, format: FormatId, delivered: Offset) -> Option<Part<'_>> {
        if delivered >= self.end {
            return None;
        }
        let joined = self.joined[format.index()].as_ref()?;
        // Joins happen between batches, so `delivered` is where one of them begins, or lies before all of them.
        let first = joined.starts.iter().find(|start| start.0 >= delivered)?;
        Some(Part {
            bytes: &joined.bytes[first.1 as usize..],
            messages: (self.end.0 - first.0.0) as u32,
            frames: joined.frames - first.2,
        })
    }

    /// Messages in bytes that [`Round::part`] lent.
    fn messages_in(&self, format: FormatId, part: &[u8]) -> u32 {
        let joined = self.joined[format.index()].as_ref();
        let first = joined.and_then(|joined| {
            let at = joined.bytes.len() - part.len();
            joined.starts.iter().find(|start| start.1 as usize == at)
        });
        first.map_or(0, |first| (self.end.0 - first.0.0) as u32)
    }

    /// A counted reference to bytes that [`Round::part`] lent.
    fn keep(&self, format: FormatId, part: &[u8]) -> Bytes {
        self.joined[format.index()].as_ref().map_or_else(Bytes::new, |joined| joined.bytes.slice_ref(part))
    }
}

impl<P: Plane> Shard<P> {
    /// Queues a batch for the members of its address.
    pub(super) fn enqueue(&mut self, batch: Arc<Batch>) {
        let Some(id) = self.members.find(&batch.address) else { return };
        let Some(entry) = self.members.entry(id) else { return };
        debug_assert!(batch.first >= entry.tail, "offsets of an address only grow");
        entry.tail = batch.end();
        if entry.members.is_empty() {
            return;
        }
        self.backlog_bytes += batch.payload_bytes();
        entry.waiting.push_back(batch);
        if entry.round.is_none() {
            self.begin_round(id);
        }
    }

    /// Starts the next round of a topic that has batches waiting and no round.
    fn begin_round(&mut self, id: TopicId) {
        let Some(entry) = self.members.entry(id) else { return };
        if entry.waiting.is_empty() {
            return;
        }
        entry.round = Some(Box::new(Round::take(&mut entry.waiting, entry.members.len())));
        self.agenda.add(id, entry.members.len());
        self.block().rounds.add(1);
    }

    /// Serves small topics up to a slice's worth of sends, then one slice of one large topic.
    pub(super) fn fan_out(&mut self) {
        let mut budget = SLICE_SENDS;
        for _ in 0..self.agenda.small.len() {
            let Some(id) = self.agenda.small.pop_front() else { break };
            budget = budget.saturating_sub(self.slice(id).max(1));
            if budget == 0 {
                break;
            }
        }
        if let Some(id) = self.agenda.large.pop_front() {
            self.slice(id);
        }
    }

    /// One slice of one round; returns the sends it made.
    fn slice(&mut self, id: TopicId) -> usize {
        let Some(mut round) = self.members.entry(id).and_then(|entry| entry.round.take()) else { return 0 };
        for format in FormatId::ALL {
            if self.block().connections[format.index()].get() > 0 {
                round.encode(format);
            }
        }
        let mut cursor = round.cursor;
        let (mut shorts, mut slow) = (std::mem::take(&mut self.shorts), std::mem::take(&mut self.slow));
        let sends = self.gather(id, &round, &mut cursor, &mut slow);
        let count = sends.len();
        if count > 0 {
            self.plane.send_slice(&sends, &mut shorts);
            self.settle(id, &round, &sends, &mut shorts);
        }
        drop(sends);
        for token in slow.drain(..) {
            self.begin_close(token, CloseReason::Slow, "too slow");
        }
        (self.shorts, self.slow) = (shorts, slow);
        round.cursor = cursor;
        self.after_slice(id, round);
        count
    }

    /// Walks on, at most a slice's worth of sends: who is free gets a send, who owes gets it into the outbox.
    fn gather<'r>(
        &mut self,
        id: TopicId,
        round: &'r Round,
        cursor: &mut usize,
        slow: &mut Vec<Token>,
    ) -> Vec<Send<'r>> {
        let block = &self.blocks.shards[self.number];
        let Some(entry) = self.members.entry(id) else { return Vec::new() };
        // The list may have shrunk since the last slice: whoever was above its end has been moved below the cursor.
        *cursor = (*cursor).min(entry.members.len());
        let mut sends = Vec::with_capacity(SLICE_SENDS.min(*cursor));
        let (mut deliveries, mut too_late, mut too_slow, mut frames, mut bytes, mut dropped) =
            (0, 0, 0, 0, 0, 0);
        let (mut owed_before, mut owed_after) = (0, 0);
        let stop = cursor.saturating_sub(VISITS_PER_SLICE);
        while *cursor > stop && sends.len() < SLICE_SENDS {
            *cursor -= 1;
            let member = &mut entry.members[*cursor];
            let Some((token, connection)) = self.table.at(member.connection) else { continue };
            let format = connection.format;
            let Some(part) = round.part(format, member.delivered) else { continue };
            member.delivered = round.end;
            if connection.phase() != Phase::Open {
                too_late += u64::from(part.messages);
                continue;
            }
            if let Some(outbox) = connection.outbox() {
                let before = outbox.bytes();
                let batch = round.keep(format, part.bytes);
                match outbox.push_batch(&batch, id, part.messages, self.now, &self.rules.outbox) {
                    Delivery::Queued { dropped: gone } => {
                        dropped += u64::from(gone);
                        deliveries += u64::from(part.messages);
                        owed_before += before as u64;
                        owed_after += outbox.bytes() as u64;
                    }
                    Delivery::TooSlow => {
                        too_slow += u64::from(part.messages);
                        slow.push(token);
                    }
                }
                continue;
            }
            deliveries += u64::from(part.messages);
            frames += u64::from(part.frames);
            bytes += part.bytes.len() as u64;
            sends.push(Send { token, fd: connection.fd, bytes: part.bytes });
        }
        block.deliveries.add(deliveries);
        block.deliveries_failed[DeliveryFailure::Closing as usize].add(too_late);
        block.deliveries_failed[DeliveryFailure::Slow as usize].add(too_slow);
        block.outbox_bytes.add(owed_after);
        block.outbox_bytes.sub(owed_before);
        if dropped > 0 {
            block.outbox_dropped[self.rules.drop_counter()].add(dropped);
        }
        block.sends.add(sends.len() as u64);
        block.frames.add(frames);
        block.send_bytes.add(bytes);
        sends
    }

    /// Gives every send that fell short an outbox with the rest, or removes a connection that is gone.
    fn settle(&mut self, id: TopicId, round: &Round, sends: &[Send<'_>], shorts: &mut Vec<Short>) {
        self.block().sends_short.add(shorts.len() as u64);
        let mut from = 0;
        for short in shorts.drain(..) {
            // Completions come in the order of the sends, so that one pass finds them all.
            let Some(at) = sends[from..].iter().position(|send| send.token == short.token) else {
                unreachable!("a short send was one of the slice");
            };
            let send = &sends[from + at];
            from += at;
            let Some(connection) = self.table.get(short.token) else { continue };
            match short.took {
                Took::Bytes(taken) if taken >= send.bytes.len() => {}
                Took::Bytes(taken) => {
                    let format = connection.format;
                    let rest = round.keep(format, send.bytes);
                    let messages = round.messages_in(format, send.bytes);
                    connection.owe(self.now).push_rest(rest, taken, id, messages, self.now);
                    let owed = send.bytes.len() - taken;
                    self.block().outbox_bytes.add(owed as u64);
                    self.block().outboxes.add(1);
                    self.await_room(short.token);
                }
                Took::Gone => {
                    self.block().sends_failed.add(1);
                    self.remove(short.token, CloseReason::Reset);
                }
            }
        }
    }

    /// Puts a round back, or ends it and begins the next.
    fn after_slice(&mut self, id: TopicId, round: Box<Round>) {
        let Some(entry) = self.members.entry(id) else {
            self.backlog_bytes -= round.payload_bytes();
            return;
        };
        if round.cursor > 0 && !entry.members.is_empty() {
            let members = entry.members.len();
            entry.round = Some(round);
            self.agenda.add(id, members);
            return;
        }
        self.backlog_bytes -= round.payload_bytes();
        drop(round);
        if entry.members.is_empty() {
            self.forget_if_empty(id);
        } else {
            self.begin_round(id);
        }
    }

    /// Forgets a topic whose last member left. What it had to deliver has nobody to go to.
    pub(super) fn forget_if_empty(&mut self, id: TopicId) {
        let Some(entry) = self.members.entry(id) else { return };
        if !entry.members.is_empty() {
            return;
        }
        let waiting = std::mem::take(&mut entry.waiting);
        let round = entry.round.take();
        self.backlog_bytes -= waiting.iter().map(|batch| batch.payload_bytes()).sum::<usize>();
        self.backlog_bytes -= round.map_or(0, |round| round.payload_bytes());
        if id != ALL {
            self.members.prune(id);
        }
    }
}
