//! Whether every thread works. Pure: what threads have counted and a time come in, the stuck ones go out.
//!
//! A thread is stuck when it has neither done anything nor waited for anything for a while: a blocked one does not turn
//! at all, a spinning one turns and does nothing. Time in which the main thread itself did not run (the process was
//! stopped, its machine moved) says nothing about the others and does not count. *Not here*: who is told (`reporter`).

use std::time::{Duration, Instant};

use crate::metrics::pulse::Pulse;
use crate::server::Part;
use fanfare_core::limits::THREAD_STUCK_AFTER;

/// How often to look, at least.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Looks at the threads, and decides when the service manager's watchdog is fed.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// A thread that neither works nor waits for this long is stuck.
    stuck_after: Duration,
    /// How often the manager is told that all is well, and when it was last.
    feeding: Option<(Duration, Instant)>,
    looked: Instant,
    seen: Vec<Seen>,
}

/// A thread as the last look found it.
#[derive(Clone, Copy, Debug)]
struct Seen {
    part: Part,
    pulse: Pulse,
    /// For how long it has neither worked nor waited, and how often it turned in that time.
    still: Duration,
    turned: u64,
}

/// A thread that neither works nor waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stuck {
    pub(super) part: Part,
    pub(super) since: Duration,
    /// How often it has turned meanwhile: 0, and it is blocked; many, and it spins.
    pub(super) turned: u64,
}

/// What a look found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Threads that are stuck, in the order in which they came.
    pub(super) stuck: Vec<Stuck>,
    /// Whether to feed the manager's watchdog now.
    pub(super) feed: bool,
}

impl Watchdog {
    /// From now on; for a manager that waits this long for its watchdog to be fed, or none.
    pub(super) fn new(manager_waits: Option<Duration>, now: Instant) -> Self {
        let every = manager_waits.map(|waits| waits / 2);
        Self {
            stuck_after: every.map_or(THREAD_STUCK_AFTER, |every| every.min(THREAD_STUCK_AFTER)),
            feeding: every.map(|every| (every, now)),
            looked: now,
            seen: Vec::new(),
        }
    }

    /// How often to look, so that feeding is late by a quarter of its interval at most.
    pub(super) fn patience(&self) -> Duration {
        let quarter = self.stuck_after / 4;
        quarter.clamp(Duration::from_millis(1), LOOK_EVERY)
    }

    /// Looks at what each thread has counted. Threads that are over are not among them.
    pub(super) fn look(&mut self, pulses: impl Iterator<Item = (Part, Pulse)>, now: Instant) -> Verdict {
        // Somebody who looks late was held up, and the others may have been held up with it.
        let passed = now.saturating_duration_since(self.looked).min(2 * self.patience());
        self.looked = now;
        self.seen = pulses.map(|(part, pulse)| self.seen_now(part, pulse, passed)).collect();
        let stuck: Vec<Stuck> = self
            .seen
            .iter()
            .filter(|seen| seen.still >= self.stuck_after)
            .map(|seen| Stuck { part: seen.part, since: seen.still, turned: seen.turned })
            .collect();
        let feed = stuck.is_empty() && self.is_hungry(now);
        Verdict { stuck, feed }
    }

    fn seen_now(&self, part: Part, pulse: Pulse, passed: Duration) -> Seen {
        let before =
            self.seen.iter().find(|seen| seen.part == part).filter(|before| {
                (before.pulse.progress, before.pulse.waits) == (pulse.progress, pulse.waits)
            });
        let Some(before) = before else { return Seen { part, pulse, still: Duration::ZERO, turned: 0 } };
        let turned = before.turned + pulse.turns.wrapping_sub(before.pulse.turns);
        Seen { part, pulse, still: before.still + passed, turned }
    }

