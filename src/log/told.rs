//! What the log was told last of something that works or fails, so that it ends with how things are.
//!
//! A complaint is told once for as long as it stays the same, and a throttle bounds how often it may change. One that
//! the throttle holds back counts as not told: it is told by a later attempt. *Not here*: the lines.

use std::time::Instant;

use super::throttle::Throttle;

/// What the last line said of something, and how often it may say so.
#[derive(Debug)]
pub struct Told {
    last: Last,
    complaints: Throttle,
    losses: Throttle,
}

#[derive(Debug, PartialEq, Eq)]
enum Last {
    Nothing,
    Works,
    Lost,
    Complaint(String),
}

impl Told {
    /// Nothing was told yet. At most so many lines of each kind in ten seconds.
    pub const fn nothing(most: u32) -> Self {
        let (complaints, losses) = (Throttle::letting(most), Throttle::letting(most));
        Self { last: Last::Nothing, complaints, losses }
    }

    /// The same for something that is taken to work until it fails.
    pub fn works(most: u32) -> Self {
        Self { last: Last::Works, ..Self::nothing(most) }
    }

    /// It fails, with this complaint. `Some(n)`: say so, and that n complaints have led to this line.
    pub fn fails(&mut self, complaint: &str, now: Instant) -> Option<u64> {
        if matches!(&self.last, Last::Complaint(last) if last == complaint) {
            return None;
        }
        let times = self.complaints.event(now)?;
        self.last = Last::Complaint(complaint.to_owned());
        Some(times)
    }

    /// It worked and does no more. `Some(n)`: say so, and that this has happened n times.
    pub fn is_lost(&mut self, now: Instant) -> Option<u64> {
        let times = self.losses.event(now)?;
        self.last = Last::Lost;
        Some(times)
    }

    /// It works. `true`: say so. That is whenever the last line says otherwise, so the other lines' bounds are also
    /// its own.
    pub fn is_back(&mut self) -> bool {
        std::mem::replace(&mut self.last, Last::Works) != Last::Works
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_complaint_is_said_again_only_after_another_line() {
        let (mut told, now) = (Told::nothing(5), Instant::now());
        assert!(told.is_back());
        assert_eq!((told.fails("a", now), told.fails("a", now)), (Some(1), None));
        assert_eq!((told.fails("b", now), told.fails("a", now)), (Some(1), Some(1)));
        assert!(told.is_back() && !told.is_back());
        assert_eq!(told.fails("a", now), Some(1));
        assert!(!Told::works(5).is_back(), "it was never said to fail");
    }

    #[test]
    fn after_any_flapping_the_log_ends_with_how_things_are() {
        let start = Instant::now();
        let at = |s: u64| start + Duration::from_secs(s);
        let (mut told, mut lines) = (Told::nothing(5), 0);
        for _ in 0..6 {
            lines += usize::from(told.fails("away", at(0)).is_some());
            lines += usize::from(told.is_back());
        }
        assert_eq!(lines, 10, "it is bounded");
        assert_eq!(told.last, Last::Works);
        let later: Vec<u64> = (1..=20).filter_map(|s| told.fails("away", at(s))).collect();
        assert_eq!(later, [11], "one line once there is room for it, with what was held back");
        // Losses that were held back leave the last line true once the session is back, and so does one that was told.
        for s in 30..60 {
            told.is_lost(at(s));
            told.is_back();
            assert_eq!(told.last, Last::Works);
        }
    }
}
