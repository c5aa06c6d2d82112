//! The run's clock: microseconds since the moment for which message 0 is intended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Shared by publisher, receivers and whoever waits for them.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    base_us: Arc<AtomicU64>,
}

impl Clock {
    /// A clock whose base is now until it is set.
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), base_us: Arc::default() }
    }

    /// The base lies this far in the future. Set before the first message is published.
    pub(crate) fn set_base_in(&self, ahead: Duration) {
        let base = self.epoch.elapsed() + ahead;
        self.base_us.store(base.as_micros() as u64, Ordering::Release);
    }

    /// Microseconds since the base; 0 before it.
    #[inline]
    pub(crate) fn now_us(&self) -> u64 {
        let now = self.epoch.elapsed().as_micros() as u64;
        now.saturating_sub(self.base_us.load(Ordering::Acquire))
    }

    /// Sleeps until a time since the base, at most `longest`.
    pub(crate) fn sleep_until(&self, us: u64, longest: Duration) {
        let base = self.base_us.load(Ordering::Acquire);
        let until = self.epoch + Duration::from_micros(base + us);
        std::thread::sleep(until.saturating_duration_since(Instant::now()).min(longest));
    }
}

/// Microseconds of some seconds; none when they are negative.
pub(crate) fn micros(seconds: f64) -> u64 {
    Duration::try_from_secs_f64(seconds).unwrap_or_default().as_micros() as u64
}
