//! The pace of one push over time: constant, or rising or falling in a line to what was asked for.

use std::time::Duration;

use super::rate::Rate;
use super::share::UNLIMITED;

/// A pace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Where it goes; `None`: no bound.
    to: Option<Rate>,
    /// Where it came from, thousandths of a device per second.
    from_milli: u64,
    since_us: u64,
    ramp_us: u64,
}

impl Pace {
    /// From nothing to a rate, or constant when the ramp is zero.
    pub fn new(to: Option<Rate>, ramp: Duration, now_us: u64) -> Self {
        Self { to, from_milli: 0, since_us: now_us, ramp_us: ramp.as_micros() as u64 }
    }

    /// From what it is now to another rate.
    pub fn change(&mut self, to: Option<Rate>, ramp: Duration, now_us: u64) {
        let from_milli = match self.at(now_us) {
            UNLIMITED => 0,
            milli => milli,
        };
        *self = Self { to, from_milli, since_us: now_us, ramp_us: ramp.as_micros() as u64 };
    }

    /// Where it goes.
    pub fn target(&self) -> Option<Rate> {
        self.to
    }

    /// Thousandths of a device per second at this time, or [`UNLIMITED`].
    pub fn at(&self, now_us: u64) -> u64 {
        let Some(to) = self.to else { return UNLIMITED };
        let passed = now_us.saturating_sub(self.since_us);
        if passed >= self.ramp_us {
            return to.milli();
        }
        let (from, to) = (self.from_milli as f64, to.milli() as f64);
        (from + (to - from) * (passed as f64 / self.ramp_us as f64)) as u64
    }

    /// Seconds until that many devices are served, when `in_force` of the pace (0 to 1) is what others leave of it.
    pub fn eta_s(&self, devices: u64, in_force: f64, now_us: u64) -> Option<f64> {
        let Some(to) = self.to else { return Some(0.0) };
        let (devices, to) = (devices as f64, to.as_f64() * in_force);
        let now = self.at(now_us) as f64 / 1000.0 * in_force;
        let left_s = (self.since_us + self.ramp_us).saturating_sub(now_us) as f64 / 1e6;
        let on_ramp = f64::midpoint(now, to) * left_s;
        let seconds = if devices > on_ramp {
            left_s + (devices - on_ramp) / to
        } else {
            // What is served by t is now·t + slope·t²/2, solved for t in the form that bears a slope of nothing.
            let slope = (to - now) / left_s;
            2.0 * devices / (now + (now * now + 2.0 * slope * devices).max(0.0).sqrt())
        };
        seconds.is_finite().then_some(seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(devices: f64) -> Option<Rate> {
        Rate::per_second(devices).ok()
    }

    #[test]
    fn a_ramp_is_a_line_and_a_change_begins_where_the_pace_is() {
        let mut pace = Pace::new(rate(1000.0), Duration::from_secs(10), 0);
        assert_eq!(
            [0, 5_000_000, 10_000_000, 99_000_000].map(|at| pace.at(at)),
            [0, 500_000, 1_000_000, 1_000_000]
        );
        pace.change(rate(100.0), Duration::from_secs(4), 5_000_000);
        assert_eq!([5_000_000, 7_000_000, 9_000_000].map(|at| pace.at(at)), [500_000, 300_000, 100_000]);
        pace.change(rate(800.0), Duration::ZERO, 9_000_000);
        assert_eq!(pace.at(9_000_000), 800_000);
        pace.change(None, Duration::ZERO, 9_000_000);
        assert_eq!(pace.at(9_000_000), UNLIMITED);
    }

    proptest! {
        #[test]
        fn an_eta_is_when_the_line_has_served_them_all(
            from in 0_u32..2_000, to in 1_u32..2_000, ramp_s in 0_u32..100, devices in 1_u32..50_000
        ) {
            let mut pace = Pace::new(rate(f64::from(from.max(1))), Duration::ZERO, 0);
            pace.change(rate(f64::from(to)), Duration::from_secs(ramp_s.into()), 0);
            let eta = pace.eta_s(devices.into(), 1.0, 0).expect("it ends");
            let steps = 10_000;
            let step = eta / f64::from(steps);
            let served: f64 = (0..steps)
                .map(|i| pace.at(((f64::from(i) + 0.5) * step * 1e6) as u64) as f64 / 1000.0 * step)
                .sum();
            prop_assert!((served - f64::from(devices)).abs() <= f64::from(devices) * 0.01 + 1.0, "{served}");
        }
    }
}