    fn is_hungry(&mut self, now: Instant) -> bool {
        let Some((every, fed)) = &mut self.feeding else { return false };
        let is_hungry = now.saturating_duration_since(*fed) >= *every;
        if is_hungry {
            *fed = now;
        }
        is_hungry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: Duration = Duration::from_secs(20);
    const SECOND: Duration = Duration::from_secs(1);

    /// A watchdog and the time, second by second.
    struct Watched {
        watchdog: Watchdog,
        now: Instant,
        fed: u32,
    }

    impl Watched {
        fn by(manager_waits: Option<Duration>) -> Self {
            let now = Instant::now();
            Self { watchdog: Watchdog::new(manager_waits, now), now, fed: 0 }
        }

        /// A second later; who is stuck then.
        fn second(&mut self, shard: Pulse, ingest: Pulse) -> Vec<Stuck> {
            self.after(SECOND, shard, ingest)
        }

        fn after(&mut self, time: Duration, shard: Pulse, ingest: Pulse) -> Vec<Stuck> {
            self.now += time;
            let pulses = [(Part::Shard(0), shard), (Part::Ingest, ingest)];
            let verdict = self.watchdog.look(pulses.into_iter(), self.now);
            self.fed += u32::from(verdict.feed);
            verdict.stuck
        }
    }

    fn pulse(turns: u64, progress: u64, waits: u64) -> Pulse {
        Pulse { turns, progress, waits }
    }

    #[test]
    fn it_is_fed_at_half_of_the_time_while_all_work_or_wait() {
        let mut watched = Watched::by(Some(WAITS));
        for n in 1..=40 {
            assert_eq!(watched.second(pulse(n, n, 0), pulse(n, 0, n)), []);
        }
        assert_eq!(watched.fed, 4);
    }

    #[test]
    fn a_thread_that_spins_is_stuck_however_fast_it_turns() {
        let mut watched = Watched::by(Some(WAITS));
        for n in 1..=10 {
            assert_eq!(watched.second(pulse(n, 0, n), pulse(9_000_000 * n, 7, 7)), [], "after {n} s");
        }
        let fed = watched.fed;
        for n in 11..=60 {
            let stuck = watched.second(pulse(n, 0, n), pulse(9_000_000 * n, 7, 7));
            let [ingest] = stuck[..] else { panic!("{stuck:?}") };
            assert_eq!((ingest.part, ingest.turned), (Part::Ingest, 9_000_000 * (n - 1)));
            assert_eq!(ingest.since, SECOND * (n as u32 - 1));
        }
        assert_eq!(watched.fed, fed, "not fed while it spins");
        assert_eq!(watched.second(pulse(61, 0, 61), pulse(1, 7, 8)), [], "one wait is enough");
        assert_eq!(watched.fed, fed + 1);
    }

    #[test]
    fn a_thread_that_is_blocked_is_stuck_and_named() {
        let mut watched = Watched::by(None);
        for n in 1..=10 {
            assert_eq!(watched.second(pulse(5, 5, 5), pulse(n, n, n)), [], "after {n} s");
        }
        let stuck = watched.second(pulse(5, 5, 5), pulse(11, 11, 11));
        assert_eq!(stuck, [Stuck { part: Part::Shard(0), since: 10 * SECOND, turned: 0 }]);
        assert_eq!(watched.fed, 0, "there is nobody to feed");
    }

    #[test]
    fn one_long_turn_is_not_stuck_before_its_time() {
        let mut watched = Watched::by(Some(WAITS));
        for n in 1..=200 {
            // A unit of work every nine seconds.
            assert_eq!(watched.second(pulse(0, n / 9, 0), pulse(n, 0, n)), [], "after {n} s");
        }
    }

    #[test]
    fn the_process_own_pause_is_nobodys_stall() {
        let mut watched = Watched::by(Some(WAITS));
        watched.second(pulse(1, 1, 1), pulse(1, 1, 1));
        let stopped = Duration::from_secs(3600);
        assert_eq!(watched.after(stopped, pulse(1, 1, 1), pulse(1, 1, 1)), [], "nobody ran meanwhile");
        assert_eq!(watched.fed, 1, "it is hungry after such a time");
        assert_eq!(watched.second(pulse(1, 1, 1), pulse(2, 1, 2)), []);
        for _ in 0..6 {
            assert_eq!(watched.second(pulse(1, 1, 1), pulse(3, 2, 2)), []);
        }
        let stuck = watched.second(pulse(1, 1, 1), pulse(4, 2, 3));
        assert_eq!(stuck.len(), 1, "what stays still afterwards is stuck all the same: {stuck:?}");
    }

    #[test]
    fn a_thread_that_is_over_is_not_waited_for() {
        let mut watched = Watched::by(Some(WAITS));
        watched.second(pulse(1, 1, 1), pulse(1, 1, 1));
        for n in 2..40 {
            watched.now += SECOND;
            let left = [(Part::Ingest, pulse(n, n, n))];
            assert_eq!(watched.watchdog.look(left.into_iter(), watched.now).stuck, []);
        }
    }

    #[test]
    fn a_manager_that_waits_for_less_makes_it_look_sooner() {
        let mut watched = Watched::by(Some(Duration::from_secs(2)));
        let patience = watched.watchdog.patience();
        assert!(SECOND + patience < Duration::from_secs(2), "a late look is still in time");
        let mut stuck = Vec::new();
        for n in 1..=6 {
            stuck = watched.after(patience, pulse(1, 1, 1), pulse(n, n, n));
        }
        assert_eq!(stuck, [Stuck { part: Part::Shard(0), since: 5 * patience, turned: 0 }]);
    }
}
