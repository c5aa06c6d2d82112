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

    /// The earliest round.
    pub(super) fn front(&mut self) -> Option<&mut Round> {
        self.rounds.front_mut().map(|round| &mut **round)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Address, Batch, Epoch, Message, Offset, PayloadKind};
    use crate::dataplane::Token;
    use crate::formats::FormatId;
    use std::sync::Arc;

    const MEMBERS: usize = 10;
    const FIRST: PushSlot = PushSlot(0);
    const SECOND: PushSlot = PushSlot(1);

    fn batch(first: u64) -> Arc<Batch> {
        let message = Message { payload: b"{}"[..].into(), kind: PayloadKind::Json };
        Arc::new(Batch::new(Address::All, Epoch(1), Offset(first), [message].into()))
    }

    fn plain(first: u64) -> Round {
        Round::take(&mut [batch(first)].into(), MEMBERS)
    }

    /// Lets the round that may go on do so, for so many places; which it was, and where it is then.
    fn go(line: &mut Line, has_credit: bool, places: usize) -> Option<(usize, usize)> {
        let (index, limit, mut round) = line.take_next(|_| has_credit)?;
        round.cursor = round.cursor.saturating_sub(places).max(limit);
        let cursor = round.cursor;
        round.unserved = round.unserved.saturating_sub(places as u32);
        line.put_back(index, round);
        Some((index, cursor))
    }

    fn line_behind_a_push() -> Line {
        let mut line = Line::default();
        line.append(Round::of_push(batch(0), FIRST, MEMBERS));
        line.append(plain(1));
        line
    }

    #[test]
    fn a_message_behind_a_paced_push_reaches_a_device_right_after_the_push() {
        let mut line = line_behind_a_push();
        assert_eq!(
            go(&mut line, false, MEMBERS),
            None,
            "without credit nobody has the push, and so nothing else"
        );
        assert_eq!(go(&mut line, true, 3), Some((0, 7)));
        assert_eq!(go(&mut line, false, MEMBERS), Some((1, 7)), "just those who have the push");
        assert_eq!(go(&mut line, false, MEMBERS), None);
        assert_eq!(line.servable(FIRST), 7);
    }

    #[test]
    fn a_later_plain_round_becomes_one_with_the_round_before_at_the_same_place() {
        let mut line = line_behind_a_push();
        assert_eq!(go(&mut line, true, 3), Some((0, 7)));
        assert!(!line.takes_more(), "it is on its way: what comes now rides with the next");
        assert_eq!(go(&mut line, false, MEMBERS), Some((1, 7)));
        assert!(line.takes_more());
        line.append(plain(2));
        assert_eq!(go(&mut line, false, MEMBERS), Some((2, 7)));
        assert_eq!(line.rounds.len(), 2);
        let both = &mut line.rounds[1];
        both.encode(FormatId::RAW);
        assert_eq!(both.part(FormatId::RAW, Offset(1)).map(|part| part.messages), Some(2));
        assert_eq!(both.part(FormatId::RAW, Offset(2)).map(|part| part.messages), Some(1));
    }

    #[test]
    fn a_push_that_ends_in_the_middle_of_its_walk_lets_go_what_stood_behind_it() {
        let mut line = line_behind_a_push();
        go(&mut line, true, 3);
        go(&mut line, false, MEMBERS);
        let ended = line.take_push(FIRST);
        assert_eq!(ended.iter().map(|round| round.unserved).collect::<Vec<_>>(), [7]);
        assert_eq!(go(&mut line, false, 100), Some((0, 0)));
    }

    #[test]
    fn when_a_round_between_two_vanishes_the_later_one_may_go_to_the_earlier() {
        let mut line = Line::default();
        line.append(Round::of_push(batch(0), FIRST, MEMBERS));
        line.append(Round::of_push(batch(1), SECOND, MEMBERS));
        line.append(plain(2));
        for (index, cursor) in [(0, 2), (1, 6), (2, 6)] {
            line.rounds[index].cursor = cursor;
        }
        assert_eq!((line.servable(FIRST), line.servable(SECOND)), (2, 4));
        line.take_push(SECOND);
        assert_eq!(go(&mut line, false, MEMBERS), Some((1, 2)));
        assert!(line.takes_more());
    }

    #[test]
    fn whoever_leaves_is_missed_by_the_pushes_that_were_on_their_way_to_it() {
        let mut line = Line::default();
        line.append(Round::of_push(batch(0), FIRST, 1));
        line.append(Round::of_push(batch(1), SECOND, 2));
        let mut missed = Vec::new();
        line.note_leave(Offset(2), |slot| missed.push(slot));
        assert_eq!(missed, [], "it had both");
        line.note_leave(Offset(0), |slot| missed.push(slot));
        assert_eq!(missed, [FIRST, SECOND]);
        let served = line.take_served();
        assert_eq!(served.iter().map(|round| round.push).collect::<Vec<_>>(), [Some(FIRST)]);
        line.clamp(1);
        assert_eq!(go(&mut line, true, 1), Some((0, 0)));
    }

    #[test]
    fn urgent_pushes_go_one_after_the_other() {
        let mut line = Line::default();
        let targets = || -> Box<[Token]> { [Token { index: 0, generation: 1 }; 3].into() };
        line.append(Round::of_urgent_push(batch(0), FIRST, targets()));
        line.append(Round::of_urgent_push(batch(0), SECOND, targets()));
        line.clamp(0);
        assert_eq!(
            go(&mut line, true, 2),
            Some((0, 1)),
            "a list of its own does not shrink with the members"
        );
        assert_eq!((line.servable(FIRST), line.servable(SECOND)), (1, 0));
        assert!(line.take_next(|slot| slot == SECOND).is_none());
        line.take_push(FIRST);
        assert_eq!(line.servable(SECOND), 3);
    }
}
