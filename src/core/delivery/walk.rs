//! The walk: a slice of a round's way through the members of its topic.
//!
//! ```text
//!  Delivery::walk ─► Walk::gather ─► Slice: sends ─► the shard sends ─► Slice::end ─► Walk::end ─► Delivery::go_on
//!                                                                                          └► departures, in between
//! ```
//!
//! From its beginning to its end a [`Walk`] is the only one that may touch the delivery: the compiler sees to that. Who
//! cannot follow is returned, and leaves when the round is back in its line. *Not here*: which line goes next
//! (`agenda`), which of its rounds (`line`), sockets (the shard).

use super::agenda::Turn;
use super::line::{RoundNumber, Taken};
use super::members::{ALL, Place};
use super::round::{Part, Round};
use super::shared_buffers::Keeper;
use super::state::Delivery;
use crate::limits::{SLICE_BYTES_MAX, SLICE_SENDS};
use crate::model::{FormatId, Offset, Tick};
use crate::push::PushSlot;
use crate::push::share::Failed;
use crate::session::bounds::OutboxBounds;
use crate::session::outbox::{self, Cargo, Dues, Piece};
use crate::session::subscriptions::TopicId;
use crate::session::table::Table;
use crate::session::{Connection, Phase, Token};

/// Room for the sends of a whole slice. Half as much again as they need: 32 KiB is what the runtime's queue of tasks has,
/// and that would keep the allocator's page, with what a slice has touched of it, for as long as the thread lives.
const SENDS_ROOM: usize = SLICE_SENDS + SLICE_SENDS / 2;

/// Members that a slice looks at: those who owe, or need nothing, cost no send but take time too.
const VISITS_PER_SLICE: usize = 8 * SLICE_SENDS;

/// One send of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    /// Whose.
    pub token: Token,
    /// Its socket.
    pub fd: i32,
    /// What; complete frames.
    pub bytes: &'a [u8],
}

const _: () = assert!(size_of::<Send<'_>>() <= 32);

/// What a walk goes by.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// The time.
    pub now: Tick,
    /// Bounds of an outbox.
    pub bounds: OutboxBounds,
    /// Where buffers are charged that outboxes share.
    pub keeper: Keeper<'a>,
}

/// Sends of a slice that the kernel did not take whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shortfall {
    /// The rest of so many waits in an outbox.
    pub unsent: u64,
    /// So many found their connection gone.
    pub gone: u64,
}

/// Devices that a push has reached.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// How many.
    pub devices: u64,
    /// Microseconds since the push entered.
    pub after_us: u64,
}

/// A slice under way: its round is taken out of its line, and the delivery is its own until it has ended.
///
/// Nobody leaves meanwhile, because that does not compile:
///
/// ```compile_fail,E0499
/// # use fanfare_core::delivery::{Delivery, Place};
/// # use fanfare_core::session::subscriptions::Membership;
/// fn walk(delivery: &mut Delivery, place: Place, member: Membership) {
///     let walk = delivery.walk(place, [true; 3]);
///     delivery.leave(member);
///     drop(walk);
/// }
/// ```
#[must_use = "its round has to be put back"]
#[derive(Debug)]
pub struct Walk<'d> {
    delivery: &'d mut Delivery,
    place: Place,
    number: RoundNumber,
    limit: usize,
    round: Box<Round>,
    /// How far it came.
    cursor: usize,
    /// Members that it may serve.
    allowance: usize,
}

/// What a slice does: the sends it makes, and what became of members that get none.
#[must_use = "its members have to be accounted for"]
#[derive(Debug)]
pub struct Slice<'w> {
    round: &'w Round,
    topic: TopicId,
    terms: Terms<'w>,
    /// What is to be sent.
    pub sends: Vec<Send<'w>>,
    /// Members whose outbox took it.
    queued: u64,
    /// Members whose outbox did not, to be closed.
    slow: Vec<Token>,
    /// Members that it was for and who are gone or going.
    closed: u64,
    /// Pushes that left an outbox to make room.
    dropped_pushes: Vec<(PushSlot, bool)>,
    /// Messages that are delivered, unless a send finds its connection gone.
    pub deliveries: u64,
    /// Messages for members that are gone or going.
    pub missed_closed: u64,
    /// Messages for members that are too slow.
    pub missed_slow: u64,
    /// Frames of the sends.
    pub frames: u64,
    /// Bytes of the sends.
    pub bytes: u64,
    /// Messages that outboxes dropped.
    pub dropped: u64,
    /// What the outboxes that it changed came to before.
    pub dues_before: Dues,
    /// What they come to now.
    pub dues_after: Dues,
}

