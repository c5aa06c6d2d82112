//! Shards that accept from one socket: whoever has well more devices than the others leaves the door to them for a moment.
//!
//! The kernel wakes one of those that wait, and a shard that is awake anyway is at the door before one that sleeps, or
//! whose core is somebody else's just now: left alone, one of two shards gets four fifths of a fleet that comes one by
//! one. Shards read each other's counters here, and nothing waits for an answer. *Not here*: accepting (`accept`).

use super::Shard;
use crate::dataplane::Plane;
use crate::limits::{DOOR_AHEAD, DOOR_AHEAD_IN_CROWD, DOOR_CROWD, DOOR_PAUSE};
use crate::metrics::{ShardBlock, total};

/// The other shards of this one's socket, and the pause that it leaves the door to them.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Their numbers; none where each shard has a listener of its own.
    numbers: Vec<usize>,
    /// Until when the door is theirs, microseconds of the process's clock.
    pause_until_us: Option<u64>,
}

impl ShardBlock {
    /// Devices that are connected or about to be.
    fn devices(&self) -> u64 {
        total(&self.connections) + self.handshakes.get()
    }
}

/// What these have on average; `None`: there are none.
fn average(devices: impl Iterator<Item = u64>) -> Option<u64> {
    let (count, sum) = devices.fold((0, 0), |(count, sum), devices| (count + 1, sum + devices));
    (count > 0).then(|| sum / count)
}

/// Whether so many devices are well more than an average.
fn is_ahead(own: u64, average: u64, (part, least): (u64, u64)) -> bool {
    own > average + average / part + least
}

impl<P: Plane> Shard<P> {
    /// Tells that these shards accept from the same socket.
    pub fn share_door(&mut self, neighbours: Vec<usize>) {
        self.neighbours.numbers = neighbours;
    }

    /// Leaves the door to those who wait there and have fewer devices; `false`: there is no reason to.
    pub(super) fn leave_door(&mut self) -> bool {
        let blocks = self.neighbours.numbers.iter().map(|number| &self.blocks.shards[*number]);
        // Who does not wait there has its hands full, or leaves the door itself.
        let others = blocks.filter(|block| block.at_door.get() == 1).map(ShardBlock::devices);
        let Some(average) = average(others) else { return false };
        let own = self.block().devices();
        let leaves = is_ahead(own, average, DOOR_AHEAD)
            && (self.plane.waiting() < DOOR_CROWD || is_ahead(own, average, DOOR_AHEAD_IN_CROWD));
        if leaves {
            self.neighbours.pause_until_us = Some(self.now_us + DOOR_PAUSE.as_micros() as u64);
        }
        leaves
    }

    /// Whether the pause is over; says so once.
    pub(super) fn may_return_to_door(&mut self) -> bool {
        self.neighbours.pause_until_us.take_if(|until| *until <= self.now_us).is_some()
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
    fn a_shard_is_ahead_of_the_average_by_a_part_and_some() {
        assert!(!is_ahead(16, 0, DOOR_AHEAD) && is_ahead(17, 0, DOOR_AHEAD));
        assert!(!is_ahead(3_300 + 16, 3_200, DOOR_AHEAD) && is_ahead(3_300 + 17, 3_200, DOOR_AHEAD));
        assert!(!is_ahead(4_000 + 1_024, 3_200, DOOR_AHEAD_IN_CROWD));
        assert_eq!((average([1_000, 1].into_iter()), average([].into_iter())), (Some(500), None));
    }
}
