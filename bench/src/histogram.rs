//! A log-linear histogram of microseconds whose recording is an index and an addition.
//!
//! 128 steps per power of two: a value is off by at most 0.8 %. `hdrhistogram` answers the questions; its own
//! recording checks bounds and keeps totals, which ten million deliveries a second would feel.

use std::sync::atomic::{AtomicU64, Ordering};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const STEP_BITS: u32 = 7;
const STEPS: usize = 1 << STEP_BITS;
/// Values from 2^32 µs (71 minutes) on share the last bucket.
const OCTAVES: usize = 32 - STEP_BITS as usize + 1;

/// Counts by value.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    counts: Box<[u64]>,
    max: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { counts: vec![0; OCTAVES * STEPS].into(), max: 0 }
    }
}

#[inline]
fn bucket(value: u64) -> usize {
    let value = value.min(u64::from(u32::MAX));
    if value < STEPS as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    (shift as usize) * STEPS + (value >> shift) as usize
}

/// Smallest value of a bucket and the number of values in it.
fn range(bucket: usize) -> (u64, u64) {
    if bucket < 2 * STEPS {
        return (bucket as u64, 1);
    }
    let shift = bucket / STEPS - 1;
    (((bucket - shift * STEPS) as u64) << shift, 1 << shift)
}

impl Recorder {
    /// One more of this value.
    pub(crate) fn record(&mut self, value: u64) {
        self.record_below(value, value);
    }

    /// One more of this value, of a run of values whose maximum is known.
    #[inline]
    pub(crate) fn record_below(&mut self, value: u64, max: u64) {
        self.counts[bucket(value)] += 1;
        self.max = self.max.max(max);
    }

    /// Takes the counts of another in.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.max = self.max.max(other.max);
    }

    /// Buckets that are not empty: smallest value, number of values.
    pub(crate) fn buckets(&self) -> Vec<(u64, u64)> {
        let filled = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bucket, count)| (range(bucket).0, *count)).collect()
    }

    /// The questions that reports ask, in milliseconds.
    pub(crate) fn percentiles(&self) -> Percentiles {
        let mut all = Histogram::<u64>::new_with_bounds(1, 1 << 32, 3).expect("constant bounds are valid");
        for (bucket, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (low, width) = range(bucket);
            all.saturating_record_n(low + width / 2, *count);
        }
        let at = |quantile: f64| all.value_at_quantile(quantile).min(self.max) as f64 / 1000.0;
        Percentiles {
            count: all.len(),
            mean_ms: all.mean() / 1000.0,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.max as f64 / 1000.0,
        }
    }
}

/// Buckets of a [`Coarse`] in one of a recorder's powers of two: eight, so that a value is off by at most 12 %.
const COARSE_STEPS: usize = STEPS / COARSE_WIDTH;
const COARSE_WIDTH: usize = 16;

/// A recorder's counts as its thread shows them to others while it still records: coarse, and some milliseconds old.
#[derive(Debug)]
pub(crate) struct Live {
    counts: [AtomicU64; OCTAVES * COARSE_STEPS],
}

/// Counts by value, read from one or more [`Live`].
#[derive(Clone, Debug)]
pub(crate) struct Coarse {
    counts: Vec<u64>,
}

impl Default for Live {
    fn default() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; OCTAVES * COARSE_STEPS] }
    }
}

impl Live {
    /// Shows the counts of now. About a microsecond: meant for a few times a second, not for each value.
    pub(crate) fn publish(&self, recorder: &Recorder) {
        for (mine, theirs) in self.counts.iter().zip(recorder.counts.chunks_exact(COARSE_WIDTH)) {
            mine.store(theirs.iter().sum(), Ordering::Relaxed);
        }
    }
}

