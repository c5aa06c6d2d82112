//! What a session tells the operator: each thing once, not once per attempt, and not often where things alternate.

use std::time::{Duration, Instant};

use super::Failure;
use super::backoff::RetryPace;
use crate::log::told::Told;

/// One session's lines about its connection.
pub(crate) struct Report {
    session: &'static str,
    told: Told,
}

/// Lines of each kind in ten seconds: a Redis that is restarted a few times is told each time, one that takes a session and
/// ends it again and again is not.
const LINES: u32 = 5;

impl Report {
    pub(crate) fn new(session: &'static str) -> Self {
        Self { session, told: Told::nothing(LINES) }
    }

    /// An attempt failed. Said once for as long as attempts fail for the same reason.
    pub(crate) fn failed(&mut self, failure: &Failure) {
        let text = failure.to_string();
        let Some(times) = self.told.fails(&text, Instant::now()) else { return };
        let (session, remedy) = (self.session, failure.remedy());
        match failure.pace() {
            RetryPace::Refused => tracing::error!(session, times, "redis: {text}; {remedy}"),
            RetryPace::Absent => tracing::warn!(session, times, "redis: {text}; {remedy}"),
        }
    }

    /// A session that stood was lost.
    pub(crate) fn lost(&mut self, failure: &Failure) {
        if let Some(times) = self.told.is_lost(Instant::now()) {
            tracing::warn!(session = self.session, times, "redis: lost: {failure}; {}", failure.remedy());
        }
    }

    /// The session stands, for the first time or after a gap.
    pub(crate) fn stands(&mut self, gap: Option<Duration>) {
        if !self.told.is_back() {
            return;
        }
        match gap {
            None => tracing::info!(session = self.session, "redis: connected"),
            Some(gap) => {
                tracing::warn!(session = self.session, gap_ms = gap.as_millis() as u64, "redis: back");
            }
        }
    }
}
