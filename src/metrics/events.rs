//! What the events thread and its receivers count.

use fanfare_core::counters::Value;

use super::pulse::Pulse;

/// A receiver of lifecycle events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventSink {
    /// The Redis channel or stream.
    Redis,
    /// The webhook.
    Webhook,
}

impl EventSink {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 2] = [Self::Redis, Self::Webhook];

    /// Label in `events_sent_total{sink}`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Webhook => "webhook",
        }
    }
}

/// What one receiver of lifecycle events comes to. `sent`, `failed` and `refused` are written by who delivers to it, the
/// others by the events thread.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EventSinkBlock {
    /// Events that it took.
    pub sent: Value,
    /// Attempts to reach it, or to deliver a batch, that failed. The batch is delivered again.
    pub failed: Value,
    /// Events of batches that it will never take.
    pub refused: Value,
    /// Events that found its queue full.
    pub overflowed: Value,
    /// Events that it had not taken when the process ended.
    pub left: Value,
    /// Events in its queue now.
    pub queue: Value,
    /// Bytes in its queue now.
    pub queue_bytes: Value,
}

/// What the events thread counts.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct EventsBlock {
    /// Turns of the loop, at least one a tick.
    pub turns: Value,
    /// Records taken from the journals.
    pub progress: Value,
    /// Turns that ended in a wait for the next look.
    pub waits: Value,
    /// By [`EventSink`].
    pub sinks: [EventSinkBlock; EventSink::ALL.len()],
}

impl EventsBlock {
    /// What the events thread has counted.
    pub fn pulse(&self) -> Pulse {
        Pulse { turns: self.turns.get(), progress: self.progress.get(), waits: self.waits.get() }
    }
}
