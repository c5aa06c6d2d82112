//! How a thread shows that it works: what it has done, and how often it has waited.
//!
//! A thread is stuck when neither moves: one that is blocked does nothing at all, one that spins turns without working
//! and never waits. *Not here*: who judges it (`supervision::watchdog`).

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
