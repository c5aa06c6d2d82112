//! Which topics have something to deliver, in the order in which they are served.
//!
//! *Not here*: the serving (`walk`).

use std::collections::VecDeque;

use super::members::Place;
use crate::limits::SLICE_SENDS;
use crate::push::terms::Lane;
use crate::session::subscriptions::TopicId;

/// Topics up to this many members are served whole, before a large one gets its next slice.
const SMALL: usize = SLICE_SENDS / 4;

/// Topics that have a round which may be able to go on.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    urgent: VecDeque<TopicId>,
    small: VecDeque<TopicId>,
    large: VecDeque<TopicId>,
}

/// What one turn serves: urgent pushes and small topics up to a slice's worth of sends, each at most once, then one slice
/// of one large topic, unless urgent pushes took it all.
#[derive(Debug)]
pub struct Turn {
    stage: Stage,
    /// Sends that the turn still has for urgent pushes and small topics.
    sends: usize,
}

/// Whose turn it is, and how many of them at most.
#[derive(Debug)]
enum Stage {
    Urgent(usize),
    Small(usize),
    Large,
    Over,
}

impl Turn {
    /// A slice was walked, with so many sends. One without sends costs time too.
    pub fn spend(&mut self, sends: usize) {
        self.sends = self.sends.saturating_sub(sends.max(1));
        if self.sends == 0 {
            self.stage = match self.stage {
                Stage::Small(_) => Stage::Large,
                Stage::Urgent(_) | Stage::Large | Stage::Over => Stage::Over,
            };
        }
    }
}

impl Agenda {
    /// Whether nothing is under way.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.small.is_empty() && self.large.is_empty()
    }

    /// Gives back room that nothing needs now.
    pub(super) fn shrink(&mut self) {
        self.urgent.shrink_to_fit();
        self.small.shrink_to_fit();
        self.large.shrink_to_fit();
    }

    pub(super) fn add(&mut self, place: Place, members: usize) {
        match place.lane {
            Lane::Urgent => self.urgent.push_back(place.topic),
            Lane::Normal if members <= SMALL => self.small.push_back(place.topic),
            Lane::Normal => self.large.push_back(place.topic),
        }
    }

    pub(super) fn begin_turn(&self) -> Turn {
        Turn { stage: Stage::Urgent(self.urgent.len()), sends: SLICE_SENDS }
    }

    /// The line that is served next in a turn; it is off the agenda.
    pub(super) fn next(&mut self, turn: &mut Turn) -> Option<Place> {
        loop {
            let (topic, lane, after) = match turn.stage {
                Stage::Urgent(left @ 1..) => (self.urgent.pop_front(), Lane::Urgent, Stage::Urgent(left - 1)),
                Stage::Urgent(0) => (None, Lane::Urgent, Stage::Small(self.small.len())),
                Stage::Small(left @ 1..) => (self.small.pop_front(), Lane::Normal, Stage::Small(left - 1)),
                Stage::Small(0) => (None, Lane::Normal, Stage::Large),
                Stage::Large => (self.large.pop_front(), Lane::Normal, Stage::Over),
                Stage::Over => return None,
            };
            turn.stage = after;
            if let Some(topic) = topic {
                return Some(Place { topic, lane });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agenda() -> Agenda {
        let mut agenda = Agenda::default();
        for (topic, lane, members) in [
            (1, Lane::Urgent, 1),
            (2, Lane::Urgent, 1),
            (3, Lane::Normal, SMALL),
            (4, Lane::Normal, SMALL),
            (5, Lane::Normal, SMALL + 1),
            (6, Lane::Normal, SMALL + 1),
        ] {
            agenda.add(Place { topic: TopicId(topic), lane }, members);
        }
        agenda
    }

    /// Topics in the order in which a turn serves them, if each has so many sends and has more to send.
    fn served(agenda: &mut Agenda, sends: usize) -> Vec<u32> {
        let (mut turn, mut served) = (agenda.begin_turn(), Vec::new());
        while let Some(place) = agenda.next(&mut turn) {
            served.push(place.topic.0);
            agenda.add(place, if place.topic.0 > 4 { SMALL + 1 } else { SMALL });
            turn.spend(sends);
        }
        served
    }

    #[test]
    fn a_turn_serves_the_urgent_then_the_small_each_once_and_one_of_the_large() {
        let mut agenda = agenda();
        assert_eq!(served(&mut agenda, 0), [1, 2, 3, 4, 5]);
        assert_eq!(served(&mut agenda, 0), [1, 2, 3, 4, 6], "the large take turns");
    }

    #[test]
    fn a_turn_that_the_small_filled_has_a_slice_of_a_large_one_and_one_that_the_urgent_filled_has_not() {
        assert_eq!(served(&mut agenda(), SLICE_SENDS / 3), [1, 2, 3, 4, 5]);
        assert_eq!(served(&mut agenda(), SLICE_SENDS / 2), [1, 2]);
        let mut without_urgent = agenda();
        without_urgent.urgent.clear();
        assert_eq!(served(&mut without_urgent, SLICE_SENDS), [3, 5]);
    }
}
