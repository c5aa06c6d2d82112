//! How far the walks over all connections came that take several turns: the sweep and the drain.
//!
//! *Not here*: what they do to a connection (`sweep`).

use std::time::Duration;

use fanfare_core::limits::{DRAIN_TAIL, TICK};
use fanfare_core::model::Tick;

/// How far the sweep came.
#[derive(Debug, Default)]
pub struct Sweep {
    pub(super) cursor: u32,
    /// Places that are due.
    pub(super) due: u32,
}

impl Sweep {
    /// Whether places are due.
    pub fn is_under_way(&self) -> bool {
        self.due > 0
    }
}

/// A drain: closes are spread over its ticks, which are those of the steady clock.
#[derive(Debug)]
pub struct Drain {
    pub(super) last: Tick,
    pub(super) over: Tick,
    /// The end was put off once for a pause of the shard's own.
    pub(super) was_put_off: bool,
    pub(super) cursor: u32,
    /// Connections still to close, once closing has begun.
    pub(super) left: Option<usize>,
}

impl Drain {
    /// Begins now and spreads closes over the duration.
    pub fn new(now: Tick, duration: Duration) -> Self {
        let last = Tick(now.0 + ticks(duration));
        let over = Tick(last.0 + ticks(DRAIN_TAIL));
        Self { last, over, was_put_off: false, cursor: 0, left: None }
    }

    /// The shard goes on after a pause. If that took up the rest of the drain, clients get the time to answer their Close
    /// once more, and no second time.
    pub fn resume(&mut self, now: Tick) {
        if now > self.last && !std::mem::replace(&mut self.was_put_off, true) {
            self.over = self.over.max(Tick(now.0 + ticks(DRAIN_TAIL)));
        }
    }

    /// Whether closing has gone past this place in the table: who takes it now would be overlooked.
    pub fn has_passed(&self, index: u32) -> bool {
        index < self.cursor
    }

    /// Whether even the clients that did not answer have had their time.
    pub fn is_over(&self, now: Tick) -> bool {
        now > self.over
    }
}

pub(super) fn ticks(duration: Duration) -> u32 {
    (duration.as_millis() / TICK.as_millis()) as u32
}
