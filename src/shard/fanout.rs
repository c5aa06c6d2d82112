//! Fanout: a topic's waiting batches become a round, and a round walks the topic's members in slices.
//!
//! Batches that came during a round ride together in the next: their frames are joined into one buffer, once per
//! format, and each member gets them in one send. A push is a round of its own, which may need credit for each device;
//! rounds of a topic follow each other as `line` says. Urgent pushes go first, then small topics; large ones take turns,
//! a slice each. *Not here*: sockets (`dataplane`), slow members (`input`), the beginning and end of pushes (`pace`).

use std::sync::Arc;

use super::line::{RoundNumber, Taken};
use super::members::{ALL, Place};
use super::round::{Part, Round, waiting_bytes};
use super::shared_buffers::Keeper;
use super::state::Shard;
use crate::dataplane::{Plane, Send, Short, Token, Took};
use fanfare_core::limits::SLICE_SENDS;
use fanfare_core::model::{Batch, CloseReason, FormatId, Offset, Tick};
use fanfare_core::push::PushSlot;
use fanfare_core::push::share::Failed;
use fanfare_core::push::terms::Lane;
use fanfare_core::session::bounds::OutboxBounds as Bounds;
use fanfare_core::session::outbox::{Cargo, Delivery, Dues};
use fanfare_core::session::subscriptions::TopicId;
use fanfare_core::session::{Connection, Phase};

/// Room for the sends of a whole slice. Half as much again as they need: 32 KiB is what the runtime's queue of tasks has,
/// and that would keep the allocator's page, with what a slice has touched of it, for as long as the thread lives.
const SENDS_ROOM: usize = SLICE_SENDS + SLICE_SENDS / 2;

/// Members that a slice looks at: those who owe, or need nothing, cost no send but take time too.
const VISITS_PER_SLICE: usize = 8 * SLICE_SENDS;

/// What a slice does: the sends it makes, and what became of members that get none.
struct Slice<'r> {
    round: &'r Round,
    topic: TopicId,
    now: Tick,
    bounds: Bounds,
    sends: Vec<Send<'r>>,
    /// Members whose outbox took it.
    queued: u64,
    /// Members whose outbox did not, to be closed.
    slow: Vec<Token>,
    /// Members that it was for and who are gone or going.
    closed: u64,
    /// Pushes that left an outbox to make room.
    dropped_pushes: Vec<(PushSlot, bool)>,
    deliveries: u64,
    missed_closed: u64,
    missed_slow: u64,
    frames: u64,
    bytes: u64,
    dropped: u64,
    dues_before: Dues,
    dues_after: Dues,
}

impl<'r> Slice<'r> {
    fn new(round: &'r Round, topic: TopicId, now: Tick, bounds: Bounds, slow: Vec<Token>) -> Self {
        Self {
            round,
            topic,
            now,
            bounds,
            sends: Vec::with_capacity(if round.cursor < SLICE_SENDS { round.cursor } else { SENDS_ROOM }),
            queued: 0,
            slow,
            closed: 0,
            dropped_pushes: Vec::new(),
            deliveries: 0,
            missed_closed: 0,
            missed_slow: 0,
            frames: 0,
            bytes: 0,
            dropped: 0,
            dues_before: Dues::default(),
            dues_after: Dues::default(),
        }
    }

    /// Members that cost credit.
    fn served(&self) -> usize {
        self.sends.len() + self.queued as usize + self.slow.len()
    }

    /// Who is free gets a send, who owes gets it into the outbox.
    fn offer<'k>(
        &mut self,
        token: Token,
        connection: &mut Connection,
        part: &Part<'r>,
        keeper: impl FnOnce() -> Keeper<'k>,
    ) {
        if connection.phase() != Phase::Open {
            self.missed_closed += u64::from(part.messages);
            self.closed += 1;
        } else if connection.outbox().is_some() {
            self.queue(token, connection, part, keeper());
        } else {
            self.deliveries += u64::from(part.messages);
            self.frames += u64::from(part.frames);
            self.bytes += part.bytes.len() as u64;
            self.sends.push(Send { token, fd: connection.fd, bytes: part.bytes });
        }
    }

    /// Into the outbox of a member that owes. Out of line, because most owe nothing.
    #[inline(never)]
    fn queue(&mut self, token: Token, connection: &mut Connection, part: &Part<'r>, keeper: Keeper<'_>) {
        let messages = u64::from(part.messages);
        let format = connection.format;
        let Some(outbox) = connection.outbox() else { return };
        let before = outbox.dues();
        let batch = self.round.keep(format, part.bytes, keeper);
        let cargo = Cargo { topic: self.topic, messages: part.messages, push: self.round.push };
        match outbox.push_batch(batch, cargo, self.now, &self.bounds) {
            Delivery::Queued { dropped } => {
                self.queued += 1;
                self.dropped += u64::from(dropped);
                self.deliveries += messages;
                self.dues_before.add(before);
                self.dues_after.add(outbox.dues());
                self.dropped_pushes.append(&mut outbox.take_settled());
            }
            Delivery::TooSlow => {
                self.missed_slow += messages;
                self.slow.push(token);
            }
        }
    }
}

