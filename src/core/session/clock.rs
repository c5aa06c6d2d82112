//! A shard's clock for what others owe it: time in which the shard itself did not run does not count.
//!
//! A process that was stopped, or whose machine was suspended or moved, finds every deadline passed and the bytes that
//! would have met it unread. *Not here*: the pace of pushes, the time of events, how long a drain may take.

use crate::model::Tick;

/// What time it is, and when the shard last went on after a pause of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    steady: Tick,
    running: Tick,
    resumed: Tick,
}

/// The longest time between two turns that counts in full, in ticks. A shard turns at least once a tick.
const GAP_MAX: u32 = (crate::limits::OWN_PAUSE.as_millis() / crate::limits::TICK.as_millis()) as u32;
const _: () = assert!(GAP_MAX > 1);

impl Clock {
    /// Takes a reading of a steady clock, which never goes back; `true`: the shard had paused. A pause counts as one tick.
    pub fn advance(&mut self, steady: Tick) -> bool {
        let gap = steady.since(self.steady);
        self.steady = self.steady.max(steady);
        let has_paused = gap > GAP_MAX;
        self.running.0 += if has_paused { 1 } else { gap };
        if has_paused {
            self.resumed = self.running;
        }
        has_paused
    }

    /// Time in which the shard ran. Everything that waits for others is stamped with it.
    pub fn now(&self) -> Tick {
        self.running
    }

    /// The steady clock, pauses included.
    pub fn steady(&self) -> Tick {
        self.steady
    }

    /// How long somebody has been waited for since `since`, who has `bound` ticks. After a pause the count begins anew,
    /// but not later than twice the bound: a shard that pauses again and again still ends what is dead within three.
    pub fn waited(&self, since: Tick, bound: u32) -> u32 {
        let latest = Tick(since.0.saturating_add(bound.saturating_mul(2)));
        self.running.since(since.max(self.resumed.min(latest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: u32 = 16;

    #[test]
    fn turns_that_follow_each_other_count_in_full() {
        let mut clock = Clock::default();
        for steady in (0..400).step_by(GAP_MAX as usize) {
            assert!(!clock.advance(Tick(steady)));
            assert_eq!((clock.now(), clock.waited(Tick(0), BOUND)), (Tick(steady), steady));
        }
    }

    #[test]
    fn a_pause_is_nobodys_silence_and_starts_the_count_anew() {
        let mut clock = Clock::default();
        (0..BOUND).for_each(|tick| assert!(!clock.advance(Tick(tick))));
        assert!(clock.advance(Tick(100_000)));
        assert_eq!((clock.now(), clock.steady()), (Tick(BOUND), Tick(100_000)));
        assert_eq!(clock.waited(Tick(0), BOUND), 0);
        (0..=BOUND).for_each(|tick| assert!(!clock.advance(Tick(100_000 + tick))));
        assert_eq!(clock.waited(Tick(0), BOUND), BOUND);
    }

    #[test]
    fn however_often_the_shard_pauses_what_is_dead_ends_within_three_bounds() {
        let mut clock = Clock::default();
        let mut steady = 0;
        while clock.waited(Tick(0), BOUND) < BOUND {
            steady += if clock.now().0.is_multiple_of(3) { 10 * GAP_MAX } else { 1 };
            clock.advance(Tick(steady));
            assert!(clock.now().0 <= 3 * BOUND);
        }
    }

    #[test]
    fn a_clock_that_goes_back_changes_nothing() {
        let mut clock = Clock::default();
        clock.advance(Tick(3));
        clock.advance(Tick(1));
        assert_eq!((clock.now(), clock.steady()), (Tick(3), Tick(3)));
    }
}
