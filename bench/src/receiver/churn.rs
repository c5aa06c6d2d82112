//! When things that are spread over time fall due: leaves, pings.

use std::time::Instant;

/// A constant rate.
#[derive(Debug)]
pub(super) struct Pace {
    since: Instant,
    per_s: f64,
    done: u64,
}

impl Pace {
    /// Begins now.
    pub(super) fn new(per_s: f64) -> Self {
        Self { since: Instant::now(), per_s, done: 0 }
    }

    /// The rate is zero.
    pub(super) fn is_never(&self) -> bool {
        self.per_s <= 0.0
    }

    /// How many fell due since the last call, at most `most`; what is above it is not made up for.
    #[allow(clippy::cast_sign_loss)] // a rate is not negative
    pub(super) fn take_due(&mut self, now: Instant, most: u64) -> u64 {
        let total = (now.duration_since(self.since).as_secs_f64() * self.per_s) as u64;
        let due = total - self.done;
        self.done = total;
        due.min(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_pace_yields_its_rate_whatever_the_turns_are() {
        let mut pace = Pace::new(1_000.0);
        let start = pace.since;
        let mut turns = (1..=100).map(|ms| start + Duration::from_millis(ms * ms / 10));
        let total: u64 = turns.by_ref().map(|now| pace.take_due(now, u64::MAX)).sum();
        assert_eq!(total, 1_000);
    }
}
