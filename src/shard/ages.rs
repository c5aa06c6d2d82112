//! How old a connection is, without a byte in the connection.
//!
//! Connections of a shard are numbered in the order in which they came. Marks say at which tick the count stood where,
//! so that a connection's number tells when it came. Old marks are thinned: an age is right to a tick or to a sixteenth
//! of itself, which is finer than any bucket it is counted in. *Not here*: who asks (`super`).

use fanfare_core::model::Tick;

/// Marks that are kept at most. A sixteenth apart, 350 reach from a tick to thirty years.
const MARKS_MAX: usize = 512;

/// Part of an age that an answer may be off by.
const COARSE: u32 = 16;

/// From this many connections on, they came at this tick or later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    from: u64,
    at: Tick,
}

/// When the connections of a shard came. At most 8 KiB.
#[derive(Debug, Default)]
pub struct Ages {
    came: u64,
    marks: Vec<Mark>,
}

impl Ages {
    /// One more came. `now` never goes back.
    pub fn note(&mut self, now: Tick) {
        if self.marks.last().is_none_or(|last| last.at != now) {
            if self.marks.len() == MARKS_MAX {
                self.thin(now);
            }
            self.marks.push(Mark { from: self.came, at: now });
        }
        self.came += 1;
    }

    /// Age in ticks of the connection after which `later` more came; at most a sixteenth above the truth.
    pub fn age(&self, later: u32, now: Tick) -> u32 {
        let number = self.came.saturating_sub(1 + u64::from(later));
        let after = self.marks.partition_point(|mark| mark.from <= number);
        self.marks[..after].last().map_or(0, |mark| now.since(mark.at))
    }

    /// Nobody is there any more whose age could be asked for.
    pub fn forget(&mut self) {
        self.marks = Vec::new();
    }

    /// Drops every mark that its neighbours stand for.
    fn thin(&mut self, now: Tick) {
        let mut kept: Vec<Mark> = Vec::with_capacity(MARKS_MAX);
        for (index, mark) in self.marks.iter().enumerate() {
            let next = self.marks.get(index + 1).map_or(now, |next| next.at);
            let close = |last: &Mark| next.since(last.at) <= now.since(next) / COARSE;
            if !kept.last().is_some_and(close) {
                kept.push(*mark);
            }
        }
        // Ticks of thirty years are thinned to fewer; were they not, the oldest would go.
        let excess = kept.len().saturating_sub(MARKS_MAX - 1);
        kept.drain(..excess);
        self.marks = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that comes at each of these ticks; the truth is the list itself.
    fn ages(ticks: impl IntoIterator<Item = u32>) -> (Ages, Vec<u32>) {
        let (mut ages, mut came) = (Ages::default(), Vec::new());
        for tick in ticks {
            ages.note(Tick(tick));
            came.push(tick);
        }
        (ages, came)
    }

    fn check((ages, came): &(Ages, Vec<u32>), now: u32) {
        assert!(ages.marks.len() <= MARKS_MAX);
        for (number, tick) in came.iter().enumerate() {
            let later = (came.len() - 1 - number) as u32;
            let (age, truth) = (ages.age(later, Tick(now)), now - tick);
            assert!(age >= truth && age <= truth + truth / 15 + 1, "{age} for {truth} at {now}");
        }
    }

    #[test]
    fn who_comes_after_all_have_left_is_as_old_as_it_is() {
        let (mut ages, _) = ages([0, 3]);
        ages.forget();
        ages.note(Tick(10));
        ages.note(Tick(12));
        assert_eq!((ages.age(1, Tick(13)), ages.age(0, Tick(13))), (3, 1));
    }

    #[test]
    fn ages_are_exact_while_there_are_few() {
        let ages = ages([0, 0, 0, 7, 7, 1_000]);
        let told: Vec<u32> = (0..6).rev().map(|later| ages.0.age(later, Tick(1_001))).collect();
        assert_eq!(told, [1_001, 1_001, 1_001, 994, 994, 1]);
    }

    #[test]
    fn ages_stay_close_to_the_truth_over_days_of_comings() {
        check(&ages(0..100_000), 100_000);
        check(&ages((0..50_000).map(|n| n * 37)), 2_000_000);
        check(&ages((0..2_000).chain((0..2_000).map(|n| 3_000_000_000 + n * 3))), 3_000_006_100);
    }

    #[test]
    fn nobody_has_no_age() {
        assert_eq!(Ages::default().age(0, Tick(5)), 0);
    }
}
