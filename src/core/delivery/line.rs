//! The rounds of one topic, the earliest first, and which of them may go on.
//!
//! Each walks the member list from its end. A later round may run behind an earlier one, not past it: whoever it meets
//! has everything that came before. So a message behind a paced push reaches each device as soon as that device has the
//! push. Plain rounds that have come to the same place become one.
//!
//! Nearly always there is one round. Later ones stand in ordered maps, so that no call costs more than the logarithm of
//! how many wait. A round that is taken out for a slice is put back, or let go, before anything else is asked of its line:
//! the walk sees to that. *Not here*: the walk (`walk`).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::round::Round;
use crate::model::Offset;
use crate::push::PushSlot;

/// Names a round of a line while it is there. Numbers grow along the line; one that has become free may be used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RoundNumber(u64);

impl RoundNumber {
    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Rounds under way.
#[derive(Debug, Default)]
pub struct Line {
    first: Option<Box<Round>>,
    /// The number of the first round, or of the one that will be the first.
    first_number: RoundNumber,
    later: Option<Box<Later>>,
    /// Pushes in it that have a pace or stand still; see `backlog`.
    pub(super) holders: u32,
    /// Memory of its rounds, and of what waits to become one.
    pub(super) bytes: usize,
    /// Whether the agenda has it.
    pub(super) is_on_agenda: bool,
}

/// The rounds behind the first; there is at least one.
#[derive(Debug, Default)]
struct Later {
    rounds: BTreeMap<RoundNumber, Box<Round>>,
    /// Plain rounds that have not come as far as the round before them.
    ready: BTreeSet<RoundNumber>,
    /// The same of pushes, which need credit too. There are at most [`crate::limits::PUSHES_RUNNING_MAX`].
    ready_pushes: BTreeSet<RoundNumber>,
    /// Every round of a push.
    pushes: BTreeSet<RoundNumber>,
}

/// A round that was taken out for a slice, and the last place that it may go to.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) number: RoundNumber,
    pub(super) limit: usize,
    pub(super) round: Box<Round>,
}

impl Line {
    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The earliest round.
    pub(super) fn front(&mut self) -> Option<&mut Round> {
        self.first.as_deref_mut()
    }

    /// Where the first round is.
    fn first_cursor(&self) -> usize {
        self.first.as_ref().map_or(usize::MAX, |first| first.cursor)
    }

    /// Appends a round for a list of so many members; its number. A plain round that met nobody yet carries what a plain
    /// one behind it would, as far as a round goes.
    pub(super) fn append(&mut self, round: Round, members: usize) -> RoundNumber {
        if self.is_empty() {
            self.first = Some(Box::new(round));
            return self.first_number;
        }
        if let Some((number, last)) = self.last_mut()
            && last.cursor >= members
            && last.carries_more(&round)
        {
            last.absorb(round);
            return number;
        }
        let first_cursor = self.first_cursor();
        let later = self.later.get_or_insert_default();
        let number = later.rounds.last_key_value().map_or(self.first_number, |(number, _)| *number).next();
        if round.push.is_some() {
            later.pushes.insert(number);
        }
        later.rounds.insert(number, Box::new(round));
        later.refresh(number, first_cursor);
        number
    }

    fn last_mut(&mut self) -> Option<(RoundNumber, &mut Round)> {
        match &mut self.later {
            Some(later) => {
                let (number, round) = later.rounds.iter_mut().next_back()?;
                Some((*number, round))
            }
            None => Some((self.first_number, self.first.as_deref_mut()?)),
        }
    }

    /// Whether what waits may become a round now. A plain round that is still on its way takes all with the next.
    pub(super) fn takes_more(&self) -> bool {
        match &self.later {
            Some(later) => later.rounds.last_key_value().is_some_and(|(number, last)| {
                let limit = later.cursor_before(*number, self.first_cursor());
                last.push.is_some() || last.cursor <= limit
            }),
            None => self.first.as_ref().is_none_or(|first| first.push.is_some()),
        }
    }

