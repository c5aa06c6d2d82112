//! What one receiver has not taken yet: events in order, within a bound, and in batches. Pure.
//!
//! ```text
//!  offer ─► waiting ── a batch is due ──► in flight ──┬─ taken ───► gone
//!     │        ▲                                      ├─ failed ──► waiting again, in front
//!     └ full: lost                                    └─ refused ─► lost
//! ```
//!
//! What is lost leaves a mark in its place, with how many there were and the last one's number: the receiver gets every
//! number once or more, as an event or within a mark. *Not here*: who delivers (`stream`, `webhook`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::json;

/// Bounds of a queue, and when its batches leave.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Events of a batch.
    pub batch_events_max: usize,
    /// Bytes of a batch; a larger event is a batch of its own.
    pub batch_bytes_max: usize,
    /// Age of the oldest event at which a batch leaves.
    pub delay: Duration,
    /// Bytes of everything that was not taken.
    pub queue_bytes_max: usize,
}

/// What to deliver. Delivered again after a failure it may have grown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Events and marks, encoded, in order.
    pub events: Vec<Bytes>,
    /// How many of them are events.
    pub count: usize,
}

/// One place of the queue.
enum Piece {
    Event {
        seq: u64,
        text: Bytes,
        since: Instant,
    },
    /// `count` events up to number `seq`.
    Lost {
        seq: u64,
        count: u64,
        since: Instant,
    },
}

/// The queue of one receiver.
pub struct SinkQueue {
    gateway: Arc<str>,
    bounds: Bounds,
    pieces: VecDeque<Piece>,
    /// Pieces in front that somebody delivers now.
    in_flight: usize,
    events: usize,
    bytes: usize,
    is_closed: bool,
}

impl SinkQueue {
    /// An empty one.
    pub fn new(gateway: Arc<str>, bounds: Bounds) -> Self {
        Self { gateway, bounds, pieces: VecDeque::new(), in_flight: 0, events: 0, bytes: 0, is_closed: false }
    }

    /// Events that were not taken yet.
    pub fn events(&self) -> usize {
        self.events
    }

    /// Their bytes; never above the bound.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is nothing to deliver.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Takes an event with a number higher than all before; `false`: there is no room, and it is lost.
    pub fn offer(&mut self, seq: u64, text: &Bytes, now: Instant) -> bool {
        if self.bytes + text.len() > self.bounds.queue_bytes_max {
            self.lose(seq, 1, now);
            return false;
        }
        self.bytes += text.len();
        self.events += 1;
        self.pieces.push_back(Piece::Event { seq, text: text.clone(), since: now });
        true
    }

    /// Notes that `count` events up to number `seq` were lost. Marks beside each other become one, so that there are
    /// never more of them than events.
    pub fn lose(&mut self, seq: u64, count: u64, now: Instant) {
        if self.pieces.len() > self.in_flight
            && let Some(Piece::Lost { seq: last, count: lost, .. }) = self.pieces.back_mut()
        {
            (*last, *lost) = (seq, *lost + count);
        } else {
            self.pieces.push_back(Piece::Lost { seq, count, since: now });
        }
    }

    /// Nothing more will be offered: what waits is due.
    pub fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// The next batch, if one is due and none is in flight. It stays until [`Self::taken`] or [`Self::refused`].
    pub fn batch(&mut self, now: Instant) -> Option<Batch> {
        if self.in_flight > 0 {
            return None;
        }
        let mut batch = Batch { events: Vec::new(), count: 0 };
        let mut bytes = 0;
        let mut is_full = false;
        for piece in &self.pieces {
            let text = match piece {
                Piece::Event { text, .. } => text.clone(),
                Piece::Lost { seq, count, .. } => json::lost(&self.gateway, *seq, *count),
            };
            is_full = !batch.events.is_empty() && bytes + text.len() > self.bounds.batch_bytes_max;
            if is_full {
                break;
            }
            bytes += text.len();
            batch.count += usize::from(matches!(piece, Piece::Event { .. }));
            batch.events.push(text);
            is_full =
                batch.events.len() == self.bounds.batch_events_max || bytes >= self.bounds.batch_bytes_max;
            if is_full {
                break;
            }
        }
        let (Piece::Event { since, .. } | Piece::Lost { since, .. }) = self.pieces.front()?;
        let is_due = is_full || self.is_closed || now.saturating_duration_since(*since) >= self.bounds.delay;
        if !is_due {
            return None;
        }
        self.in_flight = batch.events.len();
        Some(batch)
    }

    /// The batch in flight is where it belongs.
    pub fn taken(&mut self) {
        for _ in 0..std::mem::take(&mut self.in_flight) {
            self.pop();
        }
    }

    /// The batch in flight, or a part of it, may or may not have arrived: it waits again.
    pub fn failed(&mut self) {
        self.in_flight = 0;
    }

    /// The batch in flight will never be taken: a mark takes its place. How many events are lost by that.
    pub fn refused(&mut self, now: Instant) -> u64 {
        let (mut events, mut count, mut last_seq) = (0, 0, 0);
        for _ in 0..std::mem::take(&mut self.in_flight) {
            match self.pop() {
                Some(Piece::Event { seq, .. }) => (events, count, last_seq) = (events + 1, count + 1, seq),
                Some(Piece::Lost { seq, count: more, .. }) => (count, last_seq) = (count + more, seq),
                None => {}
            }
        }
        if let Some(Piece::Lost { count: lost, .. }) = self.pieces.front_mut() {
            *lost += count;
        } else if count > 0 {
            self.pieces.push_front(Piece::Lost { seq: last_seq, count, since: now });
        }
        events
    }

    fn pop(&mut self) -> Option<Piece> {
        let piece = self.pieces.pop_front()?;
        if let Piece::Event { text, .. } = &piece {
            self.bytes -= text.len();
            self.events -= 1;
        }
        if self.pieces.is_empty() {
            // What an outage made of the queue is not needed for long.
            self.pieces = VecDeque::new();
        }
        Some(piece)
    }
}

#[cfg(test)]
mod tests;
