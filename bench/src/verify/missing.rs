//! The sequences that one connection was passed over for and may still get late.

use std::ops::Range;

/// Ranges that one connection remembers. What is forgotten stays counted as missing; if it comes late after all, it
/// counts as a duplicate instead of a reorder.
const RANGES_MAX: usize = 256;

/// Sequences passed over, in ascending ranges.
#[derive(Debug, Default)]
pub(super) struct Missing {
    ranges: Vec<Range<u64>>,
    forgotten: u64,
}

impl Missing {
    /// The stream went past these.
    pub(super) fn add(&mut self, range: Range<u64>) {
        if self.ranges.len() == RANGES_MAX {
            let oldest = self.ranges.remove(0);
            self.forgotten += oldest.end - oldest.start;
        }
        self.ranges.push(range);
    }

    /// It came late: true when it was passed over before.
    pub(super) fn take(&mut self, sequence: u64) -> bool {
        let Some(at) = self.ranges.iter().position(|range| range.contains(&sequence)) else { return false };
        let range = self.ranges.remove(at);
        if sequence + 1 < range.end {
            self.ranges.insert(at, sequence + 1..range.end);
        }
        if range.start < sequence {
            self.ranges.insert(at, range.start..sequence);
        }
        true
    }

    /// How many never came.
    pub(super) fn count(&self) -> u64 {
        self.forgotten + self.ranges.iter().map(|range| range.end - range.start).sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_message_is_taken_once_and_the_others_stay_missing() {
        let mut missing = Missing::default();
        missing.add(10..15);
        assert!(missing.take(12));
        assert!(!missing.take(12));
        assert!(!missing.take(9));
        assert!(missing.take(10));
        assert_eq!(missing.count(), 3);
    }

    #[test]
    fn forgotten_ranges_stay_counted() {
        let mut missing = Missing::default();
        (0..1_000).for_each(|at| missing.add(at * 10..at * 10 + 2));
        assert_eq!(missing.count(), 2_000);
        assert_eq!(missing.ranges.len(), RANGES_MAX);
    }
}