    /// Takes out the first round that may go on in a list of so many members. `may_go`: whether a push has credit.
    ///
    /// Whoever was above the list's end has moved to a place below: so does the round.
    pub(super) fn take_next(&mut self, members: usize, may_go: impl Fn(PushSlot) -> bool) -> Option<Taken> {
        let goes = |first: &Round| first.cursor > 0 && first.push.is_none_or(&may_go);
        if let Some(round) = self.first.take_if(|first| goes(first)) {
            return Some(Taken { number: self.first_number, limit: 0, round }.clamped(members));
        }
        let first_cursor = self.first_cursor();
        let later = self.later.as_mut()?;
        let number = later.next(may_go)?;
        let limit = later.cursor_before(number, first_cursor);
        let round = later.rounds.remove(&number)?;
        Some(Taken { number, limit, round }.clamped(members))
    }

    /// Puts a round back to where it was taken out, or makes it one with the round before it.
    pub(super) fn put_back(&mut self, number: RoundNumber, round: Box<Round>) {
        if number == self.first_number {
            let cursor = round.cursor;
            self.first = Some(round);
            if let Some(later) = &mut self.later {
                later.refresh_first(cursor);
            }
            return;
        }
        let first_cursor = self.first_cursor();
        let Some(later) = &mut self.later else { return };
        let before = match later.rounds.range_mut(..number).next_back() {
            Some((_, round)) => Some(&mut **round),
            None => self.first.as_deref_mut(),
        };
        if let Some(before) = before
            && before.cursor == round.cursor
            && before.carries_more(&round)
        {
            before.absorb(*round);
            self.let_go(number);
            return;
        }
        later.rounds.insert(number, round);
        later.refresh(number, first_cursor);
        later.refresh_after(number, first_cursor);
    }

    /// A round that was taken out is over.
    pub(super) fn let_go(&mut self, number: RoundNumber) {
        if number == self.first_number {
            self.promote();
        } else {
            self.unlink(number);
        }
    }

    /// The next round becomes the first.
    fn promote(&mut self) {
        let Some((number, round)) = self.later.as_mut().and_then(|later| later.rounds.pop_first()) else {
            self.first_number = self.first_number.next();
            return;
        };
        self.first_number = number;
        let first_cursor = round.cursor;
        self.first = Some(round);
        if let Some(later) = &mut self.later {
            later.forget(number);
            later.refresh_first(first_cursor);
        }
        self.drop_later_if_empty();
    }

    /// A round that is not the first is here no more.
    fn unlink(&mut self, number: RoundNumber) -> Option<Box<Round>> {
        let first_cursor = self.first_cursor();
        let later = self.later.as_mut()?;
        let round = later.rounds.remove(&number);
        later.forget(number);
        later.refresh_after(number, first_cursor);
        self.drop_later_if_empty();
        round
    }

    fn drop_later_if_empty(&mut self) {
        if self.later.as_ref().is_some_and(|later| later.rounds.is_empty()) {
            self.later = None;
        }
    }

    /// A round, if it is that push's.
    pub(super) fn of_push(&self, number: RoundNumber, push: PushSlot) -> Option<&Round> {
        let round = match &self.first {
            Some(first) if number == self.first_number => Some(&**first),
            _ => self.later.as_ref()?.rounds.get(&number).map(|round| &**round),
        };
        round.filter(|round| round.push == Some(push))
    }

    /// Takes out the round of a push for good.
    pub(super) fn take_push(&mut self, number: RoundNumber, push: PushSlot) -> Option<Box<Round>> {
        self.of_push(number, push)?;
        if number == self.first_number
            && let Some(first) = self.first.take()
        {
            self.promote();
            return Some(first);
        }
        self.unlink(number)
    }

    /// Takes out everything.
    pub(super) fn take_all(&mut self) -> Vec<Round> {
        let later = self.later.take().map_or_else(BTreeMap::new, |later| later.rounds);
        self.first.take().into_iter().chain(later.into_values()).map(|round| *round).collect()
    }

    /// Whether some round is a push's.
    pub(super) fn has_push(&self) -> bool {
        self.first.as_ref().is_some_and(|first| first.push.is_some())
            || self.later.as_ref().is_some_and(|later| !later.pushes.is_empty())
    }

