//! A round: batches of one topic on their way through its members, and the frames they become.
//!
//! *Not here*: the walk (`walk`), which of several rounds goes next (`line`).

use std::cell::OnceCell;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::shared_buffers::Keeper;
use crate::limits::ROUND_BYTES_MAX;
use crate::model::footprint::{ARC_BYTES, BYTES_SHARED, block};
use crate::model::{Batch, FormatId, Offset};
use crate::protocols;
use crate::push::PushSlot;
use crate::session::Token;
use crate::session::outbox::Piece;

/// Frames of a round in one format.
#[derive(Debug)]
struct Joined {
    bytes: Bytes,
    starts: Box<[Start]>,
    frames: u32,
    messages: u32,
    /// The same bytes as outboxes hold them, once one does.
    kept: OnceCell<Bytes>,
}

/// Where a batch begins in a round: its first offset, and what is before it.
#[derive(Clone, Copy, Debug)]
struct Start {
    first: Offset,
    bytes: u32,
    frames: u32,
    messages: u32,
}

/// One walk over the members: the batches it carries and how far it came.
#[derive(Debug)]
pub struct Round {
    batches: Vec<Arc<Batch>>,
    /// Bytes of their frames, about.
    frame_bytes: usize,
    /// Memory of the batches, and of what was made of them.
    allocated: usize,
    /// The part of that which `joined` is.
    joined_bytes: usize,
    /// The part that encodings are which the batches did not come with.
    added_bytes: [usize; FormatId::COUNT],
    pub(super) end: Offset,
    /// Whom it has not met: places of the member list, or of `targets`, below this.
    pub(super) cursor: usize,
    joined: [Option<Joined>; FormatId::COUNT],
    /// The push that it is; then it has one batch.
    pub(super) push: Option<PushSlot>,
    /// Devices of its push that it has not met and that have not left.
    pub(super) unserved: u32,
    /// Whom it is for, if that is not the member list: who was a member when it came.
    pub(super) targets: Option<Box<[Token]>>,
}

/// Rounds of a push, and a plain one behind each: the structures, and their places in maps.
const PUSH_BYTES: usize = 2 * (block(size_of::<Round>()) + 64);

/// Memory of a batch that waits for its round, or is in one: with its place in a queue that grows by doubling.
pub(super) fn waiting_bytes(batch: &Batch) -> usize {
    batch.allocated_bytes() + ARC_BYTES
}

/// What one member still needs of a round.
pub(super) struct Part<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) messages: u32,
    pub(super) frames: u32,
}

impl Round {
    /// Takes batches while they fit a round; at least one. `waiting` is not empty.
    pub(super) fn take(waiting: &mut VecDeque<Arc<Batch>>, members: usize) -> Self {
        let mut batches = Vec::with_capacity(waiting.len().min(16));
        let mut bytes = 0;
        while let Some(batch) = waiting.front() {
            bytes += batch.frame_bytes();
            if bytes > ROUND_BYTES_MAX && !batches.is_empty() {
                break;
            }
            batches.extend(waiting.pop_front());
        }
        Self::of(batches, members)
    }

    /// A push's round over the member list.
    pub(super) fn of_push(batch: Arc<Batch>, push: PushSlot, members: usize) -> Self {
        let round = Self::of(vec![batch], members);
        let allocated = round.allocated + PUSH_BYTES;
        Self { push: Some(push), unserved: members as u32, allocated, ..round }
    }

    /// A push's round over those who are members now, whatever becomes of the list.
    pub(super) fn of_urgent_push(batch: Arc<Batch>, push: PushSlot, targets: Box<[Token]>) -> Self {
        let count = targets.len();
        let round = Self::of_push(batch, push, count);
        let allocated = round.allocated + block(size_of_val(&targets[..]));
        Self { targets: Some(targets), allocated, ..round }
    }

    fn of(batches: Vec<Arc<Batch>>, members: usize) -> Self {
        Self {
            end: batches.last().map_or(Offset(0), |batch| batch.end()),
            frame_bytes: batches.iter().map(|batch| batch.frame_bytes()).sum(),
            allocated: batches.iter().map(|batch| waiting_bytes(batch)).sum(),
            joined_bytes: 0,
            added_bytes: [0; FormatId::COUNT],
            batches,
            cursor: members,
            joined: [const { None }; FormatId::COUNT],
            push: None,
            unserved: 0,
            targets: None,
        }
    }

