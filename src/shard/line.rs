//! The rounds of one topic, the earliest first, and which of them may go on.
//!
//! Each walks the member list from its end. A later round may run behind an earlier one, not past it: whoever it meets
//! has everything that came before. So a message behind a paced push reaches each device as soon as that device has the
//! push. Plain rounds that have come to the same place become one. *Not here*: the walk (`fanout`).

use std::collections::VecDeque;

use super::round::Round;
use crate::push::PushSlot;

/// Rounds under way.
#[derive(Debug, Default)]
pub struct Line {
    rounds: VecDeque<Box<Round>>,
    /// Whether the agenda has it.
    pub(super) is_on_agenda: bool,
}

impl Line {
    /// Whether nothing is under way.
    pub fn is_empty(&self) -> bool {
        self.rounds.is_empty()
    }

    /// The last place that a round may go to now.
    fn limit(&self, index: usize) -> usize {
        match index.checked_sub(1).map(|before| &self.rounds[before]) {
            None => 0,
            // Those who have a list of their own go one after the other.
            Some(_) if self.rounds[index].targets.is_some() => self.rounds[index].cursor,
            Some(before) => before.cursor,
        }
    }

    /// Appends a round.
    pub(super) fn append(&mut self, round: Round) {
        self.rounds.push_back(Box::new(round));
    }

    /// Whether what waits may become a round now. A plain round that is still on its way takes all with the next.
    pub(super) fn takes_more(&self) -> bool {
        self.rounds.back().is_none_or(|last| {
            let index = self.rounds.len() - 1;
            last.push.is_some() || (index > 0 && last.cursor <= self.limit(index))
        })
    }

    /// The list has so many members: whoever was above its end has moved to a place below.
    pub(super) fn clamp(&mut self, members: usize) {
        for round in &mut self.rounds {
            if round.targets.is_none() {
                round.cursor = round.cursor.min(members);
            }
        }
    }

    /// Takes out the first round that may go on, with its place in the line and the place in the list that it may go to.
    /// `may_go`: whether a push has credit.
    pub(super) fn take_next(
        &mut self,
        may_go: impl Fn(PushSlot) -> bool,
    ) -> Option<(usize, usize, Box<Round>)> {
        let index = (0..self.rounds.len()).find(|&index| {
            let round = &self.rounds[index];
            round.cursor > self.limit(index) && round.push.is_none_or(&may_go)
        })?;
        let limit = self.limit(index);
        Some((index, limit, self.rounds.remove(index)?))
    }

    /// Puts a round back to where it was, or makes it one with the round before it.
    pub(super) fn put_back(&mut self, index: usize, round: Box<Round>) {
        if let Some(before) = index.checked_sub(1).and_then(|before| self.rounds.get_mut(before))
            && before.can_absorb(&round)
        {
            before.absorb(*round);
            return;
        }
        self.rounds.insert(index.min(self.rounds.len()), round);
    }

    /// Takes out the rounds of a push.
    pub(super) fn take_push(&mut self, push: PushSlot) -> Vec<Round> {
        self.take_where(|round| round.push == Some(push))
    }

    /// Takes out rounds of pushes that have nobody left to serve.
    pub(super) fn take_served(&mut self) -> Vec<Round> {
        self.take_where(|round| round.push.is_some() && round.unserved == 0)
    }

    /// Takes out everything.
    pub(super) fn take_all(&mut self) -> Vec<Round> {
        self.take_where(|_| true)
    }

    fn take_where(&mut self, matches: impl Fn(&Round) -> bool) -> Vec<Round> {
        let rounds = std::mem::take(&mut self.rounds);
        let (taken, kept) = rounds.into_iter().partition::<VecDeque<_>, _>(|round| matches(round));
        self.rounds = kept;
        taken.into_iter().map(|round| *round).collect()
    }

    /// Whether some round is a push's.
    pub(super) fn has_push(&self) -> bool {
        self.rounds.iter().any(|round| round.push.is_some())
    }

    /// A member left that had everything below `delivered`; calls `missed` for each push that it was owed.
    pub(super) fn note_leave(&mut self, delivered: crate::batch::Offset, mut missed: impl FnMut(PushSlot)) {
        for round in &mut self.rounds {
            if let Some(push) = round.push
                && delivered < round.end
            {
                round.unserved -= 1;
                missed(push);
            }
        }
    }

    /// Devices that a push could serve here now.
    pub(super) fn servable(&self, push: PushSlot) -> u64 {
        let own = self.rounds.iter().enumerate().filter(|(_, round)| round.push == Some(push));
        own.map(|(index, round)| {
            let ahead = round.cursor.saturating_sub(self.limit(index));
            ahead.min(round.unserved as usize) as u64
        })
        .sum()
    }
}
