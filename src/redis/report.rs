//! What a session tells the operator: each thing once, not once per attempt.

use std::time::{Duration, Instant};

use super::Failure;
use super::backoff::Pace;
use crate::limits::LOG_QUIET;

/// One session's lines about its connection.
pub(crate) struct Report {
    session: &'static str,
    /// What the last line complained of; empty while the session stands.
    last: String,
}

impl Report {
    pub(crate) fn new(session: &'static str) -> Self {
        Self { session, last: String::new() }
    }

    /// An attempt failed. Said once for as long as attempts fail for the same reason.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        let text = failure.to_string();
        if text == self.last {
            return;
        }
        let (session, remedy) = (self.session, failure.remedy());
        match failure.pace() {
            Pace::Refused => tracing::error!(session, "redis: {text}; {remedy}"),
            Pace::Absent => tracing::warn!(session, "redis: {text}; {remedy}"),
        }
        self.last = text;
    }

    /// A session that stood was lost.
    pub(crate) fn lost(&mut self, failure: &Failure) {
        tracing::warn!(session = self.session, "redis: lost: {failure}; {}", failure.remedy());
        self.last.clear();
    }

    /// The session stands, for the first time or after a gap.
    pub(crate) fn stands(&mut self, gap: Option<Duration>) {
        self.last.clear();
        match gap {
            None => tracing::info!(session = self.session, "redis: connected"),
            Some(gap) => {
                tracing::warn!(session = self.session, gap_ms = gap.as_millis() as u64, "redis: back");
            }
        }
    }
}

/// Lets one event in [`LOG_QUIET`] through, and counts the others.
#[derive(Default)]
pub(crate) struct Throttle {
    last: Option<Instant>,
    held: u64,
}

impl Throttle {
    /// `Some(n)`: say it, and that it happened n times since the last time it was said, this one included.
    pub(crate) fn event(&mut self, now: Instant) -> Option<u64> {
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
    fn a_reason_is_said_again_only_after_another() {
        let mut report = Report::new("test");
        report.failed(&Failure::Closed);
        assert_eq!(report.last, Failure::Closed.to_string());
        report.failed(&Failure::Unexpected);
        assert_eq!(report.last, Failure::Unexpected.to_string());
        report.stands(None);
        assert_eq!(report.last, "");
    }
}
