//! What a slow connection still owes its client: batches by reference, control frames by value.
//!
//! Exists only while something is owed. An item is one or more complete frames; once a byte of an item was sent, the
//! rest of that frame has to follow before anything else. Its bound counts bytes as allocated: what items are, and what
//! they take in the list. *Not here*: when to send (`shard`), what to do with a connection that is too slow (its owner
//! decides on [`Delivery`]), the buffers that outboxes share (`delivery::round`).

use std::collections::VecDeque;

use bytes::Bytes;

use super::bounds::{OutboxBounds as Bounds, OutboxPolicy};
use super::subscriptions::TopicId;
use crate::model::Tick;
use crate::push::PushSlot;
use crate::websocket::frame::{self, Opcode};

/// What became of a batch for a slow connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Delivery {
    /// It waits; so many messages that waited were dropped for it (policies other than close; the batch's own messages
    /// if it alone does not fit).
    Queued {
        /// Messages dropped.
        dropped: u32,
    },
    /// The bound is reached and the policy is to close.
    TooSlow,
}

/// What a round's frames carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cargo {
    /// The topic that they are from.
    pub topic: TopicId,
    /// How many messages they are.
    pub messages: u32,
    /// The push that they are, if they are one.
    pub push: Option<PushSlot>,
}

/// Bytes of an item.
#[derive(Debug)]
pub enum Piece {
    /// Part of a buffer that others hold too. It is not much less than the buffer.
    Shared(Bytes),
    /// Nobody else's.
    Own(Vec<u8>),
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Shared(bytes) => bytes,
            Self::Own(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Some of it: by reference, or a copy where that is short, so that the buffer can go.
    fn part(&self, range: std::ops::Range<usize>) -> Self {
        match self {
            Self::Shared(bytes) if range.len() >= COPIED_BYTES.max(bytes.len() / COPIED_PART) => {
                Self::Shared(bytes.slice(range))
            }
            _ => Self::Own(self.as_slice()[range].to_vec()),
        }
    }

    /// Allocated bytes, shared ones left out.
    fn own_bytes(&self) -> usize {
        match self {
            Self::Shared(_) => 0,
            Self::Own(bytes) => bytes.capacity(),
        }
    }

    /// Bytes that it counts as towards the connection's bound.
    fn held_bytes(&self) -> usize {
        self.len().max(self.own_bytes())
    }
}

/// What an outbox comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dues {
    /// 1 where there is an outbox.
    pub outboxes: usize,
    /// Bytes still to be sent.
    pub owed: usize,
    /// Bytes allocated for it alone: the structure, the list, the items that are nobody else's.
    pub own: usize,
}

impl Dues {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.outboxes += other.outboxes;
        self.owed += other.owed;
        self.own += other.own;
    }
}

/// Frames that were not sent yet.
#[derive(Debug)]
struct Item {
    piece: Piece,
    since: Tick,
    /// What it carries; `None`: a control frame, or the rest of a frame, which no policy drops.
    cargo: Option<Cargo>,
    /// It begins in the middle of a frame and ends with it.
    is_rest: bool,
    /// The push of which it is the last frame's rest: given up, but whole once this is sent.
    completes: Option<PushSlot>,
}

impl Item {
    /// The push that is sent, or not, with it.
    fn push(&self) -> Option<PushSlot> {
        self.completes.or_else(|| self.cargo?.push)
    }
}

/// What an item takes in the list, whose room is up to twice what it needs.
pub const ITEM_BYTES: usize = 2 * size_of::<Item>();
/// Control frames are joined up to so many bytes: a list's entry for each would be most of what they take.
const JOINED_BYTES_MAX: usize = 4096;
/// Less than so many bytes of a shared buffer, or less than an eighth of it, is copied rather than keep it.
const COPIED_BYTES: usize = 16 * 1024;
/// See [`COPIED_BYTES`].
const COPIED_PART: usize = 8;
/// A list with less room than this is not worth shrinking.
const SHRINK_FLOOR: usize = 16;

