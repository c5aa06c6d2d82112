//! What a slow connection still owes its client: batches by reference, control frames by value.
//!
//! Exists only while something is owed. An item is one or more complete frames; once a byte of an item was sent, the
//! rest of that frame has to follow before anything else. *Not here*: when to send (`shard`), what to do with a
//! connection that is too slow (its owner decides on [`Delivery`]).

use std::collections::VecDeque;

use bytes::Bytes;

use super::Tick;
use super::subscriptions::TopicId;
use crate::config::{Outbox as Bounds, OutboxPolicy};
use crate::push::PushSlot;
use crate::wire::frame;

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

/// Frames that were not sent yet.
#[derive(Debug)]
struct Item {
    bytes: Bytes,
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

/// The queue of one slow connection.
#[derive(Debug)]
pub struct Outbox {
    items: VecDeque<Item>,
    /// Bytes of the first item that were sent already.
    sent: usize,
    /// Bytes that are owed.
    bytes: usize,
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
            began: now,
            awaits_room: false,
            settled: Vec::new(),
        }
    }

    /// Bytes that are owed.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// How long the oldest item has waited.
    pub fn age(&self, now: Tick) -> u32 {
        now.since(self.items.front().map_or(self.began, |item| item.since))
    }

    /// Pushes that left it since the last call, and whether by being sent. Whoever called one of the other functions
    /// calls this.
    pub fn take_settled(&mut self) -> Vec<(PushSlot, bool)> {
        std::mem::take(&mut self.settled)
    }

    fn append(&mut self, bytes: Bytes, cargo: Option<Cargo>, now: Tick) {
        self.bytes += bytes.len();
        self.items.push_back(Item { bytes, since: now, cargo, is_rest: false, completes: None });
    }

    /// Appends the rest of a batch whose first `sent` bytes the kernel has taken.
    pub fn push_rest(&mut self, frames: Bytes, sent: usize, cargo: Cargo, now: Tick) {
        debug_assert!(self.items.is_empty(), "a short send means that nothing was owed before it");
        self.append(frames, Some(cargo), now);
        self.advance(sent);
    }

    /// Appends frames that no policy drops. Their bytes count against the bound: see [`Outbox::is_over`].
    pub fn push_control(&mut self, frames: Bytes, now: Tick) {
        self.append(frames, None, now);
    }

    /// Appends control frames, and a batch behind them if there is one, of which together the kernel has taken the first
    /// `sent` bytes.
    pub fn push_control_rest(
        &mut self,
        frames: Bytes,
        batch: Option<(Bytes, Cargo)>,
        sent: usize,
        now: Tick,
    ) {
        debug_assert!(self.items.is_empty(), "a short send means that nothing was owed before it");
        self.append(frames, None, now);
        if let Some((batch, cargo)) = batch {
            self.append(batch, Some(cargo), now);
        }
        self.advance(sent);
    }

    /// Appends bytes that belong together: nothing may come between them, and giving up keeps all of them.
    pub fn push_whole(&mut self, bytes: Bytes, now: Tick) {
        self.bytes += bytes.len();
        self.items.push_back(Item { bytes, since: now, cargo: None, is_rest: true, completes: None });
    }

    /// Whether more is owed than the bound allows, control frames included.
    pub fn is_over(&self, bounds: &Bounds) -> bool {
        self.bytes > bounds.bytes_max
    }

    /// Appends a batch, as the policy says.
    pub fn push_batch(&mut self, frames: &Bytes, cargo: Cargo, now: Tick, bounds: &Bounds) -> Delivery {
        let mut dropped = 0;
        if bounds.policy == OutboxPolicy::LatestOnly {
            dropped +=
                self.drop_where(|item| item.cargo.is_some_and(|old| old.topic == cargo.topic), usize::MAX);
        }
        let excess = (self.bytes + frames.len()).saturating_sub(bounds.bytes_max);
        if excess > 0 {
            if bounds.policy == OutboxPolicy::Close {
                return Delivery::TooSlow;
            }
            dropped += self.drop_where(|item| item.cargo.is_some(), excess);
            if self.bytes + frames.len() > bounds.bytes_max {
                self.settled.extend(cargo.push.map(|push| (push, false)));
                return Delivery::Queued { dropped: dropped + cargo.messages };
            }
        }
        self.append(frames.clone(), Some(cargo), now);
        Delivery::Queued { dropped }
    }

    /// Drops batches of which no byte was sent and that waited for `age` ticks; returns how many messages they held.
    pub fn drop_older(&mut self, now: Tick, age: u32) -> u32 {
        self.drop_where(|item| item.cargo.is_some() && now.since(item.since) >= age, usize::MAX)
    }

    /// Drops matching items, oldest first, until `enough` bytes are gone. The first item is spared once it has begun.
    fn drop_where(&mut self, matches: impl Fn(&Item) -> bool, enough: usize) -> u32 {
        let begun = usize::from(self.sent > 0);
        let (mut index, mut freed, mut messages) = (0, 0, 0);
        let settled = &mut self.settled;
        self.items.retain(|item| {
            let spared = index < begun || freed >= enough || !matches(item);
            index += 1;
            if !spared {
                freed += item.bytes.len();
                messages += item.cargo.map_or(0, |cargo| cargo.messages);
                settled.extend(item.push().map(|push| (push, false)));
            }
            spared
        });
        self.bytes -= freed;
        messages
    }

    /// What to send next.
    pub fn front(&self) -> Option<&[u8]> {
        self.items.front().map(|item| &item.bytes[self.sent..])
    }

    /// The kernel took so many bytes of [`Outbox::front`].
    pub fn advance(&mut self, taken: usize) {
        self.bytes -= taken;
        self.sent += taken;
        while self.items.front().is_some_and(|item| self.sent >= item.bytes.len()) {
            if let Some(done) = self.items.pop_front() {
                self.sent -= done.bytes.len();
                self.began = done.since;
                self.settled.extend(done.push().map(|push| (push, true)));
            }
        }
    }

    /// Gives up everything but the rest of the frame that has begun; returns how many messages of untouched or
    /// unfinished batches that were. The batch's shared buffer is let go: the rest is copied. A push whose last frame
    /// has begun is not settled yet: its device has all of it once the rest is sent.
    pub fn abandon(&mut self) -> u32 {
        let rest = self.items.front().map_or(0, |item| {
            if item.is_rest { item.bytes.len() - self.sent } else { rest_of_frame(&item.bytes, self.sent) }
        });
        let messages = self.items.iter().filter_map(|item| item.cargo).map(|cargo| cargo.messages).sum();
        let kept = self.items.front().filter(|_| rest > 0).map(|item| Item {
            bytes: Bytes::copy_from_slice(&item.bytes[self.sent..self.sent + rest]),
            since: item.since,
            cargo: None,
            is_rest: true,
            completes: item.push().filter(|_| self.sent + rest == item.bytes.len()),
        });
        let unsettled = usize::from(kept.as_ref().is_some_and(|item| item.completes.is_some()));
        let pushes = self.items.iter().skip(unsettled).filter_map(Item::push);
        self.settled.extend(pushes.map(|push| (push, false)));
        self.items = kept.into_iter().collect();
        self.sent = 0;
        self.bytes = rest;
        messages
    }

    /// Gives up everything, because nothing can be sent any more; returns how many messages that were.
    pub fn give_up(&mut self) -> u32 {
        let messages = self.abandon();
        self.settled.extend(self.items.drain(..).filter_map(|item| item.push()).map(|push| (push, false)));
        self.bytes = 0;
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
mod tests {
    use super::*;
    use std::time::Duration;

    const TOPIC: TopicId = TopicId(1);
    const OTHER: TopicId = TopicId(2);

    fn cargo(topic: TopicId, messages: u32) -> Cargo {
        Cargo { topic, messages, push: None }
    }

    fn bounds(bytes_max: usize, policy: OutboxPolicy) -> Bounds {
        Bounds { bytes_max, age_max: Duration::from_secs(30), policy }
    }

    fn frames(count: usize, payload: usize) -> Bytes {
        let mut out = Vec::new();
        for _ in 0..count {
            frame::push_frame(&mut out, frame::Opcode::Text, &vec![b'x'; payload]);
        }
        out.into()
    }

    #[test]
    fn the_bound_closes_by_default() {
        let mut outbox = Outbox::new(Tick(0));
        let bounds = bounds(30, OutboxPolicy::Close);
        assert_eq!(
            outbox.push_batch(&frames(1, 10), cargo(TOPIC, 1), Tick(0), &bounds),
            Delivery::Queued { dropped: 0 }
        );
        assert_eq!(
            outbox.push_batch(&frames(1, 10), cargo(TOPIC, 1), Tick(0), &bounds),
            Delivery::Queued { dropped: 0 }
        );
        assert_eq!(outbox.push_batch(&frames(1, 10), cargo(TOPIC, 1), Tick(0), &bounds), Delivery::TooSlow);
        assert_eq!(outbox.bytes(), 24);
    }

    #[test]
    fn an_answer_and_the_batch_behind_it_are_owed_from_where_the_kernel_stopped() {
        let whole = frames(1, 1).len() + frames(2, 10).len();
        for sent in 0..whole {
            let mut outbox = Outbox::new(Tick(0));
            outbox.push_control_rest(frames(1, 1), Some((frames(2, 10), cargo(TOPIC, 2))), sent, Tick(0));
            assert_eq!(outbox.bytes(), whole - sent);
            let has_begun = sent > frames(1, 1).len();
            assert_eq!(outbox.drop_older(Tick(9), 9), if has_begun { 0 } else { 2 }, "{sent} bytes sent");
        }
    }

    #[test]
    fn dropping_the_oldest_spares_a_frame_that_has_begun_and_control_frames() {
        let mut outbox = Outbox::new(Tick(0));
        let bounds = bounds(40, OutboxPolicy::DropOldest);
        outbox.push_rest(frames(1, 10), 5, cargo(TOPIC, 1), Tick(0));
        outbox.push_control(frames(1, 1), Tick(0));
        for _ in 0..2 {
            assert_eq!(
                outbox.push_batch(&frames(1, 10), cargo(OTHER, 1), Tick(0), &bounds),
                Delivery::Queued { dropped: 0 }
            );
        }
        assert_eq!(outbox.bytes(), 7 + 3 + 12 + 12);
        assert_eq!(
            outbox.push_batch(&frames(1, 10), cargo(TOPIC, 1), Tick(0), &bounds),
            Delivery::Queued { dropped: 1 }
        );
        assert_eq!(outbox.bytes(), 7 + 3 + 12 + 12);
        assert_eq!(
            outbox.push_batch(&frames(1, 100), cargo(TOPIC, 7), Tick(0), &bounds),
            Delivery::Queued { dropped: 2 + 7 },
            "what cannot fit at all is dropped itself"
        );
    }

    #[test]
    fn latest_only_keeps_one_batch_of_each_topic() {
        let mut outbox = Outbox::new(Tick(0));
        let bounds = bounds(1000, OutboxPolicy::LatestOnly);
        outbox.push_rest(frames(1, 10), 5, cargo(TOPIC, 1), Tick(0));
        for topic in [TOPIC, OTHER, TOPIC, OTHER, TOPIC] {
            let _ = outbox.push_batch(&frames(1, 10), cargo(topic, 1), Tick(0), &bounds);
        }
        assert_eq!(outbox.bytes(), 7 + 12 + 12);
    }

    #[test]
    fn abandoning_keeps_the_rest_of_the_frame_that_has_begun() {
        for (sent, rest) in [(0, 0), (1, 11), (11, 1), (12, 0), (13, 11), (24, 0)] {
            let mut outbox = Outbox::new(Tick(0));
            outbox.push_rest(frames(3, 10), sent, cargo(TOPIC, 3), Tick(0));
            outbox.push_control(frames(1, 1), Tick(0));
            assert_eq!(outbox.abandon(), 3);
            assert_eq!(outbox.bytes(), rest, "after {sent} bytes");
            assert_eq!(outbox.front().map_or(0, <[u8]>::len), rest);
        }
    }

    #[test]
    fn a_push_leaves_once_sent_or_not() {
        let mut outbox = Outbox::new(Tick(0));
        let bounds = bounds(40, OutboxPolicy::DropOldest);
        let push = |slot| Cargo { push: Some(PushSlot(slot)), ..cargo(TOPIC, 1) };
        outbox.push_rest(frames(1, 10), 5, push(0), Tick(0));
        for slot in 1..=2 {
            let _ = outbox.push_batch(&frames(1, 10), push(slot), Tick(0), &bounds);
        }
        let _ = outbox.push_batch(&frames(1, 10), push(3), Tick(0), &bounds);
        assert_eq!(outbox.take_settled(), [(PushSlot(1), false)]);
        let _ = outbox.push_batch(&frames(1, 100), push(4), Tick(0), &bounds);
        assert_eq!(outbox.take_settled(), [2, 3, 4].map(|slot| (PushSlot(slot), false)));
        outbox.advance(6);
        assert_eq!(outbox.take_settled(), []);
        outbox.advance(1);
        assert_eq!(outbox.take_settled(), [(PushSlot(0), true)]);
        let _ = outbox.push_batch(&frames(1, 10), push(5), Tick(0), &bounds);
        outbox.abandon();
        assert_eq!(outbox.take_settled(), [(PushSlot(5), false)]);
    }

    #[test]
    fn a_push_whose_last_frame_has_begun_is_settled_by_its_rest() {
        let push = |slot| Cargo { push: Some(PushSlot(slot)), ..cargo(TOPIC, 2) };
        for (sent, is_last) in [(11, false), (12, false), (13, true)] {
            let begun = || {
                let mut outbox = Outbox::new(Tick(0));
                outbox.push_rest(frames(2, 10), sent, push(0), Tick(0));
                outbox.abandon();
                outbox
            };
            let mut outbox = begun();
            assert_eq!(outbox.take_settled(), if is_last { vec![] } else { vec![(PushSlot(0), false)] });
            outbox.advance(outbox.bytes());
            assert_eq!(outbox.take_settled(), if is_last { vec![(PushSlot(0), true)] } else { vec![] });
            let mut outbox = begun();
            outbox.give_up();
            assert_eq!(outbox.take_settled(), [(PushSlot(0), false)]);
            assert!(outbox.is_empty() && outbox.bytes() == 0);
        }
    }

    #[test]
    fn advancing_walks_over_item_boundaries() {
        let mut outbox = Outbox::new(Tick(0));
        outbox.push_control(frames(1, 1), Tick(3));
        outbox.push_control(frames(1, 2), Tick(5));
        assert_eq!(outbox.age(Tick(10)), 7);
        outbox.advance(2);
        assert_eq!(outbox.front().map(<[u8]>::len), Some(1));
        outbox.advance(1);
        assert_eq!(outbox.front().map(<[u8]>::len), Some(4));
        assert_eq!(outbox.age(Tick(10)), 5);
        outbox.advance(4);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes(), 0);
    }
}
