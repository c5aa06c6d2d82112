//! What a session tells the operator: each thing once, not once per attempt, and not often where things alternate.

use std::time::{Duration, Instant};

use super::Failure;
use super::backoff::Pace;
use crate::log::throttle::Throttle;

/// One session's lines about its connection.
pub(crate) struct Report {
    session: &'static str,
    /// What the last line complained of; empty while the session stands.
    last: String,
    failures: Throttle,
    losses: Throttle,
    returns: Throttle,
}

/// Lines of each kind in ten seconds: a Redis that is restarted a few times is told each time, one that takes a session and
/// ends it again and again is not.
const LINES: u32 = 5;

impl Report {
    pub(crate) fn new(session: &'static str) -> Self {
        let [failures, losses, returns] = [(); 3].map(|()| Throttle::letting(LINES));
        Self { session, last: String::new(), failures, losses, returns }
    }

    /// An attempt failed. Said once for as long as attempts fail for the same reason.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        let text = failure.to_string();
        if text == self.last {
            return;
        }
        let (session, remedy) = (self.session, failure.remedy());
        if let Some(times) = self.failures.event(Instant::now()) {
            match failure.pace() {
                Pace::Refused => tracing::error!(session, times, "redis: {text}; {remedy}"),
                Pace::Absent => tracing::warn!(session, times, "redis: {text}; {remedy}"),
            }
        }
        self.last = text;
    }

    /// A session that stood was lost.
    pub(crate) fn lost(&mut self, failure: &Failure) {
        if let Some(times) = self.losses.event(Instant::now()) {
            tracing::warn!(session = self.session, times, "redis: lost: {failure}; {}", failure.remedy());
        }
        self.last.clear();
    }

    /// The session stands, for the first time or after a gap.
    pub(crate) fn stands(&mut self, gap: Option<Duration>) {
        self.last.clear();
        let Some(times) = self.returns.event(Instant::now()) else { return };
        match gap {
            None => tracing::info!(session = self.session, times, "redis: connected"),
            Some(gap) => {
                tracing::warn!(session = self.session, times, gap_ms = gap.as_millis() as u64, "redis: back");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
