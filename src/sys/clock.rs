//! The clock that the threads of a process share: microseconds since it began.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fanfare_core::model::Moment;

/// Monotonic; the same on every thread.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Microseconds since it began.
    pub fn now_us(self) -> u64 {
        self.0.elapsed().as_micros() as u64
    }

    /// Now, by this clock and by the system's.
    pub fn now(self) -> Moment {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Moment { us: self.now_us(), unix_ms: since_1970.map_or(0, |since| since.as_millis() as u64) }
    }
}
