//! Ids of pushes that have entered: what decides whether a push is new, the same again, or another one under a known id.
//!
//! ```text
//!  ask ─► on its way ─► ran ─► forgotten, an hour later
//!             └─ not carried out: free again
//! ```
//! An id that is on its way has those who wait for what becomes of it. One that ran is remembered for
//! [`PUSH_RECENT_AGE`], and for as long as the gateway shows its push; of more than [`PUSH_IDS_SEEN_MAX`] the oldest is
//! forgotten. A push under a forgotten id runs. Pure. *Not here*: pushes that run (`registry`).

use std::collections::{HashMap, VecDeque};

use super::id::PushId;
use crate::limits::{PUSH_IDS_SEEN_MAX, PUSH_RECENT_AGE};
use crate::model::footprint::{Footprint, block, table};

/// The ids, with those who wait (`W`).
#[derive(Debug)]
pub struct Seen<W> {
    entries: HashMap<PushId, Entry<W>>,
    /// Those that ran, oldest first, with the microsecond.
    order: VecDeque<(u64, PushId)>,
}

#[derive(Debug)]
struct Entry<W> {
    fingerprint: u64,
    has_run: bool,
    /// Another push under this id came back first.
    is_overruled: bool,
    waiters: Vec<W>,
}

/// What a sender's push is.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked<W> {
    /// New: hand it on, and decide.
    New,
    /// The same is on its way; its sender waits too.
    Waits,
    /// The same ran.
    Duplicate(W),
    /// The id is that of another.
    Conflict(W),
}

/// What a push that has come is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Come {
    /// Run it.
    New,
    /// It ran.
    Again,
    /// Another one under its id ran.
    Other,
}

/// What became of an id that was on its way.
#[derive(Debug, PartialEq, Eq)]
pub struct Decided<W> {
    /// Who waits, the one who asked first in front.
    pub waiters: Vec<W>,
    /// It ran here.
    pub has_run: bool,
    /// Another one under its id ran instead.
    pub is_overruled: bool,
}

