//! Credit of one push on one shard: how many devices it may serve now.
//!
//! Two accounts. The *schedule* grows with the rate and says how far the push should be. The *burst* bounds how much of
//! it is spent at once: a shard that was held up goes on a little faster than its rate until it is where it should be,
//! so that neither the second of the delay nor the one behind it is far off. Time is an argument.

use super::share::UNLIMITED;

/// What of the schedule is kept at most, seconds of the rate: a longer delay is lost time.
const SCHEDULE_S: f64 = 1.0;
/// How much faster than its rate a push goes that is late.
const CATCH_UP: f64 = 1.015;
/// What may be spent at once, seconds of the rate.
const BURST_S: f64 = 0.006;
/// The same in devices, at least: one that is due, and what grows towards the next while a thread wakes up late.
const BURST_MIN: f64 = 2.0;
/// A sum of many small steps falls short of a whole number by less than this.
const ROUNDING: f64 = 1e-6;

/// Credit of one push.
#[derive(Debug)]
pub struct Bucket {
    rate_milli: u64,
    schedule: f64,
    burst: f64,
    at_us: u64,
}

impl Bucket {
    /// A bucket that has `phase` of a device: shards that begin together take turns when their phases differ.
    pub fn new(now_us: u64, rate_milli: u64, phase: f64) -> Self {
        Self { rate_milli, schedule: phase, burst: 1.0, at_us: now_us }
    }

    fn per_us(&self) -> f64 {
        self.rate_milli as f64 / 1e9
    }

    fn per_s(&self) -> f64 {
        self.per_us() * 1e6
    }

    /// Devices that may be served at once.
    fn burst_max(&self) -> f64 {
        (BURST_S * self.per_s()).max(BURST_MIN)
    }

    /// Lets time pass, and goes on at this rate.
    pub fn advance(&mut self, now_us: u64, rate_milli: u64) {
        let passed = now_us.saturating_sub(self.at_us) as f64;
        self.at_us = self.at_us.max(now_us);
        if self.rate_milli != UNLIMITED {
            let grown = self.per_us() * passed;
            self.schedule = (self.schedule + grown).min((SCHEDULE_S * self.per_s()).max(1.0));
            self.burst = (self.burst + CATCH_UP * grown).min(self.burst_max());
        }
        if rate_milli != self.rate_milli {
            // What a delay has let pile up is the same time at a slower rate, and no more devices at a faster one; what
            // has just become due stays so, since rates change a little with every allotment.
            if self.schedule > 1.0 {
                let slower = rate_milli as f64 / self.rate_milli as f64;
                let kept = if self.is_bounded() { self.schedule * slower.min(1.0) } else { 1.0 };
                self.schedule = kept.max(1.0);
            }
            self.rate_milli = rate_milli;
            self.burst = self.burst.min(self.burst_max());
        }
    }

    /// Whether there is a rate to keep to.
    pub fn is_bounded(&self) -> bool {
        self.rate_milli != UNLIMITED
    }

    /// Nobody can be served: no credit piles up meanwhile.
    pub fn idle(&mut self) {
        self.schedule = self.schedule.min(1.0);
    }

    /// Devices that may be served now.
    pub fn credit(&self) -> usize {
        match self.rate_milli {
            UNLIMITED => usize::MAX,
            0 => 0,
            _ => (self.schedule.min(self.burst) + ROUNDING) as usize,
        }
    }

    /// Devices were served.
    pub fn spend(&mut self, devices: usize) {
        if self.rate_milli != UNLIMITED {
            self.schedule -= devices as f64;
            self.burst -= devices as f64;
        }
    }

