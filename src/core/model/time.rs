//! Points in time, as other code is told of them: the core has no clock.

/// Coarse time: units of [`crate::limits::TICK`] since a shard began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tick(pub u32);

impl Tick {
    /// Ticks from `earlier` to here, 0 if it is not earlier.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A time, by two clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Microseconds of the process's clock.
    pub us: u64,
    /// Milliseconds since 1970.
    pub unix_ms: u64,
}
