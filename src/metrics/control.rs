//! What the control thread counts.

use fanfare_core::counters::Value;
use fanfare_core::push::registry::State;
use fanfare_core::push::share::Failed;

use super::pulse::Pulse;
use super::refused::{Audience, PublishRefused};

/// Why a request is taken for that of a page of another site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Foreign {
    /// It calls the gateway by a name that nobody listed.
    Host,
    /// Its browser says so.
    Origin,
}

impl Foreign {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 2] = [Self::Host, Self::Origin];

    /// Label in `api_foreign_total{reason}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Origin => "origin",
        }
    }
}

/// What the control thread counts itself.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ControlBlock {
    /// Turns of a task that does nothing else, one a tick: the thread's runtime works.
    pub turns: Value,
    /// Times that this task's timer fired. The runtime looks at timers only when no task can run, so a task that wakes
    /// itself stops this.
    pub waits: Value,
    /// API requests answered, by status class (1xx at 0).
    pub requests: [Value; 5],
    /// Memory of publish requests that the ingest core has not taken, when the metrics were read.
    pub publish_bytes: Value,
    /// Publishes refused, by [`PublishRefused`].
    pub publish_refused: [Value; PublishRefused::ALL.len()],
    /// Requests that a page of another site may have sent, by [`Foreign`].
    pub foreign: [Value; Foreign::ALL.len()],
    /// Messages handed to the ingest core, one per address that they are for, by [`Audience`].
    pub messages_taken: [Value; Audience::ALL.len()],
    /// Messages of well-formed publishes that found no room or no Redis, by [`Audience`].
    pub messages_turned_away: [Value; Audience::ALL.len()],
    /// 1 while `/readyz` says so; looked at when the metrics are read.
    pub ready: Value,
    /// API connections now.
    pub connections: Value,
    /// Streams of events now.
    pub streams: Value,
    /// API connections that were closed for a newcomer.
    pub displaced: Value,
    /// Bytes of API requests that arrive or are answered, and of answers that their clients have not read.
    pub held_bytes: [Value; 2],
    /// API connections that ended in a caught panic.
    pub panics: Value,
    /// Pushes that the ingest core made and that are over, since the start.
    pub pushes_over: Value,
    /// Pushes that are over, by [`State::OVER`](fanfare_core::push::registry::State::OVER).
    pub pushes_finished: [Value; State::OVER.len()],
    /// Pushes that wait or run now.
    pub pushes_running: Value,
    /// Pushes that stand still now.
    pub pushes_paused: Value,
    /// Devices that pushes reached.
    pub push_devices_sent: Value,
    /// Devices that pushes did not reach, by [`Failed`].
    pub push_devices_failed: [Value; Failed::ALL.len()],
}

impl ControlBlock {
    /// What the control thread has counted. Its tasks are many; that its timers fire is what shows that none of them
    /// keeps the thread to itself.
    pub fn pulse(&self) -> Pulse {
        Pulse { turns: self.turns.get(), progress: 0, waits: self.waits.get() }
    }
}
