//! What one receiver's thread has seen: counts, latencies, and when each message was last received.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use crate::histogram::Recorder;
use crate::message::MessageSpec;

/// How a connection ended when this tool did not end it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closed {
    /// A Close frame with this code (1005: it had none).
    Code(u16),
    /// The stream ended without a Close frame.
    End,
    /// The connection was reset, or failed.
    Reset,
    /// The bytes could not be followed, and this tool hung up.
    Unreadable,
}

impl std::fmt::Display for Closed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(code) => write!(f, "{code}"),
            Self::End => f.write_str("end of stream"),
            Self::Reset => f.write_str("reset"),
            Self::Unreadable => f.write_str("unreadable"),
        }
    }
}

/// Counts of one thread, or of several merged.
#[derive(Clone, Default)]
pub(crate) struct Tally {
    /// Messages received, each connection's counted, duplicates left out.
    pub(crate) messages: u64,
    /// Of those, the ones behind the warm-up.
    pub(crate) measured: u64,
    /// WebSocket data frames with messages, those of the warm-up too.
    pub(crate) frames: u64,
    /// Reads that returned bytes.
    pub(crate) reads: u64,
    /// Bytes that they returned.
    pub(crate) bytes: u64,
    /// What is wrong.
    pub(crate) faults: Faults,
    /// Data frames without messages (a PONG, a welcome).
    pub(crate) other_frames: u64,
    /// WebSocket pings answered.
    pub(crate) pings: u64,
    /// How connections ended that the server ended.
    pub(crate) closed: BTreeMap<Closed, u64>,
    /// Time from a message's intended send time to its receipt, behind the warm-up.
    pub(crate) latency: Recorder,
    /// By number: when the last connection of this thread received it, microseconds since the base; 0 = never.
    pub(crate) last_us: Vec<u32>,
    /// First number behind the warm-up.
    pub(crate) measure_from: u64,
    /// A sentence about the first malformed thing, for the person who has to find it.
    pub(crate) first_malformed: Option<String>,
}

/// What must be zero.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Faults {
    /// Messages that a connection never got.
    pub(crate) gaps: u64,
    /// Messages that a connection got again.
    pub(crate) duplicates: u64,
    /// Messages that came behind a later one.
    pub(crate) reorders: u64,
    /// Frames or messages that are not what was published.
    pub(crate) malformed: u64,
}

impl Faults {
    /// Nothing is wrong.
    pub(crate) fn none(&self) -> bool {
        self.gaps + self.duplicates + self.reorders + self.malformed == 0
    }
}

impl Tally {
    /// An empty one that measures from a sequence on.
    pub(crate) fn measuring_from(sequence: u64) -> Self {
        Self { measure_from: sequence, ..Self::default() }
    }

    /// Consecutive messages arrived at one connection.
    #[inline]
    pub(super) fn deliver(&mut self, messages: Range<u64>, now_us: u64, spec: &MessageSpec) {
        self.messages += messages.end - messages.start;
        let numbers = spec.number(messages.start) as usize..=spec.number(messages.end - 1) as usize;
        if self.last_us.len() <= *numbers.end() {
            self.last_us.resize((numbers.end() + 1).next_power_of_two().max(4096), 0);
        }
        // The clock never goes back within a thread, so the latest write is the latest time.
        for last in self.last_us[numbers].iter_mut().step_by(spec.topics() as usize) {
            *last = (now_us as u32).max(1);
        }
        let measure_from = spec.sequences(0..self.measure_from).end;
        let measured = messages.start.max(measure_from)..messages.end;
        if measured.is_empty() {
            return;
        }
        self.measured += measured.end - measured.start;
        // The oldest message has waited longest.
        let max = now_us.saturating_sub(spec.intended_us(measured.start));
        for sequence in measured {
            self.latency.record_below(now_us.saturating_sub(spec.intended_us(sequence)), max);
        }
    }

    /// Something that is not what was published.
    #[cold]
    pub(super) fn malformed(&mut self, what: impl FnOnce() -> String) {
        self.faults.malformed += 1;
        self.first_malformed.get_or_insert_with(what);
    }

    /// Takes another thread's counts in.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.measured += other.measured;
        self.frames += other.frames;
        self.reads += other.reads;
        self.bytes += other.bytes;
        self.faults.gaps += other.faults.gaps;
        self.faults.duplicates += other.faults.duplicates;
        self.faults.reorders += other.faults.reorders;
        self.faults.malformed += other.faults.malformed;
        self.other_frames += other.other_frames;
        self.pings += other.pings;
        self.latency.merge(&other.latency);
        for (how, count) in &other.closed {
            *self.closed.entry(*how).or_default() += count;
        }
        if self.last_us.len() < other.last_us.len() {
            self.last_us.resize(other.last_us.len(), 0);
        }
        for (mine, theirs) in self.last_us.iter_mut().zip(&other.last_us) {
            *mine = (*mine).max(*theirs);
        }
        self.measure_from = self.measure_from.max(other.measure_from);
        if self.first_malformed.is_none() {
            self.first_malformed.clone_from(&other.first_malformed);
        }
    }
}
