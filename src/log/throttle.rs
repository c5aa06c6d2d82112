//! Bounds how often a line can repeat.
//!
//! A line that traffic, a client or an error can repeat belongs to a throttle, and says how often it happened since the
//! last line and what to do about it. *Not here*: the lines.

use std::time::Instant;

use fanfare_core::limits::LOG_QUIET;

/// Lets so many events in each [`LOG_QUIET`] through, and counts the others.
#[derive(Debug)]
pub struct Throttle {
    most: u32,
    began: Option<Instant>,
    said: u32,
    held: u64,
}

impl Default for Throttle {
    /// For what happens again and again: one line.
    fn default() -> Self {
        Self::letting(1)
    }
}

impl Throttle {
    /// For what is told each time while it is rare: this many lines.
    pub const fn letting(most: u32) -> Self {
        Self { most, began: None, said: 0, held: 0 }
    }

    /// `Some(n)`: say it, and that it happened n times since the last time it was said, this one included.
    pub fn event(&mut self, now: Instant) -> Option<u64> {
        self.held += 1;
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= LOG_QUIET) {
            self.began = Some(now);
            self.said = 0;
        }
        if self.said == self.most {
            return None;
        }
        self.said += 1;
        Some(std::mem::take(&mut self.held))
    }

    /// What was held back, once a line may be said again. `Some(n)`: say the last of n events.
    pub fn late(&mut self, now: Instant) -> Option<u64> {
        self.held = self.held.checked_sub(1)?;
        self.event(now)
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

    #[test]
    fn what_is_rare_is_told_each_time() {
        let (mut throttle, start) = (Throttle::letting(3), Instant::now());
        let told: Vec<_> = (0..5).map(|s| throttle.event(start + Duration::from_secs(s))).collect();
        assert_eq!(told, [Some(1), Some(1), Some(1), None, None]);
        assert_eq!(throttle.event(start + LOG_QUIET), Some(3));
    }

    #[test]
    fn what_was_held_back_can_be_told_later_though_nothing_happens_any_more() {
        let (mut throttle, start) = (Throttle::default(), Instant::now());
        assert_eq!((throttle.event(start), throttle.late(start + LOG_QUIET)), (Some(1), None), "nothing was");
        let start = start + LOG_QUIET;
        assert_eq!([0, 1, 2].map(|_| throttle.event(start)), [Some(1), None, None]);
        assert_eq!(throttle.late(start), None, "not yet");
        assert_eq!(throttle.late(start + LOG_QUIET), Some(2));
        assert_eq!(throttle.late(start + 2 * LOG_QUIET), None);
    }
}
