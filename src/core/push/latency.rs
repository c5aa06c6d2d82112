//! How long devices waited for a push: a histogram that its one writer fills while others read.
//!
//! Eight buckets an octave, so that a quantile is right to a sixteenth. hdrhistogram's cannot be read while it is
//! written to.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::counters::Value;

/// Buckets of an octave, as a power of two.
const STEPS_LOG2: u32 = 3;
/// Microseconds below this share the first bucket, as a power of two.
const FLOOR_LOG2: u32 = 6;
/// Octaves above it: up to a week and more.
const OCTAVES: u32 = 34;
const BUCKETS: usize = (OCTAVES << STEPS_LOG2) as usize;

/// A histogram of microseconds.
#[derive(Debug)]
pub struct Latencies {
    buckets: [AtomicU32; BUCKETS],
    /// The shortest plus 1; 0: none.
    first: Value,
    last: Value,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU32::new(0) }; BUCKETS],
            first: Value::default(),
            last: Value::default(),
        }
    }
}

fn bucket_of(us: u64) -> usize {
    let us = us.max(1 << FLOOR_LOG2);
    let octave = us.ilog2();
    let step = (us >> (octave - STEPS_LOG2)) - (1 << STEPS_LOG2);
    ((((octave - FLOOR_LOG2) << STEPS_LOG2) as usize) + step as usize).min(BUCKETS - 1)
}

/// The middle of a bucket.
fn middle_of(bucket: usize) -> u64 {
    let octave = FLOOR_LOG2 + (bucket as u32 >> STEPS_LOG2);
    let step = (bucket as u64) & ((1 << STEPS_LOG2) - 1);
    let width = 1 << (octave - STEPS_LOG2);
    ((1 << STEPS_LOG2) + step) * width + width / 2
}

impl Latencies {
    /// Only the owner calls this.
    pub fn record(&self, us: u64, count: u64) {
        let bucket = &self.buckets[bucket_of(us)];
        bucket.store(bucket.load(Ordering::Relaxed).saturating_add(count as u32), Ordering::Relaxed);
        let first = self.first.get();
        if first == 0 || us + 1 < first {
            self.first.set(us + 1);
        }
        self.last.set(self.last.get().max(us));
    }
}

/// Several histograms as one, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// The shortest.
    pub first: u64,
    /// Half waited at most so long.
    pub p50: u64,
    /// Of a hundred, ninety-nine.
    pub p99: u64,
    /// The longest.
    pub last: u64,
}

/// Reads them all; `None` when nothing was recorded.
pub fn spread<'a>(all: impl Iterator<Item = &'a Latencies>) -> Option<Spread> {
    let mut counts = [0_u64; BUCKETS];
    let (mut first, mut last) = (u64::MAX, 0);
    for one in all {
        for (count, bucket) in counts.iter_mut().zip(&one.buckets) {
            *count += u64::from(bucket.load(Ordering::Relaxed));
        }
        if one.first.get() > 0 {
            first = first.min(one.first.get() - 1);
        }
        last = last.max(one.last.get());
    }
    let total: u64 = counts.iter().sum();
    if total == 0 || first > last {
        return None;
    }
    let quantile = |of_hundred: u64| {
        let rank = (total * of_hundred).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bucket.map_or(last, middle_of).clamp(first, last)
    };
    Some(Spread { first, p50: quantile(50), p99: quantile(99), last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_recorded_is_no_spread() {
        assert_eq!(spread([Latencies::default(), Latencies::default()].iter()), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_right_to_a_sixteenth(values in prop::collection::vec(64_u64..600_000_000_000, 1..200)) {
            let both = [Latencies::default(), Latencies::default()];
            for (at, value) in values.iter().enumerate() {
                both[at % 2].record(*value, 1);
            }
            let mut sorted = values.clone();
            sorted.sort_unstable();
            let seen = spread(both.iter()).expect("values");
            prop_assert_eq!((seen.first, seen.last), (sorted[0], sorted[sorted.len() - 1]));
            for (of_hundred, quantile) in [(50, seen.p50), (99, seen.p99)] {
                let exact = sorted[(sorted.len() * of_hundred).div_ceil(100).max(1) - 1] as f64;
                prop_assert!((quantile as f64 - exact).abs() <= exact / 16.0 + 1.0, "{quantile} for {exact}");
            }
        }
    }
}
