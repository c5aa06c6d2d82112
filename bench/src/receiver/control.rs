//! What the controller and the threads tell each other while a run lasts.
//!
//! *Not here*: what the threads make of it (`thread`), what they have seen in the end (`outcome`).

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::clock::Clock;
use crate::histogram::Live;
use crate::message::MessageSpec;
use crate::verify::Refusals;

/// What the controller wants of the threads, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Connect, and read what comes.
    Receive,
    /// The window that CPU and lag are measured in begins.
    Measure,
    /// That window ends.
    Measured,
    /// Read the stalled connections too.
    ReadStalled,
    /// Close everything.
    Leave,
}

impl Phase {
    /// All of them, in order.
    pub(super) const ALL: [Self; 5] =
        [Self::Receive, Self::Measure, Self::Measured, Self::ReadStalled, Self::Leave];
}

/// The messages of one round: connections outlive it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    /// The messages; their sequences begin at 0 again.
    pub(crate) spec: MessageSpec,
    /// First sequence that counts in latencies.
    pub(crate) measure_from: u64,
}

/// What the controller tells all threads.
#[derive(Debug)]
pub(super) struct Control {
    pub(super) phase: AtomicU8,
    pub(super) published: AtomicU64,
    /// How many rounds have ended, and what the next one carries.
    pub(super) rounds: AtomicU64,
    pub(super) round: Mutex<Round>,
    /// When the threads began to connect.
    pub(super) began: Instant,
    /// The run's clock.
    pub(super) clock: Clock,
    /// Sequences that the server refused.
    pub(super) refusals: Refusals,
}

impl Control {
    /// The phase that is wanted.
    pub(super) fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Acquire))]
    }

    /// The round that comes next.
    pub(super) fn round(&self) -> Round {
        *self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many messages there are; `None`: not known yet.
    pub(super) fn published(&self) -> Option<u64> {
        let published = self.published.load(Ordering::Acquire);
        (published != u64::MAX).then_some(published)
    }
}

/// What one thread tells the controller.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct Progress {
    pub(super) open: AtomicU64,
    /// Connections that were ever opened, rejoins included.
    pub(super) opened: AtomicU64,
    /// When the last of them was opened: microseconds since the threads began.
    pub(super) opened_at_us: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) messages: AtomicU64,
    pub(super) behind: AtomicU64,
    pub(super) slow_left: AtomicU64,
    pub(super) slow_held: AtomicU64,
    pub(super) latency: Live,
}
