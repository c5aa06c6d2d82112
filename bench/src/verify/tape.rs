//! The bytes that must come: consecutive messages with what stands between them, ready to be compared at once.
//!
//! A receiver's thread owns one tape for all its connections of a topic. It holds a window of sequences that grows as the
//! stream does and forgets its older half at the bound; a connection that far behind is checked message by message.

use crate::message::MessageSpec;

/// Bytes of the window. Seconds of any stream that one core can receive.
const WINDOW_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of the window of each of many topics: a read, twice over, and a message of the largest size.
const WINDOW_BYTES_MIN: usize = 4 * 1024 * 1024;
/// Bytes that are written at once when the stream reaches the window's end.
const GROW_BYTES: usize = 64 * 1024;

/// Expected bytes of a range of sequences.
pub(crate) struct Tape {
    spec: MessageSpec,
    before: Vec<u8>,
    after: Vec<u8>,
    first: u64,
    units: u64,
    bytes: Vec<u8>,
}

impl Tape {
    /// Every message has these bytes before and after it.
    pub(crate) fn new(spec: MessageSpec, before: &[u8], after: &[u8]) -> Self {
        Self { spec, before: before.to_vec(), after: after.to_vec(), first: 0, units: 0, bytes: Vec::new() }
    }

    /// The messages' common part.
    pub(crate) fn spec(&self) -> &MessageSpec {
        &self.spec
    }

    /// Bytes from one message's first to the next one's first.
    pub(crate) fn stride(&self) -> usize {
        self.before.len() + self.spec.bytes + self.after.len()
    }

    /// The `length` bytes that begin `offset` bytes into the unit of `sequence`; `None` when they are no longer, or
    /// not to be, held.
    pub(crate) fn expected(&mut self, sequence: u64, offset: usize, length: usize) -> Option<&[u8]> {
        let stride = self.stride();
        let end = sequence + (offset + length).div_ceil(stride) as u64;
        if sequence < self.first || end > self.first + self.units {
            self.extend(sequence, end)?;
        }
        let at = (sequence - self.first) as usize * stride + offset;
        Some(&self.bytes[at..at + length])
    }

    /// One unit, held or not.
    pub(crate) fn unit(&self, sequence: u64) -> Vec<u8> {
        let mut unit = self.before.clone();
        self.spec.write(sequence, &mut unit);
        unit.extend_from_slice(&self.after);
        unit
    }

    /// Topics share the memory, each with room for what one read can hold.
    fn window_bytes(&self) -> usize {
        (WINDOW_BYTES_MAX / self.spec.topics() as usize).max(WINDOW_BYTES_MIN)
    }

    #[cold]
    fn extend(&mut self, sequence: u64, end: u64) -> Option<()> {
        let stride = self.stride();
        let ahead = (end - sequence) as usize * stride;
        if sequence < self.first || ahead > self.window_bytes() / 2 {
            return None;
        }
        // Whoever joins is ahead of the others for a moment: what lies between is written too, because they still ask
        // for it. Only what does not fit the window is dropped, the older half, and never what is asked for now.
        let window = (self.window_bytes() / stride) as u64;
        let grown = end + (GROW_BYTES / self.spec.topics() as usize / stride) as u64;
        if grown > self.first + window {
            let first = sequence.min(grown.saturating_sub(window / 2)).max(self.first);
            let drop = (first - self.first).min(self.units);
            self.bytes.drain(..drop as usize * stride);
            self.units -= drop;
            self.first = first;
        }
        for sequence in self.first + self.units..grown {
            self.bytes.extend_from_slice(&self.before);
            self.spec.write(sequence, &mut self.bytes);
            self.bytes.extend_from_slice(&self.after);
        }
        self.units = grown - self.first;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tape_has_the_messages_with_what_stands_between_them() {
        let spec = MessageSpec::new(50, 7.0, u64::MAX);
        let mut tape = Tape::new(spec, b"", b",");
        let mut all = Vec::new();
        for sequence in 0..3_000 {
            spec.write(sequence, &mut all);
            all.push(b',');
        }
        for (sequence, offset, length) in [(0, 0, 51), (0, 3, 400), (10, 5, 100_000), (2_000, 50, 1)] {
            let at = sequence as usize * 51 + offset;
            assert_eq!(tape.expected(sequence, offset, length).unwrap(), &all[at..at + length]);
        }
    }

    #[test]
    fn one_that_is_ahead_takes_nothing_from_those_behind_it() {
        let spec = MessageSpec::new(50, 7.0, u64::MAX);
        let mut tape = Tape::new(spec, b"", b",");
        assert!(tape.expected(0, 0, 51).is_some());
        for sequence in [100_000, 1, 50_000, 99_999] {
            let unit = tape.unit(sequence);
            assert_eq!(tape.expected(sequence, 0, 51).unwrap(), unit);
        }
    }

    #[test]
    fn the_window_moves_and_says_so_to_whoever_is_behind_it() {
        let spec = MessageSpec::new(100_000, 0.0, u64::MAX);
        let mut tape = Tape::new(spec, b"", b"");
        let mut message = Vec::new();
        for sequence in 0..1_500 {
            message.clear();
            spec.write(sequence, &mut message);
            assert_eq!(tape.expected(sequence, 0, 100_000).unwrap(), &message[..]);
        }
        assert!(tape.bytes.len() <= WINDOW_BYTES_MAX);
        assert_eq!(tape.expected(0, 0, 1), None);
        assert!(tape.expected(1_000_000, 0, 10).is_some());
    }
}
