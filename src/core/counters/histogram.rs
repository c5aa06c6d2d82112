//! A distribution with one writer and any number of readers.
//!
//! Buckets grow by 1, 2, 5 in every decade, so that a bound is a round number in whatever unit it is shown and any two
//! values of one bucket differ by at most 2.5 times. Recording is a logarithm, two loads and two stores, no locked
//! instruction: the owner of the block is the only writer. hdrhistogram's buckets are finer, and cannot be read while
//! another thread writes. *Not here*: names, units, which bounds are shown (`text`).

use super::Value;

/// Decades: the last bound is 10 to this power.
const DECADES: usize = 9;

/// Bounds: 1, 2, 5, 10, … 1,000,000,000.
pub const BOUNDS: usize = 3 * DECADES + 1;

/// Values at or below `bound(i)` and above `bound(i - 1)`; the last bucket has what is above every bound.
const BUCKETS: usize = BOUNDS + 1;

/// The distribution of whole numbers in a unit that its field names. 240 bytes.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [Value; BUCKETS],
    sum: Value,
}

impl Histogram {
    /// Adds a value. Only the block's owner calls this.
    #[inline]
    pub fn record(&self, value: u64) {
        self.record_many(value, 1);
    }

    /// Adds a value so many times. Only the block's owner calls this.
    #[inline]
    pub fn record_many(&self, value: u64, count: u64) {
        self.buckets[bucket(value)].add(count);
        self.sum.add(value * count);
    }
}

/// The bucket of a value.
fn bucket(value: u64) -> usize {
    let Some(decade) = value.checked_ilog10() else { return 0 };
    if decade as usize >= DECADES {
        return if value == bound(BOUNDS - 1) { BOUNDS - 1 } else { BUCKETS - 1 };
    }
    let one = 10_u64.pow(decade);
    3 * decade as usize
        + usize::from(value > one)
        + usize::from(value > 2 * one)
        + usize::from(value > 5 * one)
}

/// The largest value of a bucket; `index` is below [`BOUNDS`].
pub fn bound(index: usize) -> u64 {
    [1, 2, 5][index % 3] * 10_u64.pow((index / 3) as u32)
}

/// What was recorded until now, in one histogram or in several.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    buckets: [u64; BUCKETS],
    sum: u64,
}

impl Snapshot {
    /// Of one histogram. The buckets are read one after the other while the writer goes on: each is true, and their sum
    /// is what [`Snapshot::count`] says.
    pub fn of(histogram: &Histogram) -> Self {
        let mut snapshot = Self::default();
        snapshot.add(histogram);
        snapshot
    }

    /// Adds another histogram of the same unit.
    pub fn add(&mut self, histogram: &Histogram) {
        for (sum, bucket) in self.buckets.iter_mut().zip(&histogram.buckets) {
            *sum += bucket.get();
        }
        self.sum += histogram.sum.get();
    }

    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// Values above `bound(after)`, or all for `None`, up to `bound(index)`; `index` of [`BOUNDS`] has no upper end.
    pub fn between(&self, after: Option<usize>, index: usize) -> u64 {
        self.buckets[after.map_or(0, |after| after + 1)..=index].iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bounds_are_round_and_belong_to_the_bucket_below_them() {
        let bounds: Vec<u64> = (0..BOUNDS).map(bound).collect();
        assert_eq!(bounds[..7], [1, 2, 5, 10, 20, 50, 100]);
        assert_eq!(bounds[BOUNDS - 1], 1_000_000_000);
        for (index, bound) in bounds.into_iter().enumerate() {
            assert_eq!((bucket(bound), bucket(bound + 1)), (index, index + 1), "{bound}");
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn several_histograms_add_up() {
        let (one, two) = (Histogram::default(), Histogram::default());
        one.record(3);
        one.record(7);
        two.record(2_000_000_000);
        let mut sum = Snapshot::of(&one);
        sum.add(&two);
        assert_eq!((sum.count(), sum.sum()), (3, 2_000_000_010));
        assert_eq!(sum.between(None, 2), 1, "up to 5");
        assert_eq!(sum.between(Some(2), 3), 1, "above 5, up to 10");
        assert_eq!(sum.between(Some(3), BOUNDS), 1, "above 10");
    }

    proptest! {
        #[test]
        fn every_value_lies_between_the_bounds_of_its_bucket(value in prop_oneof![any::<u64>(), 0..3_000_000_000_u64]) {
            let at = bucket(value);
            prop_assert!(at == 0 || value > bound(at - 1));
            prop_assert!(at == BOUNDS || value <= bound(at));
        }
    }
}