const _: () = assert!(size_of::<Item>() <= 72);

/// The queue of one slow connection.
#[derive(Debug)]
pub struct Outbox {
    items: VecDeque<Item>,
    /// Bytes of the first item that were sent already.
    sent: usize,
    /// Bytes that are owed.
    bytes: usize,
    /// Bytes of all items that are nobody else's, as allocated.
    own: usize,
    /// Bytes of all items, as they count towards the bound.
    held: usize,
    /// Where the last item's last frame begins, if that is a pong.
    pong: Option<usize>,
    /// When the oldest item came, or progress was last made on an empty one.
    began: Tick,
    /// Whether the socket is watched for room; owned by the shard.
    pub awaits_room: bool,
    /// Pushes that left it, and whether by being sent.
    settled: Vec<(PushSlot, bool)>,
}

impl Outbox {
    /// An outbox that owes nothing yet.
    pub fn new(now: Tick) -> Self {
        Self {
            items: VecDeque::new(),
            sent: 0,
            bytes: 0,
            own: 0,
            held: 0,
            pong: None,
            began: now,
            awaits_room: false,
            settled: Vec::new(),
        }
    }

    /// Bytes that are owed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it comes to.
    pub fn dues(&self) -> Dues {
        let list = self.items.capacity() * size_of::<Item>();
        Dues { outboxes: 1, owed: self.bytes, own: size_of::<Self>() + list + self.own }
    }

    /// Bytes that count towards the bound: items whole, although part of the first may have been sent, and the list.
    pub fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.held + self.items.len() * ITEM_BYTES
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Since when the oldest item has waited.
    pub fn since(&self) -> Tick {
        self.items.front().map_or(self.began, |item| item.since)
    }

    /// Pushes that left it since the last call, and whether by being sent. Whoever called one of the other functions
    /// calls this.
    pub fn take_settled(&mut self) -> Vec<(PushSlot, bool)> {
        std::mem::take(&mut self.settled)
    }

    fn append(&mut self, piece: Piece, cargo: Option<Cargo>, now: Tick) {
        self.append_item(Item { piece, since: now, cargo, is_rest: false, completes: None });
    }

    fn append_item(&mut self, item: Item) {
        self.bytes += item.piece.len();
        self.own += item.piece.own_bytes();
        self.held += item.piece.held_bytes();
        self.pong = None;
        self.items.push_back(item);
    }

    /// An item is no longer in the list.
    fn let_go(&mut self, item: &Item) {
        self.own -= item.piece.own_bytes();
        self.held -= item.piece.held_bytes();
    }

    /// Appends the rest of a batch whose first `sent` bytes the kernel has taken.
    pub fn push_rest(&mut self, frames: Piece, sent: usize, cargo: Cargo, now: Tick) {
        debug_assert!(self.items.is_empty(), "a short send means that nothing was owed before it");
        self.append(frames, Some(cargo), now);
        self.advance(sent);
    }

    /// Appends whole frames that no policy drops. Their bytes count against the bound: see [`Outbox::is_over`]. A pong takes
    /// the place of one right before it that has not begun: RFC 6455 section 5.5.3 wants the latest ping answered.
    pub fn push_control(&mut self, frames: &[u8], now: Tick) {
        let mut rest = frames;
        while let Some(length) = frame::frame_len(rest).filter(|length| *length <= rest.len()) {
            let (frame, after) = rest.split_at(length);
            self.push_control_frame(frame, now);
            rest = after;
        }
        debug_assert!(rest.is_empty(), "control frames are whole");
    }