impl<P: Plane> Shard<P> {
    /// Queues a batch for the members of its address.
    pub(super) fn enqueue(&mut self, batch: Arc<Batch>) {
        let Some(id) = self.members.find(&batch.address) else { return };
        let Some(entry) = self.members.entry(id) else { return };
        debug_assert!(batch.first >= entry.tail, "offsets of an address only grow");
        entry.tail = batch.end();
        entry.active = self.now;
        if entry.members.is_empty() {
            return;
        }
        self.backlog.add(&mut entry.line, waiting_bytes(&batch));
        entry.waiting.push_back(batch);
        self.begin_rounds(id);
    }

    /// Makes rounds of what waits, as far as the line takes more, and sees to it that they go on.
    pub(super) fn begin_rounds(&mut self, id: TopicId) {
        let Some(entry) = self.members.entry(id) else { return };
        let members = entry.members.len();
        let mut begun = 0;
        while !entry.waiting.is_empty() && entry.line.takes_more() {
            entry.line.append(Round::take(&mut entry.waiting, members), members);
            begun += 1;
        }
        self.block().rounds.add(begun);
        self.enroll(Place { topic: id, lane: Lane::Normal });
    }

    /// Puts a line that has rounds on the agenda, unless it is there.
    pub(super) fn enroll(&mut self, place: Place) {
        let Some(entry) = self.members.entry(place.topic) else { return };
        let members = entry.members.len();
        let Some(line) = entry.line(place.lane) else { return };
        if !line.is_empty() && !std::mem::replace(&mut line.is_on_agenda, true) {
            self.agenda.add(place, members);
        }
    }

    /// Serves urgent pushes and small topics up to a slice's worth of sends, then one slice of one large topic.
    pub(super) fn fan_out(&mut self) {
        let mut budget = SLICE_SENDS;
        for _ in 0..self.agenda.urgent.len() {
            let Some(topic) = self.agenda.urgent.pop_front() else { break };
            budget = budget.saturating_sub(self.slice(Place { topic, lane: Lane::Urgent }).max(1));
            if budget == 0 {
                return;
            }
        }
        for _ in 0..self.agenda.small.len() {
            let Some(topic) = self.agenda.small.pop_front() else { break };
            budget = budget.saturating_sub(self.slice(Place { topic, lane: Lane::Normal }).max(1));
            if budget == 0 {
                break;
            }
        }
        if let Some(topic) = self.agenda.large.pop_front() {
            self.slice(Place { topic, lane: Lane::Normal });
        }
    }

    /// One slice of the first round of a line that can go on; returns the sends it made. A line without one leaves the
    /// agenda.
    fn slice(&mut self, place: Place) -> usize {
        let Some(Taken { number, limit, mut round }) = self.next_round(place) else { return 0 };
        let before = round.allocated_bytes();
        for format in FormatId::ALL {
            if self.block().connections[format.index()].get() > 0 {
                round.encode(format);
            }
        }
        self.recount(place, before, &round);
        let allowance = round.push.map_or(SLICE_SENDS, |slot| self.pushes.credit(slot).min(SLICE_SENDS));
        let mut cursor = round.cursor;
        let mut shorts = std::mem::take(&mut self.shorts);
        let slice = self.gather(place.topic, &round, (&mut cursor, limit), allowance);
        let Slice { sends, mut slow, queued, closed, dropped_pushes, .. } = slice;
        let count = sends.len();
        let mut unsent = 0;
        let (mut gone, too_slow) = (0, slow.len() as u64);
        if count > 0 {
            self.plane.send_slice(&sends, &mut shorts);
            self.count_sends(&sends);
            (unsent, gone) = self.settle(place.topic, &round, &sends, &mut shorts);
        }
        drop(sends);
        if let Some(slot) = round.push {
            round.unserved -= (count as u64 + queued + too_slow + closed) as u32;
            self.pushes.spend(slot, count + queued as usize + too_slow as usize);
            self.push_sent(slot, count as u64 - unsent - gone);
            self.pushes.failed(slot, self.number, Failed::Closed, closed + gone);
            self.pushes.failed(slot, self.number, Failed::Slow, too_slow);
        }
        self.settle_pushes(dropped_pushes, Failed::Slow);
        for token in slow.drain(..) {
            self.begin_close(token, CloseReason::Slow, "too slow");
        }
        (self.shorts, self.slow) = (shorts, slow);
        round.cursor = cursor;
        self.after_slice(place, number, round);
        count
    }

