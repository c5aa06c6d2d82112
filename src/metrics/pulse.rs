//! How a thread shows that it works: what it has done, and how often it has waited.
//!
//! A thread is stuck when neither moves: one that is blocked does nothing at all, one that spins turns without working
//! and never waits. *Not here*: who judges it (`supervision::watchdog`).

use super::{ControlBlock, EventsBlock, IngestBlock, ShardBlock, Value, total};

/// What a thread has counted of its own loop so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pulse {
    /// Iterations of the loop.
    pub turns: u64,
    /// Units of work done.
    pub progress: u64,
    /// Turns that ended in a wait for something outside the thread.
    pub waits: u64,
}

/// A thread that must never stop working, beside the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Working {
    /// The ingest core.
    Ingest,
    /// The control thread.
    Control,
    /// The events thread.
    Events,
}

impl Working {
    /// All of them, in the order of their gauges.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Control, Self::Events];

    /// Label in `thread_stalled{thread}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Control => "control",
            Self::Events => "events",
        }
    }
}

impl ShardBlock {
    /// What the shard's loop has counted. Its work is what its other counters say was taken, sent, delivered, refused or
    /// ended; a report of the kernel that leads to none of these is no work, and costs the loop nothing to tell apart.
    pub fn pulse(&self) -> Pulse {
        let single = [
            &self.accepted,
            &self.upgraded,
            &self.downlinks,
            &self.deliveries,
            &self.sends,
            &self.sends_failed,
            &self.bytes_in,
            &self.pings_sent,
        ];
        let single = single.into_iter().map(Value::get).fold(0, u64::wrapping_add);
        let progress =
            [&self.handshakes_failed[..], &self.closed, &self.deliveries_failed, &self.outbox_dropped]
                .into_iter()
                .map(total)
                .fold(single, u64::wrapping_add);
        Pulse { turns: self.turns.get(), progress, waits: self.waits.get() }
    }
}

impl IngestBlock {
    /// What the ingest loop has counted.
    pub fn pulse(&self) -> Pulse {
        Pulse { turns: self.turns.get(), progress: self.progress.get(), waits: self.waits.get() }
    }
}

impl ControlBlock {
    /// What the control thread has counted. Its tasks are many; that its timers fire is what shows that none of them
    /// keeps the thread to itself.
    pub fn pulse(&self) -> Pulse {
        Pulse { turns: self.turns.get(), progress: 0, waits: self.waits.get() }
    }
}

impl EventsBlock {
    /// What the events thread has counted.
    pub fn pulse(&self) -> Pulse {
        Pulse { turns: self.turns.get(), progress: self.progress.get(), waits: self.waits.get() }
    }
}
