//! Shards that accept from one socket: whoever has well more devices than the others leaves the door to them for a moment.
//!
//! The kernel wakes one of those that wait, and a shard that is awake anyway is at the door before one that sleeps, or
//! whose core is somebody else's just now: left alone, one of two shards gets four fifths of a fleet that comes one by
//! one. Shards read each other's counters here, and nothing waits for an answer. *Not here*: accepting (`accept`).

use super::neighbours::Seen;
use super::state::Shard;
use crate::dataplane::Plane;
use fanfare_core::limits::{DOOR_AHEAD, DOOR_AHEAD_IN_CROWD, DOOR_CROWD, DOOR_FULL, DOOR_LOOK, DOOR_PAUSE};

/// The most devices with which nobody is ahead of this average.
fn most(average: u64, (part, least): (u64, u64)) -> u64 {
    average + average / part + least
}

impl<P: Plane> Shard<P> {
    /// Tells that these shards accept from the same socket.
    pub fn share_door(&mut self, neighbours: Vec<usize>) {
        self.neighbours.numbers = neighbours;
    }

    /// Whether others accept from the same socket.
    pub(super) fn shares_door(&self) -> bool {
        !self.neighbours.numbers.is_empty()
    }

    /// Whether another shard of the same socket can accept.
    pub(super) fn do_others_accept(&self) -> bool {
        let mut others = self.neighbours.numbers.iter().map(|number| &self.blocks.shards[*number]);
        others.any(|other| other.accept_blocked.get() == 0)
    }

    /// Leaves the door to those who wait there and have fewer devices; `false`: there is no reason to, or they do not come.
    pub(super) fn leave_door(&mut self) -> bool {
        if self.neighbours.look_in > 0 {
            self.neighbours.look_in -= 1;
            return false;
        }
        let blocks = self.neighbours.numbers.iter().map(|number| &self.blocks.shards[*number]);
        let seen = blocks.fold(Seen::default(), Seen::with);
        // Nobody else is there.
        let Some(average) = seen.devices.checked_div(seen.at_door) else { return false };
        let own = self.block().devices();
        if let Some(left) = most(average, DOOR_AHEAD).checked_sub(own) {
            self.neighbours.look_in = left.min(DOOR_LOOK);
            return false;
        }
        let do_come = self.neighbours.accepted_before != Some(seen.accepted);
        let leaves = match self.plane.waiting() {
            0 => true,
            1..DOOR_CROWD => do_come,
            DOOR_CROWD..DOOR_FULL => do_come && own > most(average, DOOR_AHEAD_IN_CROWD),
            DOOR_FULL.. => false,
        };
        if leaves {
            self.neighbours.pause_until_us = Some(self.now_us + DOOR_PAUSE.as_micros() as u64);
            self.neighbours.accepted_before = Some(seen.accepted);
        }
        leaves
    }

    /// Whether a pause is over; says so once.
    pub(super) fn may_return_to_door(&mut self) -> bool {
        self.neighbours.pause_until_us.take_if(|until| *until <= self.now_us).is_some()
    }

    /// The pause is over, whatever the clock says.
    pub(super) fn end_pause(&mut self) {
        self.neighbours.pause_until_us = None;
    }

    /// Microseconds until it is; `None`: there is none.
    pub(super) fn door_in_us(&self) -> Option<u64> {
        self.neighbours.pause_until_us.map(|until| until.saturating_sub(self.now_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn being_ahead_is_a_part_and_some() {
        assert_eq!((most(0, DOOR_AHEAD), most(3_200, DOOR_AHEAD)), (16, 3_316));
        assert_eq!(most(3_200, DOOR_AHEAD_IN_CROWD), 4_000 + 1_024);
    }
}
