//! The other shards that accept from this one's socket, and what their counters say.

use crate::metrics::ShardBlock;

/// The other shards of this one's socket, and the pause that it leaves the door to them.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    /// Their numbers; none where each shard has a listener of its own.
    pub(super) numbers: Vec<usize>,
    /// Calls at the door until their counters are read again.
    pub(super) look_in: u64,
    /// Until when the door is theirs, microseconds of the process's clock.
    pub(super) pause_until_us: Option<u64>,
    /// What they had accepted when it was left to them.
    pub(super) accepted_before: Option<u64>,
}

/// What their counters say.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How many wait at the door, or were called and have not answered.
    pub(super) at_door: u64,
    /// The devices of those.
    pub(super) devices: u64,
    /// What all of them have ever accepted.
    pub(super) accepted: u64,
}

impl Seen {
    pub(super) fn with(mut self, block: &ShardBlock) -> Self {
        self.accepted += block.accepted.get();
        if block.at_door.get() == 1 {
            self.at_door += 1;
            self.devices += block.devices();
        }
        self
    }
}