    /// Microseconds until there is credit for a device; `None`: never at this rate.
    pub fn wait_us(&self) -> Option<u64> {
        if self.credit() > 0 {
            return Some(0);
        }
        if self.rate_milli == 0 {
            return None;
        }
        let missing = (1.0 - self.schedule).max((1.0 - self.burst) / CATCH_UP);
        Some((missing / self.per_us()).ceil() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Serves all that it may at each of the times; returns when each device was served.
    fn served(bucket: &mut Bucket, rate_milli: u64, times: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut served = Vec::new();
        for now in times {
            bucket.advance(now, rate_milli);
            let credit = bucket.credit();
            bucket.spend(credit);
            served.extend(std::iter::repeat_n(now, credit));
        }
        served
    }

    fn most_and_least(served: &[u64], window_us: u64, from: u64, to: u64) -> (usize, usize) {
        let counts = (from..to - window_us).step_by(1000).map(|begin| {
            let before = |time| served.partition_point(|at| *at < time);
            before(begin + window_us) - before(begin)
        });
        counts.fold((0, usize::MAX), |(most, least), count| (most.max(count), least.min(count)))
    }

    #[test]
    fn any_second_and_any_tenth_is_in_its_band() {
        for rate in [500_u64, 2_000, 50_000] {
            let mut bucket = Bucket::new(0, rate * 1000, 0.0);
            let served = served(&mut bucket, rate * 1000, (0..5_000).map(|ms| ms * 1000));
            let (most, least) = most_and_least(&served, 1_000_000, 0, 5_000_000);
            assert!(
                most as f64 <= rate as f64 * 1.02 && least as f64 >= rate as f64 * 0.98,
                "{most} {least}"
            );
            let (most, least) = most_and_least(&served, 100_000, 0, 5_000_000);
            assert!(
                most as f64 <= rate as f64 * 0.11 && least as f64 >= rate as f64 * 0.09,
                "{most} {least}"
            );
        }
    }

    #[test]
    fn a_delay_is_made_up_for_without_a_rush() {
        let rate = 1_000;
        let mut bucket = Bucket::new(0, rate * 1000, 0.0);
        let times = (0..1_000).chain(1_050..6_000).map(|ms| ms * 1000);
        let served = served(&mut bucket, rate * 1000, times);
        let (most, _) = most_and_least(&served, 100_000, 0, 6_000_000);
        assert!(most as f64 <= 110.0, "{most}");
        let (most, _) = most_and_least(&served, 1_000_000, 0, 6_000_000);
        assert!(most as f64 <= 1_020.0, "{most}");
        assert!((5_990..=6_000).contains(&served.len()), "{}", served.len());
    }

    #[test]
    fn a_thread_that_always_wakes_late_keeps_the_rate() {
        for rate in [20_u64, 100, 250, 3_000] {
            let mut bucket = Bucket::new(0, rate * 1000, 0.0);
            let (mut now, mut total) = (0, 0);
            while now < 10_000_000 {
                now += bucket.wait_us().expect("it moves").max(1000) + 3_000;
                bucket.advance(now, rate * 1000);
                total += bucket.credit();
                bucket.spend(bucket.credit());
            }
            assert!(total as u64 >= rate * 10 * 99 / 100, "{total} of {}", rate * 10);
        }
    }

    #[test]
    fn nothing_moves_at_rate_zero_and_nothing_piles_up() {
        let mut bucket = Bucket::new(0, 0, 0.0);
        bucket.advance(10_000_000, 0);
        assert_eq!((bucket.credit(), bucket.wait_us()), (0, None));
        bucket.advance(10_000_000, 1_000_000);
        assert!(bucket.credit() <= 1);
        bucket.advance(10_000_000, UNLIMITED);
        assert_eq!(bucket.credit(), usize::MAX);
        bucket.spend(1_000_000);
        assert_eq!(bucket.credit(), usize::MAX);
    }

    #[test]
    fn a_rate_that_changes_a_little_all_the_time_loses_nothing() {
        for rate in [500_u64, 20_000] {
            let mut bucket = Bucket::new(0, rate * 1000, 0.0);
            let mut total = 0;
            for ms in (0..5_000).step_by(4) {
                bucket.advance(ms * 1000, rate * 1000 + ms / 4 % 2);
                total += bucket.credit();
                bucket.spend(bucket.credit());
            }
            assert!(total as u64 >= rate * 5 * 98 / 100, "{total} of {}", rate * 5);
        }
    }

    #[test]
    fn what_a_fast_rate_has_let_pile_up_is_no_rush_at_a_slow_one() {
        let mut bucket = Bucket::new(0, 10_000_000_000, 0.0);
        bucket.advance(900_000, 1_000_000);
        assert!(bucket.credit() <= 6, "{}", bucket.credit());
    }

    #[test]
    fn what_nobody_could_take_is_not_spent_later() {
        let mut bucket = Bucket::new(0, 1_000_000, 0.0);
        bucket.advance(900_000, 1_000_000);
        bucket.idle();
        assert!(bucket.credit() <= 1);
    }

    proptest! {
        #[test]
        fn credit_never_exceeds_the_rate_times_the_time(
            rate in 100_u64..10_000_000_000, steps in prop::collection::vec(0_u64..200_000, 1..100)
        ) {
            let mut bucket = Bucket::new(0, rate, 0.0);
            let (mut now, mut total) = (0, 0.0);
            for step in steps {
                now += step;
                bucket.advance(now, rate);
                let credit = bucket.credit();
                bucket.spend(credit);
                total += credit as f64;
                prop_assert!(total <= rate as f64 / 1e9 * now as f64 + 1e-3);
                let wait = bucket.wait_us().expect("it moves");
                bucket.advance(now + wait, rate);
                now += wait;
                prop_assert!(wait == 0 || bucket.credit() >= 1);
            }
        }
    }
}