impl Coarse {
    /// All of them together.
    pub(crate) fn read<'a>(all: impl Iterator<Item = &'a Live>) -> Self {
        let mut counts = vec![0; OCTAVES * COARSE_STEPS];
        for live in all {
            for (mine, theirs) in counts.iter_mut().zip(&live.counts) {
                *mine += theirs.load(Ordering::Relaxed);
            }
        }
        Self { counts }
    }

    /// What came after an earlier reading.
    pub(crate) fn since(&self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else { return self.clone() };
        let counts = self.counts.iter().zip(&earlier.counts);
        Self { counts: counts.map(|(is, was)| is.saturating_sub(*was)).collect() }
    }

    /// The middle of the bucket that the quantile falls into, in milliseconds; `None` when nothing was recorded.
    pub(crate) fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let total: u64 = self.counts.iter().sum();
        let (mut seen, share) = (0, quantile * total as f64);
        let at = self.counts.iter().position(|count| {
            seen += count;
            *count > 0 && seen as f64 >= share
        })?;
        let ((low, _), (last, width)) = (range(at * COARSE_WIDTH), range((at + 1) * COARSE_WIDTH - 1));
        Some((low + last + width) as f64 / 2000.0)
    }
}

/// What a report says about a distribution. Milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    /// Values.
    pub(crate) count: u64,
    /// Their mean.
    pub(crate) mean_ms: f64,
    /// Half of them are at or below it.
    pub(crate) p50_ms: f64,
    /// 90 %.
    pub(crate) p90_ms: f64,
    /// 99 %.
    pub(crate) p99_ms: f64,
    /// 99.9 %.
    pub(crate) p999_ms: f64,
    /// All of them; exact.
    pub(crate) max_ms: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_the_range_of_its_bucket_and_the_range_is_narrow() {
        let mut value = 0_u64;
        while value < u64::from(u32::MAX) {
            let (low, width) = range(bucket(value));
            assert!((low..low + width).contains(&value), "{value}: {low} + {width}");
            assert!(width == 1 || width * 128 <= value, "{value}: {width}");
            value += 1 + value / 97;
        }
    }

    #[test]
    fn percentiles_of_a_uniform_distribution_are_its_fractions() {
        let mut recorder = Recorder::default();
        (1..=100_000).for_each(|value| recorder.record(value));
        let found = recorder.percentiles();
        assert_eq!(found.count, 100_000);
        for (is, should) in [(found.p50_ms, 50.0), (found.p90_ms, 90.0), (found.p99_ms, 99.0)] {
            assert!((is - should).abs() / should < 0.01, "{is} instead of {should}");
        }
        assert!((found.max_ms - 100.0).abs() < f64::EPSILON);
    }

    #[test]
    fn what_a_thread_shows_while_it_records_is_near_what_it_has_recorded() {
        let (mut recorder, live) = (Recorder::default(), Live::default());
        assert!(Coarse::read([&live].into_iter()).quantile_ms(0.5).is_none());
        (1..=100_000).for_each(|value| recorder.record(value));
        live.publish(&recorder);
        let early = Coarse::read([&live].into_iter());
        for (quantile, should) in [(0.5, 50.0), (0.9, 90.0), (0.99, 99.0), (1.0, 100.0)] {
            let is = early.quantile_ms(quantile).unwrap();
            assert!((is - should).abs() / should < 0.07, "{is} instead of {should}");
        }
        (0..10).for_each(|_| recorder.record(3_000_000));
        live.publish(&recorder);
        let late = Coarse::read([&live].into_iter());
        assert!(late.quantile_ms(0.5).unwrap() < 60.0);
        assert!(late.since(Some(&early)).quantile_ms(0.5).unwrap() > 2_800.0, "only what is new counts");
    }

    #[test]
    fn merged_recorders_answer_as_one() {
        let (mut odd, mut even, mut all) = (Recorder::default(), Recorder::default(), Recorder::default());
        for value in 1..10_000 {
            if value % 2 == 0 {
                even.record(value);
            } else {
                odd.record(value);
            }
            all.record(value);
        }
        odd.merge(&even);
        assert_eq!(odd.counts, all.counts);
        assert_eq!(odd.max, all.max);
    }
}
