//! Bounds how often a line can repeat.
//!
//! A line that traffic, a client or an error can repeat belongs to a throttle, and says how often it happened since the
//! last line and what to do about it. *Not here*: the lines.

use std::time::Instant;

use crate::limits::LOG_QUIET;

/// Lets one event in [`LOG_QUIET`] through, and counts the others.
#[derive(Default)]
pub struct Throttle {
    last: Option<Instant>,
    held: u64,
}

impl Throttle {
    /// `Some(n)`: say it, and that it happened n times since the last time it was said, this one included.
    pub fn event(&mut self, now: Instant) -> Option<u64> {
        self.held += 1;
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < LOG_QUIET) {
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_one_line_and_the_next_line_says_how_many_there_were() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!(throttle.event(start), Some(1));
        for ms in 0..100 {
            assert_eq!(throttle.event(start + Duration::from_millis(ms)), None);
        }
        assert_eq!(throttle.event(start + LOG_QUIET), Some(101));
    }
}
