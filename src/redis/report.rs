//! What a session tells the operator: each thing once, not once per attempt.

use std::time::Duration;

use super::Failure;
use super::backoff::Pace;

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