    /// A member left that had everything below `delivered`; calls `missed` for each push that it was owed, the latest
    /// first. Returns the rounds of those that have nobody left to serve. Costs a step for each push that the member was
    /// owed: ends grow along the line.
    pub(super) fn note_leave(&mut self, delivered: Offset, mut missed: impl FnMut(PushSlot)) -> Vec<Round> {
        let mut served = Vec::new();
        let mut note = |number: RoundNumber, round: &mut Round| {
            let Some(push) = round.push.filter(|_| delivered < round.end) else { return false };
            round.unserved -= 1;
            missed(push);
            if round.unserved == 0 {
                served.push((number, push));
            }
            true
        };
        if let Some(later) = &mut self.later {
            for number in later.pushes.iter().rev() {
                let round = later.rounds.get_mut(number);
                if round.is_some_and(|round| !note(*number, round)) {
                    break;
                }
            }
        }
        if let Some(first) = &mut self.first {
            note(self.first_number, first);
        }
        served
            .into_iter()
            .filter_map(|(number, push)| self.take_push(number, push))
            .map(|round| *round)
            .collect()
    }

    /// Devices that a push could serve with a round now, in a list of so many members.
    pub(super) fn servable(&self, number: RoundNumber, push: PushSlot, members: usize) -> u64 {
        let Some(round) = self.of_push(number, push) else { return 0 };
        let limit = match &self.later {
            Some(later) if number != self.first_number => later.limit(number, round, self.first_cursor()),
            _ => 0,
        };
        let members = if round.targets.is_some() { usize::MAX } else { members };
        let ahead = round.cursor.min(members).saturating_sub(limit);
        ahead.min(round.unserved as usize) as u64
    }

    /// Rounds.
    #[cfg(test)]
    fn len(&self) -> usize {
        usize::from(!self.is_empty()) + self.later.as_ref().map_or(0, |later| later.rounds.len())
    }
}

impl Taken {
    fn clamped(mut self, members: usize) -> Self {
        if self.round.targets.is_none() {
            self.round.cursor = self.round.cursor.min(members);
            self.limit = self.limit.min(self.round.cursor);
        }
        self
    }
}

impl Later {
    /// The first that may go on.
    fn next(&self, may_go: impl Fn(PushSlot) -> bool) -> Option<RoundNumber> {
        let plain = self.ready.first().copied();
        let mut pushes =
            self.ready_pushes.iter().take_while(|number| plain.is_none_or(|plain| **number < plain));
        let has_credit =
            |number: &&RoundNumber| self.rounds.get(number).and_then(|round| round.push).is_some_and(&may_go);
        pushes.find(has_credit).copied().or(plain)
    }

    /// Where the round before one is.
    fn cursor_before(&self, number: RoundNumber, first_cursor: usize) -> usize {
        self.rounds.range(..number).next_back().map_or(first_cursor, |(_, round)| round.cursor)
    }

    /// The last place that a round may go to now.
    fn limit(&self, number: RoundNumber, round: &Round, first_cursor: usize) -> usize {
        // Those that have a list of their own go one after the other.
        if round.targets.is_some() { round.cursor } else { self.cursor_before(number, first_cursor) }
    }

    /// Notes whether a round may go on.
    fn refresh(&mut self, number: RoundNumber, first_cursor: usize) {
        let round = self.rounds.get(&number).map(|round| &**round);
        let push = round.and_then(|round| round.push);
        let is_ready = round.is_some_and(|round| round.cursor > self.limit(number, round, first_cursor));
        let ready = if push.is_some() { &mut self.ready_pushes } else { &mut self.ready };
        if is_ready {
            ready.insert(number);
        } else {
            self.ready.remove(&number);
            self.ready_pushes.remove(&number);
        }
    }

    /// The round before the first of these has moved.
    fn refresh_first(&mut self, first_cursor: usize) {
        if let Some(number) = self.rounds.first_key_value().map(|(number, _)| *number) {
            self.refresh(number, first_cursor);
        }
    }

    /// A round has moved, or vanished: the one behind it may go further.
    fn refresh_after(&mut self, number: RoundNumber, first_cursor: usize) {
        let mut behind = self.rounds.range((Bound::Excluded(number), Bound::Unbounded));
        if let Some(number) = behind.next().map(|(number, _)| *number) {
            self.refresh(number, first_cursor);
        }
    }

    /// A round is not among these any more.
    fn forget(&mut self, number: RoundNumber) {
        self.ready.remove(&number);
        self.ready_pushes.remove(&number);
        self.pushes.remove(&number);
    }
}

#[cfg(test)]
mod tests;