    /// Takes out the round of a line that goes on; a line without one leaves the agenda.
    fn next_round(&mut self, place: Place) -> Option<Taken> {
        let entry = self.members.entry(place.topic)?;
        let members = entry.members.len();
        let line = entry.line(place.lane)?;
        let next = line.take_next(members, |slot| self.pushes.credit(slot) > 0);
        line.is_on_agenda = next.is_some();
        next
    }

    /// Walks on to `limit` at most, and until so many members were served.
    fn gather<'r>(
        &mut self,
        id: TopicId,
        round: &'r Round,
        (cursor, limit): (&mut usize, usize),
        allowance: usize,
    ) -> Slice<'r> {
        let slow = std::mem::take(&mut self.slow);
        let mut slice = Slice::new(round, id, self.now, self.rules.outbox, slow);
        let keeper = || Keeper { blocks: &self.blocks, number: self.number };
        let stop = cursor.saturating_sub(VISITS_PER_SLICE).max(limit);
        if let Some(targets) = &round.targets {
            while *cursor > stop && slice.served() < allowance {
                *cursor -= 1;
                let token = targets[*cursor];
                let member = self
                    .table
                    .get(token)
                    .filter(|connection| id == ALL || connection.subscriptions.contains(id));
                let part = member.as_ref().and_then(|member| round.part(member.format, Offset(0)));
                match (member, part) {
                    (Some(member), Some(part)) => slice.offer(token, member, &part, keeper),
                    _ => slice.closed += 1,
                }
            }
        } else if let Some(entry) = self.members.entry(id) {
            while *cursor > stop && slice.served() < allowance {
                *cursor -= 1;
                let member = &mut entry.members[*cursor];
                let Some((token, connection)) = self.table.at(member.connection) else { continue };
                let Some(part) = round.part(connection.format, member.delivered) else { continue };
                member.delivered = round.end;
                slice.offer(token, connection, &part, keeper);
            }
        }
        let block = &self.blocks.shards[self.number];
        block.deliveries.add(slice.deliveries);
        block.deliveries_failed[Failed::Closed as usize].add(slice.missed_closed);
        block.deliveries_failed[Failed::Slow as usize].add(slice.missed_slow);
        block.count_dues(slice.dues_before, slice.dues_after);
        if slice.dropped > 0 {
            block.outbox_dropped[self.rules.drop_counter()].add(slice.dropped);
        }
        block.sends.add(slice.sends.len() as u64);
        block.frames.add(slice.frames);
        block.send_bytes.add(slice.bytes);
        slice
    }

    /// Gives every send that fell short an outbox with the rest, or removes a connection that is gone. How many there
    /// were of each.
    fn settle(
        &mut self,
        topic: TopicId,
        round: &Round,
        sends: &[Send<'_>],
        shorts: &mut Vec<Short>,
    ) -> (u64, u64) {
        self.block().sends_short.add(shorts.len() as u64);
        let (mut from, mut unsent, mut gone) = (0, 0, 0);
        for short in shorts.drain(..) {
            // They come in the order of the sends, so that one pass finds them all.
            let Some(at) = sends[from..].iter().position(|send| send.token == short.token) else {
                unreachable!("a short send was one of the slice");
            };
            let send = &sends[from + at];
            from += at;
            let taken = if let Took::Bytes(taken) = short.took { taken } else { 0 };
            self.count_out_less(short.token, send.bytes.len().saturating_sub(taken));
            let Some(connection) = self.table.get(short.token) else { continue };
            match short.took {
                Took::Bytes(taken) if taken >= send.bytes.len() => {}
                Took::Bytes(taken) => {
                    let format = connection.format;
                    let rest =
                        round.keep(format, send.bytes, Keeper { blocks: &self.blocks, number: self.number });
                    let messages = round.messages_in(format, send.bytes);
                    let cargo = Cargo { topic, messages, push: round.push };
                    let now = self.now;
                    self.with_dues(short.token, |connection| {
                        connection.owe(now).push_rest(rest, taken, cargo, now);
                    });
                    unsent += 1;
                    self.await_room(short.token);
                }
                Took::Gone => {
                    self.block().sends_failed.add(1);
                    gone += 1;
                    self.remove(short.token, CloseReason::Reset);
                }
            }
        }
        (unsent, gone)
    }

    /// A round was encoded, and takes another amount of memory than before.
    fn recount(&mut self, place: Place, before: usize, round: &Round) {
        let after = round.allocated_bytes();
        if before != after
            && let Some(line) = self.members.entry(place.topic).and_then(|entry| entry.line(place.lane))
        {
            self.backlog.add(line, after);
            self.backlog.sub(line, before);
        }
    }

    /// Puts a round back, or ends it and begins the next.
    fn after_slice(&mut self, place: Place, number: RoundNumber, round: Box<Round>) {
        let Some(entry) = self.members.entry(place.topic) else {
            self.settle_round(&round, Failed::Closed);
            return;
        };
        entry.active = self.now;
        let nobody = entry.members.is_empty();
        let is_served = round.push.is_some() && round.unserved == 0;
        debug_assert!(round.cursor > 0 || round.unserved == 0, "a walk that is over has met everybody");
        let line = entry.line(place.lane);
        if round.cursor == 0 || nobody || is_served {
            if let Some(line) = line {
                line.let_go(number);
            }
            self.end_round(place, &round, Failed::Closed);
        } else if let Some(line) = line {
            line.put_back(number, round);
        }
        if nobody {
            // The list of everybody outlives its members, and is on no agenda now.
            if let Some(line) = self.members.entry(place.topic).and_then(|entry| entry.line(place.lane)) {
                line.is_on_agenda = false;
            }
            self.forget_if_empty(place.topic);
        } else {
            self.go_on(place);
        }
    }

    /// A slice of a line, or a round of it, is over: what waits gets its turn.
    pub(super) fn go_on(&mut self, place: Place) {
        let Some(entry) = self.members.entry(place.topic) else { return };
        if entry.urgent.as_ref().is_some_and(|line| line.is_empty()) {
            entry.urgent = None;
        }
        if let Some(line) = entry.line(place.lane) {
            line.is_on_agenda = false;
        }
        match place.lane {
            Lane::Normal => self.begin_rounds(place.topic),
            Lane::Urgent => self.enroll(place),
        }
    }

    /// Lets go of a round that left its line; whom its push has not served, it does not serve for this reason.
    pub(super) fn end_round(&mut self, place: Place, round: &Round, why: Failed) {
        if let Some(line) = self.members.entry(place.topic).and_then(|entry| entry.line(place.lane)) {
            self.backlog.sub(line, round.allocated_bytes());
            if round.push.is_some_and(|slot| self.pushes.is_holding(slot)) {
                self.backlog.release(line);
            }
        }
        self.settle_round(round, why);
    }

    /// The same of a round whose line is gone.
    fn settle_round(&mut self, round: &Round, why: Failed) {
        if let Some(slot) = round.push {
            self.pushes.failed(slot, self.number, why, u64::from(round.unserved));
            self.pushes.end_round(slot, self.number);
        }
    }

    /// Forgets a topic whose last member left. What it had to deliver has nobody to go to.
    pub(super) fn forget_if_empty(&mut self, id: TopicId) {
        let Some(entry) = self.members.entry(id) else { return };
        if !entry.members.is_empty() {
            return;
        }
        let mut ended = Vec::new();
        if id == ALL {
            // Its line outlives its members. A round of it may be taken out, and is counted until it is put back.
            let waiting = std::mem::take(&mut entry.waiting);
            self.backlog.sub(&mut entry.line, waiting.iter().map(|batch| waiting_bytes(batch)).sum());
            for round in entry.line.take_all() {
                self.end_round(Place { topic: id, lane: Lane::Normal }, &round, Failed::Closed);
            }
        } else {
            self.backlog.drop_line(&mut entry.line);
            ended = entry.line.take_all();
        }
        if let Some(mut line) = self.members.entry(id).and_then(|entry| entry.urgent.take()) {
            self.backlog.drop_line(&mut line);
            ended.extend(line.take_all());
        }
        for round in ended {
            self.settle_round(&round, Failed::Closed);
        }
        if id != ALL {
            self.members.prune(id);
        }
    }
}