    /// Bytes of its frames for one member, about.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// Memory of all its batches, and of what it keeps beside them.
    pub fn allocated_bytes(&self) -> usize {
        self.allocated
    }

    /// Whether it may carry what a later round carries: neither is a push, and together they are within the bound.
    pub(super) fn carries_more(&self, later: &Self) -> bool {
        let bytes = self.frame_bytes + later.frame_bytes;
        self.push.is_none() && later.push.is_none() && bytes <= ROUND_BYTES_MAX
    }

    /// Carries what a later round carried. What both have joined counts until they are joined anew.
    pub(super) fn absorb(&mut self, later: Self) {
        self.batches.extend(later.batches);
        self.frame_bytes += later.frame_bytes;
        self.allocated += later.allocated;
        self.joined_bytes += later.joined_bytes;
        for (added, of_later) in self.added_bytes.iter_mut().zip(later.added_bytes) {
            *added += of_later;
        }
        self.end = later.end;
        self.joined = [const { None }; FormatId::COUNT];
    }

    /// Joins the frames of one format, unless that is done.
    pub(super) fn encode(&mut self, format: FormatId) {
        if self.joined[format.index()].is_some() {
            return;
        }
        if self.joined.iter().all(Option::is_none) {
            self.allocated -= std::mem::take(&mut self.joined_bytes);
        }
        let mut starts = Vec::with_capacity(self.batches.len());
        let (mut at, mut frames, mut messages, mut added) = (0, 0, 0, 0);
        for batch in &self.batches {
            let encoded = protocols::encoded(batch, format);
            added += batch.added_bytes(format);
            starts.push(Start { first: batch.first, bytes: at as u32, frames, messages });
            at += encoded.bytes.len();
            frames += encoded.frames;
            messages += batch.len() as u32;
        }
        let bytes = if let [only] = &self.batches[..] {
            protocols::encoded(only, format).bytes.clone()
        } else {
            let mut joined = BytesMut::with_capacity(at);
            for batch in &self.batches {
                joined.extend_from_slice(&protocols::encoded(batch, format).bytes);
            }
            joined.freeze()
        };
        let copied = if self.batches.len() > 1 { block(at) + BYTES_SHARED } else { 0 };
        let joined_bytes = copied + block(size_of::<Start>() * starts.len());
        self.joined_bytes += joined_bytes;
        self.allocated += joined_bytes + added;
        self.allocated -= std::mem::replace(&mut self.added_bytes[format.index()], added);
        self.joined[format.index()] =
            Some(Joined { bytes, starts: starts.into(), frames, messages, kept: OnceCell::new() });
    }

    /// What a member needs that has everything below `delivered`; `None`: nothing.
    pub(super) fn part(&self, format: FormatId, delivered: Offset) -> Option<Part<'_>> {
        if delivered >= self.end {
            return None;
        }
        let joined = self.joined[format.index()].as_ref()?;
        // Joins happen between batches, so `delivered` is where one of them begins, or lies before all of them.
        let start = match &joined.starts[..] {
            [first, ..] if first.first >= delivered => first,
            starts => starts.get(starts.partition_point(|start| start.first < delivered))?,
        };
        Some(Part {
            bytes: &joined.bytes[start.bytes as usize..],
            messages: joined.messages - start.messages,
            frames: joined.frames - start.frames,
        })
    }

    /// Messages in bytes that [`Round::part`] lent.
    pub(super) fn messages_in(&self, format: FormatId, part: &[u8]) -> u32 {
        self.joined[format.index()].as_ref().map_or(0, |joined| {
            let at = joined.bytes.len() - part.len();
            let start = joined.starts.partition_point(|start| (start.bytes as usize) < at);
            joined.starts.get(start).map_or(0, |start| joined.messages - start.messages)
        })
    }

    /// Bytes that [`Round::part`] lent, for an outbox: a reference, or a copy where that would keep a buffer of more than
    /// twice as many.
    pub(super) fn keep(&self, format: FormatId, part: &[u8], keeper: Keeper<'_>) -> Piece {
        let Some(joined) = self.joined[format.index()].as_ref() else { return Piece::Own(part.to_vec()) };
        if part.len() < joined.bytes.len() / 2 {
            return Piece::Own(part.to_vec());
        }
        Piece::Shared(joined.kept.get_or_init(|| keeper.keep(&joined.bytes)).slice_ref(part))
    }
}
