//! Names of pushes that have entered, so that one that comes again is not pushed again.

use std::collections::{HashSet, VecDeque};

use super::id::PushId;
use crate::limits::{PUSH_IDS_SEEN_MAX, PUSH_RECENT_AGE};

/// The names, bounded in number and age.
#[derive(Debug, Default)]
pub struct Seen {
    ids: HashSet<PushId>,
    order: VecDeque<(u64, PushId)>,
}

impl Seen {
    /// Notes a name, at this microsecond; `false` when it was there already.
    pub fn note(&mut self, id: &PushId, now_us: u64) -> bool {
        let oldest = now_us.saturating_sub(PUSH_RECENT_AGE.as_micros() as u64);
        while self.order.front().is_some_and(|(at, _)| *at < oldest) || self.order.len() >= PUSH_IDS_SEEN_MAX
        {
            if let Some((_, id)) = self.order.pop_front() {
                self.ids.remove(&id);
            }
        }
        let is_new = self.ids.insert(id.clone());
        if is_new {
            self.order.push_back((now_us, id.clone()));
        }
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_new_once_until_it_is_old_or_crowded_out() {
        let id = |n: usize| PushId::new(&format!("p{n}")).expect("an id");
        let mut seen = Seen::default();
        assert!(seen.note(&id(0), 0));
        assert!(!seen.note(&id(0), 1));
        assert!(seen.note(&id(0), PUSH_RECENT_AGE.as_micros() as u64 + 1));
        for n in 1..=PUSH_IDS_SEEN_MAX {
            assert!(seen.note(&id(n), PUSH_RECENT_AGE.as_micros() as u64 + 2));
        }
        assert!(!seen.note(&id(PUSH_IDS_SEEN_MAX), PUSH_RECENT_AGE.as_micros() as u64 + 2));
        assert!(seen.note(&id(0), PUSH_RECENT_AGE.as_micros() as u64 + 2));
        assert!(seen.ids.len() <= PUSH_IDS_SEEN_MAX && seen.order.len() == seen.ids.len());
    }
}
