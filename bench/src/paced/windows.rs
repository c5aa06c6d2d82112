//! How even arrivals are: the least and the most in any window of a length, wherever it begins.
//!
//! Times are microseconds and sorted; a window has its begin and not its end.

/// The least and the most arrivals in any window of this length that lies within the span; `None`: there is no such
/// window.
pub(crate) fn extremes(arrivals: &[u64], (from, to): (u64, u64), window: u64) -> Option<(u64, u64)> {
    let last_begin = to.checked_sub(window).filter(|last| *last >= from)?;
    // The count changes only where a window begins behind an arrival (it drops) or ends behind one (it rises): the
    // least are found where one begins just behind an arrival, the most where one begins with it.
    let within = arrivals.iter().copied().filter(|at| (from..=last_begin).contains(at));
    let begins = within.flat_map(|at| [at, at + 1]).chain([from, last_begin]);
    let counts =
        begins.filter(|begin| *begin <= last_begin).map(|begin| count(arrivals, begin, begin + window));
    counts.fold(None, |seen, count| match seen {
        None => Some((count, count)),
        Some((least, most)) => Some((least.min(count), most.max(count))),
    })
}

/// Arrivals from one time until another.
pub(crate) fn count(arrivals: &[u64], from: u64, to: u64) -> u64 {
    let before = |time: u64| arrivals.partition_point(|at| *at < time);
    (before(to) - before(from)) as u64
}

/// The first time from which on a window of this length has its count within the band, in steps of a millisecond.
pub(crate) fn in_force(arrivals: &[u64], from: u64, window: u64, band: (f64, f64)) -> Option<u64> {
    let last = arrivals.last()?.checked_sub(window)?;
    (from..=last).step_by(1_000).find(|begin| {
        let count = count(arrivals, *begin, begin + window) as f64;
        band.0 <= count && count <= band.1
    })
}

/// Arrivals a second over time, each point in the middle of its window; seconds.
pub(crate) fn rates(arrivals: &[u64], (from, to): (u64, u64), window: u64) -> Vec<(f64, f64)> {
    let seconds = window as f64 / 1e6;
    let begins = (from..to.saturating_sub(window)).step_by((window as usize / 2).max(1));
    begins
        .map(|begin| {
            let middle = (begin + window / 2 - from) as f64 / 1e6;
            (middle, count(arrivals, begin, begin + window) as f64 / seconds)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_even_stream_has_the_same_in_every_window_and_a_hole_is_found_wherever_it_is() {
        let mut arrivals: Vec<u64> = (0..1_000).map(|n| n * 2_000).collect();
        let span = (0, 1_998_000);
        assert_eq!(extremes(&arrivals, span, 100_000), Some((50, 50)));
        arrivals.retain(|at| !(777_001..787_001).contains(at));
        assert_eq!(extremes(&arrivals, span, 100_000), Some((45, 50)));
        assert_eq!(extremes(&arrivals, (0, 99_999), 100_000), None);
    }

    #[test]
    fn a_change_is_in_force_from_the_first_window_that_has_the_new_rate() {
        let slow = (0..500_u64).map(|n| n * 2_000);
        let arrivals: Vec<u64> = slow.chain((0..2_000).map(|n| 1_020_000 + n * 500)).collect();
        assert_eq!(in_force(&arrivals, 1_000_000, 100_000, (180.0, 220.0)), Some(1_010_000));
        assert_eq!(in_force(&arrivals, 1_000_000, 100_000, (400.0, 420.0)), None);
    }

    proptest! {
        #[test]
        fn no_window_has_less_or_more(
            mut arrivals in prop::collection::vec(0_u64..500, 0..60), window in 1_u64..200
        ) {
            arrivals.sort_unstable();
            let every = (0..=500 - window).map(|begin| count(&arrivals, begin, begin + window));
            let (least, most) = every.fold((u64::MAX, 0), |(l, m), n| (l.min(n), m.max(n)));
            prop_assert_eq!(extremes(&arrivals, (0, 500), window), Some((least, most)));
        }
    }
}
