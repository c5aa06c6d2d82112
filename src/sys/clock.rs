//! The clock that the threads of a process share: microseconds since it began.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

    /// The instant that lies so many microseconds behind its beginning.
    pub fn instant(self, us: u64) -> Instant {
        self.0 + Duration::from_micros(us)
    }

    /// Now, by this clock and by the system's.
    pub fn now(self) -> Moment {
        Self::moment(self.now_us())
    }

    /// A moment that has just been, by this clock, and the system's time.
    pub fn moment(us: u64) -> Moment {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Moment { us, unix_ms: since_1970.map_or(0, |since| since.as_millis() as u64) }
    }
}
