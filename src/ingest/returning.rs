//! Publishes of this gateway that Redis has yet to bring back, to addresses with pushes that run.
//!
//! Whether they may wait there was asked before they were accepted, and is not asked again when they come: others may have
//! published meanwhile, and what waits takes more memory than what was on its way. Each is known by a hash of its address
//! and payload. One that never comes back is forgotten when its publisher has its answer. *Not here*: what is refused
//! (`push::holds`).

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::mem;

use fanfare_core::limits::{PUBLISH_DEADLINE, RETURNING_MAX, VERDICT_MARGIN};
use fanfare_core::model::footprint::{Footprint, table};
use fanfare_core::model::{Address, Message};

/// How often each hash is expected.
type Counts = HashMap<u64, u32>;

/// All of them.
#[derive(Default)]
pub(super) struct Returning {
    hasher: RandomState,
    /// Those of this period, and of the one before.
    recent: Counts,
    older: Counts,
    /// When this period began.
    since: u64,
}

/// Time after which a publish is known to have come back or not, in microseconds.
const PERIOD: u64 = (PUBLISH_DEADLINE.as_micros() + VERDICT_MARGIN.as_micros()) as u64;

impl Returning {
    /// The hashes of a publish to some addresses.
    pub(super) fn hashes<'a>(
        &self,
        addresses: impl Iterator<Item = &'a Address>,
        messages: &[Message],
    ) -> Vec<u64> {
        let of = |address| messages.iter().map(move |message| self.hash(address, &message.payload));
        addresses.flat_map(of).collect()
    }

    /// Whether so many more may be expected.
    pub(super) fn has_room(&self, count: usize) -> bool {
        self.recent.len() + self.older.len() + count <= RETURNING_MAX
    }

    /// Expects a publish that was given to Redis.
    pub(super) fn expect(&mut self, hashes: &[u64]) {
        for hash in hashes {
            *self.recent.entry(*hash).or_default() += 1;
        }
    }

    /// Whether a message is one that is expected; from here on it is not.
    pub(super) fn take(&mut self, address: &Address, payload: &[u8]) -> bool {
        // Nearly always there is none.
        if self.recent.is_empty() && self.older.is_empty() {
            return false;
        }
        let hash = self.hash(address, payload);
        take_one(&mut self.older, hash) || take_one(&mut self.recent, hash)
    }

    /// Forgets what is too late.
    pub(super) fn tend(&mut self, now: u64) {
        if now.saturating_sub(self.since) >= PERIOD {
            self.since = now;
            self.older = mem::take(&mut self.recent);
        }
    }

    fn hash(&self, address: &Address, payload: &[u8]) -> u64 {
        self.hasher.hash_one((address, payload))
    }
}

impl Footprint for Returning {
    fn allocated_bytes(&self) -> usize {
        let of = |counts: &Counts| table(counts.capacity(), size_of::<(u64, u32)>());
        of(&self.recent) + of(&self.older)
    }
}

fn take_one(counts: &mut Counts, hash: u64) -> bool {
    let Some(count) = counts.get_mut(&hash) else { return false };
    *count -= 1;
    if *count == 0 {
        counts.remove(&hash);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanfare_core::model::PayloadKind;

    #[test]
    fn each_is_expected_once_for_each_address_and_for_two_periods_at_most() {
        let mut returning = Returning::default();
        let message = |text: &'static str| Message { payload: text.into(), kind: PayloadKind::Json };
        let to = [Address::All, Address::Topic(fanfare_core::model::Topic::new("a").expect("a topic"))];
        let hashes = returning.hashes(to.iter(), &[message("1"), message("1"), message("2")]);
        returning.expect(&hashes);
        let taken: Vec<bool> =
            [b"1", b"1", b"1", b"2", b"2"].into_iter().map(|text| returning.take(&to[1], text)).collect();
        assert_eq!(taken, [true, true, false, true, false]);
        returning.tend(PERIOD);
        assert!(returning.take(&to[0], b"1"), "its time is not over");
        returning.tend(2 * PERIOD);
        assert!(!returning.take(&to[0], b"1") && returning.has_room(RETURNING_MAX));
    }

    #[test]
    fn so_many_are_expected_and_no_more() {
        let mut returning = Returning::default();
        let half: Vec<u64> = (0..RETURNING_MAX as u64 / 2).collect();
        returning.expect(&half);
        returning.tend(PERIOD);
        assert!(returning.has_room(RETURNING_MAX / 2) && !returning.has_room(RETURNING_MAX / 2 + 1));
    }
}