impl<W> Default for Seen<W> {
    fn default() -> Self {
        Self { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<W> Footprint for Seen<W> {
    fn allocated_bytes(&self) -> usize {
        // Both holders of an id share its block.
        let entries: usize = self
            .entries
            .iter()
            .map(|(id, entry)| id.allocated_bytes() + block(entry.waiters.capacity() * size_of::<W>()))
            .sum();
        entries
            + table(self.entries.capacity(), size_of::<(PushId, Entry<W>)>())
            + block(self.order.capacity() * size_of::<(u64, PushId)>())
    }
}

impl<W> Seen<W> {
    /// A sender asks for a push.
    pub fn ask(&mut self, id: &PushId, fingerprint: u64, waiter: W) -> Asked<W> {
        match self.entries.get_mut(id) {
            None => {
                let waiters = vec![waiter];
                let entry = Entry { fingerprint, has_run: false, is_overruled: false, waiters };
                self.entries.insert(id.clone(), entry);
                Asked::New
            }
            Some(entry) if entry.fingerprint != fingerprint => Asked::Conflict(waiter),
            Some(entry) if entry.waiters.is_empty() => Asked::Duplicate(waiter),
            Some(entry) => {
                entry.waiters.push(waiter);
                Asked::Waits
            }
        }
    }

    /// Whether this very push is on its way and somebody waits for it.
    pub fn is_awaited(&self, id: &PushId, fingerprint: u64) -> bool {
        let is_it = |entry: &Entry<W>| {
            entry.fingerprint == fingerprint && !entry.has_run && !entry.waiters.is_empty()
        };
        self.entries.get(id).is_some_and(is_it)
    }

    /// A push has come, from wherever, at this microsecond.
    pub fn come(&mut self, id: &PushId, fingerprint: u64, now_us: u64) -> Come {
        if let Some(entry) = self.entries.get(id)
            && entry.has_run
        {
            return if entry.fingerprint == fingerprint { Come::Again } else { Come::Other };
        }
        let entry = match self.entries.remove(id) {
            // The order in which Redis brings them is every gateway's.
            Some(entry) => {
                let is_overruled = entry.fingerprint != fingerprint;
                Entry { fingerprint, has_run: true, is_overruled, ..entry }
            }
            None => Entry { fingerprint, has_run: true, is_overruled: false, waiters: Vec::new() },
        };
        // The name that came is also its push's: who else holds it shows it.
        self.entries.insert(id.clone(), entry);
        self.order.push_back((now_us, id.clone()));
        self.forget(now_us);
        Come::New
    }

    /// What was on its way is so no more. An id that did not run is free.
    pub fn decide(&mut self, id: &PushId) -> Decided<W> {
        let Some(entry) = self.entries.get_mut(id) else {
            return Decided { waiters: Vec::new(), has_run: false, is_overruled: false };
        };
        let waiters = std::mem::take(&mut entry.waiters);
        let decided = Decided { waiters, has_run: entry.has_run, is_overruled: entry.is_overruled };
        if !decided.has_run {
            self.entries.remove(id);
        }
        decided
    }

    /// Ids that are known.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets what is old or too much. A few steps each time, which is more than one id that enters needs.
    fn forget(&mut self, now_us: u64) {
        let oldest = now_us.saturating_sub(PUSH_RECENT_AGE.as_micros() as u64);
        for _ in 0..4 {
            let is_due = self.order.front().is_some_and(|(at, _)| *at < oldest);
            if !is_due && self.order.len() <= PUSH_IDS_SEEN_MAX {
                return;
            }
            let Some((_, id)) = self.order.pop_front() else { return };
            // Two of its holders are here. With a third its push runs, or is shown.
            let is_shown = id.holders() > 2;
            let is_on_its_way = self.entries.get(&id).is_some_and(|entry| !entry.waiters.is_empty());
            if is_shown || is_on_its_way {
                self.order.push_back((now_us, id));
            } else {
                self.entries.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> PushId {
        PushId::new(&format!("p{n}")).expect("an id")
    }

    #[test]
    fn the_same_is_one_push_and_another_under_its_id_is_refused_for_as_long_as_it_is_known() {
        let mut seen = Seen::default();
        assert_eq!(seen.ask(&id(0), 7, "first"), Asked::New);
        assert_eq!(seen.ask(&id(0), 7, "second"), Asked::Waits);
        assert_eq!(seen.ask(&id(0), 8, "other"), Asked::Conflict("other"));
        assert_eq!(seen.come(&id(0), 7, 0), Come::New);
        assert_eq!(seen.come(&id(0), 7, 0), Come::Again);
        let decided = seen.decide(&id(0));
        assert_eq!(
            (decided.waiters, decided.has_run, decided.is_overruled),
            (vec!["first", "second"], true, false)
        );
        // Others in any number that is remembered change nothing about it.
        for n in 1..PUSH_IDS_SEEN_MAX {
            assert_eq!(seen.come(&id(n), 7, 1), Come::New);
        }
        assert_eq!(seen.ask(&id(0), 7, "again"), Asked::Duplicate("again"));
        assert_eq!(seen.ask(&id(0), 8, "other"), Asked::Conflict("other"));
        assert_eq!(seen.come(&id(0), 8, 1), Come::Other);
        assert_eq!(seen.come(&id(PUSH_IDS_SEEN_MAX), 7, 1), Come::New);
        assert_eq!(seen.ask(&id(0), 8, "later"), Asked::New, "it was the oldest, and runs");
        assert!(seen.len() <= PUSH_IDS_SEEN_MAX + 1);
    }

    #[test]
    fn what_was_not_carried_out_is_free_again() {
        let mut seen = Seen::default();
        assert_eq!(seen.ask(&id(0), 7, 1), Asked::New);
        assert_eq!(seen.ask(&id(0), 7, 2), Asked::Waits);
        assert_eq!(seen.decide(&id(0)), Decided { waiters: vec![1, 2], has_run: false, is_overruled: false });
        assert_eq!(seen.ask(&id(0), 8, 3), Asked::New);
        assert_eq!(seen.decide(&id(0)).waiters, [3]);
        assert!(seen.is_empty());
        assert_eq!(seen.come(&id(0), 7, 0), Come::New, "it came late all the same");
        assert_eq!(seen.ask(&id(0), 7, 4), Asked::Duplicate(4));
    }

    #[test]
    fn of_two_under_one_id_the_one_that_comes_first_runs_and_the_others_sender_hears_of_it() {
        let mut seen = Seen::default();
        assert_eq!(seen.ask(&id(0), 7, ()), Asked::New);
        assert_eq!(seen.come(&id(0), 8, 0), Come::New);
        assert_eq!(seen.come(&id(0), 7, 0), Come::Other);
        assert!(seen.decide(&id(0)).is_overruled);
    }

    #[test]
    fn an_id_is_known_for_an_hour_and_while_its_push_is_shown() {
        let hour = PUSH_RECENT_AGE.as_micros() as u64;
        let mut seen = Seen::<()>::default();
        let shown = id(0);
        assert_eq!((seen.come(&shown, 7, 0), seen.come(&id(1), 7, 0)), (Come::New, Come::New));
        assert_eq!(seen.come(&id(2), 7, hour + 1), Come::New);
        assert_eq!(seen.come(&id(1), 7, hour + 1), Come::New, "nobody shows it any more");
        assert_eq!(seen.come(&shown, 8, hour + 1), Come::Other);
        drop(shown);
        assert_eq!(seen.come(&id(3), 7, 2 * hour + 3), Come::New);
        assert_eq!(seen.come(&id(0), 8, 2 * hour + 3), Come::New);
    }
}
