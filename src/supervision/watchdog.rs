//! Whether the service manager's watchdog may be fed. Pure: counters and a time come in, a verdict goes out.
//!
//! The manager kills a process that has not fed it for a time; it is fed in half of that, and only if every thread has
//! turned since the last feeding. A thread that is merely late is fed for as soon as it turns again.

use std::time::{Duration, Instant};

use crate::server::Part;

/// What the watchdog saw at its last feeding.
#[derive(Debug)]
pub(super) struct Watchdog {
    every: Duration,
    fed: Instant,
    seen: Vec<(Part, u64)>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was fed a short while ago.
    Early,
    /// Every thread has turned.
    Feed,
    /// These have not.
    Stalled(Vec<Part>),
}

impl Watchdog {
    /// For a manager that waits this long, from now on.
    pub(super) fn new(manager_waits: Duration, now: Instant) -> Self {
        Self { every: manager_waits / 2, fed: now, seen: Vec::new() }
    }

    /// How often to look, so that feeding is late by a quarter of its interval at most.
    pub(super) fn patience(&self) -> Duration {
        (self.every / 4).max(Duration::from_millis(1))
    }

    /// Looks at how often each thread has turned. Threads that are over are not among them.
    pub(super) fn look(&mut self, turns: impl Iterator<Item = (Part, u64)>, now: Instant) -> Verdict {
        if now.saturating_duration_since(self.fed) < self.every {
            return Verdict::Early;
        }
        let turns: Vec<_> = turns.collect();
        let stalled: Vec<Part> =
            turns.iter().filter(|turned| self.seen.contains(turned)).map(|(part, _)| *part).collect();
        if !stalled.is_empty() {
            return Verdict::Stalled(stalled);
        }
        self.fed = now;
        self.seen = turns;
        Verdict::Feed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: Duration = Duration::from_secs(10);
    const HALF: Duration = Duration::from_secs(5);

    fn turns(shard: u64, ingest: u64) -> std::array::IntoIter<(Part, u64), 2> {
        [(Part::Shard(0), shard), (Part::Ingest, ingest)].into_iter()
    }

    #[test]
    fn it_is_fed_at_half_of_the_time_and_not_before() {
        let began = Instant::now();
        let mut watchdog = Watchdog::new(WAITS, began);
        assert_eq!(watchdog.look(turns(1, 1), began + HALF / 2), Verdict::Early);
        assert_eq!(watchdog.look(turns(2, 2), began + HALF), Verdict::Feed);
        assert_eq!(watchdog.look(turns(3, 3), began + HALF), Verdict::Early);
        assert_eq!(watchdog.look(turns(3, 3), began + 2 * HALF), Verdict::Feed);
    }

    #[test]
    fn one_thread_that_stands_still_keeps_it_hungry_until_it_turns_again() {
        let began = Instant::now();
        let mut watchdog = Watchdog::new(WAITS, began);
        assert_eq!(watchdog.look(turns(1, 1), began + HALF), Verdict::Feed);
        let stalled = Verdict::Stalled(vec![Part::Shard(0)]);
        assert_eq!(watchdog.look(turns(1, 50), began + 2 * HALF), stalled);
        let later = began + 2 * HALF + watchdog.patience();
        assert_eq!(watchdog.look(turns(1, 60), later), stalled);
        assert_eq!(watchdog.look(turns(2, 70), later), Verdict::Feed);
    }

    #[test]
    fn a_thread_that_is_over_is_not_waited_for() {
        let began = Instant::now();
        let mut watchdog = Watchdog::new(WAITS, began);
        assert_eq!(watchdog.look(turns(1, 1), began + HALF), Verdict::Feed);
        let left = [(Part::Ingest, 2)].into_iter();
        assert_eq!(watchdog.look(left, began + 2 * HALF), Verdict::Feed);
    }

    #[test]
    fn a_late_look_is_still_within_what_the_manager_waits() {
        let watchdog = Watchdog::new(WAITS, Instant::now());
        assert!(HALF + watchdog.patience() < WAITS);
    }
}