    fn push_control_frame(&mut self, frame: &[u8], now: Tick) {
        let is_pong = Opcode::from_first_byte(frame[0]) == Some(Opcode::Pong);
        let begun = if self.items.len() == 1 { self.sent } else { 0 };
        let replaced = self.pong.filter(|at| is_pong && *at >= begun);
        let joined = self.items.back_mut().filter(|item| {
            item.cargo.is_none() && !item.is_rest && item.piece.len() + frame.len() <= JOINED_BYTES_MAX
        });
        let Some(Item { piece: Piece::Own(bytes), .. }) = joined else {
            self.append(Piece::Own(frame.to_vec()), None, now);
            self.pong = is_pong.then_some(0);
            return;
        };
        let (len, capacity) = (bytes.len(), bytes.capacity());
        bytes.truncate(replaced.unwrap_or(len));
        let at = bytes.len();
        bytes.extend_from_slice(frame);
        self.bytes = self.bytes + bytes.len() - len;
        let grown = bytes.capacity() - capacity;
        self.own += grown;
        self.held += grown;
        self.pong = is_pong.then_some(at);
    }

    /// Appends control frames, and a batch behind them if there is one, of which together the kernel has taken the first
    /// `sent` bytes.
    pub fn push_control_rest(
        &mut self,
        frames: &[u8],
        batch: Option<(Vec<u8>, Cargo)>,
        sent: usize,
        now: Tick,
    ) {
        debug_assert!(self.items.is_empty(), "a short send means that nothing was owed before it");
        self.append(Piece::Own(frames.to_vec()), None, now);
        if let Some((batch, cargo)) = batch {
            self.append(Piece::Own(batch), Some(cargo), now);
        }
        self.advance(sent);
    }

    /// Appends bytes that belong together: nothing may come between them, and giving up keeps all of them.
    pub fn push_whole(&mut self, bytes: Vec<u8>, now: Tick) {
        let piece = Piece::Own(bytes);
        self.append_item(Item { piece, since: now, cargo: None, is_rest: true, completes: None });
    }

    /// Whether more is owed than the bound allows, control frames included.
    pub fn is_over(&self, bounds: &Bounds) -> bool {
        self.held_bytes() > bounds.bytes_max
    }

    /// Appends a batch, as the policy says.
    pub fn push_batch(&mut self, frames: Piece, cargo: Cargo, now: Tick, bounds: &Bounds) -> Delivery {
        let mut dropped = 0;
        if bounds.policy == OutboxPolicy::LatestOnly {
            dropped +=
                self.drop_where(|item| item.cargo.is_some_and(|old| old.topic == cargo.topic), usize::MAX);
        }
        let more = frames.held_bytes() + ITEM_BYTES;
        let excess = (self.held_bytes() + more).saturating_sub(bounds.bytes_max);
        if excess > 0 {
            if bounds.policy == OutboxPolicy::Close {
                return Delivery::TooSlow;
            }
            dropped += self.drop_where(|item| item.cargo.is_some(), excess);
            if self.held_bytes() + more > bounds.bytes_max {
                self.settled.extend(cargo.push.map(|push| (push, false)));
                return Delivery::Queued { dropped: dropped + cargo.messages };
            }
        }
        self.append(frames, Some(cargo), now);
        Delivery::Queued { dropped }
    }

    /// Drops every batch of which no byte was sent; returns how many messages they held.
    pub fn drop_batches(&mut self) -> u32 {
        self.drop_where(|item| item.cargo.is_some(), usize::MAX)
    }

    /// Drops batches of which no byte was sent and that waited for `age` ticks; returns how many messages they held.
    pub fn drop_older(&mut self, now: Tick, age: u32) -> u32 {
        self.drop_where(|item| item.cargo.is_some() && now.since(item.since) >= age, usize::MAX)
    }