/// Members that a slice was for, by what became of them.
#[derive(Debug)]
pub struct Tally {
    sends: u64,
    queued: u64,
    slow: u64,
    closed: u64,
    shortfall: Shortfall,
}

impl<'w> Slice<'w> {
    fn new(round: &'w Round, topic: TopicId, terms: Terms<'w>, slow: Vec<Token>) -> Self {
        Self {
            round,
            topic,
            terms,
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
    #[inline]
    fn offer(&mut self, token: Token, connection: &mut Connection, part: &Part<'w>) {
        if connection.phase() != Phase::Open {
            self.missed_closed += u64::from(part.messages);
            self.closed += 1;
        } else if connection.outbox().is_some() {
            self.queue(token, connection, part);
        } else {
            self.deliveries += u64::from(part.messages);
            self.frames += u64::from(part.frames);
            self.bytes += part.bytes.len() as u64;
            self.sends.push(Send { token, fd: connection.fd, bytes: part.bytes });
        }
    }

    /// Into the outbox of a member that owes. Out of line, because most owe nothing.
    #[inline(never)]
    fn queue(&mut self, token: Token, connection: &mut Connection, part: &Part<'w>) {
        let messages = u64::from(part.messages);
        let format = connection.format;
        let Some(outbox) = connection.outbox() else { return };
        let before = outbox.dues();
        let batch = self.round.keep(format, part.bytes, self.terms.keeper);
        let cargo = Cargo { topic: self.topic, messages: part.messages, push: self.round.push };
        match outbox.push_batch(batch, cargo, self.terms.now, &self.terms.bounds) {
            outbox::Delivery::Queued { dropped } => {
                self.queued += 1;
                self.dropped += u64::from(dropped);
                self.deliveries += messages;
                self.dues_before.add(before);
                self.dues_after.add(outbox.dues());
                self.dropped_pushes.append(&mut outbox.take_settled());
            }
            outbox::Delivery::TooSlow => {
                self.missed_slow += messages;
                self.slow.push(token);
            }
        }
    }

    /// What it takes of a turn's share, in sends of usual size.
    pub fn cost(&self) -> usize {
        self.sends.len().max(self.bytes as usize / (SLICE_BYTES_MAX / SLICE_SENDS))
    }

    /// The bytes of a send as an outbox holds them, for a connection of this format that has not taken all of them.
    pub fn owed(&self, format: FormatId, send: &Send<'_>) -> (Piece, Cargo) {
        let messages = self.round.messages_in(format, send.bytes);
        let cargo = Cargo { topic: self.topic, messages, push: self.round.push };
        (self.round.keep(format, send.bytes, self.terms.keeper), cargo)
    }

    /// Its sends are made. Returns what [`Walk::end`] accounts for, who is too slow and to be closed, and pushes that left
    /// an outbox to make room.
    pub fn end(self, shortfall: Shortfall) -> (Tally, Vec<Token>, Vec<(PushSlot, bool)>) {
        let Self { sends, queued, slow, closed, dropped_pushes, .. } = self;
        let (sends, too_slow) = (sends.len() as u64, slow.len() as u64);
        (Tally { sends, queued, slow: too_slow, closed, shortfall }, slow, dropped_pushes)
    }
}

impl Delivery {
    /// Begins a turn's share of the walks.
    pub fn begin_turn(&self) -> Turn {
        self.agenda.begin_turn()
    }

    /// The line that a turn serves next. After it has been [walked](Delivery::walk) it [goes on](Delivery::go_on).
    pub fn next_place(&mut self, turn: &mut Turn) -> Option<Place> {
        self.agenda.next(turn)
    }

    /// Begins a slice of the first round of a line that can go on, in the formats that somebody speaks. `None`: no round
    /// can, and the line has left the agenda.
    pub fn walk(&mut self, place: Place, spoken: [bool; FormatId::COUNT]) -> Option<Walk<'_>> {
        let Taken { number, limit, mut round } = self.next_round(place)?;
        let before = round.allocated_bytes();
        for format in FormatId::ALL {
            if spoken[format.index()] {
                round.encode(format);
            }
        }
        self.recount(place, before, &round);
        let fits = (SLICE_BYTES_MAX / round.frame_bytes().max(1)).clamp(1, SLICE_SENDS);
        let allowance = round.push.map_or(fits, |slot| self.pushes.credit(slot).min(fits));
        let cursor = round.cursor;
        Some(Walk { delivery: self, place, number, limit, round, cursor, allowance })
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
}

impl Walk<'_> {
    /// Goes on until enough members were served or looked at. `slow` is an empty buffer, which [`Slice::end`] gives back.
    pub fn gather<'w>(&'w mut self, table: &mut Table, terms: Terms<'w>, slow: Vec<Token>) -> Slice<'w> {
        let Self { delivery, place, limit, round, cursor, allowance, .. } = self;
        let (id, round, allowance) = (place.topic, &**round, *allowance);
        let mut slice = Slice::new(round, id, terms, slow);
        let stop = cursor.saturating_sub(VISITS_PER_SLICE).max(*limit);
        if let Some(targets) = &round.targets {
            while *cursor > stop && slice.served() < allowance {
                *cursor -= 1;
                let token = targets[*cursor];
                let member =
                    table.get(token).filter(|connection| id == ALL || connection.subscriptions.contains(id));
                let part = member.as_ref().and_then(|member| round.part(member.format, Offset(0)));
                match (member, part) {
                    (Some(member), Some(part)) => slice.offer(token, member, &part),
                    _ => slice.closed += 1,
                }
            }
        } else if let Some(entry) = delivery.members.entry(id) {
            while *cursor > stop && slice.served() < allowance {
                *cursor -= 1;
                let member = &mut entry.members[*cursor];
                let Some((token, connection)) = table.at(member.connection) else { continue };
                let Some(part) = round.part(connection.format, member.delivered) else { continue };
                member.delivered = round.end;
                slice.offer(token, connection, &part);
            }
        }
        slice
    }

    /// Accounts for the slice, and puts the round back or ends it. Who departs because of it does so now; then the line
    /// [goes on](Delivery::go_on). Returns whom its push has reached, if it is one.
    pub fn end(self, tally: &Tally, now: Tick) -> Option<Sent> {
        let Walk { delivery, place, number, mut round, cursor, .. } = self;
        round.cursor = cursor;
        let sent = round.push.map(|slot| delivery.account(slot, &mut round, tally));
        let Some(entry) = delivery.members.entry(place.topic) else { unreachable!("nobody left meanwhile") };
        entry.active = now;
        debug_assert!(!entry.members.is_empty(), "nobody left meanwhile");
        debug_assert!(cursor > 0 || round.unserved == 0, "a walk that is over has met everybody");
        let Some(line) = entry.line(place.lane) else { unreachable!("its line is there") };
        let is_served = round.push.is_some() && round.unserved == 0;
        if cursor == 0 || is_served {
            line.let_go(number);
            delivery.end_round(place, &round, Failed::Closed);
        } else {
            line.put_back(number, round);
        }
        sent
    }
}

impl Delivery {
    /// Accounts for a slice of a push.
    fn account(&mut self, slot: PushSlot, round: &mut Round, tally: &Tally) -> Sent {
        let Tally { sends, queued, slow, closed, shortfall: Shortfall { unsent, gone } } = *tally;
        round.unserved -= (sends + queued + slow + closed) as u32;
        self.pushes.spend(slot, (sends + queued + slow) as usize);
        let devices = sends - unsent - gone;
        let after_us = self.pushes.sent(slot, devices);
        self.pushes.failed(slot, Failed::Closed, closed + gone);
        self.pushes.failed(slot, Failed::Slow, slow);
        Sent { devices, after_us }
    }
}

#[cfg(test)]
mod tests;
