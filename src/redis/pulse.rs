//! Whether the server at the other end lives: PING after silence, dead after no byte. Pure.

use std::time::{Duration, Instant};

use super::timing::Timing;
use fanfare_core::limits::REDIS_LOOK;

/// What a session has heard of its server, and when.
#[derive(Debug)]
pub(crate) struct Pulse {
    heard: Instant,
    /// Since when an answer is due.
    asked: Option<Instant>,
    ping_after: Duration,
    pong_within: Duration,
}

/// What a deadline that has passed means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// It has not passed.
    Nothing,
    /// Silence: ask.
    Ping,
    /// No byte since the question: the server is dead.
    Dead,
}

impl Pulse {
    pub(crate) fn new(timing: &Timing, now: Instant) -> Self {
        let Timing { ping_after, pong_within, .. } = *timing;
        Self { heard: now, asked: None, ping_after, pong_within }
    }

    /// Bytes came; or the session was busy with those that had, and did not listen.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.asked = None;
    }

    /// An answer is due: something was sent, or not all was answered by the bytes that came.
    pub(crate) fn asked(&mut self, now: Instant) {
        self.asked.get_or_insert(now);
    }

    /// When the server was last known to live.
    pub(crate) fn last_heard(&self) -> Instant {
        self.heard
    }

    /// How long to wait for bytes before asking [`Self::due`].
    pub(crate) fn patience(&self, now: Instant) -> Duration {
        self.deadline().saturating_duration_since(now).max(REDIS_LOOK)
    }

    /// What to do when no byte came.
    pub(crate) fn due(&self, now: Instant) -> Due {
        if now < self.deadline() {
            Due::Nothing
        } else if self.asked.is_some() {
            Due::Dead
        } else {
            Due::Ping
        }
    }

    fn deadline(&self) -> Instant {
        match self.asked {
            Some(asked) => asked + self.pong_within,
            None => self.heard + self.ping_after,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pulse() -> (Pulse, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Pulse::new(&Timing::default(), start), move |s| start + Duration::from_secs(s))
    }

    #[test]
    fn a_silent_server_is_asked_after_5_s_and_dead_after_10() {
        let (mut pulse, at) = pulse();
        assert_eq!((pulse.due(at(4)), pulse.due(at(5))), (Due::Nothing, Due::Ping));
        pulse.asked(at(5));
        assert_eq!((pulse.due(at(9)), pulse.due(at(10))), (Due::Nothing, Due::Dead));
    }

    #[test]
    fn any_byte_is_an_answer() {
        let (mut pulse, at) = pulse();
        pulse.asked(at(5));
        pulse.heard(at(8));
        assert_eq!((pulse.due(at(12)), pulse.due(at(13))), (Due::Nothing, Due::Ping));
        assert_eq!(pulse.last_heard(), at(8));
    }

    #[test]
    fn later_questions_do_not_put_off_the_first_ones_deadline() {
        let (mut pulse, at) = pulse();
        for s in 0..5 {
            pulse.asked(at(s));
        }
        assert_eq!(pulse.due(at(5)), Due::Dead);
        pulse.heard(at(5));
        pulse.asked(at(5));
        assert_eq!((pulse.due(at(9)), pulse.due(at(10))), (Due::Nothing, Due::Dead));
    }

    #[test]
    fn a_session_that_was_held_up_looks_at_its_socket_before_it_judges() {
        let (mut pulse, at) = pulse();
        pulse.asked(at(1));
        assert_eq!(pulse.patience(at(3)), Duration::from_secs(3));
        assert_eq!(pulse.patience(at(60)), REDIS_LOOK);
    }
}