    /// Drops matching items, oldest first, until `enough` bytes are gone. The first item is spared once it has begun.
    fn drop_where(&mut self, matches: impl Fn(&Item) -> bool, enough: usize) -> u32 {
        let begun = usize::from(self.sent > 0);
        let (mut index, mut freed, mut messages) = (0, 0, 0);
        let Self { items, settled, bytes, own, held, .. } = self;
        let count = items.len();
        items.retain(|item| {
            let spared = index < begun || freed >= enough || !matches(item);
            index += 1;
            if !spared {
                freed += item.piece.held_bytes() + ITEM_BYTES;
                *bytes -= item.piece.len();
                *own -= item.piece.own_bytes();
                *held -= item.piece.held_bytes();
                messages += item.cargo.map_or(0, |cargo| cargo.messages);
                settled.extend(item.push().map(|push| (push, false)));
            }
            spared
        });
        if items.len() < count {
            // Which item is the last may be another.
            self.pong = None;
            self.shrink();
        }
        messages
    }

    /// Gives back room of the list that it has not needed for a while.
    fn shrink(&mut self) {
        let capacity = self.items.capacity();
        if capacity > SHRINK_FLOOR && self.items.len() < capacity / 4 {
            self.items.shrink_to(self.items.len() * 2);
        }
    }

    /// What to send next.
    pub fn front(&self) -> Option<&[u8]> {
        self.items.front().map(|item| &item.piece.as_slice()[self.sent..])
    }

    /// The kernel took so many bytes of [`Outbox::front`].
    pub fn advance(&mut self, taken: usize) {
        self.bytes -= taken;
        self.sent += taken;
        while self.items.front().is_some_and(|item| self.sent >= item.piece.len()) {
            if let Some(done) = self.items.pop_front() {
                self.sent -= done.piece.len();
                self.began = done.since;
                self.let_go(&done);
                self.settled.extend(done.push().map(|push| (push, true)));
            }
        }
        if self.items.is_empty() {
            self.pong = None;
        }
        self.shrink();
    }

    /// Gives up everything but the rest of the frame that has begun; returns how many messages of untouched or
    /// unfinished batches that were. A short rest is copied, so that its buffer can go; a long one stays in the buffer, which
    /// others may hold too: copies for all that close at once would take more. A push whose last frame has begun is not
    /// settled yet: its device has all of it once the rest is sent.
    pub fn abandon(&mut self) -> u32 {
        let rest = self.items.front().map_or(0, |item| {
            let bytes = item.piece.as_slice();
            if item.is_rest { bytes.len() - self.sent } else { rest_of_frame(bytes, self.sent) }
        });
        let messages = self.items.iter().filter_map(|item| item.cargo).map(|cargo| cargo.messages).sum();
        let kept = self.items.front().filter(|_| rest > 0).map(|item| Item {
            piece: item.piece.part(self.sent..self.sent + rest),
            since: item.since,
            cargo: None,
            is_rest: true,
            completes: item.push().filter(|_| self.sent + rest == item.piece.len()),
        });
        let unsettled = usize::from(kept.as_ref().is_some_and(|item| item.completes.is_some()));
        let pushes = self.items.iter().skip(unsettled).filter_map(Item::push);
        self.settled.extend(pushes.map(|push| (push, false)));
        self.forget_items();
        if let Some(kept) = kept {
            self.append_item(kept);
        }
        messages
    }

    fn forget_items(&mut self) {
        self.items = VecDeque::new();
        (self.sent, self.bytes, self.own, self.held, self.pong) = (0, 0, 0, 0, None);
    }

    /// Gives up everything, because nothing can be sent any more; returns how many messages that were.
    pub fn give_up(&mut self) -> u32 {
        let messages = self.abandon();
        self.settled.extend(self.items.iter().filter_map(Item::push).map(|push| (push, false)));
        self.forget_items();
        messages
    }
}

/// Bytes from `position` to the end of the frame it lies in; 0 at a boundary.
fn rest_of_frame(frames: &[u8], position: usize) -> usize {
    let mut boundary = 0;
    while boundary < position {
        match frame::frame_len(&frames[boundary..]) {
            Some(length) => boundary += length,
            // Not frames of ours, or the kept rest of one: all of it belongs together.
            None => return frames.len() - position,
        }
    }
    boundary.min(frames.len()) - position
}

#[cfg(test)]
mod tests;
