//! Which messages nobody has to get, because the server refused them.
//!
//! *Not here*: which of the others are missing (`missing`).

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::message::MessageSpec;

/// Numbers of messages that the server refused to take: no connection may miss them. Written by the publisher, read by a
/// receiver only when a sequence is missing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusals(Arc<Mutex<Vec<Range<u64>>>>);

impl Refusals {
    /// These were refused. Those of one topic come in ascending order.
    pub(crate) fn add(&self, range: Range<u64>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(range);
    }

    /// The sequences begin at 0 again.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The parts of a topic's `range` that were not refused.
    pub(crate) fn rest_of(&self, spec: &MessageSpec, range: Range<u64>) -> Vec<Range<u64>> {
        let refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = Vec::new();
        let mut from = range.start;
        let holes = refused.iter().map(|numbers| spec.sequences(numbers.clone()));
        for hole in holes.filter(|hole| hole.end > range.start && hole.start < range.end && !hole.is_empty())
        {
            if hole.start > from {
                rest.push(from..hole.start);
            }
            from = from.max(hole.end);
        }
        if from < range.end {
            rest.push(from..range.end);
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_not_missing() {
        let (refusals, run) = (Refusals::default(), MessageSpec::new(64, 0.0, u64::MAX));
        refusals.add(5..10);
        refusals.add(20..21);
        assert_eq!(refusals.rest_of(&run.of_topic(1, 2), 0..6), [0..2, 5..6]);
        assert_eq!(refusals.rest_of(&run.of_topic(0, 2), 8..12), [8..10, 11..12]);
        assert_eq!(refusals.rest_of(&run, 0..30), [0..5, 10..20, 21..30]);
        assert_eq!(refusals.rest_of(&run, 6..9), []);
        assert_eq!(refusals.rest_of(&run, 8..12), vec![10..12; 1]);
        assert_eq!(refusals.rest_of(&run, 12..14), vec![12..14; 1]);
    }
}
